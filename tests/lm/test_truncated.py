"""Models that are read with their last tokens only (`--context N`), against enumeration."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lmfst.cli import app
from lmfst.ground.errors import UsageError
from lmfst.inference.policy import Exact
from lmfst.lm import truncated
from lmfst.lm.base import LM
from lmfst.lm.load import load_lm
from lmfst.model import TransducedLM
from lmfst.target.load import load_target

CODONS = {"M": ["ATG"], "I": ["ATT", "ATC", "ATA"], "L": ["CTA", "CTC", "CTG", "CTT", "TTA", "TTG"]}


@pytest.fixture(scope="module")
def whole() -> LM:
    return load_lm("dna")


def by_hand(whole: LM, length: int, protein: str) -> float:
    """log P of a protein under `whole` after its last `length` tokens: all of its DNA, one by one.

    The one or two bases of an incomplete codon at the end write nothing.
    """
    bases = whole.vocab.encode_any(b"ACGT")
    assert bases is not None
    token = dict(zip("ACGT", bases, strict=True))
    end = whole.vocab.eos[0]
    support = [*token.values(), end]
    rest = [*(itertools.product("ACGT", repeat=n) for n in range(3))]
    texts = [
        [token[base] for part in codons for base in part]
        for codons in itertools.product(*(CODONS[r] for r in protein), itertools.chain(*rest))
    ]
    read = [[tuple(ids[max(0, i - length) : i]) for i in range(len(ids) + 1)] for ids in texts]
    contexts = sorted({context for one in read for context in one})
    rows = np.asarray(whole.next_logp(contexts), dtype=np.float64)[:, support]
    rows -= np.logaddexp.reduce(rows, axis=1, keepdims=True)
    table = dict(zip(contexts, rows, strict=True))
    steps = [
        sum(table[c][support.index(t)] for c, t in zip(one, [*ids, end], strict=True))
        for one, ids in zip(read, texts, strict=True)
    ]
    return float(np.logaddexp.reduce(steps))


@pytest.mark.parametrize("length", [1, 2, 4, 100])
def test_exact_sums_equal_enumeration(whole: LM, length: int) -> None:
    model = TransducedLM(load_lm("dna", context=length), load_target("amino"), Exact())
    for protein in ("MLI", "LIL"):
        assert model.logp(protein) == pytest.approx(by_hand(whole, length, protein), abs=1e-5)


def test_a_context_that_holds_the_text_is_the_model_itself(whole: LM) -> None:
    target = load_target("bytes")
    text = b"ATGCTAGCATT"
    found = TransducedLM(load_lm("dna", context=11), target, Exact()).logp(text)
    assert found == pytest.approx(TransducedLM(whole, target, Exact()).logp(text), abs=1e-5)
    shorter = TransducedLM(load_lm("dna", context=3), target, Exact()).logp(text)
    assert abs(shorter - found) > 1e-3


def test_nodes_do_not_multiply() -> None:
    model = TransducedLM(load_lm("dna", context=3), load_target("amino"), Exact())
    short, long = (model.score([text], given="target")[0] for text in ("LRS" * 4, "LRS" * 8))
    assert long.nodes < 2.2 * short.nodes
    assert long.text_row()["lower"] == long.text_row()["upper"]


def test_rows_beyond_the_memory_limit_are_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = load_lm("dna", context=4)
    expected = TransducedLM(lm, load_target("amino"), Exact()).logp("LRSLRS")
    monkeypatch.setattr(truncated, "MAX_BYTES", 6 * 4 * 10)
    monkeypatch.setattr(truncated, "BLOCK_BYTES", 6 * 4 * 3)
    small = load_lm("dna", context=4)
    model = TransducedLM(small, load_target("amino"), Exact())
    assert model.logp("LRSLRS") == pytest.approx(expected, abs=1e-5)
    first = small.session()
    assert model.logp("LRSLRS") == pytest.approx(expected, abs=1e-5)
    assert small.session() is not first


@pytest.mark.parametrize("length", [0, -1, 2048])
def test_lengths_outside_the_range_are_errors(length: int) -> None:
    with pytest.raises(UsageError, match="--context must be"):
        load_lm("dna", context=length)


def test_n_gram_models_take_no_context() -> None:
    with pytest.raises(UsageError, match="--context is for transformers models"):
        load_lm("model.arpa", context=2)


def test_the_command_says_what_it_computes(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("MLI\n")
    meta = tmp_path / "meta.json"
    options = ["--model", "dna", "--to", "amino", "--context", "2", "--exact", "--given", "target"]
    result = CliRunner().invoke(
        app, ["convert", *options, "--meta", str(meta), str(tmp_path / "p.txt")]
    )
    assert result.exit_code == 0, result.stderr
    assert "last 2 tokens only" in result.stderr
    assert json.loads(meta.read_text())["context"] == 2
