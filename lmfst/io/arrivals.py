r"""What has arrived of an input that comes bit by bit: whether reading on would wait.

A reader of documents is asked between two of them. The next one is there if all of it has arrived,
or the end has: of lines the LF, of a row of CSV the LF that ends it, of a FASTA record the next
header. Data that are packed can't be looked through; of these nobody can tell, nor of streams that
the system can't be asked about.
"""

from __future__ import annotations

import io
import re
import select
import time
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, cast

from lmfst.ground.document import Form

if TYPE_CHECKING:
    from typing_extensions import Buffer

Complete = Callable[[bytearray, int], bool]
"""Whether bytes, read to the end of a line before, begin with a whole document; there is none in
the first ones, up to a number."""

PATIENCE = 0.005
"""Seconds in which a producer that is at work may give more: `cat` fills a pipe again as soon as
there is room in it."""
_PIECE = 1 << 20
"""More bytes than a buffer of Python's holds, so that reading them empties it."""

_OBJECT = re.compile(rb"\S[^\n]*\n")
_NOT_EMPTY = re.compile(rb"[^\r\n][^\n]*\n")
_LINES = re.compile(rb"[^\n]*\n")
_HEADER = re.compile(rb"^>[^\n]*\n", re.MULTILINE)


def _line_begun(data: bytearray, known: int) -> int:
    """Where the last line begins that is known to be no whole one."""
    return data.rfind(b"\n", 0, known) + 1


def _line(data: bytearray, known: int) -> bool:
    return data.find(b"\n", known) >= 0


def _object(data: bytearray, known: int) -> bool:
    """Lines of white space are none."""
    return _OBJECT.search(data, _line_begun(data, known)) is not None


def _row_of_tsv(data: bytearray, known: int) -> bool:
    """Empty lines are none; in a table of one column this takes rows without text for such."""
    return _NOT_EMPTY.search(data, _line_begun(data, known)) is not None


def _row_of_csv(data: bytearray, known: int) -> bool:
    """As in TSV; and a line end amid quotes ends no row."""
    begun = _line_begun(data, known)
    quotes = data.count(b'"', 0, begun)
    for line in _LINES.finditer(data, begun):
        quotes += line[0].count(b'"')
        if quotes % 2 == 0 and (quotes or line[0].strip(b"\r\n")):
            return True
    return False


def _record(data: bytearray, known: int) -> bool:
    """A record ends with the next header; its own was read when the one before it ended."""
    return _HEADER.search(data, _line_begun(data, known)) is not None


def _all(data: bytearray, known: int) -> bool:
    """The end is the only one."""
    return False


COMPLETE: dict[Form, Complete] = {
    "line": _line,
    "jsonl": _object,
    "csv": _row_of_csv,
    "tsv": _row_of_tsv,
    "fasta": _record,
    "file": _all,
    "parquet": _all,
}


class Pipe(io.RawIOBase):
    """A pipe, socket or terminal that can be asked. It gives a line at a time to those who read it
    by a buffer, so that all that has arrived and wasn't read lies here."""

    def __init__(self, raw: io.BufferedReader, complete: Complete) -> None:
        self._raw, self._complete = raw, complete
        self._held = bytearray()
        self._known = 0
        self._ended = False

    @staticmethod
    def can_be(raw: io.BufferedReader) -> bool:
        """Whether the system can be asked about a stream."""
        try:
            select.select([raw.fileno()], [], [], 0)
        except (OSError, ValueError):  # a stream in memory, a descriptor too high
            return False
        return True

    def waits(self) -> bool:
        """Whether the next document, or the end, hasn't arrived within `PATIENCE`."""
        until = time.monotonic() + PATIENCE
        while not (self._ended or self._complete(self._held, self._known)):
            self._known = len(self._held)
            left = max(0.0, until - time.monotonic())
            if not select.select([self._raw.fileno()], [], [], left)[0]:
                return True
            self._fill()
        return False

    @property
    def ended(self) -> bool:
        """Whether all was read."""
        return self._ended and not self._held

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """So many bytes, fewer at the end."""
        while (size < 0 or len(self._held) < size) and self._fill():
            pass
        return self._taken(len(self._held) if size < 0 else size)

    def read1(self, size: int) -> bytes:
        """What has arrived, at most `size` bytes; none only at the end."""
        if not self._held:
            self._fill()
        return self._taken(size)

    def readinto(self, buffer: Buffer) -> int:
        """A line that has arrived, or a part of it."""
        view = memoryview(buffer)
        if not self._held:
            self._fill()
        data = self._taken(self._held.find(b"\n", 0, len(view)) + 1 or len(view))
        view[: len(data)] = data
        return len(data)

    def put_back(self, data: bytes) -> None:
        """Have bytes read again."""
        self._held[:0] = data
        self._known = 0

    def _fill(self) -> bool:
        """Wait for more; whether any came."""
        more = b"" if self._ended else self._raw.read1(_PIECE)
        self._ended = not more
        self._held += more
        return not self._ended

    def _taken(self, size: int) -> bytes:
        data = bytes(self._held[:size])
        del self._held[:size]
        self._known = max(0, self._known - size)
        return data


class Arriving(io.BufferedReader):
    """The bytes of a pipe. pipe: asked about them."""

    def __init__(self, pipe: Pipe) -> None:
        super().__init__(pipe)
        self.pipe = pipe


class Arrivals:
    """Tells of inputs that are read one after the other whether reading on would wait.

    stream: the one that is being read; `read_documents` says which. then_waits: whether the one
    after it may wait; whoever names the inputs says so.
    """

    def __init__(self) -> None:
        self.stream: IO[bytes] | None = None
        self.then_waits = False

    def __call__(self) -> bool:
        if isinstance(self.stream, Arriving):
            return self.stream.pipe.waits() or (self.then_waits and self.stream.pipe.ended)
        return self.then_waits and self._at_end()

    def _at_end(self) -> bool:
        try:
            # All streams of bytes that are opened here have it.
            return not cast(io.BufferedReader, self.stream).peek(1)
        except Exception:  # what is wrong with the data is said when they are read
            return False
