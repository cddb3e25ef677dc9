"""Where imported grammars and data files are looked for, and which ones were read.

A relative path is tried in the folder of the file that names it, then in the roots (the folders
given with --include, the current directory, the folder of the grammar that is compiled, lmfst's own
grammars), then in the folders above that file and above the grammar, nearest first.

Thrax reads every path from the directory it is started in, which isn't known here. It may be the
top of a project's tree, the folder of the main grammar, or one below the file that names the path;
in the last case the path begins with `../`, and is tried without. Thrax's `byte.grm` is installed
with Thrax and copied into projects by their makefiles: if it isn't where a grammar expects it, the
one that comes with lmfst stands in.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lmfst.grammar.source import RuleError
from lmfst.ground.errors import LmfstError
from lmfst.ground.resources import resource_dir

_LEVELS_UP = 8

STANDARD = Path(__file__).resolve().parent / "std"
"""What grammars expect of a Thrax installation: `byte.grm`."""


def is_shipped(path: Path) -> bool:
    """Whether a grammar is one of those that come with lmfst."""
    folders = [STANDARD]
    with suppress(LmfstError):
        folders.append(resource_dir("grammars"))
    return any(path.resolve().is_relative_to(folder) for folder in folders)


def own_roots() -> list[Path]:
    """Folders of the grammars that come with lmfst."""
    try:
        return [resource_dir("grammars"), STANDARD]
    except LmfstError:  # an incomplete installation still compiles the user's grammars
        return [STANDARD]


class Finder:
    """Finds files, and remembers what it was asked: that decides if a cached result is stale.

    main: the folder of the grammar that is compiled.
    """

    def __init__(self, include: Sequence[str | Path] = (), main: Path | None = None) -> None:
        given = [Path(os.path.abspath(folder)) for folder in include]
        self._main = [main] if main is not None else []
        self.roots = [*given, Path.cwd(), *self._main, *own_roots()]
        self._asked: dict[tuple[str, Path], Path | None] = {}

    def find(self, name: str, importer: Path) -> Path:
        """The file that `name` means in the grammar file `importer`.

        RuleError that lists the places if there is none.
        """
        found = self.look(name, importer)
        if found is not None:
            return found
        tried = "\n".join(f"    {path}" for path in self._candidates(name, importer))
        raise RuleError(
            f"'{name}' wasn't found; looked for\n{tried}",
            hint="give the folder it is relative to with --include DIR",
        )

    def look(self, name: str, importer: Path) -> Path | None:
        """As `find`, but None if there is no such file."""
        if (name, importer) not in self._asked:
            candidates = self._candidates(name, importer)
            self._asked[name, importer] = next(filter(_is_file, candidates), None)
        return self._asked[name, importer]

    def look_for_source(self, far: str, importer: Path) -> Path | None:
        """The grammar that a missing archive would be built from; None if the archive is there, or
        if there is no such grammar."""
        if self.look(far, importer) is not None or not far.endswith(".far"):
            return None
        return self.look(far.removesuffix(".far") + ".grm", importer)

    def lookups(self) -> list[list[str]]:
        """What was asked and found: name, asking file, path found or "", SHA-256 of its content."""
        return [
            [name, str(importer), str(found or ""), file_hash(found) if found else ""]
            for (name, importer), found in self._asked.items()
        ]

    def same(self, lookups: Sequence[Sequence[str]]) -> bool:
        """Whether all would be found at the same places now, with the same content."""
        for name, importer, found, content in lookups:
            path = self.look(name, Path(importer))
            if str(path or "") != found or (path is not None and file_hash(path) != content):
                return False
        return True

    def _candidates(self, name: str, importer: Path) -> list[Path]:
        if "\0" in name or not name:
            raise RuleError(f"{name!r} is no file name")
        folders = [importer.parent, *self.roots]
        for start in (importer.parent, *self._main):
            folders += list(start.parents)[:_LEVELS_UP]
        paths = [folder / name for folder in folders]
        parts = Path(name).parts
        while parts[:1] == ("..",):
            parts = parts[1:]
            paths.append(importer.parent.joinpath(*parts))
        paths.append(STANDARD / Path(name).name)
        return list(dict.fromkeys(Path(os.path.normpath(path)) for path in paths))


def stands_in(name: str, found: Path) -> bool:
    """Whether a file of lmfst was found for a path that means one of the project."""
    return found.parent == STANDARD and Path(name) != Path(found.name)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, a folder that may not be searched
        return False


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file's content, hex; "" if it can't be read."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""
