"""The standard output, which gets whole lines or none.

A line that is longer than a stream's buffer would go out in pieces, and an interrupt between two of
them would leave half a row for a reader to take as one. So each line is put into a buffer at once,
and what is in the buffer goes out even while the process is ending.
"""

from __future__ import annotations

import io
import os
import sys
from typing import IO

from lmfst.ground.errors import InputError


class Stdout:
    """Takes lines of bytes. It stays open. InputError if the process has no standard output."""

    def __init__(self) -> None:
        if sys.stdout is None:
            raise InputError("the standard output is closed", hint="write to a file with -o")
        sys.stdout.flush()
        self._stream: IO[bytes] = sys.stdout.buffer

    def write(self, line: bytes) -> None:
        """Write a line, or several that belong together."""
        if len(line) < io.DEFAULT_BUFFER_SIZE:
            self._stream.write(line)
            return
        self._stream.flush()
        try:
            handle = os.dup(self._stream.fileno())
        except io.UnsupportedOperation:  # a stream in memory stands for it
            self._stream.write(line)
            return
        # Leaving the block hands on what an interrupt has left.
        with open(handle, "wb", buffering=len(line) + 1) as stream:
            stream.write(line)
            stream.flush()

    def flush(self) -> None:
        self._stream.flush()

    close = flush

    def discard(self) -> None:
        """Nothing: what was written is out of our hands."""
