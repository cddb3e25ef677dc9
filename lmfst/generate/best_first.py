"""The most probable next units of several symbols, best first over strings of symbols.

A string of symbols weighs P_Y(prefix · string) / P_Y(prefix), and a unit is complete where a mark
(see `lmfst.target.units`) or the end ⊥ follows, with the mass of all of these. A string weighs at
least as much as what it is extended to, so units come in order of probability: one is found when
no string that may still be extended weighs more.

Strings are states (`lmfst.inference.states`). Several are extended at once, the heaviest one and
those not much lighter, and each goes on when it has its rows: a call of the model is for all of
them. (Measured, words: evaluating the likely rows of later calls with those of a call saves a sixth
of the calls, and takes as long.) Not here: units of one symbol, whose distribution a state has.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from lmfst.fst.sequential import END
from lmfst.ground.errors import ZeroProbabilityError
from lmfst.inference.states import Extensible
from lmfst.target.units import END_NAME, Units

TOGETHER = 16
"""Strings that are extended at once, at most."""
NOT_LIGHTER = math.log(16)
"""Log of how many times lighter than the heaviest one they may be."""
MAX_EXPANSIONS = 20_000

Unit = tuple[str, float]
"""(text of the unit, its logp in nats)"""
String = tuple[int, ...]


class _Waiting(NamedTuple):
    """A string: -log of its weight; a number that keeps ties in order of arrival; its symbols; and
    unless it is a complete unit, the state before its last symbol."""

    cost: float
    number: int
    string: String
    state: Extensible | None


@dataclass(frozen=True)
class Limits:
    """Where a search ends: after so many units (`top`), where they have so much of the probability
    (`mass`; what is rounded may sum to 1 with units still to come, so inf is none), or after so
    many seconds."""

    top: int | None = None
    mass: float = math.inf
    seconds: float = math.inf


@dataclass
class Found:
    """What a search has found. units: in order of probability. ended: what ended it: "top",
    "mass", "seconds", "strings" (after `MAX_EXPANSIONS`), or "all" where nothing is left. missing:
    what pruning on the way makes the strings lack, nats, at most, by estimate."""

    units: list[Unit] = field(default_factory=list)
    ended: str = "all"
    missing: float = 0.0

    @property
    def mass(self) -> float:
        """The probability of the units."""
        # Sums of what is rounded may be above 1 in the last digit.
        return min(1.0, math.fsum(math.exp(logp) for _, logp in self.units))


class Search:
    """The search for the units after a state. begun: the symbols of a unit that its prefix has
    begun, which is shown whole."""

    def __init__(self, units: Units, start: Extensible) -> None:
        self._units = units
        prefix = start.symbols
        spans = units.spans(prefix)
        ended = not spans or prefix[-1] in units.ends
        self._begun = [] if ended else list(prefix[spans[-1][0] :])
        self._queue: list[_Waiting] = []
        # Strings that are being advanced, by the states that they will be.
        self._going: dict[int, _Waiting] = {}
        self._advancing = start._advancing()
        self._pushed = self._expanded = 0
        self._missing = start.missing
        self._start: Extensible | None = start

    def run(self, limits: Limits) -> Found:
        """The units, up to some limits."""
        found, deadline = Found(missing=self._missing), time.monotonic() + limits.seconds
        # Costs of complete units, the lightest of the best ones first, as negative numbers.
        best: list[float] = []
        if self._start is not None:
            self._extend(_Waiting(0.0, 0, (), None), self._start, best, limits)
            self._start = None
        while self._queue or self._going:
            self._take(found, limits)
            if found.ended != "all" or not (self._queue or self._going):
                break
            if time.monotonic() >= deadline:
                found.ended = "seconds"
                break
            if self._expanded >= MAX_EXPANSIONS:
                found.ended = "strings"
                break
            self._choose(-best[0] if limits.top and len(best) >= limits.top else math.inf)
            for state in self._advancing.step():
                self._extend(self._going.pop(id(state)), state, best, limits)
        found.missing = max(found.missing, self._missing)
        return found

    def _take(self, found: Found, limits: Limits) -> None:
        """Take the units that are complete and heavier than all else."""
        heaviest = min((one.cost for one in self._going.values()), default=math.inf)
        while self._queue and self._queue[0].state is None and self._queue[0].cost <= heaviest:
            if found.ended != "all":
                return
            unit = heapq.heappop(self._queue)
            found.units.append((self._text(unit.string), min(0.0, -unit.cost)))
            if len(found.units) == limits.top:
                found.ended = "top"
            elif found.mass >= limits.mass:
                found.ended = "mass"

    def _text(self, string: String) -> str:
        return END_NAME if string[-1:] == (END,) else self._units.text([*self._begun, *string])

    def _choose(self, bound: float) -> None:
        """Have the strings advanced that are extended next, of those that weigh exp(-bound) at
        least."""
        chosen: list[_Waiting] = []
        passed: list[_Waiting] = []
        heaviest = min((one.cost for one in self._going.values()), default=math.inf)
        while self._queue and len(chosen) + len(self._going) < TOGETHER:
            heaviest = min(
                heaviest, math.inf if self._queue[0].state is None else self._queue[0].cost
            )
            if self._queue[0].cost > min(bound, heaviest + NOT_LIGHTER):
                break
            one = heapq.heappop(self._queue)
            (passed if one.state is None else chosen).append(one)
        for one in passed:
            heapq.heappush(self._queue, one)
        self._expanded += len(chosen)
        states = [one.state for one in chosen if one.state is not None]
        after = self._advancing.add(states, [one.string[-1] for one in chosen])
        for one, state in zip(chosen, after, strict=True):
            self._going[id(state)] = one

    def _extend(self, one: _Waiting, state: Extensible, best: list[float], limits: Limits) -> None:
        """Extend a string by a symbol. state: the model after it."""
        self._missing = max(self._missing, state.missing)
        try:
            extensions = list(self._extensions(state, one.string))
        except ZeroProbabilityError:
            # In a product, models may have no next symbol in common: this string leads nowhere.
            if not one.string:
                raise
            return
        for string, logp, ends in extensions:
            self._pushed += 1
            cost = one.cost - logp
            if ends and limits.top:
                heapq.heappush(best, -cost)
                if len(best) > limits.top:
                    heapq.heappop(best)
            before = None if ends else state
            heapq.heappush(self._queue, _Waiting(cost, self._pushed, string, before))

    def _extensions(
        self, state: Extensible, string: String
    ) -> Iterator[tuple[String, float, bool]]:
        """What follows a string and its state: (the string extended, logp of the extension, whether
        it is complete).

        Marks and ⊥ complete the unit. In place of a unit, ⊥ is the end of the string, and a mark
        that begins one is its beginning.
        """
        symbols, logp = state.next_symbols()
        units = self._units
        completing = -math.inf
        for symbol, value in zip(symbols.tolist(), logp.tolist(), strict=True):
            nothing = not string and not self._begun
            if nothing and (symbol == END or symbol in units.begins):
                yield (symbol,), value, symbol == END
            elif symbol == END or symbol in units.marks:
                completing = float(np.logaddexp(completing, value))
            else:
                yield (*string, symbol), value, False
        if completing > -math.inf:
            yield string, completing, True
