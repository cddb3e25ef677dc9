"""Stamps of files: what tells that a file has changed, without reading all of it.

A stamp is a digest of each file's place, size, inode and times of its last change (of its content,
and of anything about it, which no program can set back). A change within the same tick of the
file system's clock leaves the times as they are, so there is no stamp of a file that has only just
been changed.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from pathlib import Path

SETTLED = 2.0
"""Seconds since the last change after which another one shows: the coarsest clock of a file system
in use (FAT's)."""


def stamp(files: Iterable[Path]) -> str | None:
    """The stamp (hex) of files, in whatever order; None if one was changed less than `SETTLED`
    seconds ago, or has a time in the future. OSError for a file that isn't there."""
    content, now = hashlib.sha256(), time.time()
    for path in sorted(file.resolve(strict=True) for file in files):
        found = path.stat()
        if now - max(found.st_mtime, found.st_ctime) < SETTLED:
            return None
        facts = (path, found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)
        content.update(ascii([str(fact) for fact in facts]).encode())
    return content.hexdigest()
