"""What is tried out of a transformers model when it is loaded.

Row after context must depend on that context alone, on both routes: not on tokens that follow, on
other contexts of the call, nor on how far the call reaches. What doesn't is refused, or read in a
way in which it does, with a warning (`lmfst.lm.tried`). Token trees are compared with contexts that
are read alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lmfst.ground.errors import ModelError
from lmfst.ground.types import Warn
from lmfst.lm.attention import ATTENTION, attend, seen_by
from lmfst.lm.config import UNLIMITED, readable_length, text_config, value
from lmfst.lm.spread import leave_masks, weights_here
from lmfst.lm.tree import TreeModel, TreeSession
from lmfst.vocab import NO_TOKEN

if TYPE_CHECKING:
    import torch

    from lmfst.vocab import Vocab

TOLERANCE = {"float32": 1e-3, "bfloat16": 0.5, "float16": 0.1}
"""Nats by which two ways to evaluate a row may differ, for the likeliest tokens."""
TOKENS = 100
"""How many these are."""
ALONE = "contexts of a call change each other"
"""Why a model whose contexts are read alone takes no trees."""

Known = dict[tuple[int, ...], "torch.Tensor"]
"""Log-probabilities [vocabulary] after contexts."""


class Tried(TreeModel, Protocol):
    """What the checks need of a model.

    model: of the transformers library. alone: set where contexts must be read each by itself.
    """

    model: Any
    vocab: Vocab
    context_length: int
    warn: Warn
    alone: bool


def tolerance(model: Any) -> float:
    """What the number format of a model allows."""
    return TOLERANCE.get(str(model.dtype).removeprefix("torch."), 1e-3)


def require_finite_weights(model: Any, vocab: Vocab) -> None:
    """ModelError if a weight is NaN or infinite, even one that no token of the checks touches.

    Rows of no token of the vocabulary may hold anything where they are never read (embeddings), or
    minus infinity where it leaves other logits alone (the output layer's bias).
    """
    free = _free_rows(model, vocab)
    for name in [name for name, _ in model.named_parameters()]:
        path, _, own = name.rpartition(".")
        module = model.get_submodule(path)
        with weights_here(module):
            weight = getattr(module, own).detach()
            if not weight.is_floating_point() or not weight.numel():
                continue
            what = _not_finite(weight)
            if what and (module, own) in free:
                known = [i for i in range(len(weight)) if vocab.unmapped.get(i) != NO_TOKEN]
                what = _not_finite(weight[known])
        if what:
            raise ModelError(
                f"the weights of the model hold {what}: {name}",
                hint="the file may be damaged: copy or save it again; infinite numbers may also "
                "come from a --dtype that is too narrow for them (float16): try float32",
            )


def _free_rows(model: Any, vocab: Vocab) -> set[tuple[Any, str]]:
    """Parameters, by their modules and names, with a row for each token in which rows of no token
    may be anything; what infinite or undefined ones would do to the output, `_forward` sees."""
    if NO_TOKEN not in vocab.unmapped.values():
        return set()
    inward, outward = model.get_input_embeddings(), model.get_output_embeddings()
    table, layer = getattr(inward, "weight", None), getattr(outward, "weight", None)
    found = set[tuple[Any, str]]()
    if getattr(outward, "bias", None) is not None:
        found.add((outward, "bias"))
    if table is not None and table is not layer:
        found.add((inward, "weight"))
    return found


def _not_finite(weight: torch.Tensor) -> str:
    """What a tensor holds that is no finite number, "" for nothing."""
    import torch

    try:
        # One pass without a copy; NaN is the result wherever there is one.
        low, high = torch.aminmax(weight)
    except NotImplementedError:
        # Numbers of 8 bits.
        low, high = torch.aminmax(weight.float())
    if bool(torch.isfinite(low) & torch.isfinite(high)):
        return ""
    return "NaN" if bool(torch.isnan(low) | torch.isnan(high)) else "infinite numbers"


def known_rows(lm: Tried) -> Known:
    """Rows of a small tree of contexts, each read alone.

    Sets `lm.alone` if a row depends on the other contexts of a call. Raises
    ModelError if it depends on later tokens or on the call's farthest position, or is no number.
    """
    a, b, c, d = _usual_tokens(lm.vocab)
    long = (a, d, c, b, b)
    beside = [(a, b, c), long[:3]]
    most = readable_length(lm.model)
    if most < len(begun(lm, long)):
        raise ModelError(
            f"{type(lm.model).__name__} reads {most} tokens at most; lmfst needs a model that "
            f"reads {len(begun(lm, long))}",
            hint="give a model with a longer context",
        )
    known = _prefixes(lm, long, _rows(lm, [long])[0])
    _require_causal(lm, known, long[:1])
    _require_steady(lm, known, long)
    together = dict(zip(beside, _rows(lm, beside), strict=True))
    if difference(known[long[:3]], together[long[:3]][-1]) > tolerance(lm.model):
        _require_causal(lm, known, long[:3])
        lm.alone = True
        together = {context: _rows(lm, [context])[0] for context in beside}
    for context, rows in together.items():
        known |= _prefixes(lm, context, rows)
    return known


def _require_causal(lm: Tried, known: Known, context: tuple[int, ...]) -> None:
    """ModelError if `known` has another row after a context than there is without more tokens."""
    if difference(known[context], _rows(lm, [context])[0, -1]) > tolerance(lm.model):
        raise ModelError(
            f"{type(lm.model).__name__} is no causal language model: later tokens change the "
            "probabilities of earlier ones",
            hint="give a model trained to predict the next token from the ones before",
        )


def begun(lm: Tried, context: Sequence[int]) -> list[int]:
    """What the model reads for a context."""
    return [*([] if lm.bos is None else [lm.bos]), *context]


def _usual_tokens(vocab: Vocab) -> list[int]:
    """Four ordinary tokens."""
    usual = [i for i, text in enumerate(vocab.token_bytes[0]) if text][:400]
    if not usual:
        raise ModelError(
            "the model's vocabulary has no token that spells any byte",
            hint="check that the tokenizer belongs to the model",
        )
    return [usual[i * (len(usual) - 1) // 3] for i in range(4)]


def _prefixes(lm: Tried, context: tuple[int, ...], rows: torch.Tensor) -> Known:
    """What is known from the rows [positions, vocabulary] after all tokens of a context."""
    first = 1 if lm.bos is None else 0
    return {context[:n]: row for n, row in enumerate(rows, start=first)}


def _rows(lm: Tried, contexts: Sequence[tuple[int, ...]]) -> torch.Tensor:
    """As `_forward`; ModelError for whatever the model raises."""
    try:
        return _forward(lm, contexts)
    except ModelError:
        raise
    except Exception as error:  # any failure of the model's own code
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise ModelError(
            f"{type(lm.model).__name__} can't read {len(begun(lm, contexts[0]))} tokens: {reason}",
            hint="its config.json and its weights may not belong together, or it needs more input "
            "than tokens",
        ) from error


def _forward(lm: Tried, contexts: Sequence[tuple[int, ...]], **options: Any) -> torch.Tensor:
    """Log-probabilities [n, positions, vocabulary] after all tokens of contexts of one length."""
    import torch

    ids = torch.tensor([begun(lm, context) for context in contexts], device=lm.device)
    with torch.no_grad():
        logits = lm.model(input_ids=ids, use_cache=False, **options).logits
    rows = logits.float().log_softmax(2)
    if bool(rows.isnan().any()):
        raise ModelError(
            "the model's output is not a number (NaN or infinite)",
            hint="its numbers may be too large for --dtype: try float32",
        )
    return rows


def _require_steady(lm: Tried, known: Known, context: tuple[int, ...]) -> None:
    """ModelError if what is `known` of a context's beginning changes where its last token stands at
    the farthest position that the model is read at."""
    import torch

    before, last = len(begun(lm, context)) - 1, lm.context_length - 1
    accepted = "position_ids" in inspect.signature(lm.model.forward).parameters
    if not accepted or lm.context_length >= UNLIMITED or last <= before:
        return
    near, far = (torch.tensor([[*range(before), end]], device=lm.device) for end in (before, last))
    try:
        expected = _forward(lm, [context], position_ids=near)[0, before - 1]
        if difference(known[context[:-1]], expected) > tolerance(lm.model):
            # The model counts positions from another number than 0: trees can't have it.
            return
        found = _forward(lm, [context], position_ids=far)[0, before - 1]
    except IndexError:
        raise ModelError(
            f"{type(lm.model).__name__} has no position {last}, so it can't read "
            f"{lm.context_length} tokens",
            hint="its config.json and its weights may not belong together",
        ) from None
    except RuntimeError:
        # Positions must be places in the call; then no call reaches farther than its texts do.
        return
    if difference(expected, found) > tolerance(lm.model):
        raise ModelError(
            f"{type(lm.model).__name__} reads a text otherwise if position {last} is in the same "
            "call, so its probabilities would depend on other texts",
            hint="lower max_position_embeddings in its config.json to the length it was trained at",
        )


def difference(expected: torch.Tensor, found: torch.Tensor) -> float:
    """The largest difference of log-probabilities [V], nats, for the likeliest of `expected`;
    infinite where one of them is no number."""
    import torch

    likely = expected.topk(min(TOKENS, len(expected))).indices
    one, other = expected[likely], found[likely]
    apart = torch.where(one == other, torch.zeros_like(one), (one - other).abs())
    return float(apart.nan_to_num(nan=float("inf")).max())


def why_no_trees(lm: Tried, known: Known) -> str:
    """Switch to the tree attention if the model takes it and has the rows `known`: ""; else what
    speaks against it."""
    if lm.alone:
        return ALONE
    model = lm.model
    before = model.config._attn_implementation
    try:
        use_trees(model)
        if model.config._attn_implementation != ATTENTION:
            raise NotImplementedError("it has an attention of its own")
        worst = _worst_in_trees(lm, known)
        if worst <= tolerance(model):
            return ""
        reason = f"its log-probabilities differ by {worst:.2g}"
    except ModelError:
        raise
    except Exception as error:  # whatever the model's own code raises at what trees give it
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    model.set_attn_implementation(before)
    leave_masks(model, leave=False)
    return reason


def use_trees(model: Any) -> None:
    """Switch a model to the tree attention, if it can be."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(ATTENTION, attend)
    AttentionMaskInterface.register(ATTENTION, seen_by)
    model.set_attn_implementation(ATTENTION)
    leave_masks(model, leave=True)


def _worst_in_trees(lm: Tried, known: Known) -> float:
    """The largest difference between `known` rows and those of two documents' trees.

    The calls are such that one document has more nodes than the other, and that the second call
    reads keys and values that the first one has stored.
    """
    session = TreeSession(lm)
    roots = [session.open(), session.open()]
    trees = [{context: _state(session, root, context) for context in known} for root in roots]
    long = max(known, key=len)
    branch = [context for context in known if context != long[: len(context)]]
    early = [(0, context) for context in known if len(context) < 2] + [(1, long)]
    late = [(0, context) for context in known if len(context) > 1] + [(1, c) for c in branch]
    worst = 0.0
    for asked in (early, late):
        nodes = np.array([trees[i][context] for i, context in asked])
        for part, rows in session.rows(nodes):
            found = rows.float().log_softmax(1)
            for (_, context), row in zip(asked[part], found, strict=True):
                worst = max(worst, difference(known[context], row))
    _require_known_windows(lm, session)
    return worst


def _state(session: TreeSession, root: int, context: Sequence[int]) -> int:
    state = np.array([root])
    for token in context:
        state = session.step(state, np.array([token]))
    return int(state[0])


def _require_known_windows(lm: Tried, session: TreeSession) -> None:
    """NotImplementedError if layers without masks may look back less far than they say."""
    told = session.store.unmasked
    text = text_config(lm.model.config)
    if told and value(text, "attention_chunk_size") is not None:
        raise NotImplementedError("it reads its context in chunks")
    window = value(text, "sliding_window")
    if told and window and window not in told:
        raise NotImplementedError("its sliding window is not known to the attention function")
