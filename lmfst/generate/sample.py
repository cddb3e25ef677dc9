"""Strings drawn from a transduced model; the way is chosen by what is asked for.

*source*: neither a prompt nor another shape of distributions: x ~ p_X token by token, then f(x).
*cover*: after a prompt, a hypothesis that covers it with its probability given the prompt, then as
before. Both are draws from p_Y itself (given the prompt), at the speed of tokens. *unit*: with a
temperature, top-k or top-p, which are of target symbols, and from ensembles: symbol by symbol.
String i depends on the
seed and on i alone (but for the last digits of the model's numbers, which depend on what is
evaluated together).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from numbers import Integral

import numpy as np

from lmfst.ensemble import Ensemble
from lmfst.fst.pattern import first_string, is_open
from lmfst.generate.by_token import FromCovers, FromSource
from lmfst.generate.by_unit import Symbols as BySymbols
from lmfst.generate.drawn import Drawn, Growing, Way, in_order
from lmfst.generate.shape import AS_IT_IS, Shape
from lmfst.ground import defaults
from lmfst.ground.errors import UsageError
from lmfst.inference.accuracy import WORTH_A_WARNING
from lmfst.inference.covers import Covers
from lmfst.model import TransducedLM
from lmfst.target.strings import Symbols

ROUND = 4096
"""Strings after which the model's session is begun anew: what it remembers of strings adds up."""

_Source = FromSource | FromCovers | BySymbols


@dataclass(frozen=True)
class Asked:
    """How many strings are asked for, and which; see `sample`.

    UsageError for numbers out of range.
    """

    count: int = 1
    seed: int = defaults.SEED
    max_units: int = defaults.MAX_UNITS
    batch: int = defaults.BATCH_DOCUMENTS
    shape: Shape = AS_IT_IS

    def __post_init__(self) -> None:
        _require("-n", self.count, 1, "strings to draw")
        _require("--seed", self.seed, 0, "the seed of the random numbers")
        _require("--max-units", self.max_units, 1, "units that a string may have")
        _require("--batch", self.batch, 1, "strings that are drawn together")

    def way(self, prompt: Symbols) -> Way:
        """The way in which strings are drawn."""
        if self.shape.changes:
            return "unit"
        return "cover" if len(prompt) else "source"


def _require(option: str, value: object, least: int, what: str) -> None:
    """UsageError unless a value is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise UsageError(
            f"{option} must be a whole number of at least {least}, not {value!r}",
            hint=f"it is {what}",
        )


def sample(
    model: TransducedLM | Ensemble,
    count: int = 1,
    *,
    seed: int = defaults.SEED,
    prompt: Symbols = "",
    max_units: int = defaults.MAX_UNITS,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    batch: int = defaults.BATCH_DOCUMENTS,
) -> Iterator[Drawn]:
    """Draw `count` strings, in order; see `Drawn`.

    seed: string i depends on the seed and i alone. prompt: what strings begin with, in target form.
    max_units: units that are drawn for each, at most; the string is cut there. temperature, top_k,
    top_p: of the distributions of target symbols (`lmfst.generate.shape`); with any of them symbols
    are drawn one by one, else tokens. batch: strings that share model calls, at most.

    UsageError for numbers out of range, a prompt with sets of symbols, a policy that samples, and
    where strings are rejected (`partial="condition"`); InputError for a prompt of probability zero,
    with its first impossible symbol. Where a beam has dropped much of what the prompt may come
    from, the model warns.
    """
    shape = Shape(temperature, top_k, top_p)
    return draw(model, Asked(count, seed, max_units, batch, shape), prompt)


def draw(model: TransducedLM | Ensemble, asked: Asked, prompt: Symbols = "") -> Iterator[Drawn]:
    """The same of what is asked for."""
    pattern = model.symbols(prompt)
    if is_open(pattern):
        raise UsageError(
            "a prompt can't hold a set of symbols", hint="draw after each of the prompts"
        )
    start = first_string(pattern)
    way = _way(model, start, asked)
    # What can't be drawn is an error now, not when the first string is asked for.
    first = _source(model, way, start, asked)
    return _drawn(model, asked, start, first)


def _way(model: TransducedLM | Ensemble, prompt: tuple[int, ...], asked: Asked) -> Way:
    """How strings are drawn: those of ensembles have no source."""
    return "unit" if isinstance(model, Ensemble) else asked.way(prompt)


def _drawn(
    model: TransducedLM | Ensemble, asked: Asked, prompt: tuple[int, ...], source: _Source
) -> Iterator[Drawn]:
    """The strings. source: what draws the first of them."""
    way = _way(model, prompt, asked)
    for done in range(0, asked.count, ROUND):
        if done:
            source = _source(model, way, prompt, asked)
        begin = partial(_begun, model, asked, prompt, source, done)
        try:
            for string in in_order(min(ROUND, asked.count - done), begin, source.step, asked.batch):
                yield string.drawn(way)
        finally:
            source.close()


def _begun(
    model: TransducedLM | Ensemble,
    asked: Asked,
    prompt: tuple[int, ...],
    source: _Source,
    done: int,
    number: int,
) -> Growing:
    """A new string of a round, with its own random numbers. done: strings of the rounds before."""
    seeds = np.random.SeedSequence(asked.seed, spawn_key=(done + number,))
    random = np.random.default_rng(seeds)
    string = Growing(model.target.units, prompt, asked.max_units, random)
    source.begin(string)
    return string


def _source(
    model: TransducedLM | Ensemble, way: Way, prompt: tuple[int, ...], asked: Asked
) -> _Source:
    """What draws in a way."""
    if isinstance(model, Ensemble):
        return BySymbols(model.state(prompt, as_scored=True), asked.shape)
    require_drawable(model.policy.estimates, model.setting.conditioned)
    if way == "source":
        return FromSource(model)
    state = model.state(prompt, as_scored=True)
    if WORTH_A_WARNING < state.missing < np.inf:
        model.warn(
            f"what was dropped makes the prompt's probability lack {state.missing:.2g} nats, by "
            "estimate, and strings are drawn from what is left: try a larger --beam or a lower "
            "--threshold"
        )
    return BySymbols(state, asked.shape) if way == "unit" else FromCovers(model, Covers(state))


def require_drawable(estimates: bool, conditioned: bool) -> None:
    """UsageError for a policy that samples, and where probabilities are given that strings are
    accepted."""
    if estimates:
        raise UsageError(
            "--policy sample estimates probabilities of given strings, it draws none",
            hint="use --policy beam or --exact",
        )
    if conditioned:
        raise UsageError(
            "--partial condition: strings can't be drawn given that the FST accepts them, since "
            "that depends on how they go on",
            hint="extend the FST to accept every string",
        )
