"""Guides of sampling: what they expect, against enumeration; and estimates that stay unbiased."""

from __future__ import annotations

import itertools
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lmfst.cli import app
from lmfst.fst.sequential import END, Determinised, emit
from lmfst.ground.errors import ModelError, UsageError
from lmfst.inference import guide as guides
from lmfst.inference import sampled
from lmfst.inference.guide import BackwardMass, Guide
from lmfst.inference.passes import propagate
from lmfst.inference.policy import Exact
from lmfst.inference.sampling import Sample
from lmfst.io import Document
from lmfst.lm.backoff import BackoffLM
from lmfst.lm.load import load_lm
from lmfst.model import TransducedLM
from lmfst.target.load import fst_target, load_target
from tests.support.oracle import TableLM, make_vocab, random_fst
from tests.support.tiny import letter_bigram

REPLICATES = 2000


def bigram(path: Path, letters: str = "ACGT", end: float = 0.1) -> BackoffLM:
    letter_bigram(path, letters, end=end)
    lm = load_lm(str(path))
    assert isinstance(lm, BackoffLM)
    return lm


def log_sum(values: list[float]) -> float:
    return float(np.logaddexp.reduce(values)) if values else -math.inf


def conditional(lm: BackoffLM, begun: str, rest: str) -> float:
    """log P(rest and the end | begun) under the n-gram model, letter by letter; one that it doesn't
    know has a low probability, and what was before it is forgotten."""
    total, state = 0.0, np.array([lm.model.start()])
    for i, letter in enumerate(begun + rest):
        known = letter in lm.model.names
        token = np.array([lm.model.names.index(letter)]) if known else None
        if i >= len(begun):
            total += guides.UNSEEN if token is None else float(lm.model.rows(state)[0, token[0]])
        state = np.array([0]) if token is None else lm.model.step(state, token)
    return total + float(lm.model.rows(state)[0, lm.vocab.eos[0]])


@pytest.mark.parametrize("begun", ["", "C", "CT", "T", "TT", "CTG", "CTGA"])
@pytest.mark.parametrize("letters", ["ACGT", "ACG"])
def test_futures_equal_enumeration(tmp_path: Path, begun: str, letters: str) -> None:
    lm = bigram(tmp_path / "g.arpa", letters)
    source = TableLM(make_vocab([b"A", b"C", b"G", b"T"]), order=1, depth=9, seed=1, merges=True)
    model = TransducedLM(source, load_target("amino"), Exact())
    target = model.symbols("L")
    guide = Guide(lm, model.setting.lexicons)
    expected = []
    for size in range(6 - len(begun)):
        for bases in itertools.product("ACGT", repeat=size):
            rest = "".join(bases)
            if model.transduce(begun + rest) == target:
                expected.append(conditional(lm, begun, rest))
    machine = model.target.machine
    state, out, _ = emit(machine, begun.encode())
    history = np.array([guide.start])
    for letter in begun:
        history = guide.read(history, np.array(["ACGT".index(letter)]), np.array([-1]))
    found = BackwardMass(guide, (*target, END)).log_expected(
        np.array([model.setting.lexicons.intern(0, state)]), np.array([len(out)]), history
    )
    assert found[0] == pytest.approx(log_sum(expected), abs=1e-5)


def test_what_a_guide_excludes_can_still_be_kept(tmp_path: Path) -> None:
    lm = bigram(tmp_path / "g.arpa")
    model = TransducedLM(lm, load_target("amino"), Exact())
    backward = BackwardMass(Guide(lm, model.setting.lexicons), (*model.symbols("LL"), END))
    machine = model.setting.lexicons.machine
    assert isinstance(machine, Determinised)
    elsewhere = model.setting.lexicons.intern(0, machine.resume([(0, (1, 2, 3))]))
    found = backward.log_expected(
        np.array([model.setting.lexicons.start, elsewhere]), np.array([0, 0]), np.array([0, 0])
    )
    assert np.isfinite(found).all() and found[1] <= found[0] - 10


def test_with_its_own_model_as_a_guide_every_replicate_is_exact(tmp_path: Path) -> None:
    path = tmp_path / "g.arpa"
    lm = bigram(path)
    text = "LRSALGIVPTR"
    for target in ("amino", "amino:TABLE11"):
        exact = TransducedLM(lm, load_target(target), Exact()).logp(text)
        policy = Sample(particles=2, replicates=5, guide=str(path))
        (found,) = TransducedLM(lm, load_target(target), policy).score([text], given="target")
        blind = Sample(particles=2, replicates=5)
        (other,) = TransducedLM(lm, load_target(target), blind).score([text], given="target")
        assert found.logp == pytest.approx(exact, abs=1e-5)
        assert found.stderr == pytest.approx(0, abs=1e-5)
        assert other.stderr is not None and other.stderr > 0.01


@pytest.mark.parametrize("merges", [False, True])
@pytest.mark.parametrize("case", ["amino", "lookahead FST"])
def test_estimates_are_unbiased_with_a_guide_that_is_wrong(
    tmp_path: Path, case: str, merges: bool
) -> None:
    path = tmp_path / "g.arpa"
    if case == "amino":
        bigram(path)
        vocab, target, text = (
            make_vocab([b"A", b"C", b"G", b"T"]),
            load_target("amino"),
            b"ATGGCACGTTCA",
        )
        lm, particles = TableLM(vocab, order=2, depth=13, seed=3, merges=merges), 3
    else:
        bigram(path, "ab")
        vocab = make_vocab([b"a", b"b", b"ab", b"ba", b"aab"])
        target, text = fst_target(random_fst(12), "random"), b"abaabab"
        lm, particles = TableLM(vocab, order=2, depth=9, seed=12, merges=merges), 3
    exact = TransducedLM(lm, target, Exact())
    y = exact.transduce(text)
    policy = Sample(particles=particles, replicates=REPLICATES, seed=5, guide=str(path))
    (found,) = TransducedLM(lm, target, policy).score([text])
    assert found.stderr is not None and found.stderr > 1e-6
    assert abs(math.expm1(found.logp - exact.logp(y))) <= 4 * found.stderr


@pytest.mark.parametrize("order", [1, 2])
def test_documents_and_replicates_do_not_meet_in_a_guide(order: int) -> None:
    # States of the model say less than those of the guide, and are shared by all documents.
    lm = TableLM(make_vocab([b"A", b"C", b"G", b"T"]), order=order, depth=30, seed=3, merges=True)
    proteins = ["LRS", "SRLLM", "GLA", "ARS"]

    def found(batch: int) -> list[float]:
        policy = Sample(particles=1, replicates=2, seed=5, guide="dna")
        model = TransducedLM(lm, load_target("amino"), policy)
        documents = [Document(id=p, text=p.encode(), origin=p) for p in proteins]
        scored = model.score_documents(documents, given="target", batch=batch)
        return [one.logp for one in scored]

    assert found(64) == pytest.approx(found(1), abs=1e-12)


def test_words_such_as_0x20_are_bytes(tmp_path: Path) -> None:
    path = tmp_path / "g.arpa"
    letter_bigram(path, "ab")
    path.write_text(path.read_text().replace("b", "<0x20>").replace("<0x20>ackoff", "backoff"))
    lm = load_lm(str(path))
    assert isinstance(lm, BackoffLM)
    guide = Guide(lm, TransducedLM(lm, load_target("bytes"), Exact()).setting.lexicons)
    token = lm.model.names.index("<0x20>")
    expected = lm.model.rows(np.arange(guide.size))[:, token]
    np.testing.assert_allclose(guide.logp[0x20], np.maximum(expected, guides.UNSEEN), rtol=1e-6)
    assert guide.logp.keys() == {ord("a"), 0x20}


def test_targets_whose_futures_are_too_many_share_no_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "g.arpa"
    lm = bigram(path)
    policy = Sample(particles=3, replicates=2, seed=5, guide=str(path))
    texts = ["LRS", "SRLLM", "LRS", "GLA", "ARS"]
    model = TransducedLM(lm, load_target("amino"), policy)
    expected = [one.logp for one in model.score(texts, given="target")]
    size = BackwardMass(model._engine._guide, (*model.symbols("SRLLM"), END)).size
    monkeypatch.setattr(sampled, "MOST_VALUES", size + 1)
    calls = []
    monkeypatch.setattr(sampled, "propagate", lambda *a: calls.append(len(a[4])) or propagate(*a))
    assert [one.logp for one in model.score(texts, given="target")] == expected
    # Two replicates of each, then a beam for each.
    assert calls[::2] == [2 * n for n in calls[1::2]] and len(calls) > 2


def test_guides_that_can_not_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = bigram(tmp_path / "g.arpa")
    with pytest.raises(UsageError, match="--guide must be an n-gram model"):
        TransducedLM(lm, load_target("amino"), Sample(guide="g.txt"))
    model = TransducedLM(lm, load_target("amino"))
    letter_bigram(tmp_path / "other.arpa", "xyz")
    with pytest.raises(ModelError, match="no token that is a byte which the model writes"):
        model.with_policy(Sample(guide=str(tmp_path / "other.arpa")))
    guided = model.with_policy(Sample(guide=str(tmp_path / "g.arpa")))
    assert guided.logp("L") < 0
    monkeypatch.setattr(guides, "MOST_VALUES", 30)
    with pytest.raises(UsageError, match=r"document of 2 symbols has .* too many"):
        guided.logp("L")
    monkeypatch.setattr(guides, "MOST_VALUES", 10)
    shutil.copy(tmp_path / "g.arpa", tmp_path / "large.arpa")
    with pytest.raises(UsageError, match="the guide is too large"):
        model.with_policy(Sample(guide=str(tmp_path / "large.arpa")))


def test_the_option_belongs_to_sampling(tmp_path: Path) -> None:
    letter_bigram(tmp_path / "g.arpa")
    command = ["convert", "--model", str(tmp_path / "g.arpa"), "--to", "amino", "--given", "target"]
    guided = [*command, "--level", "text", "--guide", str(tmp_path / "g.arpa")]
    refused = CliRunner().invoke(app, guided, input="LR\n")
    assert refused.exit_code == 2 and "--guide is an option of --policy sample" in refused.stderr
    done = CliRunner().invoke(app, [*guided, "--policy", "sample"], input="LR\n")
    assert done.exit_code == 0, done.stderr
    absent = CliRunner().invoke(
        app, [*command, "--policy", "sample", "--guide", "no.arpa"], input=""
    )
    assert absent.exit_code == 1 and "no.arpa" in absent.stderr
