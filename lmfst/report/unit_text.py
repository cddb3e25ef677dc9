r"""Texts of units as characters: rows write control characters and bytes that are no UTF-8 as
escapes, see `lmfst.target.units.Units.text`."""

from __future__ import annotations

import re
from collections.abc import Sequence

_ESCAPE = re.compile(r"\\(?:[tnr\\]|x([0-9a-f]{2})|u([0-9a-f]{4}))")
_UNSURE = re.compile(r"(?<!\\)(?:\\\\)*\\x[89]")
"""Either a byte that is no UTF-8, or a control character of two bytes: both are written alike."""


def length(unit: str) -> int:
    """How many characters a unit has, each escape being one."""
    return len(_ESCAPE.sub("?", unit)) if "\\" in unit else len(unit)


def utf8_bytes(units: Sequence[str]) -> int | None:
    """How many bytes units of characters have in UTF-8. None if their texts don't say it."""
    text = "".join(units)
    if "\\" in text:
        if any(_UNSURE.search(unit) for unit in units):
            return None
        text = _ESCAPE.sub(_stand_in, text)
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _stand_in(found: re.Match[str]) -> str:
    """As many bytes as what an escape means."""
    return "???" if found[2] else "?"
