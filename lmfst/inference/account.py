"""The next symbols of the hypotheses that are kept, where they are asked for."""

from __future__ import annotations

import numpy as np

from lmfst.ground.arrays import Floats, Ints, ragged
from lmfst.inference.frontier import grown, records
from lmfst.inference.record_types import KEPT
from lmfst.inference.row_table import RowTable


class Account:
    """Next symbols of kept hypotheses. splits: (position, symbol, logp) of next symbols, by parts.
    ends: (position, LM state, lexicon state, log weight) of these hypotheses, by parts, if they are
    asked for.

    For kernels: kept (`KEPT`), another array after each growth, and kept_count, int64 [1].
    """

    def __init__(self, with_ends: bool) -> None:
        self._with_ends = with_ends
        self.ends: list[tuple[Ints, Ints, Ints, Floats]] = []
        self.splits: list[tuple[Ints, Ints, Floats]] = []
        self.kept = records(KEPT, 0)
        self.kept_count = np.zeros(1, dtype=np.int64)

    def make_room(self, more: int) -> None:
        """Have places for so many more hypotheses."""
        self.kept = grown(self.kept, int(self.kept_count[0]) + more)

    def take_splits(self, table: RowTable) -> None:
        """Read the next symbols of what was kept since the last time from its rows."""
        kept = self.kept[: self.kept_count[0]]
        self.kept_count[0] = 0
        if len(kept):
            row, logw = kept["row"], kept["logw"]
            flat, owner = ragged(table.symbol_first[row], table.symbol_count[row])
            logp = logw[owner] + table.symbol_logp[flat]
            self.splits.append((table.symbol_position[flat], table.symbol[flat], logp))
            if self._with_ends:
                places = (table.position[row], table.state[row], table.lexicon[row])
                self.ends.append((*places, logw.copy()))
