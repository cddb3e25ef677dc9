"""How the command's process begins and ends: its standard streams, and the signals that stop it.

SIGTERM and SIGHUP end a command as an interrupt does: what was begun is put away, rows on stdout
are whole, and the exit code is 128 + the signal's number. A signal that is ignored when the process
starts (SIGHUP under nohup) stays ignored.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

GRACE = 2.0
"""Seconds for putting away, and for a reader that has to take the rest of a row."""
STOPPING = ("SIGINT", "SIGTERM", "SIGHUP")


class Stopped(KeyboardInterrupt):
    """A signal has asked the process to end."""


class Stops:
    """What the signals that stop the process do, and the exit code they ask for (0: none came)."""

    def __init__(self) -> None:
        self.code = 0

    def install(self) -> None:
        """Handle the signals, but for those that are ignored. For the main thread."""
        for name in STOPPING:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> NoReturn:
        self.code = 128 + number
        # Another one must not interrupt putting away, nor something that hangs prevent the end.
        for name in STOPPING:
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)
        if hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, self._give_up)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
            signal.setitimer(signal.ITIMER_REAL, GRACE)
        raise Stopped

    def _give_up(self, number: int, frame: FrameType | None) -> NoReturn:
        os._exit(self.code)


class _Closed(io.TextIOBase):
    """Stands for a standard output that is closed: an error when something is written."""

    encoding = "utf-8"
    errors = "strict"

    def write(self, text: str) -> int:
        raise OSError(errno.EBADF, "the standard output is closed")

    @property
    def buffer(self) -> NoReturn:
        raise OSError(errno.EBADF, "the standard output is closed")


def secure_streams() -> None:
    """Make something of standard streams that are closed.

    Their numbers are taken, or the next file to be opened would get them, and with them what
    libraries write to stderr. Then messages go nowhere, and writing to stdout is an error; reading
    a closed stdin is one for those who read it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stdout is None:
        sys.stdout = _Closed()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (open to the end)
