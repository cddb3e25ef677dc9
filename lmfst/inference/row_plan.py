"""What one LM row has to give, for (lexicon state, position) pairs: kernels that make plans.

For a known target y, every hypothesis in lexicon state s at offset o needs the same numbers of its
row: the mass of the tokens whose output begins with y[o:o+k] (it covers offset o+k), and the
probability of every token whose output is exactly y[o:o+k] (it makes a child hypothesis there). The
trie nodes of the prefixes of y[o:] are the *path*, in depth-first order; where y leaves a place
open (`lmfst.fst.pattern`), several nodes of the path have one depth.

The tokens that a plan sums over are cut into *pieces*, each a run of tokens in output order of
which the same is asked: the depth of the deepest node of the path above it says which prefixes of y
its mass counts for. Where the distribution of the next symbol is asked for, a *slot*, the child of
a node of the path, is a run of pieces. Sums run over disjoint pieces: no difference of nearly equal
numbers is ever taken. `lmfst.inference.plans` holds the arrays that are filled here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmfst.ground.arrays import Bools, Int, Ints
from lmfst.ground.kernels import kernel
from lmfst.lexicon.lexicon import Trie

PIECE = 128
"""Pieces end at multiples of this in their range, so that most of them are those of other plans,
too. Also what a device adds up at once."""
UNKNOWN, NO, YES, ASKED = 0, 1, 2, 3
"""What is known of whether a lexicon state can go on with a place of the target."""


class Places(NamedTuple):
    """The targets of a batch, by position.

    kind: int64 [positions]; equal places of targets are of one kind, ends of targets of another.
    kind_first: int64 [kinds + 1], kind_symbols: int64; the symbols of a kind, in order, none at an
    end. wanted: bool; whether the distribution of the next symbol is asked for. free: bool; whether
    every child there is of use. last: int64; where the last children may stand.
    """

    kind: Ints
    kind_first: Ints
    kind_symbols: Ints
    wanted: Bools
    free: Bools
    last: Ints


class Sizes(NamedTuple):
    """Of each plan, int64 [plans], those of a lexicon following each other: its path, in nodes from
    `node_first` on; at most so many pieces, slots and children; its range of tokens, which
    `range_first` and `range_count` say of each range, in the lexicon."""

    node_first: Ints
    nodes: Ints
    pieces: Ints
    slots: Ints
    children: Ints
    range: Ints
    range_first: Ints
    range_count: Ints


class Filled(NamedTuple):
    """Plans, filled in from where `piece_first`, … say; see `lmfst.inference.plans.PlanTable`."""

    depth: Ints
    piece_first: Ints
    piece_count: Ints
    slot_first: Ints
    child_first: Ints
    child_count: Ints
    piece_begin: Ints
    piece_size: Ints
    piece_depth: Ints
    slot_symbol: Ints
    slot_depth: Ints
    slot_piece: Ints
    slot_pieces: Ints
    child_token: Ints
    child_next: Ints
    child_depth: Ints


@kernel
def child_of(trie: Trie, node: Int, symbol: Int) -> Int:
    """The child of a node by a symbol, or -1."""
    first, end = trie.child_ptr[node], trie.child_ptr[node + 1]
    last = end
    while first < last:
        middle = (first + last) // 2
        if trie.symbol[middle] < symbol:
            first = middle + 1
        else:
            last = middle
    return first if first < end and trie.symbol[first] == symbol else -1


@kernel
def range_of(begin: Int, count: Int, ranges: Int, sizes: Sizes) -> Int:
    """The number of a range among the first ones, or the next number."""
    for i in range(ranges):
        if sizes.range_first[i] == begin and sizes.range_count[i] == count:
            return i
    sizes.range_first[ranges], sizes.range_count[ranges] = begin, count
    return ranges


@kernel
def walk(
    trie: Trie, places: Places, positions: Ints, sizes: Sizes, nodes: Ints, depths: Ints
) -> Int:
    """Find the paths of the plans at some positions, and their sizes. Returns the number of ranges,
    or -1 if there is no room for the paths in nodes and depths."""
    stack = np.empty((len(nodes), 2), np.int64)
    at: Int = np.int64(0)
    ranges: Int = np.int64(0)
    for plan in range(len(positions)):
        here, start = positions[plan], at
        stack[0, 0] = stack[0, 1] = 0
        waiting, pieces, slots, children = 1, 1, 0, 0
        begin, end = -1, 0
        while waiting:
            waiting -= 1
            node, depth = stack[waiting, 0], stack[waiting, 1]
            place = here + depth
            first = places.kind_first[places.kind[place]]
            last = places.kind_first[places.kind[place] + 1]
            if at == len(nodes) or waiting + last - first > len(nodes):
                return -1
            nodes[at], depths[at] = node, depth
            at += 1
            for i in range(last - 1, first - 1, -1):
                child = child_of(trie, node, places.kind_symbols[i])
                if child >= 0:
                    stack[waiting, 0], stack[waiting, 1] = child, depth + 1
                    waiting += 1
            pieces += 2
            if place <= places.last[here]:
                children += trie.own[node] - trie.low[node]
            if places.wanted[place]:
                found = trie.child_ptr[node + 1] - trie.child_ptr[node]
                slots += found
                pieces += 2 * found
            if depth == 1:
                begin = trie.low[node] if begin < 0 else begin
                end = trie.high[node]
        if places.wanted[here]:
            begin, end = trie.own[0], trie.high[0]
        begin = max(begin, 0)
        sizes.node_first[plan], sizes.nodes[plan] = start, at - start
        sizes.pieces[plan] = pieces + (end - begin) // PIECE
        sizes.slots[plan], sizes.children[plan] = slots, children
        sizes.range[plan] = range_of(begin, end - begin, ranges, sizes)
        ranges = max(ranges, sizes.range[plan] + 1)
    return ranges


@kernel
def unknown(
    trie: Trie,
    places: Places,
    positions: Ints,
    sizes: Sizes,
    nodes: Ints,
    depths: Ints,
    known: NDArray[np.int8],
    asked: Ints,
) -> Int:
    """Collect the (lexicon state, kind of place) pairs [pairs, 2] that the children of plans depend
    on and `known` [states, kinds] doesn't tell; they are marked there. Returns their number."""
    count = 0
    for plan in range(len(positions)):
        here, first = positions[plan], sizes.node_first[plan]
        for at in range(first, first + sizes.nodes[plan]):
            place = here + depths[at]
            if place > places.last[here] or places.free[place]:
                continue
            kind = places.kind[place]
            for i in range(trie.low[nodes[at]], trie.own[nodes[at]]):
                state = trie.next[i]
                if state >= 0 and known[state, kind] == UNKNOWN:
                    known[state, kind] = ASKED
                    asked[count, 0], asked[count, 1] = state, kind
                    count += 1
    return count


@kernel
def cut(out: Filled, piece: Int, low: Int, high: Int, begin: Int, depth: Int) -> Int:
    """Pieces of the tokens [low, high) of a range that begins at `begin`, numbered from `piece` on.
    Returns the next number."""
    while low < high:
        size = min(PIECE - (low - begin) % PIECE, high - low)
        out.piece_begin[piece], out.piece_size[piece] = low - begin, size
        out.piece_depth[piece] = depth
        low += size
        piece += 1
    return piece


@kernel
def cut_below(
    trie: Trie, out: Filled, piece: Int, low: Int, high: Int, begin: Int, frame: Ints
) -> Int:
    """The same below an open node, whose frame see in `fill`."""
    node, depth, slot = frame[0], frame[1], frame[3]
    if slot < 0:
        return cut(out, piece, low, high, begin, depth) if depth else piece
    piece = cut(out, piece, low, min(high, np.int64(trie.own[node])), begin, depth)
    while frame[2] < trie.child_ptr[node + 1] and trie.low[frame[2]] < high:
        child = frame[2]
        here = slot + child - trie.child_ptr[node]
        out.slot_piece[here] = piece
        piece = cut(out, piece, np.int64(trie.low[child]), np.int64(trie.high[child]), begin, depth)
        out.slot_pieces[here] = piece - out.slot_piece[here]
        frame[2] += 1
    return piece


@kernel
def open_node(
    trie: Trie,
    places: Places,
    out: Filled,
    here: Int,
    node: Int,
    depth: Int,
    slot: Int,
    frame: Ints,
) -> Int:
    """Fill the frame of a node of the path. Returns the first slot that isn't its children's."""
    frame[0], frame[1], frame[2], frame[3], frame[4] = node, depth, trie.child_ptr[node], -1, -1
    if places.wanted[here + depth]:
        frame[3] = slot
        for child in range(trie.child_ptr[node], trie.child_ptr[node + 1]):
            out.slot_symbol[slot], out.slot_depth[slot] = trie.symbol[child], depth
            slot += 1
    return slot


@kernel
def fill_sums(
    trie: Trie,
    places: Places,
    here: Int,
    path: Ints,
    depths: Ints,
    begin: Int,
    end: Int,
    plan: Int,
    out: Filled,
) -> None:
    """Fill in the pieces and slots of a plan, its path given.

    Frames: a node of the path whose tokens are being passed, its depth, its child that comes next,
    the first slot of its children and its own slot, -1 where there is none.
    """
    frames = np.empty((len(path) + 1, 5), np.int64)
    piece = out.piece_first[plan]
    root: Int = np.int64(0)
    slot = open_node(trie, places, out, here, root, root, out.slot_first[plan], frames[0])
    top, low, deepest = 0, begin, root
    for at in range(1, len(path) + 1):
        depth = depths[at] if at < len(path) else 0
        while frames[top, 1] >= max(depth, 1):
            own, high = frames[top, 4], np.int64(trie.high[frames[top, 0]])
            piece = cut_below(trie, out, piece, low, high, begin, frames[top])
            low = high
            if own >= 0:
                out.slot_pieces[own] = piece - out.slot_piece[own]
            top -= 1
        if at == len(path):
            break
        node, above, high = path[at], frames[top], np.int64(trie.low[path[at]])
        piece = cut_below(trie, out, piece, low, high, begin, above)
        low, deepest = high, max(deepest, depth)
        slot = open_node(trie, places, out, here, node, depth, slot, frames[top + 1])
        if above[3] >= 0:
            own = above[3] + node - trie.child_ptr[above[0]]
            frames[top + 1, 4], out.slot_piece[own] = own, piece
            above[2] = node + 1
        top += 1
    piece = cut_below(trie, out, piece, low, end, begin, frames[0])
    out.depth[plan], out.piece_count[plan] = deepest, piece - out.piece_first[plan]


@kernel
def fill(
    trie: Trie,
    places: Places,
    positions: Ints,
    sizes: Sizes,
    nodes: Ints,
    depths: Ints,
    known: NDArray[np.int8],
    out: Filled,
) -> None:
    """Fill in plans, their paths given, and what is known of their children [states, kinds]."""
    for plan in range(len(positions)):
        here, first = positions[plan], sizes.node_first[plan]
        path = slice(first, first + sizes.nodes[plan])
        begin = sizes.range_first[sizes.range[plan]]
        end = begin + sizes.range_count[sizes.range[plan]]
        fill_sums(trie, places, here, nodes[path], depths[path], begin, end, plan, out)
        child = out.child_first[plan]
        for at in range(first, first + sizes.nodes[plan]):
            place = here + depths[at]
            if place > places.last[here]:
                continue
            kind, free = places.kind[place], places.free[place]
            for i in range(trie.low[nodes[at]], trie.own[nodes[at]]):
                state = trie.next[i]
                if state >= 0 and (free or known[state, kind] == YES):
                    out.child_token[child], out.child_next[child] = trie.tokens[i], state
                    out.child_depth[child] = depths[at]
                    child += 1
        out.child_count[plan] = child - out.child_first[plan]
