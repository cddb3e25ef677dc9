"""What jobs are made of: the plan, the manifest, the ledger, digests, joins, logs."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lmfst.corpus import Corpus, JsonLog, Progress, may_have_gpu, run_job, visible_gpus
from lmfst.corpus import inputs as digests
from lmfst.corpus.disk import Place, clear, is_ours
from lmfst.corpus.inputs import Input, differences, look
from lmfst.corpus.join import ROWS, JoinLines, JoinParquet, JoinTables, join_for
from lmfst.corpus.ledger import End, Ledger, Scored
from lmfst.corpus.manifest import Manifest, claimed, read_manifest
from lmfst.corpus.pool import share_of_threads
from lmfst.corpus.progress import Clock
from lmfst.corpus.shards import BYTES, MOST, RECORDS, Items, Limits, Shard, Start, cut, total
from lmfst.ground.document import Document
from lmfst.ground.errors import InputError, UsageError
from tests.corpus.fakes import Lines, Parquet, Table, Watched, job, lines, read_lines, talking
from tests.corpus.test_job import interrupted

# --- the plan ----------------------------------------------------------------------------------


def planned(corpus: Corpus, start: Start, limits: Limits) -> list[tuple[Shard, Items]]:
    return list(cut(corpus, total(corpus), start, limits))


@pytest.mark.parametrize("seed", range(4))
def test_plans_are_whole_and_go_on_from_any_shard(tmp_path: Path, seed: int) -> None:
    random_ = random.Random(seed)
    files = [tmp_path / str(number) for number in range(4)]
    for path in files:
        path.write_bytes(lines(random_.randrange(30), seed=random_.randrange(99)))
    corpus = Corpus([str(path) for path in files], read_lines)
    limits = Limits(random_.randrange(1, 9), random_.randrange(1, 300))
    plan = planned(corpus, Start(), limits)
    everything = [item for path in corpus.files for item in read_lines(path, 0)]
    assert [item for _, items in plan for item in items] == everything
    record = document = 0
    for (shard, items), follower in zip(plan, [*plan[1:], None], strict=True):
        assert (shard.start.record, shard.start.document) == (record, document)
        assert shard.records == len(items) <= limits.records
        found = [item for item in items if isinstance(item, Document)]
        assert shard.documents == len(found)
        size = sum(len(item.text) for item in found)
        assert size <= limits.bytes or len(items) == 1
        if follower:
            assert shard.next == follower[0].start
            item = follower[1][0]
            more = len(item.text) if isinstance(item, Document) else 0
            assert len(items) == limits.records or size + more > limits.bytes, "as large as may be"
        record, document = shard.next.record, shard.next.document
        assert planned(corpus, shard.start, limits)[0][0][:3] == shard[:3]
        assert planned(corpus, shard.start, limits) == plan[shard.number :]
    sizes = sum(path.stat().st_size for path in files)
    assert (plan[-1][0].next.reached if plan else sizes) == sizes
    assert all(shard.size >= 0 for shard, _ in plan)


def test_limits_keep_the_number_of_shards_bounded() -> None:
    assert Limits.of(0) == Limits.of(BYTES * MOST) == Limits(RECORDS, BYTES)
    assert Limits.of(BYTES * MOST + 1) == Limits(2 * RECORDS, 2 * BYTES)
    size = 10**13
    assert MOST / 2 < size / Limits.of(size).bytes <= MOST


def test_what_is_passed_on_has_a_limit_of_its_own(tmp_path: Path) -> None:
    def read(path: str, skip: int) -> Iterator[Document]:
        for n in range(skip, 12):
            extra = {"note": "x" * 35, "more": [{"k": "y" * 4}, 1.5]} if n < 6 else {}
            yield Document(str(n), b"ab", "f:1", extra=extra)

    path = tmp_path / "corpus"
    path.write_bytes(b"ab\n" * 12)
    corpus = Corpus([str(path)], read)
    # 4 + 35 + 4 + 1 + 4 + 8 characters are passed on beside each of the first six.
    plan = planned(corpus, Start(), Limits(99, 999, passed=2 * 56))
    assert [shard.records for shard, _ in plan] == [2, 2, 8]
    plan = planned(corpus, Start(), Limits(99, 999, passed=2 * 56 - 1))
    assert [shard.records for shard, _ in plan] == [1, 1, 1, 1, 1, 7]
    assert [shard.records for shard, _ in planned(corpus, Start(), Limits(99, 999))] == [12]


def test_readers_may_say_where_they_are(tmp_path: Path) -> None:
    """What a packed file's texts say of its size is wrong."""
    path = tmp_path / "corpus"
    path.write_bytes(b"aaaa\n" * 8)
    corpus = Corpus([str(path)], read_lines, position=lambda: 7)
    plan = planned(corpus, Start(), Limits(4, 999))
    assert [shard.next.reached for shard, _ in plan] == [7, 40]


# --- the manifest and the lock -----------------------------------------------------------------


def manifest() -> Manifest:
    inputs = [Input("a \udcff b", 3, "sha256:abc", None)]
    return Manifest({"model": "m"}, {"device": "cpu"}, inputs, 512, 2, Limits(3, 4))


def test_manifests_come_back(tmp_path: Path) -> None:
    path, made = tmp_path / "manifest.json", manifest()
    assert read_manifest(path) is None
    made.write(path, tmp_path)
    assert read_manifest(path) == made
    assert [found.name for found in tmp_path.iterdir()] == ["manifest.json"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-20],
        lambda data: b"",
        lambda data: b"[]",
        lambda data: b"\xff" + data,
        lambda data: data.replace(b'"threads": 2', b'"threads": -2'),
        lambda data: data.replace(b'"threads": 2', b'"thread": 2'),
        lambda data: data.replace(b'"format": 1', b'"format": "x"'),
        lambda data: data.replace(b'"size": 3,', b""),
    ],
)
def test_damaged_manifests(tmp_path: Path, damage: Any) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(damage(manifest().data()))
    with pytest.raises(InputError, match="expected the manifest of a job") as caught:
        read_manifest(path)
    assert "--restart" in caught.value.hint


def test_manifests_of_newer_versions(tmp_path: Path) -> None:
    corpus, out = tmp_path / "corpus", tmp_path / "out.jsonl"
    corpus.write_bytes(lines(20))
    interrupted(corpus, out, 1)
    path = Path(f"{out}.work/manifest.json")
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({"format": 2, "all": "new"}))
    with pytest.raises(InputError, match="written by a newer lmfst: expected format 1, found 2"):
        run_job(job([corpus], out))
    path.write_text(json.dumps(facts)[:-9])
    with pytest.raises(InputError, match="expected the manifest of a job"):
        run_job(job([corpus], out))
    run_job(job([corpus], out, restart=True))
    assert out.exists() and not path.parent.exists()


def test_locks_end_with_their_holder(tmp_path: Path) -> None:
    work, out = tmp_path / "out.work", tmp_path / "out"
    warn = Watched().warnings.append
    with claimed(work, out, warn):
        assert (work / "lock").read_text() == str(os.getpid())
        with pytest.raises(InputError, match="is writing"), claimed(work, out, warn):
            pass
        (work / "lock").unlink()
        with claimed(work, out, warn):  # whoever removes a lock's file has lost it
            pass
    with claimed(work, out, warn):
        pass


def test_only_what_is_a_jobs_is_removed(tmp_path: Path) -> None:
    place = Place(tmp_path / "out")
    ours = [place.rows(3).name, place.rejected(123456789).name, "00000001.rows.77.tmp", "ledger"]
    ours += ["manifest.json", "manifest.tmp", "joined.tmp", "rejected.tmp", "lock"]
    assert all(map(is_ours, ours))
    theirs = ["rows", "1.rows", "00000001.rows.bak", "notes.tmp", "ledger.txt", "manifestxjson"]
    assert not any(map(is_ours, theirs))
    for name in ours + theirs:
        (tmp_path / name).touch()
    clear(tmp_path, everything=False)
    assert (tmp_path / "00000003.rows").exists()
    assert not (tmp_path / "joined.tmp").exists()
    clear(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([*theirs, "lock"])


# --- the ledger --------------------------------------------------------------------------------


def scored(number: int) -> Scored:
    return Scored(number, 3, 30, "ab", 0, 0, "", 9, 0.25, {"n": number})


def shard(number: int) -> Shard:
    start = Start(number, number * 4, number * 3, 0, number * 4, number * 50)
    after = Start(number + 1, number * 4 + 4, number * 3 + 3, 0, number * 4 + 4, number * 50 + 50)
    return Shard(start, 4, 3, after)


def write_ledger(path: Path) -> None:
    ledger = Ledger(path, 64)
    for number in range(3):
        ledger.planned(shard(number), 64, f"content {number}")
    ledger.finished(scored(1))
    ledger.planned(shard(0), 32, "content 0")
    ledger.finished(scored(0))
    ledger.ended(End(3, 12, 9))
    ledger.close()


def test_ledgers_come_back(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    write_ledger(path)
    ledger = Ledger(path, 64)
    assert ledger.done == {0: scored(0), 1: scored(1)}
    assert {number: entry.shard for number, entry in ledger.plan.items()} == {
        number: shard(number) for number in range(3)
    }
    assert [ledger.plan[number].batch_tokens for number in range(3)] == [32, 64, 64]
    assert (ledger.batch_tokens, ledger.end) == (32, End(3, 12, 9))
    assert ledger.first_open() == ledger.last_open(End(3, 12, 9)) == 2
    assert ledger.start(2) == shard(2).start
    assert ledger.start(3) == shard(2).next
    assert not ledger.is_complete()
    ledger.finished(scored(2))
    assert ledger.is_complete() and ledger.first_open() == 3
    assert ledger.is_as_planned(shard(1), "content 1") and ledger.is_as_planned(shard(9), "new")
    assert not ledger.is_as_planned(shard(1), "content 2")
    ledger.forget_from(1)
    ledger.close()
    again = Ledger(path, 64)
    assert (list(again.plan), list(again.done), again.end) == ([0], [0], None)
    again.close()


def test_a_ledger_may_end_anywhere(tmp_path: Path) -> None:
    """What a killed run has left: whole lines count, and later ones are added to them."""
    path, cut_short = tmp_path / "ledger", tmp_path / "cut"
    write_ledger(path)
    data = path.read_bytes()
    for end in range(len(data)):
        cut_short.write_bytes(data[:end] + (b"\0\0\0" if end % 2 else b""))
        ledger = Ledger(cut_short, 64)
        whole = data[:end].rfind(b"\n") + 1
        assert cut_short.read_bytes() == data[:whole]
        assert len(ledger.done) == data[:whole].count(b'"done"')
        ledger.planned(shard(7), 64, "x")
        ledger.close()
        again = Ledger(cut_short, 64)
        assert 7 in again.plan
        again.close()


def test_a_damaged_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    write_ledger(path)
    data = path.read_bytes()
    for at in (0, 20, len(data) // 2):
        damaged = bytearray(data)
        damaged[at] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="is damaged: a line that isn't its last") as caught:
            Ledger(path, 64)
        assert "--restart" in caught.value.hint
        assert path.read_bytes() == damaged, "evidence is left as it is"


def test_a_ledger_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path / "ledger", 64)

    def full(handle: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(InputError, match="No space left") as caught:
        ledger.planned(shard(0), 64, "x")
    monkeypatch.undo()
    assert "free some space" in caught.value.hint and "is kept in" in caught.value.hint
    ledger.close()


# --- digests -----------------------------------------------------------------------------------


def test_large_files_are_known_by_their_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "WHOLE", 1000)
    monkeypatch.setattr(digests, "END", 100)
    path = tmp_path / "large"
    path.write_bytes(b"x" * 1000)
    (small,) = look([str(path)])
    assert small.digest.startswith("sha256:")
    path.write_bytes(b"x" * 1001)
    os.utime(path, ns=(5, 5))
    (first,) = look([str(path)])
    assert (first.digest[:5], first.size) == ("ends:", 1001)
    for data, time_ns, same in (
        (b"x" * 500 + b"y" + b"x" * 500, 5, True),  # the middle isn't looked at
        (b"x" * 1001, 6, False),
        (b"y" + b"x" * 1000, 5, False),
        (b"x" * 1000 + b"y", 5, False),
        (b"x" * 1002, 5, False),
    ):
        path.write_bytes(data)
        os.utime(path, ns=(time_ns, time_ns))
        assert (look([str(path)])[0].digest == first.digest) == same


def test_files_that_have_not_changed_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "corpus"
    path.write_bytes(b"old")
    monkeypatch.setattr("lmfst.ground.stamps.SETTLED", -1.0)
    found = look([str(path)])
    forged = [Input(found[0].path, 3, "sha256:as it was", found[0].stamp)]
    assert look([str(path)], forged) == forged
    time.sleep(0.02)
    path.write_bytes(b"new")
    now = look([str(path)], forged)
    assert now[0].digest != found[0].digest
    (said,) = differences(found, now)
    assert said.startswith(f"input {path}: 3 bytes, sha256 ")


# --- joins -------------------------------------------------------------------------------------


def pieces(folder: Path, texts: Sequence[bytes]) -> list[Path]:
    paths = [folder / f"{number}.rows" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_bytes(text)
    return paths


def test_lines_and_tables_are_joined(tmp_path: Path) -> None:
    to = io.BytesIO()
    JoinLines().join(pieces(tmp_path, [b"1\n", b"2\n3\n"]), to, Lines)
    assert to.getvalue() == b"1\n2\n3\n"
    to = io.BytesIO()
    JoinTables().join(pieces(tmp_path, [b"a\tb\n1\t2\n", b"a\tb\n3\t4\n"]), to, Table)
    assert to.getvalue() == b"a\tb\n1\t2\n3\t4\n"
    with pytest.raises(InputError, match=r"different columns, .*: a, c after a, b") as caught:
        JoinTables().join(pieces(tmp_path, [b"a\tb\n1\t2\n", b"a\tc\n3\t4\n"]), io.BytesIO(), Table)
    assert ".jsonl" in caught.value.hint
    join = JoinTables()
    first, second = pieces(tmp_path, [b"a\tb\n1\t2\n", b"a\tc\n3\t4\n"])
    join.see(first)
    join.see(first)
    with pytest.raises(InputError, match="different columns"):
        join.see(second)


def parquet(rows: Sequence[dict[str, Any]]) -> bytes:
    to = io.BytesIO()
    writer = Parquet(to, print)
    for row in rows:
        writer.write(row)
    writer.close()
    return to.getvalue()


def test_parquet_is_joined(tmp_path: Path) -> None:
    """Nulls get the type that their column has elsewhere; row groups are put together."""
    import pyarrow.parquet as pq

    shards: list[list[dict[str, Any]]] = [
        [{"id": "a", "logp": None, "n": 1}],
        [{"id": None, "logp": -1.5, "n": None}, {"id": None, "logp": None, "n": None}],
        [{"id": "b", "logp": float("inf"), "n": 3, "more": True}],
        [{"id": "b", "logp": 7, "n": 3, "more": None}],
    ]
    out = tmp_path / "out.parquet"
    with out.open("wb") as to:
        JoinParquet().join(pieces(tmp_path, [parquet(rows) for rows in shards]), to, Parquet)
    found = pq.read_table(out)
    assert found.to_pylist() == [{"more": None, **row} for rows in shards for row in rows]
    assert [str(kind) for kind in found.schema.types] == ["string", "double", "int64", "bool"]
    assert pq.ParquetFile(out).num_row_groups == 1


def test_columns_without_values_take_the_type_that_others_have(tmp_path: Path) -> None:
    """Whatever their writer has said, which had to say something."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = []
    for kind, values in ((pa.string(), [None]), (pa.int64(), [3]), (pa.string(), [None, None])):
        to = io.BytesIO()
        nothing = pa.array([None] * len(values), pa.string())
        pq.write_table(pa.table({"n": pa.array(values, kind), "none": nothing}), to)
        texts.append(to.getvalue())
    out = tmp_path / "out.parquet"
    with out.open("wb") as stream:
        JoinParquet().join(pieces(tmp_path, texts), stream, Parquet)
    found = pq.read_table(out)
    assert [str(kind) for kind in found.schema.types] == ["int64", "string"]
    assert found.column("n").to_pylist() == [None, 3, None, None]


def test_row_groups_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    assert ROWS >= 10_000
    monkeypatch.setattr("lmfst.corpus.join.ROWS", 5)
    texts = [parquet([{"n": number * 3 + at} for at in range(3)]) for number in range(5)]
    out = tmp_path / "out.parquet"
    with out.open("wb") as to:
        JoinParquet().join(pieces(tmp_path, texts), to, Parquet)
    file = pq.ParquetFile(out)
    counts = [file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)]
    assert counts == [6, 6, 3]
    assert file.read().column("n").to_pylist() == list(range(15))


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ({"id": "b", "n": "two"}, r"different types, .*: n is string after int64"),
        ({"id": 2, "n": 1}, r"different types, .*: id is int64 after string"),
    ],
)
def test_parquet_that_cannot_be_one_table(
    tmp_path: Path, second: dict[str, Any], said: str
) -> None:
    paths = pieces(tmp_path, [parquet([{"id": "a", "n": 1}]), parquet([second])])
    with pytest.raises(InputError, match=said):
        JoinParquet().join(paths, io.BytesIO(), Parquet)


def test_outputs_have_known_suffixes() -> None:
    assert join_for("a/b.jsonl") is join_for("a/b.NDJSON") is JoinLines
    with pytest.raises(UsageError, match=r"\.ndjson, .parquet, found no suffix"):
        join_for("a.b/c")


# --- shares, progress, logs --------------------------------------------------------------------


def test_shares_of_threads_and_gpus(tmp_path: Path) -> None:
    assert share_of_threads(3, {"OMP_NUM_THREADS": "5"}) == 5
    there = share_of_threads(1, {})
    assert there >= 1
    assert share_of_threads(there * 2, {"OMP_NUM_THREADS": "many"}) == 1
    for number in range(3):
        (tmp_path / f"0000:0{number}:00.0").mkdir()
    assert visible_gpus({}, tmp_path) == ["0", "1", "2"]
    assert visible_gpus({}, tmp_path / "none") == []
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "2, GPU-ab"}, tmp_path) == ["2", "GPU-ab"]
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "0,-1,2"}, tmp_path) == ["0"]
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) == []


def test_a_gpu_that_no_list_names_may_be_there(tmp_path: Path) -> None:
    node = tmp_path / "dxg"
    node.touch()
    assert may_have_gpu({}, [tmp_path / "none", node])
    assert not may_have_gpu({"CUDA_VISIBLE_DEVICES": ""}, [node])
    assert may_have_gpu({"CUDA_VISIBLE_DEVICES": "0"}, [])


def test_the_time_left_counts_this_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    clock = Clock(1000, 0.5)
    assert clock.left(0.5) is None
    now = 110.0
    assert clock.left(0.75) == pytest.approx(10.0)
    assert clock.rate(3000) == pytest.approx(200.0)


def test_logs_grow_and_never_end_a_job(tmp_path: Path) -> None:
    path, watched = tmp_path / "log", Watched()
    for _ in range(2):
        log = JsonLog(str(path), watched.warnings.append)
        log.event("begin", {"out": "x"})
        for _ in range(3):
            log.progress(Progress(1, 0, 2, 3.0, 0.5, None, 0.1))
        log.close()
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["event"] for line in found] == ["begin", "progress"] * 2
    assert found[1]["seconds_left"] is None and found[1]["symbols"] == 2
    assert abs(found[0]["time"] - time.time()) < 60
    with pytest.raises(InputError, match="expected a place for a log"):
        JsonLog(str(tmp_path), watched.warnings.append)
    full = JsonLog("/dev/full", watched.warnings.append)
    full.event("begin", {})
    full.event("end", {})
    assert len(watched.warnings) == 1 and "can't be written any more" in watched.warnings[0]
    full.close()


def test_a_log_beside_a_watch(tmp_path: Path) -> None:
    corpus, path, watched = tmp_path / "corpus", tmp_path / "log", Watched()
    corpus.write_bytes(lines(20))
    log = JsonLog(str(path), watched.warnings.append)
    given = job([corpus], tmp_path / "out.jsonl", make_scorer=talking)
    run_job(given, log.beside(watched.watch()))
    log.close()
    found = [json.loads(line) for line in path.read_text().splitlines()]
    names = [line["event"] for line in found]
    assert names[0] == "begin" and names[-2:] == ["join", "end"]
    assert {"progress", "warning", "shard"} < set(names)
    assert names.count("shard") == watched.count("shard") == found[-2]["shards"]
    assert watched.warnings == [line["message"] for line in found if line["event"] == "warning"]
    assert watched.progress
