"""Verdicts of checks on large FSTs, kept in the user's cache folder so that a later start is fast.

A verdict is a JSON value under a key made of the check's name, what it was asked about (digests)
and the versions of lmfst and of this format. A verdict that can't be read or kept, or whose file is
damaged, is found again.
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
from lmfst.ground.cache import cache_dir, once, sealed, unsealed
from lmfst.ground.errors import InputError

FORMAT = 2
WORTHWHILE_ARCS = 5_000
"""Checks on smaller FSTs are quicker than keeping track of files."""


def remembered(
    check: str, about: Iterable[str], find: Callable[[], Any], *, doing: str = ""
) -> Any:
    """The verdict of `check` about `about`: the one kept, or else what `find` returns, kept now.

    find: returns a JSON value; its errors are passed on and nothing is kept. doing: what is being
    done meanwhile, to be announced if it takes long.
    """
    asked = [check, FORMAT, __version__, *about]
    key = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
    kept = None
    with suppress(OSError, InputError):
        kept = unsealed((cache_dir("checks") / key).read_bytes())
    if kept is not None:
        return json.loads(kept)["verdict"]
    with Announced((doing or check) + once("checks", "the verdict is kept")):
        verdict = find()
    with suppress(OSError, InputError):
        data = json.dumps({"asked": asked, "verdict": verdict}).encode()
        atomic_write(cache_dir("checks") / key, sealed(data))
    return verdict


def digest_of(strings: Iterable[bytes]) -> str:
    """SHA-256 (hex) of a set of byte strings, whatever order they come in."""
    content = hashlib.sha256()
    for text in sorted(set(strings)):
        content.update(len(text).to_bytes(8, "big") + text)
    return content.hexdigest()
