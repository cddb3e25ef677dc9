"""Strings drawn symbol by symbol, from distributions that are given another shape.

Each symbol is drawn from the distribution after the string so far (`lmfst.inference.states`), at a
temperature and cut off (`lmfst.generate.shape`). Units of several symbols are drawn symbol by
symbol, too: the distribution of whole words has no end. Strings share states as long as they are
the same, and model calls.

Within an acceptor symbols are drawn from those that it reads, whose share of the (shaped)
distribution is Z; a string weighs Π Z, as where tokens are drawn (`lmfst.generate.constrain`), and
nothing where nothing can follow it, as in a product of models that have no next symbol in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lmfst.fst.sequential import END
from lmfst.generate.drawn import Growing
from lmfst.generate.shape import Shape
from lmfst.generate.steps import Within
from lmfst.ground.arrays import Floats, Ints
from lmfst.ground.errors import InputError, ZeroProbabilityError
from lmfst.inference.draws import pick
from lmfst.inference.states import Extensible, advance_all


class _Following(NamedTuple):
    """Symbols [n] that may follow, their logp [n], nats, and the running sums [n] of the weights
    that they are drawn with. after: the acceptor's state after each [n]. logz: log of the share of
    the weight that the acceptor reads, nats."""

    symbols: Ints
    logp: Floats
    sums: Floats
    after: Ints
    logz: float


class _Place(NamedTuple):
    """Where a string stands: a state of the model and one of the acceptor."""

    state: Extensible
    within: int


class Symbols:
    """Begins strings after a prompt's state (`begin`), and takes them further (`step`). within:
    what strings are kept to, from the prompt on in its state `at`; they then have weights.

    InputError for a prompt of probability zero.
    """

    def __init__(
        self, start: Extensible, shape: Shape, within: Within | None = None, at: int = 0
    ) -> None:
        self._start, self._shape, self._within = _Place(start, at), shape, within
        start.next_symbols()  # ZeroProbabilityError for a prompt that nothing can follow
        if not len(self._following(self._start).symbols):
            raise InputError(
                "nothing that the model can produce after the prompt is in the grammar of --within"
            )

    def begin(self, string: Growing) -> None:
        """Put a new string at its beginning."""
        string.place = self._start

    def step(self, strings: Sequence[Growing]) -> None:
        """Draw a symbol for each string."""
        places = {_key(string.place): string.place for string in strings}
        following = {key: self._following(place) for key, place in places.items()}
        drawn = [self._draw(string, following[_key(string.place)]) for string in strings]
        going = [i for i, string in enumerate(strings) if not string.over]
        steps = list(dict.fromkeys((_key(strings[i].place), *drawn[i]) for i in going))
        states = advance_all(
            [places[key].state for key, _, _ in steps], [symbol for _, symbol, _ in steps]
        )
        after = [_Place(state, step[2]) for state, step in zip(states, steps, strict=True)]
        moved = dict(zip(steps, after, strict=True))
        for i in going:
            strings[i].place = moved[_key(strings[i].place), *drawn[i]]

    def close(self) -> None:
        """Nothing: states close their session."""

    def _following(self, place: _Place) -> _Following:
        try:
            symbols, logp = place.state.next_symbols()
        except ZeroProbabilityError:
            # The models of a product may have nothing in common.
            if self._within is None:
                raise
            none = np.zeros(0, dtype=np.int64)
            return _Following(none, np.zeros(0), np.zeros(0), none, -np.inf)
        weights = self._shape.weights(logp)
        if self._within is None:
            return _Following(symbols, logp, np.cumsum(weights), np.zeros_like(symbols), 0.0)
        step, total = self._within.step, weights.sum()
        after = np.array([step(place.within, a) for a in symbols.tolist()], dtype=np.int64)
        some = (after >= 0) & (weights > 0)
        sums = np.cumsum(weights[some])
        logz = min(0.0, float(np.log(sums[-1] / total))) if some.any() else -np.inf
        return _Following(symbols[some], logp[some], sums, after[some], logz)

    @staticmethod
    def _draw(string: Growing, following: _Following) -> tuple[int, int]:
        """Draw a symbol for a string; with the acceptor's state after it."""
        if not len(following.symbols):
            string.fail()
            return END, -1
        string.logw += following.logz
        at = pick(following.sums, string.random.random())
        symbol, after = int(following.symbols[at]), int(following.after[at])
        string.step()
        if string.over:
            return symbol, after
        if symbol == END:
            string.end()
        else:
            string.emit([symbol])
        if not string.cut:
            string.logp += float(following.logp[at])
        return symbol, after


def _key(place: _Place) -> tuple[int, int]:
    """What strings at the same place have in common."""
    return id(place.state), place.within
