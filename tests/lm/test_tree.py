"""Token-tree evaluation against whole contexts, for several architectures with random weights."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
import transformers

from lmfst.ground.errors import ModelError
from lmfst.inference.normaliser import Normaliser
from lmfst.lm.attention import Inputs, KeyValueStore
from lmfst.lm.nodes import HELD, SLOT, USED
from lmfst.lm.transformers import TransformersLM
from lmfst.lm.tree import TreeSession
from tests.support.architectures import SIZE, SMALL, make, random_tree, reference, rows_of, vocab

FAMILIES = {
    "llama": transformers.LlamaConfig(**SMALL),
    "qwen2": transformers.Qwen2Config(**SMALL),
    "mistral-sliding": transformers.MistralConfig(**SMALL, sliding_window=4, head_dim=4),
    "gemma2": transformers.Gemma2Config(
        **SMALL, head_dim=4, sliding_window=4, query_pre_attn_scalar=4
    ),
    "gpt2": transformers.GPT2Config(
        vocab_size=SIZE, n_positions=64, n_embd=16, n_layer=2, n_head=2,
        bos_token_id=0, eos_token_id=1,
    ),
    "neox": transformers.GPTNeoXConfig(**{k: v for k, v in SMALL.items() if "key" not in k}),
    "opt": transformers.OPTConfig(
        vocab_size=SIZE, hidden_size=16, ffn_dim=24, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=64, word_embed_proj_dim=16,
        bos_token_id=0, eos_token_id=1, pad_token_id=1,
    ),
}  # fmt: skip
UNFIT = {
    "bloom": transformers.BloomConfig(
        vocab_size=SIZE, hidden_size=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=1
    ),
    "mamba": transformers.MambaConfig(
        vocab_size=SIZE,
        hidden_size=16,
        num_hidden_layers=2,
        state_size=4,
        bos_token_id=0,
        eos_token_id=1,
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("bos", [0, None])
def test_trees_of_several_documents_equal_whole_contexts(family: str, bos: int | None) -> None:
    lm = make(FAMILIES[family], bos=bos, batch_tokens=9)
    assert lm.tree and not lm.messages  # type: ignore[attr-defined]
    session = lm.session()
    assert isinstance(session, TreeSession)
    nodes = random_tree(session, 3, seed=2)
    if bos is None:
        for state, _ in nodes[:1]:
            assert (rows_of(session, [state]) == 0).all()
        nodes = [node for node in nodes if node[1]]
    rng = np.random.default_rng(0)
    # Asked for in several calls and out of order: parents may be evaluated after their children.
    shuffled = [nodes[int(i)] for i in rng.permutation(len(nodes))]
    for part in (shuffled[:7], shuffled[7:], shuffled[3:9]):
        found = rows_of(session, [state for state, _ in part])
        np.testing.assert_allclose(found, reference(lm, [c for _, c in part]), atol=2e-4)


@pytest.mark.parametrize("family", UNFIT)
def test_models_without_tree_attention_are_read_whole_with_a_warning(family: str) -> None:
    lm = make(UNFIT[family])
    assert not lm.tree
    assert "token tree" in lm.messages[0]  # type: ignore[attr-defined]
    contexts = [[], [3], [3, 4, 5], [7, 8]]
    expected = reference(lm, contexts) if family == "bloom" else None
    found = np.asarray(lm.next_logp(contexts))
    assert np.isfinite(found).all()
    if expected is not None:
        np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize("bos", [0, None])
def test_long_contexts_are_cut_by_the_documented_rule(bos: int | None) -> None:
    lm = make(FAMILIES["gpt2"], bos=bos, context_length=8, batch_tokens=16)
    rng = np.random.default_rng(4)
    text = rng.integers(2, SIZE - 1, 30).tolist()
    session = lm.session()
    state, states = np.array([session.open()]), []
    for token in text:
        state = session.step(state, np.array([token]))
        states.append(int(state[0]))
    found = rows_of(session, states)
    contexts = [text[: i + 1] for i in range(len(text))]
    np.testing.assert_allclose(found, reference(lm, contexts), atol=2e-4)
    assert [m for m in lm.messages if "context of 8 tokens" in m]  # type: ignore[attr-defined]
    for depth in range(1, 31):
        kept = depth - lm.windows.first(lm.windows.window(depth))
        assert kept + 1 <= 8
        assert kept == depth or kept >= 4


def test_forgetting_dead_states_changes_nothing_and_frees_their_slots() -> None:
    lm = make(FAMILIES["llama"])
    session = lm.session()
    nodes = random_tree(session, 2, seed=5)
    roots = [state for state, context in nodes if not context]
    rows_of(session, [state for state, _ in nodes])
    used = int(session.trees.arrays.counts[USED])
    session.compact_above = 0
    live = [nodes[12], nodes[9]]
    session.retain(roots[0], np.array([state for state, _ in live]))
    assert session.trees.arrays.nodes[roots[0], HELD] < 13
    extended = []
    for state, context in live:
        moved = session.step(np.array([state]), np.array([5]))
        extended.append((int(moved[0]), [*context, 5]))
    found = rows_of(session, [state for state, _ in extended + nodes[13:]])
    expected = reference(lm, [context for _, context in extended + nodes[13:]])
    np.testing.assert_allclose(found, expected, atol=2e-4)
    assert session.trees.arrays.counts[USED] <= used
    for root in roots:
        session.close(root)
    assert session.trees.arrays.counts[USED] == 0


@pytest.mark.parametrize("limit", [1, 3, 16])
def test_a_node_with_many_new_ancestors_takes_several_calls(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = make(FAMILIES["gpt2"], bos=0, context_length=16)
    lm.batch_tokens = limit
    session = lm.session()
    text = np.random.default_rng(4).integers(2, SIZE - 1, 30).tolist()
    state = np.array([session.open()])
    for token in text:
        state = session.step(state, np.array([token]))
    sizes = short_of_memory(lm, limit, monkeypatch)
    found = rows_of(session, state.tolist())
    np.testing.assert_allclose(found, reference(lm, [text]), atol=2e-4)
    assert max(sizes) <= limit and sum(sizes) >= 8


def test_a_call_that_was_broken_off_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = make(FAMILIES["llama"], bos=0)
    session = lm.session()
    nodes = random_tree(session, 2, seed=5)
    states = [state for state, _ in nodes]
    rows_of(session, states[:4])

    def interrupted(inputs: Inputs) -> torch.Tensor:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(lm, "forward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            rows_of(session, states)
    expected = reference(lm, [context for _, context in nodes])
    np.testing.assert_allclose(rows_of(session, states), expected, atol=2e-4)


def test_stores_grow_by_what_is_needed_when_memory_is_short() -> None:
    store = KeyValueStore()
    store.reserve(300)
    new = torch.randn(2, 300, 3)
    store.write(0, torch.arange(300), new, new)
    store.reserve(310)
    assert store.capacity == 450
    store.grow_sparingly()
    assert store.capacity == 300
    store.reserve(310)
    assert store.capacity == 310


def test_a_model_serves_twice() -> None:
    first = make(FAMILIES["llama"])
    second = TransformersLM(first.model, vocab(), bos=0)
    assert first.tree and second.tree
    rows = [np.asarray(lm.next_logp([[3, 4]])) for lm in (first, second)]
    np.testing.assert_allclose(*rows, atol=1e-6)


def test_slots_are_reused() -> None:
    lm = make(FAMILIES["llama"])
    session = lm.session()
    roots, states = [], []
    for token in (3, 4, 5):
        roots.append(session.open())
        states.append(int(session.step(np.array(roots[-1:]), np.array([token]))[0]))
        rows_of(session, states[-1:])
    assert session.trees.arrays.counts[USED] == 6
    session.close(roots[1])
    assert session.trees.arrays.counts[USED] == 6
    longer = session.step(np.array(states[2:]), np.array([6]))
    rows_of(session, longer.tolist())
    assert session.trees.arrays.counts[USED] == 6
    assert session.trees.arrays.nodes[longer[0], SLOT] == 2
    session.close(roots[2])
    assert session.trees.arrays.counts[USED] == 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_use_the_tree(dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    config = deepcopy(FAMILIES["llama"])
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    lm = TransformersLM(model, vocab(), bos=0)
    assert lm.tree
    found = np.asarray(lm.next_logp([[3, 4], [5]]))
    assert found.dtype == np.float32 and np.isfinite(found).all()


def test_rows_that_are_no_numbers_are_an_error() -> None:
    normalise = Normaliser(np.array([0]))
    with pytest.raises(ModelError, match="not a number"):
        normalise(torch.tensor([[0.0, float("nan"), 1.0]]))
    with pytest.raises(ModelError, match="probability zero"):
        normalise(torch.tensor([[0.0, float("-inf"), float("-inf")]]))


def short_of_memory(lm: TransformersLM, most: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let calls of more than `most` positions fail as torch's CPU allocator does. Returns the sizes
    of all calls from then on."""
    sizes: list[int] = []
    forward = lm.forward

    def limited(inputs: Inputs) -> torch.Tensor:
        sizes.append(len(inputs.tokens))
        if len(inputs.tokens) > most:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return forward(inputs)

    monkeypatch.setattr(lm, "forward", limited)
    return sizes


def test_out_of_memory_halves_the_calls_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lm = make(FAMILIES["llama"], bos=0, batch_tokens=32)
    session = lm.session()
    nodes = random_tree(session, 3, seed=5)
    expected = rows_of(session, [state for state, _ in nodes])
    session = lm.session()
    nodes = random_tree(session, 3, seed=5)
    sizes = short_of_memory(lm, 5, monkeypatch)
    found = rows_of(session, [state for state, _ in nodes])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert max(sizes) > 5 and lm.batch_tokens <= 5
    assert any("out of memory" in message for message in lm.messages)  # type: ignore[attr-defined]


def test_no_memory_for_a_single_position_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = make(FAMILIES["llama"], bos=0, batch_tokens=4)
    session = lm.session()
    short_of_memory(lm, 0, monkeypatch)
    with pytest.raises(ModelError, match="out of memory in a call of 1"):
        rows_of(session, [session.open()])


def test_other_errors_of_a_call_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = make(FAMILIES["llama"], bos=0)
    session = lm.session()

    def broken(inputs: Inputs) -> torch.Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(lm, "forward", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        rows_of(session, [session.open()])


@pytest.mark.parametrize("height", [-1e4, -200.0, 0.0, 200.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normalisers_whatever_the_height_of_the_first_tokens(
    height: float, dtype: torch.dtype
) -> None:
    rows = torch.randn(70, 5000, generator=torch.Generator().manual_seed(1)).to(dtype)
    rows[::2, :2500] += height
    rows[1::4, :2500] = float("-inf")
    expected = torch.logsumexp(rows.double(), 1)
    found, _ = Normaliser(np.zeros(0, dtype=np.int64))(rows)
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-6)
