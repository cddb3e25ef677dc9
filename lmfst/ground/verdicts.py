"""Verdicts of checks, kept in the user's cache folder so that a later start is fast.

A verdict is a JSON value under a key made of the check's name, what it was asked about (digests)
and the versions of lmfst and of this format. A verdict that can't be read or kept, or whose file is
damaged or another's, or could have been written by other users, is found again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from lmfst.ground._version import __version__
from lmfst.ground.announce import Announced
from lmfst.ground.atomic import atomic_write
from lmfst.ground.cache import cache_dir, is_trusted, once, sealed, unsealed
from lmfst.ground.errors import InputError

FORMAT = 2


def remembered(
    check: str,
    about: Iterable[str],
    find: Callable[[], Any],
    *,
    doing: str = "",
    fits: Callable[[Any], bool] = lambda verdict: True,
) -> Any:
    """The verdict of `check` about `about`: the one kept, or else what `find` returns, kept now.

    find: returns a JSON value; its errors are passed on and nothing is kept. doing: what is being
    done meanwhile, to be announced if it takes long. fits: whether a kept value can be a verdict.
    """
    asked: list[Any] = [check, FORMAT, __version__, *about]
    key = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
    kept = None
    with suppress(OSError, InputError):
        path = cache_dir("checks") / key
        if is_trusted(path):
            kept = _kept(path.read_bytes(), asked)
    if kept is not None and fits(kept["verdict"]):
        return kept["verdict"]
    with Announced((doing or check) + once("checks", "the verdict is kept")):
        verdict = find()
    with suppress(OSError, InputError):
        data = json.dumps({"asked": asked, "verdict": verdict}).encode()
        atomic_write(cache_dir("checks") / key, sealed(data))
    return verdict


def _kept(content: bytes, asked: list[Any]) -> dict[str, Any] | None:
    """What a file holds; None if it is damaged, or answers another question."""
    data = unsealed(content)
    if data is None:
        return None
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    mine = isinstance(found, dict) and found.keys() == {"asked", "verdict"}
    return found if mine and found["asked"] == asked else None


def digest_of(strings: Iterable[bytes]) -> str:
    """SHA-256 (hex) of a set of byte strings, whatever order they come in."""
    content = hashlib.sha256()
    for text in sorted(set(strings)):
        content.update(len(text).to_bytes(8, "big") + text)
    return content.hexdigest()
