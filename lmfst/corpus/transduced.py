"""What workers make rows with: a transduced model, or an ensemble, and writers of rows.

Rows are those of `lmfst.scored.levels`, each with the `file` and the `line` of its document. Under
the level "summary" workers write rows of texts, which are added up when shards are joined.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

from lmfst.corpus.join import JOINS, MakeJoin
from lmfst.corpus.records import MakeWriter, Result, RowSink
from lmfst.corpus.shards import windows
from lmfst.ground.columns import Same
from lmfst.ground.document import Document, Rejected
from lmfst.ground.errors import InputError, ZeroProbabilityError
from lmfst.ground.types import Given, RowFormat, Unknown, Warn
from lmfst.inference.accuracy import Tally
from lmfst.io import RowWriter, rows_to
from lmfst.lm.memory import out_of_memory
from lmfst.scored.levels import Levels
from lmfst.scored.records import ESCAPED_COLUMNS, Block, Scored, rows_of, summary_row
from lmfst.scored.string_model import StringModel

PLACE = ("file", "line")
"""Columns that say where a document is from."""
UNREADABLE, ZERO = "unreadable", "zero_probability"
"""Why a document has no rows: it can't be read for the target; the model gives it nothing."""


def gathered(facts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The facts of all shards that have some, as those of one."""
    tally, advice = Tally(), None
    for found in facts:
        if found:
            advice = found["advice"]
            tally.join(Tally.unpacked(found["tally"]))
    return {} if advice is None else {"advice": advice, "tally": tally.packed()}


@dataclass
class TransducedScorer:
    """Scores the documents of shards. Documents of similar length go on together.

    levels: of the rows. given, batch, unknown, and max_symbols, which is `most` there: see
    `lmfst.scored.scorer.Scorer.each`.
    """

    model: StringModel
    levels: Levels
    given: Given
    batch: int
    unknown: Unknown
    max_symbols: int | None = None
    _tally: Tally = field(default_factory=Tally, init=False)

    def score(
        self, documents: Sequence[Document], first: int, batch_tokens: int
    ) -> Iterator[tuple[int, Result | Rejected]]:
        """As `lmfst.corpus.records.Scorer`. Those of a window are all done before the next ones, so
        that the rows of a window wait for others, at most."""
        self._limit(batch_tokens)
        self._tally = Tally()
        try:
            for begin, some in windows(documents):
                found = self.model.scorer.each(
                    some,
                    first + begin,
                    self.given,
                    self.batch,
                    self.unknown,
                    self.max_symbols,
                    self._tally,
                )
                for number, one in found:
                    yield begin + number, self._result(some[number], one)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            raise MemoryError(str(error)) from error

    def facts(self) -> dict[str, Any]:
        """What is missing of the last documents, and what to say of that."""
        return {
            "advice": self.model.scorer.advice(self.given).facts(),
            "tally": self._tally.packed(),
        }

    def _limit(self, batch_tokens: int) -> None:
        """Have calls of so many tokens, which memory must be enough for."""
        for source in self.model.sources:
            lm: Any = getattr(source, "base", source)
            if hasattr(lm, "shrinks"):
                lm.batch_tokens, lm.shrinks = batch_tokens, False

    def _result(self, document: Document, found: Scored | InputError) -> Result | Rejected:
        reject = partial(Rejected, document.file, document.line, document.id)
        if isinstance(found, InputError):
            reason = ZERO if isinstance(found, ZeroProbabilityError) else UNREADABLE
            return reject(reason, found.message, found.hint)
        [(block, extra)] = self.levels.blocks([found])
        count = len(block["id"])
        block |= {"file": Same(document.file, count), "line": Same(document.line, count)}
        missing = 0.0 if found.missing is None else float(found.missing.sum())
        return Result([(block, extra)], len(found.target), missing, count)


class _Rows:
    """Writes blocks of rows with what is passed on beside them.

    passed: names of that; None: whatever there is.
    """

    def __init__(self, writer: RowWriter, passed: Sequence[str] | None, warn: Warn) -> None:
        self._writer, self._passed, self._warn = writer, passed, warn
        if passed:
            writer.expect(passed)

    def write(self, rows: tuple[Block, Mapping[str, object]], /) -> None:
        block, extra = rows
        if self._passed is not None:
            if left := sorted(extra.keys() - set(self._passed)):
                self._warn(
                    f"the column {left[0]!r} of some documents is left out: the first document of "
                    "the corpus, which decides on the columns of a table, has none of that name "
                    "(an output that ends in .jsonl keeps it)"
                )
            extra = {name: extra.get(name) for name in self._passed}
        self._writer.write_block(block, extra)

    def close(self) -> None:
        self._writer.close()


def make_rows(
    fmt: RowFormat,
    columns: Sequence[str],
    passed: Sequence[str] | None,
    stream: IO[bytes],
    warn: Warn,
) -> RowSink:
    """A writer of rows in a format."""
    writer = rows_to(stream, fmt, columns, escaped=ESCAPED_COLUMNS, warn=warn)
    return _Rows(writer, passed, warn)


class _Exact:
    """Writes rows of texts as JSON lines, with all digits."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def write(self, rows: tuple[Block, Mapping[str, object]], /) -> None:
        for row in rows_of(rows[0]):
            self._stream.write(json.dumps(row).encode() + b"\n")

    def close(self) -> None:
        """Nothing is held."""


def make_exact(stream: IO[bytes], warn: Warn) -> RowSink:
    """A writer of the rows that `Summary` adds up."""
    return _Exact(stream)


@dataclass(frozen=True)
class Summary:
    """One row for all texts."""

    fmt: RowFormat
    columns: Sequence[str]

    def see(self, path: Path) -> None:
        """They always go together."""

    def join(self, paths: Sequence[Path], to: IO[bytes], make_writer: MakeWriter) -> int:
        """As `lmfst.corpus.join.Join`."""
        found = summary_row(row for path in paths for row in _texts(path))
        with rows_to(to, self.fmt, self.columns) as writer:
            writer.write({name: found[name] for name in self.columns})
        return 1


def _texts(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as stream:
        yield from map(json.loads, stream)


def how_written(
    fmt: RowFormat, levels: Levels, passed: Sequence[str] | None
) -> tuple[Levels, MakeWriter, MakeJoin]:
    """The levels of workers' rows, what writes them, and what joins them.

    passed: the columns that are passed on, where there must be some for all (`make_rows`).
    """
    if levels.level == "summary":
        return Levels("text", bounds=True), make_exact, partial(Summary, fmt, levels.columns)
    columns = (*levels.columns, *PLACE)
    return levels, partial(make_rows, fmt, columns, passed), JOINS[fmt]
