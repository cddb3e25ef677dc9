"""The transduced language model: p_Y of a source model and a target, scored document by document.

`TransducedLM` ties model, target and policy together. Its numbers are defined in `lmfst.propagate`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from lmfst import __version__, defaults
from lmfst.errors import BudgetError, InputError, UsageError
from lmfst.fst import Fst
from lmfst.fst.preimages import preimages
from lmfst.guide import MOST_VALUES, Future, Guide
from lmfst.io import Document
from lmfst.lexicon import Lexicons
from lmfst.lm.base import LM
from lmfst.lookahead import Continuation
from lmfst.partial import Domain, propagate_partial
from lmfst.policy import Beam, Exact, Policy
from lmfst.propagate import Job, Propagated, propagate
from lmfst.records import Scored, upper_bound
from lmfst.rows import Normaliser
from lmfst.sampling import Sample, mean_estimate
from lmfst.sequential import END, Identity, Utf8, run
from lmfst.target import Target, load_target, rejected_string, require_total, support_of
from lmfst.units import parse_target_text

Given = Literal["source", "target"]
Unknown = Literal["auto", "report", "error", "skip"]
Warn = Callable[[str], None]
Symbols = Sequence[int] | Sequence[str] | str | bytes

MOST_STATES = 256
"""States in which symbols that can't be produced are looked for."""
SEARCH_NODES = 50_000
"""Nodes that the search for a source text of a target may take."""

POLICIES: dict[str, Callable[[], Policy]] = {"beam": Beam, "exact": Exact, "sample": Sample}


def as_bytes(text: str | bytes) -> bytes:
    """A text as bytes: UTF-8, lone surrogates standing for bytes that are no UTF-8."""
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text


def _default_warn(message: str) -> None:
    warnings.warn(message, stacklevel=3)


@dataclass(frozen=True)
class Bounds:
    """log P_Y with its bounds, nats: lower ≤ true value ≤ upper; equal if nothing was dropped."""

    logp: float
    lower: float
    upper: float


class TransducedLM:
    """p_Y: the language model over target strings that a source model and a function induce.

    Strings y are given as symbol numbers, as a list of symbol names, or as text: bytes or
    characters, with generated symbols as [NAME]; the names of a table's symbols separated by
    spaces.

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
        """policy: default `Beam()`. partial: "error", or "condition" for probabilities given that
        the target accepts the string (needs the policy `Exact`). lookahead: evaluate probable nodes
        ahead of time, in fewer model calls; the results are the same."""
        self.lookahead = lookahead
        if partial not in ("error", "condition"):
            raise UsageError(f"--partial must be error or condition, not {partial!r}")
        self.lm, self.target = lm, target
        self.policy = Beam() if policy is None else policy
        self._warn = warn
        support = support_of(target, lm.vocab, warn, drop_nul=partial == "error")
        name = f"{target.name} for {lm.describe().get('model', type(lm).__name__)}"
        self.lexicons = Lexicons(lm.vocab, target.machine, support=support, name=name)
        self._normalise = Normaliser(np.flatnonzero(~support))
        self._domain: Domain | None = None
        self._guides: dict[str, Guide] = {}
        if partial == "condition" and rejected_string(target, lm.vocab, support) is not None:
            if not isinstance(self.policy, Exact):
                raise UsageError(
                    "--partial condition sums over whole strings, which pruning can't bound",
                    hint="add --exact (meant for n-gram models and short texts)",
                )
            self._domain = Domain(self.lexicons, self.lexicons.alphabet)
        elif partial == "error":
            require_total(target, lm.vocab, support)
        if isinstance(self.policy, Sample) and self.policy.guide is not None:
            self._guide_of(self.policy.guide)

    @property
    def softmax_seconds(self) -> float:
        """The time taken so far to turn the model's logits into log-probabilities."""
        return self._normalise.seconds

    # Strings of target symbols.

    def symbols(self, y: Symbols) -> tuple[int, ...]:
        """y as symbol numbers; text is read by `lmfst.units.parse_target_text`.

        Raises InputError for text that names no symbol, FstError for a name in a list that doesn't.
        """
        alphabet = self.target.machine.symbols
        if isinstance(y, str | bytes):
            return parse_target_text(as_bytes(y), alphabet)
        return tuple(alphabet.label(s) if isinstance(s, str) else int(s) for s in y)

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
                "the prefix has probability zero under the model, so nothing can follow it",
                hint="raise --beam or lower --threshold if hypotheses may have been dropped",
            )
        symbols, logp = found.next[len(prefix)]
        possible = logp > -np.inf
        return symbols[possible], logp[possible]

    def next_at_all(self, y: Symbols) -> Propagated:
        """Next-symbol distributions after every prefix of y, in one propagation."""
        target = self.symbols(y)
        return self._propagate(target, end=False, wanted=range(len(target) + 1))

    def _propagate(
        self, target: Sequence[int], *, end: bool, wanted: Iterable[int] = ()
    ) -> Propagated:
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
        symbols = (*target, END) if end else tuple(target)
        if isinstance(self.policy, Sample):
            if wanted:
                raise UsageError(
                    "policy sample estimates probabilities of given strings, not distributions of "
                    "the next symbol",
                    hint="use policy beam or exact",
                )
            return self._estimated(self.policy, [symbols], first=0)[0]
        source = self._continuation(None, target)
        job = Job(symbols, frozenset(wanted), source, self.lookahead)
        return propagate(self.lexicons, session, self.policy, self._normalise, [job])[0]

    def _estimated(
        self, policy: Sample, targets: Sequence[tuple[int, ...]], *, first: int
    ) -> list[Propagated]:
        """Estimates by sampling, each the mean of its replicates, which share model calls with
        those of the other targets. first: the number of the first target in the corpus."""
        guide = None if policy.guide is None else self._guide_of(policy.guide)
        if guide is None:
            return self._estimated_by(policy, targets, {}, first=first)
        results: list[Propagated] = []
        futures: dict[tuple[int, ...], Future] = {}
        begin = 0
        for at, target in enumerate(targets):
            if target in futures:
                continue
            future = Future(guide, target)
            if futures and sum(f.size for f in futures.values()) + future.size > MOST_VALUES:
                part = targets[begin:at]
                results += self._estimated_by(policy, part, futures, first=first + begin)
                futures, begin = {}, at
            futures[target] = future
        rest = targets[begin:]
        return results + self._estimated_by(policy, rest, futures, first=first + begin)

    def _estimated_by(
        self,
        policy: Sample,
        targets: Sequence[tuple[int, ...]],
        futures: Mapping[tuple[int, ...], Future],
        *,
        first: int,
    ) -> list[Propagated]:
        """Estimates of targets that share model calls; futures: what a guide expects of each."""
        jobs = [
            Job(
                target,
                lookahead=False,
                random=policy.generator(number, replicate),
                future=futures.get(target),
            )
            for number, target in enumerate(targets, start=first)
            for replicate in range(policy.replicates)
        ]
        found = propagate(self.lexicons, self.lm.session(), policy, self._normalise, jobs)
        pruned: Sequence[Propagated | None] = [None] * len(targets)
        if policy.gap:
            beam = Beam(size=policy.particles, threshold=0.0)
            plain = [Job(target) for target in targets]
            pruned = propagate(self.lexicons, self.lm.session(), beam, self._normalise, plain)
        results = []
        for i, bound in enumerate(pruned):
            own = found[i * policy.replicates : (i + 1) * policy.replicates]
            mean, stderr = mean_estimate(np.stack([one.log_prefix for one in own]))
            results.append(
                Propagated(
                    log_prefix=mean,
                    log_dropped=np.full(len(mean), -np.inf),
                    rows=sum(one.rows for one in own) + (bound.rows if bound else 0),
                    removed=sum(one.removed for one in own) / len(own),
                    estimated=True,
                    stderr=stderr,
                    log_pruned=float(bound.log_prefix[-1]) if bound else None,
                )
            )
        return results

    def _guide_of(self, name: str) -> Guide:
        """A guide by name, loaded once. UsageError for what is no n-gram model."""
        if name not in self._guides:
            from lmfst.lm.load import load_guide

            self._guides[name] = Guide(load_guide(name, warn=self._warn), self.lexicons)
        return self._guides[name]

    def _continuation(self, text: bytes | None, target: Sequence[int]) -> Continuation | None:
        """The canonical tokens of a source text; None where none is known, or none is needed.

        Under `Exact`, which keeps everything, a simulation would be as large as the sum itself.
        """
        if self.lm.merges or not isinstance(self.policy, Beam):
            return None
        machine = self.target.machine
        if text is None and isinstance(machine, Identity | Utf8):
            text = machine.source(target)
        elif text is None and self.target.fst is not None:
            text = self._some_source(self.target.fst, target)
        return None if text is None else Continuation(text, self.lm.vocab, self.lm.encode)

    @staticmethod
    def _some_source(fst: Fst, target: Sequence[int]) -> bytes | None:
        """A short text with this output, if one is found quickly: lookahead can follow it."""
        try:
            return next(preimages(fst, target, max_nodes=SEARCH_NODES), None)
        except BudgetError:
            return None

    @staticmethod
    def _bounds(found: Propagated) -> Bounds:
        logp = float(found.log_prefix[-1])
        return Bounds(logp, logp, upper_bound(logp, float(found.log_dropped[-1])))

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
    ) -> Iterator[Scored]:
        """Score documents in batches that share LM calls; yields them in input order.

        batch: documents in a batch, at most; a batch also ends at `defaults.BATCH_SYMBOLS` symbols.
        unknown: what to do about symbols in target form that the model can't produce: "report" a
        log-probability of -inf with a warning, raise an "error", "skip" the document with a
        warning, or "auto": an error in biological sequences.
        """
        if batch < 1:
            raise UsageError(f"a batch must have at least 1 document, not {batch}")
        if isinstance(self.policy, Sample):
            batch = max(1, batch // self.policy.replicates)
        waiting: list[tuple[Document, tuple[int, ...]]] = []
        size = first = 0
        for document in documents:
            target = self._target_or_none(document, given, unknown)
            if target is None:
                continue
            waiting.append((document, target))
            size += len(waiting[-1][1])
            if len(waiting) == batch or size >= defaults.BATCH_SYMBOLS:
                yield from self._score_batch(waiting, given, first)
                first += len(waiting)
                waiting, size = [], 0
        if waiting:
            yield from self._score_batch(waiting, given, first)

    def _target_or_none(
        self, document: Document, given: Given, unknown: Unknown
    ) -> tuple[int, ...] | None:
        """A document's target; None if it is skipped."""
        asked = unknown in ("error", "skip")
        checks = given == "target" and (asked or (unknown == "auto" and document.is_sequence))
        known = self._producible if checks else None
        if checks and asked and known is None:
            raise UsageError(
                f"--unknown {unknown} needs to know which symbols the model can produce, but the "
                f"target has more than {MOST_STATES} states",
                hint="use --unknown report",
            )
        try:
            target = self._target_of(document, given)
            if known is not None:
                self._require_producible(target, known)
        except InputError as error:
            if unknown != "skip":
                raise InputError(f"{document.origin}: {error.message}", hint=error.hint) from None
            self._warn(f"{document.origin}: skipped: {error.message}")
            return None
        return target

    def _target_of(self, document: Document, given: Given) -> tuple[int, ...]:
        if given == "source":
            return self.transduce(document.text)
        target = self.symbols(document.text)
        if document.is_sequence and self._producible is not None:
            upper = self.symbols(document.text.upper())
            if not self._producible.issuperset(target) and self._producible.issuperset(upper):
                return upper
        return target

    def _require_producible(self, target: tuple[int, ...], known: frozenset[int]) -> None:
        """InputError for a symbol that is not among those `known` to be produced."""
        for at, symbol in enumerate(target, start=1):
            if symbol not in known:
                names = [self.target.units.name(s) for s in sorted(known - {END})]
                shown = " ".join(names[:30]) + (" …" if len(names) > 30 else "")
                raise InputError(
                    f"position {at} is {self.target.units.name(symbol)!r}, which the model can't "
                    f"produce: expected {shown}",
                    hint="mend it, or use --unknown skip or report",
                )

    @cached_property
    def _producible(self) -> frozenset[int] | None:
        """The symbols that some token produces in some state; None if there are too many states."""
        found, queue = {self.lexicons.start}, [self.lexicons.start]
        symbols: set[int] = set()
        while queue:
            lexicon = self.lexicons[queue.pop()]
            symbols.update(np.unique(lexicon.symbol).tolist())
            new = set(np.unique(lexicon.next).tolist()) - found - {-1}
            found |= new
            queue += sorted(new)
            if len(found) > MOST_STATES:
                return None
        return frozenset(symbols)

    def _score_batch(
        self, batch: list[tuple[Document, tuple[int, ...]]], given: Given, first: int
    ) -> list[Scored]:
        """first: the number of the batch's first document in the corpus."""
        if self._domain is not None:
            found = [self._propagate(target, end=True) for _, target in batch]
        elif isinstance(self.policy, Sample):
            ended = [(*target, END) for _, target in batch]
            found = self._estimated(self.policy, ended, first=first)
        else:
            jobs = [
                Job(
                    (*target, END),
                    source=self._continuation(document.text if given == "source" else None, target),
                    lookahead=self.lookahead,
                )
                for document, target in batch
            ]
            found = propagate(self.lexicons, self.lm.session(), self.policy, self._normalise, jobs)
        scored = []
        for (document, target), result in zip(batch, found, strict=True):
            self._warn_of_zero(document, target, result)
            scored.append(Scored.of(document.id, target, result, self.target.units))
        return scored

    def _warn_of_zero(self, document: Document, target: tuple[int, ...], found: Propagated) -> None:
        zero = np.flatnonzero(found.log_prefix == -np.inf)
        if not len(zero):
            return
        at = int(zero[0]) - 1
        symbol = self.target.units.name((*target, END)[at])
        reason = "no token sequence of the model produces it there"
        if found.estimated and not self._unspellable(target, at):
            reason = "no hypothesis of any replicate goes on with it (raise --particles)"
        elif found.log_dropped[at + 1] > -math.inf and not self._unspellable(target, at):
            reason = "no hypothesis that the policy kept goes on with it (raise --beam)"
        self._warn(f"{document.origin}: logp is -inf from symbol {at} ({symbol}) on: {reason}")

    def _unspellable(self, target: tuple[int, ...], at: int) -> bool:
        """Whether target[at] is a byte that occurs in no token of the vocabulary."""
        missing = self.lm.vocab.missing_bytes()
        return self.target.fst is None and at < len(target) and target[at] in missing

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
    policy: str | Policy = "beam",
    warn: Warn = _default_warn,
    **options: Any,
) -> TransducedLM:
    """A transduced language model from names: `lmfst.load("smollm2-135m", to="chars")`.

    model: an `LM`, or a name for `lmfst.lm.load.load_lm`, which takes `options`. to: bytes, chars,
    an FST file, an `Fst` or a `Target`. policy: "beam", "exact", "sample", or a `Policy`.
    """
    from lmfst.lm.load import load_lm

    if isinstance(policy, str):
        if policy not in POLICIES:
            raise UsageError(f"policy must be one of {', '.join(POLICIES)}, not {policy!r}")
        policy = POLICIES[policy]()
    lm = load_lm(model, warn=warn, **options) if isinstance(model, str) else model
    target = to if isinstance(to, Target) else load_target(to, warn=warn)
    return TransducedLM(lm, target, policy, warn=warn)
