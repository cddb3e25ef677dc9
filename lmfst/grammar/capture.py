"""What OpenFst's C++ code writes to stderr, caught at file-descriptor level.

pynini's exceptions only say "Operation failed"; the reason goes to file descriptor 2, past
`sys.stderr`.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from types import TracebackType
from typing import IO

_PREFIX = re.compile(r"^(?:ERROR|FATAL|WARNING): ")


class Capture:
    """While it is entered, descriptor 2 goes to a temporary file. One at a time in a process."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._saved = -1
        self._mark = 0

    def __enter__(self) -> Capture:
        if sys.stderr is not None:
            sys.stderr.flush()
        self._file = tempfile.TemporaryFile()
        self._saved = os.dup(2)
        os.dup2(self._file.fileno(), 2)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if sys.stderr is not None:
            sys.stderr.flush()
        os.dup2(self._saved, 2)
        os.close(self._saved)
        if self._file is not None:
            self._file.close()
            self._file = None

    def mark(self) -> None:
        """What is written from now on is new."""
        if self._file is not None:
            self._mark = os.fstat(self._file.fileno()).st_size

    def since_last(self) -> str:
        """The messages since the last mark, without their severity, joined by `; `."""
        if self._file is None:
            return ""
        # pread leaves the shared offset alone, where the C++ side goes on writing.
        data = os.pread(self._file.fileno(), 4000, self._mark)
        lines = (_PREFIX.sub("", line) for line in data.decode("utf-8", "replace").splitlines())
        return "; ".join(dict.fromkeys(line for line in lines if line.strip()))
