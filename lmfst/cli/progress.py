"""How far a long run is, on stderr: a line that changes on a terminal, now and then a line else.

Nothing is shown of a run that takes less than `AFTER` seconds, under --quiet, or on a terminal that
shows the rows themselves. Rows never pass through here.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self

from lmfst.cli.terminal import Terminal
from lmfst.io import Document

if TYPE_CHECKING:
    from lmfst import corpus

AFTER = 5.0
"""Seconds before anything is shown on a terminal."""
LINES = 30.0
"""Seconds from one line to the next where stderr is no terminal."""
REFRESH = 0.5
"""Seconds from one look to the next on a terminal."""


class Progress:
    """Counts documents and symbols, and shows them from a thread of its own while it is entered."""

    def __init__(self, terminal: Terminal, *, to_stdout: bool, doing: str = "") -> None:
        """to_stdout: whether rows go there meanwhile. doing: what takes long, if not documents."""
        self._terminal, self._doing = terminal, doing
        self._shown = not terminal.quiet
        if terminal.live and to_stdout and sys.stdout.isatty():
            self._shown = False
        self._read = self._done = self._symbols = 0
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)

    def reading(self, documents: Iterable[Document]) -> Iterator[Document]:
        """The documents, counted as they are read."""
        for document in documents:
            self._read += 1
            yield document

    def done(self, symbols: int = 0) -> None:
        """A document of so many symbols is done with."""
        self._done += 1
        self._symbols += symbols

    def text(self) -> str:
        """What there is to say."""
        seconds = time.monotonic() - self._began
        if self._doing:
            return f"{self._doing} for {seconds:.0f} s"
        text = f"{self._done:,} of {self._read:,} documents read so far are done"
        if self._symbols:
            rate = self._symbols / max(seconds, 1e-9)
            text += f": {self._symbols:,} symbols, {rate:,.0f} a second"
        return text

    def __enter__(self) -> Self:
        if self._shown:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._shown:
            self._thread.join()

    def _show(self) -> None:
        if self._terminal.live:
            if not self._ended.wait(AFTER):
                self._show_live()
        else:
            while not self._ended.wait(LINES):
                self._terminal.note(self.text())

    def _show_live(self) -> None:
        from rich.live import Live
        from rich.text import Text

        def line() -> Text:
            return Text(f"lmfst: {self.text()}", no_wrap=True, overflow="ellipsis")

        # Not redirected: rows are no business of rich's, which reads [names] as markup.
        with Live(
            get_renderable=line,
            console=self._terminal.console,
            transient=True,
            refresh_per_second=1 / REFRESH,
            redirect_stdout=False,
            redirect_stderr=False,
        ):
            self._ended.wait()


class JobProgress(Progress):
    """Shows how far a job is."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(terminal, to_stdout=False)
        self._found: corpus.Progress | None = None

    def see(self, found: corpus.Progress) -> None:
        """So far it is."""
        self._found = found

    def text(self) -> str:
        """What there is to say."""
        found = self._found
        if found is None:
            return "looking at the corpus and at what is done"
        if not found.documents:
            return "workers load the model"
        text = (
            f"{found.documents:,} documents ({found.share:.0%}), {found.rate:,.0f} symbols a second"
        )
        if found.seconds_left is not None:
            text += f", {timedelta(seconds=round(found.seconds_left))} left"
        if found.missing:
            text += f", missing {found.missing:.3g} nats"
        if found.rejected:
            text += f", {found.rejected:,} rejected"
        return text
