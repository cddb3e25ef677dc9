"""What follows a source text that the model has read: against token strings that begin with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmfst.fst import Fst, Identity, Utf8, run
from lmfst.ground.errors import InputError
from lmfst.inference.policy import Beam, Exact, Tolerance
from lmfst.inference.sampling import Sample
from lmfst.lm.base import LM
from lmfst.lm.nodes import USED
from lmfst.lm.prompted import PromptedLM, own_tokens, spellings
from lmfst.lm.transformers import TransformersLM
from lmfst.lm.tree import TreeSession
from lmfst.lm.truncated import TruncatedLM
from lmfst.model import TransducedLM
from lmfst.target.load import Target, fst_target, load_target
from lmfst.target.prompts import Prompt, emitted
from lmfst.target.units import Units
from lmfst.testing import check_lm
from tests.inference.test_exactness import models
from tests.support.architectures import SMALL, make
from tests.support.exact import check_everything, close
from tests.support.oracle import (
    Function,
    Oracle,
    TableLM,
    fst_function,
    make_vocab,
    random_fst,
    strings,
)

String = tuple[int, ...]


def with_tokenizer(lm: TableLM) -> TableLM:
    """The model with a tokenizer: a shortest string of tokens."""
    lm.canonical = lm.vocab.encode_any  # type: ignore[method-assign]
    return lm


class Following(Oracle):
    """The oracle of what follows `before`, which all outputs begin with."""

    def __init__(self, lm: TableLM, prompt: Sequence[int], function: Function, before: String):
        self.mass = {}
        for text, p in strings(lm, prompt).items():
            out = function(text)
            if p > 0 and out is not None:
                assert out[: len(before)] == before
                rest = out[len(before) :]
                self.mass[rest] = self.mass.get(rest, 0.0) + p
        self.accepted = math.fsum(self.mass.values())


def some_rests(oracle: Oracle) -> list[String]:
    support = sorted(oracle.mass, key=lambda y: (-oracle.mass[y], y))
    return [support[0], support[-1], support[len(support) // 2], (*support[0], 122)]


def prompts_of(lm: TableLM, count: int) -> list[bytes]:
    """Some texts that have tokens: beginnings of the model's strings."""
    texts = sorted(strings(lm))
    wanted = {text[: len(text) // 2 + 1] for text in texts[:: max(1, len(texts) // 8)]}
    return [t for t in sorted(wanted, key=len, reverse=True) if t and lm.canonical(t)][:count]


def check_after(lm: TableLM, target: Target, function: Function, **options: Any) -> None:
    model = TransducedLM(lm, target, Exact(), **options)
    for prompt in prompts_of(lm, 2):
        tokens = lm.canonical(prompt)
        assert tokens is not None
        if len(tokens) > lm.depth:
            continue
        before = emitted(target, prompt)
        oracle = Following(lm, tokens, function, before)
        if not oracle.accepted:
            continue
        after = model.after_source(prompt)
        assert after.setting.before == before and after.setting.read == prompt
        check_everything(after, oracle, some_rests(oracle))
        if not options:
            check_states(after, oracle)
            check_documents(after, function, oracle, prompt)


def check_states(after: TransducedLM, oracle: Oracle) -> None:
    y = some_rests(oracle)[0]
    state = after.state()
    for size in range(len(y) + 1):
        assert close(state.logp, oracle.prefix(y[:size]))
        state = state.advance(y[size]) if size < len(y) else state.advance(-1)
    assert close(state.logp, oracle.string(y))


def check_documents(after: TransducedLM, function: Function, oracle: Oracle, prompt: bytes) -> None:
    """Texts that follow, in source form, and with a prompt in target units besides."""
    texts = [text for text in strings(after.lm.base) if text.startswith(prompt)][:3]
    for text in texts:
        rest = (function(text) or ())[len(after.setting.before) :]
        (found,) = after.score([text[len(prompt) :]])
        assert found.target == rest
        assert close(found.logp, oracle.string(rest))
        half = rest[: len(rest) // 2]
        if oracle.prefix(half):
            two = Prompt(bytes(half), given="target")
            (found,) = after.score([bytes(rest[len(half) :])], given="target", prompt=two)
            assert close(found.logp, oracle.string(rest) / oracle.prefix(half))


@settings(max_examples=40)
@given(models(), st.integers(0, 2**32 - 1))
def test_after_a_source_text_sums_are_exact(lm: TableLM, seed: int) -> None:
    fst = random_fst(seed)
    check_after(with_tokenizer(lm), fst_target(fst, "random"), fst_function(fst))


@settings(max_examples=25)
@given(models(), st.integers(0, 2**32 - 1))
def test_after_a_source_text_where_strings_are_rejected(lm: TableLM, seed: int) -> None:
    fst = random_fst(seed, partial=True)
    target = fst_target(fst, "random")
    lm = with_tokenizer(lm)
    if Oracle(lm, fst_function(fst)).accepted:
        try:
            check_after(lm, target, fst_function(fst), partial="condition")
        except InputError as error:
            assert "accepts no string that begins with" in str(error)


@settings(max_examples=25)
@given(models("aé→".encode() + b"\xff"), st.integers(0, 2**32 - 1))
def test_after_a_source_text_in_bytes_and_characters(lm: TableLM, seed: int) -> None:
    for machine in (Identity(), Utf8()):
        target = Target("own", machine, Units(machine.symbols))
        model = TransducedLM(with_tokenizer(lm), target, Exact(), warn=lambda message: None)
        for prompt in prompts_of(lm, 3):
            tokens = lm.canonical(prompt)
            assert tokens is not None
            if len(tokens) <= lm.depth:
                after = model.after_source(prompt)
                oracle = Following(
                    lm,
                    tokens,
                    lambda text, machine=machine: run(machine, text),
                    after.setting.before,
                )
                check_everything(after, oracle, some_rests(oracle)[:3])
                (one,) = after.score([b"a"])
                assert one.canonical is None or one.canonical <= one.logp + 1e-12


@settings(max_examples=40)
@given(models(), st.integers(0, 2**32 - 1), st.integers(1, 4), st.sampled_from([0.0, 1e-3, 0.1]))
def test_lookahead_changes_nothing_after_a_source_text(
    lm: TableLM, seed: int, size: int, threshold: float
) -> None:
    lm.merges = False
    target = fst_target(random_fst(seed), "random")
    policy = Beam(size=size, threshold=threshold)
    for prompt in prompts_of(with_tokenizer(lm), 1):
        if len(lm.canonical(prompt) or ()) > lm.depth:
            continue
        texts = [text[len(prompt) :] for text in strings(lm) if text.startswith(prompt)][:6]
        plain, ahead = (
            TransducedLM(lm, target, policy, lookahead=lookahead, warn=lambda message: None)
            .after_source(prompt)
            .score(texts)
            for lookahead in (False, True)
        )
        for one, other in zip(plain, ahead, strict=True):
            assert one.nodes == other.nodes
            np.testing.assert_allclose(one.log_prefix, other.log_prefix, atol=1e-12)


def tree_model() -> TransformersLM:
    import transformers

    return make(transformers.LlamaConfig(**SMALL), bos=0, batch_tokens=64)


def test_there_are_prompts_to_check() -> None:
    lm = with_tokenizer(TableLM(make_vocab([b"a", b"b", b"ab"]), order=3, depth=3, seed=1,
                                merges=False))  # fmt: skip
    prompts = prompts_of(lm, 2)
    assert len(prompts) == 2 and all(len(lm.canonical(prompt) or ()) <= 3 for prompt in prompts)
    tokens = lm.canonical(b"ab")
    assert tokens == [2]
    after = strings(lm, tokens)
    assert math.fsum(after.values()) == pytest.approx(1) and len(after) > 9
    assert min(map(len, after)) == 2 and all(text.startswith(b"ab") for text in after)


def test_prompted_models_are_models() -> None:
    table = TableLM(make_vocab([b"a", b"b", b"ab"]), order=3, depth=9, seed=1, merges=False)
    check_lm(PromptedLM(with_tokenizer(table), b"ab"))
    first = make_vocab([b"a", b" a", b"b"], first=[b"a", b"a", b"b"])
    check_lm(
        PromptedLM(with_tokenizer(TableLM(first, order=3, depth=9, seed=1, merges=True)), b"b")
    )


def test_the_first_token_after_a_prompt_is_not_the_first_of_a_text() -> None:
    vocab = make_vocab([b"a", b" a", b" b"], first=[b"a", b"a", b"b"])
    lm = with_tokenizer(TableLM(vocab, order=2, depth=4, seed=1, merges=False))
    after = PromptedLM(lm, b"a").vocab
    assert after.token_bytes[0] == vocab.token_bytes[1]
    assert after.token_bytes[-1] == vocab.token_bytes[-1]
    assert after.decode([1, 0]) == b" aa"
    model = TransducedLM(lm, load_target("bytes"), Exact()).after_source(b"b")
    assert model.prefix_logp(b"b") == -math.inf
    row = np.exp(lm.row((2,)))
    assert model.prefix_logp(b" b") == pytest.approx(math.log(row[2]))


def test_documents_share_the_prompt_and_what_they_have_in_common() -> None:
    lm = tree_model()
    lm.canonical = lm.vocab.encode_any  # type: ignore[method-assign]
    prompted = PromptedLM(lm, lm.vocab.decode([5, 6, 7]))
    session: Any = prompted.session()
    inner = session._session
    assert isinstance(inner, TreeSession)
    one, other = session.open(), session.open()
    states = np.array([one, other], dtype=np.int64)
    moved = session.step(states, np.array([4, 9], dtype=np.int64))
    asked = np.array([one, *moved, other, moved[0]], dtype=np.int64)
    rows = np.zeros((5, lm.vocab.size))
    for block, found in session.rows(asked):
        rows[block] = found.double().numpy()
    contexts = [(), (4,), (9,), (), (4,)]
    expected = np.asarray(prompted.next_logp(contexts))
    rows -= np.logaddexp.reduce(rows, axis=1)[:, None]
    expected = expected - np.logaddexp.reduce(expected, axis=1)[:, None]
    np.testing.assert_allclose(rows, expected, atol=2e-4)
    # BOS, the prompt's tokens, and the two: each once.
    assert inner.trees.arrays.counts[USED] == 1 + len(prompted.tokens) + 2
    session.close(one)
    assert inner.trees.arrays.counts[USED] > 0
    session.close(other)
    assert inner.trees.arrays.counts[USED] == 0


def own_logp(lm: LM, prompt: Sequence[int], tokens: Sequence[int]) -> float:
    """log p of tokens and the end after a prompt, by whole contexts."""
    vocab, total = lm.vocab, 0.0
    outside = [t for t, text in enumerate(vocab.token_bytes[0]) if text is None]
    outside = [t for t in outside if t not in vocab.eos]
    for size in range(len(tokens) + 1):
        row = np.array(lm.next_logp([(*prompt, *tokens[:size])]), dtype=np.float64)[0]
        row[outside] = -np.inf
        wanted = [tokens[size]] if size < len(tokens) else list(vocab.eos)
        total += float(np.logaddexp.reduce(row[wanted]) - np.logaddexp.reduce(row))
    return total


def test_what_is_forgotten_is_of_no_document(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tree_model()
    lm.canonical = lm.vocab.encode_any  # type: ignore[method-assign]
    texts = [lm.vocab.decode(some) for some in ([4, 8, 9, 5, 6] * 3, [4, 8, 7] * 4, [9] * 9)]
    for lookahead in (True, False):
        model = TransducedLM(
            lm, load_target("bytes"), Beam(size=3), lookahead=lookahead, warn=lambda message: None
        ).after_source(lm.vocab.decode([5, 6, 7]))
        kept = model.score(texts)
        with monkeypatch.context() as patched:
            patched.setattr("lmfst.inference.passes.RETAIN_ROWS", 4)
            patched.setattr("lmfst.inference.passes.RETAIN_EVERY", 2)
            patched.setattr(TreeSession, "compact_above", 0)
            found = model.score(texts)
        for one, other, text in zip(found, kept, texts, strict=True):
            np.testing.assert_allclose(one.log_prefix, other.log_prefix, atol=1e-4)
            assert one.nodes == other.nodes
            own = own_logp(lm, model.lm.tokens, lm.vocab.encode_any(text) or [])
            assert one.canonical == pytest.approx(own, abs=1e-3)
            assert one.logp >= own - 1e-3


@pytest.mark.parametrize("context", [2, 3])
def test_with_a_short_context_the_prompt_counts_as_far_as_it_is_read(context: int) -> None:
    lm = TruncatedLM(tree_model(), context)
    lm.canonical = lm.vocab.encode_any  # type: ignore[method-assign]
    text = lm.vocab.decode([5, 6, 7, 8])
    model = TransducedLM(lm, load_target("bytes"), Tolerance()).after_source(text)
    tokens = [9, 4, 6]
    (found,) = model.score([lm.vocab.decode(tokens)])
    own = own_logp(lm, model.lm.tokens, lm.vocab.encode_any(lm.vocab.decode(tokens)) or [])
    assert found.canonical == pytest.approx(own, abs=1e-4) and found.logp >= own - 1e-4


def test_estimates_after_a_source_text_are_unbiased() -> None:
    lm = TableLM(make_vocab([b"a", b"b", b"ab", b"ba"]), order=3, depth=9, seed=7, merges=False)
    exact = TransducedLM(with_tokenizer(lm), load_target("bytes"), Exact()).after_source(b"ab")
    model = exact.with_policy(Sample(particles=3, replicates=400, seed=1))
    (found,) = model.score([b"babab"])
    assert found.stderr is not None and found.stderr > 0
    true = exact.logp(b"babab")
    assert abs(math.exp(found.logp) - math.exp(true)) < 4 * found.stderr * math.exp(found.logp)


def test_what_made_the_numbers_names_the_prompt() -> None:
    lm = TableLM(make_vocab([b"a", b"b", b"ab"]), order=3, depth=9, seed=1, merges=False)
    model = TransducedLM(with_tokenizer(lm), load_target("bytes"), Exact())
    facts = model.after_source("ab").describe()
    assert facts["prompt_source"] == "ab" and facts["prompt_tokens"] == [2]
    twice = model.after_source("ab").after_source("b")
    assert twice.describe()["prompt_source"] == "abb"
    assert twice.describe()["prompt_tokens"] == [2, 1]
    assert twice.setting.read == b"abb" and twice.setting.before == tuple(b"abb")
    assert twice.lm.base is lm
    same = model.after_source("")
    assert same.describe() == model.describe() and same.lm is lm


def test_prompts_that_cant_be_read() -> None:
    lm = TableLM(make_vocab([b"a", b"b", b"ab"]), order=3, depth=9, seed=1, merges=False)
    model = TransducedLM(lm, load_target("bytes"), Exact())
    with pytest.raises(InputError, match="several strings of tokens spell it") as error:
        model.after_source("ab")
    assert "--prompt" in error.value.hint
    assert model.after_source("ba").lm.tokens == (1, 0)
    with pytest.raises(InputError, match="no tokens of the model spell"):
        model.after_source("x")
    four = {(0, 1, 0, 1), (2, 0, 1), (0, 1, 2), (2, 2)}
    assert {*spellings(lm.vocab, b"abab", 9)} == four
    assert len(spellings(lm.vocab, b"abab", 2)) == 2
    assert own_tokens(lm, b"bb") == (1, 1)
    never = TableLM(make_vocab([b"a", b"b"]), order=3, depth=1, seed=1, merges=False)
    model = TransducedLM(never, load_target("bytes"), Exact())
    with pytest.raises(InputError, match=r"probability zero from token 2 on \('t1'\)"):
        model.after_source("ab")


def test_letters_of_a_prompt_in_the_other_case_are_read_as_those_the_model_writes() -> None:
    said: list[str] = []
    lm = TableLM(make_vocab([b"A", b"C"]), order=2, depth=5, seed=2, merges=True)
    model = TransducedLM(lm, load_target("bytes"), Exact(), warn=said.append)
    after = model.after_source("ac")
    assert after.lm.tokens == (0, 1)
    assert len(said) == 1 and "2 letters of the prompt are read in upper case" in said[0]


@pytest.mark.parametrize("same", [True, False])
def test_a_prompt_is_read_in_the_case_that_the_model_writes(same: bool) -> None:
    """Also where the function makes the same of letters in either case, as it does of documents;
    not where it makes something else of them."""
    lower = (b"X"[0], b"Y"[0]) if same else (b"Y"[0], b"X"[0])
    arcs = [(0, b"A"[0], b"X"[0], 0), (0, b"B"[0], b"Y"[0], 0)]
    arcs += [(0, a, x, 0) for a, x in zip(b"ab", lower, strict=True)]
    lm = TableLM(make_vocab([b"A", b"B", b"AB"]), order=3, depth=9, seed=1, merges=False)
    said: list[str] = []
    target = fst_target(Fst.from_arcs(arcs, 0, [0]), "either")
    model = TransducedLM(with_tokenizer(lm), target, Exact(), warn=said.append)
    if not same:
        with pytest.raises(InputError, match="no tokens of the model spell the prompt b'aB'"):
            model.after_source("aB")
        return
    found = model.after_source("aB")
    assert said == [
        "1 letter of the prompt is read in upper case, the only one in which the model writes "
        "letters"
    ]
    plain = model.after_source("AB")
    assert len(said) == 1 and found.setting.read == plain.setting.read == b"AB"
    assert found.describe() == plain.describe()
    assert found.logp("XY") == plain.logp("XY") > -math.inf
    assert model.score(["ab"])[0].logp == model.score(["AB"])[0].logp
