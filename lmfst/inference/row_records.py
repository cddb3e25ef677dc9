"""Reduced rows in the form in which kernels take them."""

from __future__ import annotations

import numpy as np

from lmfst.ground.arrays import Floats
from lmfst.inference.frontier import NONE, Records, grown, records
from lmfst.inference.record_types import ENTRIES, ROWS
from lmfst.inference.row_table import RowTable

_OF_ROWS = (
    "state",
    "lexicon",
    "removed",
    "cover_first",
    "cover_count",
    "child_first",
    "child_count",
    "symbol_count",
)
_OF_ENTRIES = {
    "token": "child_token",
    "lexicon": "child_next",
    "position": "child_position",
    "logp": "child_logp",
}


class RowRecords:
    """The rows of a table as records: `ROWS` and `ENTRIES`, as they were at the last update."""

    def __init__(self, table: RowTable) -> None:
        self._table = table
        self._rows, self._row_count = records(ROWS, 0), 0
        self._entries, self._entry_count = records(ENTRIES, 0), 0

    @property
    def rows(self) -> Records:
        """`ROWS`, one a row."""
        return self._rows[: self._row_count]

    @property
    def entries(self) -> Records:
        """`ENTRIES`, one a child of a row."""
        return self._entries[: self._entry_count]

    @property
    def covers(self) -> Floats:
        """Log masses of what next tokens cover, float64."""
        return self._table.cover_logp

    def update(self) -> None:
        """Take over the rows that have been added to the table."""
        table, begin, first = self._table, self._row_count, self._entry_count
        self._row_count, self._entry_count = len(table), len(table.child_token)
        self._rows = grown(self._rows, self._row_count)
        self._entries = grown(self._entries, self._entry_count)
        rows, entries = self.rows[begin:], self.entries[first:]
        for name in _OF_ROWS:
            rows[name] = getattr(table, name)[begin:]
        for name, column in _OF_ENTRIES.items():
            entries[name] = getattr(table, column)[first:]
        rows["age"], rows["next"], rows["source"] = 0, NONE, NONE
        entries["row"], entries["lacking"] = NONE, NONE
        entries["owner"] = np.repeat(np.arange(begin, self._row_count), rows["child_count"])

    def read_again(self) -> None:
        """Take over the rows of a table that has been cleared."""
        self._row_count = self._entry_count = 0
        self.update()
