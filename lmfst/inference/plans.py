"""Plans: what the rows of a request have to give, made in one pass (`lmfst.inference.row_plan`).

A request names (lexicon state, position) pairs; a plan is made for each different one. The plans of
a request lie in flat arrays, those of a lexicon next to each other. Whether a child hypothesis can
still contribute to anything is asked of the machine, once for each lexicon state and kind of place
of the batch's targets, and only where a plan has such a child: asking a machine that is
determinised on the way costs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmfst.fst.pattern import OneOf, Place
from lmfst.ground.arrays import Ints
from lmfst.inference.query import Layout
from lmfst.inference.row_plan import NO, YES, Filled, Places, Sizes, fill, unknown, walk
from lmfst.lexicon import Lexicon, Lexicons
from lmfst.lexicon.lexicon import Trie


class PlanTable(NamedTuple):
    """The plans of a request.

    depth: int64 [plans]; row sums are asked for the prefixes of 1 .. depth symbols. range: int64
    [plans]; the tokens that are summed over are tokens[range_first : range_first + range_count].

    A plan's pieces are those from piece_first on, piece_count of them, disjoint and in order: the
    tokens at places piece_begin … piece_begin + piece_size - 1 of its range. The mass of a piece
    counts for the prefixes of up to piece_depth symbols (0: for none).
    Its slots: the mass of `slot_symbol` being next after slot_depth symbols is the sum over
    slot_pieces pieces, the first of which is slot_piece.
    Its children: child_token is read up to child_depth symbols, child_next the lexicon state after.

    Arrays are int64, tokens int32; they are valid until the next request.
    """

    depth: Ints
    range: Ints
    range_first: Ints
    range_count: Ints
    tokens: NDArray[np.int32]
    piece_first: Ints
    piece_count: Ints
    slot_first: Ints
    slot_count: Ints
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


_PER_PLAN = {"depth", "range"} | {
    f"{kind}_{what}" for kind in ("piece", "slot", "child") for what in ("first", "count")
}


def _list_of(name: str) -> str:
    """The list that an array belongs to."""
    return "plan" if name in _PER_PLAN else name.split("_")[0]


class Plans:
    """Makes the plans of a batch."""

    def __init__(self, layout: Layout, lexicons: Lexicons) -> None:
        self._lexicons = lexicons
        self._places, self._kinds = _places(layout)
        self._known = np.zeros((1, len(self._kinds)), dtype=np.int8)
        self._ranges: dict[tuple[bytes, int, int], int] = {}
        self._layout = layout
        # A guide knows the states of the machine itself.
        self._whole = any(query.backward is not None for query in layout.queries)
        self._path = np.zeros(1024, dtype=np.int64)
        self._depths = np.zeros(1024, dtype=np.int64)
        self._store: dict[str, Any] = {
            name: np.zeros(1024, dtype=np.int32 if name == "tokens" else np.int64)
            for name in PlanTable._fields
        }

    def cut(self, lexicon: Ints, position: Ints) -> Ints:
        """Lexicon states [n] of hypotheses at some positions: where output waits, those that tell
        only what their targets can."""
        if self._whole:
            return lexicon
        found = lexicon.copy()
        for i in np.flatnonzero(self._lexicons.are_pending(lexicon)).tolist():
            query, offset = self._layout.place(int(position[i]))
            target, goes_on = self._layout.queries[query].target, self._layout.queries[query].ends
            found[i] = self._lexicons.cut(int(lexicon[i]), target, offset, goes_on=goes_on)
        return found

    def make(self, lexicon: Ints, position: Ints) -> tuple[PlanTable, Ints]:
        """The plans of hypotheses [n] in some lexicon states at some positions, and which plan,
        int64 [n], each has."""
        code = lexicon * len(self._places.kind) + position
        distinct, inverse = np.unique(code, return_inverse=True)
        states, positions = np.divmod(distinct, len(self._places.kind))
        begin = np.flatnonzero(np.diff(states, prepend=-1)).tolist()
        for name in _PER_PLAN:
            self._room(name, 0, len(distinct))
        ends = dict.fromkeys(("range", "tokens", "piece", "slot", "child"), 0)
        self._ranges.clear()
        for first, last in zip(begin, [*begin[1:], len(distinct)], strict=True):
            self._add(int(states[first]), positions[first:last], first, ends)
        ends["plan"] = len(distinct)
        found = {name: array[: ends[_list_of(name)]] for name, array in self._store.items()}
        return PlanTable(**found), inverse

    def _add(self, state: int, positions: Ints, first: int, ends: dict[str, int]) -> None:
        """Add the plans of a lexicon. ends: where things end."""
        lexicon = self._lexicons[state]
        trie, places, store = lexicon.trie, self._places, self._store
        size = len(positions)
        sizes = Sizes(*np.zeros((len(Sizes._fields), size), dtype=np.int64))
        while (ranges := walk(trie, places, positions, sizes, self._path, self._depths)) < 0:
            self._path = np.zeros(2 * len(self._path), dtype=np.int64)
            self._depths = np.zeros_like(self._path)
        here = slice(first, first + size)
        for kind, count in (
            ("piece", sizes.pieces),
            ("slot", sizes.slots),
            ("child", sizes.children),
        ):
            store[f"{kind}_first"][here] = ends[kind] + np.cumsum(count) - count
            begin, ends[kind] = ends[kind], ends[kind] + int(count.sum())
            for name in PlanTable._fields:
                if _list_of(name) == kind:
                    self._room(name, begin, ends[kind])
        store["slot_count"][here] = sizes.slots
        numbers = self._add_ranges(lexicon, sizes, ranges, ends)
        store["range"][here] = numbers[sizes.range]
        self._find_out(trie, positions, sizes)
        out = Filled(*(store[n][here] if n in _PER_PLAN else store[n] for n in Filled._fields))
        fill(trie, places, positions, sizes, self._path, self._depths, self._known, out)

    def _add_ranges(
        self, lexicon: Lexicon, sizes: Sizes, ranges: int, ends: dict[str, int]
    ) -> Ints:
        """Add the tokens of ranges, if they aren't there yet. Returns the number of each."""
        numbers = []
        for i in range(ranges):
            begin, size = int(sizes.range_first[i]), int(sizes.range_count[i])
            key = (lexicon.order, begin, size)
            if key not in self._ranges:
                number, at = ends["range"], ends["tokens"]
                self._ranges[key] = number
                ends["range"], ends["tokens"] = number + 1, at + size
                self._room("range_first", number, number + 1)
                self._room("range_count", number, number + 1)
                self._room("tokens", at, at + size)
                self._store["range_first"][number] = at
                self._store["range_count"][number] = size
                self._store["tokens"][at : at + size] = lexicon.tokens[begin : begin + size]
            numbers.append(self._ranges[key])
        return np.array(numbers, dtype=np.int64)

    def _room(self, name: str, used: int, size: int) -> None:
        """Make room in an array for so many elements, of which some are used already."""
        old = self._store[name]
        if size > len(old):
            self._store[name] = np.zeros(2 * size, dtype=old.dtype)
            self._store[name][:used] = old[:used]

    def _find_out(self, trie: Trie, positions: Ints, sizes: Sizes) -> None:
        """Find out whether the children of plans are of any use, where it isn't known."""
        states = self._lexicons.size
        if states > len(self._known):
            # What isn't touched takes no memory.
            more = np.zeros((2 * states, len(self._kinds)), dtype=np.int8)
            more[: len(self._known)] = self._known
            self._known = more
        asked = np.empty((int(sizes.children.sum()), 2), dtype=np.int64)
        known = self._known
        count = unknown(
            trie, self._places, positions, sizes, self._path, self._depths, known, asked
        )
        viable = self._lexicons.viable
        for state, kind in asked[:count].tolist():
            yes = any(viable(state, symbol) for symbol in self._kinds[kind])
            known[state, kind] = YES if yes else NO


def _places(layout: Layout) -> tuple[Places, list[tuple[int, ...]]]:
    """The places of a batch's targets, and the symbols of each kind."""
    numbers: dict[tuple[int, ...], int] = {(): 0}
    kind, wanted, last = [], [], []
    names: dict[Place, int] = {}
    for query, base in zip(layout.queries, layout.base.tolist(), strict=True):
        for place in query.target:
            if place not in names:
                symbols = tuple(sorted(place)) if isinstance(place, OneOf) else (place,)
                names[place] = numbers.setdefault(symbols, len(numbers))
            kind.append(names[place])
        kind.append(0)
        size = len(query.target) + 1
        wanted += [offset in query.wanted for offset in range(size)]
        last += [base + query.last] * size
    kinds = list(numbers)
    sizes = np.array([0, *map(len, kinds)], dtype=np.int64)
    here = np.array(wanted, dtype=bool)
    which = np.array(kind, dtype=np.int64)
    return (
        Places(
            kind=which,
            kind_first=np.cumsum(sizes),
            kind_symbols=np.array([s for symbols in kinds for s in symbols], dtype=np.int64),
            wanted=here,
            # Whether a child is of use may not be known where its symbol mustn't be.
            free=here | (which == 0) | np.array([q.alone for q in layout.queries])[layout.document],
            last=np.array(last, dtype=np.int64),
        ),
        kinds,
    )
