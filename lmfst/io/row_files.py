"""Files that rows go to: atomic, perhaps compressed; errors say which file they are about."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Protocol, cast

from lmfst.ground.atomic import AtomicFile, write_hint
from lmfst.ground.errors import InputError
from lmfst.io.stdout import Stdout


class Sink(Protocol):
    """Where the bytes of rows go."""

    def write(self, line: bytes) -> None:
        """Write a whole line, or several."""
        ...

    def flush(self) -> None:
        """Hand on what was written, where someone may be reading."""
        ...

    def close(self) -> None:
        """Complete the output. A second call does nothing."""
        ...

    def discard(self) -> None:
        """Give the output up."""
        ...


def sink(path: str | None, *, may_pack: bool = True) -> Sink:
    """The standard output for None or `-`, else the file `path`, packed if it ends in .gz.

    Raises InputError for a place that can't be written to, there and then or later.
    """
    if path is None or path == "-":
        return Stdout()
    return _place(path, may_pack and path.endswith(".gz"))


class StreamSink:
    """A stream that somebody else has opened, and will close."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def write(self, line: bytes) -> None:
        self._stream.write(line)

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        """Nothing: whoever has opened the stream completes it."""

    def discard(self) -> None:
        """Nothing, too."""


class _File:
    """Rows in a file, perhaps compressed, that appears when it is complete."""

    def __init__(self, file: AtomicFile, packed: bool) -> None:
        self._file = file
        self._packer: gzip.GzipFile | None = None
        if packed:
            # No name and time inside: the same rows give the same file.
            self._packer = gzip.GzipFile("", "wb", fileobj=file.raw, mtime=0)
        self._stream = file.raw if self._packer is None else cast(IO[bytes], self._packer)

    def write(self, line: bytes) -> None:
        with self._named():
            self._stream.write(line)

    def flush(self) -> None:
        # Nobody reads a temporary file, and flushing spoils compression.
        if self._file.direct:
            with self._named():
                self._stream.flush()

    @contextmanager
    def _named(self) -> Iterator[None]:
        """An error of the system, but for a reader that has gone, says which file it is about."""
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            raise InputError(
                f"{self._file.path}: can't be written: {error.strerror or error}",
                hint=write_hint(error),
            ) from error

    def close(self) -> None:
        if self._file.raw.closed:
            return
        try:
            with self._named():
                if self._packer is not None:
                    self._packer.close()
                self._file.complete()
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        self._file.discard()


def _place(path: str, packed: bool) -> _File:
    """Open `path` for writing: a temporary file beside it, or itself if it is a pipe or device."""
    try:
        if os.path.isdir(os.path.realpath(path)):
            raise IsADirectoryError(None, "it is a directory")
        return _File(AtomicFile(path), packed)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{path}: expected a place to write to: {reason}",
            hint=write_hint(error),
        ) from None
