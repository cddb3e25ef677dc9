"""What a transformers model's configuration says, whatever the types of its values.

A value may be missing, None, a list with one item a layer, or refuse to be read because layers
differ in it; nothing of that is an error here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

UNLIMITED = 1 << 30
"""The context length of a model whose configuration names none."""


def text_config(config: Any) -> Any:
    """The part of a configuration that is about text."""
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def value(config: Any, name: str) -> Any:
    """A value of a configuration, None if it has none that can be read."""
    try:
        return getattr(config, name, None)
    except Exception:  # some configurations raise errors of their own for values that layers own
        return None


def number(config: Any, name: str, otherwise: int) -> int:
    """A positive whole number, the largest one where there is one a layer; else `otherwise`."""
    found = value(config, name)
    candidates = found if isinstance(found, list | tuple) else [found]
    return max((int(n) for n in candidates if _positive(n)), default=otherwise)


def _positive(found: Any) -> bool:
    whole = isinstance(found, int) or (isinstance(found, float) and found.is_integer())
    return whole and not isinstance(found, bool) and found > 0


def context_length(config: Any) -> int:
    """How many tokens a model can read, by its configuration."""
    text = text_config(config)
    for name in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
        length = number(text, name, 0)
        if length > 1:
            return length
    return UNLIMITED


def readable_length(model: Any) -> int:
    """How many tokens a model reads in a way that nothing later in the call changes.

    Models of RoBERTa's kind count positions from their padding token's id + 1, so as many rows of
    their table of positions are never read; the table has that id as its `padding_idx`.
    """
    length = context_length(model.config)
    for name, table in model.named_modules():
        padding = getattr(table, "padding_idx", None)
        rows = getattr(table, "num_embeddings", None)
        if name.endswith("position_embeddings") and padding is not None and rows:
            length = min(length, rows - padding - 1)
    return min(length, steady_length(model.config))


def steady_length(config: Any) -> int:
    """How many tokens a model can read at once without other frequencies of its rotary positions.

    Two kinds of them change for the whole call as soon as one of its positions is beyond the
    original length: `longrope` (Phi-3) and `dynamic` (NTK). What is read within that length depends
    on nothing else in the call.
    """
    text = text_config(config)
    lengths = [UNLIMITED]
    for rope in _ropes(value(text, "rope_parameters") or value(text, "rope_scaling")):
        kind = rope.get("rope_type") or rope.get("type") or ""
        if kind == "longrope":
            lengths.append(rope.get("original_max_position_embeddings") or context_length(config))
        elif "dynamic" in kind:
            lengths.append(context_length(config))
    return min(lengths)


def _ropes(found: Any) -> Iterator[dict[str, Any]]:
    """The settings of rotary positions: one for all layers, or one for each kind of layer."""
    if isinstance(found, dict):
        yield found
        yield from (part for part in found.values() if isinstance(part, dict))
