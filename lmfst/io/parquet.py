"""Rows of Parquet as documents, read group by group and batch by batch.

Text is a column of strings or bytes. Other columns are passed on as what JSON has: numbers,
strings, truth values, null, lists and objects; decimals keep their digits, dates and times are
strings of ISO 8601, maps are lists of pairs, and bytes text with those that are no UTF-8 as
`\\xNN`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from lmfst.ground.document import Document, Rejected
from lmfst.ground.errors import InputError
from lmfst.io.extras import extra
from lmfst.io.parquet_values import jsonable, text_values
from lmfst.io.reading import Found, Reading
from lmfst.io.streams import is_regular
from lmfst.io.tables import chosen

_MAGIC = b"PAR1"
_BATCH_ROWS, _BATCH_BYTES = 1024, 1 << 24
"""Rows that are unpacked at a time, and about the bytes that they may have."""
_BUFFER = 1 << 20
"""Bytes of a column that are read at a time."""


def parquet(stream: IO[bytes], reading: Reading) -> Found:
    """The rows of a file.

    InputError for what is no Parquet, is packed or a pipe, and for columns that aren't there or
    hold neither text nor, for the id, whole numbers.
    """
    name = reading.name
    library = extra("pyarrow", "parquet", f"{name}: Parquet")
    files = extra("pyarrow.parquet", "parquet", f"{name}: Parquet")
    if not is_regular(name):
        raise InputError(
            f"{name}: Parquet can't be read from a pipe: what is where in it stands at its end",
            hint="write it to a file first",
        )
    _look(stream, name)
    with (
        named(name, library),
        files.ParquetFile(name, pre_buffer=False, buffer_size=_BUFFER) as file,
    ):
        columns = file.schema_arrow.names
        text, key = chosen(columns, reading.text, reading.id, name)
        _check(file.schema_arrow, text, key, name, library)
        number = reading.skip
        if reading.reached is not None:
            size, rows = os.path.getsize(name), max(1, file.metadata.num_rows)
            reading.reached(lambda: size * number // rows)
        for batch in _batches(file, reading.skip):
            for row in _rows(batch, text, library):
                number += 1
                yield _record(row, text, key, number, reading)


def _look(stream: IO[bytes], name: str) -> None:
    """InputError for what doesn't begin as Parquet does, and for Parquet that is packed. stream:
    what the file unpacks to."""
    head = stream.read(len(_MAGIC))
    if head != _MAGIC:
        found = "something else" if head else "an empty file"
        raise InputError(
            f"{name}: expected a Parquet file, found {found}",
            hint="for other formats use --doc line, file, jsonl, csv, tsv or fasta",
        )
    with open(name, "rb") as raw:
        if raw.read(len(_MAGIC)) != _MAGIC:
            raise InputError(
                f"{name}: expected a Parquet file, found one that is packed",
                hint="unpack it: Parquet is packed inside already, and not read from its beginning",
            )


@contextmanager
def named(name: str, library: Any, hint: str = "copy or write the file again") -> Iterator[None]:
    """What pyarrow says of a file that it can't read, with the file's name, as an InputError."""
    try:
        yield
    except (library.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{name}: expected a whole Parquet file: {error}", hint=hint) from None


def _check(schema: Any, text: str, key: str | None, name: str, library: Any) -> None:
    """InputError for columns that come twice, and for those of a type that won't do."""
    names = schema.names
    if double := next((column for column in names if names.count(column) > 1), None):
        raise InputError(
            f"{name}: expected different names, two columns are both called {double!r}",
            hint="rename one of them",
        )
    types, found = library.types, schema.field(text).type
    if not _holds_text(found, types):
        raise InputError(
            f"{name}: expected text in the column {text!r}, its type is {found}",
            hint="name another one with --text-column; the columns are "
            + ", ".join(map(repr, names)),
        )
    if key is None:
        return
    found = schema.field(key).type
    if not _holds_text(found, types) and not types.is_integer(found):
        raise InputError(
            f"{name}: expected text or whole numbers in the column {key!r}, its type is {found}",
            hint="name another one with --id-column",
        )


def _holds_text(type: Any, types: Any) -> bool:
    if types.is_dictionary(type):
        type = type.value_type
    tests = (
        types.is_string,
        types.is_large_string,
        types.is_string_view,
        types.is_binary,
        types.is_large_binary,
        types.is_binary_view,
        types.is_fixed_size_binary,
    )
    return any(test(type) for test in tests)


def _batches(file: Any, skip: int) -> Iterator[Any]:
    """Batches of rows after the first `skip`; groups before these aren't read."""
    for group in range(file.metadata.num_row_groups):
        about = file.metadata.row_group(group)
        if skip >= about.num_rows:
            skip -= about.num_rows
            continue
        most = _BATCH_BYTES * about.num_rows // max(about.total_byte_size, 1)
        size = max(1, min(_BATCH_ROWS, most))
        for batch in file.iter_batches(size, row_groups=[group], use_threads=False):
            taken, skip = batch.slice(min(skip, batch.num_rows)), max(0, skip - batch.num_rows)
            yield taken


def _rows(batch: Any, text: str, library: Any) -> Iterator[dict[str, object]]:
    """The rows of a batch; text is bytes."""
    names = batch.schema.names
    values = [
        text_values(column, library) if name == text else jsonable(column, library)
        for name, column in zip(names, batch.columns, strict=True)
    ]
    for row in zip(*values, strict=True):
        yield dict(zip(names, row, strict=True))


def _record(
    row: dict[str, object], text: str, key: str | None, number: int, reading: Reading
) -> Document | Rejected:
    id = str(number) if key is None else None if row[key] is None else str(row[key])
    data = row[text]
    if not isinstance(data, bytes):
        return reading.rejected(
            number, "no_text", f"expected text in the column {text!r}, found null", id=id
        )
    if reading.longest is not None and len(data) > reading.longest:
        return reading.too_long(number, "a text", len(data), id)
    if id is None:
        expected = f"expected text or a whole number in the column {key!r}, found null"
        return reading.rejected(number, "bad_id", expected)
    return Document(
        id,
        data,
        f"{reading.name}:{number}",
        form="parquet",
        row={**row, text: data.decode("utf-8", "surrogateescape")},
        extra={name: value for name, value in row.items() if name not in (text, key)},
        file=reading.name,
        line=number,
    )
