"""Reading documents as bytes from files and pipes, one at a time.

A document is a line, a whole file, the `text` of a JSON object or of a row of a table, or a FASTA
record. Nothing is decoded: NUL and bytes that are no UTF-8 are bytes like others. What a file
format adds around the text is removed, with a warning: the CR of CRLF line ends and a UTF-8
byte-order mark. UTF-16 is an error.

Reading is streaming: a line is handed on as soon as it is complete, also out of a gzip pipe.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import stat
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import IO, TYPE_CHECKING, NoReturn, cast

from lmfst.ground.document import Document, Form
from lmfst.ground.errors import InputError, UsageError
from lmfst.ground.types import DocMode, Warn
from lmfst.io import tables
from lmfst.io.fasta import records
from lmfst.io.json_text import loads
from lmfst.io.lines import ended, likeness, numbered, suspect

if TYPE_CHECKING:
    from typing_extensions import Buffer

Header = Callable[[Form, list[str]], None]

STDIN = "-"
_SUFFIXES: dict[Form, tuple[str, ...]] = {
    "jsonl": (".jsonl", ".ndjson"),
    "csv": (".csv",),
    "tsv": (".tsv",),
    "fasta": (".fa", ".fasta", ".fna", ".ffn", ".faa", ".frn"),
}
_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class _Columns:
    """The columns, or keys, of text and id that were asked for; None: the usual ones. header: who
    is told the columns of a table."""

    text: str | None = None
    id: str | None = None
    header: Header | None = None


def _default_warn(message: str) -> None:
    warnings.warn(message, stacklevel=2)


def read_documents(
    path: str,
    *,
    doc: DocMode = "auto",
    text_column: str | None = None,
    id_column: str | None = None,
    header: Header | None = None,
    warn: Warn = _default_warn,
) -> Iterator[Document]:
    """The documents of the file `path`, or of the standard input for `-`.

    `doc` is "line" (id: the line's number), "file" (id: the path), "jsonl" (an object a line; id:
    its `id` or else the line's number), "csv" or "tsv" (a row each, see `lmfst.io.tables`; id: the
    column `id` or else the row's number), "fasta" (see `lmfst.io.fasta`), or "auto": by the file's
    suffix, else lines. text_column, id_column: the column or key of text and id; None: `text`, and
    `id` if there is one. header: is called with the columns of a table, before its rows. Gzip data
    are recognised and unpacked. `warn` takes one message each for an empty file, CR and CRLF line
    ends, a byte-order mark, and lines that look like a table, JSON lines or FASTA.

    Raises UsageError for an unknown `doc`, and for columns where there are none, at once, and
    InputError while iterating for a file that can't be read, damaged gzip data, UTF-16, JSON lines
    without a text, bad tables and bad FASTA.
    """
    if doc == "auto":
        doc = _by_suffix(path.lower().removesuffix(".gz"))
    if doc not in _READERS:
        known = f"auto, {', '.join(list(_READERS)[:-1])} or {list(_READERS)[-1]}"
        raise UsageError(f"expected doc to be {known}, found {doc!r}")
    columns = _Columns(text_column, id_column, header)
    if (text_column, id_column) != (None, None) and doc not in ("jsonl", "csv", "tsv"):
        raise UsageError(
            f"{path}: --text-column and --id-column are those of tables and JSON lines, and a "
            f"document is a {doc}",
            hint="add --doc csv, tsv or jsonl",
        )
    reader = _READERS[doc]
    if doc == "line" and _is_regular(path):
        reader = partial(_lines, ahead=True)
    return _read(path, reader, columns, warn)


def _by_suffix(path: str) -> Form:
    for form, suffixes in _SUFFIXES.items():
        if path.endswith(suffixes):
            return form
    return "line"


def _read(path: str, reader: _Reader, columns: _Columns, warn: Warn) -> Iterator[Document]:
    name = "<stdin>" if path == STDIN else path
    found = False
    try:
        with _open(path) as stream:
            for document in reader(stream, name, columns, warn):
                found = True
                yield document
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"{name}: expected complete gzip data: {error}", hint="copy or compress the file again"
        ) from None
    except OSError as error:
        raise InputError(f"{name}: reading failed: {error.strerror or error}") from None
    if not found:
        what = (
            "there are no rows after the header" if reader in (_csv, _tsv) else "the file is empty"
        )
        warn(f"{name}: {what}; there are no documents in it")


def _lines(
    stream: IO[bytes], name: str, columns: _Columns, warn: Warn, *, ahead: bool = False
) -> Iterator[Document]:
    """ahead: whether to look at the second line first where the first one is suspect."""
    warned = False
    lines = ended(numbered(stream, name, warn), name, warn, is_text=True)
    for number, line in _judged(lines, name, warn, ahead):
        text = line.removesuffix(b"\n")
        if text.endswith(b"\r") and len(text) < len(line):
            text = text[:-1]
            if not warned:
                warn(f"{name}:{number}: CRLF line ends; the CR is not taken as text")
                warned = True
        yield Document(str(number), text, f"{name}:{number}")


def _judged(
    lines: Iterator[tuple[int, bytes]], name: str, warn: Warn, ahead: bool
) -> Iterator[tuple[int, bytes]]:
    """The lines, with a warning if the first two look like something else."""
    first, what = b"", ""
    held: list[tuple[int, bytes]] = []
    for number, line in lines:
        if number <= 2 and not what:
            first = first or line
            what = likeness(first, line if number == 2 else b"")
            if what:
                warn(f"{name}:1: this line is read as text, and looks like {what}")
            elif ahead and number == 1 and suspect(line):
                held.append((number, line))
                continue
        yield from held
        held.clear()
        yield number, line
    yield from held


def _is_regular(path: str) -> bool:
    """Whether all of a file is there, so that reading on never waits."""
    with suppress(OSError, ValueError, AttributeError):
        found = os.fstat(sys.stdin.fileno()) if path == STDIN else os.stat(path)
        return stat.S_ISREG(found.st_mode)
    return False


def _file(stream: IO[bytes], name: str, columns: _Columns, warn: Warn) -> Iterator[Document]:
    text = b"".join(line for _, line in numbered(stream, name, warn))
    if text:
        yield Document(name, text, name, form="file")


def _jsonl(stream: IO[bytes], name: str, columns: _Columns, warn: Warn) -> Iterator[Document]:
    for number, line in ended(numbered(stream, name, warn), name, warn, is_text=False):
        if line.strip():
            yield _from_json(line, number, f"{name}:{number}", columns, warn)


def _csv(stream: IO[bytes], name: str, columns: _Columns, warn: Warn) -> Iterator[Document]:
    return _table(stream, name, "csv", columns, warn)


def _tsv(stream: IO[bytes], name: str, columns: _Columns, warn: Warn) -> Iterator[Document]:
    return _table(stream, name, "tsv", columns, warn)


def _table(
    stream: IO[bytes], name: str, kind: tables.Kind, columns: _Columns, warn: Warn
) -> Iterator[Document]:
    lines = ended(numbered(stream, name, warn), name, warn, is_text=False)
    names, rows = tables.rows(lines, name, kind, warn)
    text, key = tables.chosen(names, columns.text, columns.id, name)
    if columns.header is not None:
        columns.header(kind, names)
    others = [column for column in names if column not in (text, key)]
    for row in rows:
        fields = row.fields
        yield Document(
            str(row.number) if key is None else tables.shown(fields[key]),
            fields[text].encode("utf-8", "surrogateescape"),
            f"{name}:{row.line}",
            form=kind,
            row=fields,
            extra={column: tables.shown(fields[column]) for column in others},
        )


def _fasta(stream: IO[bytes], name: str, columns: _Columns, warn: Warn) -> Iterator[Document]:
    lines = ended(numbered(stream, name, warn), name, warn, is_text=False)
    for title, line, sequence in records(lines, name, warn):
        origin = f"{name}:{line}: record {title!r}"
        yield Document(
            title, sequence, origin, is_sequence=True, form="fasta", row={"header": title}
        )


_Reader = Callable[[IO[bytes], str, _Columns, Warn], Iterator[Document]]
_READERS: dict[str, _Reader] = {
    "line": _lines,
    "file": _file,
    "jsonl": _jsonl,
    "csv": _csv,
    "tsv": _tsv,
    "fasta": _fasta,
}


def _from_json(line: bytes, number: int, origin: str, columns: _Columns, warn: Warn) -> Document:
    text_key = tables.TEXT if columns.text is None else columns.text
    id_key = tables.ID if columns.id is None else columns.id

    def fail(expected: str, found: str, hint: str = "") -> NoReturn:
        usual = f'{{"id": "1", "{text_key}": "..."}}'
        raise InputError(
            f"{origin}: expected {expected}, found {found}",
            hint=hint or f"every line is an object such as {usual}",
        )

    def constant(name: str) -> None:
        warn(f"{origin}: {name} is no number of JSON; it is passed on as a text")

    try:
        # Decoded here, because json would guess at UTF-16 and UTF-32.
        record = loads(line.decode("utf-8"), constant)
    except UnicodeDecodeError as error:
        fail("UTF-8", f"the byte 0x{line[error.start]:02x} at column {error.start + 1}")
    except json.JSONDecodeError as error:
        fail("a JSON object", f"bad JSON at column {error.colno}: {error.msg}")
    except (RecursionError, ValueError) as error:
        fail("a JSON object", str(error))
    if not isinstance(record, dict):
        fail("a JSON object", type(record).__name__)
    text, key = record.get(text_key), record.get(id_key, number if columns.id is None else None)
    if not isinstance(text, str):
        keys = ", ".join(map(repr, record)) or "none"
        fail(
            f'a string under "{text_key}"',
            _kind(record, text_key),
            f"the keys are {keys}: name the one of the text with --text-column",
        )
    if not isinstance(key, str | int) or isinstance(key, bool):
        fail(f'a string or an integer under "{id_key}"', _kind(record, id_key))
    extra = {name: value for name, value in record.items() if name not in (text_key, id_key)}
    try:
        return Document(
            str(key), text.encode("utf-8"), origin, form="jsonl", row=record, extra=extra
        )
    except UnicodeEncodeError as error:
        fail("text that UTF-8 can encode", f"the lone surrogate {text[error.start]!a}")


def _kind(record: Mapping[str, object], key: str) -> str:
    """What is under a key, for messages."""
    if key not in record:
        return "none"
    value = record[key]
    return (
        "null" if value is None else "float" if isinstance(value, float) else type(value).__name__
    )


@contextmanager
def _open(path: str) -> Iterator[IO[bytes]]:
    """The (unpacked) byte stream of `path`; the standard input is left open."""
    if path == STDIN:
        if sys.stdin is None:
            raise InputError("<stdin>: the standard input is closed", hint="name a file, or pipe")
        yield _unpacked(cast(io.BufferedReader, sys.stdin.buffer), must_be_gzip=False)
        return
    try:
        raw = open(path, "rb")  # noqa: SIM115 (closed below; opening has its own errors)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{path}: expected a readable file: {reason}", hint="- is the standard input"
        ) from None
    with raw:
        yield _unpacked(raw, must_be_gzip=path.lower().endswith(".gz"))


def _unpacked(raw: io.BufferedReader, must_be_gzip: bool) -> IO[bytes]:
    """`raw` itself, or what it unpacks to if it begins as gzip data do."""
    head = raw.read(1)
    if head == _GZIP_MAGIC[:1]:
        head += raw.read(1)
    source = _Eager(head, raw)
    if head == _GZIP_MAGIC:
        return cast(IO[bytes], gzip.GzipFile(fileobj=source, mode="rb"))
    if must_be_gzip:
        raise gzip.BadGzipFile("the data don't begin as gzip does")
    return io.BufferedReader(source)


class _Eager(io.RawIOBase):
    """`head` and then `raw`, reading no more of a pipe than has arrived.

    gzip asks its source for large blocks; an ordinary buffered read would wait for a whole block
    and hold back lines that could be unpacked already.
    """

    # gzip's headers and trailers are read in pieces of up to 8 bytes that must come whole.
    _WHOLE = 16

    def __init__(self, head: bytes, raw: io.BufferedReader) -> None:
        self._head = head
        self._raw = raw

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """What gzip calls: few bytes come whole, many as they arrive."""
        if 0 <= size <= self._WHOLE:
            taken, self._head = self._head[:size], self._head[size:]
            return taken + self._raw.read(size - len(taken))
        return self._arrived(size if size > 0 else io.DEFAULT_BUFFER_SIZE)

    def readinto(self, buffer: Buffer) -> int:
        """What a buffered reader calls: the bytes that have arrived."""
        view = memoryview(buffer)
        data = self._arrived(len(view))
        view[: len(data)] = data
        return len(data)

    def _arrived(self, size: int) -> bytes:
        taken, self._head = self._head[:size], self._head[size:]
        return taken or self._raw.read1(size)
