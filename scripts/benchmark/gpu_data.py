"""The folder that a run on a device reads: texts, transducers as arrays, and numbers from the CPU.

`data.json` has the cases, with their texts and numbers, and whose numbers they are; `words.npz` and
`amino.npz` are transducers, so that no grammar is compiled where they are read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lmfst.fst import Fst
from lmfst.fst.symbols import Symbols
from lmfst.target.load import Target, fst_target, load_fst, load_target

DATA = "data.json"
FORMAT = 1
GRAMMARS = {"words": "words", "amino": "amino:TABLE11"}
"""Transducers that are stored, and what they are compiled from."""
_ARRAYS = ("arc_ptr", "ilabel", "olabel", "dst", "final")


def save_fst(path: Path, fst: Fst) -> None:
    """A transducer without weights as arrays, its symbols' names as JSON in bytes."""
    names = {"kind": fst.symbols.kind, "names": list(fst.symbols.names.items())}
    np.savez_compressed(
        path,
        start=np.array(fst.start),
        symbols=np.frombuffer(json.dumps(names).encode(), dtype=np.uint8),
        digest=np.frombuffer(fst.digest.encode(), dtype=np.uint8),
        **{name: getattr(fst, name) for name in _ARRAYS},
    )


def read_fst(path: Path) -> Fst:
    """The transducer that `save_fst` has written. SystemExit if it isn't what it was."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in _ARRAYS}
        start, digest = int(file["start"]), file["digest"].tobytes().decode()
        named = json.loads(file["symbols"].tobytes())
    fst = Fst(start=start, symbols=Symbols(named["kind"], dict(named["names"])), **arrays)
    if fst.digest != digest:
        raise SystemExit(f"{path} is damaged: prepare the folder again")
    return fst


def save_targets(folder: Path) -> None:
    """Write the transducers."""
    for name, grammar in GRAMMARS.items():
        save_fst(folder / f"{name}.npz", load_fst(grammar))


def target(folder: Path, to: str) -> Target:
    """A target: bytes, or a transducer of the folder."""
    return fst_target(read_fst(folder / f"{to}.npz"), to) if to in GRAMMARS else load_target(to)


def save_data(folder: Path, data: dict[str, Any]) -> None:
    text = json.dumps({"format": FORMAT, **data}, indent=1, ensure_ascii=False)
    (folder / DATA).write_text(text + "\n", encoding="utf-8")


def read_data(folder: Path) -> dict[str, Any]:
    """What `save_data` has written. SystemExit for a folder that wasn't prepared, or by another
    version of these scripts."""
    try:
        found: dict[str, Any] = json.loads((folder / DATA).read_text(encoding="utf-8"))
    except OSError:
        raise SystemExit(
            f"{folder} has no {DATA}: prepare it on a machine with pynini, by "
            "`bench_gpu.py --prepare FOLDER`, and copy it"
        ) from None
    if found.get("format") != FORMAT:
        raise SystemExit(f"{folder} is of another version: prepare it again with this one")
    return found


def windows(texts: Sequence[str], count: int, length: int) -> list[str]:
    """`count` pieces of the texts of about `length` bytes, each beginning at another word."""
    words = " ".join(texts).split(" ")
    if count > len(words):
        raise SystemExit(f"the texts have {len(words)} words, not {count}: add texts")
    found = []
    for i in range(count):
        begin, piece = i * len(words) // count, ""
        for at in range(begin, begin + len(words)):
            piece += (" " if piece else "") + words[at % len(words)]
            if len(piece.encode()) >= length:
                break
        found.append(piece)
    return found
