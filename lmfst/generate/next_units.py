"""The next unit after a prefix: p(unit | prefix), most probable units first.

Where every symbol is a unit, this is the next-symbol distribution. Where units are separated
(words), strings of symbols are expanded best first, on states (`lmfst.inference.states`): a string
weighs P_Y(prefix · string) / P_Y(prefix), and the unit is complete where a mark (see
`lmfst.target.units`) or the end ⊥ follows, with the mass of all. A string weighs at least as much
as what it is extended to, so units come out in order of probability.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from lmfst.fst.pattern import first_string
from lmfst.fst.sequential import END
from lmfst.ground.errors import UsageError
from lmfst.ground.types import Given, Warn, require_choice
from lmfst.inference.accuracy import WORTH_A_WARNING
from lmfst.inference.states import State
from lmfst.model import TransducedLM
from lmfst.target.case import Folded
from lmfst.target.prompts import emitted
from lmfst.target.strings import as_bytes
from lmfst.target.units import END_NAME

Unit = tuple[str, float]
"""(text of the unit, its logp in nats)"""

_Before = tuple[State, int | None] | None

REST = "…"
"""The name of the row for all units that are not listed."""

MAX_EXPANSIONS = 20_000


def following(
    model: TransducedLM,
    prefix: str | bytes,
    *,
    given: Given = "target",
    top: int = 20,
    warn: Warn = lambda message: None,
) -> list[Unit]:
    """The `top` (0: all) most probable next units after a prefix.

    given: "target", or "source": the prefix is read by the function, and what it has emitted for
    certain by then, ω(prefix), is the target prefix. That the source goes on as it does beyond
    ω is not used.

    Separated units: a unit that the prefix has begun is shown whole, and the last row, `REST`, has
    the probability of the units not listed. UsageError if all of them are asked for.
    """
    require_choice("--given", given, Given)
    y = symbols_of(model, prefix, given, warn)
    if model.target.units.marks:
        if top < 1:
            raise UsageError(
                "there is no end of units of several symbols", hint="say how many: --top N"
            )
        found = separated_units(model, y, top=top, warn=warn)
        # Sums of what is rounded may be above 1 in the last digit.
        return [(name, min(0.0, logp)) for name, logp in found]
    symbols, logp = model.next_symbols(y)
    order = np.argsort(-logp, kind="stable")[: top or None]
    text = model.target.units.text
    return [
        (END_NAME if symbols[i] == END else text([int(symbols[i])]), min(0.0, float(logp[i])))
        for i in order
    ]


def symbols_of(model: TransducedLM, text: str | bytes, given: Given, warn: Warn) -> tuple[int, ...]:
    """The symbols of a prefix in either form, with a warning of letters in the other case."""
    data, reader = as_bytes(text), model.reader
    source = given == "source"
    read = reader.source(data, partial(emitted, model.target)) if source else reader.written(data)
    if read.folded:
        folded = Folded()
        folded.add(read.folded, "the prefix")
        warn(f"{folded.told()} {reader.case('source' if source else 'target')}")
    return first_string(read.target)


def separated_units(
    model: TransducedLM,
    prefix: Sequence[int],
    *,
    top: int,
    warn: Warn = lambda message: None,
) -> list[Unit]:
    """Best-first expansion; see the module and `following`. After `MAX_EXPANSIONS` strings it warns
    and gives what there is."""
    units = model.target.units
    spans = units.spans(prefix)
    begun = list(prefix[spans[-1][0] :]) if spans and prefix[-1] not in units.ends else []
    start = model.state(prefix)
    # A string is complete, or to be extended: then it has the state before it and its last symbol.
    # The counter keeps ties in order of arrival.
    queue: list[tuple[float, int, tuple[int, ...], _Before]] = [(0.0, 0, (), (start, None))]
    found: list[Unit] = []
    pushed = expanded = 0
    lacking = start.missing
    while queue and len(found) < top:
        cost, _, string, before = heapq.heappop(queue)
        if before is None:
            text = END_NAME if string[-1:] == (END,) else units.text([*begun, *string])
            found.append((text, -cost))
            continue
        if expanded == MAX_EXPANSIONS:
            warn(f"stopped after {MAX_EXPANSIONS} strings with {len(found)} of {top} units found")
            break
        expanded += 1
        state, symbol = before
        state = state if symbol is None else state.advance(symbol)
        lacking = max(lacking, state.missing)
        for extended, logp, ends in _extensions(model, state, string, bool(begun)):
            pushed += 1
            following = None if ends else (state, extended[-1])
            heapq.heappush(queue, (cost - logp, pushed, extended, following))
    if lacking > WORTH_A_WARNING:
        warn(
            f"what was dropped makes the sums lack {lacking:.2g} nats, by estimate: try a larger "
            "--beam or a lower --threshold"
        )
    rest = max(0.0, 1.0 - math.fsum(math.exp(logp) for _, logp in found))
    return [*found, (REST, math.log(rest) if rest > 0.0 else -math.inf)]


def _extensions(
    model: TransducedLM, state: State, string: tuple[int, ...], begun: bool
) -> Iterator[tuple[tuple[int, ...], float, bool]]:
    """What follows a string and its state: (the string extended, logp of the extension, whether it
    is complete).

    Marks and ⊥ complete the unit. In place of a unit, ⊥ is the end of the string, and a mark that
    begins one is its beginning.
    """
    symbols, logp = state.next_symbols()
    units = model.target.units
    completing = -math.inf
    for symbol, value in zip(symbols.tolist(), logp.tolist(), strict=True):
        nothing = not string and not begun
        if nothing and (symbol == END or symbol in units.begins):
            yield (symbol,), value, symbol == END
        elif symbol == END or symbol in units.marks:
            completing = float(np.logaddexp(completing, value))
        else:
            yield (*string, symbol), value, False
    if completing > -math.inf:
        yield string, completing, True
