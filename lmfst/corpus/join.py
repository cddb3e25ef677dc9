"""Shards joined in their order, by kind of file.

A joiner takes the shards' files that have rows, the stream of the whole, and what makes a writer:
if no shard has rows, the writer makes the file, so that a table has its header.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from lmfst.corpus.records import MakeWriter
from lmfst.ground.errors import InputError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

Join = Callable[[Sequence[Path], IO[bytes], MakeWriter], None]

BLOCK = 1 << 20
ROWS = 1 << 17
"""Rows of a row group, at least but for the last one: readers of Parquet are slow with small
ones."""


def join_lines(paths: Sequence[Path], to: IO[bytes], make_writer: MakeWriter) -> None:
    """JSON lines: one after the other."""
    _begin(paths, to, make_writer)
    for path in paths:
        with path.open("rb") as stream:
            shutil.copyfileobj(stream, to, BLOCK)


def join_tables(paths: Sequence[Path], to: IO[bytes], make_writer: MakeWriter) -> None:
    """TSV: the header once. InputError where shards have different ones."""
    _begin(paths, to, make_writer)
    header = b""
    for path in paths:
        with path.open("rb") as stream:
            first = stream.readline()
            if not header:
                header = first
                to.write(header)
            elif first != header:
                raise InputError(
                    "the rows of the corpus have different columns, and can't be one table: "
                    f"{_columns(first)} after {_columns(header)}",
                    hint="JSON lines can hold them: name an output that ends in .jsonl",
                )
            shutil.copyfileobj(stream, to, BLOCK)


def join_parquet(paths: Sequence[Path], to: IO[bytes], make_writer: MakeWriter) -> None:
    """Parquet: the rows of whole row groups, put together to groups of `ROWS` or more.

    A column that a shard lacks is null there. One that is null throughout a shard gets the type
    that it has elsewhere, and whole numbers become numbers where others aren't whole. InputError
    where types don't go together.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    _begin(paths, to, make_writer)
    if not paths:
        return
    schema = _schema(paths)
    with pq.ParquetWriter(to, schema, compression="zstd") as writer:
        held: list[pa.Table] = []
        count = 0
        for path in paths:
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    held.append(_as(file.read_row_group(group), schema))
                    count += held[-1].num_rows
                    if count >= ROWS:
                        writer.write_table(pa.concat_tables(held), row_group_size=count)
                        held, count = [], 0
        if held:
            writer.write_table(pa.concat_tables(held), row_group_size=count)


def _schema(paths: Sequence[Path]) -> pa.Schema:
    """The schema of all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    said: dict[str, pa.DataType] = {}
    found: dict[str, pa.DataType] = {}
    for path in paths:
        with pq.ParquetFile(path) as file:
            empty = _empty(file.metadata)
            for field in file.schema_arrow:
                kind = pa.null() if field.name in empty else field.type
                said.setdefault(field.name, field.type)
                found[field.name] = _unified(field.name, found.get(field.name, pa.null()), kind)
    # What is null everywhere is what its writers have said it is.
    fields = [
        (name, said[name] if pa.types.is_null(kind) else kind) for name, kind in found.items()
    ]
    return pa.schema(fields)


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
        hint="JSON lines can hold them: name an output that ends in .jsonl",
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


JOINS: dict[str, Join] = {".jsonl": join_lines, ".tsv": join_tables, ".parquet": join_parquet}
"""By the suffix of the output."""


def join_for(path: str) -> Join:
    """The joiner for an output. UsageError for another suffix."""
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
