"""Greedy and beam decoding: the most probable strings after a prompt, unit by unit.

A beam of width B begins with the prompt. Each step extends all its strings by a unit, or by ⊥, in
every way (`lmfst.generate.steps`), and keeps the B most probable extensions; those that have ended
are set aside. It is over when no open string can come before what was set aside, or has
`max_units` units: it is cut there, unless ⊥ is its most probable extension. Strings are ranked by

    log p(y | prompt) / n^A,

n their units, ⊥ counted as one, A the length penalty. Greedy decoding is the beam of width 1. A
beam that holds all strings gives the same as exhaustive search.

Not here: other definitions of the best string, such as the most probable one that has ended, and
draws (`lmfst.generate.sample`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from lmfst.ensemble import Ensemble
from lmfst.fst.sequential import END
from lmfst.generate.best_first import MAX_EXPANSIONS
from lmfst.generate.constrain import read_prompt, require_some
from lmfst.generate.drawn import Written, string_of
from lmfst.generate.in_step import Search, in_step
from lmfst.generate.steps import Extended, Stem, Steps, Within, begun
from lmfst.ground import defaults
from lmfst.ground.errors import BudgetError, Failure, InputError, UsageError
from lmfst.ground.types import require_whole
from lmfst.inference.accuracy import WORTH_A_WARNING
from lmfst.inference.states import Extensible
from lmfst.model import TransducedLM
from lmfst.target.strings import Symbols
from lmfst.target.units import Units, target_text

DECODE_COLUMNS = ("id", "rank", "text", "start", "units", "logp", "cut", "way")


@dataclass(frozen=True)
class Decoded(Written):
    """A string that was found; see `lmfst.decode`.

    symbols: the whole string, the prompt first, as symbol numbers without ⊥. start: how many of
    them are the prompt's. text: the string in target form; bytes that are no UTF-8 are lone
    surrogates ("surrogateescape"). units: how many come after the prompt, one that the prompt has
    begun included. cut: whether it goes on. logp: its log-probability given the prompt, nats: that
    it is this string, or, if it is cut, that a string begins so. way: "greedy", or "beam B".
    """

    logp: float
    way: str

    def row(self, document: str, rank: int) -> dict[str, Any]:
        """A row of `DECODE_COLUMNS`. document: id of the prompt. rank: of the string, from 1."""
        own = {"id": document, "rank": rank, "logp": self.logp, "way": self.way}
        return {**self.columns(), **own}


@dataclass(frozen=True)
class Beam:
    """What is looked for: width: strings in the beam; 1: greedy. max_units: of a string, at most.
    length_penalty: A of the ranking. top: strings that are given, at most.

    UsageError for numbers out of range.
    """

    width: int = 1
    max_units: int = defaults.MAX_UNITS
    length_penalty: float = 0.0
    top: int = 1

    def __post_init__(self) -> None:
        require_whole("--beam-width", self.width, 1, "strings that are kept at each step")
        require_whole("--max-units", self.max_units, 1, "units that a string may have")
        require_whole("--top", self.top, 1, "strings that are shown")
        penalty = self.length_penalty
        if isinstance(penalty, bool) or not isinstance(penalty, Real) or not 0 <= penalty < np.inf:
            raise UsageError(
                f"--length-penalty must be a number of at least 0, not {penalty!r}",
                hint="0 ranks strings by probability, 1 by probability a unit",
            )
        if self.top > self.width:
            raise UsageError(
                f"--top {self.top} strings can't come of a beam of {self.width}",
                hint=f"add --beam-width {self.top}, or more",
            )

    @property
    def way(self) -> str:
        """How strings are found."""
        return "greedy" if self.width == 1 else f"beam {self.width}"

    def score(self, logp: float, length: int) -> float:
        """What strings are ranked by."""
        return logp / float(max(1, length) ** self.length_penalty)

    def most(self, logp: float) -> float:
        """What the score of a string that begins with one of `logp` can be, at most."""
        return self.score(logp, self.max_units + 1)


def decode(
    model: TransducedLM | Ensemble,
    prompt: Symbols = "",
    *,
    width: int = 1,
    max_units: int = defaults.MAX_UNITS,
    length_penalty: float = 0.0,
    top: int = 1,
    within: Within | None = None,
) -> list[Decoded]:
    """The `top` best strings after a prompt in target form, best first; see `Decoded`.

    width: strings that are kept at each step; 1: greedy. max_units: units after the prompt; a
    string is cut there. length_penalty: see `lmfst.generate.decode`. within: an acceptor that
    strings are kept to (`lmfst.load_within`); `logp` stays that of the model.

    UsageError for numbers out of range, a prompt with sets of symbols, a policy that samples, and
    where strings are rejected (`partial="condition"`); InputError for a prompt of probability zero,
    or that no string of the acceptor begins with, and where the model can produce none. Where a
    beam of hypotheses has dropped much, the model warns.
    """
    string = string_of(model, prompt, "decode")
    beam = Beam(width, max_units, length_penalty, top)
    return Decoding(model, beam, within).after(string)


class _Best:
    """The best of the strings that were set aside."""

    def __init__(self, beam: Beam) -> None:
        self._beam = beam
        self._scores: dict[tuple[tuple[int, ...], bool], tuple[float, float]] = {}

    def add(self, symbols: tuple[int, ...], cut: bool, logp: float, length: int) -> None:
        """Set a string aside. length: its units, ⊥ counted as one."""
        key = symbols, cut
        if key not in self._scores or self._scores[key][1] < logp:
            self._scores[key] = self._beam.score(logp, length), logp

    def first(self) -> list[tuple[float, float, tuple[int, ...], bool]]:
        """(score, logp, symbols, cut) of the best ones."""
        ranked = sorted(self._scores.items(), key=lambda item: -item[1][0])
        return [(*scores, *key) for key, scores in ranked[: self._beam.top]]

    def beats(self, logp: Sequence[float]) -> bool:
        """Whether no string that goes on can become better than they are. logp: see `_cut_logp`."""
        first = self.first()
        most = self._beam.most(max(logp))
        return len(first) == self._beam.top and first[-1][0] >= most


class Decoding:
    """Decodes after prompts."""

    def __init__(
        self, model: TransducedLM | Ensemble, beam: Beam, within: Within | None = None
    ) -> None:
        self._model, self._beam, self._within = model, beam, within
        self._units: Units = model.target.units
        if within is not None:
            require_some(model.models if isinstance(model, Ensemble) else (model,), within)

    def after(self, prompt: tuple[int, ...]) -> list[Decoded]:
        """The best strings after a prompt, best first."""
        (found,) = self.after_all([prompt])
        if isinstance(found, Failure):
            raise found
        return found

    def after_all(self, prompts: Sequence[tuple[int, ...]]) -> Iterator[list[Decoded] | Failure]:
        """The same after each of several prompts, which share model calls, in order, each as soon
        as those before it are there too; the error of one that has no strings."""
        try:
            starts: Sequence[Extensible] = self._model.states(prompts, as_scored=True)
        except BudgetError as error:
            if len(prompts) == 1:
                yield error
            else:
                # One of them needs too much: which one?
                for prompt in prompts:
                    yield from self.after_all([prompt])
            return
        searches = [
            self._search(prompt, start, Steps(self._units, self._within, len(prompts)))
            for prompt, start in zip(prompts, starts, strict=True)
        ]
        yield from in_step(searches)

    def _search(
        self, prompt: tuple[int, ...], start: Extensible, steps: Steps
    ) -> Search[list[Decoded]]:
        """Find the best strings after a prompt and its state."""
        start.next_symbols()  # InputError for a prompt of probability zero
        best = _Best(self._beam)
        within = 0 if self._within is None else read_prompt(self._within, prompt)
        stems = [Stem(0.0, start, None, begun(self._units, prompt), within, ())]
        for _ in range(self._beam.max_units):
            extended, stuck = yield from steps.heaviest(stems, self._beam.width)
            if stuck:
                self._tell_stuck(len(extended))
            if stuck and not extended:
                for stem in stems:
                    best.add(stem.symbols, True, stem.logp, self._count(prompt, stem.symbols))
            stems = self._set_aside(extended, best, prompt)
            if not stems or best.beats([self._cut_logp(stem, start.logp) for stem in stems]):
                stems = []
                break
        for stem in stems:
            yield from self._close(stem, steps, best, prompt, start)
        self._tell_missing(steps.missing)
        found = [self._decoded(prompt, symbols, cut, p) for _, p, symbols, cut in best.first()]
        if not found:
            if steps.dead is not None:
                raise steps.dead
            raise InputError(
                "no string that may follow the prompt was found: where strings are kept to a "
                "grammar, one may come to where nothing goes on",
                hint="try a larger --beam-width, or --exact",
            )
        return found

    def _set_aside(
        self, extended: Sequence[Extended], best: _Best, prompt: tuple[int, ...]
    ) -> list[Stem]:
        """Set aside the strings that have ended; the others."""
        for one in extended:
            if one.has_ended:
                symbols = one.stem.symbols[:-1]
                best.add(symbols, False, one.stem.logp, self._count(prompt, symbols) + 1)
        marks, ends = self._units.marks, self._units.ends
        return [
            one.stem._replace(begun=bool(marks) and one.added[-1] not in ends)
            for one in extended
            if not one.has_ended
        ]

    def _close(
        self, stem: Stem, steps: Steps, best: _Best, prompt: tuple[int, ...], start: Extensible
    ) -> Search[None]:
        """Set aside a string that has all units that it may have, or that can't be extended."""
        if not stem.begun:
            extended, _ = yield from steps.heaviest([stem], 1)
            if not extended:
                return
            if extended[0].added == (END,):
                length = self._count(prompt, stem.symbols) + 1
                best.add(stem.symbols, False, extended[0].stem.logp, length)
                return
        # That another unit begins has been seen, and isn't part of the string.
        symbols = stem.symbols[:-1] if stem.symbol in self._units.begins else stem.symbols
        best.add(symbols, True, self._cut_logp(stem, start.logp), self._count(prompt, symbols))

    def _cut_logp(self, stem: Stem, before: float) -> float:
        """The logp of a string that is cut where it is: more than that of the stem where its last
        symbol begins another unit. before: that of the prompt."""
        if stem.symbol in self._units.begins:
            return stem.state.logp - before
        return stem.logp

    def _count(self, prompt: tuple[int, ...], symbols: tuple[int, ...]) -> int:
        """The units after the prompt, one that it has begun included."""
        units = self._units
        if not units.marks:
            return len(symbols)
        before = len(units.spans(prompt)) - begun(units, prompt) if prompt else 0
        whole = prompt + symbols
        return len(units.spans(whole)) - before if whole else 0

    def _decoded(
        self, prompt: tuple[int, ...], symbols: tuple[int, ...], cut: bool, logp: float
    ) -> Decoded:
        whole = prompt + symbols
        written = target_text(whole, self._units.symbols, shown=False)
        text = written.decode("utf-8", "surrogateescape")
        units = self._count(prompt, symbols)
        return Decoded(whole, len(prompt), text, units, cut, min(0.0, logp), self._beam.way)

    def _tell_stuck(self, found: int) -> None:
        self._model.warn(
            f"a unit's end wasn't found within {MAX_EXPANSIONS:,} strings: "
            + (f"{found} extensions are kept" if found else "the string is cut before it")
        )

    def _tell_missing(self, missing: float) -> None:
        if WORTH_A_WARNING < missing < np.inf:
            self._model.warn(
                f"what was dropped makes a string's probability lack up to {missing:.2g} nats, by "
                "estimate: try a larger --beam or a lower --threshold"
            )
