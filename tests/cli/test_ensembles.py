"""Ensembles on the command line: their rows, and what doesn't go together."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import get_args

import pytest

from lmfst.ensemble import Ensemble
from lmfst.ground.types import How
from lmfst.inference.policy import Exact
from lmfst.lm.load import load_lm
from lmfst.model import TransducedLM
from lmfst.target.load import load_target
from tests.support.cli import ARPA, call
from tests.support.tiny import letter_bigram, write_normalised

Pair = tuple[Path, Path]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Two models with different tokens."""
    folder = tmp_path_factory.mktemp("models")
    letter_bigram(folder / "raw.arpa", "abc", end=0.2)
    letters = write_normalised((folder / "raw.arpa").read_text(), folder / "letters.arpa")
    return write_normalised(ARPA, folder / "m.arpa"), letters


def both(pair: Pair) -> list[str | Path]:
    return ["--model", pair[0], "--model", pair[1]]


def of_pair(pair: Pair, weights: list[float], how: How) -> Ensemble:
    models = [TransducedLM(load_lm(str(path)), load_target("bytes"), Exact()) for path in pair]
    return Ensemble(models, weights, how)


@pytest.mark.parametrize("how", get_args(How))
def test_rows_of_an_ensemble(pair: Pair, how: How) -> None:
    options = ["--exact", "--ensemble", how, "--weights", "0.25,0.75", "--format", "jsonl"]
    done = call("convert", *both(pair), *options, input="abca\nb\n")
    rows = [json.loads(line) for line in done.out.splitlines()]
    model = of_pair(pair, [0.25, 0.75], how)
    for number, text in enumerate(("abca", "b"), start=1):
        own = [row for row in rows if row["id"] == str(number)]
        assert len(own) == len(text) + 1
        total = math.fsum(row["logp"] for row in own)
        assert total == pytest.approx(model.logp(text), abs=1e-9)
        assert own[0]["logp"] == pytest.approx(model.prefix_logp(text[0]), abs=1e-9)


def test_prompts_and_what_made_the_rows(pair: Pair, tmp_path: Path) -> None:
    meta = tmp_path / "meta.json"
    options = ["--exact", "--ensemble", "product", "--level", "text", "--bounds"]
    done = call("convert", *both(pair), *options, "--prompt", "ab", "--meta", meta, input="ca\n")
    (row,) = done.rows()
    model = of_pair(pair, [0.5, 0.5], "product")
    expected = model.logp("abca") - model.prefix_logp("ab")
    assert float(row["logp"]) == pytest.approx(expected, abs=1e-8)
    # Nothing was dropped.
    assert row["lower"] == row["upper"] == row["logp"] and row["canonical"] == ""
    facts = json.loads(meta.read_text())
    assert facts["ensemble"] == "product" and facts["weights"] == [0.5, 0.5]
    assert [one["model"] for one in facts["models"]] == [str(path) for path in pair]
    read = call("convert", *both(pair), *options, "--prompt-source", "c", input="a\n")
    value = float(read.rows()[0]["logp"])
    assert value == pytest.approx(model.after_source("c").logp("a"), abs=1e-8)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "expected one --model, found 2"),
        (["--weights", "0.5,0.5"], "expected one --model, found 2"),
        (["--ensemble", "mixture", "--weights", "1"], "for each of 2 models, found 1"),
        (["--ensemble", "mixture", "--weights", "0.5,0.6"], "sum 1"),
        (["--ensemble", "mixture", "--weights", "2,-1"], "above 0, not -1"),
        (["--ensemble", "mixture", "--weights", "half"], "expected numbers with commas"),
        (["--ensemble", "sum"], "sum"),
        (["--ensemble", "product", "--policy", "sample"], "--policy sample"),
        (["--ensemble", "product", "--revision", "main"], "--revision is that of one model"),
    ],
)
def test_what_does_not_go_together(pair: Pair, options: list[str], said: str) -> None:
    done = call("convert", *both(pair), *options)
    assert done.code == 2 and said in " ".join(done.err.split())


def test_one_model_is_no_ensemble(pair: Pair) -> None:
    done = call("convert", "--model", pair[0], "--ensemble", "mixture")
    assert done.code == 2 and "at least two models" in done.err
    done = call("convert", "--model", pair[0], "--weights", "1")
    assert done.code == 2 and "--weights are those of the models of an ensemble" in done.err
    # Other commands take one model.
    for command in (["next", "a"], ["sample"]):
        done = call(*command, *both(pair))
        assert done.code == 2 and "expected one --model, found 2" in done.err
