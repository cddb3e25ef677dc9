"""`lmfst score`: the rows of convert, for a corpus, by workers that may be killed."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from lmfst.ground import defaults
from lmfst.lm.load import model_paths
from tests.support.cli import COMMAND, Done, environment, pipe
from tests.support.pages import PAGES, write_files
from tests.support.tiny import letter_bigram, make_folder

TEXTS = ["ab", "a", "bab", "", "abba", "b"]


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


def test_the_same_job_may_be_named_in_other_words(
    model: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are known by their content, policies by what options lead to."""
    monkeypatch.chdir(model.parent)
    out = corpus.with_name("o.tsv")
    assert pipe("score", corpus, "-o", out, "--model", "m.arpa", "--exact").code == 0
    Path("link.arpa").symlink_to("m.arpa")
    budget = ["--node-budget", str(defaults.NODE_BUDGET)]
    for name in ("m.arpa", "./m.arpa", model, "link.arpa"):
        for policy in (["--exact"], ["--policy", "exact"], ["--policy", "exact", *budget]):
            done = pipe("score", corpus, "-o", out, "--model", name, *policy)
            assert done.code == 0 and "nothing to do" in done.err, (name, policy, done.err)
    manifest = json.loads(Path(f"{out}.manifest.json").read_text())
    assert manifest["named"] == {"model": "m.arpa"} and manifest["fingerprint"]["to"] == "bytes"
    assert {"torch", "numpy", "numba", "kernels"} <= manifest["machine"].keys()
    for more in (["--node-budget", "7"], ["--beam", "9", "--policy", "beam"]):
        exact = [] if "beam" in more else ["--exact"]
        done = pipe("score", corpus, "-o", out, "--model", "m.arpa", *exact, *more)
        assert done.code == 1 and "is another job" in done.err, more


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
        (
            ["corpus.jsonl", "-o", "out.tsv", "--workers", "2", "--device", "map"],
            2,
            "is there once",
        ),
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


@dataclass
class Long:
    """A run that takes some seconds. out: its output; whole: what that has to be."""

    arguments: list[str]
    corpus: Path
    out: Path
    whole: Path

    def start(self) -> subprocess.Popen[bytes]:
        """One that has finished a shard, at least."""
        log = self.out.with_suffix(".log")
        run = subprocess.Popen(
            [*COMMAND, "score", *self.arguments, "-o", str(self.out), "--log-json", str(log)],
            env=environment(),
            stderr=subprocess.PIPE,
        )
        while run.poll() is None and not (log.exists() and b'"shard"' in log.read_bytes()):
            time.sleep(0.02)
        return run

    def again(self) -> Done:
        return pipe("score", *self.arguments, "-o", self.out)


@pytest.fixture
def long(model: Path, tmp_path: Path) -> Long:
    corpus, out, whole = (tmp_path / name for name in ("c.txt", "out.tsv", "whole.tsv"))
    corpus.write_text("".join(f"{'ab' * (i % 40)}\n" for i in range(6000)))
    arguments = [str(corpus), "--model", str(model), "--exact", "--workers", "2"]
    assert pipe("score", *arguments, "-o", whole).code == 0
    return Long(arguments, corpus, out, whole)


def test_killed_runs_go_on(long: Long) -> None:
    for seconds in (0.0, 0.3, 0.6):
        run = long.start()
        time.sleep(seconds)
        run.send_signal(signal.SIGKILL)
        run.communicate()
    assert long.again().code == 0
    assert long.out.read_bytes() == long.whole.read_bytes()


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_says_how_to_go_on(long: Long, sent: signal.Signals, code: int) -> None:
    # A shell has what it runs in the background ignore interrupts, its processes, too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run = long.start()
    finally:
        signal.signal(signal.SIGINT, before)
    run.send_signal(sent)
    _, said = run.communicate()
    assert run.returncode == code
    assert b"interrupted; what is done is kept in out.tsv.work: the same command goes on" in said


def test_a_shard_that_was_damaged_is_done_again(long: Long) -> None:
    run = long.start()
    run.kill()
    run.communicate()
    shard = min(Path(f"{long.out}.work").glob("*.rows"))
    data = shard.read_bytes()
    shard.write_bytes(data.replace(b"a", b"b", 1))
    done = long.again()
    assert done.code == 0
    assert f"{shard} is damaged: shard {int(shard.stem)} is done again" in done.err
    assert long.out.read_bytes() == long.whole.read_bytes()


def test_a_corpus_that_changes_is_an_error(long: Long) -> None:
    before = long.corpus.read_bytes()
    run = long.start()
    long.corpus.write_bytes(before + b"ab\n")
    said = run.communicate()[1].decode()
    assert run.returncode == 1 and "the corpus changed while it was read" in said
    long.corpus.write_bytes(before)
    assert long.again().code == 0
    assert long.out.read_bytes() == long.whole.read_bytes()


def test_the_manifest_of_a_newer_version_is_refused(model: Path, corpus: Path) -> None:
    out = corpus.with_name("out.jsonl")
    assert score(model, corpus, "-o", out).code == 0
    manifest = Path(f"{out}.manifest.json")
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 99}))
    done = score(model, corpus, "-o", out)
    assert done.code == 1 and "was written by a newer lmfst" in done.err


def test_what_is_missing_is_told_of_the_whole_job(model: Path, corpus: Path) -> None:
    """Once, in the words of convert, also by a run that has nothing to do."""
    for command, more in (("convert", []), ("score", ["-o", corpus.with_name("o.tsv")])):
        for _ in range(2):
            arguments = [corpus, "--model", model, "--threshold", "0.3", "--beam", "1", *more]
            done = pipe(command, *arguments)
            assert done.code == 0
            assert done.err.count("of 6 documents lack more than 0.1 nats") == 1


def test_letters_in_the_other_case_are_told_of_the_whole_job(tmp_path: Path) -> None:
    dna, corpus = tmp_path / "dna.arpa", tmp_path / "c.fa"
    letter_bigram(dna)
    corpus.write_text(">a\nACgT\n>b\nggC\n")
    done = pipe("score", corpus, "--model", dna, "--exact", "-o", tmp_path / "o.tsv")
    assert done.code == 0
    assert "3 letters of 2 documents, the first of them" in done.err


def test_what_was_rejected_is_in_no_advice(tmp_path: Path) -> None:
    """Neither its letters nor what is missing of it."""
    dna, corpus = tmp_path / "dna.arpa", tmp_path / "c.fa"
    letter_bigram(dna)
    corpus.write_text(">a\nACGT\n>b\nggCaaaaa\n>c\naX\n>d\nAc\n")
    done = pipe(
        "score", corpus, "--model", dna, "--exact", "-o", tmp_path / "o.tsv", "--max-symbols", "6"
    )
    assert done.code == 0 and "2 records were rejected" in done.err
    assert f"1 letter of {corpus}:7: record 'd' is read in" in done.err


def test_columns_are_those_of_the_corpus_without_rows_too(model: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "c.jsonl"
    corpus.write_text('{"text": "xyz", "n": 1, "unit": "u"}\n')
    for suffix in ("tsv", "parquet"):
        out = tmp_path / f"o.{suffix}"
        done = score(model, corpus, "-o", out, "--level", "text")
        assert done.code == 0 and "0 rows" in done.err
        found = pd.read_csv(out, sep="\t") if suffix == "tsv" else pd.read_parquet(out)
        assert len(found) == 0 and [*found.columns][-4:] == ["file", "line", "n", "unit"]


def test_a_summary_is_one_row(model: Path, corpus: Path) -> None:
    done = score(model, corpus, "-o", corpus.with_name("o.tsv"), "--level", "summary")
    assert done.code == 0 and "6 documents, 1 row," in done.err


def test_the_page_on_corpora_reads_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (snippet,) = re.findall(
        r"<!-- parquet -->\n```py\n(.*?)```", PAGES["docs/how-to/corpora.md"], re.DOTALL
    )
    monkeypatch.chdir(write_files(tmp_path))
    more = ["--to", "amino", "--model", "dna.arpa", "--exact", "-o", "genes.parquet"]
    assert pipe("score", "genes.jsonl", *more).code == 0
    found: dict[str, Any] = {}
    exec(compile(snippet, "corpora.md", "exec"), found)
    assert found["by_gene"].to_dict() == pytest.approx(
        {"ygaA": 13.32446855 / math.log(2), "ygaB": 17.30212055 / math.log(2)}
    )
    assert found["worst"][0][1] == "M"
    assert len(found["worst"]) == 3


def test_a_model_that_changes_is_an_error(long: Long, model: Path) -> None:
    """A worker that begins later would score by another one."""
    before = model.read_bytes()
    other = Path(long.arguments[2])
    try:
        run = long.start()
        other.write_bytes(b"another one\n" + before)
        for worker in children(run.pid):
            os.kill(worker, signal.SIGKILL)
        said = run.communicate()[1].decode()
    finally:
        other.write_bytes(before)
    assert run.returncode == 1 and "the model files changed after the job had begun" in said
    assert long.again().code == 0
    assert long.out.read_bytes() == long.whole.read_bytes()


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_tokenizer_of_other_merges_is_another_model(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    (folder / "merges.txt").write_text("a b\n")
    paths = model_paths(str(folder), None, str)
    assert str(folder / "merges.txt") in paths and str(folder / "model.safetensors") in paths


def test_too_much_for_one_document_is_no_end(model: Path, corpus: Path) -> None:
    out = corpus.with_name("o.tsv")
    done = score(model, corpus, "-o", out, "--level", "text", "--node-budget", "3")
    assert done.code == 0
    rejects = [json.loads(line) for line in Path(f"{out}.rejects.jsonl").read_text().splitlines()]
    assert rejects and all("needs more than 3 nodes" in one["message"] for one in rejects)
    assert all(one["message"].startswith(f"{corpus}:{one['line']}: ") for one in rejects)
    assert len(out.read_text().splitlines()) - 1 + len(rejects) == len(TEXTS)


def test_nobody_s_files_are_replaced(model: Path, corpus: Path) -> None:
    out = corpus.with_name("o.tsv")
    own = Path(f"{out}.rejects.jsonl")
    own.write_text("mine\n")
    done = score(model, corpus, "-o", out)
    assert done.code == 1 and f"{own} is there already" in done.err
    assert own.read_text() == "mine\n"
    for place in (own, out):
        done = score(model, corpus, "-o", out, "--log-json", place)
        assert done.code == 2 and "the job writes rows there" in done.err
    own.unlink()
    assert score(model, corpus, "-o", out, "--batch-tokens", "0").code == 2
    assert not Path(f"{out}.work").exists()
