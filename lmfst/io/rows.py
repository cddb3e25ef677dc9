"""Writing rows as TSV, JSON lines or Parquet, to the standard output or atomically to a file.

TSV has a header line, which comes with the first row so that an error before it leaves nothing, and
LF line ends; None is an empty field. Values: see `lmfst.io.row_values`, and of Parquet
`lmfst.io.parquet_rows`.

What is passed on beside a row (the other columns of a table that was read) stands after its own
columns, as it is. A name that is one of these already gets `input_` before it. In TSV the first row
decides which columns there are, in Parquet the first group of rows.

A file appears under its name when it is complete; before that, and after an error, there is
nothing but what was there already. Pipes and devices are written to directly.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from typing import IO, get_args

from lmfst.ground.errors import UsageError
from lmfst.ground.types import RowFormat
from lmfst.io.parquet_rows import ParquetWriter, require_parquet
from lmfst.io.row_files import StreamSink, sink
from lmfst.io.row_values import ESCAPED
from lmfst.io.row_writer import RowWriter
from lmfst.io.text_rows import JsonWriter, TsvWriter

__all__ = ["ESCAPED", "RowWriter", "open_rows", "rows_to"]


def open_rows(
    path: str | None,
    fmt: RowFormat,
    columns: Sequence[str],
    *,
    escaped: Sequence[str] = (),
    warn: Callable[[str], None] = warnings.warn,
) -> RowWriter:
    """A writer of rows with the given `columns` to `path`; None or `-` is the standard output.

    escaped: columns whose text is one line with escapes of its own already. warn: takes one message
    for each column passed on that gets another name, or none.
    A path that ends in .gz is compressed. Raises UsageError for an unknown format, and for Parquet
    to a terminal or into .gz; InputError for a place that can't be written to, there and then or
    later (a full disk), and for Parquet without pyarrow.
    """
    if fmt not in (known := get_args(RowFormat)):
        listed = f"{', '.join(known[:-1])} or {known[-1]}"
        raise UsageError(f"expected the format {listed}, found {fmt!r}")
    if fmt == "tsv":
        return TsvWriter(sink(path), columns, warn, escaped)
    if fmt == "jsonl":
        return JsonWriter(sink(path), columns, warn)
    to_stdout = path is None or path == "-"
    if to_stdout and sys.stdout is not None and sys.stdout.isatty():
        raise UsageError(
            "Parquet is binary, and the standard output is a terminal",
            hint="write to a file with -o, or into a pipe",
        )
    if path is not None and path.endswith(".gz"):
        raise UsageError(
            f"{path}: Parquet is packed inside, and readers expect it so",
            hint="name the file without .gz",
        )
    name = "<stdout>" if to_stdout or path is None else path
    require_parquet(name)  # before there is a file
    return ParquetWriter(sink(path, may_pack=False), columns, warn, name)


def rows_to(
    stream: IO[bytes],
    fmt: RowFormat,
    columns: Sequence[str],
    *,
    escaped: Sequence[str] = (),
    warn: Callable[[str], None] = warnings.warn,
) -> RowWriter:
    """The same to a stream, which is left open. InputError for Parquet without pyarrow."""
    to = StreamSink(stream)
    if fmt == "tsv":
        return TsvWriter(to, columns, warn, escaped)
    if fmt == "jsonl":
        return JsonWriter(to, columns, warn)
    return ParquetWriter(to, columns, warn, "the output")
