"""Byte streams of files and pipes, unpacked: plain, gzip or zstd, told by their first bytes.

Nothing waits for more of a pipe than has arrived: what can be unpacked is handed on.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, Protocol, cast

from lmfst.ground.errors import InputError
from lmfst.io.arrivals import Arriving, Complete, Pipe
from lmfst.io.extras import extra

if TYPE_CHECKING:
    from typing_extensions import Buffer

STDIN = "-"
_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_AGAIN = "copy or compress the file again"


Reached = Callable[[Callable[[], int]], None]
"""Is told, when a file is opened, what says how many of its bytes (packed ones) have been read."""


def shown_name(path: str) -> str:
    """The name of a file in messages."""
    return "<stdin>" if path == STDIN else path


@contextmanager
def opened(
    path: str, *, complete: Complete | None = None, reached: Reached | None = None
) -> Iterator[IO[bytes]]:
    """The unpacked bytes of a file, or of the standard input for `-`, which is left open.

    complete: for what may wait; it comes as `Arriving` if it isn't packed and can be asked.
    reached: see there.
    InputError if it can't be opened, and in the block for bytes that can't be read or unpacked.
    """
    name = shown_name(path)
    try:
        with _raw(path) as raw:
            if reached is not None:
                reached(raw.tell)
            asked = complete is not None and Pipe.can_be(raw)
            yield _unpacked(Pipe(raw, complete) if complete and asked else raw, path)
    except _DamagedError as error:
        raise InputError(f"{name}: {error}", hint=_AGAIN) from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{name}: expected complete gzip data: {error}", hint=_AGAIN) from None
    except OSError as error:
        raise InputError(f"{name}: reading failed: {error.strerror or error}") from None


def is_regular(path: str) -> bool:
    """Whether all of a file is there, so that reading on never waits."""
    with suppress(OSError, ValueError, AttributeError):
        found = os.fstat(sys.stdin.fileno()) if path == STDIN else os.stat(path)
        return stat.S_ISREG(found.st_mode)
    return False


def peeked(stream: IO[bytes], size: int) -> tuple[bytes, IO[bytes]]:
    """The first `size` bytes of a stream, fewer if it has no more, and the whole of it again."""
    head = stream.read(size)
    return head, io.BufferedReader(_Eager(head, cast(_Arriving, stream)))


class _DamagedError(Exception):
    """Packed data that don't unpack; the message says what was expected."""


class _Arriving(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...

    def read1(self, size: int, /) -> bytes:
        """What has arrived, at most `size` bytes; none only at the end."""
        ...


@contextmanager
def _raw(path: str) -> Iterator[io.BufferedReader]:
    if path == STDIN:
        if sys.stdin is None:
            raise InputError("<stdin>: the standard input is closed", hint="name a file, or pipe")
        yield cast(io.BufferedReader, sys.stdin.buffer)
        return
    try:
        raw = open(path, "rb")  # noqa: SIM115 (closed below; opening has its own errors)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{path}: expected a readable file: {reason}", hint="- is the standard input"
        ) from None
    with raw:
        yield raw


def _unpacked(raw: io.BufferedReader | Pipe, path: str) -> IO[bytes]:
    """`raw` itself, or what it unpacks to if it begins as packed data do."""
    head = raw.read(1)
    # One byte at a time: more may not come before it is answered.
    for magic in (_GZIP_MAGIC, _ZSTD_MAGIC):
        while magic.startswith(head) and len(head) < len(magic) and (byte := raw.read(1)):
            head += byte
    source = _Eager(head, raw)
    if head == _GZIP_MAGIC:
        return cast(IO[bytes], gzip.GzipFile(fileobj=source, mode="rb"))
    if head == _ZSTD_MAGIC:
        return io.BufferedReader(_Zstd(source, shown_name(path)))
    if path.lower().endswith(".gz"):
        raise gzip.BadGzipFile("the data don't begin as gzip does")
    if path.lower().endswith(".zst"):
        raise _DamagedError("expected complete zstd data: the data don't begin as zstd does")
    if isinstance(raw, Pipe):
        raw.put_back(head)
        return Arriving(raw)
    return io.BufferedReader(source)


class _Eager(io.RawIOBase):
    """`head` and then `raw`, reading no more of a pipe than has arrived.

    gzip asks its source for large blocks; an ordinary buffered read would wait for a whole block
    and hold back lines that could be unpacked already.
    """

    # gzip's headers and trailers are read in pieces of up to 8 bytes that must come whole.
    _WHOLE = 16

    def __init__(self, head: bytes, raw: _Arriving) -> None:
        self._head = head
        self._raw = raw

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """What gzip calls: few bytes come whole, many as they arrive."""
        if 0 <= size <= self._WHOLE:
            taken, self._head = self._head[:size], self._head[size:]
            return taken + self._raw.read(size - len(taken))
        return self.read1(size if size > 0 else io.DEFAULT_BUFFER_SIZE)

    def readinto(self, buffer: Buffer) -> int:
        """What a buffered reader calls: the bytes that have arrived."""
        view = memoryview(buffer)
        data = self.read1(len(view))
        view[: len(data)] = data
        return len(data)

    def read1(self, size: int) -> bytes:
        """The bytes that have arrived."""
        taken, self._head = self._head[:size], self._head[size:]
        return taken or self._raw.read1(size)


class _Zstd(io.RawIOBase):
    """What frames of zstd unpack to, one after the other. InputError without zstandard.

    The stream readers of zstandard take the end of a file that was cut off for that of its data;
    its decompression objects know whether a frame is complete.
    """

    # A block of 4 bytes may unpack to 128 KiB: so at most 16 MiB come of one piece.
    _PIECE = 512

    def __init__(self, source: _Eager, name: str) -> None:
        library = extra("zstandard", "zstd", f"{name}: data packed by zstd")
        self._new = library.ZstdDecompressor().decompressobj
        self._error: type[Exception] = library.ZstdError
        self._source = source
        self._frame: Any = None
        self._packed = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)
        while not self._ready and self._more():
            pass
        taken, self._ready = self._ready[: len(view)], self._ready[len(view) :]
        view[: len(taken)] = taken
        return len(taken)

    def _more(self) -> bool:
        """Unpack a piece; whether there was one."""
        packed = self._packed or self._source.read1(self._PIECE)
        if not packed:
            if self._frame is not None:
                raise _DamagedError("expected complete zstd data: the file ends amid them")
            return False
        self._frame = self._frame or self._new()
        try:
            self._ready = memoryview(self._frame.decompress(packed))
        except self._error as error:
            raise _DamagedError(f"expected complete zstd data: {error}") from None
        self._packed = b""
        if self._frame.eof:
            self._packed, self._frame = self._frame.unused_data, None
        return True
