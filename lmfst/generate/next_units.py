"""The next unit after a prefix: p(unit | prefix), most probable units first.

Where every symbol is a unit, this is the next-symbol distribution. Where units are separated
(words), it is found best first (`lmfst.generate.best_first`). The prefix is known as a whole, so
its hypotheses are decided as where texts are scored.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from lmfst.ensemble import Ensemble
from lmfst.fst.pattern import first_string
from lmfst.fst.sequential import END
from lmfst.generate.best_first import MAX_EXPANSIONS, Found, Limits, Search, Unit
from lmfst.ground import defaults
from lmfst.ground.errors import UsageError
from lmfst.ground.types import Given, Warn, require_choice
from lmfst.inference.accuracy import WORTH_A_WARNING
from lmfst.model import TransducedLM
from lmfst.target.case import Folded
from lmfst.target.prompts import emitted, misread
from lmfst.target.strings import as_bytes
from lmfst.target.units import END_NAME

__all__ = ["REST", "Limits", "Unit", "emitted", "following", "symbols_of"]

REST = "…"
"""The name of the row for all units that are not listed."""


def limits_of(
    top: int | None, mass: float | None, seconds: float | None, *, separated: bool = False
) -> Limits:
    """Where the units after a prefix end. top: how many, 0: all; None: as many as mass and seconds
    allow, and `defaults.TOP` where nothing is said. separated: whether units have several symbols.
    UsageError for limits out of range, and for those that never are met."""
    if top is not None and top < 0:
        raise UsageError(f"--top must be at least 0, not {top}")
    if mass is not None and not 0 < mass < 1:
        raise UsageError(
            f"--mass is a probability above 0 and below 1, not {mass:g}",
            hint="--mass 0.9 gives the most probable units that have 90 % of it together",
        )
    if seconds is not None and not seconds > 0:
        raise UsageError(f"--seconds must be a time above 0, not {seconds:g}")
    if top is None and mass is None and seconds is None:
        top = defaults.TOP
    if not top and mass is None and seconds is None and separated:
        raise UsageError(
            "there is no end of units of several symbols",
            hint="say how many: --top N, or how much of the probability: --mass 0.9",
        )
    return Limits(
        top or None,
        math.inf if mass is None else mass,
        math.inf if seconds is None else seconds,
    )


def following(
    model: TransducedLM | Ensemble,
    prefix: str | bytes,
    *,
    given: Given = "target",
    top: int | None = None,
    mass: float | None = None,
    seconds: float | None = None,
    warn: Warn = lambda message: None,
) -> list[Unit]:
    """The most probable next units after a prefix, with their logp, nats.

    given: "target", or "source": the prefix is read by the function, and what it has emitted for
    certain by then, ω(prefix), is the target prefix. That the source goes on as it does beyond
    ω is not used.
    top: how many units, 0: all; mass: until they have so much of the probability; seconds: of the
    search, once the prefix is read. Whichever comes first; if nothing is said, 20 units.

    Separated units: a unit that the prefix has begun is shown whole, and the last row, `REST`, has
    the probability of the units not listed, and of what was dropped. UsageError if all of them are
    asked for; InputError for a prefix of probability zero.
    """
    require_choice("--given", given, Given)
    limits = limits_of(top, mass, seconds, separated=bool(model.target.units.marks))
    y, units = symbols_of(model, prefix, given, warn), model.target.units
    if not units.marks:
        return _symbols(model, y, limits)
    start = model.search_state(y)
    found = Search(units, start).run(limits)
    _tell(found, limits, warn)
    rest = 1.0 - found.mass
    return [*found.units, (REST, math.log(rest) if rest > 0.0 else -math.inf)]


def _symbols(model: TransducedLM | Ensemble, y: tuple[int, ...], limits: Limits) -> list[Unit]:
    """The units where each symbol is one."""
    symbols, logp = model.next_symbols(y)
    order = np.argsort(-logp, kind="stable")[: limits.top]
    masses = np.cumsum(np.exp(logp[order]))
    order = order[: 1 + int(np.searchsorted(masses, limits.mass))]
    text = model.target.units.text
    # What is rounded may be above 1 in the last digit.
    return [
        (END_NAME if symbols[i] == END else text([int(symbols[i])]), min(0.0, float(logp[i])))
        for i in order
    ]


def _tell(found: Found, limits: Limits, warn: Warn) -> None:
    """Say what the numbers lack, and why there are no more of them."""
    if found.ended in ("seconds", "strings"):
        after = {"seconds": f"{limits.seconds:g} s", "strings": f"{MAX_EXPANSIONS:,} strings"}
        warn(
            f"stopped after {after[found.ended]} with {len(found.units)} units, which have "
            f"{found.mass:.3g} of the probability"
        )
    if found.missing > WORTH_A_WARNING:
        warn(
            f"what was dropped makes the sums lack {found.missing:.2g} nats, by estimate: try a "
            "larger --beam or a lower --threshold"
        )


def symbols_of(
    model: TransducedLM | Ensemble, text: str | bytes, given: Given, warn: Warn
) -> tuple[int, ...]:
    """The symbols of a prefix in either form, with a warning of letters in the other case."""
    data, reader = as_bytes(text), model.reader
    source = given == "source"
    if said := misread(model.target, data, given, "--given"):
        warn(said)
    read = reader.source(data, partial(emitted, model.target)) if source else reader.written(data)
    if read.folded:
        folded = Folded(read.folded, 1, "the prefix")
        warn(f"{folded.told()} {reader.case('source' if source else 'target')}")
    return first_string(read.target)
