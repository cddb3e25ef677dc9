"""Files and folders that exist for a while, and locks: nothing of a killed process stays for ever.

A temporary has this machine's mark in its name and is locked (flock) by the process that makes it,
for as long as it is open. The system frees the lock when that process ends, however it ends. So a
later process on the same machine removes those that nobody holds: beside the file that it is about
to write, and among lmfst's scratch folders. It looks at names with the mark of its own machine
only, since locks need not reach over a shared file system, and at nothing younger than
`YOUNGEST` seconds, since a file exists for a moment before it is locked.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a POSIX system: nothing is locked, and nothing removed
    fcntl = None  # type: ignore[assignment]

YOUNGEST = 60.0
"""Seconds; what was changed later is left alone."""
SUFFIX = ".tmp"
SCRATCH = "lmfst-"
_LONGEST_STEM = 100
"""Bytes of a file's name that its temporary repeats; names have at most 255."""


def new_file(path: Path) -> tuple[int, str]:
    """A new locked file beside `path`, to be renamed to it: its descriptor, for writing, and name.

    Leftovers of dead processes that wrote to the same name are removed. OSError if the folder
    can't be written.
    """
    stem = f".{_shortened(path.name)}.{mark()}-"
    remove_leftovers(path.parent, stem, SUFFIX)
    handle, name = tempfile.mkstemp(prefix=stem, suffix=SUFFIX, dir=path.parent)
    _lock(handle)
    return handle, name


@contextmanager
def scratch_folder() -> Iterator[str]:
    """A folder for the time of the block, among the system's temporary files."""
    _remove_scratch()
    with tempfile.TemporaryDirectory(prefix=f"{SCRATCH}{mark()}-") as folder:
        handle = os.open(folder, os.O_RDONLY)
        try:
            _lock(handle)
            yield folder
        finally:
            os.close(handle)


@contextmanager
def alone(place: Path, waiting: Callable[[], None]) -> Iterator[bool]:
    """Hold the lock of a folder, after whoever holds it now; False where there are no locks.

    It is the operating system's, and ends with the process however that ends. waiting: called where
    another process holds it. OSError if the folder can't be written.
    """
    if fcntl is None:
        yield False
        return
    with (place / ".lock").open("ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(stream, fcntl.LOCK_EX)
        except OSError:  # a file system without locks
            yield False
            return
        yield True


def mark() -> str:
    """What names of temporaries have of the machine: 8 hexadecimal digits."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def remove_leftovers(folder: Path, begin: str, end: str) -> None:
    """Remove the files and folders named `begin`…`end` in `folder` that no process holds."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(begin) and entry.name.endswith(end):
                _remove_if_left(entry.path)


@lru_cache(maxsize=256)
def clear_folder(folder: Path) -> None:
    """Remove what `new_file` left in a folder, for any name; once in a process."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and entry.name.endswith(SUFFIX):
                _, _, ours = entry.name.removesuffix(SUFFIX).rpartition(".")
                if ours.startswith(f"{mark()}-"):
                    _remove_if_left(entry.path)


@lru_cache(maxsize=1)
def _remove_scratch() -> None:
    remove_leftovers(Path(tempfile.gettempdir()), f"{SCRATCH}{mark()}-", "")


def _remove_if_left(path: str) -> None:
    """Remove a file or folder that is old enough and that no process has locked."""
    if fcntl is None:
        return
    with suppress(OSError):
        if time.time() - os.lstat(path).st_mtime < YOUNGEST:
            return
        # A link or a pipe is nothing of ours; opening it could wait or lead elsewhere.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.isdir(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                os.unlink(path)
        finally:
            os.close(handle)


def _lock(handle: int) -> None:
    """Hold a lock on an open file until it is closed. File systems without locks have none."""
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _shortened(name: str) -> str:
    return os.fsdecode(os.fsencode(name)[:_LONGEST_STEM])
