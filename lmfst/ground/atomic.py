"""Files that are replaced in one step: a reader sees the old file or the whole new one."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from lmfst.ground.temporary import new_file


class AtomicFile:
    """A file that is written under a temporary name beside it, then renamed.

    A link stays and the file it leads to is replaced, with the permissions that it had; pipes and
    devices are written to directly. What a process that was killed left of the same name is
    removed. OSError if the folder doesn't exist or can't be written.

    path: the file that is replaced. raw: where to write. direct: whether that is `path` itself.
    """

    def __init__(self, path: str | Path) -> None:
        self._temporary: str | None = None
        self.direct = os.path.exists(path) and not os.path.isfile(path)
        self.path = str(path) if self.direct else os.path.realpath(path)
        if self.direct:
            self.raw = open(path, "wb")  # noqa: SIM115 (closed by whoever completes or discards)
            return
        handle, self._temporary = new_file(Path(self.path))
        self.raw = os.fdopen(handle, "wb")
        try:
            os.chmod(self._temporary, _mode(self.path))
        except BaseException:
            self.discard()
            raise

    def complete(self) -> None:
        """Give the file its name; all of it is on the disk then. OSError: it stays unnamed."""
        self.raw.flush()
        if self._temporary is not None:
            os.fsync(self.raw.fileno())
        self.raw.close()
        if self._temporary is not None:
            os.replace(self._temporary, self.path)

    def discard(self) -> None:
        """Give up: nothing is left behind."""
        with suppress(OSError):
            self.raw.close()
        if self._temporary is not None:
            with suppress(FileNotFoundError):
                os.unlink(self._temporary)


def atomic_write(path: str | Path, data: bytes) -> None:
    """Write `data` to `path`, see `AtomicFile`. OSError: then nothing is left behind."""
    file = AtomicFile(path)
    try:
        file.raw.write(data)
        file.complete()
    except BaseException:
        file.discard()
        raise


def write_hint(error: Exception) -> str:
    """How to mend it that a file can't be written."""
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return "free some space there, or name a file on another disk"
    return "name a file in a folder you own"


def _mode(path: str) -> int:
    """The permissions of the file at `path`, or those a new file gets."""
    with suppress(FileNotFoundError):
        return os.stat(path).st_mode & 0o777
    # The process's mask can only be read by setting it.
    mask = os.umask(0o022)
    os.umask(mask)
    return 0o666 & ~mask
