"""Documents scored in batches, and what is said of them: zeros, and what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Any

from lmfst.fst.pattern import Pattern, as_written
from lmfst.fst.sequential import END
from lmfst.ground import defaults
from lmfst.ground.document import Document
from lmfst.ground.types import Given, Unknown
from lmfst.inference.accuracy import Tally
from lmfst.inference.engine import Engine
from lmfst.inference.estimate import effective_number, unsure
from lmfst.inference.policy import Policy
from lmfst.inference.query import Query
from lmfst.inference.results import Propagated
from lmfst.inference.setting import Setting
from lmfst.inference.zeros import Zeros
from lmfst.scored.records import Scored
from lmfst.target import Reader

DNA = frozenset(b"ACGTNacgtn")
Waiting = tuple[Document, Pattern]


class Scorer:
    """Scores documents of a setting by an engine."""

    def __init__(self, setting: Setting, policy: Policy, engine: Engine, reader: Reader) -> None:
        self._setting, self._policy = setting, policy
        self._engine, self._reader = engine, reader
        self.zeros = Zeros(setting, reader)

    def query(self, target: Pattern, **more: Any) -> Query:
        """A query for a target, ⊥ included if it is asked for; `more` as in `Query`."""
        plain = target[:-1] if target[-1:] == (END,) else target
        return Query(target, impossible=partial(self.zeros.impossible, plain), **more)

    def run(
        self,
        documents: Iterable[Document],
        given: Given,
        batch: int,
        unknown: Unknown,
        tally: Tally,
        waits: Callable[[], bool] | None = None,
    ) -> Iterator[Scored]:
        """As `lmfst.TransducedLM.score_documents`."""
        warn, size, first = self._setting.warn, max(1, batch // self._policy.copies), 0
        try:
            for there in _together(documents, waits):
                read = self._reader.read_all(there, given, unknown, tally.folded, warn)
                for some in _batches(read, size):
                    yield from self._batch(some, given, first, tally)
                    first += len(some)
        finally:
            # After an error, too, which names symbols as they were read.
            if tally.folded.letters:
                warn(self._reader.folding(given, tally.folded))
        self._warn_of_missing(tally)

    def _batch(
        self, batch: list[Waiting], given: Given, first: int, tally: Tally
    ) -> Iterator[Scored]:
        """first: the number of the batch's first document in the corpus."""
        queries = [
            self.query(
                (*target, END),
                text=document.text if given == "source" else None,
                number=number,
                canonical=True,
            )
            for number, (document, target) in enumerate(batch, start=first)
        ]
        found = self._engine.run(queries)
        scored = []
        for (document, target), query, result in zip(batch, queries, found, strict=True):
            if said := self.zeros.of_document(document, given, query, result):
                self._setting.warn(said)
            written, units = as_written(target), self._setting.target.units
            scored.append(Scored.of(document.id, written, result, units, document.extra))
        for record, result in zip(scored, found, strict=True):
            if result.missing is not None:
                limit = self._policy.limit(result.passes, len(record.target) + 1)
                tally.add(result.passes, float(result.missing.sum()), limit)
            elif result.log_replicates is not None and unsure(result.log_replicates):
                tally.add_unsure(effective_number(result.log_replicates))
            yield record

    def judge(self, found: Propagated, symbols: int) -> None:
        """Warn if the result of a single query, a target of so many symbols, lacks too much."""
        if found.passes:
            tally, limit = Tally(), self._policy.limit(found.passes, symbols)
            tally.add(found.passes, found.passes[-1].missing, limit)
            self._warn_of_missing(tally)

    def _warn_of_missing(self, tally: Tally) -> None:
        """One warning for all documents that lack more than they should, or vary more."""
        warn, policy = self._setting.warn, self._policy
        if tally.unsure:
            warn(policy.advice(tally))
        if not tally.above:
            return
        sampled = (
            " or estimate with --policy sample" if self._setting.target.fst is not None else ""
        )
        if sampled and self._setting.lm.vocab.alphabet <= DNA:
            sampled += " --guide dna"
        warn(policy.advice(tally) + sampled)


def _together(
    documents: Iterable[Document], waits: Callable[[], bool] | None
) -> Iterator[Iterator[Document]]:
    """The documents that come without waiting for more, and so on; to be taken in order."""
    documents = iter(documents)
    for first in documents:
        yield chain([first], documents if waits is None else _until(documents, waits))


def _until(documents: Iterator[Document], waits: Callable[[], bool]) -> Iterator[Document]:
    while not waits():
        try:
            yield next(documents)
        except StopIteration:
            return


def _batches(read: Iterable[Waiting], most: int) -> Iterator[list[Waiting]]:
    """Batches of so many documents at most, or of `defaults.BATCH_SYMBOLS` symbols."""
    waiting: list[Waiting] = []
    size = 0
    for one in read:
        waiting.append(one)
        size += len(one[1])
        if len(waiting) == most or size >= defaults.BATCH_SYMBOLS:
            yield waiting
            waiting, size = [], 0
    if waiting:
        yield waiting
