"""Strings that are drawn: records, and strings that still grow, many at a time.

A string ends by itself (⊥), or is cut where it has more units than it may. What is cut off is known
to be there: a string of exactly so many units that ends then isn't cut. A string is also cut before
a unit that isn't complete after `MOST_STEPS` tokens or symbols. So strings have whole units.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lmfst.fst.pattern import first_string, is_open
from lmfst.ground.errors import UsageError
from lmfst.scored.string_model import StringModel
from lmfst.target.strings import Symbols
from lmfst.target.units import Units, target_text

Way = Literal["source", "cover", "unit", "exact", "masked", "resampled"]
"""How a string is drawn. source: tokens from the model, then the function. cover: a hypothesis that
covers the prompt, then as source. unit: target symbols from their distributions. exact, masked:
tokens, within an acceptor (`lmfst.generate.constrain`). resampled: by sequential Monte Carlo."""

SAMPLE_COLUMNS = ("id", "text", "start", "units", "logp", "cut", "way")
WITHIN_COLUMNS = (*SAMPLE_COLUMNS, "logw", "ess")
"""The columns where strings are kept within an acceptor."""
MOST_STEPS = 256
"""Tokens or symbols that are drawn for a unit, at most: some have no end."""


@dataclass(frozen=True)
class Written:
    """A string after its prompt, as it is written: what records of strings have in common. See
    `Drawn` and `lmfst.generate.decode.Decoded`."""

    symbols: tuple[int, ...]
    start: int
    text: str
    units: int
    cut: bool

    def columns(self) -> dict[str, Any]:
        """What a row has of it."""
        return {"text": self.text, "start": self.start, "units": self.units, "cut": self.cut}


@dataclass(frozen=True)
class Drawn(Written):
    """A string that was drawn; see `lmfst.sample`.

    symbols: the whole string, the prompt first, as symbol numbers without ⊥. start: how many of
    them are the prompt's. text: the string in target form, as a prompt is written; bytes that are
    no UTF-8 are lone surrogates ("surrogateescape"). units: how many were drawn, one that the
    prompt has begun included. cut: whether it goes on: it had more units than it may, or a unit
    without an end. way: "source", "cover" or "unit". logp: log-probability of what was drawn, given
    the prompt, under the model itself (whatever the temperature is), with the end if it isn't cut,
    nats; None where tokens were drawn, since it is a sum over all their strings. logw: where
    strings are kept within an acceptor, the log of the string's importance weight, nats. ess: where
    strings are resampled, the effective sample size of those that were drawn together.
    """

    way: Way
    logp: float | None = None
    logw: float | None = None
    ess: float | None = None

    @property
    def is_utf8(self) -> bool:
        """Whether the text is that of valid UTF-8."""
        return not any("\ud800" <= char <= "\udfff" for char in self.text)

    def row(self, number: int) -> dict[str, Any]:
        """A row of `SAMPLE_COLUMNS`, or, if the string has a weight, of `WITHIN_COLUMNS`. number:
        of the string, from 1."""
        weight = {} if self.logw is None else {"logw": self.logw, "ess": self.ess}
        own = {"id": str(number), "logp": self.logp, "way": self.way}
        return {**self.columns(), **own, **weight}


def string_of(model: StringModel, prompt: Symbols, doing: str) -> tuple[int, ...]:
    """A prompt as numbers. UsageError for one with sets of symbols. doing: what is done after a
    prompt, in messages."""
    pattern = model.symbols(prompt)
    if is_open(pattern):
        raise UsageError(
            "a prompt can't hold a set of symbols", hint=f"{doing} after each of the prompts"
        )
    return first_string(pattern)


class Growing:
    """A string that is being drawn.

    random: its own random numbers. most: units that it may have after its prompt. over: whether it
    is complete. place: what draws it keeps here where it stands. logp, logw: see `Drawn`.
    """

    def __init__(
        self, units: Units, prompt: Sequence[int], most: int, random: np.random.Generator
    ) -> None:
        self.random, self.logp, self.logw = random, 0.0, 0.0
        self.place: Any = None
        self.over = self.cut = False
        self._units, self._start = units, len(prompt)
        self._symbols = list(prompt)
        self._most, self._count, self._steps = most, 0, 0
        spans = units.spans(prompt) if units.marks else []
        # Whether a unit has begun, and where the last one was complete.
        self._open = bool(spans) and prompt[-1] not in units.ends
        self._border = len(prompt)

    def step(self) -> None:
        """Count a step; too many for a unit cut the string."""
        self._steps += 1
        if self._steps > MOST_STEPS:
            del self._symbols[self._border :]
            self._open = False
            self.over = self.cut = True

    def emit(self, symbols: Sequence[int]) -> None:
        """Go on with symbols (no ⊥), as far as there is room."""
        for symbol in symbols:
            if self.over:
                return
            if self._open and symbol in self._units.begins:
                self._complete()
            if self._count == self._most:
                self.over = self.cut = True
                return
            self._symbols.append(symbol)
            self._open = True
            if not self._units.marks or symbol in self._units.ends:
                self._complete()

    def _complete(self) -> None:
        self._count += 1
        self._open, self._border, self._steps = False, len(self._symbols), 0

    def end(self) -> None:
        """The string ends here."""
        self.over = True

    def fail(self) -> None:
        """Nothing that the acceptor reads may follow: the string weighs nothing."""
        self.over = self.cut = True
        self.logw = -math.inf

    @property
    def complete_units(self) -> int:
        """Units that are complete, after the prompt."""
        return self._count

    def twin(self, random: np.random.Generator) -> Growing:
        """The same string, to grow on with other random numbers."""
        other = copy(self)
        other.random, other._symbols = random, list(self._symbols)
        return other

    def drawn(self, way: Way, *, weighs: bool = False, ess: float | None = None) -> Drawn:
        """The record of a string that is complete. weighs, ess: whether it has a weight, and the
        effective sample size it is of."""
        text = target_text(self._symbols, self._units.symbols, shown=False)
        return Drawn(
            symbols=tuple(self._symbols),
            start=self._start,
            text=text.decode("utf-8", "surrogateescape"),
            units=self._count + self._open,
            cut=self.cut,
            way=way,
            logp=self.logp if way == "unit" else None,
            logw=self.logw if weighs else None,
            ess=ess,
        )


def in_order(
    count: int,
    begin: Callable[[int], Growing],
    step: Callable[[list[Growing]], None],
    together: int,
) -> Iterator[Growing]:
    """The strings 0 … count - 1, each as soon as all before it are complete.

    begin: a new string, by its number. step: takes strings further, all of them by at least a step.
    together: how many grow at a time, at most.
    """
    live: dict[int, Growing] = {}
    complete: dict[int, Growing] = {}
    begun = given = 0
    while given < count:
        while begun < count and len(live) < together:
            string = begin(begun)
            (complete if string.over else live)[begun] = string
            begun += 1
        if live:
            step(list(live.values()))
        complete |= {number: string for number, string in live.items() if string.over}
        live = {number: string for number, string in live.items() if not string.over}
        while given in complete:
            yield complete.pop(given)
            given += 1
