"""A folder of a cache that is made once, whole or not at all, and made again when it is damaged.

One process at a time makes folders in a place: it holds a lock of the operating system, which ends
with the process however that ends. So an unfinished folder that its holder finds is a dead
process's, and is cleared.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lmfst.ground.digests import digest
from lmfst.ground.errors import ModelError
from lmfst.ground.stamps import stamp
from lmfst.ground.temporary import alone
from lmfst.ground.verdicts import remembered

MANIFEST = "manifest.json"
PARTIAL = ".partial"
"""How names of unfinished folders end."""
Note = Callable[[str], None]
Make = Callable[[Path], dict[str, Any]]


def made_folder(home: Path, source: str, make: Make, note: Note) -> Path:
    """`home`, with all files as its manifest has them; `make` fills it where it isn't so.

    Checksums are computed again only if the stamp of the files (`lmfst.ground.stamps`) isn't that
    of an earlier time when all was well.

    make: writes files into an empty folder and returns facts for the manifest. source: what it is
    made from, for messages. note: told when it is made, and why again.

    Raises ModelError if the folder can't be written.
    """
    if _known_intact(home):
        return home
    try:
        with alone(home.parent, _waiting(home.parent, note)) as locked:
            if locked:
                clear_leftovers(home.parent)
            if not intact(home):
                _make(home, source, make, note)
    except OSError as error:
        raise ModelError(
            f"{source} can't be unpacked into {home}: {error.strerror or error}",
            hint="free some space there, or set LMFST_CACHE to a folder that has it",
        ) from error
    return home


def remove_older(folders: Sequence[Path], note: Note) -> None:
    """Remove folders, of one place, that nothing will read again; note: told of each.

    They stay where they can't be removed, and where there are no locks.
    """
    if not folders:
        return
    place = folders[0].parent
    with suppress(OSError), alone(place, _waiting(place, note)) as locked:
        for folder in folders if locked else ():
            if folder.is_dir():  # no other process has removed it meanwhile
                # Under its own name, so that after a kill the next start goes on with it.
                shutil.rmtree(folder)
                note(f"removed {folder}, which an earlier version of lmfst made")


def _make(home: Path, source: str, make: Make, note: Note) -> None:
    if home.exists():
        note(f"the cached model in {home} is damaged; making it again from {source}")
        # Under an unfinished folder's name first, so that what a kill leaves of it is cleared.
        _remove(home.replace(_fresh(home) / home.name).parent)
    note(f"dequantising {source} into {home} (once)")
    fresh = _fresh(home)
    try:
        facts = make(fresh) | {"files": {p.name: digest(p) for p in sorted(fresh.iterdir())}}
        (fresh / MANIFEST).write_text(json.dumps(facts, indent=1) + "\n")
        os.chmod(fresh, 0o755)
        try:
            os.rename(fresh, home)
        except OSError:
            # Where there are no locks another process may have finished first, with the same.
            if not intact(home):
                raise
    finally:
        _remove(fresh)


class _Damaged(Exception):
    """A folder isn't as its manifest says."""


def _known_intact(home: Path) -> bool:
    """As `intact`, kept as long as the files' stamp stays the same."""

    def find() -> bool:
        if not intact(home):
            # Nothing is kept of that: the folder is about to be made again.
            raise _Damaged
        return True

    try:
        stamped = stamp(path for path in home.iterdir() if not path.name.startswith("."))
        if stamped is None:
            return find()
        return remembered("unpacked", [stamped], find, fits=lambda verdict: verdict is True) is True
    except (OSError, _Damaged):
        return False


def intact(home: Path) -> bool:
    """Whether a folder holds the files that its manifest lists, with their checksums, and no
    others (but hidden ones)."""
    try:
        listed = json.loads((home / MANIFEST).read_text())["files"]
        held = {p.name for p in home.iterdir() if not p.name.startswith(".")} - {MANIFEST}
        # Small files first: what is wrong with them is seen at once.
        files = sorted(listed, key=lambda name: (home / name).stat().st_size)
        return held == set(listed) and all(digest(home / name) == listed[name] for name in files)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def clear_leftovers(place: Path) -> None:
    """Remove the unfinished folders in `place`; only for the holder of its lock."""
    for folder in place.glob(f"*{PARTIAL}"):
        _remove(folder)


def _fresh(home: Path) -> Path:
    return Path(tempfile.mkdtemp(prefix=f"{home.name}.", suffix=PARTIAL, dir=home.parent))


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _waiting(place: Path, note: Note) -> Callable[[], None]:
    return lambda: note(f"another process is writing a model to {place}; waiting for it")
