"""The check that a transducer is a function, decided on its square, with delays.

Two runs over the same input are one run of the square, a graph over pairs of states. Follow both
outputs and cancel what they share; what is left, the delay, is a word that one side is ahead by.
The transducer is functional iff, in the trim part of the square, every pair has a single delay,
that is never a mismatch and is empty where both states are final (Béal, Carton, Prieur and
Sakarovitch 2003, "Squaring transducers"). A move that reads nothing moves one side only.

Two shortcuts: runs may be taken to differ from the start of the square on, so the diagonal only
spawns pairs of different arcs, and a way back to it must have an empty delay; and (p, q) stands for
(q, p) too, with the delay turned round. All pairs of one distance are expanded at once, in numpy.
Infinitely ambiguous but functional transducers pass. Not done: finding a shortest witness.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

from lmfst.fst.core import EPS, Fst, Int32
from lmfst.ground.arrays import Bools, Ints, spans
from lmfst.ground.errors import BudgetError

Witness = tuple[bytes, tuple[int, ...], tuple[int, ...]]
Delay = tuple[int, tuple[int, ...]]
"""(1, w): the first side is ahead by w; (-1, w): the second is."""

_NO_DELAY: Delay = (1, ())
_STAY = -1
"""The "arc" of a side that doesn't move."""

_LABELS = 258


class _Edges(NamedTuple):
    """Moves of the square: pair numbers, the arc of each side (or _STAY), whether sides swap."""

    src: Int32
    dst: Int32
    left: Int32
    right: Int32
    swap: Bools

    def take(self, rows: Ints | Bools) -> _Edges:
        src, dst, left, right = (column[rows] for column in self[:4])
        return _Edges(src, dst, left, right, self.swap[rows])


def functional_witness(fst: Fst, *, max_moves: int = 10_000_000) -> Witness | None:
    """None if every input has at most one output, else (input, one output, another output).

    BudgetError, undecided, if the square has more than `max_moves` moves (some 70 bytes each).
    """
    fst = fst.trim()
    if not fst.final.any():
        return None
    square = _Square(fst, max_moves)
    return _Delays(fst, square).conflict()


class _Square:
    """The accessible part of the square. Pairs 0..n_states-1 are the diagonal.

    first, second: int64 [n_pairs], the states of a pair
    edges:         all moves, sorted by source pair
    onward:        int64 [n_pairs]: the first move of a path to a final pair or the diagonal, -1 on
                   these, -2 where no such path exists
    """

    def __init__(self, fst: Fst, max_moves: int) -> None:
        self.fst = fst
        size = fst.n_states
        bounds = fst.arc_ptr.astype(np.int64)
        self._bounds = bounds
        self._key = fst.src.astype(np.int64) * _LABELS + fst.ilabel + 1
        epsilons = np.bincount(fst.src[fst.ilabel == EPS], minlength=size)
        self._reading = bounds[:-1] + epsilons
        self._codes = [state * size + state for state in range(size)]
        self._numbers = {code: state for state, code in enumerate(self._codes)}
        self._explore(max_moves)
        self._find_onward()

    def _explore(self, max_moves: int) -> None:
        diagonal = np.arange(self.fst.n_states, dtype=np.int64)
        frontier, pairs = diagonal, [(diagonal, diagonal)]
        parts: list[_Edges] = []
        moves = 0
        first, second = diagonal, diagonal
        while len(frontier):
            edges = self._moves(frontier, first, second, is_diagonal=not parts)
            parts.append(edges)
            moves += len(edges.src)
            if moves > max_moves:
                raise BudgetError(
                    f"more than {max_moves} moves while checking whether the FST is a function",
                    hint="optimise the transducer, or split the rule into a cascade",
                )
            start = int(frontier[-1]) + 1
            codes = np.array(self._codes[start:], dtype=np.int64)
            first, second = codes // self.fst.n_states, codes % self.fst.n_states
            frontier = np.arange(start, start + len(codes))
            pairs.append((first, second))
        src, dst, left, right, swap = (
            np.concatenate(column) for column in zip(*parts, strict=True)
        )
        self.edges = _Edges(src, dst, left, right, swap)
        self.first, self.second = (np.concatenate(column) for column in zip(*pairs, strict=True))

    def _moves(self, pairs: Ints, first: Ints, second: Ints, *, is_diagonal: bool) -> _Edges:
        """All moves from some pairs, sorted by pair."""
        bounds, reading = self._bounds, self._reading
        left, owner = spans(reading[first], bounds[first + 1])
        wanted = second[owner] * _LABELS + self.fst.ilabel[left] + 1
        lows = np.searchsorted(self._key, wanted, "left")
        right, which = spans(lows, np.searchsorted(self._key, wanted, "right"))
        owner, left = owner[which], left[which]
        if is_diagonal:
            different = left < right
            owner, left, right = owner[different], left[different], right[different]
        arcs, alone = spans(bounds[first], reading[first])
        owners, lefts, rights = [owner, alone], [left, arcs], [right, np.full_like(arcs, _STAY)]
        if not is_diagonal:
            arcs, alone = spans(bounds[second], reading[second])
            owners.append(alone)
            lefts.append(np.full_like(arcs, _STAY))
            rights.append(arcs)
        owner, left, right = (np.concatenate(part) for part in (owners, lefts, rights))
        order = np.argsort(owner, kind="stable")
        owner, left, right = owner[order], left[order], right[order]
        targets_1 = np.where(left == _STAY, first[owner], self.fst.dst[left])
        targets_2 = np.where(right == _STAY, second[owner], self.fst.dst[right])
        swap = targets_1 > targets_2
        lesser, greater = np.minimum(targets_1, targets_2), np.maximum(targets_1, targets_2)
        code = lesser * np.int64(self.fst.n_states) + greater
        src, dst = pairs[owner].astype(np.int32), self._number(code).astype(np.int32)
        return _Edges(src, dst, left.astype(np.int32), right.astype(np.int32), swap)

    def _number(self, codes: Ints) -> Ints:
        """The numbers of pairs; new ones get the next numbers."""
        distinct, inverse = np.unique(codes, return_inverse=True)
        for code in distinct.tolist():
            if code not in self._numbers:
                self._numbers[code] = len(self._codes)
                self._codes.append(code)
        known = [self._numbers[code] for code in distinct.tolist()]
        return np.array(known, dtype=np.int64)[inverse]

    def _find_onward(self) -> None:
        """Breadth-first from the final pairs and the diagonal, against the moves."""
        final = self.fst.final
        ends = final[self.first] & final[self.second]
        ends[: self.fst.n_states] = True
        onward = np.where(ends, -1, -2)
        order = np.argsort(self.edges.dst, kind="stable")
        bounds = np.searchsorted(self.edges.dst[order], np.arange(len(onward) + 1))
        level = np.flatnonzero(ends)
        while len(level):
            rows, _ = spans(bounds[level], bounds[level + 1])
            rows = order[rows]
            rows = rows[onward[self.edges.src[rows]] == -2]
            onward[self.edges.src[rows]] = rows
            level = np.unique(self.edges.src[rows])
        self.onward = onward


class _Delays:
    """Delays of the trim square, and the two runs behind a conflict."""

    def __init__(self, fst: Fst, square: _Square) -> None:
        self.fst = fst
        self.square = square
        self.edges = square.edges.take(square.onward[square.edges.dst] != -2)
        self._bounds = np.searchsorted(self.edges.src, np.arange(len(square.first) + 1))
        # What each arc writes, as a rank: 0 for nothing. The last entry is the arc _STAY.
        self._symbols, ranks = np.unique([EPS, *fst.olabel.tolist()], return_inverse=True)
        self._wrote = np.append(ranks[1:], 0)
        # Delays are numbered; number 0 is none.
        self._words: list[Delay] = [_NO_DELAY]
        self._numbers: dict[Delay, int] = {_NO_DELAY: 0}
        # The move by which a pair was reached first (row of `edges`), and its delay then.
        self._reached = np.full(len(square.first), -1, dtype=np.int64)
        self._delay = np.full(len(square.first), -1, dtype=np.int64)

    def conflict(self) -> Witness | None:
        """Give every pair its delay, level by level; the witness of the first contradiction."""
        square, edges = self.square, self.edges
        diagonal = np.arange(self.fst.n_states)
        self._delay[diagonal] = 0
        final = self.fst.final[square.first] & self.fst.final[square.second]
        level = diagonal
        while len(level):
            rows, _ = spans(self._bounds[level], self._bounds[level + 1])
            delays = self._advance(rows)
            targets = edges.dst[rows]
            fresh, where = np.unique(targets, return_index=True)
            is_new = self._delay[fresh] == -1
            fresh, where = fresh[is_new], where[is_new]
            self._delay[fresh], self._reached[fresh] = delays[where], rows[where]
            wrong = (delays == -1) | (delays != self._delay[targets])
            wrong |= final[targets] & (delays != 0)
            if wrong.any():
                return self._witness(int(rows[np.flatnonzero(wrong)[0]]))
            level = fresh
        return None

    def _advance(self, rows: Ints) -> Ints:
        """The delay after each move, -1 for a mismatch."""
        edges, size = self.edges.take(rows), len(self._symbols)
        one, other = self._wrote[edges.left], self._wrote[edges.right]
        code = ((self._delay[edges.src] * size + one) * size + other) * 2 + edges.swap
        distinct, inverse = np.unique(code, return_inverse=True)
        after = [self._step(step) for step in distinct.tolist()]
        return np.array(after, dtype=np.int64)[inverse]

    def _step(self, code: int) -> int:
        rest, swap = divmod(code, 2)
        rest, second = divmod(rest, len(self._symbols))
        delay, first = divmod(rest, len(self._symbols))
        return self._number(
            delay, int(self._symbols[first]), int(self._symbols[second]), bool(swap)
        )

    def _number(self, delay: int, first: int, second: int, swap: bool) -> int:
        """The number of the delay after both sides wrote; -1 for a mismatch."""
        sign, word = self._words[delay]
        ahead, behind = (word, ()) if sign > 0 else ((), word)
        ahead += (first,) if first != EPS else ()
        behind += (second,) if second != EPS else ()
        shared = min(len(ahead), len(behind))
        if ahead[:shared] != behind[:shared]:
            return -1
        sign, word = (1, ahead[shared:]) if len(ahead) >= len(behind) else (-1, behind[shared:])
        after: Delay = (-sign if swap and word else sign, word)
        if after not in self._numbers:
            self._numbers[after] = len(self._words)
            self._words.append(after)
        return self._numbers[after]

    def _witness(self, row: int) -> Witness:
        """Two runs over one input with different outputs, given a contradictory move.

        The move and the path by which its target was reached first have different delays there, or
        one of them has a wrong one, so no common continuation can mend both.
        """
        target = int(self.edges.dst[row])
        onward = self._onward(target)
        candidates = [[*self._path_to(int(self.edges.src[row])), row]]
        if self._reached[target] not in (-1, row):
            candidates.append(self._path_to(target))
        for rows in candidates:
            first, second = self._runs(rows, onward)
            (data, one), (same, other) = self._read(first), self._read(second)
            if data == same and one != other:
                return data, one, other
        raise AssertionError("a contradiction of delays without a witness")

    def _path_to(self, pair: int) -> list[int]:
        """Moves (rows of `edges`) from the diagonal to a pair."""
        rows: list[int] = []
        while pair >= self.fst.n_states:
            rows.append(int(self._reached[pair]))
            pair = int(self.edges.src[rows[-1]])
        return rows[::-1]

    def _onward(self, pair: int) -> list[tuple[int, int, bool]]:
        """Moves (arc, arc, swap) from a pair to a final pair or the diagonal, then to its end."""
        moves: list[tuple[int, int, bool]] = []
        edges = self.square.edges
        while self.square.onward[pair] >= 0:
            row = int(self.square.onward[pair])
            moves.append((int(edges.left[row]), int(edges.right[row]), bool(edges.swap[row])))
            pair = int(edges.dst[row])
        if pair < self.fst.n_states:
            moves += [(arc, arc, False) for arc in _path(self.fst, pair, to_final=True)]
        return moves

    def _runs(
        self, rows: list[int], onward: list[tuple[int, int, bool]]
    ) -> tuple[list[int], list[int]]:
        """The arcs of both runs, from the start state to final states."""
        edges = self.edges
        common = _path(self.fst, int(edges.src[rows[0]]), to_final=False)
        moves = [
            (int(edges.left[row]), int(edges.right[row]), bool(edges.swap[row])) for row in rows
        ]
        sides = (list(common), list(common))
        now = 0  # which run is the first of the pair at the moment
        for left, right, swap in [*moves, *onward]:
            sides[now].append(left)
            sides[1 - now].append(right)
            now ^= swap
        return sides

    def _read(self, run: list[int]) -> tuple[bytes, tuple[int, ...]]:
        arcs = [arc for arc in run if arc != _STAY]
        inputs, outputs = self.fst.ilabel[arcs].tolist(), self.fst.olabel[arcs].tolist()
        data = bytes(label for label in inputs if label != EPS)
        return data, tuple(label for label in outputs if label != EPS)


def _path(fst: Fst, state: int, *, to_final: bool) -> list[int]:
    """Arcs of a shortest path from `state` to a final state, or from the start to `state`."""
    begin = state if to_final else fst.start
    bounds, targets = fst.arc_ptr.tolist(), fst.dst.tolist()
    back: dict[int, tuple[int, int] | None] = {begin: None}
    queue = deque([begin])
    while queue:
        here = queue.popleft()
        if fst.final[here] if to_final else here == state:
            arcs: list[int] = []
            step = back[here]
            while step is not None:
                arcs.append(step[1])
                step = back[step[0]]
            return arcs[::-1]
        for arc in range(bounds[here], bounds[here + 1]):
            if targets[arc] not in back:
                back[targets[arc]] = (here, arc)
                queue.append(targets[arc])
    raise AssertionError(f"state {state} isn't on a path of a trimmed FST")
