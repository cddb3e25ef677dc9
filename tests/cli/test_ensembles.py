"""Ensembles on the command line: their rows, and what doesn't go together."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, get_args

import pytest

from lmfst.ensemble import Ensemble
from lmfst.generate.decode import decode
from lmfst.generate.sample import sample
from lmfst.ground.types import How
from lmfst.inference.policy import Exact
from lmfst.lm.load import load_lm
from lmfst.model import TransducedLM
from lmfst.target.acceptor import load_within
from lmfst.target.load import load_target
from tests.support.cli import ARPA, Done, call
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


@pytest.mark.parametrize("how", get_args(How))
def test_next_sample_and_decode_are_those_of_python(pair: Pair, how: How) -> None:
    options = ["--exact", "--ensemble", how, "--weights", "0.25,0.75", "--format", "jsonl"]
    model = of_pair(pair, [0.25, 0.75], how)

    def rows(command: str, *args: str) -> list[dict[str, Any]]:
        done = call(command, *both(pair), *options, *args)
        assert (done.code, done.err) == (0, "")
        return [json.loads(line) for line in done.lines]

    found = rows("next", "--top", "0", "a", "ab")
    for number, prompt in (("1", "a"), ("2", "ab")):
        symbols, logp = model.next_symbols(prompt)
        names = ["⊥" if a == -1 else chr(a) if a < 128 else f"\\x{a:x}" for a in symbols.tolist()]
        expected = dict(zip(names, logp.tolist(), strict=True))
        own = {row["unit"]: row["logp"] for row in found if row["id"] == number}
        assert own == pytest.approx(expected, abs=1e-8)
    for args, more in (((), {}), (("--prompt", "a", "--top-k", "2"), {"prompt": "a", "top_k": 2})):
        drawn = list(sample(model, 4, seed=7, max_units=5, **more))  # type: ignore[arg-type]
        found = rows("sample", "-n", "4", "--seed", "7", "--max-units", "5", *args)
        assert [row["text"] for row in found] == [one.text for one in drawn]
        assert [row["logp"] for row in found] == pytest.approx([one.logp for one in drawn])
    best = decode(model, "a", width=3, max_units=4, top=2)
    found = rows("decode", "--beam-width", "3", "--top", "2", "--max-units", "4", "a")
    assert [(row["text"], row["cut"]) for row in found] == [(one.text, one.cut) for one in best]
    assert [row["logp"] for row in found] == pytest.approx([one.logp for one in best])


def test_strings_of_an_ensemble_within_a_grammar(pair: Pair, tmp_path: Path) -> None:
    grammar = tmp_path / "g.grm"
    grammar.write_text('export MAIN = "a" ("b" | "c")*;')
    options = ["--exact", "--ensemble", "mixture", "--within", grammar, "--to", "bytes"]
    model = of_pair(pair, [0.5, 0.5], "mixture")
    within = load_within(str(grammar), model.target)
    done = call("sample", *both(pair), *options, "-n", "5")
    drawn = list(sample(model, 5, within=within))
    assert [row["text"] for row in done.rows()] == [one.text for one in drawn]
    assert [float(row["logw"]) for row in done.rows()] == pytest.approx(
        [one.logw for one in drawn], abs=1e-8
    )
    assert {row["way"] for row in done.rows()} == {"unit"} and "by estimate" in done.err
    done = call("decode", *both(pair), *options, "--beam-width", "4", "--max-units", "3")
    (best,) = decode(model, width=4, max_units=3, within=within)
    assert [row["text"] for row in done.rows()] == [best.text]


@pytest.mark.parametrize("how", get_args(How))
def test_a_corpus_scored_by_an_ensemble(pair: Pair, how: How, tmp_path: Path) -> None:
    corpus, out = tmp_path / "corpus.txt", tmp_path / "out.tsv"
    corpus.write_text("abca\nb\n\ncab\naab\n")
    options = ["--exact", "--ensemble", how, "--weights", "0.25,0.75"]
    done = call("score", corpus, "-o", out, *both(pair), *options, "--level", "text")
    assert done.code == 0, done.err
    expected = call("convert", corpus, *both(pair), *options, "--level", "text").rows()
    header, *lines = out.read_text().splitlines()
    rows = [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]
    assert [{**row, "logp": ""} for row in expected] == [
        {**{name: row[name] for name in expected[0]}, "logp": ""} for row in rows
    ]
    for row, other in zip(rows, expected, strict=True):
        assert float(row["logp"]) == pytest.approx(float(other["logp"]), abs=1e-8)


def test_a_job_of_an_ensemble_goes_on_as_the_same_alone(pair: Pair, tmp_path: Path) -> None:
    corpus, out = tmp_path / "corpus.txt", tmp_path / "out.jsonl"
    corpus.write_text("abca\nb\n")

    def score(*args: str | Path) -> Done:
        return call("score", corpus, "-o", out, "--exact", *args)

    first = [*both(pair), "--ensemble", "mixture"]
    assert score(*first).code == 0
    before = out.read_bytes()
    for same in (first, [*first, "--weights", "0.5,0.5"]):
        done = score(*same)
        assert done.code == 0 and "nothing to do" in done.err
    for other, said in (
        ([*first, "--weights", "0.25,0.75"], "weights: [0.5, 0.5] -> [0.25, 0.75]"),
        ([*both(pair), "--ensemble", "product"], 'ensemble: "mixture" -> "product"'),
        (["--model", pair[1], "--model", pair[0], "--ensemble", "mixture"], "model files: "),
        (["--model", pair[0]], 'ensemble: "mixture" -> nothing'),
    ):
        done = score(*other)
        assert done.code == 1 and said in done.err, done.err
    assert out.read_bytes() == before
    manifest = json.loads(Path(f"{out}.manifest.json").read_text())
    assert manifest["named"] == {f"model {i}": str(path) for i, path in enumerate(pair, start=1)}


@pytest.mark.parametrize("command", ["convert", "score", "next", "sample", "decode"])
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
def test_what_does_not_go_together(
    pair: Pair, tmp_path: Path, command: str, options: list[str], said: str
) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("a\n")
    args = [corpus, "-o", tmp_path / "o.tsv"] if command == "score" else []
    done = call(command, *args, *both(pair), *options)
    assert done.code == 2 and said in " ".join(done.err.split())
    assert not done.out and not (tmp_path / "o.tsv").exists()


def test_one_model_is_no_ensemble(pair: Pair) -> None:
    done = call("convert", "--model", pair[0], "--ensemble", "mixture")
    assert done.code == 2 and "at least two models" in done.err
    done = call("convert", "--model", pair[0], "--weights", "1")
    assert done.code == 2 and "--weights are those of the models of an ensemble" in done.err
