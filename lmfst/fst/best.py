"""The best output of an input, and the best input of an output, by an FST's weights.

The weight of a path is the sum of its arcs' and of its final state's; the best path is the lightest
one, as OpenFst's `shortestpath` has it (the tropical semiring). Among equally light ones the
shortest output is taken, and of these the first in the order of symbols. An FST without weights has
the weight 0 everywhere.

Weights are added up exactly, as the shortest decimal numbers of their (single) precision, so that
0.1 + 0.2 is as light as 0.3.

Nodes are pairs (state, symbols of the given side read). The best rest of a path, from every node
to an end, is found from the last position backwards, within a position by relaxation (Bellman
1958), so weights may be negative; a walk forwards over sets of nodes then finds the first of the
best.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import cached_property
from typing import NamedTuple

import numpy as np

from lmfst.fst.core import EPS, Arc, Float64, Fst
from lmfst.ground.errors import BudgetError, FstError

Node = tuple[int, int]
"""(state, symbols read)"""
Cost = tuple[int, int]
"""(weight in units of `BestPaths.unit`, symbols written)"""

MAX_NODES = 5_000_000
_NOTHING = Decimal(0)


class Best(NamedTuple):
    """A best path: what it writes, and its weight."""

    written: tuple[int, ...]
    weight: float


class _Arc(NamedTuple):
    """An arc as seen from the side that is given. write: EPS for nothing."""

    write: int
    weight: int
    target: int


class BestPaths:
    """Finds best paths of one FST. inverse: from outputs to inputs."""

    def __init__(self, fst: Fst, *, inverse: bool = False) -> None:
        self._fst, self._inverse = fst, inverse

    @cached_property
    def _weights(self) -> tuple[list[Decimal], list[Decimal]]:
        """The weights of arcs and of states as decimal numbers."""
        fst = self._fst
        if fst.weight is None or fst.final_weight is None:
            return [_NOTHING] * fst.n_arcs, [_NOTHING] * fst.n_states
        return _decimals(fst.weight), _decimals(fst.final_weight)

    @cached_property
    def unit(self) -> int:
        """How many units of weight are 1: a power of 10 of which every weight is a whole number."""
        exponents = {weight.as_tuple().exponent for side in self._weights for weight in side}
        return int(10 ** max(0, -min((int(e) for e in exponents), default=0)))

    @cached_property
    def arcs(self) -> list[dict[int, list[_Arc]]]:
        """The arcs of each state by what they read."""
        fst = self._fst
        read, write = (fst.olabel, fst.ilabel) if self._inverse else (fst.ilabel, fst.olabel)
        whole = [_whole(weight, self.unit) for weight in self._weights[0]]
        columns = (fst.src.tolist(), read.tolist(), write.tolist(), whole, fst.dst.tolist())
        arcs: list[dict[int, list[_Arc]]] = [{} for _ in range(fst.n_states)]
        for src, ilabel, olabel, w, dst in zip(*columns, strict=True):
            arcs[src].setdefault(ilabel, []).append(_Arc(olabel, w, dst))
        return arcs

    @cached_property
    def final(self) -> dict[int, int]:
        """The weights of final states."""
        last = self._weights[1]
        states = np.flatnonzero(self._fst.final).tolist()
        return {state: _whole(last[state], self.unit) for state in states}

    def of(self, given: Sequence[int]) -> Best | None:
        """The best path that reads `given`; None if there is none.

        FstError for a cycle that makes paths lighter without end, BudgetError for too many nodes.
        """
        rest = self._rest(given)
        if self._fst.start not in rest[0]:
            return None
        return Best(self._first(given, rest), rest[0][self._fst.start][0] / self.unit)

    def _reached(self, given: Sequence[int]) -> list[set[int]]:
        """The states that can be reached at each position."""
        found = [self._closed({self._fst.start})]
        size = len(found[0])
        for symbol in given:
            ahead = {arc.target for state in found[-1] for arc in self.arcs[state].get(symbol, ())}
            found.append(self._closed(ahead))
            size += len(found[-1])
            if size > MAX_NODES:
                raise BudgetError(
                    f"more than {MAX_NODES} nodes while seeking the best path",
                    hint="the text is too long for this transducer; apply it to shorter pieces",
                )
        return found

    def _closed(self, states: set[int]) -> set[int]:
        """The states and those that arcs which read nothing lead to."""
        stack = list(states)
        while stack:
            for arc in self.arcs[stack.pop()].get(EPS, ()):
                if arc.target not in states:
                    states.add(arc.target)
                    stack.append(arc.target)
        return states

    def _rest(self, given: Sequence[int]) -> list[dict[int, Cost]]:
        """The least cost from each reachable node to an end, by position and state; none for nodes
        from which no end is reached."""
        reached = self._reached(given)
        last = {q: (w, 0) for q, w in self.final.items() if q in reached[-1]}
        rest = [self._relaxed(reached[-1], last)]
        for at in range(len(given) - 1, -1, -1):
            found: dict[int, Cost] = {}
            for state in reached[at]:
                costs = [
                    _after(arc, rest[-1][arc.target])
                    for arc in self.arcs[state].get(given[at], ())
                    if arc.target in rest[-1]
                ]
                if costs:
                    found[state] = min(costs)
            rest.append(self._relaxed(reached[at], found))
        return rest[::-1]

    def _relaxed(self, states: set[int], found: dict[int, Cost]) -> dict[int, Cost]:
        """The costs within a position, when arcs that read nothing may be taken, too."""
        silent = [(q, arc) for q in sorted(states) for arc in self.arcs[q].get(EPS, ())]
        for _ in range(len(states) + 1):
            changed = False
            for state, arc in silent:
                if arc.target in found:
                    cost = _after(arc, found[arc.target])
                    if state not in found or cost < found[state]:
                        found[state] = cost
                        changed = True
            if not changed:
                return found
        does = "writes" if self._inverse else "reads"
        raise FstError(
            f"there is no best path: a cycle that {does} nothing has a negative weight",
            hint="give the cycle weights of at least 0",
        )

    def _first(self, given: Sequence[int], rest: list[dict[int, Cost]]) -> tuple[int, ...]:
        """Of the strings that best paths write, the first in the order of symbols."""
        written: list[int] = []
        nodes: set[Node] = {(self._fst.start, 0)}
        while True:
            following: dict[int, set[Node]] = {}
            stack = list(nodes)
            while stack:
                node = stack.pop()
                for write, after in self._best_moves(node, given, rest):
                    if write != EPS:
                        following.setdefault(write, set()).add(after)
                    elif after not in nodes:
                        nodes.add(after)
                        stack.append(after)
            # All best paths write equally many symbols.
            if not following:
                return tuple(written)
            written.append(min(following))
            nodes = following[written[-1]]

    def _best_moves(
        self, node: Node, given: Sequence[int], rest: list[dict[int, Cost]]
    ) -> list[tuple[int, Node]]:
        """(symbol written, next node) of the moves from a node that lie on best paths."""
        state, at = node
        ahead = [(arc, at) for arc in self.arcs[state].get(EPS, ())]
        if at < len(given):
            ahead += [(arc, at + 1) for arc in self.arcs[state].get(given[at], ())]
        return [
            (arc.write, (arc.target, after))
            for arc, after in ahead
            if arc.target in rest[after] and _after(arc, rest[after][arc.target]) == rest[at][state]
        ]


def _after(arc: _Arc, rest: Cost) -> Cost:
    return arc.weight + rest[0], rest[1] + (arc.write != EPS)


class PairWeights:
    """Finds the weights of pairs of input and output of one FST."""

    def __init__(self, fst: Fst) -> None:
        self._fst, self._paths = fst, BestPaths(fst)

    def of(self, given: bytes, written: Sequence[int]) -> float:
        """The weight of the lightest path that reads and writes these; inf if there is none.

        FstError for a cycle that makes paths lighter without end.
        """
        found = BestPaths(self._only(given, written)).of(given)
        return float("inf") if found is None else found.weight

    def _only(self, given: bytes, written: Sequence[int]) -> Fst:
        """The part of the FST whose paths read and write two strings; its states are triples of a
        state and of what has been read and written."""
        paths = self._paths
        number = {(self._fst.start, 0, 0): 0}
        stack = [(self._fst.start, 0, 0)]
        arcs: dict[Arc, float] = {}
        while stack:
            node = state, i, j = stack.pop()
            write = (EPS, *written[j : j + 1])
            for read in (EPS, *given[i : i + 1]):
                for arc in paths.arcs[state].get(read, ()):
                    if arc.write not in write:
                        continue
                    after = (arc.target, i + (read != EPS), j + (arc.write != EPS))
                    if after not in number:
                        number[after] = len(number)
                        stack.append(after)
                    key = (number[node], read, arc.write, number[after])
                    arcs[key] = arc.weight / paths.unit
        ends = (len(given), len(written))
        finals = {
            key: paths.final[state] / paths.unit
            for (state, i, j), key in number.items()
            if (i, j) == ends and state in paths.final
        }
        made = Fst.from_arcs(arcs, 0, finals, self._fst.symbols, n_states=len(number))
        return made.weighted(arcs, finals)


def _decimals(weights: Float64) -> list[Decimal]:
    """The shortest decimal numbers that have the single precision of weights. OpenFst gives weights
    as text of 9 digits, more than that and fewer than double precision."""
    values, number = np.unique(weights, return_inverse=True)
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    if not np.isfinite(single).all():
        raise FstError("expected finite weights of single precision, found one that is none")
    found = [Decimal(str(value)) for value in single]
    return [found[at] for at in number.ravel().tolist()]


def _whole(weight: Decimal, unit: int) -> int:
    # By way of a fraction, because products of decimal numbers are rounded.
    top, bottom = weight.as_integer_ratio()
    return top * unit // bottom
