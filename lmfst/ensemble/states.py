"""States of ensembles: a state of each model after the same string (`lmfst.inference.states`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmfst.ensemble.combination import NOTHING, Combination, Following
from lmfst.ground.arrays import Floats, Ints
from lmfst.ground.errors import InputError, UsageError, ZeroProbabilityError
from lmfst.inference.states import APART, BEGIN_TOGETHER, AtOnce, State, as_string
from lmfst.target.strings import Symbols
from lmfst.target.units import Units


@dataclass(frozen=True)
class Shared:
    """What all states of an ensemble have in common. names: of its models, for messages."""

    combination: Combination
    units: Units
    names: tuple[str, ...]


class EnsembleState:
    """An ensemble after a prefix y; made by `lmfst.Ensemble.state`.

    It has all that an `lmfst.State` has, and is used as one, also by `lmfst.advance_all`. What its
    numbers are is said in `lmfst.Ensemble`.
    """

    __slots__ = ("_following", "_logp", "_missing", "_parts", "_shared")

    def __init__(self, shared: Shared, parts: Sequence[State], logp: float, missing: float) -> None:
        self._shared, self._parts = shared, tuple(parts)
        self._logp, self._missing = logp, missing
        self._following: Following | None = None

    @property
    def logp(self) -> float:
        """log P(y), nats: the sum of log p of its symbols; in a mixture of strings log Σ_i w_i
        P_i(y). After ⊥ that of the string."""
        return self._logp

    @property
    def missing(self) -> float:
        """What hypotheses that were dropped on the way make `logp` lack, nats: an estimate, which
        may be off in either direction where distributions are combined a symbol at a time. inf
        where a model has lost y altogether."""
        return self._missing

    @property
    def is_possible(self) -> bool:
        """Whether y has a probability above 0."""
        return self._logp > -math.inf

    @property
    def has_ended(self) -> bool:
        """Whether y ends with ⊥."""
        return self._parts[0].has_ended

    @property
    def symbols(self) -> tuple[int, ...]:
        """y, as symbol numbers; ⊥ is -1."""
        return self._parts[0].symbols

    @property
    def parts(self) -> tuple[State, ...]:
        """The states of the models."""
        return self._parts

    def next_logp(self) -> dict[str, float]:
        """log p(a | y), nats, of every symbol a that may be next, by name; ⊥ is the end.

        InputError where y has probability zero or has ended, and where the models of a product have
        no next symbol in common.
        """
        name = self._shared.units.name
        symbols, logp = self.next_symbols()
        return {name(a): p for a, p in zip(symbols.tolist(), logp.tolist(), strict=True)}

    def next_symbols(self) -> tuple[Ints, Floats]:
        """The same as symbols int64 [n] (⊥ is -1) and logp float64 [n], nats, in order of the
        symbols."""
        found = self._next()
        if not len(found[0]):
            raise ZeroProbabilityError(
                f"nothing can follow the prefix: after its {len(self.symbols)} symbols the models "
                "have no next symbol in common, and their product is zero",
                hint='use how="mixture", or models that give every symbol some probability',
            )
        return found

    def _next(self) -> Following:
        """The distribution of the next symbol, which may be empty."""
        if self._following is None:
            self._require_going()
            parts = [part.next_symbols() if part.is_possible else NOTHING for part in self._parts]
            self._following = self._shared.combination.next_symbols(_logps(self), parts)
        return self._following

    def _require_going(self) -> None:
        """InputError unless something can follow."""
        if self.is_possible and not self.has_ended:
            return
        name, part = next(
            (name, part)
            for name, part in zip(self._shared.names, self._parts, strict=True)
            if self.has_ended or not part.is_possible
        )
        try:
            part.next_symbols()
        except InputError as error:
            said = error.message if self.has_ended else f"{error.message} ({name})"
            raise type(error)(said, hint=error.hint) from None

    def advance(self, symbol: int | str | Symbols) -> EnsembleState:
        """The state after y and a symbol, or several, as `State.advance` has it."""
        return self._advanced([self], [symbol])[0]

    @classmethod
    def _advanced(
        cls, states: Sequence[EnsembleState], symbols: Sequence[int | str | Symbols]
    ) -> list[EnsembleState]:
        """As `lmfst.inference.states.Extensible` has it."""
        shared = _common(states)
        strings = [as_string(symbol, shared.units.symbols) for symbol in symbols]
        found = list(states)
        for at in range(max(map(len, strings), default=0)):
            going = [i for i, string in enumerate(strings) if len(string) > at]
            moved = _moved(shared, [found[i] for i in going], [strings[i][at] for i in going])
            for i, state in zip(going, moved, strict=True):
                found[i] = state
        return found

    @classmethod
    def _closed(cls, states: Sequence[EnsembleState]) -> None:
        """As `lmfst.inference.states.Extensible` has it."""
        going = [state for state in states if state.is_possible and not state.has_ended]
        if going:
            for parts in zip(*(state._parts for state in going), strict=True):
                State._closed(parts)

    def _advancing(self) -> AtOnce:
        """As `lmfst.inference.states.Extensible` has it."""
        return AtOnce()

    def __repr__(self) -> str:
        return f"<EnsembleState after {len(self.symbols)} symbols, logp {self.logp:.6g}>"


def _common(states: Sequence[EnsembleState]) -> Shared:
    """What states share. UsageError for those of several ensembles."""
    shared = states[0]._shared
    if any(state._shared is not shared for state in states):
        raise UsageError(APART, hint=BEGIN_TOGETHER)
    return shared


def _logps(state: EnsembleState) -> Floats:
    """log P_i(y) of the models [n]."""
    return np.array([part.logp for part in state._parts])


def _missings(state: EnsembleState) -> Floats:
    """What is missing of these [n]."""
    return np.array([part.missing for part in state._parts])


def _moved(
    shared: Shared, states: Sequence[EnsembleState], symbols: Sequence[int]
) -> list[EnsembleState]:
    """The states after one symbol each."""
    if shared.combination.needs_following:
        EnsembleState._closed(states)
    each = [
        State._advanced(parts, symbols)
        for parts in zip(*(state._parts for state in states), strict=True)
    ]
    return [
        _after(shared, state, symbol, parts)
        for state, symbol, parts in zip(states, symbols, zip(*each, strict=True), strict=True)
    ]


def _after(
    shared: Shared, before: EnsembleState, symbol: int, parts: Sequence[State]
) -> EnsembleState:
    """The state whose models have gone on to `parts` by a symbol."""
    combination = shared.combination
    after = EnsembleState(shared, parts, -math.inf, before.missing)
    if not before.is_possible:
        return after
    logp = np.stack([_logps(before), _logps(after)], axis=1)
    missing = np.stack([_missings(before), _missings(after)], axis=1)
    if combination.how == "product":
        own, following = np.flatnonzero(before._next()[0] == symbol), before._next()[1]
        after._logp = before.logp + float(following[own[0]]) if len(own) else -math.inf
        after._missing = float(combination.missing(missing[:, 1:], None)[0])
    elif combination.how == "mixture":
        step, shares = combination.steps(logp)
        after._logp = before.logp + float(step[0])
        with np.errstate(invalid="ignore"):
            more = np.where(np.isinf(missing[:, 1]), np.inf, missing[:, 1] - missing[:, 0])
        after._missing = before.missing + float(combination.missing(more[:, None], shares)[0])
    else:
        after._logp, after._missing = of_strings(combination, parts)
    if not after.is_possible:
        after._missing = float(combination.lost(logp[:, 1:] > -np.inf, missing[:, 1:])[0])
    return after


def of_strings(combination: Combination, parts: Sequence[State]) -> tuple[float, float]:
    """(log P, what is missing of it) of a string in a mixture of strings, of the models' states."""
    logp = np.array([[part.logp] for part in parts])
    missing = np.array([[part.missing] for part in parts])
    whole = float(combination.whole(logp)[0])
    if whole == -math.inf:
        return whole, float(combination.lost(logp > -np.inf, missing)[0])
    return whole, float(combination.missing(missing, combination.shares(logp))[0])
