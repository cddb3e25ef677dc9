"""The files of a corpus, from names, folders and patterns."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterator, Sequence

from lmfst.ground.document import Form
from lmfst.ground.errors import InputError, UsageError
from lmfst.ground.types import DocMode
from lmfst.io.documents import NOT_TWICE
from lmfst.io.forms import PACKED, SUFFIXES, form_of, known_form
from lmfst.io.streams import STDIN

_OPEN = re.compile(r"/dev/(stdin|fd/\d+)|/proc/(self|thread-self|\d+)/fd/\d+")
"""Names of files that a process has open already; a later run has others there."""


def corpus_files(paths: Sequence[str], doc: DocMode = "auto") -> list[str]:
    """The files that names, folders and patterns stand for, in this order.

    A folder stands for all files in it and below with a suffix of `lmfst.io.forms`, sorted by path,
    without hidden ones (`.name`) and what is in hidden folders; links to folders are not followed.
    A pattern (`*`, `?`, `[a-z]`; `**` for any folders) that isn't itself the name of a file stands
    for the files that match, sorted. doc: what a document is; "auto": by suffix, which must say the
    same of all files then, however they are packed.

    Raises UsageError for no path, `-`, `/dev/stdin` and the like, a folder or pattern without
    files, files that come twice, and files of different forms; InputError for a file that isn't
    there or can't be read twice, and for a folder that can't be read.
    """
    if not paths:
        raise UsageError("expected files of a corpus, found none", hint="name a file or a folder")
    found = [file for path in paths for file in _files(path)]
    require_different(found)
    if doc == "auto":
        _require_one_form(found)
    return found


def _files(path: str) -> list[str]:
    if path == STDIN:
        raise UsageError(NOT_TWICE, hint="write it to a file first")
    if _OPEN.fullmatch(os.path.abspath(path)):
        raise UsageError(
            f"{path}: a file that is handed over open can't be read twice, as a corpus must be",
            hint="give its name, or write what comes to a file first",
        )
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        if glob.has_magic(path):
            return _matching(path)
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{path}: expected a file or a folder: {reason}",
            hint="give an existing file, a folder, or a pattern such as 'corpus/*.jsonl'",
        ) from None
    if stat.S_ISDIR(mode):
        return _below(path)
    if not stat.S_ISREG(mode):
        raise InputError(
            f"{path}: expected a file that can be read twice, found a pipe or device",
            hint="write it to a file first",
        )
    return [path]


def _matching(pattern: str) -> list[str]:
    """The files that match a pattern, sorted."""
    matches = sorted(glob.glob(pattern, recursive=True))
    found = [path for path in matches if os.path.isfile(path)]
    if not found:
        what = "folders alone match" if matches else "nothing matches"
        raise UsageError(
            f"{pattern}: expected files that match, {what}",
            hint="a folder stands for the files in it; ** for any folders, as in 'corpus/**/*.txt'",
        )
    return found


def _below(folder: str) -> list[str]:
    """The files in a folder and below, sorted."""
    found = sorted(path for path in _walk(folder) if known_form(path) and os.path.isfile(path))
    if not found:
        known = ", ".join(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
        raise UsageError(
            f"{folder}: expected files of a corpus in the folder or below, found none",
            hint=f"names that end in {known} are looked for, also with {' or '.join(PACKED)}; name "
            f"others by a pattern, such as '{folder.rstrip('/')}/*'",
        )
    return found


def _walk(folder: str) -> Iterator[str]:
    def fail(error: OSError) -> None:
        raise InputError(
            f"{error.filename}: the folder can't be read: {error.strerror or error}",
            hint="name the files that are meant",
        )

    for here, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (os.path.join(here, name) for name in files if not name.startswith("."))


def require_different(files: Sequence[str]) -> None:
    """UsageError if a file comes twice, perhaps under two names."""
    seen: dict[str, str] = {}
    for file in files:
        real = os.path.realpath(file)
        before = seen.get(real)
        seen[real] = file
        if before is not None:
            also = "" if before == file else f", as {before} before"
            raise UsageError(
                f"{file} comes twice{also}: expected every file once",
                hint="its documents would be counted twice; name it once, or copy it",
            )


def _require_one_form(files: Sequence[str]) -> None:
    first: dict[Form, str] = {}
    for file in files:
        first.setdefault(form_of(file), file)
        if len(first) > 1:
            (form, one), (other_form, other) = first.items()
            raise UsageError(
                f"expected files of one form, found {one} ({form}) and {other} ({other_form})",
                hint="say what they are by --doc if they are the same, or score them in two runs",
            )
