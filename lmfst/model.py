"""The transduced language model: p_Y of a source model and a target, scored document by document.

`TransducedLM` ties model, target and policy together. Its numbers are defined in
`lmfst.inference.propagate`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from lmfst.fst import Fst
from lmfst.ground import defaults
from lmfst.ground._version import __version__
from lmfst.ground.announce import warn_default
from lmfst.ground.errors import UsageError
from lmfst.ground.types import InputMode, Partial, Warn, require_choice
from lmfst.inference.engine import engine_for
from lmfst.inference.normaliser import Normaliser
from lmfst.inference.policy import Exact, Policy, Tolerance
from lmfst.inference.prompted import after_source
from lmfst.inference.recommend import recommended
from lmfst.inference.sampling import Sample
from lmfst.inference.setting import Setting
from lmfst.inference.states import State, begin_search, begin_states
from lmfst.lexicon import Lexicons
from lmfst.lm.base import LM
from lmfst.scored.scorer import Scorer
from lmfst.scored.string_model import StringModel
from lmfst.target.load import (
    Target,
    load_target,
    refuse_as_model,
    rejected_string,
    require_no_mode,
    require_total,
    support_of,
)
from lmfst.target.reader import Reader
from lmfst.target.strings import Symbols, as_bytes
from lmfst.target.unknown import Alphabet

POLICIES: dict[str, Callable[[], Policy]] = {"beam": Tolerance, "exact": Exact, "sample": Sample}


def policy_of(policy: str | Policy) -> Policy:
    """A policy by name or as it is; UsageError for anything else."""
    if isinstance(policy, Policy):
        return policy
    if policy not in POLICIES:
        raise UsageError(f"policy must be one of {', '.join(POLICIES)}, not {policy!r}")
    return POLICIES[policy]()


class TransducedLM(StringModel):
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
    def sources(self) -> tuple[LM, ...]:
        """The source model, as the only one."""
        return (self.lm,)

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

    @property
    def warn(self) -> Warn:
        """What takes warnings."""
        return self.setting.warn

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

    def search_state(self, prefix: Symbols) -> State:
        """The state after a prefix from which next units are searched; see
        `lmfst.inference.states.begin_search`."""
        return begin_search(self.setting, self.policy, self.scorer.zeros, prefix)

    def after_source(self, text: str | bytes) -> TransducedLM:
        """The model of what follows a source text that it has read, tokens and all; see
        `lmfst.inference.prompted`. InputError for a text that can't be read."""
        found = after_source(self.setting, self.reader, as_bytes(text)) if text else self.setting
        return renewed(self, **vars(found))

    def describe(self) -> dict[str, Any]:
        """What makes the numbers: model, target, policy, version and threads; JSON-ready."""
        return _described(self)


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
