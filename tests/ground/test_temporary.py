"""Temporary files: none of a killed process stays, and none of a living one is taken away."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lmfst.ground import temporary
from lmfst.ground.atomic import atomic_write
from lmfst.ground.cache import cache_dir
from lmfst.ground.temporary import YOUNGEST, clear_folder, new_file, scratch_folder
from lmfst.io import open_rows
from tests.support.paths import REPOSITORY

STALL = "import sys, time; print('there', flush=True); time.sleep(60)"


def started(code: str) -> subprocess.Popen[bytes]:
    """A process that has done `code` and now waits."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"{code}\n{STALL}"],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert process.stdout is not None and process.stdout.readline() == b"there\n"
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def age(folder: Path) -> None:
    """Make all there look as if nobody had touched it for a while."""
    before = time.time() - 2 * YOUNGEST
    for path in folder.iterdir():
        os.utime(path, (before, before), follow_symlinks=False)


def test_a_killed_writer_leaves_nothing_for_ever(tmp_path: Path) -> None:
    out = tmp_path / "out.tsv"
    code = f"from lmfst.io import open_rows; w = open_rows({str(out)!r}, 'tsv', ['a'])"
    process = started(code)
    age(tmp_path)
    with open_rows(str(out), "tsv", ["a"]) as writer:
        writer.write({"a": 1})
        # Its file is old, but the process lives.
        assert len(list(tmp_path.glob(".out.tsv.*.tmp"))) == 2
    end(process)
    atomic_write(tmp_path / "other.tsv", b"")
    assert len(list(tmp_path.glob(".*"))) == 1, "only who writes to the same name looks there"
    atomic_write(out, b"new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.tsv", "out.tsv"]


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    for name, write in (
        ("whole", lambda path: atomic_write(path, b"new")),
        ("rows", lambda path: open_rows(str(path), "tsv", ["a"]).close()),
    ):
        path = tmp_path / name
        path.write_bytes(b"old")
        path.chmod(0o640)
        write(path)
        assert path.read_bytes() != b"old" and path.stat().st_mode & 0o777 == 0o640


def test_the_cache_is_cleared_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMFST_CACHE", str(tmp_path))
    folder = cache_dir("checks")
    code = "from lmfst.ground.temporary import new_file; from pathlib import Path\n"
    code += f"new_file(Path({str(folder)!r}, 'x'))"
    end(started(code))
    (left,) = folder.iterdir()
    clear_folder.cache_clear()
    cache_dir("checks")
    assert left.exists(), "it may be of a process that is about to lock it"
    age(folder)
    clear_folder.cache_clear()
    cache_dir("checks")
    assert not left.exists()


def test_what_others_left_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("platform.node", lambda: "another machine")
        handle, _ = new_file(tmp_path / "x")
        os.close(handle)
    (tmp_path / ".x.own.tmp").write_bytes(b"a user's")
    (tmp_path / f".x.{temporary.mark()}-link.tmp").symlink_to(tmp_path / ".x.own.tmp")
    age(tmp_path)
    clear_folder(tmp_path)
    atomic_write(tmp_path / "x", b"")
    assert len(list(tmp_path.iterdir())) == 4


def test_scratch_folders_of_dead_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    code = (
        "from lmfst.ground.temporary import scratch_folder\n"
        "s = scratch_folder(); f = s.__enter__()\n"
        "open(f + '/file', 'w').close()"
    )
    process = started(code)
    age(tmp_path)
    for count in (2, 1):
        temporary._remove_scratch.cache_clear()
        with scratch_folder() as folder:
            assert Path(folder).is_dir() and len(list(tmp_path.iterdir())) == count
        if count == 2:
            end(process)
            age(tmp_path)
    assert not list(tmp_path.iterdir())


def test_names_may_be_long(tmp_path: Path) -> None:
    name = "é" * 120
    atomic_write(tmp_path / name, b"one")
    with open_rows(str(tmp_path / name), "tsv", ["a"]):
        pass
    assert os.listdir(tmp_path) == [name]
