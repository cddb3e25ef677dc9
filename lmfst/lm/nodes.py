"""Token trees: nodes numbered as they are met, one tree a document, below its BOS.

Nodes are rows of a flat array; a hash table over them has the node of each (parent, token). What of
them has been evaluated (`lmfst.lm.entries`) stands beside them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmfst.ground.arrays import Ints
from lmfst.ground.kernels import kernel

PARENT, TOKEN, DEPTH, ROOT, SLOT, PLACE, HELD, NODE_COLUMNS = 0, 1, 2, 3, 4, 6, 8, 9
ENTRY, ABOVE, POSITION, STAMP, COLUMN, OWNER, SLOT_COLUMNS = range(7)
NODES, USED, LOWEST, STAMPS, LENGTH = range(5)
_FEWEST = 64
"""Nodes that there is room for, at least."""


class Trees(NamedTuple):
    """The token trees of a session: int64 arrays, so few that a kernel takes them in no time.

    nodes: [room, 9]. PARENT: -1 at roots. TOKEN: -1 at the root of a document without BOS. DEPTH: 0
    at roots. ROOT: of the node's document. SLOT and SLOT + 1: of the node's two entries, -1 where
    there is none. PLACE and PLACE + 1: of use while a call is packed, else -1. HELD: how many
    entries the document of a root has.

    slots: [room, 6]. ENTRY: -1 if the slot is free. ABOVE: the slot of the entry above, -1 if there
    is none. POSITION: among the tokens of the window. STAMP, COLUMN, OWNER: of use while something
    is walked.

    table: [a power of two, at least twice the room for nodes], nodes by a hash of parent and token,
    -1 where there is none.

    counts: [5]. NODES: how many there are. USED: all slots from there on are free. LOWEST: all
    slots before are taken. STAMPS: the last one given. LENGTH: of the model's context.
    """

    nodes: Ints
    slots: Ints
    table: Ints
    counts: Ints


@kernel
def _place(trees: Trees, parent: int, token: int) -> int:
    """Where in the table the node of a token after a parent is, or belongs."""
    mask = len(trees.table) - 1
    mixed = parent * 2654435761 + token * 40503
    at = (mixed ^ (mixed >> 17)) & mask
    while True:
        node = trees.table[at]
        if node < 0 or (trees.nodes[node, PARENT] == parent and trees.nodes[node, TOKEN] == token):
            return at
        at = (at + 1) & mask


@kernel
def step_down(trees: Trees, parents: Ints, tokens: Ints) -> Ints:
    """The nodes of tokens after parents, new ones where there are none. There is room for them."""
    found = np.empty(len(parents), np.int64)
    for i in range(len(parents)):
        parent, token = parents[i], tokens[i]
        if parent < 0 or parent >= trees.counts[NODES]:
            raise IndexError("a session has no such state")
        at = _place(trees, parent, token)
        if trees.table[at] < 0:
            new = trees.counts[NODES]
            trees.nodes[new, PARENT] = parent
            trees.nodes[new, TOKEN] = token
            trees.nodes[new, DEPTH] = trees.nodes[parent, DEPTH] + 1
            trees.nodes[new, ROOT] = trees.nodes[parent, ROOT]
            trees.table[at] = new
            trees.counts[NODES] = new + 1
        found[i] = trees.table[at]
    return found


@kernel
def fill_table(trees: Trees) -> None:
    """Enter the nodes into an empty table."""
    for node in range(trees.counts[NODES]):
        if trees.nodes[node, PARENT] >= 0:
            parent, token = trees.nodes[node, PARENT], trees.nodes[node, TOKEN]
            trees.table[_place(trees, parent, token)] = node


class TokenTrees:
    """The token trees of a session, for contexts of `length` tokens.

    arrays: what they are in, valid until the next `plant`, `step` or `have_slots`.
    """

    def __init__(self, length: int) -> None:
        counts = np.zeros(5, np.int64)
        counts[LENGTH] = length
        nodes, slots = np.zeros((0, NODE_COLUMNS), np.int64), np.zeros((0, SLOT_COLUMNS), np.int64)
        self.arrays = Trees(nodes, slots, np.zeros(0, np.int64), counts)

    def plant(self, bos: int | None) -> int:
        """A new document. Returns its root."""
        self._have_nodes(1)
        nodes, counts = self.arrays.nodes, self.arrays.counts
        root = int(counts[NODES])
        nodes[root, : DEPTH + 1] = -1, -1 if bos is None else bos, 0
        nodes[root, ROOT] = root
        counts[NODES] += 1
        return root

    def step(self, parents: Ints, tokens: Ints) -> Ints:
        """The nodes [n] of tokens [n] after nodes [n]; new ones the first time."""
        parents = np.ascontiguousarray(parents, np.int64)
        tokens = np.ascontiguousarray(tokens, np.int64)
        if len(parents) != len(tokens):
            raise ValueError(f"{len(parents)} states and {len(tokens)} tokens")
        self._have_nodes(len(parents))
        return step_down(self.arrays, parents, tokens)

    def have_slots(self, more: int) -> None:
        """Have room for so many more entries."""
        needed = int(self.arrays.counts[USED]) + more
        if needed > len(self.arrays.slots):
            slots = _grown(self.arrays.slots, 2 * needed)
            slots[len(self.arrays.slots) :, ENTRY] = -1
            self.arrays = self.arrays._replace(slots=slots)

    def _have_nodes(self, more: int) -> None:
        old = self.arrays.nodes
        needed = int(self.arrays.counts[NODES]) + more
        if needed > len(old):
            room = max(_FEWEST, 2 * needed)
            nodes = _grown(old, room)
            nodes[len(old) :, SLOT:HELD] = -1
            table = np.full(1 << (2 * room - 1).bit_length(), -1)
            self.arrays = self.arrays._replace(nodes=nodes, table=table)
            fill_table(self.arrays)


def _grown(rows: Ints, size: int) -> Ints:
    new = np.zeros((size, rows.shape[1]), np.int64)
    new[: len(rows)] = rows
    return new
