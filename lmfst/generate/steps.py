"""The most probable extensions of several strings by a unit.

Where every symbol is a unit an extension is a symbol, or ⊥. Where units are separated (words) it is
a string of symbols that a mark or ⊥ completes, the mark included: a word with [SEP] after it and
the same with [NOSEP] are two. They are found best first over all strings together, as in
`lmfst.generate.best_first`, where units that differ by their mark alone are one.

Not here: what becomes of extensions (`lmfst.generate.decode`).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from lmfst.fst.sequential import END
from lmfst.generate.best_first import MAX_EXPANSIONS, NOT_LIGHTER, TOGETHER
from lmfst.generate.in_step import Search
from lmfst.ground.errors import ZeroProbabilityError
from lmfst.inference.states import Extensible
from lmfst.target.units import Units

STRINGS = 32
"""Strings of several searches that are extended at once, at most, and two of each. Of a search by
itself some are extended that turn out not to be needed, which fills a call that costs little more
for them; what many searches need fills it anyway. (Eight prompts, three words each, the default
model: 46 s of processor time with 16 strings of each, 32 with 4, 35 with 2, 40 with 1.)"""


class Within(Protocol):
    """A deterministic acceptor over target symbols; states are ints, -1 where there is none."""

    start: int

    def step(self, state: int, symbol: int) -> int:
        """The state after a symbol; after ⊥ any state if the string may end, else -1."""
        ...

    def reads(self, state: int, begun: bytes) -> bool:
        """False only if it reads no character in a state that begins with some bytes, nor these
        as bytes that are no characters."""
        ...


class Stem(NamedTuple):
    """A string that is to be extended.

    logp: of its symbols, given the prompt, nats. state: the model after all of it, or, if `symbol`
    isn't None, after all but this, its last symbol. begun: whether its last unit isn't complete.
    within: the state of the acceptor. symbols: what comes after the prompt.
    """

    logp: float
    state: Extensible
    symbol: int | None
    begun: bool
    within: int
    symbols: tuple[int, ...]


class Extended(NamedTuple):
    """A string with one more unit. added: its new symbols, ⊥ or a mark last where one completed
    the unit."""

    stem: Stem
    added: tuple[int, ...]

    @property
    def has_ended(self) -> bool:
        """Whether it ends with ⊥."""
        return self.added[-1] == END


class _Waiting(NamedTuple):
    """Something in the queue: -log of its weight, a number that keeps ties in order of arrival,
    which string it extends, the symbols that it adds, whether it is complete."""

    cost: float
    number: int
    stem: Stem
    begun: bool
    added: tuple[int, ...]
    complete: bool


class Steps:
    """Finds extensions. within: what strings are kept to; None: all there are. searches: how many
    go on side by side.

    missing: what pruning makes strings lack, nats, at most, by estimate, as far as was looked.
    dead: why the last string that nothing can follow, as happens in products of models, has none.
    """

    def __init__(self, units: Units, within: Within | None, searches: int = 1) -> None:
        self._units, self._within = units, within
        self._together = min(TOGETHER, max(2, STRINGS // searches))
        self.missing = 0.0
        self.dead: ZeroProbabilityError | None = None

    def heaviest(self, stems: Sequence[Stem], count: int) -> Search[tuple[list[Extended], bool]]:
        """The `count` most probable extensions of all strings, most probable first; fewer where
        there are no more. Also whether the search was given up before it was done, since a unit
        has no end."""
        queue = [
            _Waiting(-stem.logp, i, stem, stem.begun, (), False) for i, stem in enumerate(stems)
        ]
        heapq.heapify(queue)
        best: list[float] = []  # costs of complete ones, negative, the heaviest `count`
        found: list[Extended] = []
        pushed, expanded = len(queue), 0
        while queue:
            if queue[0].complete:
                one = heapq.heappop(queue)
                found.append(Extended(one.stem, one.added))
                if len(found) == count:
                    break
                continue
            if expanded >= MAX_EXPANSIONS:
                return found, True
            bound = -best[0] if len(best) == count else float("inf")
            chosen = _choose(queue, bound, self._together)
            expanded += len(chosen)
            states = yield [(one.stem.state, one.stem.symbol) for one in chosen]
            for new in self._expanded(chosen, states):
                heapq.heappush(queue, new._replace(number=pushed))
                pushed += 1
                if new.complete:
                    heapq.heappush(best, -new.cost)
                    if len(best) > count:
                        heapq.heappop(best)
        return found, False

    def _expanded(
        self, chosen: Sequence[_Waiting], states: Sequence[Extensible]
    ) -> Iterator[_Waiting]:
        """What some entries are extended to by a symbol. states: the model after each."""
        for one, state in zip(chosen, states, strict=True):
            self.missing = max(self.missing, state.missing)
            try:
                symbols, logp = state.next_symbols()
            except ZeroProbabilityError as error:
                self.dead = error
                continue
            for a, p in zip(symbols.tolist(), logp.tolist(), strict=True):
                within = one.stem.within
                if self._within is not None:
                    within = self._within.step(within, a)
                    if within < 0:
                        continue
                stem = one.stem
                yield _Waiting(
                    one.cost - p,
                    0,
                    Stem(stem.logp + p, state, a, one.begun, within, (*stem.symbols, a)),
                    True,
                    (*one.added, a),
                    self._completes(a, one.begun),
                )

    def _completes(self, symbol: int, begun: bool) -> bool:
        """Whether a symbol completes a unit, or the string. begun: whether a unit has begun; a mark
        that begins one completes the one before it."""
        units = self._units
        if symbol == END or not units.marks or symbol in units.ends:
            return True
        return symbol in units.begins and begun


def begun(units: Units, symbols: Sequence[int]) -> bool:
    """Whether the last unit of a string isn't complete."""
    return bool(units.marks) and len(symbols) > 0 and symbols[-1] not in units.ends


def _choose(queue: list[_Waiting], bound: float, most: int) -> list[_Waiting]:
    """Take from a queue the strings that are extended next, so many at most: the heaviest, and
    those not much lighter, of those that weigh exp(-bound) at least."""
    chosen: list[_Waiting] = []
    passed: list[_Waiting] = []
    while queue and len(chosen) < most:
        if chosen and queue[0].cost > min(bound, chosen[0].cost + NOT_LIGHTER):
            break
        one = heapq.heappop(queue)
        (passed if one.complete else chosen).append(one)
    for one in passed:
        heapq.heappush(queue, one)
    return chosen
