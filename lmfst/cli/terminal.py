"""Messages on stderr: plain lines in a pipe, coloured on a terminal, only errors with --quiet."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


class Terminal:
    """Where warnings, notes and errors go. Repeated warnings are said once."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._said: set[str] = set()

    @classmethod
    def of(cls, quiet: bool) -> Terminal:
        """The terminal of a command, which hears what `lmfst.ground.announce` says, too."""
        from lmfst.ground.announce import LOGGER

        terminal = cls(quiet=quiet)
        LOGGER.handlers = [_Announcements(terminal)]
        LOGGER.setLevel(logging.INFO)
        LOGGER.propagate = False
        return terminal

    @property
    def live(self) -> bool:
        """Whether stderr is a terminal, where a line may change."""
        return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    @cached_property
    def console(self) -> Console:
        """rich's view of stderr, for messages and nothing else."""
        from rich.console import Console

        return Console(stderr=True, markup=False, highlight=False, soft_wrap=True)

    def warn(self, message: str) -> None:
        if not self.quiet and message not in self._said:
            self._said.add(message)
            self._line("warning: ", message, "yellow")

    def reject(self, message: str) -> None:
        """Say why a document has no result: an error, so with --quiet, too. However many there are,
        none is kept in mind."""
        self._line("rejected: ", message, "yellow")

    def note(self, message: str) -> None:
        if not self.quiet:
            self._line("", message, "dim")

    def error(self, message: str) -> None:
        self._line("error: ", message, "bold red")

    def _line(self, kind: str, message: str, style: str) -> None:
        text = f"lmfst: {kind}{message}"
        if sys.stderr is None:
            return
        # That nobody can be told doesn't change what there is to do.
        with suppress(OSError):
            if self.live:
                # Through rich without colours, too: it keeps lines apart from progress.
                self.console.print(text, style=None if "NO_COLOR" in os.environ else style)
            else:
                print(text, file=sys.stderr, flush=True)


class _Announcements(logging.Handler):
    """Shows what a logger is told as notes."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__()
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        self._terminal.note(record.getMessage())
