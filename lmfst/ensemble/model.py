"""The ensemble: several transduced models as one, scored document by document, with states."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from numbers import Real
from typing import Any

from lmfst.ensemble.combination import Combination
from lmfst.ensemble.engine import EnsembleEngine
from lmfst.ensemble.scorer import EnsembleScorer, EnsembleZeros
from lmfst.ensemble.states import EnsembleState, Shared, of_strings
from lmfst.ground._version import __version__
from lmfst.ground.errors import UsageError
from lmfst.ground.types import How, Warn, require_choice
from lmfst.inference.policy import Policy
from lmfst.inference.query import Query
from lmfst.inference.setting import Setting
from lmfst.inference.states import State, ends_of, plain
from lmfst.lm.base import LM
from lmfst.model import TransducedLM, policy_of
from lmfst.scored.string_model import StringModel
from lmfst.target import Target
from lmfst.target.reader import Reader
from lmfst.target.strings import Symbols
from lmfst.target.unknown import Alphabet

SUM = 1e-9
"""How far the sum of weights may be off 1, as written numbers are."""


class Ensemble(StringModel):
    """Several transduced models in one target alphabet as one language model.

    Their tokenizers may differ: what is combined are distributions over the next target symbol a
    after a string y of symbols.

    - "mixture": p(a | y) = Σ_i w_i p_i(a | y), the interpolation of the models. One that gives y
      probability zero is left out of what follows.
    - "product": p(a | y) ∝ Π_i p_i(a | y)^w_i, normalised for each y.
    - "mixture-of-strings": p(y) = Σ_i w_i p_i(y); then p(a | y) = Σ_i π_i p_i(a | y), where
      π_i ∝ w_i P_i(y) follows how well each model has predicted y.

    The probability of a string is the product of those of its symbols and ⊥. Strings are given as
    to a `TransducedLM`. Where models drop hypotheses, `missing` is made of what each lacks; certain
    bounds are there for "mixture-of-strings" only, and where nothing was dropped. There is no
    `canonical`, since there is no one tokenizer. Source: `lmfst.ensemble.combination`.
    """

    def __init__(
        self,
        models: Iterable[TransducedLM],
        weights: Iterable[float] | None = None,
        how: How = "mixture",
        *,
        policy: str | Policy | None = None,
    ) -> None:
        """weights: above 0, one for each model, with the sum 1; None: equal ones. policy: for all
        models; None: their own, which must be the same.

        UsageError for fewer than two models, for those whose targets differ, for weights that
        aren't such, for a policy that samples, and for models that are given that strings are
        accepted (`partial="condition"`).
        """
        require_choice("how", how, How)
        found = _models(models)
        chosen = _common_policy(found, policy)
        self.models = tuple(
            model if model.policy == chosen else model.with_policy(chosen) for model in found
        )
        _require_one_target(self.models)
        self._combination = Combination(how, weights_of(weights, len(found)))
        self._engine = EnsembleEngine(self.models, self._combination, chosen)
        self._shared = Shared(self._combination, self.target.units, self.names)

    @property
    def weights(self) -> tuple[float, ...]:
        """The weights of the models."""
        return self._combination.weights

    @property
    def how(self) -> How:
        """How the models are combined."""
        return self._combination.how

    @property
    def sources(self) -> tuple[LM, ...]:
        """The source models."""
        return tuple(model.lm for model in self.models)

    @property
    def target(self) -> Target:
        """The function to target strings, which the models have in common."""
        return self.models[0].target

    @property
    def policy(self) -> Policy:
        """What each of the models does when its hypotheses multiply."""
        return self.models[0].policy

    @property
    def warn(self) -> Warn:
        """What takes warnings: that of the first model."""
        return self.models[0].setting.warn

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The models' names, for messages."""
        names = [str(m.lm.describe().get("model", type(m.lm).__name__)) for m in self.models]
        return tuple(f"model {number}, {name}" for number, name in enumerate(names, start=1))

    @cached_property
    def reader(self) -> Reader:
        """How texts are read: with the bytes that some model can produce, in a product all."""
        each = [frozenset(model.lexicons.alphabet) for model in self.models]
        join = frozenset.intersection if self.how == "product" else frozenset.union
        return Reader(self.target, Alphabet(self.target, bytes(sorted(join(*each)))))

    @property
    def scorer(self) -> EnsembleScorer:
        """What scores documents."""
        setting: Setting = self.models[0].setting
        each = [model.scorer.zeros for model in self.models]
        zeros = EnsembleZeros(setting, self.reader, each, self.names)
        return EnsembleScorer(setting, self.policy, self._engine, self.reader, zeros)

    def with_policy(self, policy: str | Policy) -> Ensemble:
        """The same models under another policy."""
        return Ensemble(self.models, self.weights, self.how, policy=policy)

    def after_source(self, text: str | bytes) -> Ensemble:
        """The ensemble of what follows a source text that each of the models has read, tokens and
        all; see `TransducedLM.after_source`."""
        return Ensemble([m.after_source(text) for m in self.models], self.weights, self.how)

    def state(self, prefix: Symbols = "", *, as_scored: bool = False) -> EnsembleState:
        """The ensemble after a prefix, to be extended symbol by symbol; see `lmfst.EnsembleState`,
        and `TransducedLM.state` for the options and errors."""
        return self.states([prefix], as_scored=as_scored)[0]

    def states(
        self, prefixes: Iterable[Symbols], *, as_scored: bool = False
    ) -> list[EnsembleState]:
        """States after several prefixes, which share model calls; see `lmfst.advance_all`."""
        strings = list(prefixes)
        policy = self.policy if as_scored else self.policy.of_states
        return self._begun(
            strings,
            policy,
            lambda model, some: model.states(some, as_scored=as_scored),
            alone=not as_scored,
        )

    def search_state(self, prefix: Symbols) -> EnsembleState:
        """The state after a prefix from which next units are searched; see
        `lmfst.inference.states.begin_search`."""

        def begin(model: TransducedLM, some: Sequence[Symbols]) -> list[State]:
            return [model.search_state(one) for one in some]

        return self._begun([prefix], self.policy.of_search[0], begin, alone=False)[0]

    def _begun(
        self,
        prefixes: Sequence[Symbols],
        policy: Policy,
        begin: Callable[[TransducedLM, Sequence[Symbols]], list[State]],
        *,
        alone: bool,
    ) -> list[EnsembleState]:
        """The states after prefixes. policy, alone: by which hypotheses of these are decided (see
        `lmfst.inference.query.Query`). begin: a model's own states."""
        strings = [plain(prefix, self.target.machine.symbols) for prefix in prefixes]
        ends = ends_of(strings)
        before = [string[:end] for string, end in zip(strings, ends, strict=True)]
        each = list(zip(*(begin(model, before) for model in self.models), strict=True))
        if self._combination.is_local:
            numbers = self._numbers(before, policy, alone)
        else:
            numbers = [of_strings(self._combination, parts) for parts in each]
        states = [
            EnsembleState(self._shared, parts, logp, missing)
            for parts, (logp, missing) in zip(each, numbers, strict=True)
        ]
        rest = [string[end:] for string, end in zip(strings, ends, strict=True)]
        return EnsembleState._advanced(states, rest) if any(rest) else states

    def _numbers(
        self, prefixes: Sequence[tuple[int, ...]], policy: Policy, alone: bool
    ) -> list[tuple[float, float]]:
        """(log P, what is missing of it) of each prefix."""
        engine = EnsembleEngine(self.models, self._combination, policy)
        found = engine.run(
            # As the models' own states are begun.
            [Query(y, wanted=frozenset([len(y)]), alone=alone) for y in prefixes]
        )
        return [
            (float(one.log_prefix[-1]), 0.0 if one.missing is None else float(one.missing.sum()))
            for one in found
        ]

    def describe(self) -> dict[str, Any]:
        """What makes the numbers: models, weights, target, policy, version and threads;
        JSON-ready."""
        import torch

        return {
            "lmfst": __version__,
            "ensemble": self.how,
            "weights": list(self.weights),
            "models": [model.lm.describe() for model in self.models],
            "to": self.target.name,
            "fst": self.target.machine.digest,
            **self.policy.describe(),
            "threads": torch.get_num_threads(),
        }


def _models(models: Iterable[TransducedLM]) -> list[TransducedLM]:
    """The models. UsageError for what is no model, and for fewer than two."""
    found = list(models)
    for model in found:
        if not isinstance(model, TransducedLM):
            raise UsageError(
                f"an ensemble is of transduced models, not of {type(model).__name__}",
                hint="lmfst.load(name, to=...) gives one",
            )
    if len(found) < 2:
        raise UsageError(f"an ensemble needs at least two models, and has {len(found)}")
    if any(model.setting.conditioned for model in found):
        raise UsageError(
            "--partial condition: models that are given that strings are accepted have no ensemble",
            hint="extend the FST to accept every string",
        )
    return found


def require_drops(policy: Policy) -> None:
    """UsageError for a policy that samples."""
    if policy.estimates:
        raise UsageError(
            "--policy sample estimates probabilities of whole strings, and an ensemble combines "
            "those of symbols",
            hint="use --policy beam or --exact",
        )


def _common_policy(models: Sequence[TransducedLM], policy: str | Policy | None) -> Policy:
    """The policy of all models. UsageError if they have several, or one that samples."""
    chosen = models[0].policy if policy is None else policy_of(policy)
    if policy is None and any(model.policy != chosen for model in models):
        raise UsageError(
            "the models of an ensemble have several policies",
            hint='say which one: lmfst.Ensemble(models, policy="exact")',
        )
    require_drops(chosen)
    return chosen


def _require_one_target(models: Sequence[TransducedLM]) -> None:
    """UsageError for models whose targets differ."""
    first = models[0]
    for number, model in enumerate(models[1:], start=2):
        own, other = model.target.machine, first.target.machine
        named = f"{first.target.name} (model 1) and {model.target.name} (model {number})"
        ours, theirs = own.symbols, other.symbols
        if (ours.kind, dict(ours.names)) != (theirs.kind, dict(theirs.names)):
            raise UsageError(
                f"the models of an ensemble must have one target: {named} have different symbols",
                hint="load all of them with the same to=...",
            )
        if own.digest != other.digest or model.setting.before != first.setting.before:
            raise UsageError(
                f"the models of an ensemble must have one target: {named} are different functions",
                hint="load all of them with the same to=...",
            )


def weights_of(weights: Iterable[float] | None, count: int) -> tuple[float, ...]:
    """The weights of so many models, whose sum is 1. UsageError for others."""
    if weights is None:
        return (1 / count,) * count
    found = tuple(weights)
    shown = ", ".join(map(str, found))
    if len(found) != count:
        raise UsageError(
            f"expected a weight for each of {count} models, found {len(found)}: {shown}",
            hint="leave them out for equal weights",
        )
    for weight in found:
        if isinstance(weight, bool) or not isinstance(weight, Real) or not 0 < weight < math.inf:
            raise UsageError(
                f"the weight of a model must be a number above 0, not {weight!r}",
                hint="a model of weight 0 says nothing: leave it out",
            )
    total = math.fsum(found)
    if abs(total - 1) > SUM:
        raise UsageError(
            f"the weights of an ensemble must have the sum 1; that of {shown} is {total:g}",
            hint=", ".join(f"{weight / total:.6g}" for weight in found),
        )
    return tuple(float(weight / total) for weight in found)
