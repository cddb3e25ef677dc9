"""Documents scored in batches, and what is said of them: zeros, and what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

from lmfst.fst.pattern import Pattern, as_written
from lmfst.fst.sequential import END
from lmfst.ground.document import Document
from lmfst.ground.errors import BudgetError, InputError, UsageError, ZeroProbabilityError
from lmfst.ground.types import Given, Unknown
from lmfst.inference.accuracy import Tally
from lmfst.inference.engine import Engine
from lmfst.inference.estimate import effective_number, unsure
from lmfst.inference.policy import Policy
from lmfst.inference.query import Query
from lmfst.inference.results import Propagated
from lmfst.inference.setting import Setting
from lmfst.inference.sources import unended
from lmfst.inference.zeros import Zeros
from lmfst.scored.advice import Advice
from lmfst.scored.records import Scored
from lmfst.target import Reader
from lmfst.target.case import Folded
from lmfst.target.prompts import Prompt, misread
from lmfst.target.reader import NO_PROMPT, Ready
from lmfst.target.strings import as_bytes

DNA = frozenset(b"ACGTNacgtn")


class Scorer:
    """Scores documents of a setting by an engine."""

    def __init__(self, setting: Setting, policy: Policy, engine: Engine, reader: Reader) -> None:
        self._setting, self._policy = setting, policy
        self._engine, self._reader = engine, reader
        self.zeros = Zeros(setting, reader)

    def query(self, target: Pattern, **more: Any) -> Query:
        """A query for a target, ⊥ included if it is asked for; `more` as in `Query`."""
        return Query(target, impossible=partial(self.zeros.impossible, unended(target)), **more)

    def run(
        self,
        documents: Iterable[Document],
        given: Given,
        batch: int,
        unknown: Unknown,
        tally: Tally,
        waits: Callable[[], bool] | None = None,
        prompt: Prompt = NO_PROMPT,
    ) -> Iterator[Scored]:
        """As `lmfst.TransducedLM.score_documents`."""
        require_exact(prompt, self._policy)
        self._reader.require_prompt(prompt, given, unknown)
        warn, size, first = self._setting.warn, max(1, batch // self._policy.copies), 0
        form, text = prompt.given or given, as_bytes(prompt.text)
        if said := misread(self._setting.target, text, form, "--prompt-given"):
            warn(said)
        try:
            for there in _together(documents, waits):
                read = self._reader.read_all(there, given, unknown, tally.folded, warn, prompt)
                for some in _batches(read, size, self._setting.lm.batch_symbols):
                    yield from self._batch(some, given, range(first, first + len(some)), tally)
                    first += len(some)
        finally:
            # After an error, too, which names symbols as they were read.
            if tally.folded.letters:
                warn(f"{tally.folded.told()} {self._reader.case(given)}")
        self._say(self.advice(given).accuracy(tally))

    def each(
        self,
        documents: Sequence[Document],
        first: int,
        given: Given,
        batch: int,
        unknown: Unknown,
        most: int | None,
        tally: Tally,
    ) -> Iterator[tuple[int, Scored | InputError]]:
        """Score some documents of a corpus: for each its place among them, from 0 on, and its
        record, or the error that says why there is none (ZeroProbabilityError: the model gives it
        nothing); in whatever order they are done. Those of similar length share LM calls.

        first: the number of the first one in the corpus, which random numbers depend on. most:
        symbols that one may have; longer ones are errors. given, batch, unknown, tally: as of
        `lmfst.TransducedLM.score_documents`; what is to be skipped is an error here, and warnings
        about all documents are left to the caller (`advice`).
        """
        waiting: list[tuple[int, Ready]] = []
        folded: dict[int, Folded] = {}
        strict: Unknown = "error" if unknown == "skip" else unknown
        for number, document in enumerate(documents):
            letters = Folded()
            one = self._readable(document, given, strict, most, letters)
            if isinstance(one, InputError):
                yield number, one
            else:
                waiting.append((number, one))
                folded[number] = letters
        # Texts of one length go on together to their ends, and so share calls of one size.
        waiting.sort(key=lambda one: (len(one[1].target), one[0]))
        size = max(1, batch // self._policy.copies)
        # As many in each batch: a small one takes about as long as a large one.
        size = -(-len(waiting) // -(-len(waiting) // size)) if waiting else size
        numbers = iter([number for number, _ in waiting])
        symbols = self._setting.lm.batch_symbols
        for some in _batches((one for _, one in waiting), size, symbols):
            here = [next(numbers) for _ in some]
            for number, found in self._within_budget(here, some, first, given, tally):
                if isinstance(found, InputError):
                    del folded[number]
                yield number, found
        # As in their order, which says which one is the first.
        for _, letters in sorted(folded.items()):
            tally.folded.join(letters)

    def _within_budget(
        self, places: list[int], batch: list[Ready], first: int, given: Given, tally: Tally
    ) -> Iterator[tuple[int, Scored | InputError]]:
        """The records of a batch, with their places; an error for one that needs too much."""
        try:
            yield from self._at(places, batch, first, given, tally)
        except BudgetError:
            # One of them needs too much: which one?
            for place, one in zip(places, batch, strict=True):
                try:
                    yield from self._at([place], [one], first, given, tally)
                except BudgetError as error:
                    said = f"{one.document.origin}: {error.message}"
                    yield place, InputError(said, hint=error.hint)

    def _at(
        self, places: list[int], batch: list[Ready], first: int, given: Given, tally: Tally
    ) -> list[tuple[int, Scored | InputError]]:
        """The records of a batch, with their places."""
        zeros: dict[int, str] = {}
        numbers = [first + place for place in places]
        scored = list(self._batch(batch, given, numbers, tally, zeros.__setitem__))
        return [
            (place, ZeroProbabilityError(zeros[number]) if number in zeros else record)
            for place, number, record in zip(places, numbers, scored, strict=True)
        ]

    def _readable(
        self, document: Document, given: Given, unknown: Unknown, most: int | None, folded: Folded
    ) -> Ready | InputError:
        """A document as it is read; the error if it can't be, or has more symbols than `most`.
        folded: where its letters in the other case are counted."""
        warn = self._setting.warn
        try:
            found = next(self._reader.read_all([document], given, unknown, folded, warn))
        except InputError as error:
            return error
        if most is not None and len(found.target) > most:
            size = f"{len(found.target):,}"
            return InputError(
                f"{document.origin}: it has {size} symbols, and {most:,} are allowed",
                hint="cut it, or raise --max-symbols",
            )
        return found

    def _batch(
        self,
        batch: list[Ready],
        given: Given,
        numbers: Sequence[int],
        tally: Tally,
        zero: Callable[[int, str], object] | None = None,
    ) -> Iterator[Scored]:
        """numbers: those of the batch's documents in the corpus. zero: is told the numbers of those
        of probability zero, and why they are, which count in no tally then; None: that is a
        warning."""
        queries = [
            self.query(
                (*ready.target, END),
                text=ready.document.text if given == "source" else None,
                number=number,
                canonical=True,
                prompt=ready.prompt,
            )
            for number, ready in zip(numbers, batch, strict=True)
        ]
        found = self._engine.run(queries)
        scored, counted = [], []
        for number, ready, query, result in zip(numbers, batch, queries, found, strict=True):
            said = self.zeros.of_document(ready.document, given, query, result)
            counted.append(not said or zero is None)
            if said:
                if zero is None:
                    self._setting.warn(said)
                else:
                    zero(number, said)
            scored.append(_record(self._setting, ready, result))
        for record, result, counts in zip(scored, found, counted, strict=True):
            if not counts:
                pass
            elif result.missing is not None:
                limit = _limit(self._policy, result, len(result.missing))
                tally.add(result.passes, float(result.missing.sum()), limit)
            elif result.log_replicates is not None and unsure(result.log_replicates):
                tally.add_unsure(effective_number(result.log_replicates))
            yield record

    def judge(self, found: Propagated, symbols: int) -> None:
        """Warn if the result of a single query, a target of so many symbols, lacks too much."""
        if found.passes:
            tally, limit = Tally(), _limit(self._policy, found, symbols)
            tally.add(found.passes, found.passes[-1].missing, limit)
            self._say(self.advice("target").accuracy(tally))

    def advice(self, given: Given) -> Advice:
        """What to say of the documents of a run."""
        estimating = ""
        if self._setting.target.fst is not None:
            estimating = " or estimate with --policy sample"
            if self._setting.lm.vocab.alphabet <= DNA:
                estimating += " --guide dna"
        return Advice(self._policy, estimating, self._reader.case(given))

    def _say(self, warnings: Iterable[str]) -> None:
        for said in warnings:
            self._setting.warn(said)


def _limit(policy: Policy, found: Propagated, symbols: int) -> str | None:
    """Why a result lacks more than it should, as `Policy.limit`; of an ensemble, why that of the
    first model that does."""
    each = [policy.limit(one.passes, symbols) for one in found.parts or [found]]
    return next((limit for limit in each if limit is not None), None)


def require_exact(prompt: Prompt, policy: Policy) -> None:
    """UsageError for a prompt in target units under a policy that estimates."""
    if prompt and policy.estimates:
        raise UsageError(
            "--policy sample estimates probabilities of whole strings, and a quotient of two "
            "estimates has neither their mean nor their standard error",
            hint="use --policy beam or --exact, or --prompt-source, where there is no quotient",
        )


def _record(setting: Setting, ready: Ready, found: Propagated) -> Scored:
    """The record of a document."""
    return Scored.of(
        ready.document.id,
        as_written(ready.target),
        found,
        setting.target.units,
        ready.document.extra,
        prompt=ready.prompt,
        before=setting.before,
    )


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


def _batches(read: Iterable[Ready], most: int, symbols: int) -> Iterator[list[Ready]]:
    """Batches of so many documents at most, or of so many symbols."""
    waiting: list[Ready] = []
    size = 0
    for one in read:
        waiting.append(one)
        size += len(one.target)
        if len(waiting) == most or size >= symbols:
            yield waiting
            waiting, size = [], 0
    if waiting:
        yield waiting
