"""Rows as Parquet: typed columns, in groups that are written as they fill.

lmfst's own columns are text, int64 or float64 as `lmfst.ground.columns` has it, numbers at full
precision, infinite ones included. Those that are passed on have the type of their values in the
first group: text, int64, float64 or booleans; lists and objects are text in JSON; a column without
any value there is text. Pages are packed by zstd.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any, Literal, cast

from lmfst.ground.columns import COLUMN_TYPES, Same
from lmfst.ground.errors import InputError
from lmfst.ground.types import Warn
from lmfst.io.extras import extra
from lmfst.io.json_text import dumps
from lmfst.io.row_files import Sink
from lmfst.io.row_values import exact, plain
from lmfst.io.row_writer import RowWriter

GROUP_ROWS, GROUP_BYTES = 1 << 16, 1 << 24
"""Rows of a group, and the characters of text at which it is written before: a group is in memory
as it is written."""

Kind = Literal["text", "int64", "float64", "bool", "json"]
_OF_TYPE: dict[type, Kind] = {str: "text", int: "int64", float: "float64"}
_SHOWN: dict[Kind, str] = {
    "text": "text",
    "int64": "whole numbers",
    "float64": "numbers",
    "bool": "true or false",
    "json": "lists or objects",
}


class _Json(str):
    """JSON of a list or an object."""


_SURE: dict[Kind, type] = {"text": str, "float64": float, "bool": bool, "json": _Json}
"""Types all of whose values are of a kind."""
_PLAIN = frozenset((str, int, bool))
_MOST = 1 << 63
_MEND = "a column of Parquet has one type: mend its values, or use --format jsonl"


def require_parquet(name: str) -> tuple[Any, Any]:
    """pyarrow and its part for Parquet. InputError, which names the file, without."""
    what = f"{name}: Parquet"
    return extra("pyarrow", "parquet", what), extra("pyarrow.parquet", "parquet", what)


class ParquetWriter(RowWriter):
    """A Parquet file. InputError if pyarrow isn't installed, and for values that don't fit their
    column."""

    def __init__(self, sink: Sink, columns: Sequence[str], warn: Warn, name: str) -> None:
        """name: of the file, for messages."""
        self._name = name
        self._arrow, self._parquet = require_parquet(name)
        super().__init__(sink, columns, warn)
        kinds = [_OF_TYPE.get(COLUMN_TYPES.get(name, object)) for name in columns]
        self._own = [_Column(kind) for kind in kinds]
        self._passed: dict[str, _Column] = {}
        self._rows = self._written = self._first = self._size = 0
        self._target = _Target(self._sink)
        self._names: list[str] = []
        self._file: Any = None

    def _write_block(
        self, columns: Sequence[Sequence[object]], passed: Mapping[str, object]
    ) -> None:
        if passed.keys() != self._passed.keys():
            self._meet(passed)
        beside = [_normal(passed.get(name)) for name in self._passed]
        long = sum(len(value) for value in beside if isinstance(value, str))
        for some in self._pieces(columns, long):
            self._take(some, beside)

    def _take(self, columns: Sequence[Sequence[object]], beside: Sequence[object]) -> None:
        """Hold some rows."""
        size = len(columns[0])
        for column, values in zip(self._own, columns, strict=True):
            self._size += column.extend(values)
        for column, value in zip(self._passed.values(), beside, strict=True):
            self._size += column.repeat(value, size)
        self._rows += size
        if self._rows >= GROUP_ROWS or self._size >= GROUP_BYTES:
            self._write_group()

    def _meet(self, passed: Mapping[str, object]) -> None:
        """Take up columns that were not passed on before, as long as that is open."""
        for name in passed:
            if name in self._passed:
                continue
            if self._file is None:
                self._passed[name] = _Column(None)
                self._passed[name].repeat(None, self._rows)
            else:
                why = (
                    f"the first {self._first:,} rows, which decide on the columns of Parquet, "
                    "have none of that name"
                )
                self._leave_out(name, why)

    def _write_group(self) -> None:
        """Write the rows that are held; the first ones decide on columns and their types."""
        if self._file is None:
            self._first = self._rows
            self._names = [*self._columns, *self._renamed(list(self._passed)).values()]
        columns = [*self._own, *self._passed.values()]
        held = [
            column.taken(f"{self._name}: column {name!r}", self._written)
            for name, column in zip(self._names, columns, strict=True)
        ]
        if self._file is None:
            self._file = self._begun([column.kind or "text" for column in columns])
        arrays = [
            self._array(values, rows, field.type)
            for (values, rows), field in zip(held, self._file.schema, strict=True)
        ]
        if self._rows:
            table = self._arrow.Table.from_arrays(arrays, schema=self._file.schema)
            self._file.write_table(table)
        self._written += self._rows
        self._rows = self._size = 0

    def _array(self, values: Sequence[object], rows: Sequence[int] | None, kind: Any) -> Any:
        """rows: how many have each of the values; None: one."""
        found = self._arrow.array(values, kind)
        if rows is None:
            return found
        import numpy as np

        return found.take(self._arrow.array(np.repeat(np.arange(len(rows)), rows)))

    def _begun(self, kinds: Sequence[Kind]) -> Any:
        """pyarrow's writer, once columns and types are known."""
        types = {
            "text": self._arrow.string(),
            "json": self._arrow.string(),
            "int64": self._arrow.int64(),
            "float64": self._arrow.float64(),
            "bool": self._arrow.bool_(),
        }
        fields = [(name, types[kind]) for name, kind in zip(self._names, kinds, strict=True)]
        target = self._arrow.PythonFile(self._target, mode="w")
        schema = self._arrow.schema(fields)
        return self._parquet.ParquetWriter(target, schema, compression="zstd")

    def _end(self) -> None:
        if self._target.ended:
            return
        if self._rows or self._file is None:
            self._write_group()
        self._file.close()
        self._target.ended = True

    def flush(self) -> None:
        """Nothing: a group is written when it is full."""

    def discard(self) -> None:
        self._target.ended = True
        super().discard()


class _Column:
    """The values of a column that are not written yet. kind: None as long as it is open."""

    def __init__(self, kind: Kind | None) -> None:
        self.kind = kind
        self._values: list[object] = []
        self._rows: list[int] | None = None
        """How many rows have each value; None: one."""

    def repeat(self, value: object, rows: int) -> int:
        """Hold a value, as `_normal` gives it, of several rows. How many characters they have."""
        if self._rows is None and rows != 1:
            self._rows = [1] * len(self._values)
        self._values.append(value)
        if self._rows is not None:
            self._rows.append(rows)
        return len(value) * rows if isinstance(value, str) else 0

    def extend(self, values: Sequence[object]) -> int:
        """Hold several, quicker than one by one where they are of one type."""
        if len(values) == 1:
            return self.repeat(_normal(values[0]), 1)
        if isinstance(values, Same):
            return self.repeat(_normal(values.value), values.rows)
        if self._rows is not None:
            self._rows += repeat(1, len(values))
        if isinstance(values, range):
            self._values += values
            return 0
        kinds = {*map(type, values)}
        if kinds == {float}:
            self._values += [value + 0.0 for value in values]  # type: ignore[operator]
            return 0
        plain = values if kinds in ({int}, {str}, {type(None)}) else list(map(_normal, values))
        self._values += plain
        if kinds == {str}:
            return len("".join(plain))  # type: ignore[arg-type]
        return sum(len(value) for value in plain if isinstance(value, str))

    def taken(self, name: str, before: int) -> tuple[list[object], list[int] | None]:
        """The values, which are held no longer, and how many rows have each (None: one). InputError
        for one that doesn't fit. name: for the message. before: rows that were written already."""
        if self.kind is None:
            self.kind = self._decided(name)
        if not self._all_fit(self.kind):
            self._require_fit(self.kind, name, before)
        values, rows = self._values, self._rows
        self._values, self._rows = [], None
        if self.kind in ("text", "json"):
            # Lone surrogates stand for undecodable bytes of file names; they must not end a run.
            values = [
                None if v is None else v if v.isascii() else _encodable(v)
                for v in cast(list[str | None], values)
            ]
        return values, rows

    def _require_fit(self, kind: Kind, name: str, before: int) -> None:
        row = before + 1
        for value, rows in zip(self._values, self._rows or repeat(1), strict=False):
            if value is not None and not _fits(value, kind):
                raise InputError(
                    f"{name}: expected {_SHOWN[kind]}, as in other rows, found "
                    f"{_cut(value)} in row {row:,}",
                    hint=_MEND,
                )
            row += rows

    def _all_fit(self, kind: Kind) -> bool:
        """Whether a look at their types, which is quick, says that all values are of a kind."""
        kinds = {*map(type, self._values)} - {type(None)}
        if kinds == {int} and kind == "int64":
            found = [value for value in self._values if isinstance(value, int)]
            return min(found) >= -_MOST and max(found) < _MOST
        return kinds <= {_SURE.get(kind)}

    def _decided(self, name: str) -> Kind:
        kinds = {_kind(value) for value in self._values if value is not None}
        if kinds == {"int64", "float64"}:
            return "float64"
        if len(kinds) > 1:
            found = " and ".join(sorted(_SHOWN[kind] for kind in kinds))
            raise InputError(f"{name}: expected values of one type, found {found}", hint=_MEND)
        return next(iter(kinds), "text")


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _normal(value: object) -> object:
    """A value as one of the types that columns have; TypeError for others."""
    kind = type(value)
    if value is None or kind in _PLAIN:  # isinstance takes long with classes of `numbers`
        return value
    if kind is float:
        # Adding 0.0 turns -0.0 into 0.0.
        return value + 0.0  # type: ignore[operator]
    if isinstance(value, str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) + 0.0
    return _Json(dumps(exact(value) if isinstance(value, dict | list) else plain(value)))


def _kind(value: object) -> Kind:
    if isinstance(value, _Json):
        return "json"
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool):
        return "bool"
    return "int64" if isinstance(value, int) else "float64"


def _fits(value: object, kind: Kind) -> bool:
    """Whether a value is of a kind, without loss."""
    if isinstance(value, int) and not isinstance(value, bool):
        if kind == "float64":
            return abs(value) < _MOST and int(float(value)) == value
        return kind == "int64" and -_MOST <= value < _MOST
    return _kind(value) == kind


def _cut(value: object) -> str:
    shown = repr(str(value) if isinstance(value, _Json) else value)
    return shown if len(shown) <= 80 else shown[:80] + "…"


class _Target:
    """What pyarrow writes to. ended: whether nothing goes there any more."""

    closed = False

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.ended = False

    def write(self, data: Any) -> int:
        if not self.ended:
            self._sink.write(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing: the writer of rows does."""

    def close(self) -> None:
        """Nothing, as well."""
