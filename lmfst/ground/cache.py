"""The cache folder: where lmfst keeps what it can compute again."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from pathlib import Path

from lmfst.ground.errors import InputError
from lmfst.ground.temporary import clear_folder

_SET_CACHE = "set LMFST_CACHE to a folder you may write"
_SEAL = hashlib.sha256().digest_size


def cache_dir(sub: str = "") -> Path:
    """The user's cache folder for `sub` (say `grammars`), created if needed.

    `$LMFST_CACHE` if it is set, else the platform's place: `$XDG_CACHE_HOME/lmfst` or
    `~/.cache/lmfst` on Linux, `~/Library/Caches/lmfst` on macOS, `%LOCALAPPDATA%` on Windows.
    Half-written files of processes that were killed are removed from it. InputError if the folder
    can't be made.
    """
    path = cache_place(sub)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"expected to write the cache folder {path}: {error}", hint=_SET_CACHE
        ) from error
    clear_folder(path)
    return path


def cache_place(sub: str = "") -> Path:
    """Where the folder of `cache_dir` is, whether it exists or not.

    InputError if that is below the user's home folder and there is none.
    """
    try:
        base = _base()
    except RuntimeError as error:
        raise InputError(
            f"expected a home folder, for the cache folder below it: {error}", hint=_SET_CACHE
        ) from error
    return base / sub if sub else base


def once(sub: str, kept: str = "kept") -> str:
    """For announcements: that work is done once, and where what it gives is kept; nothing where
    there is no such place."""
    try:
        return f" (once; {kept} in {cache_place(sub)})"
    except InputError:
        return ""


def _base() -> Path:
    named = os.environ.get("LMFST_CACHE")
    if named:
        return Path(named).expanduser()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "lmfst"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "lmfst"
    xdg = os.environ.get("XDG_CACHE_HOME")
    # The XDG specification says that a relative path has to be ignored.
    if xdg and os.path.isabs(xdg):
        return Path(xdg) / "lmfst"
    return Path.home() / ".cache" / "lmfst"


def is_trusted(path: Path) -> bool:
    """Whether none but this user, and the system's administrator, could have written a file."""
    if not hasattr(os, "geteuid"):  # not a POSIX system: its cache folder is the user's own
        return True
    found, folder = path.lstat(), path.parent.stat()
    owned = {found.st_uid, folder.st_uid} <= {0, os.geteuid()}
    return owned and not (found.st_mode | folder.st_mode) & stat.S_IWOTH


def sealed(data: bytes) -> bytes:
    """`data` behind its SHA-256: what a file of the cache holds, so that damage is noticed."""
    return hashlib.sha256(data).digest() + data


def unsealed(kept: bytes) -> bytes | None:
    """The data of `sealed`; None if a bit of it has changed or some of it is missing."""
    seal, data = kept[:_SEAL], kept[_SEAL:]
    return data if hashlib.sha256(data).digest() == seal else None
