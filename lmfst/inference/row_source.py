"""Row sources: where the rows of hypotheses come from.

The sum asks a source for the rows of the hypotheses that it keeps, by LM state, lexicon state and
position. `ReadNow` evaluates what it is asked for. `Evaluated` has what was evaluated before, and a
query waits where a row is missing. (`lmfst.inference.prefetch` adds one for speculative runs, which
go on.)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lmfst.ground.arrays import Ints
from lmfst.inference.frontier import Hypotheses
from lmfst.inference.query import Layout
from lmfst.inference.row_table import RowTable
from lmfst.inference.rows import Rows


class Key(NamedTuple):
    """What a row depends on: LM state, lexicon state, position in the batch."""

    state: int
    lexicon: int
    position: int


class RowSource(ABC):
    """Rows of hypotheses. table: where they are. lacking: hypotheses that had none, with their log
    weights. waits: whether a query stops where a row is lacking; else it goes on without that
    hypothesis. waiting: bool [queries], those that have stopped."""

    waits: bool = True

    def __init__(self, table: RowTable, queries: int) -> None:
        self.table = table
        self.lacking: dict[Key, float] = {}
        self.waiting = np.zeros(queries, dtype=bool)

    @abstractmethod
    def rows(self, chosen: Hypotheses, states: Ints) -> Ints:
        """The rows int64 [n] of hypotheses, in the table, with their LM states; -1 where there is
        none."""

    @property
    def full(self) -> bool:
        """Whether enough is lacking already."""
        return False


class ReadNow(RowSource):
    """Evaluates the rows that are asked for, and keeps them until the next ones are."""

    def __init__(self, rows: Rows, layout: Layout) -> None:
        super().__init__(rows.table, len(layout))
        self._rows, self._shared = rows, layout.shared

    def rows(self, chosen: Hypotheses, states: Ints) -> Ints:
        self.table.clear()
        if not len(chosen):
            return np.zeros(0, dtype=np.int64)
        order = np.lexsort((chosen.lexicon, self._shared[chosen.position]))
        self._rows.read(states[order], chosen.lexicon[order], chosen.position[order])
        rows = np.empty(len(order), dtype=np.int64)
        rows[order] = np.arange(len(order))
        return rows


class Evaluated(RowSource):
    """Rows that were evaluated before. places: (lexicon state, position) → some row there."""

    def __init__(self, rows: Rows, layout: Layout) -> None:
        super().__init__(rows.table, len(layout))
        self._rows, self._layout = rows, layout
        self._row_of: dict[Key, int] = {}
        self.places: dict[tuple[int, int], int] = {}

    def rows(self, chosen: Hypotheses, states: Ints) -> Ints:
        keys = keys_of(chosen, states)
        rows = self.known(keys)
        for i in np.flatnonzero(rows < 0).tolist():
            self.lacking[keys[i]] = float(chosen.logw[i])
        return rows

    def known(self, keys: Sequence[Key]) -> Ints:
        """The rows of these keys, -1 where there is none."""
        return np.array([self._row_of.get(key, -1) for key in keys], dtype=np.int64)

    def evaluate(self, keys: Sequence[Key]) -> None:
        """Add the rows of these keys."""
        layout = self._layout
        # Hypotheses of one plan side by side, and plans of one range of tokens.
        keys = sorted(
            keys, key=lambda k: (k.lexicon, layout.symbol[k.position], layout.shared[k.position])
        )
        begin = len(self.table)
        self._rows.read(*np.array(keys, dtype=np.int64).reshape(-1, 3).T)
        for row, key in enumerate(keys, start=begin):
            self._row_of[key] = row
            self.places.setdefault(key[1:], row)
        self.lacking.clear()
        self.waiting[:] = False


def keys_of(hypotheses: Hypotheses, states: Ints) -> list[Key]:
    """The key of each hypothesis; states: LM states int64 [n]."""
    columns = (states.tolist(), hypotheses.lexicon.tolist(), hypotheses.position.tolist())
    return list(map(Key, *columns))
