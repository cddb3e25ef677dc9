"""`lmfst decode`, and `--within` of it and of `lmfst sample`: formats, prompts, bad input."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path

import pytest

from lmfst.cli import decode as command
from lmfst.fst import Fst, write_openfst
from lmfst.generate.decode import Beam, decode
from lmfst.inference.policy import Exact
from lmfst.lm.load import load_lm
from lmfst.model import TransducedLM
from lmfst.target.acceptor import load_within
from lmfst.target.load import load_target
from tests.support.cli import COMMAND, Done, call, environment

GRAMMAR = """letter = "a" | "b";
export MAIN = "a" letter* "b";
export NOTHING = "a" - "a";
export FAR = "xyz";
export WRITES = "a" : "b";
export WORDS = "a" "[SEP]" "b";
export LACKS = "a" "[OTHER]";
"""


@pytest.fixture(scope="module")
def grammar(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("grammar") / "g.grm"
    path.write_text(GRAMMAR)
    return str(path)


def decoded(model: Path, *args: str, **options: str) -> Done:
    done = call("decode", "--model", model, "--exact", *args, **options)
    assert (done.code, done.err) == (0, "")
    return done


def test_rows_are_what_python_finds(model: Path, grammar: str) -> None:
    tlm = TransducedLM(load_lm(str(model)), load_target("chars"), Exact())
    within = load_within(grammar, tlm.target)
    for said, options in (
        ((), {}),
        (("--greedy",), {}),
        (("--beam-width", "3", "--top", "2"), {"width": 3, "top": 2}),
        (("--beam-width", "3", "--length-penalty", "1"), {"width": 3, "length_penalty": 1.0}),
        (("--max-units", "2"), {"max_units": 2}),
        (("--beam-width", "4", "--within", grammar), {"width": 4, "within": within}),
    ):
        found = [
            (str(number), rank, one)
            for number, prompt in enumerate(("a", "ab"), start=1)
            for rank, one in enumerate(decode(tlm, prompt, **{"max_units": 4, **options}), start=1)  # type: ignore[arg-type]
        ]
        args = ("--to", "chars", "--max-units", "4", *said, "a", "ab")
        rows = [json.loads(line) for line in decoded(model, *args, "--format", "jsonl").lines]
        for row, (id_, rank, one) in zip(rows, found, strict=True):
            assert (row["id"], row["rank"], row["text"]) == (id_, rank, one.text)
            assert (row["cut"], row["units"], row["start"]) == (one.cut, one.units, one.start)
            assert (row["way"], row["logp"]) == (one.way, pytest.approx(one.logp, rel=1e-9))
        tsv = decoded(model, *args).rows()
        assert [row["text"] for row in tsv] == [row["text"] for row in rows]


def test_prompts_come_from_arguments_and_lines(model: Path) -> None:
    args = ("--to", "chars", "--max-units", "3")
    one = decoded(model, *args, "a", "", "b").out
    assert decoded(model, *args, "-", input="a\n\nb\n").out == one
    assert decoded(model, *args, "a", "-", input="\nb\n").out == one
    assert decoded(model, *args).lines[1:] == decoded(model, *args, "").lines[1:]
    target = decoded(model, "--to", "words", "--max-units", "2", "ab").out
    source = decoded(model, "--to", "words", "--max-units", "2", "--given", "source", "ab").out
    assert target == source


def test_each_line_is_answered_as_soon_as_it_is_there(model: Path) -> None:
    args = ("decode", "--model", str(model), "--to", "chars", "--exact", "--max-units", "2", "-")
    with subprocess.Popen(
        [*COMMAND, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    ) as running:
        assert running.stdin is not None and running.stdout is not None
        running.stdin.write(b"a\n")
        running.stdin.flush()
        header, first = running.stdout.readline(), running.stdout.readline()
        assert header.startswith(b"id\trank\ttext") and first.startswith(b"1\t1\ta")
        running.stdin.write(b"b\n")
        running.stdin.flush()
        assert running.stdout.readline().startswith(b"2\t1\tb")
        running.stdin.close()
        assert running.wait(60) == 0


def test_draws_within_a_grammar(model: Path, grammar: str, tmp_path: Path) -> None:
    args = ("sample", "--model", model, "--to", "chars", "--exact", "-n", "20", "--within", grammar)
    ways = {
        (): "exact",
        ("--resample", "4"): "resampled",
        ("--temperature", "2"): "unit",
        ("--temperature", "2", "--resample", "4"): "resampled",
    }
    for said, way in ways.items():
        done = call(*args, *said, "--meta", tmp_path / "m.json")
        assert done.code == 0
        rows = done.rows()
        assert {row["way"] for row in rows} == {way}
        assert json.loads((tmp_path / "m.json").read_text())["way"] == way
        for row in rows:
            assert row["cut"] == "true" or (row["text"][0], row["text"][-1]) == ("a", "b")
            assert float(row["logw"]) <= 0.0
            assert (row["ess"] == "") == ("--resample" not in said)
        assert "within the grammar with log-probability" in done.err
    done = call(*args, "--quiet", "--prompt", "ab")
    assert done.err == "" and all(row["text"].startswith("ab") for row in done.rows())


def test_strings_with_weights_are_not_counted_as_if_they_had_none(
    model: Path, grammar: str
) -> None:
    args = ("sample", "--model", model, "--to", "chars", "-n", "5", "--within", grammar)
    counts = ("counts", "--to", "chars", "--given", "target", "--doc", "tsv")
    exact = call(*counts, input=call(*args, "--quiet").out)
    assert exact.code == 0 and exact.rows()[0]["unit"] in "ab"
    done = call(*counts, input=call(*args, "--quiet", "--temperature", "2").out)
    assert done.code == 2 and "have weights" in done.err and "draw exactly" in done.err


def test_an_acceptor_from_a_file_of_openfst(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "ab.fst"
    write_openfst(Fst.from_arcs([(0, 97, 97, 1), (1, 98, 98, 2)], 0, [2]), path)
    done = call("sample", "--model", model, "--to", "chars", "-n", "5", "--within", path)
    assert done.code == 0 and {row["text"] for row in done.rows()} == {"ab"}
    tlm = TransducedLM(load_lm(str(model)), load_target("chars"), Exact())
    assert float(done.rows()[0]["logw"]) == pytest.approx(tlm.logp("ab"), abs=1e-9)
    assert math.isfinite(tlm.logp("ab"))


def test_symbols_that_separate_words(model: Path, grammar: str) -> None:
    args = ("sample", "--model", model, "--separator", " ", "--to", "words", "-n", "3")
    done = call(*args, "--within", f"{grammar}:WORDS")
    assert done.code == 0 and {row["text"] for row in done.rows()} == {"a[SEP]b"}


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("--max-units", "0"), 2, "--max-units must be a whole number of at least 1, not 0"),
        (("--beam-width", "0"), 2, "--beam-width must be"),
        (("--greedy", "--beam-width", "2"), 2, "--greedy keeps one string"),
        (("--length-penalty", "1"), 2, "--length-penalty ranks the strings of a beam"),
        (("--beam-width", "2", "--length-penalty", "-1"), 2, "--length-penalty must be"),
        (("--top", "2"), 2, "can't come of a beam of 1"),
        (("--policy", "sample"), 2, "--policy sample estimates"),
        (("--partial", "condition"), 2, "can't be drawn"),
        (("--within", "words"), 2, "expected FILE.grm"),
        (("--within", "none.grm"), 1, "none.grm"),
    ],
)
def test_bad_input(model: Path, args: tuple[str, ...], code: int, said: str) -> None:
    done = call("decode", "--model", model, "--to", "chars", *args)
    assert done.code == code and said in done.err
    # The header, at most.
    assert done.out == b"" or (code == 1 and done.out.count(b"\n") == 1)


@pytest.mark.parametrize(
    ("rule", "args", "code", "said"),
    [
        ("NOTHING", (), 2, "accepts no string at all"),
        ("FAR", (), 1, "no string that the model can produce is in the grammar"),
        ("WRITES", (), 1, "expected an acceptor, found a transducer"),
        ("LACKS", (), 2, "[OTHER], which the target lacks"),
        ("MAIN", ("--prompt", "b"), 1, "the first 1 symbols of the prompt"),
        ("MAIN", ("--resample", "1"), 2, "--resample must be"),
        ("MAIN", ("--max-units", "0"), 2, "--max-units must be"),
        ("NONE", (), 1, "has no rule NONE"),
    ],
)
def test_bad_constraints(
    model: Path, grammar: str, rule: str, args: tuple[str, ...], code: int, said: str
) -> None:
    within = ("--within", f"{grammar}:{rule}")
    done = call("sample", "--model", model, "--to", "chars", *within, *args)
    assert (done.code, done.out) == (code, b"")
    assert said in done.err


def test_resampling_needs_a_grammar(model: Path) -> None:
    done = call("sample", "--model", model, "--to", "chars", "--resample", "8")
    assert done.code == 2 and "add --within" in done.err


def test_options_have_the_defaults_of_python() -> None:
    assert command.DecodeOptions().beam() == Beam()
