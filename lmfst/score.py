"""The transduced language model: p_Y of a source model and a target, scored document by document.

`TransducedLM` ties model, target and policy together. Its numbers are defined in `lmfst.propagate`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from lmfst import __version__, defaults
from lmfst.accuracy import Tally
from lmfst.canonical import canonical_logps
from lmfst.errors import BudgetError, InputError, UsageError
from lmfst.estimate import Estimator, effective_number, unsure
from lmfst.fst import Fst
from lmfst.fst.preimages import preimages
from lmfst.io import Document
from lmfst.lexicon import Lexicons
from lmfst.lm.base import LM
from lmfst.lookahead import Continuation
from lmfst.partial import Domain, propagate_partial
from lmfst.pattern import OneOf, Pattern, Place, as_written, first_string, is_open
from lmfst.policy import Beam, Exact, Policy, Tolerance
from lmfst.propagate import Job, Propagated, propagate
from lmfst.reader import Given, Reader, Unknown, encoding_fault
from lmfst.recommend import recommended
from lmfst.records import Scored, upper_bound
from lmfst.rows import Normaliser
from lmfst.sampling import Sample
from lmfst.sequential import END, Identity, Utf8, run
from lmfst.target import Target, load_target, rejected_string, require_total, support_of
from lmfst.units import parse_target_text
from lmfst.unknown import Alphabet

Warn = Callable[[str], None]
Symbol = int | str | Set[int] | Set[str]
Symbols = Sequence[Symbol] | str | bytes

SEARCH_NODES = 50_000
"""Nodes that the search for a source text of a target may take."""

DNA = frozenset(b"ACGTNacgtn")

POLICIES: dict[str, Callable[[], Policy]] = {"beam": Tolerance, "exact": Exact, "sample": Sample}


def as_bytes(text: str | bytes) -> bytes:
    """A text as bytes: UTF-8, lone surrogates standing for bytes that are no UTF-8."""
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text


def _default_warn(message: str) -> None:
    warnings.warn(message, stacklevel=3)


@dataclass(frozen=True)
class Bounds:
    """log P_Y with its bounds, nats: lower ≤ true value ≤ upper; equal if nothing was dropped.

    missing: an estimate of how far below the true value it is, nats (`lmfst.accuracy`); None where
    probabilities are given that the string is accepted.
    """

    logp: float
    lower: float
    upper: float
    missing: float | None = None


class TransducedLM:
    """p_Y: the language model over target strings that a source model and a function induce.

    Strings y are given as symbol numbers, as a list of symbol names, or as text: bytes or
    characters, with generated symbols as [NAME]; the names of a table's symbols separated by
    spaces. In a list a set of symbols or names stands for any one of them: the probability is that
    of all such strings together.

    Raises FstError if the target rejects a string that the model can spell.
    """

    def __init__(
        self,
        lm: LM,
        target: Target,
        policy: Policy | None = None,
        *,
        partial: str = "error",
        lookahead: bool = True,
        warn: Warn = _default_warn,
    ) -> None:
        """policy: default `Tolerance()`. partial: "error", or "condition" for probabilities given
        that the target accepts the string (needs the policy `Exact`). lookahead: evaluate probable
        nodes ahead of time, in fewer model calls; the results are the same."""
        self.lookahead = lookahead
        if partial not in ("error", "condition"):
            raise UsageError(f"--partial must be error or condition, not {partial!r}")
        self.lm, self.target = lm, target
        self.policy = Tolerance() if policy is None else policy
        self.warn = warn
        support = support_of(target, lm.vocab, warn, drop_nul=partial == "error")
        name = f"{target.name} for {lm.describe().get('model', type(lm).__name__)}"
        self.lexicons = Lexicons(lm.vocab, target.machine, support=support, name=name)
        self._normalise = Normaliser(np.flatnonzero(~support))
        self._domain: Domain | None = None
        self._warned_of_encoding = False
        self._estimator = Estimator(lm, self.lexicons, self._normalise, warn)
        if partial == "condition" and rejected_string(target, lm.vocab, support) is not None:
            if not isinstance(self.policy, Exact):
                raise UsageError(
                    "--partial condition sums over whole strings, which pruning can't bound",
                    hint="add --exact (meant for n-gram models and short texts)",
                )
            self._domain = Domain(self.lexicons, self.lexicons.alphabet)
        elif partial == "error":
            require_total(target, lm.vocab, support)
        if isinstance(self.policy, Sample):
            self._estimator.guide(self.policy)

    @property
    def softmax_seconds(self) -> float:
        """The time taken so far to turn the model's logits into log-probabilities."""
        return self._normalise.seconds

    # Strings of target symbols.

    def symbols(self, y: Symbols) -> Pattern:
        """y as symbol numbers, sets as `OneOf`; text is read by `lmfst.units.parse_target_text`.

        Raises InputError for text that names no symbol, FstError for a name in a list that doesn't.
        """
        if isinstance(y, str | bytes):
            return parse_target_text(as_bytes(y), self.target.machine.symbols)
        return tuple(map(self._place, y))

    def _place(self, symbol: Symbol) -> Place:
        if isinstance(symbol, OneOf):
            return symbol
        if isinstance(symbol, Set):
            if not symbol:
                raise InputError(
                    "a set of symbols is empty", hint="give the symbols that may stand there"
                )
            return OneOf(map(self._label, symbol))
        return self._label(symbol)

    def _label(self, symbol: int | str) -> int:
        alphabet = self.target.machine.symbols
        return alphabet.label(symbol) if isinstance(symbol, str) else int(symbol)

    def transduce(self, text: str | bytes) -> tuple[int, ...]:
        """f(text), as symbol numbers. Raises InputError where f rejects it."""
        return run(self.target.machine, as_bytes(text))

    # Probabilities of single strings.

    def prefix_logp(self, y: Symbols) -> float:
        """log P_Y(y): that a string begins with y, nats."""
        return float(self._propagate(self.symbols(y), end=False).log_prefix[-1])

    def prefix_bounds(self, y: Symbols) -> Bounds:
        """log P_Y(y) with its bounds; UsageError under a policy whose results have none."""
        if self.policy.estimates:
            raise UsageError("estimates by sampling have no bounds: use prefix_logp, or a beam")
        return self._bounds(self._propagate(self.symbols(y), end=False))

    def logp(self, y: Symbols) -> float:
        """log p_Y(y): that the string is y, nats."""
        return float(self._propagate(self.symbols(y), end=True).log_prefix[-1])

    def next_logp(self, y: Symbols) -> dict[str, float]:
        """log p_Y(a | y) of every next symbol a, by name; ⊥ is the end of the string.

        Symbols of probability zero are left out. Where nodes were dropped, the distribution sums to
        less than 1 by the dropped share.
        """
        symbols, logp = self.next_symbols(y)
        names = self.target.units.name
        return {names(int(a)): float(p) for a, p in zip(symbols, logp, strict=True)}

    def next_symbols(self, y: Symbols) -> tuple[np.ndarray, np.ndarray]:
        """The next-symbol distribution: symbols int64 [n] (END = -1) and logp float64 [n]."""
        prefix = self.symbols(y)
        found = self._propagate(prefix, end=False, wanted=[len(prefix)])
        if found.log_prefix[-1] == -math.inf:
            raise InputError(
                "nothing can follow the prefix, which has probability zero under the model from "
                + self._why_zero(prefix, found)[1]
            )
        symbols, logp = found.next[len(prefix)]
        possible = logp > -np.inf
        return symbols[possible], logp[possible]

    def next_at_all(self, y: Symbols) -> Propagated:
        """Next-symbol distributions after every prefix of y, in one propagation."""
        target = self.symbols(y)
        return self._propagate(target, end=False, wanted=range(len(target) + 1))

    def _propagate(self, target: Pattern, *, end: bool, wanted: Iterable[int] = ()) -> Propagated:
        session = self.lm.session()
        if self._domain is not None:
            return propagate_partial(
                self.lexicons,
                self._domain,
                session,
                self.policy,
                self._normalise,
                target,
                end=end,
                wanted=wanted,
            )
        symbols = (*target, END) if end else target
        if isinstance(self.policy, Sample):
            if wanted:
                raise UsageError(
                    "policy sample estimates probabilities of given strings, not distributions of "
                    "the next symbol",
                    hint="use policy beam or exact",
                )
            return self._estimator.run(self.policy, [symbols], 0)[0]
        source = self._continuation(None, target)
        impossible = partial(self._impossible, tuple(target))
        job = Job(symbols, frozenset(wanted), source, self.lookahead, impossible=impossible)
        found = propagate(self.lexicons, session, self.policy, self._normalise, [job])[0]
        tally = Tally()
        limit = self.policy.limit(found.passes, len(symbols))
        tally.add(found.passes, found.passes[-1].missing, limit)
        self._warn_of_missing(tally)
        return found

    def _continuation(self, text: bytes | None, target: Pattern) -> Continuation | None:
        """The canonical tokens of a source text; None where none is known, or none is needed. Of a
        pattern, those of one of its strings.

        Under `Exact`, which keeps everything, a simulation would be as large as the sum itself.
        """
        if self.lm.merges or not isinstance(self.policy, Beam):
            return None
        own = self._text_of(text, target)
        text = self._some_source(first_string(target)) if own is None else own
        if text is None:
            return None
        canonical = None if own is None else self.lm.canonical(own)
        return Continuation(text, self.lm.vocab, self.lm.encode, canonical)

    def _text_of(self, text: bytes | None, target: Pattern) -> bytes | None:
        """A document's text in source form: as given, or the only one with its target. None where
        the target stands for several strings."""
        if is_open(target):
            return None
        machine = self.target.machine
        if text is None and isinstance(machine, Identity | Utf8):
            return machine.source(first_string(target))
        return text

    def _some_source(self, target: Sequence[int]) -> bytes | None:
        """A short text with this output, if one is found quickly: lookahead can follow it."""
        machine, fst = self.target.machine, self.target.fst
        if isinstance(machine, Identity | Utf8):
            return machine.source(target)
        try:
            return None if fst is None else next(preimages(fst, target, max_nodes=SEARCH_NODES))
        except StopIteration:
            return None
        except BudgetError:
            return None

    @staticmethod
    def _bounds(found: Propagated) -> Bounds:
        logp = float(found.log_prefix[-1])
        missing = None if found.missing is None else float(found.missing.sum())
        return Bounds(logp, logp, upper_bound(logp, float(found.log_dropped[-1])), missing)

    # Documents.

    def score(self, texts: Iterable[str | bytes], *, given: Given = "source") -> list[Scored]:
        """Score texts; see `Scored`. given: whether they are in source or in target form."""
        documents = (
            Document(id=str(i), text=as_bytes(t), origin=f"text {i}")
            for i, t in enumerate(texts, start=1)
        )
        return list(self.score_documents(documents, given=given))

    def score_documents(
        self,
        documents: Iterable[Document],
        *,
        given: Given = "source",
        batch: int = defaults.BATCH_DOCUMENTS,
        unknown: Unknown = "auto",
        tally: Tally | None = None,
    ) -> Iterator[Scored]:
        """Score documents in batches that share LM calls; yields them in input order.

        batch: documents in a batch, at most; a batch also ends at `defaults.BATCH_SYMBOLS` symbols.
        unknown: what to do about symbols that the model can't produce: "report" a log-probability
        of -inf with a warning, raise an "error", "skip" the document with a warning, or sum over
        what they may be by the codes for bases and residues, "any", with an error for those that
        mean nothing (`lmfst.unknown`). "auto": an error in biological sequences in target form,
        else a report. tally: where the documents are counted (default: one of this call's own).
        """
        if batch < 1:
            raise UsageError(f"a batch must have at least 1 document, not {batch}")
        if isinstance(self.policy, Sample):
            batch = max(1, batch // self.policy.replicates)
        waiting: list[tuple[Document, Pattern]] = []
        size = first = 0
        tally = Tally() if tally is None else tally
        for document in documents:
            target = self._target_or_none(document, given, unknown)
            if target is None:
                continue
            waiting.append((document, target))
            size += len(waiting[-1][1])
            if len(waiting) == batch or size >= defaults.BATCH_SYMBOLS:
                yield from self._tallied(waiting, given, first, tally)
                first += len(waiting)
                waiting, size = [], 0
        if waiting:
            yield from self._tallied(waiting, given, first, tally)
        self._warn_of_missing(tally)

    def _tallied(
        self, batch: list[tuple[Document, Pattern]], given: Given, first: int, tally: Tally
    ) -> Iterator[Scored]:
        for scored in self._score_batch(batch, given, first):
            self._add_to(tally, scored)
            yield scored

    def _add_to(self, tally: Tally, scored: Scored) -> None:
        """Count a record of this model."""
        if scored.missing is not None:
            limit = self.policy.limit(scored.passes, len(scored.target) + 1)
            tally.add(scored.passes, float(scored.missing.sum()), limit)
        elif scored.log_replicates is not None and unsure(scored.log_replicates):
            tally.add_unsure(effective_number(scored.log_replicates))

    def _target_or_none(self, document: Document, given: Given, unknown: Unknown) -> Pattern | None:
        """A document's target; None if it is skipped."""
        self._warn_of_encoding(document)
        try:
            return self._reader.target(document, given, unknown)
        except InputError as error:
            if unknown != "skip":
                raise InputError(f"{document.origin}: {error.message}", hint=error.hint) from None
            self.warn(f"{document.origin}: skipped: {error.message}")
            return None

    def _warn_of_encoding(self, document: Document) -> None:
        """Say once that a text is no UTF-8, unless bytes are what is asked for."""
        if self._warned_of_encoding or isinstance(self.target.machine, Identity):
            return
        if fault := encoding_fault(document):
            self._warned_of_encoding = True
            self.warn(fault)

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self.target, Alphabet(self.target, self.lexicons.alphabet))

    def _score_batch(
        self, batch: list[tuple[Document, Pattern]], given: Given, first: int
    ) -> list[Scored]:
        """first: the number of the batch's first document in the corpus."""
        texts = [document.text if given == "source" else None for document, _ in batch]
        if self._domain is not None:
            found = [self._propagate(target, end=True) for _, target in batch]
        elif isinstance(self.policy, Sample):
            ended = [(*target, END) for _, target in batch]
            found = self._estimator.run(self.policy, ended, first)
        else:
            jobs = [
                Job(
                    (*target, END),
                    source=self._continuation(text, target),
                    lookahead=self.lookahead,
                    impossible=partial(self._impossible, target),
                )
                for text, (_, target) in zip(texts, batch, strict=True)
            ]
            found = propagate(self.lexicons, self.lm.session(), self.policy, self._normalise, jobs)
        known = [self._text_of(t, y) for t, (_, y) in zip(texts, batch, strict=True)]
        self._add_canonical(known, found)
        scored = []
        for (document, target), text, result in zip(batch, known, found, strict=True):
            self._warn_of_zero(document, target, text, result)
            written = as_written(target)
            units = self.target.units
            scored.append(Scored.of(document.id, written, result, units, document.extra))
        return scored

    def _add_canonical(self, texts: Sequence[bytes | None], found: Sequence[Propagated]) -> None:
        """Add what the texts' own tokens weigh where propagation didn't come by it."""
        if self._domain is not None:
            return
        asked = [None if r.canonical is not None else t for t, r in zip(texts, found, strict=True)]
        for result, logp in zip(
            found, canonical_logps(self.lm, self._normalise, asked), strict=True
        ):
            if logp is not None:
                result.canonical = logp

    def _warn_of_zero(
        self, document: Document, target: Pattern, text: bytes | None, found: Propagated
    ) -> None:
        if found.log_prefix[-1] > -math.inf:
            return
        at, reason = self._why_zero(target, found, text)
        if at < len(target):
            reason += self._reader.options(target[at])
        self.warn(f"{document.origin}: logp is -inf from {reason}")

    def _why_zero(
        self, target: Pattern, found: Propagated, text: bytes | None = None
    ) -> tuple[int, str]:
        """From which symbol on the probability of a target is zero, and why, as text. text: the
        source, if it is known."""
        at = int(np.flatnonzero(found.log_prefix == -np.inf)[0]) - 1
        symbol = (*as_written(target), END)[at]
        name = self.target.units.name(symbol)
        unspelled = self.lm.vocab.unspelled(text)
        reason = f"no token sequence of the model produces it there{unspelled}"
        if self._impossible(target, at):
            reason = f"the model can't produce '{name}'{unspelled}"
        elif found.estimated:
            reason = "no hypothesis of any replicate goes on with it (raise --particles)"
        elif found.log_dropped[at + 1] > -math.inf:
            reason = (
                "no hypothesis that was kept goes on with it (raise --beam or lower --threshold)"
            )
        return at, f"symbol {at} ({name}) on: {reason}"

    def _impossible(self, target: Pattern, at: int) -> bool:
        """Whether no token of the model can produce target[at], whatever stands before it."""
        return at < len(target) and not self._reader.producible(target[at])

    def _warn_of_missing(self, tally: Tally) -> None:
        """One warning for all documents that lack more than they should, or vary more."""
        if tally.unsure and isinstance(self.policy, Sample):
            self.warn(self.policy.advice(tally))
        if not tally.above:
            return
        sampled = " or estimate with --policy sample" if self.target.fst is not None else ""
        if sampled and self.lm.vocab.alphabet <= DNA:
            sampled += " --guide dna"
        self.warn(self.policy.advice(tally) + sampled)

    def describe(self) -> dict[str, Any]:
        """What makes the numbers: model, target, policy, version and threads; JSON-ready."""
        import torch

        return {
            "lmfst": __version__,
            **self.lm.describe(),
            "to": self.target.name,
            "fst": self.target.machine.digest,
            **self.policy.describe(),
            "threads": torch.get_num_threads(),
        }


def load(
    model: str | LM = defaults.MODEL,
    *,
    to: str | Fst | Target = "bytes",
    policy: str | Policy | None = None,
    warn: Warn = _default_warn,
    **options: Any,
) -> TransducedLM:
    """A transduced language model from names: `lmfst.load("smollm2-135m", to="chars")`.

    model: an `LM`, or a name for `lmfst.lm.load.load_lm`, which takes `options`. to: bytes, chars,
    an FST file, an `Fst` or a `Target`. policy: "beam", "exact", "sample", a `Policy`, or None: the
    one that is recommended for model and target, else "beam".
    """
    from lmfst.lm.load import load_lm

    if isinstance(policy, str):
        if policy not in POLICIES:
            raise UsageError(f"policy must be one of {', '.join(POLICIES)}, not {policy!r}")
        policy = POLICIES[policy]()
    lm = load_lm(model, warn=warn, **options) if isinstance(model, str) else model
    target = to if isinstance(to, Target) else load_target(to, warn=warn)
    if policy is None and isinstance(model, str) and options.get("context") is None:
        policy = recommended(model, target.fst, bytes(lm.vocab.alphabet))
    return TransducedLM(lm, target, policy, warn=warn)
