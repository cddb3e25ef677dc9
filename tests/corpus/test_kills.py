"""Jobs that are killed at any moment: the same command goes on, with the same bytes at the end."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lmfst.corpus import run_job
from tests.corpus.fakes import job, lines
from tests.support.pages import REPOSITORY

KILLS = 16
"""At random times."""
EARLY, LAST = 4, 15
"""At random changes to the disk, and at the last ones."""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def started(
    out: Path, corpus: Path, step: int = 0, *, start_new_session: bool = False
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.corpus.driver", str(out), str(corpus), str(step)],
        cwd=REPOSITORY,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=start_new_session,
    )


def wanted(corpus: Path, folder: Path, suffix: str) -> tuple[bytes, bytes]:
    """What a job gives that nothing interrupts: rows and rejected records."""
    out = folder / f"whole{suffix}"
    run_job(job([corpus], out))
    return out.read_bytes(), Path(f"{out}.rejects.jsonl").read_bytes()


def require_same(out: Path, expected: tuple[bytes, bytes]) -> None:
    assert out.read_bytes() == expected[0]
    assert Path(f"{out}.rejects.jsonl").read_bytes() == expected[1]
    left = sorted(path.name for path in out.parent.glob(f"{out.name}*"))
    assert left == [out.name, f"{out.name}.manifest.json", f"{out.name}.rejects.jsonl"]


@pytest.fixture
def corpus(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "corpus"
    path.write_bytes(lines(160, seed=5))
    before = {process.pid for process in workers()}
    yield path
    until = time.monotonic() + 5
    while (left := {process.pid for process in workers()} - before) and time.monotonic() < until:
        time.sleep(0.02)
    assert not left, "workers whose parents are gone go on"


def workers() -> list[psutil.Process]:
    """This user's workers, of whatever job."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any("lmfst.corpus.worker" in word for word in process.info["cmdline"] or ()):
            found.append(process)
    return found


@pytest.mark.slow
def test_killed_at_random_times(corpus: Path, tmp_path: Path) -> None:
    """Parents and workers, one after the other, until all are used up; each run goes on with what
    earlier ones have done, or begins a new output."""
    expected = wanted(corpus, tmp_path, ".tsv")
    random_ = random.Random(17)
    killed, outputs, parents = 0, 0, 0
    while killed < KILLS:
        out = tmp_path / f"out{outputs}.tsv"
        outputs += 1
        while not out.with_name(out.name + ".manifest.json").exists():
            process = started(out, corpus)
            time.sleep(random_.uniform(0.05, 0.4))
            mine = psutil.Process(process.pid).children() if process.poll() is None else []
            if mine and random_.random() < 0.5:
                random_.choice(mine).kill()
                killed += 1
            elif process.poll() is None and killed < KILLS:
                process.kill()
                killed += 1
                parents += 1
            _, said = process.communicate()
            assert process.returncode in (0, -signal.SIGKILL), said
        assert started(out, corpus).communicate()[0].startswith("already")
        require_same(out, expected)
    assert KILLS / 4 < parents < KILLS


@pytest.mark.slow
def test_killed_at_changes_to_the_disk(corpus: Path, tmp_path: Path) -> None:
    """Also while joining, naming and cleaning up: the last changes are all tried."""
    corpus.write_bytes(lines(9, seed=5))
    expected = wanted(corpus, tmp_path, ".jsonl")
    said = started(tmp_path / "out.jsonl", corpus).communicate()[0].split()
    assert said[0] == "done"
    changes = int(said[1])
    early = random.Random(3).sample(range(1, changes - LAST), EARLY)
    for step in [*early, *range(changes - LAST, changes + 1)]:
        out = tmp_path / f"out{step}.jsonl"
        process = started(out, corpus, step)
        _, said_then = process.communicate()
        assert process.returncode == -signal.SIGKILL, said_then
        words, errors = started(out, corpus).communicate()
        assert words.split()[0] in ("done", "already"), errors
        require_same(out, expected)


def test_an_interrupt_from_the_keyboard(corpus: Path, tmp_path: Path) -> None:
    """It goes to workers, too, who say nothing."""
    expected = wanted(corpus, tmp_path, ".jsonl")
    out = tmp_path / "out.jsonl"
    process = started(out, corpus, start_new_session=True)
    until = time.monotonic() + 20
    while not list(tmp_path.glob("out.jsonl.work/*.rows")) and time.monotonic() < until:
        time.sleep(0.005)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate()
    assert time.monotonic() - began < 5
    assert process.returncode == -signal.SIGINT
    assert said.count("KeyboardInterrupt") == 1
    assert started(out, corpus).communicate()[0].startswith("done")
    require_same(out, expected)
