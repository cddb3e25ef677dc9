"""Digests of a corpus' files: whether a job goes on with the corpus that it began with.

A file of up to `WHOLE` bytes is known by its SHA-256; a larger one by its size, the time of its
last change, and its first and last MiB. Files whose stamp (`lmfst.ground.stamps`) is still that of
a digest aren't read again.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lmfst.ground.errors import InputError
from lmfst.ground.stamps import stamp

WHOLE = 1 << 30
END = 1 << 20
_SHOWN = 12


@dataclass(frozen=True)
class Input:
    """A file as a job has read it. path: as it was given. digest: "sha256:…", or "ends:…" for a
    large one. stamp: None if it had only just been changed."""

    path: str
    size: int
    digest: str
    stamp: str | None

    def facts(self) -> dict[str, Any]:
        return asdict(self)

    def short(self) -> str:
        """For messages."""
        kind, _, digits = self.digest.partition(":")
        return f"{self.size} bytes, {kind} {digits[:_SHOWN]}"


def look(paths: Iterable[str], known: Sequence[Input] = ()) -> list[Input]:
    """The files as they are now. known: what was found earlier.

    InputError for what can't be read, and for what isn't a file: it couldn't be read twice.
    """
    earlier = {found.path: found for found in known}
    return [_look(path, earlier.get(path)) for path in paths]


def _look(path: str, known: Input | None) -> Input:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise InputError(
                f"{path}: expected a file: a job may have to read its corpus twice",
                hint="write what comes by a pipe to a file first; for a folder, name its files",
            )
        mark = stamp([Path(path)])
        if known is not None and mark is not None and mark == known.stamp:
            return known
        size, digest = _digest(path)
    except OSError as error:
        raise InputError(
            f"{path}: expected a readable file: {error.strerror or error}",
            hint="give an existing file",
        ) from None
    return Input(path, size, digest, mark)


def _digest(path: str) -> tuple[int, str]:
    with open(path, "rb") as stream:
        found = os.fstat(stream.fileno())
        if found.st_size <= WHOLE:
            content = hashlib.file_digest(stream, "sha256")
            return stream.tell(), f"sha256:{content.hexdigest()}"
        ends = hashlib.sha256(f"{found.st_size} {found.st_mtime_ns}".encode())
        ends.update(stream.read(END))
        stream.seek(-END, os.SEEK_END)
        ends.update(stream.read(END))
        return found.st_size, f"ends:{ends.hexdigest()}"


def differences(old: Sequence[Input], new: Sequence[Input]) -> list[str]:
    """What has changed from one look to another, a line each."""
    if [found.path for found in old] != [found.path for found in new]:
        return [f"inputs: {_names(old)} -> {_names(new)}"]
    return [
        f"input {a.path}: {a.short()} -> {b.short()}"
        for a, b in zip(old, new, strict=True)
        if a.digest != b.digest
    ]


def _names(inputs: Sequence[Input]) -> str:
    names = [found.path for found in inputs]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def require_unchanged(seen: Sequence[Input], work: Path) -> bool:
    """InputError if the corpus isn't any more what it was when reading began. Whether it is sure
    that it was never anything else meanwhile."""
    now = look([found.path for found in seen], seen)
    changed = differences(seen, now)
    if changed:
        raise InputError(
            "the corpus changed while it was read: " + "; ".join(changed),
            hint=f"put it back as it was and give the same command, which goes on with {work}; or "
            "begin again with --restart, when it doesn't change any more",
        )
    return all(
        before.stamp is not None and before.stamp == after.stamp
        for before, after in zip(seen, now, strict=True)
    )
