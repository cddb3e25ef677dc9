"""What loading a transformers model tries out, and what it says of models that fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from lmfst.ground import defaults
from lmfst.ground.errors import ModelError
from lmfst.lm import checks, config
from lmfst.lm.attention import Call, KeyValueStore
from lmfst.lm.memory import fitting_tokens
from lmfst.lm.transformers import TransformersLM
from lmfst.vocab import Vocab
from lmfst.vocab.reading import NO_TOKEN
from tests.support.architectures import SIZE, SMALL, build, load, make, reference, rows_of, vocab
from tests.support.oracle import make_vocab

LLAMA = transformers.LlamaConfig(**SMALL)
GPT2 = transformers.GPT2Config(vocab_size=SIZE, n_embd=16, n_head=2, n_layer=2)
GEMMA2 = transformers.Gemma2Config(**SMALL, head_dim=4, sliding_window=4, query_pre_attn_scalar=4)


@pytest.mark.parametrize(("number", "said"), [("nan", "NaN"), ("inf", "infinite"), ("-inf", "inf")])
@pytest.mark.parametrize("where", ["lm_head.weight", "model.layers.1.mlp.up_proj.weight"])
def test_weights_that_are_no_numbers_are_named(number: str, said: str, where: str) -> None:
    model = build(LLAMA)
    model.get_parameter(where).data[3, 5] = float(number)
    with pytest.raises(ModelError, match=f"weights of the model hold {said}.*{where}"):
        load(model)


def test_one_bad_row_of_the_embeddings_is_found() -> None:
    """A token that nothing else at loading touches."""
    model = build(transformers.LlamaConfig(**SMALL, tie_word_embeddings=False))
    model.model.embed_tokens.weight.data[SIZE - 2] = float("nan")
    with pytest.raises(ModelError, match=r"hold NaN: model\.embed_tokens\.weight"):
        load(model)


def padded_vocab() -> Vocab:
    """One whose last three rows are of no token."""
    found, last = make_vocab([b"a"] * (SIZE - 4), eos=1, extra=3), range(SIZE - 3, SIZE)
    return replace(found, specials=frozenset(), unmapped=dict.fromkeys(last, NO_TOKEN))


def test_rows_of_no_token_may_be_without_probability() -> None:
    settings = transformers.PhiConfig(**{**SMALL, "num_key_value_heads": 4})
    expected = load(build(settings))
    model = build(settings)
    model.lm_head.bias.data[SIZE - 3 :] = -float("inf")
    model.model.embed_tokens.weight.data[SIZE - 1] = float("nan")
    lm = TransformersLM(model, padded_vocab(), bos=0)
    assert lm.tree
    np.testing.assert_allclose(
        np.asarray(lm.next_logp([[3, 4]]))[:, :-3],
        np.asarray(expected.next_logp([[3, 4]]))[:, :-3],
        atol=1e-5,
    )
    model.lm_head.bias.data[SIZE - 4] = -float("inf")
    with pytest.raises(ModelError, match=r"infinite numbers: lm_head\.bias"):
        TransformersLM(model, padded_vocab(), bos=0)
    model.lm_head.bias.data[SIZE - 4] = 0
    model.lm_head.bias.data[SIZE - 1] = float("nan")
    with pytest.raises(ModelError, match="output is not a number"):
        TransformersLM(model, padded_vocab(), bos=0)


@pytest.mark.parametrize("number", [1.0, float("nan")])
def test_numbers_of_8_bits(number: float) -> None:
    model = torch.nn.Linear(2, 2)
    model.weight = torch.nn.Parameter(
        torch.tensor([[number, 0.0]]).to(torch.float8_e4m3fn), requires_grad=False
    )
    if number == 1.0:
        checks.require_finite_weights(model, vocab())
        return
    with pytest.raises(ModelError, match="hold NaN: weight"):
        checks.require_finite_weights(model, vocab())


def test_numbers_that_overflow_are_no_lack_of_causality() -> None:
    model = build(LLAMA)
    model.model.layers[0].mlp.down_proj.weight.data[:] = 3e38
    with pytest.raises(ModelError, match="output is not a number"):
        load(model)


def test_a_context_beyond_the_table_of_positions_is_an_error() -> None:
    settings = transformers.GPT2Config(
        vocab_size=SIZE, n_positions=32, n_embd=16, n_head=2, n_layer=2
    )
    with pytest.raises(ModelError, match="no position 63, so it can't read 64 tokens"):
        make(settings, context_length=64)


ROBERTAS = [
    transformers.RobertaConfig(**SMALL, is_decoder=True),
    transformers.XLMRobertaXLConfig(**SMALL, is_decoder=True),
    transformers.Data2VecTextConfig(**{**SMALL, "pad_token_id": 3}, is_decoder=True),
]


@pytest.mark.parametrize("settings", ROBERTAS, ids=lambda found: found.model_type)
def test_positions_counted_from_the_padding_tokens_id(settings: Any) -> None:
    """Such models are read whole, as far as their table of positions goes."""
    lm = make(settings)
    assert not lm.tree and len(lm.messages) == 1  # type: ignore[attr-defined]
    assert "token tree" in lm.messages[0]  # type: ignore[attr-defined]
    assert lm.context_length == 64 - settings.pad_token_id - 1
    full = [5 + i % 30 for i in range(lm.context_length - 1)]
    contexts = [[], [6, 7], full]
    np.testing.assert_allclose(lm.next_logp(contexts), reference(lm, contexts), atol=2e-4)


def test_models_with_too_few_positions_are_refused() -> None:
    settings = transformers.GPT2Config(
        vocab_size=SIZE, n_positions=4, n_embd=16, n_head=2, n_layer=2
    )
    with pytest.raises(ModelError, match="reads 4 tokens at most; lmfst needs a model that reads"):
        make(settings)


def test_whatever_the_model_raises_is_named() -> None:
    model = build(LLAMA)

    def fail(module: Any, args: Any) -> None:
        raise KeyError("pixel_values")

    model.model.norm.register_forward_pre_hook(fail)
    with pytest.raises(ModelError, match=r"can't read 6 tokens: 'pixel_values'"):
        load(model)


def test_a_model_whose_body_cannot_be_called_alone() -> None:
    model = build(LLAMA)
    body = model.model.forward

    def forward(*args: Any, **options: Any) -> Any:
        options["attention_mask"]
        return body(*args, **options)

    model.model.forward = forward
    lm = load(model)
    assert lm._head is None
    contexts = [[], [3, 4], [5]]
    np.testing.assert_allclose(lm.next_logp(contexts), reference(lm, contexts), atol=2e-4)


def test_a_model_that_fails_at_trees_is_read_whole() -> None:
    model = build(LLAMA)

    def fail(module: Any, args: Any, options: dict[str, Any]) -> None:
        if "lmfst_call" in options:
            raise KeyError("lmfst_call")

    model.model.layers[0].register_forward_pre_hook(fail, with_kwargs=True)
    lm = load(model)
    assert not lm.tree
    assert ["lmfst_call" in message for message in lm.messages] == [True]  # type: ignore[attr-defined]


def test_models_that_see_the_future_are_refused() -> None:
    settings = transformers.BertConfig(
        vocab_size=SIZE, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=2, is_decoder=False,
    )  # fmt: skip
    with pytest.raises(ModelError, match="no causal language model"):
        make(settings)


def test_models_that_see_a_prefix_both_ways_are_refused() -> None:
    """CPM-Ant; its first row is the same whatever follows."""
    settings = transformers.CpmAntConfig(
        vocab_size=SIZE, hidden_size=16, num_attention_heads=2, dim_head=8, dim_ff=24,
        num_hidden_layers=2, prompt_length=2, prompt_types=4,
    )  # fmt: skip
    with pytest.raises(ModelError, match="no causal language model"):
        make(settings)


@contextmanager
def mixing(model: Any) -> Iterator[None]:
    """The model's hidden states lose half of their mean over the contexts of a call."""

    def mix(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        return output - output.mean(0, keepdim=True) / 2

    hook = model.model.norm.register_forward_hook(mix)
    yield
    hook.remove()


def test_contexts_that_change_each_other_are_read_alone() -> None:
    model = build(LLAMA)
    with mixing(model):
        lm = load(model)
        assert not lm.tree
        assert ["read alone" in message for message in lm.messages] == [True]  # type: ignore[attr-defined]
        contexts = [[], [3], [3, 4, 5], [7, 8], [4, 3, 5], [9]]
        found = np.asarray(lm.next_logp(contexts))
        np.testing.assert_allclose(found, reference(lm, contexts), atol=2e-4)


def test_contexts_are_not_padded() -> None:
    """Models that see padding (by the number of tokens, say) have the rows of a context alone."""

    def seeing_length(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        return output + output.shape[1] / 10

    lm = load(build(LLAMA), tree=False)
    hook = lm.model.model.norm.register_forward_hook(seeing_length)
    contexts = [[3, 4, 5, 6], [3], [7, 8]]
    np.testing.assert_allclose(lm.next_logp(contexts), reference(lm, contexts), atol=2e-4)
    hook.remove()


def test_a_layer_that_writes_twice_is_an_error_at_any_time() -> None:
    call = Call(KeyValueStore(), torch.tensor([0]), [])
    call.store.reserve(1)
    call.write(0, torch.zeros(2, 1, 4), torch.zeros(2, 1, 4))
    call.write(1, torch.zeros(2, 1, 4), torch.zeros(2, 1, 4))
    with pytest.raises(NotImplementedError, match="several times"):
        call.write(0, torch.zeros(2, 1, 4), torch.zeros(2, 1, 4))
    lm = make(LLAMA)
    # Both layers write to the same place, as a model might that shares layers now and then.
    lm.model.model.layers[1].self_attn.layer_idx = 0
    session = lm.session()
    with pytest.raises(ModelError, match="after all: a layer calls its attention several times"):
        rows_of(session, [session.open()])


@pytest.mark.parametrize(
    ("settings", "linear"),
    [(LLAMA, True), (GPT2, True),
     (GEMMA2, False), (transformers.GraniteConfig(**SMALL, logits_scaling=1.01), False),
     (transformers.CohereConfig(**SMALL), False)],
)  # fmt: skip
@pytest.mark.parametrize("std", [0.4, 0.01])
def test_a_linear_head_is_found_by_trying(settings: Any, linear: bool, std: float) -> None:
    """Whether logits are scaled or capped (as Gemma's are) shows however small they are."""
    lm = load(build(settings, std))
    assert (lm._head is not None) == linear


def test_a_cap_is_seen_in_half_precision() -> None:
    model = build(GEMMA2, 0.1).to(torch.bfloat16)
    assert load(model)._head is None


def test_configurations_may_hold_anything() -> None:
    settings = transformers.Gemma3nTextConfig(
        **{**SMALL, "intermediate_size": [24, 48]}, head_dim=4, num_kv_shared_layers=0,
        vocab_size_per_layer_input=SIZE, hidden_size_per_layer_input=4, laurel_rank=4,
        activation_sparsity_pattern=[0.0, 0.0],
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(settings)
    assert fitting_tokens(model, model.device) == 4 * defaults.BATCH_TOKENS
    settings.hidden_size = 576
    assert fitting_tokens(model, model.device) == defaults.BATCH_TOKENS
    settings.hidden_size = 16

    class Strange:
        hidden_size = "16"
        intermediate_size = (24, None, 48.0)
        max_position_embeddings = 2048.0
        n_positions = True

        @property
        def num_hidden_layers(self) -> int:
            raise KeyError("layers differ in it")

    strange = Strange()
    assert config.number(strange, "hidden_size", 7) == 7
    assert config.number(strange, "intermediate_size", 7) == 48
    assert config.number(strange, "num_hidden_layers", 7) == 7
    assert config.number(strange, "n_positions", 7) == 7
    assert config.context_length(strange) == 2048
    assert config.steady_length(strange) == config.UNLIMITED
