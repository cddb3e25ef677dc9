"""The main promise: every probability equals brute-force enumeration, whatever the model and the
FST.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lmfst.fst import Identity, Symbols, Utf8, run
from lmfst.inference.policy import Beam, Exact
from lmfst.lm.base import LM
from lmfst.model import TransducedLM
from lmfst.target.load import Target, fst_target, load_target
from lmfst.target.units import Units
from tests.support.exact import TOLERANCE, check_bounds, check_everything, some_strings
from tests.support.oracle import END, Oracle, TableLM, fst_function, make_vocab, random_fst, strings


@st.composite
def models(draw: st.DrawFn, alphabet: bytes = b"ab\0") -> TableLM:
    """A table model: zero-byte tokens, tokens with equal bytes, first-token rules, specials, two
    EOS.
    """
    word = st.lists(st.sampled_from(list(alphabet)), min_size=0, max_size=3).map(bytes)
    size = draw(st.integers(1, 5))
    tokens = draw(st.lists(word, min_size=size, max_size=size))
    first = draw(st.none() | st.lists(word, min_size=size, max_size=size))
    vocab = make_vocab(
        tokens, first=first, eos=draw(st.integers(1, 2)), extra=draw(st.integers(0, 2))
    )
    return TableLM(
        vocab,
        order=draw(st.integers(1, 3)),
        depth=draw(st.integers(1, 4)),
        seed=draw(st.integers(0, 2**32 - 1)),
        merges=draw(st.booleans()),
    )


@pytest.mark.slow
@settings(max_examples=150)
@given(models(), st.integers(0, 2**32 - 1))
def test_random_models_and_fsts_are_exact(lm: TableLM, seed: int) -> None:
    fst = random_fst(seed)
    oracle = Oracle(lm, fst_function(fst))
    model = TransducedLM(lm, fst_target(fst, "random"), Exact())
    assert abs(oracle.accepted - 1) < TOLERANCE
    check_everything(model, oracle, some_strings(oracle, seed))


@settings(max_examples=60)
@given(models(), st.integers(0, 2**32 - 1))
def test_partial_functions_are_exact_over_their_domain(lm: TableLM, seed: int) -> None:
    fst = random_fst(seed, partial=True)
    oracle = Oracle(lm, fst_function(fst))
    assume(oracle.accepted > 0)
    model = TransducedLM(lm, fst_target(fst, "random"), Exact(), partial="condition")
    check_everything(model, oracle, some_strings(oracle, seed))


@settings(max_examples=60)
@given(models(), st.integers(0, 2**32 - 1))
def test_bytes_are_exact(lm: TableLM, seed: int) -> None:
    machine = Identity()
    oracle = Oracle(lm, lambda text: tuple(text))
    model = TransducedLM(lm, Target("bytes", machine, Units(machine.symbols)), Exact())
    check_everything(model, oracle, some_strings(oracle, seed))


@settings(max_examples=60)
@given(models("aé→".encode() + b"\xff"), st.integers(0, 2**32 - 1))
def test_characters_are_exact(lm: TableLM, seed: int) -> None:
    def decoded(text: bytes) -> tuple[int, ...]:
        chars = text.decode("utf-8", "surrogateescape")
        return tuple(
            ord(c) + 0x110000 - 0xDC00 if 0xDC80 <= ord(c) < 0xDD00 else ord(c) for c in chars
        )

    machine = Utf8()
    oracle = Oracle(lm, decoded)
    model = TransducedLM(lm, Target("chars", machine, Units(machine.symbols)), Exact())
    check_everything(model, oracle, some_strings(oracle, seed))


@settings(max_examples=60)
@given(models(), st.integers(0, 2**32 - 1), st.integers(1, 3), st.sampled_from([0.0, 1e-2, 0.3]))
def test_beam_bounds_hold_the_true_value(
    lm: TableLM, seed: int, size: int, threshold: float
) -> None:
    fst = random_fst(seed)
    oracle = Oracle(lm, fst_function(fst))
    model = TransducedLM(lm, fst_target(fst, "random"), Beam(size=size, threshold=threshold))
    for y in dict.fromkeys(some_strings(oracle, seed)):
        check_bounds(model, oracle, y)


@settings(max_examples=150)
@given(models(), st.integers(0, 2**32 - 1), st.integers(1, 4), st.sampled_from([0.0, 1e-3, 0.1]))
def test_lookahead_changes_nothing(lm: TableLM, seed: int, size: int, threshold: float) -> None:
    lm.merges = False
    target = fst_target(random_fst(seed), "random")
    policy = Beam(size=size, threshold=threshold)
    texts = list(strings(lm))[::3][:6]
    plain = TransducedLM(lm, target, policy, lookahead=False).score(texts)
    ahead = TransducedLM(lm, target, policy).score(texts)
    for one, other in zip(plain, ahead, strict=True):
        assert one.nodes == other.nodes
        assert one.dropped == pytest.approx(other.dropped, rel=1e-12)
        np.testing.assert_allclose(one.log_prefix, other.log_prefix, atol=1e-12)


def test_scores_agree_with_single_strings_and_do_not_depend_on_the_batch() -> None:
    lm = TableLM(make_vocab([b"a", b"b", b"ab", b""]), order=2, depth=4, seed=3, merges=True)
    model = TransducedLM(lm, fst_target(random_fst(5), "random"), Exact())
    texts = [b"ab", b"", b"a", b"abab", b"bba"]
    together = model.score(texts)
    for text, scored in zip(texts, together, strict=True):
        alone = model.score([text])[0]
        target = model.transduce(text)
        assert scored.target == target
        assert np.allclose(alone.log_prefix, scored.log_prefix, atol=1e-12)
        assert scored.logp == pytest.approx(model.logp(target), abs=1e-12)
        rows = list(scored.unit_rows())
        assert math.fsum(row["logp"] for row in rows) == pytest.approx(scored.logp, abs=1e-9)
        assert rows[-1]["unit"] == "⊥" and len(rows) == len(target) + 1


class Steep(LM):
    """Token 0 with probability almost 1e-2 at first, so that weights underflow in 400 symbols."""

    def __init__(self) -> None:
        self.vocab = make_vocab([b"a", b"aa", b"b"])

    def next_logp(self, contexts: Sequence[Sequence[int]]) -> np.ndarray:
        row = np.log(np.array([0.01, 0.001, 0.9, 0.089]))
        return np.stack([row for _ in contexts])


def test_bounds_hold_where_probabilities_underflow() -> None:
    target = load_target("bytes")
    text = b"a" * 400
    pruned = TransducedLM(Steep(), target, Beam(size=1, threshold=0)).score([text])[0]
    # The exact value by recursion: one or two bytes a token.
    log = [0.0, math.log(0.01)]
    for _ in range(399):
        log.append(np.logaddexp(log[-1] + math.log(0.01), log[-2] + math.log(0.001)))
    exact = log[400] + math.log(0.089)
    assert pruned.logp <= exact <= pruned.upper
    assert pruned.upper > pruned.logp


def test_the_machines_compute_the_fst() -> None:
    for seed in range(40):
        fst = random_fst(seed)
        function, machine = fst_function(fst), fst_target(fst, "random").machine
        for text in (b"", b"a", b"ab", b"bba\0", b"aabb", b"\0\0a"):
            assert run(machine, text) == function(text)


def test_symbol_kinds_of_the_built_in_targets() -> None:
    assert Identity().symbols == Symbols()
    assert Utf8().symbols.kind == "unicode"
    assert END == -1
