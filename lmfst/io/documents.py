"""Reading documents as bytes from files and pipes, one at a time.

A document is a line, a whole file, the `text` of a JSON object or of a row of a table (CSV, TSV,
Parquet), or a FASTA record. Nothing is decoded: NUL and bytes that are no UTF-8 are bytes like
others. What a file format adds around the text is removed, with a warning: the CR of CRLF line ends
and a UTF-8 byte-order mark. UTF-16 is an error.

Reading is streaming: a line is handed on as soon as it is complete, also out of a pipe of gzip or
zstd. `read_documents` ends with an error at the first record that is no document; `read_corpus`
says which one it is and goes on, in bounded memory.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial

from lmfst.ground.document import Document, Form, Rejected
from lmfst.ground.errors import InputError, UsageError
from lmfst.ground.types import DocMode, Warn
from lmfst.io.arrivals import COMPLETE, Arrivals
from lmfst.io.fasta import fasta
from lmfst.io.forms import form_of
from lmfst.io.json_lines import json_lines
from lmfst.io.parquet import parquet
from lmfst.io.plain_text import file_document, line_documents, not_binary
from lmfst.io.reading import Found, Header, Reader, Reading
from lmfst.io.streams import STDIN, Reached, is_regular, opened, shown_name
from lmfst.io.tables import table

__all__ = ["MAX_BYTES", "NOT_TWICE", "Header", "read_corpus", "read_documents"]

MAX_BYTES = 16 * 2**20
"""Bytes that a record of a corpus may have: its line, row of a table, sequence, text or file."""

NOT_TWICE = "-: the standard input can't be read twice, as a corpus must be"

_READERS: dict[str, Reader] = {
    "line": line_documents,
    "file": file_document,
    "jsonl": json_lines,
    "csv": partial(table, kind="csv"),
    "tsv": partial(table, kind="tsv"),
    "fasta": fasta,
    # It isn't read as a stream: its reader opens the file again.
    "parquet": parquet,
}
_WITH_COLUMNS = ("jsonl", "csv", "tsv", "parquet")
_NONE = {
    **dict.fromkeys(("csv", "tsv"), "there are no rows after the header"),
    "parquet": "there are no rows",
}


def _default_warn(message: str) -> None:
    warnings.warn(message, stacklevel=2)


def read_documents(
    path: str,
    *,
    doc: DocMode = "auto",
    text_column: str | None = None,
    id_column: str | None = None,
    header: Header | None = None,
    arrivals: Arrivals | None = None,
    warn: Warn = _default_warn,
) -> Iterator[Document]:
    """The documents of the file `path`, or of the standard input for `-`.

    `doc` is "line" (id: the line's number), "file" (id: the path), "jsonl" (an object a line; id:
    its `id` or else the line's number), "csv" or "tsv" (a row each, see `lmfst.io.tables`; id: the
    column `id` or else the row's number), "parquet" (the same, see `lmfst.io.parquet`), "fasta"
    (see `lmfst.io.fasta`), or "auto": by the file's suffix, else lines. text_column, id_column: the
    column or key of text and id; None: `text`, and `id` if there is one. header: is called with the
    columns of a table of CSV or TSV, before its rows. arrivals: is told what is being read. Data
    packed by gzip or zstd are recognised and unpacked. `warn` takes one message each for an empty
    file, CR and CRLF line ends, a byte-order mark, and lines that look like a table, JSON lines,
    FASTA or Parquet.

    Raises UsageError for an unknown `doc`, for columns where there are none, and for Parquet from
    the standard input, at once, and InputError while iterating for a file that can't be read,
    damaged data, UTF-16, JSON lines without a text, bad tables and bad FASTA, and where pyarrow or
    zstandard is needed and missing.
    """
    form = _form(path, doc, text_column, id_column)
    waits = form != "line" or not is_regular(path)
    reading = Reading(shown_name(path), warn, text_column, id_column, header, waits=waits)
    return _strictly(_read(path, form, reading, arrivals))


def read_corpus(
    path: str,
    *,
    doc: DocMode = "auto",
    text_column: str | None = None,
    id_column: str | None = None,
    max_bytes: int = MAX_BYTES,
    skip: int = 0,
    reached: Reached | None = None,
    warn: Warn = _default_warn,
) -> Iterator[Document | Rejected]:
    """The records of a file, in its order, and in place of each that is no document what is wrong
    with it. Two calls give the same.

    doc, text_column, id_column, warn: as of `read_documents`. max_bytes: a record with more is
    rejected; a line of more is never held as a whole, nor is a sequence or a file (a value of
    Parquet is, once). skip: as many records are passed over, rejected ones counted; lines and JSON
    lines are not decoded for that, groups of rows of Parquet not read. reached: is told, when the
    file is opened, what says how many of its bytes have been read. A file of lines that holds
    NUL and no UTF-8 in its first 64 KiB is one record, rejected as "binary".

    Raises UsageError as `read_documents`, for the standard input, which can't be read twice, and
    for numbers out of range; InputError while iterating for what is wrong with the whole file: it
    can't be read, or unpacked to its end, is UTF-16, has no header or no such column, or no FASTA
    header.
    """
    if path == STDIN:
        raise UsageError(NOT_TWICE, hint="write it to a file first")
    if max_bytes < 1 or skip < 0:
        raise UsageError(
            f"expected max_bytes from 1 on and skip from 0 on, found {max_bytes} and {skip}"
        )
    form = _form(path, doc, text_column, id_column)
    reading = Reading(
        path,
        warn,
        text_column,
        id_column,
        longest=max_bytes,
        skip=skip,
        reached=reached,
        waits=False,
    )
    return _read(path, form, reading)


def _form(path: str, doc: DocMode, text_column: str | None, id_column: str | None) -> Form:
    """What a document is in a file. UsageError: see `read_documents`."""
    form = form_of(path) if doc == "auto" else doc
    if form not in _READERS:
        known = f"auto, {', '.join(list(_READERS)[:-1])} or {list(_READERS)[-1]}"
        raise UsageError(f"expected doc to be {known}, found {form!r}")
    if (text_column, id_column) != (None, None) and form not in _WITH_COLUMNS:
        raise UsageError(
            f"{path}: --text-column and --id-column are those of tables and JSON lines, and a "
            f"document is a {form}",
            hint="add --doc csv, tsv, jsonl or parquet",
        )
    if form == "parquet" and path == STDIN:
        raise UsageError(
            "-: Parquet can't be read from the standard input: what is where in it stands at its "
            "end",
            hint="write it to a file first, and name that",
        )
    return form


def _read(path: str, form: Form, reading: Reading, arrivals: Arrivals | None = None) -> Found:
    """The records of a file, with a warning if there are none."""
    skip, found = reading.skip, False
    asked = arrivals is not None and not is_regular(path)
    complete = COMPLETE[form] if asked else None
    with opened(path, complete=complete, reached=reading.reached) as stream:
        if arrivals is not None:
            arrivals.stream = stream
        records = _READERS[form](stream, reading)
        if form == "line" and reading.longest is not None:
            records = not_binary(stream, reading)
        for record in records:
            found = True
            yield record
    if not found and not skip:
        what = _NONE.get(form, "the file is empty")
        reading.warn(f"{reading.name}: {what}; there are no documents in it")


def _strictly(found: Found) -> Iterator[Document]:
    for record in found:
        if isinstance(record, Rejected):
            raise InputError(record.message, hint=record.hint)
        yield record
