"""Folders of the cache that are made once: damage, kills, and processes at the same time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmfst.ground.errors import ModelError
from lmfst.lm import default, unpack
from lmfst.lm.unpack import intact, made_folder, remove_older
from tests.support.paths import REPOSITORY

FILES = {"config.json": b"{}", "model.safetensors": b"weights " * 100, "tokenizer.json": b"[]"}


def fill(folder: Path) -> dict[str, Any]:
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    return {"bos": "<s>"}


def never(folder: Path) -> dict[str, Any]:
    raise AssertionError("made again")


def made(home: Path, make: Callable[[Path], dict[str, Any]] = fill) -> list[str]:
    """Notes that were given."""
    said: list[str] = []
    assert made_folder(home, "model.gguf", make, said.append) == home
    assert intact(home)
    assert {p.name for p in home.iterdir()} == {*FILES, "manifest.json"}
    assert all((home / name).read_bytes() == data for name, data in FILES.items())
    assert [p.name for p in home.parent.iterdir() if p.name != ".lock"] == [home.name]
    return said


def test_a_folder_is_made_once(tmp_path: Path) -> None:
    home = tmp_path / "model"
    assert made(home) == [f"dequantising model.gguf into {home} (once)"]
    assert made(home, never) == []
    manifest = json.loads((home / "manifest.json").read_text())
    assert manifest["bos"] == "<s>" and set(manifest["files"]) == set(FILES)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
@pytest.mark.parametrize("damage", [flip, truncate, empty, Path.unlink])
def test_a_damaged_file(tmp_path: Path, name: str, damage: Callable[[Path], None]) -> None:
    home = tmp_path / "model"
    made(home)
    damage(home / name)
    if (name, damage) == ("manifest.json", truncate):
        assert made(home, never) == [], "its last byte is a line end"
        return
    assert any(f"{home} is damaged; making it again from model.gguf" in note for note in made(home))


@pytest.mark.parametrize(
    "manifest",
    ["[]", "{}", '{"files": []}', '{"files": {}}', '{"weights_sha256": "00"}', "\xff",
     "[" * 200_000],
)  # fmt: skip
def test_a_manifest_without_checksums(tmp_path: Path, manifest: str) -> None:
    home = tmp_path / "model"
    made(home)
    (home / "manifest.json").write_text(manifest, encoding="latin-1")
    assert "damaged" in made(home)[0]


def test_a_file_that_does_not_belong(tmp_path: Path) -> None:
    home = tmp_path / "model"
    made(home)
    (home / "adapter_config.json").write_text("{}")
    assert "damaged" in made(home)[0]


def test_a_folder_without_a_manifest(tmp_path: Path) -> None:
    # What a kill left of removing a damaged folder.
    home = tmp_path / "model"
    home.mkdir()
    (home / "model.safetensors").write_bytes(b"wei")
    assert "damaged" in made(home)[0]


def test_no_space(tmp_path: Path) -> None:
    def full(folder: Path) -> dict[str, Any]:
        (folder / "model.safetensors").write_bytes(b"wei")
        raise OSError(28, "No space left on device")

    with pytest.raises(ModelError, match=r"No space left on device(.|\n)*LMFST_CACHE"):
        made_folder(tmp_path / "model", "model.gguf", full, print)
    assert [p.name for p in tmp_path.iterdir()] == [".lock"]
    made(tmp_path / "model")


# Other processes, which unpack the default model out of a small file.

UNPACK = """
import sys, time
from pathlib import Path
import lmfst.lm.default as default
base, go = Path(sys.argv[1]), sys.argv[2]
def dequantise(source, folder):
    (folder / "model.safetensors").write_bytes(source.read_bytes() * 1000)
    (base / f"begun-{sys.argv[3]}").touch()
    while go and not (base / go).exists():
        time.sleep(0.05)
    (folder / "config.json").write_text("{}")
default.dequantise = dequantise
default.packaged_gguf = lambda: base / "small.gguf"
print(default.default_model_dir(lambda note: print(note, file=sys.stderr, flush=True)), flush=True)
"""


def start(base: Path, name: str, go: str = "") -> subprocess.Popen[bytes]:
    """A process that unpacks; go: a file that it waits for while it does."""
    (base / "small.gguf").write_bytes(b"weights ")
    environment = {**os.environ, "LMFST_CACHE": str(base / "cache"), "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", UNPACK, str(base), go, name]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )


def wait_for(path: Path) -> None:
    for _ in range(1200):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"no {path}")


def models(base: Path) -> list[Path]:
    return [p for p in (base / "cache" / "models").iterdir() if p.name != ".lock"]


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_killed_process_leaves_is_cleared_at_the_next_start(
    tmp_path: Path, end: signal.Signals
) -> None:
    killed = start(tmp_path, "killed", "never")
    wait_for(tmp_path / "begun-killed")
    killed.send_signal(end)
    killed.communicate()
    assert sum((folder / "model.safetensors").stat().st_size for folder in models(tmp_path)) == 8000
    after = start(tmp_path, "after")
    out, err = after.communicate(timeout=60)
    assert after.returncode == 0, err.decode()
    assert models(tmp_path) == [Path(out.decode().strip())] and intact(models(tmp_path)[0])


def test_what_earlier_versions_made_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dequantise(source: Path, folder: Path) -> None:
        (folder / "config.json").write_text("{}")

    (tmp_path / "small.gguf").write_bytes(b"weights ")
    monkeypatch.setenv("LMFST_CACHE", str(tmp_path))
    monkeypatch.setattr(default, "dequantise", dequantise)
    monkeypatch.setattr(default, "packaged_gguf", lambda: tmp_path / "small.gguf")
    home = default.default_model_dir(lambda note: None)
    begin, _, version = home.name.rpartition("-")
    # Of two earlier formats, a later one, another file, and another model.
    names = [f"{begin}-1", f"{begin}-2", f"{begin}-{int(version) + 1}", "smollm2-135m-9-2", "x-8-2"]
    for name in names:
        (home.parent / name).mkdir()
        (home.parent / name / "model.safetensors").write_bytes(b"wei")
    said: list[str] = []
    assert default.default_model_dir(said.append) == home
    assert {p.name for p in home.parent.iterdir()} == {".lock", home.name, *names[2:]}
    assert [note.split(",")[0] for note in said] == [
        f"removed {home.parent / name}" for name in names[:2]
    ]
    assert default.default_model_dir(said.append) == home and len(said) == 2


def test_older_models_stay_where_they_can_not_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(folder: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("lmfst.lm.unpack.shutil.rmtree", read_only)
    (tmp_path / "old").mkdir()
    said: list[str] = []
    remove_older([tmp_path / "old"], said.append)
    assert {p.name for p in tmp_path.iterdir()} == {".lock", "old"} and not said


def test_two_processes_at_once(tmp_path: Path) -> None:
    first = start(tmp_path, "first", "go")
    wait_for(tmp_path / "begun-first")
    second = start(tmp_path, "second")
    assert second.stderr is not None
    said = second.stderr.readline()
    assert b"another process is writing a model" in said
    (tmp_path / "go").touch()
    out, err = second.communicate(timeout=60)
    assert b"dequantising" not in err
    assert not (tmp_path / "begun-second").exists()
    assert first.communicate(timeout=60)[0] == out and first.returncode == 0
    assert [str(p) for p in models(tmp_path)] == [out.decode().strip()]


# What is known of a folder without reading it all.


@pytest.fixture
def reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of files whose checksums were computed; files count as settled at once."""
    found: list[str] = []
    digest = unpack.digest

    def noted(path: Path) -> str:
        found.append(path.name)
        return digest(path)

    monkeypatch.setenv("LMFST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(unpack, "digest", noted)
    monkeypatch.setattr("lmfst.ground.stamps.SETTLED", -60.0)
    return found


def use(home: Path) -> None:
    assert made_folder(home, "model.gguf", never, print) == home


def test_weights_are_read_once_more_only(tmp_path: Path, reads: list[str]) -> None:
    home = tmp_path / "models" / "model"
    home.parent.mkdir()
    made_folder(home, "model.gguf", fill, print)
    use(home)
    reads.clear()
    use(home)
    assert reads == []
    # Moved within the disk, it is to be looked at anew.
    home = home.rename(home.with_name("other"))
    use(home)
    assert sorted(reads) == sorted(FILES)


def test_a_file_of_a_known_folder_that_was_changed_and_dated_back(
    tmp_path: Path, reads: list[str]
) -> None:
    home = tmp_path / "models" / "model"
    home.parent.mkdir()
    made_folder(home, "model.gguf", fill, print)
    use(home)
    path = home / "model.safetensors"
    before = path.stat()
    flip(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    said: list[str] = []
    made_folder(home, "model.gguf", fill, said.append)
    assert "damaged" in said[0] and path.read_bytes() == FILES["model.safetensors"]


def test_a_folder_that_was_changed_just_now_is_read_each_time(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmfst.ground.stamps.SETTLED", 60.0)
    home = tmp_path / "models" / "model"
    home.parent.mkdir()
    made_folder(home, "model.gguf", fill, print)
    for _ in range(2):
        reads.clear()
        use(home)
        assert sorted(reads) == sorted(FILES)
