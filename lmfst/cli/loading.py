"""What a command line names, loaded: FSTs, targets, models."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lmfst.cli.model_options import LimitOptions, ModelOptions, PolicyOptions, SamplingOptions
from lmfst.cli.options import GrammarOptions
from lmfst.cli.terminal import Terminal
from lmfst.ground.errors import UsageError

if TYPE_CHECKING:
    from lmfst.fst import Fst
    from lmfst.inference.choose import PolicyChoice
    from lmfst.lm.base import LM
    from lmfst.model import TransducedLM
    from lmfst.target.load import Target


def fst_of(to: str, grammar: GrammarOptions, terminal: Terminal, *, weights: bool = False) -> Fst:
    """The FST that a name means, unchecked; with its weights if asked for."""
    from lmfst.target.load import load_fst

    return load_fst(
        to,
        include=grammar.include or (),
        max_states=grammar.max_states,
        timeout=grammar.timeout,
        input_mode=grammar.input_mode,
        weights=weights,
        warn=terminal.warn,
    )


def target_of(to: str, grammar: GrammarOptions, terminal: Terminal) -> Target:
    """The checked target that a name means."""
    from lmfst.target.load import load_target

    return load_target(
        to,
        include=grammar.include or (),
        max_states=grammar.max_states,
        timeout=grammar.timeout,
        input_mode=grammar.input_mode,
        warn=terminal.warn,
    )


def choice_of(
    policy: PolicyOptions,
    limits: LimitOptions,
    sampling: SamplingOptions | None = None,
    *,
    suggestible: bool,
    common: bool = False,
) -> PolicyChoice:
    """The choice of a policy that options make. suggestible, common: as there. UsageError for two
    policies."""
    from lmfst.inference.choose import PolicyChoice

    if policy.exact and policy.policy not in ("auto", "exact"):
        raise UsageError(f"--exact is --policy exact; --policy {policy.policy} is another one")
    return PolicyChoice(
        "exact" if policy.exact else policy.policy,
        policy.tolerance,
        policy.beam,
        policy.threshold,
        limits.node_budget,
        {} if sampling is None else sampling.said(),
        suggestible,
        common,
    )


def suggests(model: ModelOptions, limits: LimitOptions) -> bool:
    """Whether a policy that a model suggests may be followed: it is one for whole strings, under
    one model as it is."""
    return limits.partial == "error" and model.context is None and len(model.names) == 1


def load_model(
    model: ModelOptions,
    to: str,
    grammar: GrammarOptions,
    choice: PolicyChoice,
    limits: LimitOptions,
    terminal: Terminal,
) -> TransducedLM:
    """Model and target, loaded and checked, under the policy chosen; cheap things first."""
    from lmfst.inference.recommend import RECOMMENDED, recommended
    from lmfst.model import TransducedLM
    from lmfst.target.load import refuse_as_model

    choice.policy(RECOMMENDED.get(model.model))
    refuse_as_model(model.model)
    target = target_of(to, grammar, terminal)
    lm = lm_of(model, terminal)
    suggested = None
    if choice.suggestible:
        suggested = recommended(model.model, target.fst, bytes(lm.vocab.alphabet))
    policy = choice.policy(suggested)
    if choice.follows(suggested):
        terminal.note(
            f"estimating by --policy sample --guide {model.model}, since many sources of "
            f"{model.model} have the same {target.name} (--policy beam: the heaviest only)"
        )
    return TransducedLM(lm, target, policy, partial=limits.partial, warn=terminal.warn)


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Less looking for garbage than usual during the block.

    What torch and transformers import are 300,000 objects that stay to the end, and with Python's
    thresholds they are looked through again and again while they are made: a tenth of the time.
    """
    before = gc.get_threshold()
    gc.set_threshold(100_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def lm_of(model: ModelOptions, terminal: Terminal) -> LM:
    """The model that options name, loaded."""
    with _rare_collections():
        from lmfst.lm.load import load_lm

        return load_lm(
            model.model,
            bos=model.bos,
            specials=model.specials,
            prefix_space=model.prefix_space,
            dtype=model.dtype,
            device=model.device,
            revision=model.revision,
            batch_tokens=model.batch_tokens,
            context=model.context,
            threads=model.threads,
            compiled=model.compiled,
            separator=model.separator,
            marks=model.marks,
            warn=terminal.warn,
            note=terminal.note,
        )
