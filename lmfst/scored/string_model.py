"""Models over target strings: what is asked of one, and documents scored, whatever its numbers come
from."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from lmfst.fst.pattern import Pattern
from lmfst.fst.sequential import END, run
from lmfst.ground import defaults
from lmfst.ground.document import Document
from lmfst.ground.errors import UsageError, ZeroProbabilityError
from lmfst.ground.types import Given, Unknown
from lmfst.inference.accuracy import Tally
from lmfst.inference.engine import Engine
from lmfst.inference.policy import Policy
from lmfst.inference.results import Propagated
from lmfst.lm.base import LM
from lmfst.scored.records import Scored, upper_bound
from lmfst.scored.scorer import Scorer
from lmfst.target import Target
from lmfst.target.prompts import Prompt
from lmfst.target.reader import NO_PROMPT
from lmfst.target.strings import Symbols, as_bytes, pattern_of


@dataclass(frozen=True)
class Bounds:
    """log P_Y with its bounds, nats: lower ≤ true value ≤ upper; equal if nothing was dropped.

    missing: an estimate of how far below the true value it is, nats (`lmfst.inference.accuracy`);
    None where probabilities are given that the string is accepted.
    """

    logp: float
    lower: float
    upper: float
    missing: float | None = None


class StringModel(ABC):
    """A language model over strings of target symbols, as `lmfst.TransducedLM` says how these are
    given."""

    _engine: Engine

    @property
    @abstractmethod
    def target(self) -> Target:
        """The function to target strings."""

    @property
    @abstractmethod
    def policy(self) -> Policy:
        """What is done when hypotheses multiply."""

    @property
    @abstractmethod
    def sources(self) -> tuple[LM, ...]:
        """The source models: one, or those of an ensemble."""

    @property
    @abstractmethod
    def scorer(self) -> Scorer:
        """What scores documents."""

    def symbols(self, y: Symbols) -> Pattern:
        """y as symbol numbers, sets as `OneOf`; see `lmfst.target.strings.pattern_of`."""
        return pattern_of(y, self.target.machine.symbols)

    def transduce(self, text: str | bytes) -> tuple[int, ...]:
        """f(text), as symbol numbers. Raises InputError where f rejects it."""
        return run(self.target.machine, as_bytes(text))

    def prefix_logp(self, y: Symbols) -> float:
        """log P_Y(y): that a string begins with y, nats."""
        return float(self._ask(self.symbols(y)).log_prefix[-1])

    def prefix_bounds(self, y: Symbols) -> Bounds:
        """log P_Y(y) with its bounds. UsageError where there are none: of estimates by sampling,
        and of ensembles whose distributions are combined a symbol at a time, if anything was
        dropped."""
        if self.policy.estimates:
            raise UsageError("estimates by sampling have no bounds: use prefix_logp, or a beam")
        return _bounds(self._ask(self.symbols(y)))

    def logp(self, y: Symbols) -> float:
        """log p_Y(y): that the string is y, nats."""
        return float(self._ask((*self.symbols(y), END)).log_prefix[-1])

    def next_logp(self, y: Symbols) -> dict[str, float]:
        """log p_Y(a | y) of every next symbol a, by name; ⊥ is the end of the string.

        Symbols of probability zero are left out. Where hypotheses were dropped, the distribution
        sums to less than 1 by the dropped share.
        """
        symbols, logp = self.next_symbols(y)
        names = self.target.units.name
        return {names(int(a)): float(p) for a, p in zip(symbols, logp, strict=True)}

    def next_symbols(self, y: Symbols) -> tuple[np.ndarray, np.ndarray]:
        """The next-symbol distribution: symbols int64 [n] (END = -1) and logp float64 [n]."""
        prefix = self.symbols(y)
        found = self._ask(prefix, [len(prefix)])
        return _possible(self, prefix, found)

    def next_at_all(self, y: Symbols) -> Propagated:
        """Next-symbol distributions after every prefix of y, in one propagation."""
        target = self.symbols(y)
        return self._ask(target, range(len(target) + 1))

    def _ask(self, target: Pattern, wanted: Iterable[int] = ()) -> Propagated:
        """The result of one query, ⊥ included in the target if it is asked for."""
        found = self._engine.run([self.scorer.query(target, wanted=frozenset(wanted))])[0]
        self.scorer.judge(found, len(target))
        return found

    # Documents.

    def score(
        self, texts: Iterable[str | bytes], *, given: Given = "source", prompt: Prompt = NO_PROMPT
    ) -> list[Scored]:
        """Score texts, in source or target form, after a prompt; see `Scored`."""
        return list(self.score_documents(_numbered(texts), given=given, prompt=prompt))

    def score_documents(
        self,
        documents: Iterable[Document],
        *,
        given: Given = "source",
        batch: int = defaults.BATCH_DOCUMENTS,
        unknown: Unknown = "auto",
        tally: Tally | None = None,
        waits: Callable[[], bool] | None = None,
        prompt: Prompt = NO_PROMPT,
    ) -> Iterator[Scored]:
        """Score documents in batches that share LM calls; yields them in input order.

        batch: documents in a batch, at most; one also ends at `lm.batch_symbols` symbols, and
        where `waits` says that the next document isn't there yet. unknown: what to do about symbols
        that the model can't produce: "report" -inf with a warning, raise an "error", "skip" the
        document with a warning, or sum over what they may be by the codes for bases and residues,
        "any", with an error for those that mean nothing (`lmfst.target.unknown`). "auto": an error
        in biological sequences in target form, else a report. tally: where documents are counted.
        prompt: what they follow, which is given.
        """
        if batch < 1:
            raise UsageError(f"a batch must have at least 1 document, not {batch}")
        scorer, tally = self.scorer, tally or Tally()
        yield from scorer.run(documents, given, batch, unknown, tally, waits, prompt)


def _possible(
    model: StringModel, prefix: Pattern, found: Propagated
) -> tuple[np.ndarray, np.ndarray]:
    """The next symbols of probability above 0; InputError where the prefix has none."""
    if found.log_prefix[-1] == -math.inf:
        raise ZeroProbabilityError(
            "nothing can follow the prefix, which has probability zero under the model from "
            + model.scorer.zeros.why(prefix, found)[1]
        )
    symbols, logp = found.next[len(prefix)]
    possible = logp > -np.inf
    return symbols[possible], logp[possible]


def _numbered(texts: Iterable[str | bytes]) -> Iterator[Document]:
    for i, text in enumerate(texts, start=1):
        yield Document(id=str(i), text=as_bytes(text), origin=f"text {i}")


def _bounds(found: Propagated) -> Bounds:
    if not found.bounded:
        raise UsageError(
            "quotients of lower bounds, which this ensemble is made of, have no bounds: use "
            "prefix_logp",
            hint='policy "exact" drops nothing, and how="mixture-of-strings" has bounds',
        )
    logp = float(found.log_prefix[-1])
    missing = None if found.missing is None else float(found.missing.sum())
    return Bounds(logp, logp, upper_bound(logp, float(found.log_dropped[-1])), missing)
