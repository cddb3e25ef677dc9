"""Kernels: plain where that is asked for, compiled once into a folder of the user's own.

The processes run a copy of the package that has two more modules, a kernel and one that calls it.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

import lmfst
from lmfst.ground import announce, kernels

CALLEE = """
from lmfst.ground.kernels import kernel
@kernel
def one(x):
    return x + 1
"""
CALLER = """
from lmfst.ground.kernels import kernel
from lmfst.ground.callee import one
@kernel
def total(xs):
    found = 0.0
    for x in xs:
        found += one(x) / 2
    return found
"""
SHOW = """
import logging, sys, time
from lmfst.ground import announce
announce.AFTER = float(sys.argv[1])
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
import numpy as np
from lmfst.ground import caller
found = caller.total(np.arange(4.0))
hits = getattr(caller.total, "stats", None)
print(found, type(caller.total).__name__, hits and sum(hits.cache_hits.values()))
"""
ANNOUNCED = "compiling the engine"


class Package:
    """A copy of the package, and runs of it in processes."""

    def __init__(self, base: Path) -> None:
        self.cache = base / "cache"
        self.place = base / "site"
        hidden = shutil.ignore_patterns("__pycache__", "data")
        shutil.copytree(Path(lmfst.__file__).parent, self.place / "lmfst", ignore=hidden)
        self.write("callee", CALLEE)
        self.write("caller", CALLER)

    def write(self, module: str, code: str) -> None:
        (self.place / "lmfst" / "ground" / f"{module}.py").write_text(code)

    def start(self, after: float = 60.0, **environment: str) -> subprocess.Popen[str]:
        """A run. after: seconds of compiling that aren't announced."""
        env = os.environ | {"PYTHONPATH": str(self.place), "LMFST_CACHE": str(self.cache)}
        return subprocess.Popen(
            [sys.executable, "-c", SHOW, str(after)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env | environment,
            cwd=self.place,
        )

    def run(self, after: float = 60.0, **environment: str) -> tuple[list[str], str]:
        """(result, kind of function, kernels loaded from the cache), and stderr."""
        return ended(self.start(after, **environment))

    def kept(self) -> list[Path]:
        """The folders of compiled kernels."""
        return sorted((self.cache / "kernels").iterdir())


def ended(process: subprocess.Popen[str]) -> tuple[list[str], str]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out.split(), err


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return Package(tmp_path)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*.nb?")}


def test_compiled_once_and_said(package: Package) -> None:
    found, err = package.run(after=0.0)
    assert found == ["5.0", "CPUDispatcher", "0"]
    (folder,) = package.kept()
    assert err.splitlines() == [f"{ANNOUNCED} (once; kept in {folder})"]
    assert (
        stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    )
    assert any(name.startswith("caller.total") for name in files(folder))
    found, err = package.run(after=0.0)
    assert found == ["5.0", "CPUDispatcher", "1"] and err == ""


def test_plain_functions_where_nothing_shall_be_compiled(package: Package) -> None:
    assert package.run(LMFST_COMPILED="0") == (["5.0", "function", "None"], "")
    assert not package.cache.exists()


def test_a_plain_kernel_is_the_function_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def plain() -> int:
        return 1

    monkeypatch.setattr(kernels, "compiled", lambda: False)
    assert kernels.kernel(plain) is plain


def test_a_changed_source_of_a_callee_is_noticed(package: Package) -> None:
    assert package.run()[0][0] == "5.0"
    package.write("callee", CALLEE.replace("x + 1", "x + 3"))
    assert package.run()[0] == ["9.0", "CPUDispatcher", "0"]
    assert len(package.kept()) == 2


@pytest.mark.parametrize("open_folder", ["kernels", "."])
def test_nothing_is_kept_where_others_may_write(package: Package, open_folder: str) -> None:
    base = package.cache / "kernels"
    (base / "other").mkdir(parents=True)
    base.chmod(0o700)
    (package.cache / open_folder).chmod(0o777)
    found, err = package.run(after=0.0)
    assert found == ["5.0", "CPUDispatcher", "0"]
    assert err.startswith(f"{ANNOUNCED} (each time: {base} isn't a folder that you alone may write")
    assert package.kept() == [base / "other"]
    assert not files(package.place), "nor beside the sources"


def test_nothing_is_kept_where_the_cache_is_a_file(package: Package) -> None:
    package.cache.write_text("")
    assert package.run()[0] == ["5.0", "CPUDispatcher", "0"]
    assert not files(package.place)


def test_the_folder_of_this_version_may_be_another_s(package: Package) -> None:
    package.run()
    (folder,) = package.kept()
    kept = files(folder)
    folder.chmod(0o777)
    assert package.run()[0] == ["5.0", "CPUDispatcher", "0"], "what lies there isn't loaded"
    assert files(folder) == kept


def test_processes_that_start_together(package: Package) -> None:
    both = [package.start() for _ in range(2)]
    assert [ended(process)[0][0] for process in both] == ["5.0", "5.0"]
    assert package.run()[0] == ["5.0", "CPUDispatcher", "1"]


def test_what_older_versions_compiled_is_removed(package: Package) -> None:
    old, recent = (package.cache / "kernels" / name for name in ("old", "recent"))
    for folder, days in ((old, 31), (recent, 29)):
        folder.mkdir(parents=True)
        (folder / "caller.nbi").write_bytes(b"")
        os.utime(folder, (time.time() - days * 86400,) * 2)
    (package.cache / "kernels").chmod(0o700)
    package.run()
    assert recent in package.kept() and old not in package.kept()
    assert len(package.kept()) == 2


def test_a_full_disk(package: Package) -> None:
    """A folder that can't be written after all."""
    package.write(
        "caller",
        CALLER.replace("from lmfst.ground.callee", "import tempfile, errno\n"
        "def full(*args, **options): raise OSError(errno.ENOSPC, 'No space left')\n"
        "tempfile.TemporaryFile = full\nfrom lmfst.ground.callee"),
    )  # fmt: skip
    assert package.run()[0] == ["5.0", "CPUDispatcher", "0"]
    assert not files(package.cache)


def test_a_program_s_own_functions_are_not_announced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import numba

    said: list[str] = []
    monkeypatch.setenv("LMFST_CACHE", str(tmp_path))
    monkeypatch.setattr(announce, "AFTER", 0.0)
    monkeypatch.setattr(announce.LOGGER, "info", said.append)
    monkeypatch.setattr(kernels, "_folder", lambda: None)
    kernels._announce_compiling.cache_clear()
    ours = kernels.kernel(lambda x: x + 1)
    theirs = numba.njit(lambda x: x + 2)
    assert theirs(1) == 3 and said == []
    assert ours(1) == 2
    assert len(said) == 1 and said[0].startswith(f"{ANNOUNCED} (each time")


@pytest.mark.parametrize("suffix", ["nbc", "nbi"])
@pytest.mark.parametrize("damage", ["empty", "cut", "flipped"])
def test_damaged_files_are_made_again(package: Package, suffix: str, damage: str) -> None:
    package.run()
    (folder,) = package.kept()
    for path in folder.rglob(f"*.{suffix}"):
        content = bytearray(path.read_bytes())
        content[-9] ^= 1
        path.write_bytes({"empty": b"", "cut": bytes(content[:40]), "flipped": content}[damage])
    assert package.run()[0] == ["5.0", "CPUDispatcher", "0"]
    assert package.run()[0] == ["5.0", "CPUDispatcher", "1"]


@pytest.mark.skipif(os.name != "posix", reason="limits of files are POSIX")
def test_a_full_disk_ends_nothing(package: Package) -> None:
    import resource

    package.run(LMFST_COMPILED="0")  # so that nothing but kernels has to be written
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, limit[1]))
    try:
        process = package.start(PYTHONDONTWRITEBYTECODE="1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert ended(process)[0] == ["5.0", "CPUDispatcher", "0"]


def test_a_relative_folder_stays_where_it_was(package: Package, tmp_path: Path) -> None:
    code = f"import os, numpy as np; from lmfst.ground import caller; os.chdir({str(tmp_path)!r}); "
    env = os.environ | {"PYTHONPATH": str(package.place), "LMFST_CACHE": "rel"}
    run = [sys.executable, "-c", code + "print(caller.total(np.arange(4.0)))"]
    subprocess.run(run, env=env, cwd=package.place, check=True, capture_output=True)
    assert files(package.place / "rel") and not (tmp_path / "rel").exists()
