"""A job without a model: lines as documents, rows made of letters, scorers that fail in every way.

Scorers and writers are found by their names in the workers.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

from lmfst.corpus import Corpus, Job, Progress, Result, Watch
from lmfst.corpus.records import rejected
from lmfst.corpus.shards import Limits
from lmfst.ground.announce import LOGGER
from lmfst.ground.document import Document, Rejected
from lmfst.ground.errors import InputError
from lmfst.ground.types import Warn

COLUMNS = ("id", "number", "unit", "logp")


def read_lines(path: str, skip: int) -> Iterator[Document | Rejected]:
    """Each line is a document; one that begins with ! is rejected."""
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, start=1):
            if number <= skip:
                continue
            text = line.rstrip(b"\n")
            if text.startswith(b"!"):
                yield Rejected(path, number, None, "mark", f"{path}:{number}: it begins with !")
            else:
                place = f"{path}:{number}"
                yield Document(str(number), text, place, file=path, line=number)


class Fake:
    """A row for each letter, which depends on the document's number; documents with ? are rejected.

    seconds: that a document takes. act: is called with each document before.
    """

    def __init__(
        self,
        seconds: float = 0.0,
        act: Callable[[Document, int], None] | None = None,
        warn: Warn | None = None,
    ) -> None:
        self._seconds, self._act = seconds, act
        self._noted: dict[str, Any] = {}

    def score(
        self, documents: Sequence[Document], first: int, batch_tokens: int
    ) -> Iterator[tuple[int, Result | Rejected]]:
        for at, document in enumerate(documents):
            number = first + at
            if self._seconds:
                time.sleep(self._seconds)
            if self._act:
                self._act(document, batch_tokens)
            if b"?" in document.text:
                yield at, rejected(document, "question", "there is a ? in it")
                continue
            rows = [
                {"id": document.id, "number": number, "unit": chr(letter), "logp": -letter / 7}
                for letter in document.text
            ]
            yield at, Result(rows, len(rows), len(rows) / 1000)
        self._noted = {"documents": len(documents), "first": first}

    def facts(self) -> dict[str, Any]:
        return self._noted


def fake(warn: Warn) -> Fake:
    return Fake()


def slow(warn: Warn, seconds: float) -> Fake:
    return Fake(seconds)


def deadly(warn: Warn, word: bytes, marks: str, times: int) -> Fake:
    """Dies at a document with a word in it, so many times. marks: a folder to count them in."""

    def act(document: Document, batch_tokens: int) -> None:
        if word in document.text and len(os.listdir(marks)) < times:
            Path(marks, str(time.time_ns())).touch()
            os.kill(os.getpid(), signal.SIGKILL)

    return Fake(act=act)


def stillborn(warn: Warn) -> Fake:
    os._exit(7)


def hungry(warn: Warn, word: bytes, enough: int) -> Fake:
    """Has no memory for a document with a word in it unless there are few enough batch tokens."""

    def act(document: Document, batch_tokens: int) -> None:
        if word in document.text and batch_tokens > enough:
            raise MemoryError(f"{batch_tokens} are too many")

    return Fake(act=act)


def failing(warn: Warn, word: bytes) -> Fake:
    def act(document: Document, batch_tokens: int) -> None:
        if word == b"bug":
            raise ZeroDivisionError("a bug")
        raise InputError("the model is gone", hint="bring it back")

    return Fake(act=act)


class Picked(Exception):
    """One that can be pickled, and not be had back."""

    def __init__(self, *, why: str) -> None:
        super().__init__(why)


def failing_at(warn: Warn, word: bytes) -> Fake:
    """Fails at a document with a word in it."""

    def act(document: Document, batch_tokens: int) -> None:
        if word in document.text:
            raise Picked(why="no more")

    return Fake(act=act)


def talking(warn: Warn) -> Fake:
    warn("a word of the scorer")
    LOGGER.info("it takes long")
    return Fake()


class Forgetful(Fake):
    """Gives a result less than there are documents."""

    def score(
        self, documents: Sequence[Document], first: int, batch_tokens: int
    ) -> Iterator[tuple[int, Result | Rejected]]:
        yield from super().score(documents[1:], first, batch_tokens)


def forgetful(warn: Warn) -> Fake:
    return Forgetful()


class Twice(Fake):
    """Gives the first result again."""

    def score(
        self, documents: Sequence[Document], first: int, batch_tokens: int
    ) -> Iterator[tuple[int, Result | Rejected]]:
        found = list(super().score(documents, first, batch_tokens))
        yield from (found[0], *found)


def twice(warn: Warn) -> Fake:
    return Twice()


class Shuffled(Fake):
    """Gives the results in another order."""

    def score(
        self, documents: Sequence[Document], first: int, batch_tokens: int
    ) -> Iterator[tuple[int, Result | Rejected]]:
        found = list(super().score(documents, first, batch_tokens))
        yield from sorted(found, key=lambda one: (one[0] * 7 % 5, -one[0]))


def shuffled(warn: Warn) -> Fake:
    return Shuffled()


class Picky(Fake):
    """Wants documents."""

    def score(
        self, documents: Sequence[Document], first: int, batch_tokens: int
    ) -> Iterator[tuple[int, Result | Rejected]]:
        if not documents:
            raise ValueError("expected documents")
        yield from super().score(documents, first, batch_tokens)


def picky(warn: Warn) -> Fake:
    return Picky()


def environment(warn: Warn, names: Sequence[str]) -> Fake:
    """Rows that say what a worker's environment has."""

    class Told(Fake):
        def score(
            self, documents: Sequence[Document], first: int, batch_tokens: int
        ) -> Iterator[tuple[int, Result | Rejected]]:
            for at, document in enumerate(documents):
                time.sleep(0.02)
                row = {"id": document.id, "unit": ",".join(os.environ.get(n, "") for n in names)}
                yield at, Result([row])

    return Told()


def imported(warn: Warn) -> Fake:
    """Rows that say which heavy modules a worker has imported."""
    import sys

    heavy = sorted({"torch", "numpy", "transformers", "pyarrow", "rich"} & sys.modules.keys())

    class Told(Fake):
        def score(
            self, documents: Sequence[Document], first: int, batch_tokens: int
        ) -> Iterator[tuple[int, Result | Rejected]]:
            for at, document in enumerate(documents):
                yield at, Result([{"id": document.id, "unit": " ".join(heavy)}])

    return Told()


class Lines:
    """Rows as JSON lines."""

    def __init__(self, stream: IO[bytes], warn: Warn) -> None:
        self._stream = stream

    def write(self, row: Any) -> None:
        self._stream.write(json.dumps(row).encode() + b"\n")

    def close(self) -> None:
        """Nothing is held."""


class Table:
    """Rows as TSV with a header."""

    def __init__(self, stream: IO[bytes], warn: Warn) -> None:
        self._stream = stream
        stream.write("\t".join(COLUMNS).encode() + b"\n")

    def write(self, row: Any) -> None:
        fields = (str(row.get(name, "")) for name in COLUMNS)
        self._stream.write("\t".join(fields).encode() + b"\n")

    def close(self) -> None:
        """Nothing is held."""


class Parquet:
    """Rows as Parquet; a column that is null throughout has no type."""

    def __init__(self, stream: IO[bytes], warn: Warn) -> None:
        self._stream, self._rows = stream, list[Any]()

    def write(self, row: Any) -> None:
        self._rows.append(row)

    def close(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        names = list(self._rows[0]) if self._rows else COLUMNS
        table = pa.table({name: [row.get(name) for row in self._rows] for name in names})
        pq.write_table(table, self._stream)


class Full(Lines):
    """A disk that is full as soon as a row with a given letter comes."""

    def __init__(self, stream: IO[bytes], warn: Warn, letter: str) -> None:
        super().__init__(stream, warn)
        self._letter = letter

    def write(self, row: Any) -> None:
        if row["unit"] == self._letter:
            raise OSError(28, "No space left on device")
        super().write(row)


class Ending(Lines):
    """Takes some seconds to complete its rows; if the given letter is among them, `how` it ends:
    "killed", "memory" (an error the first time) or "disk"."""

    def __init__(
        self, stream: IO[bytes], warn: Warn, letter: str, how: str, seconds: float, marks: str
    ) -> None:
        super().__init__(stream, warn)
        self._letter, self._how, self._seconds, self._marks = letter, how, seconds, marks
        self._there = False

    def write(self, row: Any) -> None:
        self._there |= row["unit"] == self._letter
        super().write(row)

    def close(self) -> None:
        time.sleep(self._seconds)
        if not self._there:
            return
        if self._how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self._how == "disk":
            raise OSError(28, "No space left on device")
        if not os.listdir(self._marks):
            Path(self._marks, "mark").touch()
            raise MemoryError("too much")


class Odd:
    """A table that has other columns where a given letter is in it."""

    def __init__(self, stream: IO[bytes], warn: Warn, letter: str) -> None:
        self._stream, self._letter, self._rows = stream, letter, list[Any]()

    def write(self, row: Any) -> None:
        self._rows.append(row)

    def close(self) -> None:
        odd = any(row["unit"] == self._letter for row in self._rows)
        names = ("id", "more") if odd else COLUMNS
        table = [names, *([str(row.get(name, "")) for name in names] for row in self._rows)]
        self._stream.write("".join("\t".join(row) + "\n" for row in table).encode())


WRITERS = {".jsonl": Lines, ".tsv": Table, ".parquet": Parquet}


@dataclass
class Watched:
    """A watch that keeps everything."""

    warnings: list[str] = field(default_factory=list)
    progress: list[Progress] = field(default_factory=list)
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def watch(self, then: Callable[[str, dict[str, Any]], None] | None = None) -> Watch:
        def event(name: str, facts: Any) -> None:
            self.events.append((name, dict(facts)))
            if then:
                then(name, dict(facts))

        return Watch(self.progress.append, self.warnings.append, event, self.notes.append)

    def count(self, name: str) -> int:
        return sum(event == name for event, _ in self.events)


def job(corpus: Sequence[Path], out: Path, **more: Any) -> Job:
    """A job on lines, in shards of four records."""
    given: dict[str, Any] = {
        "make_scorer": fake,
        "make_writer": WRITERS.get(out.suffix, Lines),
        "fingerprint": {"model": "fake", "columns": "id number unit logp"},
        "batch_tokens": 64,
        "limits": Limits(4, 200),
        "threads": 1,
    }
    return Job(Corpus([str(path) for path in corpus], read_lines), str(out), **given | more)


def lines(count: int, seed: int = 0) -> bytes:
    """A corpus: some of its lines are empty, long, or rejected."""
    import random

    random_ = random.Random(seed)
    found = []
    for number in range(count):
        text = "".join(random_.choice("abcdefg ") for _ in range(random_.randrange(30)))
        kind = random_.randrange(12)
        found.append(
            {0: "!" + text, 1: text + "?", 2: "", 3: text * 9}.get(kind, f"{number} {text}")
        )
    return "".join(line + "\n" for line in found).encode()


slowly = partial(slow, seconds=0.002)
