"""Where a job keeps what: names beside the output, files that are on the disk for certain.

Beside `OUT` stand, while the job runs, the folder `OUT.work` with a lock, the manifest, the ledger
and the shards; when it is done, `OUT.rejects.jsonl` if records were rejected and
`OUT.manifest.json`, which says what made the output. Temporary files lie in the work folder alone,
so that a killed run leaves nothing elsewhere, and the next one removes them.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lmfst.ground.atomic import write_hint
from lmfst.ground.digests import digest
from lmfst.ground.errors import InputError
from lmfst.ground.manifests import manifest_of

LOCK = "lock"
_CHANCE = secrets.randbelow(10**9)
"""Tells processes with the same number on several machines apart."""
_OURS = re.compile(
    r"\d{8,}\.(rows|rejects)(\.\d+\.tmp)?|(manifest|joined|rejected)\.tmp|ledger|manifest\.json|lock"
)


@dataclass(frozen=True)
class Place:
    """The files of a job with a given output. out: where a link leads, if it is one."""

    out: Path

    @classmethod
    def of(cls, path: str) -> Place:
        """InputError for an output that can't be a file, or whose folder isn't one."""
        if path in ("", "-"):
            raise InputError(
                "a job needs a named output: it goes on with it after an interruption",
                hint="give a file with -o",
            )
        out = Path(os.path.realpath(path))
        with writing(path):
            if not stat.S_ISDIR(os.stat(out.parent).st_mode):
                raise NotADirectoryError(None, f"{out.parent} is no folder")
            if out.is_dir():
                raise IsADirectoryError(None, "it is a folder")
            if out.exists() and not out.is_file():
                raise OSError(None, "it is no ordinary file, and a job replaces its output")
        return cls(out)

    def _beside(self, suffix: str) -> Path:
        return self.out.with_name(self.out.name + suffix)

    @property
    def work(self) -> Path:
        return self._beside(".work")

    @property
    def rejects(self) -> Path:
        return self._beside(".rejects.jsonl")

    @property
    def finished(self) -> Path:
        """The manifest of the output that is there."""
        return manifest_of(self.out)

    @property
    def written(self) -> list[Path]:
        """Files that stay, or that an interruption leaves."""
        return [self.out, self.rejects, self.finished, self.ledger, self.rows(0)]

    @property
    def manifest(self) -> Path:
        return self.work / "manifest.json"

    @property
    def ledger(self) -> Path:
        return self.work / "ledger"

    def rows(self, number: int) -> Path:
        """The rows of a shard."""
        return self.work / f"{number:08}.rows"

    def rejected(self, number: int) -> Path:
        """What was rejected of a shard."""
        return self.work / f"{number:08}.rejects"


def temporary(path: Path) -> Path:
    """The name of this process under which it writes what is to be `path`: if another one still
    writes the same (its parent was killed, or it was thought dead, on another machine), they don't
    meet."""
    return path.with_name(f"{path.name}.{os.getpid()}{_CHANCE:09}.tmp")


def is_ours(name: str) -> bool:
    """Whether a file of a work folder is a job's."""
    return _OURS.fullmatch(name) is not None


def clear(work: Path, *, everything: bool = True) -> None:
    """Remove a job's files from its work folder, but for the lock; else its temporary ones alone.
    Whatever else lies there stays."""
    for name in sorted(os.listdir(work)):
        if is_ours(name) and name != LOCK and (everything or name.endswith(".tmp")):
            (work / name).unlink(missing_ok=True)


def remove(work: Path) -> None:
    """Remove a work folder, the lock last; what isn't a job's stays, and the folder with it."""
    clear(work)
    (work / LOCK).unlink(missing_ok=True)
    with suppress(OSError):
        os.rmdir(work)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk. File systems that can't do this have them anyway."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


def settle(temporary: Path, path: Path) -> None:
    """Give a file that is on the disk its name, and have that on the disk, too."""
    os.replace(temporary, path)
    sync_folder(path.parent)


def put_on_disk(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Have a file on the disk that `write` writes; its name may not be."""
    with path.open("wb") as stream:
        write(stream)
        stream.flush()
        os.fsync(stream.fileno())


def write_whole(temporary: Path, path: Path, data: bytes) -> None:
    """Write a file in one step."""
    put_on_disk(temporary, lambda stream: stream.write(data))
    settle(temporary, path)


def is_intact(path: Path, wanted: str) -> bool:
    """Whether a file can be read and is what it was."""
    try:
        return digest(path) == wanted
    except OSError:
        return False


@contextmanager
def writing(path: str | Path, kept: Path | None = None) -> Iterator[None]:
    """Errors of the system in the block say which file they are about, and how to go on.

    kept: the folder of the work that is kept.
    """
    try:
        yield
    except OSError as error:
        more = "" if kept is None else f"; what is done is kept in {kept}: the same command goes on"
        raise InputError(
            f"{path}: can't be written: {error.strerror or error}", hint=write_hint(error) + more
        ) from error
