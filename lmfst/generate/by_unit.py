"""Strings drawn symbol by symbol, from distributions that are given another shape.

Each symbol is drawn from the distribution after the string so far (`lmfst.inference.states`), at a
temperature and cut off (`lmfst.generate.shape`). Units of several symbols are drawn symbol by
symbol, too: the distribution of whole words has no end. Strings share states as long as they are
the same, and model calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lmfst.fst.sequential import END
from lmfst.generate.drawn import Growing
from lmfst.generate.shape import Shape
from lmfst.ground.arrays import Floats, Ints
from lmfst.inference.draws import pick
from lmfst.inference.states import Extensible, advance_all


class _Following(NamedTuple):
    """Symbols [n] that may follow, their logp [n], nats, and the running sums [n] of the weights
    that they are drawn with."""

    symbols: Ints
    logp: Floats
    sums: Floats


class Symbols:
    """Begins strings after a prompt's state (`begin`), and takes them further (`step`).

    InputError for a prompt of probability zero.
    """

    def __init__(self, start: Extensible, shape: Shape) -> None:
        self._start, self._shape = start, shape
        self._following(start)

    def begin(self, string: Growing) -> None:
        """Put a new string at its beginning."""
        string.place = self._start

    def step(self, strings: Sequence[Growing]) -> None:
        """Draw a symbol for each string."""
        states = {id(string.place): string.place for string in strings}
        following = {key: self._following(state) for key, state in states.items()}
        drawn = [self._draw(string, following[id(string.place)]) for string in strings]
        going = [i for i, string in enumerate(strings) if not string.over]
        steps = list(dict.fromkeys((id(strings[i].place), drawn[i]) for i in going))
        after = advance_all([states[key] for key, _ in steps], [symbol for _, symbol in steps])
        moved = dict(zip(steps, after, strict=True))
        for i in going:
            strings[i].place = moved[id(strings[i].place), drawn[i]]

    def close(self) -> None:
        """Nothing: states close their session."""

    def _following(self, state: Extensible) -> _Following:
        symbols, logp = state.next_symbols()
        return _Following(symbols, logp, np.cumsum(self._shape.weights(logp)))

    @staticmethod
    def _draw(string: Growing, following: _Following) -> int:
        """Draw a symbol for a string."""
        at = pick(following.sums, string.random.random())
        symbol = int(following.symbols[at])
        string.step()
        if string.over:
            return symbol
        if symbol == END:
            string.end()
        else:
            string.emit([symbol])
        if not string.cut:
            string.logp += float(following.logp[at])
        return symbol
