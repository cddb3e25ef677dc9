"""Jobs from beginning to end: what they write, what they refuse, how they go on."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import pytest

from lmfst.corpus import Corpus, Progress, Watch, run_job
from lmfst.corpus.join import JoinLines
from lmfst.corpus.records import MakeWriter
from lmfst.ground.document import Document, Rejected
from lmfst.ground.errors import BudgetError, InputError, LmfstError, UsageError
from tests.corpus import fakes
from tests.corpus.fakes import (
    Ending,
    Full,
    Odd,
    Watched,
    deadly,
    failing,
    failing_at,
    hungry,
    job,
    lines,
    read_lines,
    slow,
)
from tests.support.pages import REPOSITORY


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus"
    path.write_bytes(lines(40))
    return path


def expected_rows(corpus: Path) -> list[dict[str, Any]]:
    """What the rows are, without shards, workers and files."""
    documents = [item for item in read_lines(str(corpus), 0) if isinstance(item, Document)]
    results = fakes.Fake().score(documents, 0, 1)
    return [row for _, result in results if not isinstance(result, Rejected) for row in result.rows]


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text().splitlines()]


def rejects(out: Path) -> list[dict[str, Any]]:
    return rows(Path(f"{out}.rejects.jsonl"))


def interrupted(corpus: Path, out: Path, after: int, **more: Any) -> None:
    """A job that ends when so many shards are done."""
    watched = Watched()

    def stop(event: str, facts: Any) -> None:
        if watched.count("shard") == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(job([corpus], out, **more), watched.watch(stop))


# --- rows --------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 3])
def test_rows_and_rejected_records_are_in_order(corpus: Path, tmp_path: Path, workers: int) -> None:
    out, watched = tmp_path / "out.jsonl", Watched()
    outcome = run_job(job([corpus], out, workers=workers), watched.watch())
    assert rows(out) == expected_rows(corpus)
    texts = corpus.read_bytes().split(b"\n")[:-1]
    bad = [
        (number, "mark" if text.startswith(b"!") else "question")
        for number, text in enumerate(texts, start=1)
        if text.startswith(b"!") or b"?" in text
    ]
    assert [(found["line"], found["reason"]) for found in rejects(out)] == bad
    assert {found["file"] for found in rejects(out)} == {str(corpus)}
    done = outcome.done
    assert (done.documents, done.rejected, done.rows) == (len(texts), len(bad), len(rows(out)))
    assert done.symbols == done.rows
    assert done.missing == pytest.approx(done.rows / 1000)
    last = watched.progress[-1]
    assert (last.documents, last.rejected, last.symbols) == (done.documents, len(bad), done.symbols)
    assert (last.share, last.seconds_left) == (1.0, 0.0)
    assert not watched.warnings
    assert not Path(f"{out}.work").exists()


def test_several_files_are_one_corpus(tmp_path: Path) -> None:
    """Shards reach over the ends of files; documents are counted in the corpus."""
    files = [tmp_path / name for name in "abcd"]
    for number, path in enumerate(files):
        path.write_bytes(b"" if number == 2 else b"x%d\ny%d\nz\n" % (number, number))
    out = tmp_path / "out.jsonl"
    run_job(job(files, out))
    assert "".join(row["unit"] for row in rows(out)) == "x0y0zx1y1zx3y3z"
    assert sorted({row["number"] for row in rows(out)}) == list(range(9))


@pytest.mark.parametrize("suffix", [".jsonl", ".tsv", ".parquet"])
def test_a_corpus_without_rows(tmp_path: Path, suffix: str) -> None:
    """All rejected, or nothing there: tables have their columns all the same."""
    corpus, out = tmp_path / "corpus", tmp_path / f"out{suffix}"
    for text, count in ((b"", 0), (b"!a\n!b\n!c\n!d\n!e\n", 5)):
        corpus.write_bytes(text)
        assert run_job(job([corpus], out, restart=True)).done.rejected == count
        if suffix == ".tsv":
            assert out.read_text() == "\t".join(fakes.COLUMNS) + "\n"
        elif suffix == ".jsonl":
            assert out.read_bytes() == b""
        else:
            import pyarrow.parquet as pq

            assert pq.read_table(out).column_names == list(fakes.COLUMNS)
    assert len(rejects(out)) == 5
    corpus.write_bytes(b"good\n")
    run_job(job([corpus], out, restart=True))
    assert not Path(f"{out}.rejects.jsonl").exists(), "left from an earlier job"


def test_scorers_get_no_empty_lists(tmp_path: Path) -> None:
    """Shards may have rejected records alone."""
    corpus, out = tmp_path / "corpus", tmp_path / "out.jsonl"
    corpus.write_bytes(b"!\n" * 4 + b"good\n")
    run_job(job([corpus], out, make_scorer=fakes.picky))
    assert "".join(row["unit"] for row in rows(out)) == "good"
    assert [found["id"] for found in rejects(out)] == [None] * 4


def test_scorers_may_warn(corpus: Path, tmp_path: Path) -> None:
    watched = Watched()
    given = job([corpus], tmp_path / "out.jsonl", make_scorer=fakes.talking, workers=2)
    run_job(given, watched.watch())
    assert watched.warnings == ["a word of the scorer"], "once, however many workers say it"
    assert watched.notes == ["it takes long"]


# --- going on ----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".jsonl", ".tsv", ".parquet"])
def test_an_interrupted_job_goes_on(corpus: Path, tmp_path: Path, suffix: str) -> None:
    whole, out = tmp_path / f"whole{suffix}", tmp_path / f"out{suffix}"
    run_job(job([corpus], whole))
    interrupted(corpus, out, 3, workers=2)
    assert not out.exists()
    began = Watched()
    run_job(job([corpus], out), began.watch())
    assert began.events[0][1]["shards_done"] == 3
    assert out.read_bytes() == whole.read_bytes()
    assert Path(f"{out}.rejects.jsonl").read_bytes() == Path(f"{whole}.rejects.jsonl").read_bytes()
    assert began.progress[0].documents >= 6, "what was done before counts"


def test_a_finished_job_says_so(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    done = run_job(job([corpus], out)).done
    content, changed = out.read_bytes(), out.stat().st_mtime_ns
    again = run_job(job([corpus], out))
    assert again.already and again.done == done
    assert out.stat().st_mtime_ns == changed
    assert not Path(f"{out}.work").exists()
    os.utime(out)  # touched, and still what it was
    assert run_job(job([corpus], out)).already
    out.write_bytes(content + b"{}\n")
    with pytest.raises(InputError, match="isn't any more what the job has written"):
        run_job(job([corpus], out))
    out.unlink()
    assert not run_job(job([corpus], out)).already
    assert out.read_bytes() == content


def test_an_interrupted_restart_goes_on_without_one(corpus: Path, tmp_path: Path) -> None:
    """The old output stays until the new one is there, and isn't taken for it."""
    out = tmp_path / "out.jsonl"
    run_job(job([corpus], out))
    old = out.read_bytes()
    corpus.write_bytes(lines(40, seed=9))
    interrupted(corpus, out, 2, restart=True)
    assert out.read_bytes() == old
    watched = Watched()
    assert not run_job(job([corpus], out), watched.watch()).already
    assert watched.events[0][1]["shards_done"] == 2
    assert rows(out) == expected_rows(corpus)
    assert run_job(job([corpus], out)).already


def test_a_link_stays_and_permissions_too(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    out, target = tmp_path / "out.jsonl", tmp_path / "far" / "rows.jsonl"
    out.symlink_to(target)
    run_job(job([corpus], out))
    assert out.is_symlink() and rows(target) == expected_rows(corpus)
    target.chmod(0o640)
    run_job(job([corpus], out, restart=True))
    assert target.stat().st_mode & 0o777 == 0o640
    assert run_job(job([corpus], target)).already


def test_what_another_job_has_begun_is_refused(corpus: Path, tmp_path: Path) -> None:
    """With each difference, while it runs and when it is done, and nothing is lost."""
    out = tmp_path / "out.jsonl"
    other = {"model": "larger", "columns": "id number unit logp", "policy": "exact"}
    said = r'model: "fake" -> "larger"\n  policy: nothing -> "exact"'
    interrupted(corpus, out, 2)
    with pytest.raises(InputError, match=said) as caught:
        run_job(job([corpus], out, fingerprint=other))
    assert "--restart" in caught.value.hint
    watched = Watched()
    run_job(job([corpus], out), watched.watch())
    assert watched.events[0][1]["shards_done"] == 2
    with pytest.raises(InputError, match=said):
        run_job(job([corpus], out, fingerprint=other))
    assert not run_job(job([corpus], out, fingerprint=other, restart=True)).already
    assert run_job(job([corpus], out, fingerprint=other)).already


def test_another_corpus_is_refused(corpus: Path, tmp_path: Path) -> None:
    out, second = tmp_path / "out.jsonl", tmp_path / "second"
    second.write_bytes(b"more\n")
    interrupted(corpus, out, 1)
    with pytest.raises(InputError, match=rf"inputs: {corpus} -> {corpus}, {second}"):
        run_job(job([corpus, second], out))
    corpus.write_bytes(corpus.read_bytes() + b"one more\n")
    with pytest.raises(InputError, match=rf"input {corpus}: \d+ bytes, sha256 \w+ -> \d+ bytes"):
        run_job(job([corpus], out))
    run_job(job([corpus], out, restart=True))
    assert rows(out) == expected_rows(corpus)
    corpus.write_bytes(b"x" + corpus.read_bytes()[1:])
    with pytest.raises(InputError, match="another job"):
        run_job(job([corpus], out))


def test_a_corpus_that_changes_meanwhile(corpus: Path, tmp_path: Path) -> None:
    out, before = tmp_path / "out.jsonl", corpus.read_bytes()
    watched = Watched()

    def change(event: str, facts: Any) -> None:
        if watched.count("shard") == 9:
            corpus.write_bytes(before[:-2] + b"Z\n")

    with pytest.raises(InputError, match="the corpus changed while it was read") as caught:
        run_job(job([corpus], out), watched.watch(change))
    assert "put it back" in caught.value.hint
    assert not out.exists()
    corpus.write_bytes(before)
    again = Watched()
    run_job(job([corpus], out), again.watch())
    assert again.count("shard") == 0, "all were done already"
    assert rows(out) == expected_rows(corpus)


@pytest.mark.parametrize("after", [4, 99])
@pytest.mark.parametrize("change", ["longer", "shorter", "other"])
def test_what_was_read_of_another_corpus_is_done_again(
    corpus: Path, tmp_path: Path, change: str, after: int
) -> None:
    """The corpus was another one while an earlier run read it, which shows in its stamp alone."""
    out, before = tmp_path / "out.jsonl", corpus.read_bytes()
    lines_ = before.splitlines(keepends=True)
    others = {
        "longer": before + b"more\n" * 9,
        "shorter": b"".join(lines_[:30]),
        "other": b"".join([*lines_[:9], b"Z\n", *lines_[10:]]),
    }
    corpus.write_bytes(others[change])
    items = list(read_lines(str(corpus), 0))
    corpus.write_bytes(before)
    other = Corpus([str(corpus)], lambda path, skip: iter(items[skip:]))
    watched = Watched()

    def stop(event: str, facts: Any) -> None:
        if event == "join" or watched.count("shard") == after:
            raise KeyboardInterrupt

    # The end of the other corpus is noted, and then the run ends before its records are looked at.
    with pytest.raises((KeyboardInterrupt, InputError)):
        run_job(replace(job([corpus], out), corpus=other), watched.watch(stop))
    again = Watched()
    run_job(job([corpus], out), again.watch())
    assert rows(out) == expected_rows(corpus)
    said = [text for text in again.warnings if "the corpus was another one" in text]
    assert len(said) == 1 or (after == 4 and change != "other" and not said)


def test_a_damaged_shard_is_done_again(corpus: Path, tmp_path: Path) -> None:
    """Seen at once by its size, or by its checksum before the shards are joined; with a warning."""
    out = tmp_path / "out.jsonl"
    work = Path(f"{out}.work")
    for damage in ("cut", "changed", "gone", "rejects"):
        interrupted(corpus, out, 6)
        kind = "rejects" if damage == "rejects" else "rows"
        path = sorted(work.glob(f"*.{kind}"))[1]
        if damage == "cut":
            os.truncate(path, 10)
        elif damage == "gone":
            path.unlink()
        else:
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
        watched = Watched()
        run_job(job([corpus], out), watched.watch())
        (warning,) = watched.warnings
        assert f"{path} is damaged: shard {int(path.stem)} is done again" == warning
        assert rows(out) == expected_rows(corpus)
        for left in tmp_path.glob("out.jsonl*"):
            left.unlink()


@pytest.mark.parametrize("suffix", [".tsv", ".parquet"])
def test_a_damaged_shard_decides_on_no_columns(corpus: Path, tmp_path: Path, suffix: str) -> None:
    out, whole = tmp_path / f"out{suffix}", tmp_path / f"whole{suffix}"
    run_job(job([corpus], whole))
    interrupted(corpus, out, 3)
    path = min(Path(f"{out}.work").glob("*.rows"))
    path.write_bytes(b"?" * path.stat().st_size)
    watched = Watched()
    run_job(job([corpus], out), watched.watch())
    assert len(watched.warnings) == 1 and "is damaged" in watched.warnings[0]
    assert out.read_bytes() == whole.read_bytes()


def test_batch_tokens_and_threads_stay(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    interrupted(corpus, out, 1, machine={"device": "cpu"})
    watched = Watched()
    more = {"batch_tokens": 8, "threads": 2, "machine": {"device": "cuda"}}
    run_job(job([corpus], out, **more), watched.watch())
    begun, tokens, threads = watched.warnings
    assert "begun with device cpu, goes on with cuda" in begun
    assert "begun with 64 batch tokens" in tokens and "not with 8" in tokens
    assert "begun with 1 threads a worker" in threads
    manifest = json.loads(Path(f"{out}.manifest.json").read_text())
    assert (manifest["batch_tokens"], manifest["threads"]) == (64, 1)


# --- what can't be -----------------------------------------------------------------------------


def test_outputs_that_cannot_be(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.tsv").mkdir()
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "theirs.tsv").write_bytes(b"kept")
    os.mkfifo(tmp_path / "pipe.tsv")
    for name, said in {
        "folder.tsv": "it is a folder",
        "file/out.tsv": "is no folder",
        "nowhere/out.tsv": "No such file",
        "pipe.tsv": "it is no ordinary file",
        "theirs.tsv": "is there already",
    }.items():
        with pytest.raises(InputError, match=said):
            run_job(job([corpus], tmp_path / name))
    with pytest.raises(UsageError, match="expected an output that ends in"):
        run_job(job([corpus], tmp_path / "out.csv"))
    with pytest.raises(UsageError, match="is a file of the corpus"):
        run_job(job([corpus.rename(tmp_path / "a.tsv")], tmp_path / "a.tsv"))
    with pytest.raises(UsageError, match="at least one worker"):
        run_job(job([corpus], tmp_path / "out.tsv", workers=0))
    assert (tmp_path / "theirs.tsv").read_bytes() == b"kept"
    assert not list(tmp_path.glob("*.work"))


def test_folders_of_others_are_left_alone(corpus: Path, tmp_path: Path) -> None:
    out, work = tmp_path / "out.jsonl", tmp_path / "out.jsonl.work"
    work.mkdir()
    (work / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="found other files"):
        run_job(job([corpus], out, restart=True))
    (work / "lock").write_bytes(b"")
    run_job(job([corpus], out))
    assert [path.name for path in work.iterdir()] == ["thesis.tex"]


def test_corpora_that_cannot_be(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, said in {"pipe": "expected a file", "missing": "expected a readable file"}.items():
        with pytest.raises(InputError, match=said):
            run_job(job([tmp_path / name], tmp_path / "out.jsonl"))
    assert not list(tmp_path.glob("out*"))


def broken(path: str, skip: int) -> Iterator[Document | Rejected]:
    for number, item in enumerate(read_lines(path, 0)):
        if number == 17:
            raise InputError("the end of the file is damaged")
        if number >= skip:
            yield item


def test_errors_of_reading_end_a_job(corpus: Path, tmp_path: Path) -> None:
    given = job([corpus], tmp_path / "out.jsonl")
    bad = job([corpus], tmp_path / "out.jsonl")
    object.__setattr__(bad, "corpus", Corpus([str(corpus)], broken))
    with pytest.raises(InputError, match="the end of the file is damaged"):
        run_job(bad)
    run_job(given)
    assert rows(tmp_path / "out.jsonl") == expected_rows(corpus)


def test_a_full_disk_keeps_the_work(corpus: Path, tmp_path: Path) -> None:
    corpus.write_bytes(b"abc\n" * 20 + b"abz\n")
    out = tmp_path / "out.jsonl"
    with pytest.raises(InputError, match="No space left") as caught:
        run_job(job([corpus], out, make_writer=partial(Full, letter="z")))
    assert "free some space" in caught.value.hint
    assert f"what is done is kept in {out}.work" in caught.value.hint
    watched = Watched()
    run_job(job([corpus], out), watched.watch())
    assert watched.count("shard") < 6
    assert rows(out) == expected_rows(corpus)


@pytest.mark.parametrize("resumed", [False, True])
def test_rows_that_are_no_table_end_a_job_early(tmp_path: Path, resumed: bool) -> None:
    corpus, out = tmp_path / "corpus", tmp_path / "out.tsv"
    corpus.write_bytes(b"abc\n" * 8 + b"abz\n" + b"abc\n" * 300)
    if resumed:
        interrupted(corpus, out, 1)
    watched = Watched()
    with pytest.raises(InputError, match="can't be one table: id, more after id, number"):
        run_job(job([corpus], out, make_writer=partial(Odd, letter="z")), watched.watch())
    assert watched.count("shard") < 9, "long before all are scored"


def test_a_limit_on_files_keeps_the_work(corpus: Path, tmp_path: Path) -> None:
    """Shards fit, and the whole doesn't."""
    out = tmp_path / "out.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
        with pytest.raises(InputError, match="File too large") as caught:
            run_job(job([corpus], out))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "is kept in" in caught.value.hint and not out.exists()
    watched = Watched()
    run_job(job([corpus], out), watched.watch())
    assert watched.count("shard") == 0
    assert rows(out) == expected_rows(corpus)


def test_a_second_run_is_refused(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    ready, tried = threading.Event(), threading.Event()

    def wait(event: str, facts: Any) -> None:
        if event == "begin":
            ready.set()
            assert tried.wait(20)

    def first() -> None:
        run_job(job([corpus], out), Watched().watch(wait))

    thread = threading.Thread(target=first)
    thread.start()
    assert ready.wait(20)
    try:
        with pytest.raises(
            InputError, match=rf"another run \(pid {os.getpid()}\) is writing {out}"
        ):
            run_job(job([corpus], out, restart=True))
    finally:
        tried.set()
        thread.join()
    assert rows(out) == expected_rows(corpus)


# --- workers -----------------------------------------------------------------------------------


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder


def with_word(corpus: Path, word: bytes) -> None:
    texts = corpus.read_bytes().split(b"\n")
    texts[9] = b"a good " + word
    corpus.write_bytes(b"\n".join(texts))


def test_a_worker_that_dies_is_replaced(corpus: Path, tmp_path: Path, marks: Path) -> None:
    with_word(corpus, b"death")
    out, watched = tmp_path / "out.jsonl", Watched()
    make = partial(deadly, word=b"death", marks=str(marks), times=2)
    run_job(job([corpus], out, make_scorer=make, workers=2), watched.watch())
    assert rows(out) == expected_rows(corpus)
    assert len(watched.warnings) == watched.count("worker") == 2
    assert "has ended by signal SIGKILL at shard" in watched.warnings[0]
    assert watched.progress[-1].documents == 40


def test_a_shard_that_kills_three_workers(corpus: Path, tmp_path: Path, marks: Path) -> None:
    with_word(corpus, b"death")
    out = tmp_path / "out.jsonl"
    make = partial(deadly, word=b"death", marks=str(marks), times=99)
    given = job([corpus], out, make_scorer=make)
    with pytest.raises(
        LmfstError, match="has ended 3 workers, the last one by signal SIGKILL"
    ) as e:
        run_job(given, Watched().watch())
    assert "--keep-going" in e.value.hint
    watched = Watched()
    outcome = run_job(job([corpus], out, make_scorer=make, keep_going=True), watched.watch())
    assert len(outcome.done.lost) == 1
    assert "it is left out" in watched.warnings[-1]
    lost = [found for found in rejects(out) if found["reason"] == "killed_workers"]
    assert 10 in [found["line"] for found in lost] and len(lost) <= 4
    assert [found["line"] for found in rejects(out)] == sorted(f["line"] for f in rejects(out))
    gone = {found["id"] for found in lost}
    assert rows(out) == [row for row in expected_rows(corpus) if row["id"] not in gone]


def only_lost(corpus: Path, out: Path, **more: Any) -> list[str]:
    """The ids that a job leaves out which keeps going; all else must be there."""
    run_job(job([corpus], out, keep_going=True, **more), Watched().watch())
    lost = [found["id"] for found in rejects(out) if found["reason"] == "killed_workers"]
    assert rows(out) == [row for row in expected_rows(corpus) if row["id"] not in lost]
    return lost


def test_only_the_shard_that_kills_is_left_out(corpus: Path, tmp_path: Path, marks: Path) -> None:
    """Not the one that is finished while it is scored, nor the one that is scored while it is
    finished."""
    with_word(corpus, b"zzz")
    ending = partial(Ending, letter="z", seconds=0.1, marks=str(marks))
    scoring = only_lost(
        corpus,
        tmp_path / "a.jsonl",
        make_scorer=partial(deadly, word=b"zzz", marks=str(marks), times=99),
        make_writer=partial(ending, how="nothing"),
    )
    finishing = only_lost(
        corpus,
        tmp_path / "b.jsonl",
        make_scorer=partial(slow, seconds=0.1),
        make_writer=partial(ending, how="killed"),
    )
    assert scoring == finishing and "10" in finishing and len(finishing) <= 4


def test_what_is_scored_is_kept_when_the_next_shard_fails(
    corpus: Path, tmp_path: Path, marks: Path
) -> None:
    """Also while it is being finished. The error is told whatever its class is."""
    with_word(corpus, b"zzz")
    out, again = tmp_path / "out.jsonl", Watched()
    ending = partial(Ending, letter="-", how="nothing", seconds=0.3, marks=str(marks))
    make = partial(failing_at, word=b"zzz")
    with pytest.raises(RuntimeError, match="Picked: no more"):
        run_job(job([corpus], out, make_scorer=make, make_writer=ending))
    run_job(job([corpus], out), again.watch())
    [begun] = [facts for name, facts in again.events if name == "begin"]
    assert begun["shards_done"] == 3
    assert rows(out) == expected_rows(corpus)


def test_errors_while_a_shard_is_finished(corpus: Path, tmp_path: Path, marks: Path) -> None:
    """Also of the last shard, after which a worker waits."""
    corpus.write_bytes(corpus.read_bytes() + b"zzz\n")
    ending = partial(Ending, letter="z", seconds=0.0, marks=str(marks))
    with pytest.raises(InputError, match="No space left on device"):
        run_job(job([corpus], tmp_path / "a.jsonl", make_writer=partial(ending, how="disk")))
    out, watched = tmp_path / "b.jsonl", Watched()
    run_job(job([corpus], out, make_writer=partial(ending, how="memory")), watched.watch())
    assert rows(out) == expected_rows(corpus)
    assert "it is begun again with 32" in watched.warnings[0]


class Unwritten(JoinLines):
    """Ends a job before its output is there."""

    def join(self, paths: Sequence[Path], to: IO[bytes], make_writer: MakeWriter) -> None:
        raise LmfstError("not now")


def test_a_shard_that_was_left_out_is_tried_again(
    corpus: Path, tmp_path: Path, marks: Path
) -> None:
    """By the next run, as long as the job isn't finished."""
    with_word(corpus, b"death")
    out = tmp_path / "out.jsonl"
    make = partial(deadly, word=b"death", marks=str(marks), times=3)
    with pytest.raises(LmfstError, match="not now"):
        run_job(
            job([corpus], out, make_scorer=make, keep_going=True, join=Unwritten), Watched().watch()
        )
    assert len(list(marks.iterdir())) == 3
    outcome = run_job(job([corpus], out, make_scorer=make, keep_going=True))
    assert outcome.done.lost == [] and rows(out) == expected_rows(corpus)


def test_workers_that_never_begin(corpus: Path, tmp_path: Path) -> None:
    watched = Watched()
    with pytest.raises(LmfstError, match=r"3 workers have ended before they were ready, .* code 7"):
        run_job(job([corpus], tmp_path / "o.jsonl", make_scorer=fakes.stillborn), watched.watch())


def test_without_memory_a_shard_is_begun_again(corpus: Path, tmp_path: Path) -> None:
    """With half the batch tokens, and so on; the ledger keeps them."""
    with_word(corpus, b"much")
    out, watched = tmp_path / "out.jsonl", Watched()
    run_job(
        job([corpus], out, make_scorer=partial(hungry, word=b"much", enough=20)), watched.watch()
    )
    assert rows(out) == expected_rows(corpus)
    assert len(watched.warnings) == 2
    assert "with 64 batch tokens; it is begun again with 32" in watched.warnings[0]
    assert "with 32 batch tokens; it is begun again with 16" in watched.warnings[1]
    with pytest.raises(BudgetError, match="one batch token at a time: 1 are too many"):
        run_job(
            job([corpus], out, make_scorer=partial(hungry, word=b"much", enough=0), restart=True),
            Watched().watch(),
        )


def test_errors_of_scorers_come_to_the_parent(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the model is gone") as caught:
        run_job(job([corpus], tmp_path / "a.jsonl", make_scorer=partial(failing, word=b"")))
    assert caught.value.hint == "bring it back"
    with pytest.raises(ZeroDivisionError, match="a bug") as bug:
        run_job(job([corpus], tmp_path / "b.jsonl", make_scorer=partial(failing, word=b"bug")))
    assert "fakes.py" in bug.value.__notes__[0]
    with pytest.raises(RuntimeError, match="fewer results"):
        run_job(job([corpus], tmp_path / "c.jsonl", make_scorer=fakes.forgetful))
    with pytest.raises(RuntimeError, match="second result of document 0"):
        run_job(job([corpus], tmp_path / "d.jsonl", make_scorer=fakes.twice))


def test_results_come_in_any_order(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    run_job(job([corpus], out, make_scorer=fakes.shuffled))
    assert rows(out) == expected_rows(corpus)


def test_facts_of_shards_are_gathered_in_their_order(corpus: Path, tmp_path: Path) -> None:
    def gather(facts: Iterable[dict[str, Any]]) -> dict[str, Any]:
        return {"shards": [found for found in facts if found]}

    out, whole = tmp_path / "out.jsonl", tmp_path / "whole.jsonl"
    interrupted(corpus, out, 3, workers=2)
    found = run_job(job([corpus], out, gather=gather)).done.facts
    assert [one["first"] for one in found["shards"]] == sorted(
        {one["first"] for one in found["shards"]}
    )
    documents = [item for item in read_lines(str(corpus), 0) if isinstance(item, Document)]
    assert sum(one["documents"] for one in found["shards"]) == len(documents)
    assert found == run_job(job([corpus], whole, gather=gather)).done.facts
    assert run_job(job([corpus], out, gather=gather)).done.facts == found


def test_workers_share_threads_and_gpus(corpus: Path, tmp_path: Path) -> None:
    names = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    out = tmp_path / "out.jsonl"
    make = partial(fakes.environment, names=names)
    given = {"make_scorer": make, "workers": 2, "threads": 3, "gpus": ("4", "6")}
    run_job(job([corpus], out, **given))
    assert {row["unit"] for row in rows(out)} == {"3,4", "3,6"}


def test_jobs_are_light(corpus: Path, tmp_path: Path) -> None:
    """Neither the package nor a worker imports what is heavy."""
    out = tmp_path / "out.jsonl"
    run_job(job([corpus], out, make_scorer=fakes.imported))
    assert {row["unit"] for row in rows(out)} == {""}
    code = "import sys, lmfst.corpus; print({'torch', 'numpy', 'pyarrow', 'rich'} & {*sys.modules})"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert found.stdout == "set()\n"


def test_an_interrupt_stops_workers_quickly(corpus: Path, tmp_path: Path) -> None:
    """Ctrl-C goes to the whole group of processes; finished shards are kept."""
    out = tmp_path / "out.jsonl"

    def press(event: str, facts: Any) -> None:
        if watched.count("shard") == 2:
            os.kill(os.getpid(), signal.SIGINT)

    watched = Watched()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_job(
            job([corpus], out, make_scorer=partial(slow, seconds=0.05), workers=2),
            watched.watch(press),
        )
    assert time.monotonic() - began < 5
    again = Watched()
    run_job(job([corpus], out), again.watch())
    assert again.events[0][1]["shards_done"] >= 2


def test_progress_falls_back_where_a_shard_is_begun_again(
    corpus: Path, tmp_path: Path, marks: Path
) -> None:
    with_word(corpus, b"death")
    seen: list[Progress] = []
    make = partial(deadly, word=b"death", marks=str(marks), times=1)
    run_job(
        job([corpus], tmp_path / "out.jsonl", make_scorer=make),
        Watch(progress=seen.append, warn=lambda message: None),
    )
    assert seen[-1].documents == 40
    assert all(0 <= found.share <= 1 for found in seen)
