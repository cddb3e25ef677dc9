"""What one LM row has to give, for a (lexicon state, offset) pair.

For a known target y, every hypothesis in lexicon state s at offset o needs the same numbers of its
row: the mass of the tokens whose output begins with y[o:o+k] (it covers offset o+k), and the
probability of every token whose output is exactly y[o:o+k] (it makes a child hypothesis there). A
`Plan` holds the token ranges once; `lmfst.inference.row_table` applies it to rows. Sums run over
disjoint segments: no difference of nearly equal numbers is ever taken. Where y leaves a place open
(`lmfst.fst.pattern`), several disjoint ranges make up what covers an offset.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmfst.fst.pattern import Place
from lmfst.ground.arrays import Floats, Ints
from lmfst.lexicon import Lexicon

FEW = 32
"""Up to this many, a set is quicker than a sorted array."""


@dataclass(frozen=True)
class Split:
    """The next-symbol split of a trie node at a depth: the symbols that its children add, int64
    [n]; the sums of their tokens are those that begin at cuts[first : first + n]."""

    depth: int
    symbols: Ints
    first: int


@dataclass(frozen=True)
class Plan:
    """Ranges of one (lexicon state, offset) pair, in places relative to `tokens`.

    tokens: int32 [range + 1]. Tokens whose probabilities are summed: those that begin with y[o], or
        all of them where the distribution at offset o itself is wanted. The last one is any token:
        it only makes the end of the range a place.
    range: where they begin and end among the lexicon's tokens; plans of a lexicon with one range
        have the same ones.
    cuts: int64 [cuts], for `numpy.add.reduceat` over the probabilities of `tokens`: segment i
        begins at cuts[i] and ends at cuts[i + 1] if that is larger. Some cuts only end a segment.
    nested: 0/1 [cuts, depth]. Column k - 1 picks the segments of the tokens that cover offset o+k.
    child_token, child_next, child_depth: int64 [children]. Tokens with output exactly y[o:o+depth],
        in order of depth, and the lexicon states after them.
    splits: next-symbol splits at the depths where a distribution is wanted.
    """

    tokens: NDArray[np.int32]
    range: tuple[int, int]
    depth: int
    cuts: Ints
    nested: Floats
    child_token: Ints
    child_next: Ints
    child_depth: Ints
    splits: tuple[Split, ...]


def make_plan(
    lexicon: Lexicon,
    target: Sequence[Place],
    *,
    useful: Callable[[int, int], bool],
    wanted: Sequence[int],
    children_to: int,
) -> Plan:
    """The plan of hypotheses before `target` (the symbols from the hypothesis' offset on).

    useful(next state, depth): False where a child can't contribute any more.
    wanted: depths k at which the distribution of the symbol after target[:k] is asked for.
    children_to: children are made at depths 0 .. children_to.
    """
    path, depths = lexicon.walk(target)
    low, own, high = (
        array[path].astype(np.int64) for array in (lexicon.low, lexicon.own, lexicon.high)
    )
    begin, end = _gathered_range(low, own, high, depths, 0 in wanted)
    if depths[-1] == len(path) - 1:
        cuts, nested = _segments(low[1:] - begin, high[1:] - begin)
    else:
        cuts, nested = _segments_of_sets(low[1:] - begin, high[1:] - begin, np.array(depths[1:]))
    splits = []
    for k in wanted:
        for node in path[bisect_left(depths, k) : bisect_right(depths, k)]:
            split, starts = _split(lexicon, node, k, begin, len(cuts))
            splits.append(split)
            cuts = np.concatenate([cuts, starts])
    child_token, child_next, child_depth = _children(lexicon, low, own, depths, useful, children_to)
    unused = np.zeros((len(cuts) - len(nested), depths[-1]))
    return Plan(
        tokens=_with_one_more(lexicon.tokens, begin, end),
        range=(begin, end),
        depth=depths[-1],
        cuts=cuts,
        nested=np.concatenate([nested, unused]),
        child_token=child_token,
        child_next=child_next,
        child_depth=child_depth,
        splits=tuple(splits),
    )


def _with_one_more(tokens: NDArray[np.int32], begin: int, end: int) -> NDArray[np.int32]:
    if begin == end:
        return tokens[:0]
    if end < len(tokens):
        return tokens[begin : end + 1]
    return np.append(tokens[begin:], tokens[:1])


def _gathered_range(
    low: Ints, own: Ints, high: Ints, depths: Sequence[int], everything: bool
) -> tuple[int, int]:
    if everything:
        return int(own[0]), int(high[0])
    if len(low) == 1:
        return 0, 0
    # Of several ranges, what lies between them, too: it is gathered and counts for nothing.
    last = bisect_right(depths, 1)
    return int(low[1]), int(high[last - 1])


def _segments(low: Ints, high: Ints) -> tuple[Ints, Floats]:
    """Cuts of nested ranges [low[k], high[k]), the last one an end, and which ranges have each."""
    cuts = np.unique(np.concatenate([low, high]))
    inside = (cuts[:, None] >= low[None, :]) & (cuts[:, None] < high[None, :])
    return cuts, inside.astype(np.float64)


def _segments_of_sets(low: Ints, high: Ints, depth: Ints) -> tuple[Ints, Floats]:
    """The same for ranges of which several, disjoint ones, have a depth (1, 2, …) together."""
    cuts = np.unique(np.concatenate([low, high]))
    change = np.zeros((len(cuts), int(depth[-1])))
    np.add.at(change, (np.searchsorted(cuts, low), depth - 1), 1.0)
    np.add.at(change, (np.searchsorted(cuts, high), depth - 1), -1.0)
    return cuts, np.cumsum(change, axis=0)


def _children(
    lexicon: Lexicon,
    low: Ints,
    own: Ints,
    path_depths: Sequence[int],
    useful: Callable[[int, int], bool],
    children_to: int,
) -> tuple[Ints, Ints, Ints]:
    tokens, after, depths = [], [], []
    for at, depth in enumerate(path_depths):
        if depth > children_to:
            break
        places = slice(int(low[at]), int(own[at]))
        states = lexicon.next[places]
        if not len(states):
            continue
        distinct = set(states.tolist()) if len(states) < FEW else np.unique(states).tolist()
        going_on = [s for s in distinct if s >= 0 and useful(s, depth)]
        kept = slice(None) if len(going_on) == len(distinct) else np.isin(states, going_on)
        tokens.append(lexicon.tokens[places][kept])
        after.append(states[kept])
        depths.append([depth] * len(tokens[-1]))
    if not tokens:
        return (np.zeros(0, np.int64),) * 3
    joined = (np.concatenate(parts).astype(np.int64) for parts in (tokens, after, depths))
    token, state, depth_of = joined
    return token, state, depth_of


def _split(lexicon: Lexicon, node: int, depth: int, begin: int, first: int) -> tuple[Split, Ints]:
    """The split of a trie node, and its cuts: where the tokens of each child begin, and an end."""
    children = slice(int(lexicon.child_ptr[node]), int(lexicon.child_ptr[node + 1]))
    starts = np.append(lexicon.low[children], lexicon.high[node]).astype(np.int64) - begin
    return Split(depth, lexicon.symbol[children].astype(np.int64), first), starts
