"""Rows that have been evaluated, by the hypotheses that they belong to, and what lacks one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lmfst.ground.arrays import Ints
from lmfst.inference.advance import LACKING, LACKS, NO_ROOM, NOTED, WAITS, Run, ghost, go_on, link
from lmfst.inference.frontier import NONE, Records, grown, records
from lmfst.inference.query import Layout
from lmfst.inference.row_records import RowRecords
from lmfst.inference.rows import Rows
from lmfst.inference.sums import Sums


class Evaluated:
    """The rows of a batch that have been evaluated, and the runs over them.

    most: hypotheses of an offset that are kept; output_waits: whether output may wait for more
    input. records: the rows; lacking: hypotheses that the runs since the last evaluation lacked
    rows of (`lmfst.inference.advance.LACKING`).
    """

    def __init__(self, rows: Rows, layout: Layout, most: int, output_waits: bool) -> None:
        self._rows, self._layout = rows, layout
        self._most, self._output_waits = most, output_waits
        self.records = RowRecords(rows.table)
        self._roots = np.full(len(layout), NONE)
        self._first_row = np.full(len(layout.document), NONE)
        self._lacking = records(LACKING, 0)
        self._count = np.zeros(2, dtype=np.int64)
        self._asked: Callable[[], None] = lambda: None

    @property
    def lacking(self) -> Records:
        """See the class."""
        return self._lacking[: self._count[0]]

    def go_on(self, sums: Sums, speculative: bool) -> None:
        """Go on with every document until it lacks a row; a speculative run until enough do."""
        sums.documents["waits"] = False
        needs = np.zeros(3, dtype=np.int64)
        records, frontier, account = self.records, sums.frontier, sums.account
        while True:
            run = Run(
                documents=sums.documents,
                positions=sums.positions,
                tokens=sums.tokens,
                waiting=frontier.waiting,
                ends=frontier.ends,
                used=frontier.used,
                rows=records.rows,
                covers=records.covers,
                entries=records.entries,
                roots=self._roots,
                first_row=self._first_row,
                lacking=self._lacking,
                lacking_count=self._count,
                kept=account.kept,
                kept_count=account.kept_count,
                needs=needs,
            )
            if go_on(run, self._most, self._output_waits, speculative) != NO_ROOM:
                break
            frontier.make_room(int(needs[WAITS]))
            self._make_room(int(needs[LACKS]))
            account.make_room(int(needs[NOTED]))
        account.take_splits(self._rows.table)

    def _make_room(self, more: int) -> None:
        """Have places for so many more hypotheses that lack rows."""
        self._lacking = grown(self._lacking, int(self._count[0]) + more)

    def has_place(self, lexicon: int, position: int) -> bool:
        """Whether some row of a lexicon state at a position has been evaluated."""
        row = self._first_row[position]
        if row == NONE:
            return False
        of, after = self.records.rows["lexicon"], self.records.rows["next"]
        while row != NONE and of[row] != lexicon:
            row = after[row]
        return bool(row != NONE)

    def add_lacking(self, parent: int, token: int, lexicon: int, position: int) -> int:
        """List one more that lacks a row, below the lacking one numbered `parent`; its number."""
        self._make_room(1)
        number = int(self._count[0])
        level = self._lacking["level"][parent] + 1
        one = (ghost(parent), token, lexicon, position, NONE, NONE, level, 0, 0)
        self._lacking[number] = one
        self._count[0] += 1
        return number

    def ask(self, states: Ints) -> None:
        """Ask for the rows of all that lack one. states: their LM states, int64."""
        lacking = self.lacking
        # Copies, since a column of records isn't contiguous, as kernels take arrays.
        where = lacking["lexicon"].copy(), lacking["position"].copy()
        self._asked = self._rows.ask(states, *where)

    def take(self, sources: Ints) -> None:
        """Take what was asked for. sources: where it is in the sources of its documents, NONE for
        other texts; int64."""
        lacking, records = self.lacking, self.records
        rows = len(records.rows) + np.arange(len(lacking))
        self._asked()
        records.update()
        records.rows["source"][rows] = sources
        root = np.flatnonzero(lacking["token"] == NONE)
        self._roots[self._layout.document[lacking["position"][root]]] = rows[root]
        link(records.entries, records.rows, self._first_row, lacking, len(lacking), rows)
        self._count[:] = 0
