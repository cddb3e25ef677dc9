"""Types of columns: every column that rows have has one."""

from __future__ import annotations

from lmfst.ground.columns import COLUMN_TYPES
from lmfst.scored.levels import COLUMNS
from lmfst.scored.records import BOUNDS_COLUMNS, NEXT_COLUMNS, VERSUS_COLUMNS


def test_all_columns_have_a_type() -> None:
    named = {name for columns in COLUMNS.values() for name in columns}
    named |= {*BOUNDS_COLUMNS, *VERSUS_COLUMNS, *NEXT_COLUMNS}
    assert named | {"file", "line"} == COLUMN_TYPES.keys()
