"""Rows of hypotheses, read when they are asked for."""

from __future__ import annotations

import numpy as np

from lmfst.ground.arrays import Ints
from lmfst.inference.frontier import Hypotheses
from lmfst.inference.row_records import RowRecords
from lmfst.inference.row_table import RowTable
from lmfst.inference.rows import Rows


class ReadNow:
    """Evaluates the rows that are asked for, and keeps them until the next ones are. records: they,
    for kernels."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.records = RowRecords(rows.table)

    @property
    def table(self) -> RowTable:
        """Where the rows are."""
        return self._rows.table

    def rows(self, chosen: Hypotheses, states: Ints) -> Ints:
        """The rows int64 [n] of hypotheses, in the table, with their LM states."""
        self.table.clear()
        self._rows.read(states, chosen.lexicon, chosen.position)
        self.records.read_again()
        return np.arange(len(states))
