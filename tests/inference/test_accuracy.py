"""What a pruned number lacks, and thresholds that are lowered until it is little enough."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lmfst.fst import Fst
from lmfst.inference.accuracy import Pass, missing_by_offset
from lmfst.inference.policy import Beam, Exact, Policy, Tolerance
from lmfst.inference.sampling import Sample
from lmfst.lm.base import LM
from lmfst.model import TransducedLM
from lmfst.target.load import fst_target, load_target
from tests.inference.test_canonical import TOKENS, canonical_logp
from tests.support.oracle import TableLM, make_vocab, random_fst

BYTES = load_target("bytes")
INF = math.inf


def silent(message: str) -> None:
    """For models that are meant to lack much."""


class Memoryless(LM):
    """Tokens with fixed probabilities, whatever came before, and no own segmentation of a text."""

    def __init__(self, weights: dict[bytes, float], doubled: float = 0.0) -> None:
        """doubled: the weight of a second token `a`."""
        tokens = [*weights, *([b"a"] if doubled else [])]
        self.vocab = make_vocab(tokens)
        self.row = np.log([*weights.values(), *([doubled] if doubled else []), 1.0])
        self.asked: list[tuple[int, ...]] = []

    def next_logp(self, contexts: Sequence[Sequence[int]]) -> np.ndarray:
        self.asked += [tuple(context) for context in contexts]
        return np.stack([self.row for _ in contexts])

    def encode(self, data: bytes) -> list[int] | None:
        return None


def test_missing_is_what_hypotheses_like_the_kept_ones_would_add() -> None:
    # Two tokens of one byte, with weights 8 and 1: each step drops an eighth of what it keeps.
    lm = Memoryless({b"a": 8.0, b"b": 1.0}, doubled=1.0)
    steps = 12
    text = b"a" * steps
    beam = Beam(size=1, threshold=0)
    pruned = TransducedLM(lm, BYTES, beam, warn=silent).score([text])[0]
    exact = TransducedLM(lm, BYTES, Exact()).score([b"a" * 3])[0]
    # Children dropped at an offset, relative to the prefix probability there, which they are in.
    shares = [row["missing"] for row in pruned.unit_rows()]
    assert shares[0] == 0.0  # before the root nothing can be dropped
    np.testing.assert_allclose(shares[1:], 1 / 9, rtol=1e-12)
    assert pruned.text_row()["missing"] == pytest.approx(steps / 9, rel=1e-12)
    true = steps * math.log(9 / 8) + pruned.logp
    assert true == pytest.approx(steps * math.log(9 / 11) + math.log(1 / 11), abs=1e-9)
    assert abs(true - pruned.logp - pruned.text_row()["missing"]) < 0.07 * steps / 9
    assert exact.text_row()["missing"] == 0.0


def test_missing_where_nothing_is_left() -> None:
    log = np.log
    prefix = np.array([0.0, log(0.5), -np.inf, -np.inf])
    dropped = np.array([-np.inf, log(0.1), -np.inf])
    assert missing_by_offset(prefix, dropped).tolist() == [0.0, np.inf, np.inf]
    nothing = np.full(3, -np.inf)
    assert missing_by_offset(prefix, nothing).tolist() == [0.0, 0.0, 0.0]


def test_nothing_is_missing_of_a_symbol_that_no_token_produces() -> None:
    lm = Memoryless({b"a": 8.0, b"b": 1.0}, doubled=1.0)
    warnings: list[str] = []
    model = TransducedLM(lm, BYTES, Beam(size=1, threshold=0), warn=warnings.append)
    scored = model.score([b"aaz"])[0]
    assert scored.logp == -math.inf and scored.dropped > 0
    shares = [row["missing"] for row in scored.unit_rows()]
    # What reads "aa" can't go on with z, so it isn't looked at.
    np.testing.assert_allclose(shares, [0.0, 1 / 9, 0.0, 0.0], rtol=1e-12)
    assert any("can't produce 'z'" in message for message in warnings)


class Forgetful(LM):
    """After `ab` as two tokens only `c` goes on; after `ab` as one token only `d` does."""

    vocab = make_vocab([b"a", b"b", b"ab", b"c", b"d"])

    def next_logp(self, contexts: Sequence[Sequence[int]]) -> np.ndarray:
        rows = np.full((len(contexts), 6), -np.inf)
        for row, context in zip(rows, contexts, strict=True):
            if not context:
                row[[0, 2]] = np.log([0.999, 0.001])
            elif context[-1] == 0:
                row[1] = 0.0
            else:
                row[{1: 3, 2: 4}.get(context[-1], 5)] = 0.0
        return rows

    def encode(self, data: bytes) -> list[int] | None:
        return None


def test_the_beam_that_drops_the_only_way_on() -> None:
    warnings: list[str] = []
    model = TransducedLM(Forgetful(), BYTES, Beam(size=8, threshold=0.1), warn=warnings.append)
    scored = model.score([b"abd"])[0]
    assert scored.logp == -math.inf
    assert [row["missing"] for row in scored.unit_rows()] == [0.0, 0.0, math.inf, math.inf]
    assert scored.text_row()["missing"] == math.inf
    assert any("--threshold" in message for message in warnings)
    found = TransducedLM(Forgetful(), BYTES, Tolerance()).score([b"abd"])[0]
    assert found.logp == pytest.approx(math.log(0.001)) and len(found.passes) > 1


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("merges", [True, False])
def test_units_share_out_what_is_missing(seed: int, merges: bool) -> None:
    lm = TableLM(make_vocab(TOKENS), order=3, depth=9, seed=seed, merges=merges)
    model = TransducedLM(
        lm, fst_target(random_fst(seed), "r"), Beam(size=2, threshold=0.1), warn=silent
    )
    for scored in model.score([b"abab", b"", b"bba"]):
        shares = [row["missing"] for row in scored.unit_rows()]
        assert all(share >= 0 for share in shares)
        assert math.fsum(shares) == pytest.approx(scored.text_row()["missing"], rel=1e-12)
        assert (scored.text_row()["missing"] > 0) == (scored.dropped > 0)


def test_no_estimate_of_what_is_missing_where_there_are_better_ones() -> None:
    lm = TableLM(make_vocab(TOKENS), order=2, depth=5, seed=1, merges=True)
    target = fst_target(random_fst(3), "random")
    sampled = TransducedLM(lm, target, Sample(particles=2, replicates=2)).score([b"abab"])[0]
    assert sampled.text_row()["missing"] is None
    assert {row["missing"] for row in sampled.unit_rows()} == {None}
    part = fst_target(Fst.from_arcs([(0, 97, 97, 0)], 0, [0]), "only a")
    conditioned = TransducedLM(lm, part, Exact(), partial="condition")
    assert conditioned.prefix_bounds(()).missing is None


class WithTokenizer(TableLM):
    """Its own tokens are those of its greedy segmentation."""

    def canonical(self, data: bytes) -> Sequence[int] | None:
        return self.vocab.encode_any(data)


@pytest.mark.parametrize("merges", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_canonical_is_the_sum_over_the_texts_own_tokens(merges: bool, seed: int) -> None:
    lm = WithTokenizer(make_vocab(TOKENS), order=3, depth=4, seed=seed, merges=merges)
    texts = [b"abab", b"", b"bba", b"abbabb"]
    policies: list[Policy] = [Beam(size=2), Tolerance(), Exact(), Sample(replicates=2)]
    for target in (BYTES, fst_target(random_fst(seed), "random")):
        base = TransducedLM(lm, target, warn=silent)
        for policy in policies:
            model = base.with_policy(policy)
            for text, scored in zip(texts, model.score(texts), strict=True):
                assert scored.canonical == pytest.approx(canonical_logp(lm, text), abs=1e-9)
            assert model.score([b"z"], given="target")[0].canonical is None


@pytest.mark.parametrize("seed", range(6))
def test_a_first_token_that_spells_nothing(seed: int) -> None:
    # As in SentencePiece, whose mark of a word spells nothing at the beginning and a space later.
    tokens, first = [b" ", b"a", b"b", b" a", b"ab"], [b"", b"a", b"b", b"a", b"ab"]

    class Marked(TableLM):
        def canonical(self, data: bytes) -> Sequence[int] | None:
            return [0, *({97: 1, 98: 2, 32: 0}[byte] for byte in data)]

    vocab = make_vocab(tokens, first=first)
    vocab = replace(vocab, next_state=([1] * vocab.size, [1] * vocab.size))
    lm = Marked(vocab, order=3, depth=7, seed=seed, merges=False)
    for policy in (Beam(size=1, threshold=0.9), Tolerance(), Exact()):
        for text in (b"ab", b"b a", b"bab", b""):
            scored = TransducedLM(lm, BYTES, policy, warn=silent).score([text])[0]
            assert scored.canonical == pytest.approx(canonical_logp(lm, text), abs=1e-9)
            assert scored.logp >= scored.canonical - 1e-12


class Colours(LM):
    """`grass` nearly always, seldom `gray` and `grey`, with a token for the rest of each."""

    vocab = make_vocab([b"grass", b"gray", b"grey", b" d"])

    def next_logp(self, contexts: Sequence[Sequence[int]]) -> np.ndarray:
        rows = np.full((len(contexts), 5), -np.inf)
        for row, context in zip(rows, contexts, strict=True):
            if context:
                row[3:] = np.log([0.3, 0.7])
            else:
                row[:3] = np.log([1 - 4e-4, 1e-4, 3e-4])
        return rows


def test_what_has_read_ahead_is_not_held_against_what_has_not(tmp_path: Path) -> None:
    grammar = tmp_path / "colours.grm"
    grammar.write_text(
        "import 'lib/bytes.grm' as b;\n"
        'export COLOURS = Optimize[CDRewrite["grey" : "gray", "", "[EOS]" | " ", b.ALL]];\n'
    )
    target = load_target(str(grammar))
    exact = TransducedLM(Colours(), target, Exact()).score([b"gray d"])[0]
    assert exact.logp == pytest.approx(math.log(4e-4 * 0.3 * 0.7))
    # While "grey" may still become "greyer", only "gr" of it is certain, as much as of "grass".
    found = TransducedLM(Colours(), target).score([b"gray d"])[0]
    assert found.logp == pytest.approx(exact.logp, abs=0.01)


def test_what_follows_a_prefix_is_within_tolerance_too() -> None:
    # "ac" only follows from the token that is too light for the first threshold.
    class Split(Forgetful):
        vocab = make_vocab([b"a", b"b", b"ab", b"c", b"d", b"a"])

        def next_logp(self, contexts: Sequence[Sequence[int]]) -> np.ndarray:
            rows = np.full((len(contexts), 7), -np.inf)
            for row, context in zip(rows, contexts, strict=True):
                if not context:
                    row[[0, 5]] = np.log([0.994, 0.006])
                else:
                    row[{0: 1, 5: 3}.get(context[-1], 6)] = 0.0
            return rows

    model = TransducedLM(Split(), BYTES)
    found = model.next_logp("a")
    assert found == pytest.approx({"b": math.log(0.994), "c": math.log(0.006)})


def test_no_tokenizer_no_canonical_path() -> None:
    lm = TableLM(make_vocab(TOKENS), order=3, depth=9, seed=1, merges=False)
    for policy in (Beam(), Exact(), Sample()):
        assert TransducedLM(lm, BYTES, policy, warn=silent).score([b"ab"])[0].canonical is None


FAR_AHEAD = (4, 6, 10)
"""Seeds of FSTs that read ahead without end: the states of a long text are thousands."""


@pytest.mark.parametrize("seed", range(20))
def test_a_tolerance_gives_what_its_last_threshold_gives(seed: int) -> None:
    lm = TableLM(make_vocab(TOKENS), order=4, depth=30, seed=seed, merges=False)
    rng = np.random.default_rng(seed)
    longest = 10 if seed in FAR_AHEAD else 16
    texts = [bytes(rng.choice([97, 98], rng.integers(0, longest)).tolist()) for _ in range(4)]
    policy = Tolerance(size=20, threshold=0.2, tolerance=0.05, effort=50)
    # The lexicon is built once: of a random FST it takes longer than all sums.
    model = TransducedLM(lm, fst_target(random_fst(seed), "random"), policy, warn=silent)
    for lookahead in (True, False):
        found = model.with_policy(policy, lookahead=lookahead).score(texts)
        for text, scored in zip(texts, found, strict=True):
            last = scored.passes[-1]
            beam = Beam(size=20, threshold=last.threshold)
            fixed = model.with_policy(beam).score([text])[0]
            np.testing.assert_allclose(scored.log_prefix, fixed.log_prefix, atol=1e-12)
            assert scored.nodes == fixed.nodes == last.rows
            assert last.missing == pytest.approx(fixed.text_row()["missing"], rel=1e-9)
            limit = policy.limit(scored.passes, len(scored.target) + 1)
            assert last.missing <= policy.goal(len(scored.target) + 1) or limit is not None


def test_further_passes_ask_for_no_row_again() -> None:
    lm = TableLM(make_vocab(TOKENS), order=4, depth=60, seed=5, merges=False)
    asked: Counter[tuple[int, ...]] = Counter()
    inner = lm.next_logp

    def counted(contexts: Sequence[Sequence[int]]) -> np.ndarray:
        asked.update(tuple(context) for context in contexts)
        return inner(contexts)

    lm.next_logp = counted  # type: ignore[method-assign]
    policy = Tolerance(size=20, threshold=0.2, tolerance=0.01, effort=100)
    scored = TransducedLM(lm, BYTES, policy, warn=silent).score([b"abbababbaabbabab" * 2])[0]
    assert len(scored.passes) > 1 and set(asked.values()) == {1}


@pytest.mark.parametrize("retained", [0, 30])
def test_rows_that_were_forgotten_between_passes(
    monkeypatch: pytest.MonkeyPatch, retained: int
) -> None:
    monkeypatch.setattr("lmfst.inference.passes.RETAINED_ROWS", retained)
    monkeypatch.setattr("lmfst.inference.passes.RETAIN_EVERY", 2)
    lm = TableLM(make_vocab(TOKENS), order=4, depth=60, seed=5, merges=False)
    policy = Tolerance(size=20, threshold=0.2, tolerance=0.01, effort=100)
    text = b"abbababbaabbabab" * 2
    for lookahead in (True, False):
        model = TransducedLM(lm, BYTES, policy, lookahead=lookahead, warn=silent)
        scored = model.score([text])[0]
        beam = Beam(size=20, threshold=scored.passes[-1].threshold)
        fixed = TransducedLM(lm, BYTES, beam, warn=silent).score([text])[0]
        assert len(scored.passes) > 1
        np.testing.assert_allclose(scored.log_prefix, fixed.log_prefix, atol=1e-12)


def passes(*found: tuple[float, float, float, float, int]) -> list[Pass]:
    return [Pass(*one) for one in found]


def test_when_a_document_is_finished() -> None:
    policy = Tolerance(size=8, threshold=1e-2, tolerance=0.01, effort=4)
    # Much is missing: lower, by no more than the rows allow.
    first = (1e-2, INF, 0.1, 0.0, 100)
    lower = policy.next_threshold(passes(first), 100)
    assert lower is not None and 3e-4 <= lower < 1e-2
    assert policy.limit(passes(first), 100) is None
    # Enough, and the pass before found as much; a long document may lack more.
    assert policy.next_threshold(passes(first, (1e-3, 0.005, 0.009, 0.0, 150)), 100) is None
    assert policy.next_threshold(passes(first, (1e-3, 0.005, 0.019, 0.0, 150)), 200) is None
    # Enough by estimate, but the pass before found less.
    unsettled = passes(first, (1e-3, 0.5, 0.009, 0.0, 150))
    assert policy.next_threshold(unsettled, 100) == pytest.approx(2e-4)
    # One pass is enough only where next to nothing is missing.
    assert policy.next_threshold(passes((1e-2, INF, 0.009, 0.0, 100)), 100) is not None
    assert policy.next_threshold(passes((1e-2, INF, 0.0009, 0.0, 100)), 100) is None
    # A lower threshold that is hardly lower proves nothing.
    near = passes(first, (1e-3, 0.5, 0.03, 0.0, 150), (6e-4, 0.001, 0.009, 0.0, 170))
    assert policy.next_threshold(near, 100) == pytest.approx(1.2e-4)
    # Limits: of hypotheses at an offset, of rows.
    crowded = passes((1e-2, INF, 0.1, 0.08, 100))
    assert policy.next_threshold(crowded, 100) is None and policy.limit(crowded, 100) == "size"
    spent = passes(first, (1e-3, 0.1, 0.03, 0.0, 390))
    assert policy.next_threshold(spent, 100) is None and policy.limit(spent, 100) == "effort"
