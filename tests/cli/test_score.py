"""`lmfst score`: the rows of convert, for a corpus, by workers that may be killed."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from lmfst.lm.arpa import read_tables, write_arpa
from tests.support.cli import ARPA, COMMAND, Done, environment, pipe
from tests.support.tiny import normalised

TEXTS = ["ab", "a", "bab", "", "abba", "b"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "m.arpa"
    path.write_text(ARPA)
    write_arpa(normalised(read_tables(path)), path)
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    rows = [{"id": f"d{i % 5}", "text": text, "n": i} for i, text in enumerate(TEXTS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def score(model: Path, *args: str | Path) -> Done:
    return pipe("score", *args, "--model", model, "--exact")


def convert(model: Path, *args: str | Path) -> Done:
    return pipe("convert", *args, "--model", model, "--exact")


def without_place(text: str) -> list[list[str]]:
    """Rows of TSV without the columns file and line."""
    rows = [line.split("\t") for line in text.splitlines()]
    left = [rows[0].index("file"), rows[0].index("line")]
    return [[field for at, field in enumerate(row) if at not in left] for row in rows]


@pytest.mark.parametrize("level", ["unit", "text", "summary"])
def test_rows_are_those_of_convert(model: Path, corpus: Path, level: str) -> None:
    out = corpus.with_name("out.tsv")
    done = score(model, corpus, "-o", out, "--level", level)
    assert done.code == 0, done.err
    expected = convert(model, corpus, "--level", level).out.decode()
    if level == "summary":
        assert out.read_text() == expected
    else:
        assert without_place(out.read_text()) == [
            line.split("\t") for line in expected.splitlines()
        ]
        assert out.read_text().splitlines()[1].split("\t")[8:10] == [str(corpus), "1"] or (
            level == "text"
        )


def test_parquet_is_read_by_pandas_and_duckdb(model: Path, corpus: Path) -> None:
    out, lines = corpus.with_name("out.parquet"), corpus.with_name("out.jsonl")
    for path in (out, lines):
        assert score(model, corpus, "-o", path).code == 0
    frame = pd.read_parquet(out)
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    assert len(frame) == len(rows) and list(frame.columns) == list(rows[0])
    assert np.allclose(frame["logp"], [float(row["logp"]) for row in rows], atol=1e-9)
    assert frame["n"].tolist() == [row["n"] for row in rows]
    found = duckdb.sql(f"select id, sum(surprisal) from '{out}' group by all").fetchall()
    assert {name for name, _ in found} == {f"d{i}" for i in range(5)}


def test_what_is_done_is_not_done_again(model: Path, corpus: Path) -> None:
    out = corpus.with_name("out.jsonl")
    assert score(model, corpus, "-o", out).code == 0
    before = out.read_bytes()
    again = score(model, corpus, "-o", out)
    assert again.code == 0 and "all done before" in again.err and out.read_bytes() == before
    other = score(model, corpus, "-o", out, "--level", "text")
    assert other.code == 1 and 'level: "unit" -> "text"' in other.err
    assert "--restart" in other.err and out.read_bytes() == before
    assert score(model, corpus, "-o", out, "--level", "text", "--restart").code == 0
    assert len(out.read_bytes().splitlines()) == len(TEXTS)


def test_bad_records_are_rejected_and_counted(model: Path, tmp_path: Path) -> None:
    corpus, out = tmp_path / "corpus.jsonl", tmp_path / "out.jsonl"
    corpus.write_bytes(
        b'{"text": "ab"}\n{"txt": "a"}\nnot json\n{"text": "q"}\n{"text": "abab"}\n{"text": "a"}\n'
    )
    done = score(model, corpus, "-o", out, "--max-symbols", "3", "--level", "text")
    assert done.code == 0, done.err
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["id"], row["line"]) for row in rows] == [("1", 1), ("6", 6)]
    rejects = [json.loads(line) for line in Path(f"{out}.rejects.jsonl").read_text().splitlines()]
    assert [(one["line"], one["reason"]) for one in rejects] == [
        (2, "no_text"),
        (3, "undecodable"),
        (4, "zero_probability"),
        (5, "unreadable"),
    ]
    assert all(f"{corpus}:{one['line']}" in one["message"] for one in rejects)
    assert "4 records were rejected" in done.err
    strict = score(model, corpus, "-o", out, "--max-symbols", "3", "--level", "text", "--strict")
    assert strict.code == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["corpus.jsonl", "-o", "out.csv"], 2, "expected a name that ends in"),
        (["-", "-o", "out.tsv"], 2, "read twice"),
        (["empty", "-o", "out.tsv"], 2, "empty"),
        (["corpus.jsonl", "other.tsv", "-o", "out.tsv"], 2, "other.tsv"),
        (["gone.jsonl", "-o", "out.tsv"], 1, "gone.jsonl"),
        (["corpus.jsonl", "-o", "corpus.jsonl"], 2, "one of the files that are read"),
        ([".", "-o", "out.jsonl", "--doc", "line"], 2, "would be the next time"),
        (["mixed", "-o", "out.tsv"], 2, "mixed/b.tsv"),
        (["bad.parquet", "-o", "out.tsv"], 1, "expected a Parquet file"),
        (["numbers.parquet", "-o", "out.tsv"], 1, "expected a column 'text'"),
        (["corpus.jsonl", "-o", "out.tsv", "--text-column", "no"], 0, "rejected"),
        (["corpus.jsonl", "-o", "out.tsv", "--workers", "0"], 2, "at least one worker"),
        (["corpus.jsonl", "-o", "corpus.jsonl/out.tsv"], 1, "corpus.jsonl"),
    ],
)
def test_bad_input_gets_a_message(
    model: Path,
    corpus: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(corpus.parent)
    (corpus.parent / "empty").mkdir()
    (corpus.parent / "other.tsv").write_text("text\na\n")
    (corpus.parent / "mixed").mkdir()
    (corpus.parent / "mixed" / "a.txt").write_text("a\n")
    (corpus.parent / "mixed" / "b.tsv").write_text("text\na\n")
    (corpus.parent / "bad.parquet").write_text("text\na\n")
    pd.DataFrame({"n": [1, 2]}).to_parquet(corpus.parent / "numbers.parquet")
    done = score(model, *arguments)
    assert (done.code, message in done.err) == (code, True), done.err


def test_killed_runs_go_on(model: Path, tmp_path: Path) -> None:
    corpus, out, whole = (tmp_path / name for name in ("c.txt", "out.tsv", "whole.tsv"))
    corpus.write_text("".join(f"{'ab' * (i % 40)}\n" for i in range(6000)))
    arguments = [str(corpus), "--model", str(model), "--exact", "--workers", "2", "-o"]
    assert pipe("score", *arguments, whole).code == 0
    for seconds in (1.5, 2.5, 3.0):
        run = subprocess.Popen(
            [*COMMAND, "score", *arguments, str(out)], env=environment(), stderr=subprocess.PIPE
        )
        time.sleep(seconds)
        run.send_signal(signal.SIGKILL)
        run.communicate()
    assert pipe("score", *arguments, out).code == 0
    assert out.read_bytes() == whole.read_bytes()
