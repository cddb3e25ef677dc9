"""Names of output symbols.

A symbol is an int ≥ 0. Its name is the explicit one if there is one (a generated symbol, or an
entry of a symbol table), else it follows from the kind of alphabet: for bytes printable ASCII as
itself and `\\xNN` otherwise; for Unicode the character of that code point, with control and other
invisible characters escaped as `\\xNN`, `\\uNNNN` or `\\UNNNNNNNN`; for named symbols there is no
other name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from lmfst.ground.errors import FstError

Kind = Literal["bytes", "unicode", "symbols"]

END = -1
"""The target symbol of the end of the string, written as ⊥. It never occurs on an arc."""

Output = tuple[int, ...]
"""A string of output symbols."""

_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))")
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def byte_name(byte: int) -> str:
    """Printable ASCII as itself, every other byte as `\\xNN`."""
    return chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}"


def code_point_name(label: int) -> str:
    """The character; invisible ones as `\\xNN` (ASCII), `\\uNNNN` or `\\UNNNNNNNN`.

    `\\xNN` stays below 0x80, so that it can also be the name of a byte that is no UTF-8.
    """
    if unicodedata.category(chr(label)) not in _INVISIBLE:
        return chr(label)
    if label < 0x80:
        return f"\\x{label:02x}"
    return f"\\u{label:04x}" if label < 0x10000 else f"\\U{label:08x}"


class Symbols:
    """The names of an output alphabet; immutable.

    kind: what an int without an explicit name stands for.
    names: explicit names; where two symbols share one name, `label` gives the smaller.
    """

    __slots__ = ("_labels", "kind", "names")

    _labels: Mapping[str, int]
    kind: Kind
    names: Mapping[int, str]

    def __init__(self, kind: Kind = "bytes", names: Mapping[int, str] | None = None) -> None:
        if kind not in ("bytes", "unicode", "symbols"):
            raise FstError(f"expected a kind of symbols (bytes, unicode, symbols), got {kind!r}")
        ordered = dict(sorted((names or {}).items()))
        if ordered and min(ordered) < 0:
            raise FstError(f"expected symbols ≥ 0, got the name of symbol {min(ordered)}")
        labels: dict[str, int] = {}
        for label, name in ordered.items():
            labels.setdefault(name, label)
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "names", MappingProxyType(ordered))
        object.__setattr__(self, "_labels", labels)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Symbols is immutable; can't set {name}")

    def __reduce__(self) -> tuple[type[Symbols], tuple[Kind, dict[int, str]]]:
        return Symbols, (self.kind, dict(self.names))

    def name(self, label: int) -> str:
        """The name of a symbol. FstError if it has none."""
        explicit = self.names.get(label)
        if explicit is not None:
            return explicit
        if self.kind == "bytes" and 0 <= label < 256:
            return byte_name(label)
        if self.kind == "unicode" and 0 <= label < 0x110000:
            return code_point_name(label)
        raise FstError(f"unknown output symbol {label}", hint=self._expected())

    def label(self, name: str) -> int:
        """The symbol of a name, the inverse of `name`. FstError if no symbol is called that."""
        explicit = self._labels.get(name)
        if explicit is not None:
            return explicit
        label = self._default_label(name)
        if label is None:
            raise FstError(f"no output symbol is called {name!r}", hint=self._expected())
        return label

    def _default_label(self, name: str) -> int | None:
        if self.kind == "symbols":
            return None
        if len(name) == 1:
            label = ord(name)
        else:
            escape = _ESCAPE.fullmatch(name)
            if escape is None:
                return None
            label = int(next(group for group in escape.groups() if group), 16)
        if label >= (256 if self.kind == "bytes" else 0x110000) or label in self.names:
            return None
        # A byte ≥ 0x80 has no character: only its escape names it.
        return None if self.kind == "bytes" and len(name) == 1 and label >= 0x80 else label

    def _expected(self) -> str:
        generated = ", ".join(list(self.names.values())[:8])
        parts = {
            "bytes": "bytes: printable ASCII, or \\xNN",
            "unicode": "characters, or \\xNN, \\uNNNN, \\UNNNNNNNN",
            "symbols": "the names in the output symbol table",
        }
        return f"known are {parts[self.kind]}" + (f"; names: {generated}" if generated else "")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Symbols):
            return NotImplemented
        return self.kind == other.kind and self.names == other.names

    def __hash__(self) -> int:
        return hash((self.kind, tuple(self.names.items())))

    def __repr__(self) -> str:
        return f"Symbols({self.kind!r}, {dict(self.names)!r})"


BYTES = Symbols("bytes")
