"""What OpenFst's C++ code writes to stderr, caught at file-descriptor level.

The exceptions of pynini and pywrapfst only say "Operation failed"; the reason goes to file
descriptor 2, past `sys.stderr`.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import IO

_LOCK = threading.RLock()
_PREFIX = re.compile(r"^(?:ERROR|FATAL|WARNING): ")
LONGEST = 4000
"""Bytes of one operation's messages that are read."""


class Capture:
    """While it is entered, descriptor 2 goes to a temporary file, for all threads.

    One thread at a time: others wait to enter theirs.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._saved: int | None = None
        self._mark = 0

    def __enter__(self) -> Capture:
        _LOCK.acquire()
        try:
            self._file = tempfile.TemporaryFile()
            _flush()
            try:
                self._saved = os.dup(2)
            except OSError:
                self._saved = None  # stderr is closed
            os.dup2(self._file.fileno(), 2)
        except BaseException:
            _LOCK.release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            _flush()
            if self._saved is None:
                os.close(2)
            else:
                os.dup2(self._saved, 2)
                os.close(self._saved)
            if self._file is not None:
                self._file.close()
                self._file = None
        finally:
            _LOCK.release()

    def mark(self) -> None:
        """What is written from now on is new."""
        if self._file is not None:
            self._mark = os.fstat(self._file.fileno()).st_size

    def since_last(self) -> str:
        """The messages since the last mark, without their severity, joined by `; `."""
        lines = (_PREFIX.sub("", line) for line in self._text(LONGEST).splitlines())
        return "; ".join(dict.fromkeys(line for line in lines if line.strip()))

    def line(self) -> str:
        """All that was written since the last mark, as one line."""
        return " ".join(self._text().split())

    def _text(self, most: int | None = None) -> str:
        if self._file is None:
            return ""
        size = os.fstat(self._file.fileno()).st_size - self._mark
        # pread leaves the shared offset alone, where the C++ side goes on writing.
        data = os.pread(self._file.fileno(), size if most is None else most, self._mark)
        return data.decode("utf-8", "replace")


@contextmanager
def captured_stderr() -> Iterator[Callable[[], str]]:
    """Catch what C++ code writes to file descriptor 2; yields a function that returns it.

    The function gives one line and is good inside and after the block. Other threads' writes to
    stderr meanwhile are caught too, so keep the block short.
    """
    text: str | None = None
    with Capture() as capture:
        try:
            yield lambda: capture.line() if text is None else text
        finally:
            text = capture.line()


def _flush() -> None:
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.flush()
