"""`lmfst sample` and `lmfst counts`: formats, what goes from one to the other, bad input."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lmfst.cli import sample
from lmfst.generate.sample import sample as drawn_by
from lmfst.inference.policy import Exact
from lmfst.lm.load import load_lm
from lmfst.model import TransducedLM
from lmfst.target.load import load_target
from tests.support.cli import COMMAND, Done, call, environment
from tests.support.tiny import make_folder


def draws(model: Path, *args: str) -> Done:
    done = call("sample", "--model", model, "--exact", *args)
    assert (done.code, done.err) == (0, "")
    return done


def test_rows_are_what_python_draws(model: Path) -> None:
    tlm = TransducedLM(load_lm(str(model)), load_target("chars"), Exact())
    for said, options in (
        ((), {}),
        (("--prompt", "ab"), {"prompt": "ab"}),
        (("--prompt", "a", "--top-k", "2"), {"prompt": "a", "top_k": 2}),
        (("--temperature", "0.5", "--top-p", "0.9"), {"temperature": 0.5, "top_p": 0.9}),
        (("--max-units", "2"), {"max_units": 2}),
    ):
        found = list(drawn_by(tlm, 5, seed=3, **options))  # type: ignore[arg-type]
        args = ("--to", "chars", "-n", "5", "--seed", "3", *said)
        rows = [json.loads(line) for line in draws(model, *args, "--format", "jsonl").lines]
        assert [row["text"] for row in rows] == [one.text for one in found]
        assert [row["id"] for row in rows] == ["1", "2", "3", "4", "5"]
        assert [row["start"] for row in rows] == [one.start for one in found]
        assert [row["cut"] for row in rows] == [one.cut for one in found]
        assert [row["units"] for row in rows] == [one.units for one in found]
        assert {row["way"] for row in rows} == {found[0].way}
        for row, one in zip(rows, found, strict=True):
            assert (row["logp"] is None) == (one.logp is None)
            assert one.logp is None or row["logp"] == pytest.approx(one.logp, rel=1e-9)
        tsv = draws(model, *args).rows()
        assert [row["text"] for row in tsv] == [row["text"] for row in rows]
        assert [row["cut"] for row in tsv] == [str(row["cut"]).lower() for row in rows]


def test_a_prompt_in_source_form(model: Path) -> None:
    args = ("--to", "words", "-n", "4", "--seed", "1")
    # That the word goes on isn't certain.
    target = draws(model, *args, "--prompt", "ab").out
    assert draws(model, *args, "--prompt", "ab", "--given", "source").out == target
    assert all(row["text"].startswith("ab") for row in draws(model, *args, "--prompt", "ab").rows())


def test_what_made_the_strings(model: Path, tmp_path: Path) -> None:
    draws(
        model, "--to", "chars", "--seed", "5", "--prompt", "é", "--meta", str(tmp_path / "m.json")
    )
    facts = json.loads((tmp_path / "m.json").read_text())
    assert facts["seed"] == 5 and facts["prompt"] == "é" and facts["way"] == "cover"
    assert {"model", "fst", "lmfst", "temperature", "max_units"} <= facts.keys()


def test_bytes_of_any_kind_go_through_pipes_and_files(tmp_path: Path) -> None:
    """Tabs, line ends, backslashes, and bytes that are no UTF-8: as drawn, also as counted."""
    folder = make_folder(tmp_path / "m")
    args = ("--to", "bytes", "--model", str(folder), "-n", "30", "--seed", "2", "--max-units", "30")
    tlm = TransducedLM(load_lm(str(folder)), load_target("bytes"))
    found = list(drawn_by(tlm, 30, seed=2, max_units=30))
    data = b"".join(bytes(one.symbols) for one in found)
    assert {9, 10, 13, 92, 0xFF} <= {*data} and any(one.cut for one in found)
    expected = np.bincount(list(data), minlength=256)
    for name in ("a.tsv", "a.jsonl"):
        path = tmp_path / name
        assert call("sample", *args, "-o", path).code == 0
        done = call("counts", "--to", "bytes", "--given", "target", "--format", "jsonl", path)
        assert done.code == 0
        counts = sorted(json.loads(line)["count"] for line in done.lines)
        assert counts == sorted(expected[expected > 0].tolist())
    lines = (tmp_path / "a.tsv").read_bytes().splitlines()
    assert len(lines) == 31
    pytest.importorskip("pyarrow")
    done = call("sample", *args, "-o", tmp_path / "a.parquet")
    assert done.code == 0 and done.err.count("which Parquet can't hold") == 1


def test_drawn_strings_are_counted_without_prompt_and_with_their_ends(model: Path) -> None:
    options = ("--to", "chars", "-n", "200", "--seed", "9", "--prompt", "a", "--max-units", "2")
    done = draws(model, *options, "--format", "jsonl")
    rows = [json.loads(line) for line in done.lines]
    drawn = "".join(row["text"][row["start"] :] for row in rows)
    reading = ("--to", "chars", "--given", "target", "--doc", "jsonl", "--ends")
    counted = call("counts", *reading, input=done.out)
    assert counted.code == 0
    found = {row["unit"]: int(row["count"]) for row in counted.rows()}
    ends = sum(not row["cut"] for row in rows)
    assert 0 < ends < 200
    assert found == {**{char: drawn.count(char) for char in drawn}, "⊥": ends}


def test_counts_of_texts_need_no_model() -> None:
    done = call("counts", "--to", "words", input="the cat sat on the mat\nthe dog\n")
    assert done.code == 0
    rows = done.rows()
    assert list(rows[0]) == ["unit", "count", "p", "logp", "surprisal", "stderr"]
    assert (rows[0]["unit"], rows[0]["count"], rows[0]["p"]) == ("the", "3", "0.375")
    pairs = call("counts", "--to", "words", "--ngram", "2", input="a b a b\nb a\n").rows()
    assert [(row["before"], row["unit"], row["count"]) for row in pairs] == [
        ("a", "b", "2"),
        ("b", "a", "2"),
    ]


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("--max-units", "0"), 2, "--max-units must be a whole number of at least 1, not 0"),
        (("-n", "0"), 2, "-n must be a whole number of at least 1, not 0"),
        (("--seed", "one"), 2, "should be a valid integer"),
        (("--seed", "1.5"), 2, "should be a valid integer"),
        (("--seed", "-1"), 2, "--seed must be a whole number of at least 0"),
        (("--temperature", "0"), 2, "decode --greedy"),
        (("--temperature", "-1"), 2, "--temperature must be a number above 0"),
        (("--top-k", "0"), 2, "--top-k must be"),
        (("--top-p", "2"), 2, "--top-p must be above 0 and at most 1"),
        (("--batch", "0"), 2, "--batch must be"),
        (("--policy", "sample"), 2, "--policy sample estimates probabilities of given strings"),
        (("--partial", "condition"), 2, "can't be drawn given that the FST accepts them"),
        (("--exact", "--policy", "beam"), 2, "--policy beam is another one"),
        (("--exact", "--beam", "4"), 2, "--beam"),
        (("--given", "source"), 2, "there is no --prompt"),
        (("--prompt", "ax"), 1, "from symbol 1 (x)"),
        (("--prompt", "ax", "--top-k", "3"), 1, "from symbol 1 (x)"),
        (("-o", "x.csv"), 2, "rows are written as TSV"),
    ],
)
def test_bad_input(model: Path, args: tuple[str, ...], code: int, said: str) -> None:
    done = call("sample", "--model", model, "--to", "chars", *args)
    assert (done.code, done.out) == (code, b"")
    assert said in done.err


@pytest.mark.parametrize(
    ("args", "text", "code", "said"),
    [
        (("--ngram", "0"), "a\n", 2, "--ngram"),
        ((), "", 1, "expected texts with units to count, found none"),
        (("--ngram", "3"), "ab\n", 1, "sequences of 3 units"),
        (("--to", "nothing-such"), "a\n", 2, "nothing-such"),
        (("--doc", "jsonl"), "{}\n", 1, "text"),
    ],
)
def test_bad_input_of_counts(args: tuple[str, ...], text: str, code: int, said: str) -> None:
    done = call("counts", *args, input=text)
    assert (done.code, done.out) == (code, b"")
    assert said in done.err


def test_rows_of_sample_in_source_form_are_refused(model: Path) -> None:
    done = call("counts", "--doc", "tsv", input=draws(model, "-n", "2").out)
    assert done.code == 2 and "add --given target" in done.err


def test_a_reader_that_leaves_ends_it_quietly(model: Path) -> None:
    args = ("sample", "--model", str(model), "-n", "1000000000", "--seed", "4")
    with subprocess.Popen(
        [*COMMAND, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as running:
        assert running.stdout is not None and running.stderr is not None
        # Rows come as they are drawn.
        header, first = running.stdout.readline(), running.stdout.readline()
        running.stdout.close()
        assert (running.wait(60), running.stderr.read()) == (0, b"")
    assert draws(model, "--seed", "4").out == header + first


def test_options_have_the_defaults_of_python() -> None:
    options = sample.DrawOptions()
    assert options.asked() == type(options.asked())()
