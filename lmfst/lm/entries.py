"""What of the token trees of a session has been evaluated, and where its keys and values are.

A node can be evaluated in two windows (`lmfst.lm.window`): its entry 2 * node + k is the node in
the k-th window after the one in which its row is read, k = 0 or 1. An evaluated entry has a slot,
where its keys and values are; slots are shared by the documents, and taken lowest first.
"""

from __future__ import annotations

import numpy as np

from lmfst.ground.arrays import Ints
from lmfst.ground.kernels import kernel
from lmfst.lm import window
from lmfst.lm.nodes import (
    ABOVE,
    DEPTH,
    ENTRY,
    HELD,
    LENGTH,
    LOWEST,
    PARENT,
    POSITION,
    ROOT,
    SLOT,
    STAMP,
    STAMPS,
    TOKEN,
    USED,
    Trees,
)

_stride_of = kernel(window.stride_of)
_window_of = kernel(window.window_of)


@kernel
def _first_of(trees: Trees, entry: int) -> int:
    """How many of a text's first tokens are before the window of an entry."""
    length = trees.counts[LENGTH]
    stride = _stride_of(length)
    own: int = _window_of(trees.nodes[entry >> 1, DEPTH], length, stride)
    return (own + (entry & 1)) * stride


@kernel
def above(trees: Trees, entry: int) -> int:
    """The entry that `entry` follows: its parent in the same window, BOS at the window's start; -1
    if there is none."""
    nodes, node = trees.nodes, entry >> 1
    parent, root = int(nodes[node, PARENT]), int(nodes[node, ROOT])
    if parent < 0:
        return -1
    first = _first_of(trees, entry)
    if parent != root and nodes[parent, DEPTH] > first:
        return 2 * parent + (1 if _first_of(trees, 2 * parent) < first else 0)
    return 2 * root if nodes[root, TOKEN] >= 0 else -1


@kernel
def slot_of(trees: Trees, entry: int) -> int:
    """The slot of an entry, -1 if it has none."""
    return int(trees.nodes[entry >> 1, SLOT + (entry & 1)])


@kernel
def take(trees: Trees, entry: int) -> int:
    """Give a slot to an entry whose entry above has one. There is room for it."""
    nodes, slots, counts = trees.nodes, trees.slots, trees.counts
    node, slot = entry >> 1, int(counts[LOWEST])
    while slot < counts[USED] and slots[slot, ENTRY] >= 0:
        slot += 1
    counts[LOWEST] = slot + 1
    counts[USED] = max(counts[USED], slot + 1)
    slots[slot, ENTRY], nodes[node, SLOT + (entry & 1)] = entry, slot
    upper, root = above(trees, entry), nodes[node, ROOT]
    nodes[root, HELD] += 1
    slots[slot, ABOVE] = slot_of(trees, upper) if upper >= 0 else -1
    slots[slot, POSITION] = nodes[node, DEPTH] - _first_of(trees, entry)
    if nodes[root, TOKEN] < 0:
        slots[slot, POSITION] -= 1
    return slot


@kernel
def release(trees: Trees, freed: Ints) -> None:
    """Forget the entries in these slots."""
    slots, counts = trees.slots, trees.counts
    for slot in freed:
        entry = slots[slot, ENTRY]
        slots[slot, ENTRY] = trees.nodes[entry >> 1, SLOT + (entry & 1)] = -1
        trees.nodes[trees.nodes[entry >> 1, ROOT], HELD] -= 1
        counts[LOWEST] = min(counts[LOWEST], slot)
    while counts[USED] > 0 and slots[counts[USED] - 1, ENTRY] < 0:
        counts[USED] -= 1


@kernel
def retain(trees: Trees, root: int, live: Ints) -> None:
    """Forget the entries of a document but those of live nodes and what these stand below."""
    slots = trees.slots
    trees.counts[STAMPS] += 1
    stamp = trees.counts[STAMPS]
    for node in live:
        entry = 2 * node
        while entry >= 0:
            slot = slot_of(trees, entry)
            if slot >= 0 and slots[slot, STAMP] == stamp:
                break
            if slot >= 0:
                slots[slot, STAMP] = stamp
            entry = above(trees, entry)
    dead = np.empty(trees.nodes[root, HELD], np.int64)
    count = 0
    for slot in range(trees.counts[USED]):
        entry = slots[slot, ENTRY]
        if entry >= 0 and trees.nodes[entry >> 1, ROOT] == root and slots[slot, STAMP] != stamp:
            dead[count] = slot
            count += 1
    release(trees, dead[:count])
