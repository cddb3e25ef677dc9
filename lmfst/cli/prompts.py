"""The prompts of `lmfst next` and `lmfst decode`: arguments, and lines of the standard input.

Prompts are answered in order, each by rows with its number. One that nothing can follow, or that
can't be read, has a row of its number alone, is said on stderr, and makes the exit code 1 at the
end: those after it are answered, and no row is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, NamedTuple

import typer

from lmfst.cli.mistakes import warn_of_file
from lmfst.cli.rejections import Rejections
from lmfst.cli.terminal import Terminal
from lmfst.ground import types
from lmfst.ground.errors import Failure, UsageError
from lmfst.io import Arrivals, RowWriter, read_documents
from lmfst.io.streams import STDIN

Prompts = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PROMPT...|-]",
        help="The string so far; none: the beginning; several: one after the other; -: the lines "
        "of the standard input, each answered as it comes. In target form [NAME] is a generated "
        "symbol, such as [SEP] between words.",
    ),
]
Given = Annotated[
    types.Given,
    typer.Option(
        "--given",
        help="target: prompts are in target form; source: they are read by the FST, and what is "
        "certainly emitted by then is what strings begin with.",
    ),
]


class Prompt(NamedTuple):
    """A prompt. id: its number, from 1. origin: what it is called in messages."""

    id: str
    text: str | bytes
    origin: str


class Asking:
    """The prompts of a command line, and what is said of those without an answer.

    UsageError if the standard input is to be read twice.
    """

    def __init__(self, given: Sequence[str] | None, terminal: Terminal) -> None:
        self._given = list(given or [""])
        if self._given.count(STDIN) > 1:
            raise UsageError(
                "- is the standard input, which can be read once", hint="leave out the other -"
            )
        for text in self._given:
            if text != STDIN:
                warn_of_file(text, terminal.warn)
        self._terminal = terminal
        self._arrivals = Arrivals()
        self._rejections = Rejections(terminal)
        self._total = 0

    @property
    def is_one(self) -> bool:
        """Whether there is one prompt, an argument."""
        return len(self._given) == 1 and self._given != [STDIN]

    def batches(self, most: int) -> Iterator[list[Prompt]]:
        """The prompts in order, so many at once that come without waiting for more, at most."""
        waiting: list[Prompt] = []
        for prompt, waits in self._all():
            self._total += 1
            waiting.append(prompt)
            if waits or len(waiting) == most:
                yield waiting
                waiting = []
        if waiting:
            yield waiting

    def _all(self) -> Iterator[tuple[Prompt, bool]]:
        """The prompts, and whether reading on may wait."""
        number = 0
        for at, text in enumerate(self._given):
            if text != STDIN:
                number += 1
                then = self._given[at + 1 : at + 2] == [STDIN]
                yield Prompt(str(number), text, f"prompt {number}"), then
                continue
            lines = read_documents(
                STDIN, doc="line", arrivals=self._arrivals, warn=self._terminal.warn
            )
            for line in lines:
                number += 1
                yield Prompt(str(number), line.text, line.origin), self._arrivals()

    def reject(self, prompt: Prompt, error: Failure, writer: RowWriter) -> None:
        """Say that a prompt has no answer, and why, and write its row."""
        self._rejections.add(prompt.origin, error)
        writer.write({"id": prompt.id})

    def end(self) -> None:
        """InputError if prompts had no answer."""
        self._rejections.end(self._total, "prompt", "answer")
