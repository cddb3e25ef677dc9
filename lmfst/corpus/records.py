"""What goes through a job: records of a corpus, what is said of each, and who says it.

Nothing here reads a format or knows a model. A job is given functions that do, by name, since they
are called in other processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, Protocol

from lmfst.ground.document import Document, Rejected
from lmfst.ground.types import Warn

KILLED = "killed_workers"
"""Why the documents of a shard are rejected that is left out under keep_going."""


@dataclass(frozen=True)
class Result:
    """The rows of a document, in whatever form the job's writer takes them.

    symbols: of the target. missing: nats that are missing by estimate. count: of rows, where an
    item of `rows` stands for several.
    """

    rows: Sequence[Any]
    symbols: int = 0
    missing: float = 0.0
    count: int | None = None


class Scorer(Protocol):
    """What a worker makes rows with."""

    def score(
        self, documents: Sequence[Document], first: int, batch_tokens: int
    ) -> Iterator[tuple[int, Result | Rejected]]:
        """One result for each document, with its place in `documents`, in whatever order they are
        done.

        first: the number of the first one among the documents of the corpus, from 0 on (seeds count
        from it). batch_tokens: the budget of a call of the model. Digits must depend on these three
        alone. MemoryError, or an error whose class is called OutOfMemoryError: the documents are
        asked for again, with half the budget. Any other error ends the job.
        """
        ...

    def facts(self) -> dict[str, Any]:
        """What is to be noted of the documents of the last `score`; JSON-ready."""
        ...


class RowSink(Protocol):
    """Writes rows to the stream that it was made for, which it leaves open. The same rows give the
    same bytes."""

    def write(self, row: Any, /) -> object: ...

    def close(self) -> object:
        """Complete what was written; also where there were no rows."""
        ...


MakeScorer = Callable[[Warn], Scorer]
MakeWriter = Callable[[IO[bytes], Warn], RowSink]
Gather = Callable[[Iterable[dict[str, Any]]], dict[str, Any]]
"""Makes the facts of a job of those of its shards, which come in their order."""
Read = Callable[[str, int], Iterator[Document | Rejected]]
"""Reads a file from the record of a number (from 0 on) to its end."""


def rejected(document: Document, reason: str, message: str) -> Rejected:
    """A document as a record without rows. message: without the place."""
    return Rejected(
        document.file, document.line, document.id, reason, f"{document.origin}: {message}"
    )


@dataclass(frozen=True)
class Corpus:
    """Files and how they are read; the records of all of them, one after the other.

    position: how many bytes of the file that is being read have been read; None: as many as there
    are in the texts so far.
    """

    files: Sequence[str]
    read: Read
    position: Callable[[], int] | None = None

    def records(
        self, file: int = 0, record: int = 0
    ) -> Iterator[tuple[int, int, Document | Rejected]]:
        """The number of each record's file, that of the record in it, and the record itself; from
        the given ones on, all from 0 on. Passes on the errors of `read`."""
        for number in range(file, len(self.files)):
            skip = record if number == file else 0
            for at, item in enumerate(self.read(self.files[number], skip), start=skip):
                yield number, at, item
