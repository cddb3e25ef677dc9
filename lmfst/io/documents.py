"""Reading documents as bytes from files and pipes, one at a time.

A document is a line, a whole file, the `text` of a JSON object, or a FASTA record. Nothing is
decoded: NUL and bytes that are no UTF-8 are bytes like others. What a file format adds around the
text is removed, with a warning: the CR of CRLF line ends and a UTF-8 byte-order mark. UTF-16 is an
error.

Reading is streaming: a line is handed on as soon as it is complete, also out of a gzip pipe.
"""

from __future__ import annotations

import gzip
import io
import json
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Literal, NoReturn, cast

from lmfst.errors import InputError, UsageError

if TYPE_CHECKING:
    from typing_extensions import Buffer

DocMode = Literal["auto", "line", "file", "jsonl", "fasta"]
Warn = Callable[[str], None]

STDIN = "-"
_JSONL_SUFFIXES = (".jsonl", ".ndjson")
_FASTA_SUFFIXES = (".fa", ".fasta", ".fna", ".ffn", ".faa", ".frn")
_GZIP_MAGIC = b"\x1f\x8b"
_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Document:
    """One document: its `id`, its bytes, and its `origin` "FILE:LINE" for messages. is_sequence:
    whether it is a biological sequence, whose letters mean the same in either case."""

    id: str
    text: bytes
    origin: str
    is_sequence: bool = False


def _default_warn(message: str) -> None:
    warnings.warn(message, stacklevel=2)


def read_documents(
    path: str, *, doc: DocMode = "auto", warn: Warn = _default_warn
) -> Iterator[Document]:
    """The documents of the file `path`, or of the standard input for `-`.

    `doc` is "line" (id: the line's number), "file" (id: the path), "jsonl" (one object with `text`
    and perhaps `id` a line; else the id is the line's number), "fasta" (see `lmfst.io.fasta`), or
    "auto": JSONL or FASTA by the file's suffix, else lines. Gzip data are recognised and unpacked.
    `warn` takes one message each for an empty file, CRLF line ends and a byte-order mark.

    Raises UsageError for an unknown `doc` at once, and InputError while iterating for a file that
    can't be read, damaged gzip data, UTF-16, JSON lines without a text, and bad FASTA.
    """
    readers = {"line": _lines, "file": _file, "jsonl": _jsonl, "fasta": _fasta}
    if doc == "auto":
        doc = _by_suffix(path.removesuffix(".gz").lower())
    if doc not in readers:
        raise UsageError(f"expected doc to be auto, line, file, jsonl or fasta, found {doc!r}")
    return _read(path, readers[doc], warn)


def _by_suffix(path: str) -> DocMode:
    if path.endswith(_JSONL_SUFFIXES):
        return "jsonl"
    return "fasta" if path.endswith(_FASTA_SUFFIXES) else "line"


def _read(
    path: str, reader: Callable[[IO[bytes], str, Warn], Iterator[Document]], warn: Warn
) -> Iterator[Document]:
    name = "<stdin>" if path == STDIN else path
    found = False
    try:
        with _open(path) as stream:
            for document in reader(stream, name, warn):
                found = True
                yield document
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"{name}: expected complete gzip data: {error}", hint="copy or compress the file again"
        ) from None
    except OSError as error:
        raise InputError(f"{name}: reading failed: {error.strerror or error}") from None
    if not found:
        warn(f"{name}: the file is empty; there are no documents in it")


def _lines(stream: IO[bytes], name: str, warn: Warn) -> Iterator[Document]:
    warned = False
    for number, line in _numbered(stream, name, warn):
        text = line.removesuffix(b"\n")
        if text.endswith(b"\r") and len(text) < len(line):
            text = text[:-1]
            if not warned:
                warn(f"{name}:{number}: CRLF line ends; the CR is not taken as text")
                warned = True
        yield Document(str(number), text, f"{name}:{number}")


def _file(stream: IO[bytes], name: str, warn: Warn) -> Iterator[Document]:
    text = b"".join(line for _, line in _numbered(stream, name, warn))
    if text:
        yield Document(name, text, name)


def _jsonl(stream: IO[bytes], name: str, warn: Warn) -> Iterator[Document]:
    for number, line in _numbered(stream, name, warn):
        if line.strip():
            yield _from_json(line, number, f"{name}:{number}")


def _fasta(stream: IO[bytes], name: str, warn: Warn) -> Iterator[Document]:
    from lmfst.io.fasta import records

    for title, line, sequence in records(_numbered(stream, name, warn), name, warn):
        yield Document(title, sequence, f"{name}:{line}: record {title!r}", is_sequence=True)


def _numbered(stream: IO[bytes], name: str, warn: Warn) -> Iterator[tuple[int, bytes]]:
    """The lines with their 1-based numbers; the first one without its byte-order mark."""
    number = 0
    while line := stream.readline():
        number += 1
        if number == 1:
            if line.startswith(_UTF16_MARKS):
                raise InputError(
                    f"{name}: expected UTF-8 text, found the byte-order mark of UTF-16",
                    hint="convert it, for instance with: iconv -f UTF-16 -t UTF-8",
                )
            if line.startswith(_UTF8_MARK):
                warn(f"{name}: begins with a UTF-8 byte-order mark; it is not taken as text")
                line = line.removeprefix(_UTF8_MARK)
        if line:
            yield number, line


def _from_json(line: bytes, number: int, origin: str) -> Document:
    def fail(expected: str, found: str) -> NoReturn:
        raise InputError(
            f"{origin}: expected {expected}, found {found}",
            hint='every line is an object such as {"id": "1", "text": "..."}',
        )

    try:
        # Decoded here, because json would guess at UTF-16 and UTF-32.
        record = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        fail("UTF-8", f"the byte 0x{line[error.start]:02x} at column {error.start + 1}")
    except json.JSONDecodeError as error:
        fail("a JSON object", f"bad JSON at column {error.colno}: {error.msg}")
    except (RecursionError, ValueError) as error:
        fail("a JSON object", str(error))
    if not isinstance(record, dict):
        fail("a JSON object", type(record).__name__)
    text, key = record.get("text"), record.get("id", number)
    if not isinstance(text, str):
        fail('a string under "text"', "none" if text is None else type(text).__name__)
    if not isinstance(key, str | int) or isinstance(key, bool):
        fail('a string or an integer under "id"', type(key).__name__)
    try:
        return Document(str(key), text.encode("utf-8"), origin)
    except UnicodeEncodeError as error:
        fail("text that UTF-8 can encode", f"the lone surrogate {text[error.start]!a}")


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
        yield _unpacked(raw, must_be_gzip=path.endswith(".gz"))


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
