"""Compiled grammars kept in the user's cache folder, found again by path and content.

An entry is good if every file that was looked up for it (imports, string files, …) is still found
at the same place with the same content.
"""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lmfst.grammar.container import Entry, unpack
from lmfst.grammar.paths import Finder
from lmfst.ground._version import __version__
from lmfst.ground.atomic import atomic_write
from lmfst.ground.cache import cache_dir
from lmfst.ground.errors import InputError
from lmfst.ground.types import Warn


def key_of(path: Path, content: bytes, rule: str | None) -> str:
    """The name of an entry. rule: the only one that was asked for; None: all were."""
    parts = [
        str(path),
        hashlib.sha256(content).hexdigest(),
        rule,
        __version__,
        version("pynini"),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def kept(key: str, finder: Finder, max_states: int) -> tuple[list[Entry], dict[str, Any]] | None:
    """The entry of a key if it is whole and nothing it was made from has changed."""
    try:
        data = (cache_dir("grammars") / key).read_bytes()
    except (OSError, InputError):
        return None
    found = unpack(data)
    if found is None:
        return None
    extra = found[1]
    try:
        fresh = extra["largest"] <= max_states and finder.same(extra["lookups"])
    except (KeyError, TypeError, ValueError):
        return None
    return found if fresh else None


def keep(key: str, data: bytes, warn: Warn) -> None:
    """Keep an entry, packed. warn: told if it can't be."""
    try:
        atomic_write(cache_dir("grammars") / key, data)
    except (OSError, InputError) as error:
        warn(f"the compiled grammar wasn't kept: {error}")
