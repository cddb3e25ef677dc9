"""Tiny transformers models with random weights, and their rows by the plain route."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import torch
import transformers

from lmfst.lm.base import Session
from lmfst.lm.transformers import TransformersLM
from tests.support.oracle import make_vocab

SIZE = 40
SMALL: dict[str, Any] = {
    "vocab_size": SIZE,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}


def vocab() -> Any:
    return make_vocab([bytes([97 + i % 26]) for i in range(SIZE - 1)], eos=1)


def build(config: Any, std: float = 0.4) -> Any:
    """A model with weights that by default are large enough for a wrong mask or position to
    show."""
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_config(deepcopy(config)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return model


def make(config: Any, **options: Any) -> TransformersLM:
    """A language model of such a model; its attribute `messages` has the warnings."""
    return load(build(config), **options)


def load(model: Any, **options: Any) -> TransformersLM:
    """The same of a given model."""
    messages: list[str] = []
    lm = TransformersLM(model, vocab(), warn=messages.append, **{"bos": 0, **options})
    lm.messages = messages  # type: ignore[attr-defined]
    return lm


def reference(lm: TransformersLM, contexts: list[list[int]]) -> np.ndarray:
    """Rows by the plain route of transformers, one context at a time."""
    model = lm.model
    used = model.config._attn_implementation
    model.set_attn_implementation("eager")
    rows = []
    for context in contexts:
        start = lm.windows.first(lm.windows.window(len(context)))
        ids = ([] if lm.bos is None else [lm.bos]) + context[start:]
        with torch.no_grad():
            rows.append(model(torch.tensor([ids]), use_cache=False).logits[0, -1].numpy())
    model.set_attn_implementation(used)
    return np.stack(rows)


def random_tree(
    session: Session, documents: int, seed: int, *, size: int = 12, deep: float = 0.0
) -> list[tuple[int, list[int]]]:
    """(state, context) of the nodes of random trees. deep: how often a node stands below the
    latest one."""
    rng = np.random.default_rng(seed)
    nodes: list[tuple[int, list[int]]] = []
    for _ in range(documents):
        tree: list[tuple[int, list[int]]] = [(session.open(), [])]
        for _ in range(size):
            latest = deep and rng.random() < deep
            state, context = tree[-1 if latest else int(rng.integers(len(tree)))]
            token = int(rng.integers(2, SIZE - 1))
            moved = session.step(np.array([state]), np.array([token]))
            tree.append((int(moved[0]), [*context, token]))
        nodes += tree
    return nodes


def rows_of(session: Session, states: list[int]) -> np.ndarray:
    found = np.full((len(states), SIZE), np.nan)
    for block, rows in session.rows(np.array(states)):
        found[block] = rows.numpy()
    return found
