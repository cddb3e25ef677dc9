"""Symbol tables of OpenFst files, and the alphabets that they describe.

Thrax and lmfst write tables that spell out the byte alphabet (or the code points in use) and
append generated symbols; such a table only adds names to byte (or code-point) labels. Any other
table defines an alphabet of its own. Names that aren't UTF-8 keep their bytes as lone surrogates
(`surrogateescape`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lmfst.fst.layout import read_symbols
from lmfst.fst.symbols import Symbols
from lmfst.ground.errors import FstError
from lmfst.ground.temporary import scratch_folder

NUL_LABEL = 256
"""Label 0 is epsilon in OpenFst, so byte 0 is written as label 256."""

FIRST_GENERATED = 0xF0000
"""pynini and recent Thrax number generated symbols from here, older Thrax from 0x100000."""

LAST_CODE_POINT = 0x10FFFF
FIRST_BEYOND = LAST_CODE_POINT + 1
"""Generated symbols next to code points are numbered from here."""

NUL_NAME = "\\x00"
"""The name by which code point 0 is written, as its label can't be 0."""

BOS, EOS = 0xF8FE, 0xF8FF
"""The labels that pynini's cdrewrite and Thrax's take for the ends of the string."""

BOUNDARIES = {BOS: "BOS", EOS: "EOS"}

BYTE_TABLE = "**Byte symbols"
UTF8_TABLE = "**UTF8 symbols"
"""Thrax's titles for its two tables."""

SYMBOLS_TABLE = "lmfst symbols"
"""The title of an alphabet of its own, however its names look."""

_CONTROLS = (
    "NUL SOH STX ETX EOT ENQ ACK BEL BS HT LF VT FF CR SO SI DLE DC1 DC2 DC3 DC4 NAK SYN ETB"
)
_CONTROL_NAMES = [
    *_CONTROLS.lower().split(),
    "can",
    "em",
    "sub",
    "esc",
    "fs",
    "gs",
    "rs",
    "us",
    "space",
]


@dataclass(frozen=True)
class Table:
    """A symbol table.

    alphabet: bytes or unicode (the table repeats these and perhaps adds generated symbols),
              generated (only these), or symbols (an alphabet of its own).
    names:    all entries but label 0, the epsilon.
    """

    alphabet: Literal["bytes", "unicode", "generated", "symbols"]
    names: Mapping[int, str]

    @property
    def generated(self) -> dict[int, str]:
        """The generated symbols among the entries of a byte, code-point or generated table."""
        if self.alphabet == "symbols":
            return {}
        return {
            label: name
            for label, name in self.names.items()
            if label > NUL_LABEL and not (self.alphabet == "unicode" and _names_itself(label, name))
        }


def read_table(table: Any, where: str) -> Table | None:
    """Judge a pywrapfst symbol table; None stays None. FstError if two names share a label."""
    if table is None:
        return None
    names: dict[int, str] = {}
    for label, name in _entries(table, where):
        if label < 0:
            raise FstError(f"{where}: expected labels ≥ 0, got {label} for {name!r}")
        if names.setdefault(label, name) != name:
            raise FstError(f"{where}: label {label} has two names, {names[label]!r} and {name!r}")
    names.pop(0, None)
    try:
        title = table.name()
    except UnicodeDecodeError:
        title = ""
    return Table(_alphabet(title, names), names)


def _entries(table: Any, where: str) -> list[tuple[int, str]]:
    try:
        return list(table)
    except UnicodeDecodeError:
        # The binding only gives text; other names have to be read from what OpenFst itself writes.
        return [
            (label, name.decode("utf-8", "surrogateescape")) for label, name in _raw(table, where)
        ]


def _raw(table: Any, where: str) -> list[tuple[int, bytes]]:
    with scratch_folder() as folder:
        path = Path(folder) / "table.syms"
        table.write(str(path))
        return read_symbols(path.read_bytes(), where)


def _alphabet(
    title: str, names: Mapping[int, str]
) -> Literal["bytes", "unicode", "generated", "symbols"]:
    if title == BYTE_TABLE:
        return "bytes"
    if title == UTF8_TABLE:
        return "unicode"
    if title == SYMBOLS_TABLE:
        return "symbols"
    if all(
        label >= FIRST_GENERATED or BOUNDARIES.get(label) == name for label, name in names.items()
    ):
        return "generated"
    low = {label: name for label, name in names.items() if label < NUL_LABEL}
    high_characters = any(
        label > NUL_LABEL and _names_itself(label, name) for label, name in names.items()
    )
    if low and not high_characters and all(_names_byte(label, name) for label, name in low.items()):
        return "bytes"
    return "symbols"


def _names_itself(label: int, name: str) -> bool:
    """Whether `name` is the character with code point `label`, or an escape for it."""
    return label <= LAST_CODE_POINT and name in (chr(label), *_escapes(label))


def _escapes(label: int) -> tuple[str, ...]:
    spellings = (f"\\x{label:02x}", f"\\u{label:04x}", f"\\U{label:08x}")
    return spellings[(label > 0xFF) + (label > 0xFFFF) :]


def _names_byte(label: int, name: str) -> bool:
    """Whether `name` is one of the customary spellings of byte `label` (1..255)."""
    if name.encode("utf-8", "surrogateescape") == bytes([label]):
        return True
    bare = name.strip("<>[]").replace("\\x", "0x").lower()
    spellings = {f"0x{label:02x}", f"0x{label:x}"}
    if label < len(_CONTROL_NAMES):
        spellings.add(_CONTROL_NAMES[label])
    if label == 0x7F:
        spellings.add("del")
    return len(name) > 1 and bare in spellings


def written_name(symbols: Symbols, symbol: int) -> str:
    """How a symbol without explicit name is called in a file: never a space, nor another's name."""
    if symbols.kind == "symbols":
        return symbols.name(symbol)
    if symbols.kind == "bytes":
        spellings = (symbols.name(symbol), *_escapes(symbol), f"0x{symbol:02x}")
    else:
        spellings = (symbols.name(symbol), *_escapes(symbol))
    taken = set(symbols.names.values())
    for name in spellings:
        if name not in taken and not name.isspace():
            return name
    raise FstError(f"all names of symbol {symbol} are taken by generated symbols: {spellings}")
