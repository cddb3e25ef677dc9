"""How the new entries of a call are packed into one sequence, and cut into chunks and blocks.

A call takes the entries of as many nodes as its budget allows, and those ancestors of them that
have never been evaluated. They are packed document by document, depth first, and cut into chunks of
neighbours, so that those of a chunk have most of their ancestors in common. Each chunk attends to
the ancestors of its entries, masked for each one; chunks of like size make a block, which is one
product with padding.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmfst.ground.arrays import Bools, Ints
from lmfst.ground.kernels import kernel
from lmfst.lm.entries import above, slot_of, take
from lmfst.lm.nodes import (
    ABOVE,
    COLUMN,
    DEPTH,
    ENTRY,
    OWNER,
    PLACE,
    POSITION,
    ROOT,
    STAMP,
    STAMPS,
    TOKEN,
    Trees,
)

CHUNK = 64
"""Entries of one document that are attended together, at most."""
GATHER_COST = 48
"""Pairs of a query and a key that take about as long as fetching one more key and value."""
SIBLINGS = 4
"""Entries that usually stand close together, below a branch of their own."""
_WIDE = 1 << 31
"""More than any depth, width or length."""


FIRST, WIDTH, LENGTH, ROWS, ROOM, QUERY, KEY, MASK, CHUNK_COLUMNS = range(9)
"""Columns of chunks: their first entry, how many they have and how many ancestors these have
together, themselves included; for how many of both there is room; where among all queries, keys and
pairs of these theirs begin."""


class Packed(NamedTuple):
    """A call of T entries, whose chunks are in blocks of c chunks, of w queries and n keys each.

    answered: of how many of the nodes that were asked for the call gives rows, 0 if it has but some
    of the first one's ancestors. fresh: the slots [≤ T] that entries have been given.

    entries: int64 [4, T], token, position and slot of each, and where among all queries its own
    one is. asked: int64 [max(1, answered)], the places in the call of those asked for. queries:
    int64 [Q], of all blocks' queries (Q = the sum of c * w), which entry of the call they are.
    keys: int64 [2, K], of all blocks' keys (K = the sum of c * n), their slots and positions.

    unseen: bool, of every block a mask [c, w, n], one after the other: what a query may not look
    at. Queries that are padding look at one key, so that their softmax is finite. blocks: int64
    [blocks, 3], c, w and n.
    """

    answered: int
    fresh: Ints
    entries: Ints
    asked: Ints
    queries: Ints
    keys: Ints
    unseen: Bools
    blocks: Ints


@kernel
def stable_order(keys: Ints) -> Ints:
    """The indices of keys in ascending order, equal ones as they come: a merge sort."""
    count = len(keys)
    order, other = np.empty(count, np.int64), np.empty(count, np.int64)
    for i in range(count):
        order[i] = i
    width = 1
    while width < count:
        for begin in range(0, count, 2 * width):
            middle, end = min(begin + width, count), min(begin + 2 * width, count)
            left, right = begin, middle
            for k in range(begin, end):
                if right >= end or (left < middle and keys[order[left]] <= keys[order[right]]):
                    other[k] = order[left]
                    left += 1
                else:
                    other[k] = order[right]
                    right += 1
        order, other = other, order
        width *= 2
    return order


@kernel
def place_of(trees: Trees, entry: int) -> int:
    """The place of an entry in the call that is packed, -1 if it is not in it."""
    return int(trees.nodes[entry >> 1, PLACE + (entry & 1)])


@kernel
def planned(trees: Trees, states: Ints, budget: int) -> tuple[Ints, int]:
    """The entries of a call, ancestors first, and how many of the states it answers.

    Those of the first state may be more than the budget: then the call has the uppermost ones. The
    place of each is noted.
    """
    found = np.empty(budget, np.int64)
    count = 0
    for end in range(len(states)):
        entry = 2 * states[end]
        if trees.nodes[states[end], TOKEN] < 0:
            return found[:count], end
        if trees.nodes[states[end], PLACE] >= 0:
            continue
        missing, upper = 1, above(trees, entry)
        while upper >= 0 and slot_of(trees, upper) < 0 and place_of(trees, upper) < 0:
            missing += 1
            upper = above(trees, upper)
        if count + missing > budget and count > 0:
            return found[:count], end
        for at in range(count + missing - 1, count - 1, -1):
            if at < budget:
                found[at] = entry
                trees.nodes[entry >> 1, PLACE + (entry & 1)] = at
            entry = above(trees, entry)
        count += missing
        if count > budget:
            return found, 0
    return found[:count], len(states)


@kernel
def depth_first(trees: Trees, found: Ints) -> Ints:
    """The order of planned entries document by document, each following what it stands below as
    closely as it can; those of a document that stand below none of them in order of depth."""
    count = len(found)
    child, sibling = np.empty(count, np.int64), np.empty(count, np.int64)
    tops, keys = np.empty(count, np.int64), np.empty(count, np.int64)
    for i in range(count):
        child[i] = sibling[i] = -1
    first = count
    for i in range(count - 1, -1, -1):
        upper = above(trees, found[i])
        place = place_of(trees, upper) if upper >= 0 else -1
        if place >= 0:
            sibling[i] = child[place]
            child[place] = i
        else:
            node = found[i] >> 1
            first -= 1
            tops[first], keys[first] = i, trees.nodes[node, ROOT] * _WIDE + trees.nodes[node, DEPTH]
    order, stack = np.empty(count, np.int64), np.empty(count + 1, np.int64)
    size = 0
    for top in stable_order(keys[first:]):
        stack[0] = tops[first + top]
        high = 1
        while high > 0:
            high -= 1
            i = stack[high]
            order[size] = i
            size += 1
            if sibling[i] >= 0:
                stack[high] = sibling[i]
                high += 1
            if child[i] >= 0:
                stack[high] = child[i]
                high += 1
    return order


@kernel
def _pays(count: int, held: int, new: int, all_: int) -> bool:
    """Whether an entry with `all_` ancestors, `new` of them not in a chunk of `count` entries and
    `held` ancestors yet, and `SIBLINGS` like it cost less there than in a chunk of their own, in
    pairs of a query and a key."""
    here = SIBLINGS * (held + new) + new * (count + GATHER_COST)
    return count < CHUNK and here <= SIBLINGS * all_ + all_ * GATHER_COST


@kernel
def cut(trees: Trees, slots: Ints) -> Ints:
    """Packed entries cut into chunks, int64 [chunks, 8]; FIRST, WIDTH and LENGTH are known."""
    table, stamps = trees.slots, trees.counts
    chunks = np.zeros((len(slots), CHUNK_COLUMNS), np.int64)
    at, before = -1, -1
    for i in range(len(slots)):
        slot = slots[i]
        root = trees.nodes[table[slot, ENTRY] >> 1, ROOT]
        new, upper = 0, slot
        while upper >= 0 and table[upper, STAMP] != stamps[STAMPS]:
            new += 1
            upper = table[upper, ABOVE]
        all_ = table[slot, POSITION] + 1
        if root != before or not _pays(chunks[at, WIDTH], chunks[at, LENGTH], new, all_):
            at += 1
            chunks[at, FIRST], before = i, root
            stamps[STAMPS] += 1
        upper = slot
        while upper >= 0 and table[upper, STAMP] != stamps[STAMPS]:
            table[upper, STAMP] = stamps[STAMPS]
            upper = table[upper, ABOVE]
            chunks[at, LENGTH] += 1
        chunks[at, WIDTH] += 1
    return chunks[: at + 1]


@kernel
def group(chunks: Ints, product: int, step: int) -> tuple[Ints, int, int, int]:
    """Blocks int64 [blocks, 3] of chunks, groups whose padding costs less than further products
    would, as number, width and length; and how many queries, keys and pairs of these there are in
    all. Fills in the chunks' other columns. product, step: see `lmfst.lm.sizes.Sizes`."""
    keys = np.empty(len(chunks), np.int64)
    room = np.empty(len(chunks), np.int64)
    for i in range(len(chunks)):
        room[i] = -(-chunks[i, LENGTH] // step) * step
        keys[i] = -(room[i] * _WIDE + chunks[i, WIDTH])
    order = stable_order(keys)
    blocks = np.zeros((len(chunks), 3), np.int64)
    at, used = -1, 0
    for chunk in order:
        width, length = chunks[chunk, WIDTH], room[chunk]
        padded = max(blocks[at, 1], width) * blocks[at, 2]
        if at >= 0 and (blocks[at, 0] + 1) * padded <= used + width * length + product:
            blocks[at, 1] = max(blocks[at, 1], width)
        else:
            at += 1
            blocks[at, 1], blocks[at, 2], used = width, length, 0
        blocks[at, 0] += 1
        used += width * length
    query = key = mask = i = 0
    for block in range(at + 1):
        width, length = blocks[block, 1], blocks[block, 2]
        for _ in range(blocks[block, 0]):
            chunk, i = order[i], i + 1
            chunks[chunk, ROWS], chunks[chunk, ROOM] = width, length
            chunks[chunk, QUERY], chunks[chunk, KEY], chunks[chunk, MASK] = query, key, mask
            query, key, mask = query + width, key + length, mask + width * length
    return blocks[: at + 1], query, key, mask


@kernel
def _look(trees: Trees, slots: Ints, chunk: Ints, keys: Ints, unseen: Bools) -> None:
    """Fill in what a chunk of entries looks at: its keys, and of these what is unseen.

    What an entry has of the ancestors that earlier ones have found it has up to its joint, the
    lowest of them, as the one has that found it.
    """
    table = trees.slots
    trees.counts[STAMPS] += 1
    stamp, size = trees.counts[STAMPS], 0
    for row in range(chunk[WIDTH]):
        slot, new, own = slots[chunk[FIRST] + row], 0, chunk[MASK] + row * chunk[ROOM]
        while slot >= 0 and table[slot, STAMP] != stamp:
            new += 1
            slot = table[slot, ABOVE]
        unseen[own] = True
        if slot >= 0:
            other = chunk[MASK] + table[slot, OWNER] * chunk[ROOM]
            for column in range(table[slot, COLUMN] + 1):
                unseen[own + column] = unseen[other + column]
        slot = slots[chunk[FIRST] + row]
        for column in range(size + new - 1, size - 1, -1):
            keys[0, chunk[KEY] + column] = slot
            keys[1, chunk[KEY] + column] = table[slot, POSITION]
            unseen[own + column] = False
            table[slot, STAMP], table[slot, COLUMN], table[slot, OWNER] = stamp, column, row
            slot = table[slot, ABOVE]
        size += new


@kernel
def pack(trees: Trees, states: Ints, budget: int, product: int, step: int) -> Packed:
    """The next call, of at most `budget` entries, for nodes that are asked for, of which the first
    one is no root without BOS. product, step: see `lmfst.lm.sizes.Sizes`."""
    found, answered = planned(trees, states, budget)
    count = len(found)
    slots, fresh = np.empty(count, np.int64), np.empty(count, np.int64)
    entries, given = np.empty((4, count), np.int64), 0
    for place, i in enumerate(depth_first(trees, found)):
        entry = found[i]
        slots[place] = slot_of(trees, entry)
        if slots[place] < 0:
            slots[place] = fresh[given] = take(trees, entry)
            given += 1
        entries[0, place] = trees.nodes[entry >> 1, TOKEN]
        entries[1, place] = trees.slots[slots[place], POSITION]
        entries[2, place] = slots[place]
        trees.nodes[entry >> 1, PLACE + (entry & 1)] = place
    asked = np.empty(max(1, answered), np.int64)
    asked[0] = place_of(trees, found[count - 1])
    for i in range(answered):
        asked[i] = trees.nodes[states[i], PLACE]
    for entry in found:
        trees.nodes[entry >> 1, PLACE + (entry & 1)] = -1
    chunks = cut(trees, slots)
    blocks, query, key, mask = group(chunks, product, step)
    queries, keys = np.zeros(query, np.int64), np.zeros((2, key), np.int64)
    unseen = np.empty(mask, np.bool_)
    for i in range(len(unseen)):
        unseen[i] = True
    for i in range(len(chunks)):
        chunk = chunks[i]
        for row in range(chunk[WIDTH]):
            entries[3, chunk[FIRST] + row] = chunk[QUERY] + row
            queries[chunk[QUERY] + row] = chunk[FIRST] + row
        for row in range(chunk[ROWS]):
            unseen[chunk[MASK] + row * chunk[ROOM]] = False
        _look(trees, slots, chunk, keys, unseen)
    return Packed(answered, fresh[:given], entries, asked, queries, keys, unseen, blocks)
