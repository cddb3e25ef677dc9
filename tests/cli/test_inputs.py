"""What `convert` and `apply` read and write by name: folders, patterns, packed files, Parquet."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.cli import COMMAND, Done, call, environment
from tests.support.tiny import letter_bigram


@pytest.fixture(autouse=True)
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    letter_bigram(tmp_path / "g.arpa")


@pytest.fixture
def corpus() -> None:
    os.makedirs("corpus/sub")
    Path("corpus/b.txt").write_bytes(b"AC\nA\n")
    Path("corpus/a.txt.gz").write_bytes(gzip.compress(b"C\n"))
    Path("corpus/sub/c.txt").write_bytes(b"G\n")
    Path("corpus/notes.md").write_bytes(b"T\n")


CONVERT = ("convert", "--model", "g.arpa", "--exact", "--level", "text")


def ids(done: Done) -> list[str]:
    assert done.code == 0, done.err
    return [row["id"] for row in done.rows()]


def test_folders_and_patterns(corpus: None) -> None:
    files = ["corpus/a.txt.gz:1", "corpus/b.txt:1", "corpus/b.txt:2", "corpus/sub/c.txt:1"]
    assert ids(call(*CONVERT, "corpus")) == files
    assert ids(call(*CONVERT, "corpus/*.txt*")) == files[:3]
    assert ids(call(*CONVERT, "corpus/**/c.txt")) == ["1"]
    assert ids(call(*CONVERT, "corpus/n*", "-", "corpus/sub/", input=b"T\n")) == [
        "corpus/notes.md:1",
        "-:1",
        "corpus/sub/c.txt:1",
    ]
    # As named one by one.
    named = call(*CONVERT, "corpus/a.txt.gz", "corpus/b.txt", "corpus/sub/c.txt")
    assert named.out == call(*CONVERT, "corpus").out
    done = call("apply", "--to", "lower", "corpus")
    assert (done.code, done.out) == (0, b"c\nac\na\ng\n")


def test_parquet_and_zstd_in_and_out() -> None:
    pytest.importorskip("pyarrow")
    zstandard = pytest.importorskip("zstandard")
    lines = b'{"text": "AC", "note": 1}\n{"text": "G", "note": 2}\n'
    Path("in.jsonl.zst").write_bytes(zstandard.compress(lines))
    done = call(*CONVERT, "in.jsonl.zst", "-o", "rows.parquet")
    assert (done.code, done.out) == (0, b"")
    names = ("--text-column", "id", "--id-column", "note")
    again = call(*CONVERT, *names, "rows.parquet", "--format", "jsonl")
    read = [json.loads(line) for line in again.lines]
    first = [json.loads(line) for line in call(*CONVERT, "in.jsonl.zst", "--format=jsonl").lines]
    assert [row["id"] for row in read] == ["1", "2"] == [str(row["note"]) for row in first]
    assert [row["input_logp"] for row in read] == pytest.approx([row["logp"] for row in first])


def test_the_name_of_the_output_says_the_format() -> None:
    Path("in.txt").write_bytes(b"AC\n")
    for name in ("rows.jsonl", "rows.ndjson"):
        assert call(*CONVERT, "in.txt", "-o", name).code == 0
        assert json.loads(Path(name).read_text())["id"] == "1"
    assert call(*CONVERT, "in.txt", "-o", "rows.jsonl.gz").code == 0
    assert gzip.decompress(Path("rows.jsonl.gz").read_bytes()) == Path(name).read_bytes()
    assert call(*CONVERT, "in.txt", "-o", "rows").code == 0
    assert Path("rows").read_bytes() == call(*CONVERT, "in.txt").out
    assert call("next", "--model", "g.arpa", "A", "-o", "next.jsonl").code == 0
    assert "unit" in json.loads(Path("next.jsonl").read_text().splitlines()[0])


@pytest.mark.parametrize("command", [(*CONVERT, "in.txt"), ("next", "--model", "g.arpa", "A")])
def test_formats_that_contradict_names(command: tuple[str, ...]) -> None:
    Path("in.txt").write_bytes(b"AC\n")
    done = call(*command, "-o", "rows.parquet", "--format", "jsonl")
    assert done.code == 2
    assert "-o rows.parquet: the name is that of parquet, and --format says jsonl" in done.err
    done = call(*command, "-o", "rows.csv")
    assert done.code == 2 and "rows are written as TSV, JSON lines or Parquet" in done.err
    done = call(*command, "-o", "rows.tsv.zst")
    assert done.code == 2 and "not packed by zstd" in done.err
    assert sorted(os.listdir()) == ["g.arpa", "in.txt"]


def test_outputs_among_inputs(corpus: None) -> None:
    before = Path("corpus/b.txt").read_bytes()
    for output in ("corpus/rows.tsv", "corpus/sub/rows.txt", "corpus/b.txt"):
        done = call(*CONVERT, "corpus", "-o", output)
        assert done.code == 2 and f"{output}: expected an output that isn't read" in done.err
    done = call(*CONVERT, "corpus/*.t*", "-o", "corpus/rows.tsv")
    assert done.code == 2 and "it matches corpus/*.t*, and would be read the next time" in done.err
    done = call(*CONVERT, "corpus/b.txt", "-o", "corpus/../corpus/b.txt")
    assert done.code == 2 and "this is one of the files that are read" in done.err
    done = call(*CONVERT, "corpus", "--meta", "corpus/b.txt")
    assert done.code == 2 and "corpus/b.txt: expected an output" in done.err
    assert Path("corpus/b.txt").read_bytes() == before
    assert call(*CONVERT, "corpus/b.txt", "-o", "corpus/rows.tsv").code == 0
    # A first run may have been told otherwise.
    done = call(*CONVERT, "corpus/*", "-o", "corpus/rows.tsv")
    assert done.code == 2 and not Path("corpus/sub/rows.txt").exists()


@pytest.mark.parametrize("command", [CONVERT, ("apply", "--to", "lower")])
def test_a_shell_that_makes_the_output_among_the_inputs(
    corpus: None, command: tuple[str, ...]
) -> None:
    with open("corpus/rows.txt", "wb") as out:
        done = subprocess.run(
            [*COMMAND, *command, "corpus"], stdout=out, stderr=subprocess.PIPE, env=environment()
        )
    assert done.returncode == 2 and os.path.getsize("corpus/rows.txt") == 0
    assert b"the standard output: expected an output that isn't read as input" in done.stderr
    assert b"corpus/rows.txt" in done.stderr
