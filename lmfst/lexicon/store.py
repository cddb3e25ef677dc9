"""Lexicons kept in the user's cache folder, one file for each, so that a later start is fast.

A lexicon depends on the vocabulary, on the tokens in its support and on the transducer; its states
are numbered as they are met, so a file names them by what they are: the decoder's state, and the
(FST state, pending output) pairs of the sequential machine. A file that can't be read or written,
or whose checksum says that it is damaged, is as good as none: the lexicon is built.
"""

from __future__ import annotations

import hashlib
import io
import json
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lmfst.fst import Determinised, Identity, Sequential, Utf8
from lmfst.ground._version import __version__
from lmfst.ground.atomic import atomic_write
from lmfst.ground.cache import cache_dir, sealed, unsealed
from lmfst.ground.errors import InputError
from lmfst.lexicon.lexicon import Lexicon
from lmfst.vocab import Vocab

FORMAT = 2
WORTHWHILE_TOKENS = 5_000
"""Lexicons of smaller vocabularies are built as quickly as they are read."""
ARRAYS = ("tokens", "low", "own", "high", "child_ptr", "symbol")


class States(Protocol):
    """The numbers of lexicon states."""

    def intern(self, decoder: int, state: int) -> int:
        """The lexicon state of a (decoder state, machine state) pair."""

    def pair(self, state: int) -> tuple[int, int]:
        """(decoder state, machine state) of a lexicon state."""


class LexiconStore:
    """The kept lexicons of one (vocabulary, support, transducer)."""

    def __init__(self, machine: Determinised | Identity | Utf8, folder: Path) -> None:
        self._machine, self.folder = machine, folder

    def load(self, lexicons: States, decoder: int, state: int) -> Lexicon | None:
        """The kept lexicon of a pair of states, its next states interned; None if there is none."""
        kept = None
        with suppress(OSError):
            kept = unsealed(self._path(decoder, state).read_bytes())
        if kept is None:
            return None
        with np.load(io.BytesIO(kept), allow_pickle=False) as file:
            arrays = {name: file[name] for name in ARRAYS}
            names = json.loads(file["names"].tobytes())
            following, depth = file["next"], int(file["depth"])
        ids = [
            lexicons.intern(d, self._machine.resume([(q, tuple(out)) for q, out in pairs]))
            for d, pairs in names
        ]
        return Lexicon(next=np.array([*ids, -1], np.int32)[following], depth=depth, **arrays)

    def keep(self, lexicons: States, decoder: int, state: int, lexicon: Lexicon) -> None:
        """Keep a lexicon."""
        distinct, inverse = np.unique(lexicon.next, return_inverse=True)
        known = distinct >= 0
        names = [self._name(*lexicons.pair(i)) for i in distinct[known].tolist()]
        place = np.where(known, np.cumsum(known) - 1, -1).astype(np.int32)
        content: dict[str, Any] = {name: getattr(lexicon, name) for name in ARRAYS}
        content["next"] = place[inverse]
        content["depth"] = np.array(lexicon.depth)
        content["names"] = np.frombuffer(json.dumps(names).encode(), dtype=np.uint8)
        data = io.BytesIO()
        np.savez(data, **content)
        with suppress(OSError):
            atomic_write(self._path(decoder, state), sealed(data.getvalue()))

    def _name(self, decoder: int, state: int) -> list[Any]:
        return [decoder, self._machine.pairs(state)]

    def _path(self, decoder: int, state: int) -> Path:
        name = json.dumps(self._name(decoder, state)).encode()
        return self.folder / f"{hashlib.sha256(name).hexdigest()}.lexicon"


def open_store(
    vocab: Vocab, machine: Sequential, support: NDArray[np.bool_]
) -> LexiconStore | None:
    """The store of a vocabulary and a transducer; None where it would not be worth its while, or
    where the cache folder can't be used."""
    if not isinstance(machine, Determinised | Identity | Utf8) or vocab.size < WORTHWHILE_TOKENS:
        return None
    asked = json.dumps([FORMAT, __version__, vocab.digest, machine.digest]).encode()
    digest = hashlib.sha256(asked + np.packbits(support).tobytes()).hexdigest()
    with suppress(OSError, InputError):
        return LexiconStore(machine, cache_dir(f"lexicons/{digest}"))
    return None
