"""JSON as text: numbers keep their digits, and no key is lost."""

from __future__ import annotations

import json
from collections.abc import Callable

_STRICT = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
"""Made once: `json.dumps` makes one in every call."""


class Number(float):
    """A number with the digits that it was read with, which may be more than a float has."""

    text: str

    @classmethod
    def of(cls, text: str) -> Number:
        number = cls(text)
        number.text = text
        return number


def loads(text: str, constant: Callable[[str], None]) -> object:
    """What a text in JSON says. constant: is told of NaN, Infinity and -Infinity, which JSON lacks
    and Python writes.

    ValueError for bad JSON, and for an object in which a key comes twice.
    """

    def named(name: str) -> float:
        constant(name)
        return float(name)

    return json.loads(
        text, parse_float=Number.of, parse_constant=named, object_pairs_hook=_without_doubles
    )


def _without_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} twice")
        found[key] = value
    return found


def dumps(value: object) -> str:
    """Strict JSON in one line, numbers that were read as they were."""
    if isinstance(value, Number):
        return value.text
    if isinstance(value, dict):
        pairs = (f"{dumps(str(key))}: {dumps(item)}" for key, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(dumps, value)) + "]"
    return _STRICT.encode(value)


def dumps_plain(value: object) -> str:
    """The same, for values without such numbers, and with strings as keys."""
    return _STRICT.encode(value)
