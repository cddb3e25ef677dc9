"""Workers of Ray: the bytes of local ones, and the same rules when they end."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from lmfst.corpus import Place, ray_actor, ray_cluster, ray_pool, run_job
from lmfst.corpus.messages import Setup, Task
from lmfst.corpus.pool import THREADS, Crew, MakePool
from lmfst.corpus.ray_cluster import Cluster
from lmfst.corpus.ray_pool import RayPool
from lmfst.ground.errors import InputError, LmfstError, UsageError
from tests.corpus.fakes import (
    Lines,
    Watched,
    deadly,
    environment,
    failing,
    fake,
    hungry,
    job,
    lines,
    read_lines,
    stillborn,
    talking,
)
from tests.support.cli import ARPA, COMMAND, call, pipe
from tests.support.cli import environment as with_threads
from tests.support.ray_nodes import Nodes, free_port
from tests.support.ray_nodes import environment as of_nodes
from tests.support.tiny import write_normalised

pytest.importorskip("ray")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """A cluster of one node, with two processors and a GPU that isn't one."""
    found = Nodes(of_nodes(), more=["--num-cpus=2", "--num-gpus=1"])
    yield found
    found.close()


@pytest.fixture
def cluster(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Its address; that it takes us in is tried once, elsewhere."""
    monkeypatch.setattr(ray_cluster, "_try", lambda address: None)
    return Cluster(nodes.address)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus"
    path.write_bytes(lines(60, seed=3))
    return path


def on(cluster: Cluster) -> MakePool:
    return partial(RayPool, cluster)


def contents(out: Path) -> tuple[bytes, bytes]:
    return out.read_bytes(), Path(f"{out}.rejects.jsonl").read_bytes()


def test_the_bytes_of_local_workers(nodes: Nodes, corpus: Path, tmp_path: Path) -> None:
    """Also what reading, scoring and want of memory leave out or do again."""
    make = partial(hungry, word=b"7", enough=16)
    outs = [tmp_path / "local.tsv", tmp_path / "ray.tsv"]
    for out, more in zip(outs, ({}, {"make_pool": on(Cluster(nodes.address))}), strict=True):
        watched = Watched()
        run_job(job([corpus], out, workers=2, make_scorer=make, **more), watched.watch())
        assert watched.count("shard") == 17
        assert any("begun again with 32" in warning for warning in watched.warnings)
    assert contents(outs[0]) == contents(outs[1])
    left = sorted(path.name for path in tmp_path.glob("ray*"))
    assert left == ["ray.tsv", "ray.tsv.manifest.json", "ray.tsv.rejects.jsonl"]


def test_what_was_begun_locally_goes_on(cluster: Cluster, corpus: Path, tmp_path: Path) -> None:
    whole, out, watched = tmp_path / "whole.tsv", tmp_path / "out.tsv", Watched()
    run_job(job([corpus], whole))

    def stop(name: str, facts: dict[str, Any]) -> None:
        if watched.count("shard") == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(job([corpus], out), watched.watch(stop))
    again = Watched()
    run_job(job([corpus], out, make_pool=on(cluster)), again.watch())
    assert again.count("shard") == 12 and contents(out) == contents(whole)


def test_a_worker_that_is_killed(cluster: Cluster, corpus: Path, tmp_path: Path) -> None:
    whole, out, marks = tmp_path / "whole.jsonl", tmp_path / "out.jsonl", tmp_path / "marks"
    marks.mkdir()
    run_job(job([corpus], whole))
    make = partial(deadly, word=b"33 ", marks=str(marks), times=2)
    watched = Watched()
    run_job(job([corpus], out, make_scorer=make, make_pool=on(cluster)), watched.watch())
    assert contents(out) == contents(whole)
    said = [warning for warning in watched.warnings if "is replaced" in warning]
    assert len(said) == 2 and watched.count("worker") == 2
    assert re.search(
        r"\(pid \d+ on \S+\) has ended by the end of its process at shard \d+", said[0]
    )


@pytest.mark.parametrize("keep_going", [False, True])
def test_a_shard_that_ends_three_workers(
    cluster: Cluster, corpus: Path, tmp_path: Path, keep_going: bool
) -> None:
    out, marks = tmp_path / "out.jsonl", tmp_path / "marks"
    marks.mkdir()
    make = partial(deadly, word=b"33 ", marks=str(marks), times=9)
    one = job(
        [corpus], out, make_scorer=make, workers=2, keep_going=keep_going, make_pool=on(cluster)
    )
    if not keep_going:
        with pytest.raises(LmfstError, match=r"shard \d+ .* has ended 3 workers"):
            run_job(one, Watched().watch())
        return
    assert len(run_job(one, Watched().watch()).done.lost) == 1
    assert b"killed_workers" in contents(out)[1]


def test_workers_that_never_begin(cluster: Cluster, corpus: Path, tmp_path: Path) -> None:
    one = job([corpus], tmp_path / "out.jsonl", make_scorer=stillborn, make_pool=on(cluster))
    with pytest.raises(LmfstError, match="3 workers have ended before they were ready"):
        run_job(one, Watched().watch())


def test_what_a_scorer_says_and_raises(cluster: Cluster, corpus: Path, tmp_path: Path) -> None:
    out, watched = tmp_path / "out.jsonl", Watched()
    run_job(job([corpus], out, make_scorer=talking, make_pool=on(cluster)), watched.watch())
    assert "a word of the scorer" in watched.warnings and "it takes long" in watched.notes
    make = partial(failing, word=b"")
    one = job([corpus], out, make_scorer=make, make_pool=on(cluster), restart=True)
    with pytest.raises(InputError, match=r"a worker on \S+: the model is gone") as caught:
        run_job(one)
    assert caught.value.hint == "bring it back"


def test_threads_and_gpus(cluster: Cluster, corpus: Path, tmp_path: Path) -> None:
    out, names = tmp_path / "out.jsonl", (*THREADS, "CUDA_VISIBLE_DEVICES")
    make = partial(environment, names=names)
    for gpus, wanted in ((0.0, ""), (1.0, "0")):
        pool = on(replace(cluster, gpus=gpus))
        one = job(
            [corpus], out, make_scorer=make, threads=2, make_pool=pool, restart=True, workers=3
        )
        watched = Watched()
        run_job(one, watched.watch())
        assert f'"{",".join(["2"] * len(THREADS))},{wanted}"'.encode() in out.read_bytes()
        [said] = watched.warnings
        assert "room for 1 of 3 workers with 2 processors" in said
    too_many = job([corpus], out, threads=3, make_pool=on(cluster), restart=True)
    with pytest.raises(LmfstError, match=r"no node of the cluster at .* has 3 processors"):
        run_job(too_many)


def test_a_folder_that_is_not_shared(
    cluster: Cluster, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the worker finds it: with another manifest, or none."""
    monkeypatch.setattr(ray_pool, "SHARED", 0.3)
    place = Place.of(str(tmp_path / "out.jsonl"))
    place.work.mkdir()
    place.manifest.write_bytes(b"one")
    pool = RayPool(cluster, Setup(fake, Lines), Crew(1, 1), place)
    try:
        pool.give(first_task(corpus, place))
        place.manifest.write_bytes(b"another")
        with pytest.raises(InputError, match=r"a worker on \S+ doesn't see .*out\.jsonl\.work"):
            while True:
                list(pool.wait(5))
    finally:
        pool.close()


def first_task(corpus: Path, place: Place) -> Any:
    items = list(read_lines(str(corpus), 0))[:4]
    return Task(0, 0, items, 64, place.rows(0), place.rejected(0))


@pytest.mark.parametrize("name", ["lmfst", "torch", "files of lmfst"])
def test_a_worker_made_of_something_else(
    cluster: Cluster, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    mine = ray_actor.software() | {name: "9.9"}
    there = ray_actor.software()[name]
    monkeypatch.setattr(ray_pool, "software", lambda: mine)
    one = job([corpus], tmp_path / "out.jsonl", make_pool=on(cluster))
    with pytest.raises(
        InputError, match=rf"isn't made of .*\n  {name}: 9\.9 -> {re.escape(there)}"
    ):
        run_job(one)
    assert not list(tmp_path.glob("out*"))


def test_another_lmfst_is_found_out(tmp_path: Path) -> None:
    """What tells it apart: its version, and its files."""
    root = Path(ray_actor.__file__).parents[1]
    shutil.copytree(root, tmp_path / "lmfst", ignore=shutil.ignore_patterns("__pycache__", "data"))
    code = "from lmfst.corpus import ray_actor; print(ray_actor.software())"

    def found() -> dict[str, str]:
        told = {**os.environ, "PYTHONPATH": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-P", "-c", code], env=told, capture_output=True, text=True, check=True
        )
        return dict(eval(done.stdout))

    assert found() == ray_actor.software()
    version = tmp_path / "lmfst" / "ground" / "_version.py"
    version.write_text('__version__ = "0.0.0"\n')
    other = found()
    assert other["lmfst"] == "0.0.0"
    assert other["files of lmfst"] != ray_actor.software()["files of lmfst"]


def test_an_address_where_nothing_answers() -> None:
    with pytest.raises(InputError, match=r"expected a cluster of Ray at .*refused"):
        Cluster(f"127.0.0.1:{free_port()}").require()
    for address in ("foo", "ray://127.0.0.1:10001", "127.0.0.1:", ":1"):
        with pytest.raises(UsageError, match="must be HOST:PORT or auto"):
            Cluster(address).require()
    for gpus in (-1.0, 1.5, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="--gpus-per-worker"):
            Cluster(None, gpus).require()


@pytest.mark.parametrize("before", [None, "1"])
def test_a_cluster_of_ours_reports_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    """Whatever is said elsewhere; and what was said stays."""
    name, seen = "RAY_USAGE_STATS_ENABLED", list[str | None]()
    if before is None:
        monkeypatch.delenv(name, raising=False)
    else:
        monkeypatch.setenv(name, before)

    class Ray:
        def init(self, *args: Any, **options: Any) -> None:
            from ray._common.usage.usage_lib import usage_stats_enabled

            seen.append(os.environ.get(name))
            assert not usage_stats_enabled()

    Cluster()._start(Ray(), str(tmp_path), 1)
    assert seen == ["0"] and os.environ.get(name) == before


def test_something_else_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    import http.server
    import threading

    monkeypatch.setattr(ray_cluster, "PATIENCE", 2.0)
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with (
            pytest.raises(InputError, match="no answer within 2 s"),
            Cluster(f"127.0.0.1:{server.server_port}").connected(1),
        ):
            pass
        server.shutdown()


def test_a_token_that_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "RPC error: InvalidAuthToken: Authentication token is missing or incorrect."
    monkeypatch.setattr(ray_cluster, "_TRY", f"print({said!r}); raise SystemExit(1)")
    with (
        pytest.raises(InputError, match=r"wants a token .*\n.*RAY_AUTH_MODE=token"),
        Cluster("auto").connected(1),
    ):
        pass


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_normalised(ARPA, tmp_path_factory.mktemp("model") / "m.arpa")


def command(folder: Path, *args: str | Path) -> subprocess.Popen[str]:
    """`lmfst score` in a folder, which isn't on the path of modules, as for those who have it
    installed."""
    return subprocess.Popen(
        [sys.executable, "-P", *COMMAND[1:], "score", *map(str, args)],
        cwd=folder,
        env=with_threads(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def folders_of_ray(scratch: Path) -> list[Path]:
    """Of clusters that are there for a job."""
    return list(scratch.glob("lmfst-ray-*"))


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files, whose name is short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


def processes_of(folder: Path) -> list[psutil.Process]:
    """Those of a cluster whose files are in a folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(folder) in word for word in process.info["cmdline"] or ()):
            found.append(process)
    return found


def test_the_command_with_a_cluster_of_its_own(model: Path, tmp_path: Path, scratch: Path) -> None:
    """It is gone after, and nothing but data is on stdout. No code of the user's is run."""
    (tmp_path / "corpus.txt").write_text("ab\nabba\nq\n")
    (tmp_path / "uuid.py").write_text("raise SystemExit('not mine')\n")
    score = ("corpus.txt", "--model", model, "--exact", "--workers", "2")
    outs = [tmp_path / "local.tsv", tmp_path / "ray.tsv"]
    for out, more in zip(outs, ((), ("--engine", "ray")), strict=True):
        process = command(tmp_path, *score, "-o", out, *more)
        said = process.communicate()
        assert process.returncode == 0, said
        assert not said[0] and said[1].count("\n") <= 2 and "3 documents" in said[1]
    assert contents(outs[0]) == contents(outs[1])
    assert not folders_of_ray(scratch)


MANY = "abba\n" * 4_000


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The rows of MANY, by local workers that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "corpus.txt").write_text(MANY)
    command(folder, "corpus.txt", "--model", model, "--exact", "-o", "out.tsv").communicate()
    return (folder / "out.tsv").read_bytes()


# One that is killed is a part of scripts/bench_ray.py: its cluster takes half a minute to end.
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM])
def test_a_cluster_ends_with_its_command(
    model: Path, tmp_path: Path, scratch: Path, whole: bytes, number: int
) -> None:
    (tmp_path / "corpus.txt").write_text(MANY)
    score = ("corpus.txt", "--model", model, "--exact", "-o", "out.tsv")
    process = command(tmp_path, *score, "--engine", "ray")
    until = time.monotonic() + 30
    while not list(tmp_path.glob("out.tsv.work/*.rows")) and time.monotonic() < until:
        time.sleep(0.02)
    [folder] = folders_of_ray(scratch)
    process.send_signal(number)
    said = process.communicate()[1]
    assert process.returncode == 128 + number, said
    assert "Traceback" not in said
    until = time.monotonic() + 40
    while (left := processes_of(folder)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not left
    again = command(tmp_path, *score)
    assert "4,000 documents" in again.communicate()[1]
    assert (tmp_path / "out.tsv").read_bytes() == whole


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--address", "auto"), "--address is for workers of Ray"),
        (("--gpus-per-worker", "1"), "--gpus-per-worker is for workers of Ray"),
        (("--engine", "ray", "--device", "cuda"), "give --gpus-per-worker"),
        (("--engine", "ray", "--address", "nowhere"), "must be HOST:PORT"),
    ],
)
def test_options_that_do_not_go_together(
    model: Path, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    (tmp_path / "corpus.txt").write_text("ab\n")
    out = tmp_path / "out.tsv"
    done = pipe("score", tmp_path / "corpus.txt", "--model", model, "-o", out, *options)
    assert done.code == 2 and said in done.err
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("other", [False, True])
def test_a_node_with_another_model_or_none(
    nodes: Nodes, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: bool
) -> None:
    """As another machine may have it: its file is another one, or gone, when workers begin."""
    there = tmp_path / "m.arpa"
    shutil.copy(model, there)
    (tmp_path / "corpus.txt").write_text("ab\n")

    def change(address: str) -> None:
        there.write_bytes(model.read_bytes() + b"\n") if other else there.unlink()

    monkeypatch.setattr(ray_cluster, "_try", change)
    done = call(
        *("score", tmp_path / "corpus.txt", "--model", there, "--exact", "-o", tmp_path / "o.tsv"),
        *("--engine", "ray", "--address", nodes.address),
    )
    assert done.code == 1 and "a worker on " in done.err
    if other:
        assert "a worker's machine has others" in done.err
    else:
        assert "m.arpa" in done.err and "no such" in done.err.lower()
    assert not list(tmp_path.glob("o.tsv*"))
