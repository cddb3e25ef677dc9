"""Shards joined in their order, by kind of file.

A join looks at the rows of each shard as soon as they are there, so that what can't be one table
ends a job when it is found, not when all is scored.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from lmfst.corpus.records import MakeWriter
from lmfst.ground.errors import InputError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

BLOCK = 1 << 20
_EXACT = 1 << 53
ROWS, GROUP = 1 << 17, 1 << 26
"""Rows of a row group, at least, but for the last one, since readers of Parquet are slow with small
ones; and the bytes in memory at which it is written before."""
_MEND = "JSON lines can hold them: name an output that ends in .jsonl"


class Join(Protocol):
    """Makes one file of the shards' files that have rows."""

    def see(self, path: Path) -> None:
        """Look at a shard's file. InputError if it doesn't go with those that were seen before."""
        ...

    def join(self, paths: Sequence[Path], to: IO[bytes], make_writer: MakeWriter) -> None:
        """Write them to `to`, in the order of `paths`. If there are none, the writer makes the
        file, so that a table has its header. InputError if they don't go together."""
        ...


MakeJoin = Callable[[], Join]


class JoinLines:
    """JSON lines: one after the other."""

    def see(self, path: Path) -> None:
        """They always go together."""

    def join(self, paths: Sequence[Path], to: IO[bytes], make_writer: MakeWriter) -> None:
        _begin(paths, to, make_writer)
        for path in paths:
            with path.open("rb") as stream:
                shutil.copyfileobj(stream, to, BLOCK)


class JoinTables:
    """TSV: the header, which must be the same everywhere, once."""

    def __init__(self) -> None:
        self._header = b""

    def see(self, path: Path) -> None:
        with path.open("rb") as stream:
            self._check(stream.readline())

    def _check(self, header: bytes) -> None:
        self._header = self._header or header
        if header != self._header:
            raise InputError(
                "the rows of the corpus have different columns, and can't be one table: "
                f"{_columns(header)} after {_columns(self._header)}",
                hint=_MEND,
            )

    def join(self, paths: Sequence[Path], to: IO[bytes], make_writer: MakeWriter) -> None:
        _begin(paths, to, make_writer)
        for number, path in enumerate(paths):
            with path.open("rb") as stream:
                header = stream.readline()
                self._check(header)
                if number == 0:
                    to.write(header)
                shutil.copyfileobj(stream, to, BLOCK)


class JoinParquet:
    """Parquet: the rows of whole row groups, put together to groups of `ROWS` (or `GROUP` bytes).

    A column that a shard lacks is null there. One that is null throughout a shard gets the type
    that it has elsewhere, and whole numbers become numbers where others aren't whole. Other types
    must be the same everywhere.
    """

    def __init__(self) -> None:
        self._said: dict[str, pa.DataType] = {}
        self._found: dict[str, pa.DataType] = {}
        self._large: set[str] = set()

    def see(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as file:
            empty = _empty(file.metadata)
            for field in file.schema_arrow:
                kind = pa.null() if field.name in empty else field.type
                self._said.setdefault(field.name, field.type)
                before = self._found.get(field.name, pa.null())
                self._found[field.name] = _unified(field.name, before, kind)
                if field.type == pa.int64() and _is_large(file.metadata, field.name):
                    self._large.add(field.name)
                if self._found[field.name] == pa.float64() and field.name in self._large:
                    raise InputError(
                        f"the column {field.name} of the corpus has whole numbers beyond 2^53 and "
                        "others with a fraction, which no column of numbers holds",
                        hint=_MEND,
                    )

    def join(self, paths: Sequence[Path], to: IO[bytes], make_writer: MakeWriter) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        _begin(paths, to, make_writer)
        if not paths:
            return
        schema = self._schema(paths)
        with pq.ParquetWriter(to, schema, compression="zstd") as writer:
            held: list[pa.Table] = []
            count = size = 0
            for path in paths:
                with pq.ParquetFile(path) as file:
                    for group in range(file.num_row_groups):
                        held.append(_as(file.read_row_group(group), schema))
                        count += held[-1].num_rows
                        size += held[-1].nbytes
                        if count >= ROWS or size >= GROUP:
                            writer.write_table(pa.concat_tables(held), row_group_size=count)
                            held, count, size = [], 0, 0
            if held:
                writer.write_table(pa.concat_tables(held), row_group_size=count)

    def _schema(self, paths: Sequence[Path]) -> pa.Schema:
        """The schema of all, its columns in the order of the shards, whichever was seen first."""
        import pyarrow as pa

        self._said, self._found, self._large = {}, {}, set()
        for path in paths:
            self.see(path)
        # What is null everywhere is what its writers have said it is.
        return pa.schema(
            [
                (name, self._said[name] if pa.types.is_null(kind) else kind)
                for name, kind in self._found.items()
            ]
        )


def _empty(metadata: pq.FileMetaData) -> set[str]:
    """The columns without any value."""
    values: dict[str, bool] = {}
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group)
        for number in range(rows.num_columns):
            column = rows.column(number)
            there = column.statistics
            none = there is not None and there.has_null_count and there.null_count == rows.num_rows
            name = column.path_in_schema
            values[name] = values.get(name, False) or not none
    return {name for name, there in values.items() if not there}


def _is_large(metadata: pq.FileMetaData, name: str) -> bool:
    """Whether a column of whole numbers has some that a float can't hold."""
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group)
        for number in range(rows.num_columns):
            column = rows.column(number)
            found = column.statistics
            known = column.path_in_schema == name and found is not None and found.has_min_max
            if known and max(-found.min, found.max) > _EXACT:
                return True
    return False


def _unified(name: str, one: pa.DataType, other: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    if pa.types.is_null(one) or pa.types.is_null(other):
        return other if pa.types.is_null(one) else one
    if one == other:
        return one
    if {one, other} == {pa.int64(), pa.float64()}:
        return pa.float64()
    raise InputError(
        "the rows of the corpus have columns of different types, and can't be one table: "
        f"{name} is {other} after {one}",
        hint=_MEND,
    )


def _as(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table with the columns of a schema."""
    import pyarrow as pa

    columns = [
        table.column(field.name).cast(field.type)
        if field.name in table.column_names
        else pa.chunked_array([pa.nulls(table.num_rows, field.type)])
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


JOINS: dict[str, MakeJoin] = {".jsonl": JoinLines, ".tsv": JoinTables, ".parquet": JoinParquet}
"""By the suffix of the output."""


def join_for(path: str) -> MakeJoin:
    """The join for an output. UsageError for another suffix."""
    suffix = Path(path).suffix
    if suffix not in JOINS:
        raise UsageError(
            f"{path}: expected an output that ends in {', '.join(JOINS)}, found "
            f"{repr(suffix) if suffix else 'no suffix'}"
        )
    return JOINS[suffix]


def _begin(paths: Sequence[Path], to: IO[bytes], make_writer: MakeWriter) -> None:
    if not paths:
        make_writer(to, lambda message: None).close()


def _columns(header: bytes) -> str:
    return ", ".join(header.decode("utf-8", "replace").rstrip("\n").split("\t"))
