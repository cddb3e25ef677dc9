"""What is written, apart from what is read: no run takes its own rows, or those of the run before,
for documents."""

from __future__ import annotations

import glob
import os
import stat
import sys
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

from lmfst.ground.errors import UsageError
from lmfst.io.forms import known_form
from lmfst.io.streams import STDIN

STDOUT = "-"
_ANY_FOLDERS = "**"


def require_apart(
    paths: Sequence[str], files: Sequence[str], written: Iterable[str | Path | None]
) -> None:
    """UsageError if a file that will be written is one of those that are read, or would be when the
    same command is given again. (Where links within a pattern lead to it, when it is there.)

    paths: names, folders and patterns, as they were given. files: what they stand for. written: the
    files, which needn't be there yet; `-` is the standard output, which may lead to a file; None,
    pipes and devices are none.
    """
    read = {os.path.realpath(file) for file in files if file != STDIN}
    for output in written:
        if output is None or _is_device(output):
            continue
        name, why = str(output), ""
        if name == STDOUT:
            name = "the standard output"
            if found := next(filter(_is_stdout, sorted(read)), None):
                why = f"it goes to {found}"
        else:
            why = _why_read(name, paths, read)
        if why:
            raise UsageError(
                f"{name}: expected an output that isn't read as input, {why}",
                hint="write to a place outside of what is read, such as a folder of its own",
            )


def _is_stdout(path: str) -> bool:
    """Whether the standard output goes to a file, such as one that the shell has made for it."""
    try:
        goes = os.fstat(sys.stdout.fileno())
        return stat.S_ISREG(goes.st_mode) and os.path.samestat(goes, os.stat(path))
    except (OSError, ValueError, AttributeError):  # closed, in memory; no such file
        return False


def _is_device(path: str | Path) -> bool:
    """Whether a path is written to directly: a pipe, or a device."""
    return os.path.exists(path) and not os.path.isfile(path)


def _why_read(output: str, paths: Sequence[str], read: set[str]) -> str:
    """Why an output is, or would be, among the inputs; "" if it isn't."""
    if os.path.realpath(output) in read:
        return "this is one of the files that are read"
    for path in paths:
        if os.path.isdir(path):
            if _is_below(output, path):
                return f"what lies in {path} is read, and would be the next time with this in it"
        elif not os.path.exists(path) and _matches(output, path):
            return f"it matches {path}, and would be read the next time"
    return ""


def _places(path: str) -> list[PurePath]:
    """Where a file is: its name in its folder, and what it leads to if it is a link."""
    here, name = os.path.split(os.path.abspath(path))
    return [PurePath(os.path.realpath(here), name), PurePath(os.path.realpath(path))]


def _is_below(output: str, folder: str) -> bool:
    """Whether a folder would stand for a file: see `lmfst.io.corpus_files`."""
    above = PurePath(os.path.realpath(folder))
    return any(
        place.is_relative_to(above)
        and known_form(place.name) is not None
        and not any(part.startswith(".") for part in place.relative_to(above).parts)
        for place in _places(output)
    )


def _matches(output: str, pattern: str) -> bool:
    """Whether a file would match a pattern."""
    parts = PurePath(os.path.abspath(pattern)).parts
    fixed = next((at for at, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    real = PurePath(os.path.realpath(os.path.join(*parts[:fixed]))).parts
    return _fits(PurePath(os.path.abspath(output)).parts, parts) or any(
        _fits(place.parts, real + parts[fixed:]) for place in _places(output)
    )


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether the parts of a path match those of a pattern, as glob has it."""
    if not parts or not pattern:
        return not parts and not pattern
    any_folders, last = pattern[0] == _ANY_FOLDERS, len(parts) == len(pattern) == 1
    if any_folders and not last and _fits(parts, pattern[1:]):
        return True
    if parts[0].startswith(".") and not pattern[0].startswith("."):
        return False
    if any_folders and not last:
        return _fits(parts[1:], pattern)
    return fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])
