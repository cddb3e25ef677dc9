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

    A column that is null throughout a shard gets the type that it has elsewhere. InputError where
    shards have different columns or types.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    _begin(paths, to, make_writer)
    if not paths:
        return
    schema = _schema(paths)
    with pq.ParquetWriter(to, schema) as writer:
        held: list[pa.Table] = []
        count = 0
        for path in paths:
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    held.append(file.read_row_group(group).cast(schema))
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

    found: pa.Schema | None = None
    for path in paths:
        schema = pq.read_schema(path).remove_metadata()
        if found is None or found.equals(schema):
            found = schema
            continue
        if found.names != schema.names:
            raise InputError(
                "the rows of the corpus have different columns, and can't be one table: "
                f"{', '.join(schema.names)} after {', '.join(found.names)}",
                hint="JSON lines can hold them: name an output that ends in .jsonl",
            )
        try:
            found = pa.unify_schemas([found, schema])
        except pa.ArrowException as error:
            clash = ", ".join(
                f"{a.name} is {b.type} after {a.type}"
                for a, b in zip(found, schema, strict=True)
                if a.type != b.type
                and not pa.types.is_null(a.type)
                and not pa.types.is_null(b.type)
            )
            raise InputError(
                "the rows of the corpus have columns of different types, and can't be one table: "
                f"{clash or error}",
                hint="JSON lines can hold them: name an output that ends in .jsonl",
            ) from None
    return found


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
        make_writer(to).close()


def _columns(header: bytes) -> str:
    return ", ".join(header.decode("utf-8", "replace").rstrip("\n").split("\t"))
