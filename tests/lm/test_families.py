"""Architectures with positions, masks or layers out of the ordinary: rows of trees and of whole
contexts against contexts that are read alone, by the library's own attention."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers

from lmfst.ground.errors import ModelError
from lmfst.lm import config
from lmfst.lm.sizes import sizes_on
from lmfst.lm.transformers import TransformersLM
from tests.support.architectures import SMALL, build, make, random_tree, reference, rows_of

WINDOW = 8
"""More than the contexts that loading tries out."""
LATENT: dict[str, Any] = {
    "kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4,
    "v_head_dim": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1,
    "topk_group": 1, "n_shared_experts": 1, "moe_intermediate_size": 8,
}  # fmt: skip
EXPERTS: dict[str, Any] = {
    "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8,
    "shared_expert_intermediate_size": 8,
}  # fmt: skip
GEMMA: dict[str, Any] = {"head_dim": 4, "sliding_window": WINDOW, "query_pre_attn_scalar": 4}
MULTI_HEAD = {**SMALL, "num_key_value_heads": 4}
TREES = {
    "mistral": transformers.MistralConfig(**SMALL, sliding_window=WINDOW, head_dim=4),
    "gemma2": transformers.Gemma2Config(**SMALL, **GEMMA),
    "gemma3": transformers.Gemma3TextConfig(
        **SMALL, **GEMMA, layer_types=["sliding_attention", "full_attention"]
    ),
    "gemma3n": transformers.Gemma3nTextConfig(
        **{**SMALL, "num_hidden_layers": 3, "intermediate_size": [24, 24, 24]},
        head_dim=4, sliding_window=WINDOW, num_kv_shared_layers=1, laurel_rank=4,
        vocab_size_per_layer_input=SMALL["vocab_size"], hidden_size_per_layer_input=4,
        activation_sparsity_pattern=[0.0] * 3,
        layer_types=["sliding_attention", "full_attention", "full_attention"],
    ),
    "qwen2-moe": transformers.Qwen2MoeConfig(**SMALL, **EXPERTS),
    "qwen2-moe-window": transformers.Qwen2MoeConfig(
        **SMALL, **EXPERTS, use_sliding_window=True, sliding_window=WINDOW
    ),
    # Its layers don't say that they have a window; only their masks do.
    "phimoe": transformers.PhimoeConfig(
        **SMALL, sliding_window=WINDOW, num_local_experts=2, num_experts_per_tok=1
    ),
    "deepseek-v3": transformers.DeepseekV3Config(**MULTI_HEAD, **LATENT),
}  # fmt: skip
WHOLE = {
    # Attention is called twice in each layer.
    "diffllama": (transformers.DiffLlamaConfig(**SMALL), "several times"),
    # Layers are gone through again and again.
    "hrm-text": (transformers.HrmTextConfig(**SMALL, H_cycles=1, L_cycles=2), "several times"),
    # Keys are chosen among all of a call, once there are more than `index_topk`.
    "deepseek-v3.2": (
        transformers.DeepseekV32Config(
            **MULTI_HEAD, **LATENT, index_n_heads=2, index_head_dim=8, index_topk=WINDOW
        ),
        "attention with indices",
    ),
    # The same of blocks of keys, which must be where the positions are.
    "minimax-m3": (
        transformers.MiniMaxM3VLTextConfig(
            **{**SMALL, "num_hidden_layers": 3}, head_dim=8, rotary_dim=4, num_local_experts=4,
            num_experts_per_tok=2, index_block_size=4, index_topk_blocks=2, index_local_blocks=1,
            index_n_heads=2, index_head_dim=8,
            layer_types=["full_attention", "minimax_m3_sparse", "minimax_m3_sparse"],
        ),
        "attention with block_indices",
    ),
    "llama4": (
        transformers.Llama4TextConfig(
            **SMALL, head_dim=4, attention_chunk_size=WINDOW, intermediate_size_mlp=24,
            num_local_experts=2, layer_types=["chunked_attention", "full_attention"],
        ),
        "chunks",
    ),
    "gpt-oss": (
        transformers.GptOssConfig(
            **SMALL, head_dim=4, num_local_experts=2, num_experts_per_tok=1, sliding_window=WINDOW
        ),
        "attention with s_aux",
    ),
}  # fmt: skip


def worst(lm: TransformersLM) -> float:
    """The largest error of a row of deep trees of two documents, asked for in several calls."""
    session = lm.session()
    nodes = random_tree(session, 2, seed=3, size=16, deep=0.85)
    assert max(len(context) for _, context in nodes) > WINDOW + 1
    expected = reference(lm, [context for _, context in nodes])
    order = np.random.default_rng(0).permutation(len(nodes))
    errors = []
    for part in (np.array([0, 1, 2, 17, 18, 19]), order[:12], order[12:]):
        found = rows_of(session, [nodes[i][0] for i in part])
        errors.append(np.abs(found - expected[part]).max())
    return float(max(errors))


@pytest.mark.parametrize("family", TREES)
def test_windows_experts_and_shared_layers_are_evaluated_as_trees(family: str) -> None:
    lm = make(TREES[family])
    assert lm.tree and not lm.messages  # type: ignore[attr-defined]
    lm.batch_tokens = 11
    assert worst(lm) < 5e-4
    # As a GPU has it: one padded product.
    lm.sizes = sizes_on(torch.device("cuda"), lm.vocab.size, parameters=1, itemsize=4)
    assert worst(lm) < 5e-4


@pytest.mark.parametrize("family", WHOLE)
def test_layers_that_trees_cant_have_are_read_whole(family: str) -> None:
    settings, reason = WHOLE[family]
    lm = make(settings)
    assert not lm.tree and len(lm.messages) == 1  # type: ignore[attr-defined]
    assert reason in lm.messages[0]  # type: ignore[attr-defined]
    assert worst(lm) < 5e-4


LIMIT = 16
FACTORS = [1.0, 3.0]
CHANGING = {
    "longrope": transformers.Phi3Config(
        **SMALL, original_max_position_embeddings=LIMIT,
        rope_parameters={
            "rope_type": "longrope", "rope_theta": 10000.0,
            "short_factor": FACTORS, "long_factor": [8.0, 20.0],
        },
    ),
    "longrope-phimoe": transformers.PhimoeConfig(
        **SMALL, num_local_experts=2, num_experts_per_tok=1,
        rope_parameters={
            "rope_type": "longrope", "rope_theta": 10000.0,
            "short_factor": FACTORS, "long_factor": [8.0, 20.0],
            "short_mscale": 1.1, "long_mscale": 1.3, "original_max_position_embeddings": LIMIT,
        },
    ),
    "dynamic": transformers.LlamaConfig(
        **{**SMALL, "max_position_embeddings": LIMIT},
        rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0},
    ),
}  # fmt: skip


def text_rows(lm: TransformersLM, texts: list[list[int]]) -> list[np.ndarray]:
    """Rows after every token of texts, asked for in one session and together."""
    session = lm.session()
    states = []
    for text in texts:
        state = np.array([session.open()])
        for token in text:
            state = session.step(state, np.array([token]))
            states.append(int(state[0]))
    ends = np.cumsum([len(text) for text in texts])
    return np.split(rows_of(session, states), ends[:-1])


@pytest.mark.parametrize("tree", [True, False])
@pytest.mark.parametrize("family", CHANGING)
def test_numbers_of_a_text_do_not_depend_on_longer_ones(family: str, tree: bool) -> None:
    rng = np.random.default_rng(5)
    texts = [rng.integers(2, 39, n).tolist() for n in (5, 2 * LIMIT + 3, LIMIT - 1, LIMIT)]
    lm = make(CHANGING[family], tree=tree)
    assert lm.tree == tree and lm.context_length == LIMIT
    shown = [n for n in (1, 5, LIMIT - 1, LIMIT, LIMIT + 1, 2 * LIMIT + 3) if n <= len(texts[1])]
    expected = reference(lm, [texts[1][:n] for n in shown])
    alone = [text_rows(lm, [text])[0] for text in texts]
    np.testing.assert_allclose(alone[1][np.array(shown) - 1], expected, atol=2e-4)
    assert f"context of {LIMIT} tokens" in lm.messages[-1]  # type: ignore[attr-defined]
    for batch_tokens in (256, 7) if tree else (256,):
        lm.batch_tokens = batch_tokens
        for rows, those in zip(text_rows(lm, texts), alone, strict=True):
            np.testing.assert_allclose(rows, those, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", CHANGING)
def test_the_context_ends_where_the_frequencies_change(family: str) -> None:
    """One token more than the context would change the rows before it."""
    model = build(CHANGING[family])
    text = torch.tensor([np.random.default_rng(5).integers(2, 39, LIMIT + 1).tolist()])
    with torch.no_grad():
        within, beyond = (
            model(text[:, :n], use_cache=False).logits[0, 8] for n in (LIMIT, LIMIT + 1)
        )
        first = model(text[:, :9], use_cache=False).logits[0, 8]
    torch.testing.assert_close(within, first, rtol=0, atol=2e-5)
    assert float((within - beyond).abs().max()) > 1e-3


@pytest.mark.parametrize("family", CHANGING)
def test_a_longer_context_cannot_be_asked_for_where_frequencies_change(family: str) -> None:
    assert make(CHANGING[family], context_length=40).context_length == LIMIT
    assert make(CHANGING[family], context_length=10).context_length == 10


def test_frequencies_that_change_unannounced_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "steady_length", lambda found: config.UNLIMITED)
    with pytest.raises(ModelError, match="position 63 is in the same call"):
        make(CHANGING["longrope"])
