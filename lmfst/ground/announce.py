"""Word for those who wait: of doubtful things, and of work that is done once and kept.

The latter goes to the logger `lmfst` (level INFO), which says nothing unless a program asks for it;
the command line shows it on stderr.
"""

from __future__ import annotations

import logging
import threading
import time
import warnings
from types import TracebackType

LOGGER = logging.getLogger("lmfst")
AFTER = 1.0
"""Seconds of work before it is announced: what takes less isn't worth a line."""


def warn_default(message: str) -> None:
    """The callback for warnings where a function's caller gives none."""
    warnings.warn(message, stacklevel=3)


class Announced:
    """Announces work, once, when the blocks it is done in have taken `AFTER` seconds in all."""

    def __init__(self, message: str) -> None:
        self._message = message
        self._left = AFTER
        self._said = False
        self._timer: threading.Timer | None = None
        self._began = 0.0

    def __enter__(self) -> None:
        if not self._said:
            self._began = time.monotonic()
            # A timer, since one block may take minutes.
            self._timer = threading.Timer(max(0.0, self._left), self._say)
            self._timer.daemon = True
            self._timer.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._left -= time.monotonic() - self._began

    def _say(self) -> None:
        if not self._said:
            self._said = True
            LOGGER.info(self._message)
