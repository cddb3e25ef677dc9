"""OpenFst archives (FAR files): one FST of several.

Archives are read in a process of their own: OpenFst trusts the counts in a file and ends the
process that reads a damaged one. The names of generated symbols may stand in an entry of the
archive, by Thrax's convention, instead of in the FSTs.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lmfst.fst.core import Fst
from lmfst.fst.io import CHILD_SECONDS, own_diagnostic, read_object
from lmfst.fst.layout import check_archive
from lmfst.fst.openfst import from_openfst
from lmfst.fst.tables import read_table
from lmfst.ground.announce import warn_default
from lmfst.ground.errors import FstError
from lmfst.ground.temporary import scratch_folder
from lmfst.ground.types import InputMode, Warn

SYMBOLS_KEY = "*StringFstSymbolTable"
"""The entry whose input symbols are the names of the generated symbols (Thrax's convention)."""

# Entry number i becomes the file i; the last line of output has the keys.
_UNPACK = """\
import json, sys, pywrapfst
far = pywrapfst.FarReader.open(sys.argv[1])
keys = []
while not far.done():
    fst = pywrapfst.convert(far.get_fst(), "vector")
    fst.write(f"{sys.argv[2]}/{len(keys)}")
    keys.append(far.get_key())
    far.next()
if far.error():
    sys.exit("it is damaged or cut off")
print(json.dumps(keys))
"""


def read_far(
    path: str | Path,
    key: str | None = None,
    *,
    mode: InputMode = "auto",
    weights: bool = False,
    warn: Warn = warn_default,
) -> Fst:
    """The transducer of an entry of an archive (types sttable, stlist and fst).

    key: the entry; None: the only one, or the one called MAIN, or like the file in upper case.
    `mode`, `weights` and `warn` as in `from_openfst`. FstError if the file is missing, damaged or
    no archive, or if there is no such entry.
    """
    name = str(path)
    _check(Path(path))
    with scratch_folder() as folder:
        keys = _unpack(name, folder)
        entries = [entry for entry in keys if entry != SYMBOLS_KEY]
        chosen = _chosen(entries, key, name)
        names: Mapping[int, str] = {}
        if SYMBOLS_KEY in keys:
            holder = read_object(f"{folder}/{keys.index(SYMBOLS_KEY)}", name)
            table = read_table(holder.input_symbols(), f"{name}: {SYMBOLS_KEY}")
            names = table.names if table is not None else {}
        obj = read_object(f"{folder}/{keys.index(chosen)}", name)
    return from_openfst(
        obj, name=f"{name}:{chosen}", names=names, mode=mode, weights=weights, warn=warn
    )


def _check(path: Path) -> None:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FstError(
            f"{path}: expected an FST archive, can't read it: {error.strerror}",
            hint="check the path",
        ) from error
    check_archive(data, str(path))


def _unpack(path: str, folder: str) -> list[str]:
    """Write the entries of an archive to files; their keys, in order."""
    command = [sys.executable, "-Pc", _UNPACK, path, folder]
    try:
        done = subprocess.run(command, capture_output=True, timeout=CHILD_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise _unreadable(path, f"OpenFst wasn't done after {CHILD_SECONDS} s") from None
    if done.returncode != 0:
        raise _unreadable(path, own_diagnostic(done))
    keys = json.loads(done.stdout)
    return [str(key) for key in keys]


def _chosen(keys: Sequence[str], key: str | None, name: str) -> str:
    upper = Path(name).stem.upper()
    if key is None:
        wanted = [keys[0]] if len(keys) == 1 else [k for k in ("MAIN", upper) if k in keys]
        if wanted:
            return wanted[0]
    elif key in keys:
        return key
    shown = ", ".join(keys[:8]) + (", …" if len(keys) > 8 else "") if keys else "nothing"
    what = f"entry {key!r}" if key is not None else f"one FST, or one called MAIN or {upper}"
    raise FstError(
        f"{name}: expected {what}, the archive holds {shown}",
        hint=f"name one of them: {name}:{keys[0]}" if keys else "write the archive again",
    )


def _unreadable(path: str, diagnostic: str) -> FstError:
    return FstError(
        f"{path}: expected an FST archive (FAR), OpenFst can't read it: {diagnostic}",
        hint="write the file again from its source; `farinfo` shows what it holds",
    )
