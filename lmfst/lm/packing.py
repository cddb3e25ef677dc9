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
CALL_COST = 4096
"""Pairs of a query and a key that take about as long as a further product (two CPU cores)."""
_WIDE = 1 << 31
"""More than any depth, width or length."""


class Packed(NamedTuple):
    """A call of T entries, whose chunks are in blocks of c chunks, of w queries and n keys each.

    answered: of how many of the nodes that were asked for the call gives rows, 0 if it has but some
    of the first one's ancestors. fresh: the slots [≤ T] that entries have been given.

    numbers: int64, one after the other: tokens [T], positions [T] and slots [T] of the entries; the
    places of those asked for in the call [max(1, answered)]; where among all queries the answer of
    each entry is [T]; of all queries (the sum of c * w over the blocks), which entry of the call
    they are and their positions; of all keys (the sum of c * n), their slots and positions. sizes:
    int64 [9], how many there are of each.

    unseen: of every block a mask [c, w, n], one after the other: what a query may not look at.
    Queries that are padding look at one key, so that their softmax is finite. blocks: int64
    [blocks, 3], c, w and n.
    """

    answered: int
    fresh: Ints
    numbers: Ints
    sizes: Ints
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
    return trees.nodes[entry >> 1, PLACE + (entry & 1)]


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
    child[:], sibling[:] = -1, -1
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
    """Packed entries cut into chunks, int64 [chunks, 4]: the first one, how many there are, how
    many ancestors they have together, themselves included, and as many as there is room for."""
    chunks = np.zeros((len(slots), 4), np.int64)
    at, before = -1, -1
    for i in range(len(slots)):
        slot = slots[i]
        root = trees.nodes[trees.slots[slot, ENTRY] >> 1, ROOT]
        new, upper = 0, slot
        while upper >= 0 and trees.slots[upper, STAMP] != trees.counts[STAMPS]:
            new += 1
            upper = trees.slots[upper, ABOVE]
        all_ = trees.slots[slot, POSITION] + 1
        if root != before or not _pays(chunks[at, 1], chunks[at, 2], new, all_):
            at += 1
            chunks[at, 0], before = i, root
            trees.counts[STAMPS] += 1
        upper = slot
        while upper >= 0 and trees.slots[upper, STAMP] != trees.counts[STAMPS]:
            trees.slots[upper, STAMP] = trees.counts[STAMPS]
            upper = trees.slots[upper, ABOVE]
            chunks[at, 2] += 1
        chunks[at, 1] += 1
    return chunks[: at + 1]


@kernel
def alike(chunks: Ints) -> tuple[Ints, Ints]:
    """(order int64 [chunks], blocks int64 [blocks, 3]): chunks in groups whose padding costs less
    than further products would, and the number, width and length of each group's."""
    keys = np.empty(len(chunks), np.int64)
    for i in range(len(chunks)):
        keys[i] = -(chunks[i, 2] * _WIDE + chunks[i, 1])
    order = stable_order(keys)
    blocks = np.zeros((len(chunks), 3), np.int64)
    at, used = -1, 0
    for chunk in order:
        width, length = chunks[chunk, 1], chunks[chunk, 2]
        padded = max(blocks[at, 1], width) * blocks[at, 2]
        if at >= 0 and (blocks[at, 0] + 1) * padded <= used + width * length + CALL_COST:
            blocks[at, 1] = max(blocks[at, 1], width)
        else:
            at += 1
            blocks[at, 1], blocks[at, 2], used = width, length, 0
        blocks[at, 0] += 1
        used += width * length
    return order, blocks[: at + 1]


@kernel
def _look(
    trees: Trees, slots: Ints, chunk: Ints, keys: Ints, key: int, unseen: Bools, mask: int
) -> None:
    """Fill in what a chunk of entries looks at: keys [n] from `key` on and, from `mask` on, what
    is unseen [w, n].

    What an entry has of the ancestors that earlier ones have found it has up to its joint, the
    lowest of them, as the one has that found it.
    """
    trees.counts[STAMPS] += 1
    stamp, size, n = trees.counts[STAMPS], 0, chunk[3]
    for row in range(chunk[1]):
        first = slot = slots[chunk[0] + row]
        own, new = mask + row * n, 0
        while slot >= 0 and trees.slots[slot, STAMP] != stamp:
            new += 1
            slot = trees.slots[slot, ABOVE]
        unseen[own] = True
        if slot >= 0:
            other = mask + trees.slots[slot, OWNER] * n
            for column in range(trees.slots[slot, COLUMN] + 1):
                unseen[own + column] = unseen[other + column]
        slot = first
        for column in range(size + new - 1, size - 1, -1):
            keys[key + column] = slot
            unseen[own + column] = False
            trees.slots[slot, STAMP], trees.slots[slot, COLUMN], trees.slots[slot, OWNER] = (
                stamp,
                column,
                row,
            )
            slot = trees.slots[slot, ABOVE]
        size += new


@kernel
def laid_out(trees: Trees, slots: Ints, asked: Ints) -> tuple[Ints, Ints, Bools, Ints]:
    """`numbers`, `sizes`, `unseen` and `blocks` of a `Packed`."""
    count = len(slots)
    chunks = cut(trees, slots)
    order, blocks = alike(chunks)
    queries = keys = masked = 0
    for b in range(len(blocks)):
        c, w, n = blocks[b, 0], blocks[b, 1], blocks[b, 2]
        queries, keys, masked = queries + c * w, keys + c * n, masked + c * w * n
    sizes = np.empty(9, np.int64)
    sizes[:3], sizes[3], sizes[4], sizes[5:7], sizes[7:] = count, len(asked), count, queries, keys
    total = 4 * count + len(asked) + 2 * queries + 2 * keys
    numbers, unseen = np.zeros(total, np.int64), np.empty(masked, np.bool_)
    unseen[:] = True
    for i in range(count):
        entry = trees.slots[slots[i], ENTRY]
        numbers[i] = trees.nodes[entry >> 1, TOKEN]
        numbers[count + i] = trees.slots[slots[i], POSITION]
        numbers[2 * count + i] = slots[i]
    for i in range(len(asked)):
        numbers[3 * count + i] = asked[i]
    answer = 3 * count + len(asked)
    query = answer + count
    key = query + 2 * queries
    mask = at = 0
    for b in range(len(blocks)):
        c, w, n = blocks[b, 0], blocks[b, 1], blocks[b, 2]
        for chunk in order[at : at + c]:
            for row in range(w):
                unseen[mask + row * n] = False
            first, length = chunks[chunk, 0], chunks[chunk, 2]
            chunks[chunk, 3] = n
            _look(trees, slots, chunks[chunk], numbers, key, unseen, mask)
            for i in range(length):
                numbers[key + keys + i] = trees.slots[numbers[key + i], POSITION]
            for i in range(chunks[chunk, 1]):
                numbers[answer + first + i] = query + i - answer - count
                numbers[query + i] = first + i
                numbers[query + queries + i] = trees.slots[slots[first + i], POSITION]
            query, key, mask = query + w, key + n, mask + w * n
        at += c
    return numbers, sizes, unseen, blocks


@kernel
def pack(trees: Trees, states: Ints, budget: int) -> Packed:
    """The next call, of at most `budget` entries, for nodes that are asked for, of which the first
    one is no root without BOS."""
    found, answered = planned(trees, states, budget)
    order = depth_first(trees, found)
    slots, fresh = np.empty(len(found), np.int64), np.empty(len(found), np.int64)
    count = 0
    for i in range(len(order)):
        entry = found[order[i]]
        slots[i] = slot_of(trees, entry)
        if slots[i] < 0:
            slots[i] = fresh[count] = take(trees, entry)
            count += 1
        trees.nodes[entry >> 1, PLACE + (entry & 1)] = i
    asked = np.empty(max(1, answered), np.int64)
    asked[0] = place_of(trees, found[len(found) - 1])
    for i in range(answered):
        asked[i] = trees.nodes[states[i], PLACE]
    for entry in found:
        trees.nodes[entry >> 1, PLACE + (entry & 1)] = -1
    numbers, sizes, unseen, blocks = laid_out(trees, slots, asked)
    return Packed(answered, fresh[:count], numbers, sizes, unseen, blocks)
