"""Messages on stderr: plain lines in a pipe, coloured on a terminal, none with --quiet."""

from __future__ import annotations

import os
import sys
from contextlib import suppress


class Terminal:
    """Where warnings, notes and errors go. Repeated warnings are said once."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._said: set[str] = set()

    def warn(self, message: str) -> None:
        if not self._quiet and message not in self._said:
            self._said.add(message)
            self._line("warning: ", message, "yellow")

    def note(self, message: str) -> None:
        if not self._quiet:
            self._line("", message, "dim")

    def error(self, message: str) -> None:
        self._line("error: ", message, "bold red")

    def _line(self, kind: str, message: str, style: str) -> None:
        text = f"lmfst: {kind}{message}"
        if sys.stderr is None:
            return
        # That nobody can be told doesn't change what there is to do.
        with suppress(OSError):
            if sys.stderr.isatty() and "NO_COLOR" not in os.environ:
                from rich.console import Console

                console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
                console.print(text, style=style)
            else:
                print(text, file=sys.stderr, flush=True)
