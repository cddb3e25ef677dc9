"""The transduced language model: p_Y of a source model and a target, scored document by document.

`TransducedLM` ties model, target and policy together. Its numbers are defined in
`lmfst.inference.propagate`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from lmfst.fst import Fst
from lmfst.fst.pattern import Pattern
from lmfst.fst.sequential import END, run
from lmfst.ground import defaults
from lmfst.ground._version import __version__
from lmfst.ground.announce import warn_default
from lmfst.ground.document import Document
from lmfst.ground.errors import InputError, UsageError
from lmfst.ground.types import Given, InputMode, Partial, Unknown, Warn, require_choice
from lmfst.inference.accuracy import Tally
from lmfst.inference.engine import engine_for
from lmfst.inference.normaliser import Normaliser
from lmfst.inference.policy import Exact, Policy, Tolerance
from lmfst.inference.prompted import after_source
from lmfst.inference.recommend import recommended
from lmfst.inference.results import Propagated
from lmfst.inference.sampling import Sample
from lmfst.inference.setting import Setting
from lmfst.inference.states import State, begin_states
from lmfst.lexicon import Lexicons
from lmfst.lm.base import LM
from lmfst.scored.records import Scored, upper_bound
from lmfst.scored.scorer import Scorer
from lmfst.target.load import (
    Target,
    load_target,
    refuse_as_model,
    rejected_string,
    require_no_mode,
    require_total,
    support_of,
)
from lmfst.target.prompts import Prompt
from lmfst.target.reader import NO_PROMPT, Reader
from lmfst.target.strings import Symbols, as_bytes, pattern_of
from lmfst.target.unknown import Alphabet

POLICIES: dict[str, Callable[[], Policy]] = {"beam": Tolerance, "exact": Exact, "sample": Sample}


def policy_of(policy: str | Policy) -> Policy:
    """A policy by name or as it is; UsageError for anything else."""
    if isinstance(policy, Policy):
        return policy
    if policy not in POLICIES:
        raise UsageError(f"policy must be one of {', '.join(POLICIES)}, not {policy!r}")
    return POLICIES[policy]()


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
        partial: Partial = "error",
        lookahead: bool = True,
        warn: Warn = warn_default,
    ) -> None:
        """policy: default `Tolerance()`. partial: "error", or "condition" for probabilities given
        that the target accepts the string (needs the policy `Exact`). lookahead: evaluate probable
        hypotheses ahead of time, in fewer model calls; the results are the same."""
        require_choice("--partial", partial, Partial)
        support = support_of(target, lm.vocab, drop_nul=partial == "error")
        name = f"{target.name} for {lm.describe().get('model', type(lm).__name__)}"
        conditioned = partial == "condition"
        if conditioned:
            conditioned = rejected_string(target, lm.vocab, support) is not None
        else:
            require_total(target, lm.vocab, support)
        self.setting = Setting(
            lm,
            target,
            Lexicons(lm.vocab, target.machine, support=support, name=name),
            Normaliser(np.flatnonzero(~support)),
            conditioned=conditioned,
            lookahead=lookahead,
            warn=warn,
        )
        self._policy = Tolerance() if policy is None else policy_of(policy)
        self._engine = engine_for(self.setting, self._policy)

    @property
    def lm(self) -> LM:
        """The source model."""
        return self.setting.lm

    @property
    def target(self) -> Target:
        """The function to target strings."""
        return self.setting.target

    @property
    def policy(self) -> Policy:
        """What is done when hypotheses multiply; see `with_policy`."""
        return self._policy

    @property
    def lookahead(self) -> bool:
        """Whether probable hypotheses are evaluated ahead of time; see `with_policy`."""
        return self.setting.lookahead

    @property
    def lexicons(self) -> Lexicons:
        """The tokens in the order of what they emit."""
        return self.setting.lexicons

    def with_policy(self, policy: str | Policy, *, lookahead: bool | None = None) -> TransducedLM:
        """The same model and target, not loaded and checked again, under another policy (a name as
        in `load`). lookahead: None as it is here."""
        ahead = self.lookahead if lookahead is None else lookahead
        return renewed(self, policy_of(policy), lookahead=ahead)

    @property
    def softmax_seconds(self) -> float:
        """The time taken so far to turn the model's logits into log-probabilities."""
        return self.setting.normalise.seconds

    @cached_property
    def reader(self) -> Reader:
        """How texts are read."""
        return Reader(self.target, Alphabet(self.target, self.setting.lexicons.alphabet))

    @property
    def scorer(self) -> Scorer:
        """What scores documents."""
        return Scorer(self.setting, self.policy, self._engine, self.reader)

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
        """log P_Y(y) with its bounds; UsageError under a policy whose results have none."""
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

    def state(self, prefix: Symbols = "", *, as_scored: bool = False) -> State:
        """The model after a prefix, to be extended symbol by symbol; see `lmfst.State`. One of
        probability zero gives a state that is not possible.

        as_scored: the prefix is decided as where texts are scored, by what follows in it, too. Then
        the distribution is that of `next_logp` (but see docs/how-to/states.md), and under a beam
        nearer the truth with fewer rows.
        UsageError under a policy that samples, where strings are rejected (`partial="condition"`),
        and for sets of symbols.
        """
        return self.states([prefix], as_scored=as_scored)[0]

    def states(self, prefixes: Iterable[Symbols], *, as_scored: bool = False) -> list[State]:
        """States after several prefixes, which share model calls; see `lmfst.advance_all`."""
        return begin_states(
            self.setting, self.policy, self.scorer.zeros, list(prefixes), scored=as_scored
        )

    def after_source(self, text: str | bytes) -> TransducedLM:
        """The model of what follows a source text that it has read, tokens and all; see
        `lmfst.inference.prompted`. InputError for a text that can't be read."""
        found = after_source(self.setting, self.reader, as_bytes(text)) if text else self.setting
        return renewed(self, **vars(found))

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

        batch: documents in a batch, at most; one also ends at `defaults.BATCH_SYMBOLS` symbols, and
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

    def describe(self) -> dict[str, Any]:
        """What makes the numbers: model, target, policy, version and threads; JSON-ready."""
        return _described(self)


def _possible(
    model: TransducedLM, prefix: Pattern, found: Propagated
) -> tuple[np.ndarray, np.ndarray]:
    """The next symbols of probability above 0; InputError where the prefix has none."""
    if found.log_prefix[-1] == -math.inf:
        raise InputError(
            "nothing can follow the prefix, which has probability zero under the model from "
            + model.scorer.zeros.why(prefix, found)[1]
        )
    symbols, logp = found.next[len(prefix)]
    possible = logp > -np.inf
    return symbols[possible], logp[possible]


def _numbered(texts: Iterable[str | bytes]) -> Iterator[Document]:
    for i, text in enumerate(texts, start=1):
        yield Document(id=str(i), text=as_bytes(text), origin=f"text {i}")


def _described(model: TransducedLM) -> dict[str, Any]:
    import torch

    return {
        "lmfst": __version__,
        **model.lm.describe(),
        "to": model.target.name,
        "fst": model.target.machine.digest,
        **model.policy.describe(),
        "threads": torch.get_num_threads(),
    }


def renewed(model: TransducedLM, policy: Policy | None = None, **changes: Any) -> TransducedLM:
    """The same model under another policy, or in another `Setting` (changes: its fields)."""
    other = copy(model)
    if "target" in changes:
        other.__dict__.pop("reader", None)
    other.setting = replace(model.setting, **changes)
    other._policy = policy or model.policy
    other._engine = engine_for(other.setting, other._policy)
    return other


def _bounds(found: Propagated) -> Bounds:
    logp = float(found.log_prefix[-1])
    missing = None if found.missing is None else float(found.missing.sum())
    return Bounds(logp, logp, upper_bound(logp, float(found.log_dropped[-1])), missing)


def load(
    model: str | LM = defaults.MODEL,
    *,
    to: str | Fst | Target = "bytes",
    policy: str | Policy | None = None,
    input_mode: InputMode = "auto",
    warn: Warn = warn_default,
    **options: Any,
) -> TransducedLM:
    """A transduced language model from names: `lmfst.load("smollm2-135m", to="chars")`.

    model: an `LM`, or a name for `lmfst.lm.load.load_lm`, which takes `options`. to: bytes, chars,
    an FST file, an `Fst` or a `Target`. policy: "beam", "exact", "sample", a `Policy`, or None: the
    one that is recommended for model and target, else "beam". input_mode: what the labels of an FST
    file are where no symbol table says it, "byte", "utf8" or "auto".
    """
    from lmfst.lm.load import load_lm

    policy = None if policy is None else policy_of(policy)
    if isinstance(model, str):
        refuse_as_model(model)
    lm = load_lm(model, warn=warn, **options) if isinstance(model, str) else model
    if isinstance(to, Target):
        require_no_mode(to.name, input_mode)
    target = to if isinstance(to, Target) else load_target(to, input_mode=input_mode, warn=warn)
    if policy is None and isinstance(model, str) and options.get("context") is None:
        policy = recommended(model, target.fst, bytes(lm.vocab.alphabet))
    return TransducedLM(lm, target, policy, warn=warn)
