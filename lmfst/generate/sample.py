"""Strings drawn from a transduced model; the way is chosen by what is asked for.

*source*: neither a prompt nor another shape of distributions: x ~ p_X token by token, then f(x).
*cover*: after a prompt, a hypothesis that covers it with its probability given the prompt, then as
before. Both are draws from p_Y itself (given the prompt), at the speed of tokens. *unit*: with a
temperature, top-k or top-p, which are of target symbols, and from ensembles: symbol by symbol.
String i depends on the seed and on i alone (but for the last digits of the model's numbers, which
depend on what is evaluated together).

Within an acceptor over target symbols: *exact* where contexts merge and nodes aren't too many,
else *masked*, with weights (`lmfst.generate.constrain`), or unit by unit where the shape is another
one; *resampled* by sequential Monte Carlo where that is asked for (`lmfst.generate.resample`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np

from lmfst.ensemble import Ensemble
from lmfst.generate.by_token import FromCovers, FromSource
from lmfst.generate.by_unit import Symbols as BySymbols
from lmfst.generate.constrain import Constrained, Exactly, Masked, exactly, read_prompt
from lmfst.generate.drawn import Drawn, Growing, Way, in_order, string_of
from lmfst.generate.resample import run
from lmfst.generate.shape import AS_IT_IS, Shape
from lmfst.generate.steps import Within
from lmfst.ground import defaults
from lmfst.ground.errors import UsageError
from lmfst.ground.types import require_whole
from lmfst.inference.accuracy import WORTH_A_WARNING
from lmfst.inference.covers import Covers
from lmfst.model import TransducedLM
from lmfst.target.strings import Symbols

ROUND = 4096
"""Strings after which the model's session is begun anew: what it remembers of strings adds up."""

_Source = FromSource | FromCovers | BySymbols | Exactly | Masked


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
    within: Within | None = None
    resample: int | None = None

    def __post_init__(self) -> None:
        require_whole("-n", self.count, 1, "strings to draw")
        require_whole("--seed", self.seed, 0, "the seed of the random numbers")
        require_whole("--max-units", self.max_units, 1, "units that a string may have")
        require_whole("--batch", self.batch, 1, "strings that are drawn together")
        if self.resample is not None:
            require_whole("--resample", self.resample, 2, "strings that are weighed together")
            if self.within is None:
                raise UsageError(
                    "--resample weighs strings that are kept within a grammar, and there is none",
                    hint="add --within FILE.grm[:RULE], or leave it out",
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
    within: Within | None = None,
    resample: int | None = None,
) -> Iterator[Drawn]:
    """Draw `count` strings, in order; see `Drawn`.

    seed: string i depends on the seed and i alone. prompt: what strings begin with, in target form.
    max_units: units that are drawn for each, at most; the string is cut there. temperature, top_k,
    top_p: of the distributions of target symbols (`lmfst.generate.shape`); with any of them symbols
    are drawn one by one, else tokens. batch: strings that share model calls, at most. within: an
    acceptor that strings are kept to (`lmfst.load_within`); they have weights. resample: so many
    strings at a time by sequential Monte Carlo; those depend on each other.

    UsageError for numbers out of range, a prompt with sets of symbols, a policy that samples, and
    where strings are rejected (`partial="condition"`); InputError for a prompt of probability zero,
    with its first impossible symbol, and where no string that the model can produce is accepted.
    Where a beam has dropped much of what the prompt may come from, the model warns.
    """
    shape = Shape(temperature, top_k, top_p)
    return draw(model, Asked(count, seed, max_units, batch, shape, within, resample), prompt)


def draw(model: TransducedLM | Ensemble, asked: Asked, prompt: Symbols = "") -> Iterator[Drawn]:
    """The same of what is asked for."""
    return iter(Drawing(model, asked, prompt))


class Drawing:
    """Strings that are to be drawn. way: how."""

    def __init__(self, model: TransducedLM | Ensemble, asked: Asked, prompt: Symbols = "") -> None:
        self._model, self._asked = model, asked
        self._prompt = string_of(model, prompt, "draw")
        # What can't be drawn is an error now, not when the first string is asked for.
        self._first, way = _source(model, self._prompt, asked)
        self.way: Way = way if asked.resample is None else "resampled"

    def __iter__(self) -> Iterator[Drawn]:
        asked, weighs = self._asked, self._asked.within is not None
        size = ROUND
        if asked.resample is not None:
            # Strings that are weighed together are of one round.
            size = max(1, ROUND // asked.resample) * asked.resample
        elif self.way == "exact":
            size = asked.count  # nothing is asked of the model any more
        for done in range(0, asked.count, size):
            source = self._first
            if done:
                # What was found out, and told, holds for all rounds.
                source, _ = _source(self._model, self._prompt, asked, told=True)
            begin = partial(_begun, self._model, asked, self._prompt, source, done)
            count = min(size, asked.count - done)
            try:
                if asked.resample is None:
                    for string in in_order(count, begin, source.step, asked.batch):
                        yield string.drawn(self.way, weighs=weighs)
                else:
                    yield from self._resampled(begin, source, done, count, asked.resample)
            finally:
                source.close()

    def _resampled(
        self, begin: Callable[[int], Growing], source: _Source, done: int, count: int, size: int
    ) -> Iterator[Drawn]:
        """The strings of some runs. size: of a run, of the last of which there are fewer wanted."""
        for first in range(0, count, size):
            key = done + first, 1
            random = np.random.default_rng(np.random.SeedSequence(self._asked.seed, spawn_key=key))
            strings = run(
                size,
                lambda number, first=first: begin(first + number),  # type: ignore[misc]
                source.step,
                random,
                self._asked.batch,
            )
            for string, ess in islice(strings, count - first):
                yield string.drawn("resampled", weighs=True, ess=ess)


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
    model: TransducedLM | Ensemble, prompt: tuple[int, ...], asked: Asked, *, told: bool = False
) -> tuple[_Source, Way]:
    """What draws, and in which way. told: this isn't the first round, and it isn't exact."""
    if isinstance(model, Ensemble):
        at = 0 if asked.within is None else read_prompt(asked.within, prompt)
        start = model.state(prompt, as_scored=True)
        return BySymbols(start, asked.shape, asked.within, at), "unit"
    require_drawable(model.policy.estimates, model.setting.conditioned)
    by_unit = asked.shape.changes
    if not (by_unit or prompt or asked.within):
        return FromSource(model), "source"
    state = model.state(prompt, as_scored=True) if prompt or by_unit else None
    if state is not None and not told and WORTH_A_WARNING < state.missing < np.inf:
        model.setting.warn(
            f"what was dropped makes the prompt's probability lack {state.missing:.2g} nats, by "
            "estimate, and strings are drawn from what is left: try a larger --beam or a lower "
            "--threshold"
        )
    if by_unit and state is not None:
        at = 0 if asked.within is None else read_prompt(asked.within, prompt)
        return BySymbols(state, asked.shape, asked.within, at), "unit"
    if asked.within is not None:
        constrained = Constrained(model, asked.within, state, prompt)
        return (Masked(constrained), "masked") if told else _constrained(model, constrained, asked)
    assert state is not None  # or there were neither prompt nor shape
    return FromCovers(model, Covers(state)), "cover"


def _constrained(
    model: TransducedLM, constrained: Constrained, asked: Asked
) -> tuple[_Source, Way]:
    """What draws within an acceptor."""
    if asked.resample is None:
        found = exactly(constrained)
        if found is not None:
            return found, "exact"
        if constrained.session.merges:
            model.setting.warn(
                "the model's contexts and the grammar have too many states together for exact "
                "draws: tokens are drawn from those that the grammar allows, and strings have "
                "weights (way: masked)"
            )
    return Masked(constrained), "masked"


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
