"""A rule's value → the OpenFst FST that is written: its labels, and tables that explain them.

An FST whose sides are plain bytes has no symbol tables. Otherwise both sides have one: the byte
alphabet or the code points in use (under Thrax's titles), with the generated symbols in use, or
the grammar's own symbol table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmfst.fst.tables import (
    BOS,
    BYTE_TABLE,
    EOS,
    FIRST_GENERATED,
    NUL_LABEL,
    SYMBOLS_TABLE,
    UTF8_TABLE,
)
from lmfst.grammar.labels import Labels, used_labels
from lmfst.grammar.values import ASCII, BYTE, UTF8, Alphabets, Table, Value
from lmfst.ground.types import Warn


def finished(value: Value, labels: Labels, warn: Warn) -> tuple[Any, dict[int, str]]:
    """The FST of an exported rule with its symbol tables, and the generated symbols it uses."""
    fst = value.fst.copy()
    for side, alphabets in (("input", value.inputs), ("output", value.outputs)):
        _check(side, alphabets, warn)
    if not value.both - {ASCII, BYTE}:
        return fst, {}
    used = used_labels(fst)
    named = dict(labels.names) | {BOS: "BOS", EOS: "EOS"}
    generated = {label: named[label] for label in sorted(used[0] | used[1]) if label in named}
    for alphabets, side_used, attach in (
        (value.inputs, used[0], fst.set_input_symbols),
        (value.outputs, used[1], fst.set_output_symbols),
    ):
        symbols = {label: generated[label] for label in sorted(side_used & set(generated))}
        attach(_table(alphabets, side_used, symbols, warn))
    return fst, generated


def _check(side: str, alphabets: Alphabets, warn: Warn) -> None:
    tables = [item for item in alphabets if isinstance(item, Table)]
    if tables and alphabets & {ASCII, BYTE, UTF8}:
        warn(
            f"the {side} side mixes symbols of {tables[0].path} with text; use the table for all "
            "strings"
        )
    elif BYTE in alphabets and UTF8 in alphabets:
        warn(f"the {side} side mixes bytes above 127 with utf8 code points; use one mode for both")


def _table(alphabets: Alphabets, used: set[int], generated: Mapping[int, str], warn: Warn) -> Any:
    """The symbol table of one side."""
    own = [item for item in alphabets if isinstance(item, Table)]
    if own:
        return _filled(SYMBOLS_TABLE, _merged(own, warn) | dict(generated))
    if UTF8 in alphabets:
        points = {label: _code_point(label) for label in sorted(used - set(generated))}
        return _filled(UTF8_TABLE, points | dict(generated))
    return _filled(
        BYTE_TABLE, {label: _byte(label) for label in range(1, NUL_LABEL + 1)} | dict(generated)
    )


def _filled(title: str, names: Mapping[int, str]) -> Any:
    import pynini

    table = pynini.SymbolTable(title)
    table.add_symbol("<epsilon>", 0)
    for label, name in names.items():
        if label:
            # The binding takes no other bytes than UTF-8.
            raw = name.encode("utf-8", "surrogateescape")
            table.add_symbol(raw.decode("utf-8", "backslashreplace"), label)
    return table


def _merged(tables: list[Table], warn: Warn) -> dict[int, str]:
    """The entries of several symbol tables, as one."""
    names: dict[int, str] = {}
    for table in sorted(tables, key=lambda item: item.path):
        for label, name in table.names.items():
            if names.setdefault(label, name) != name:
                warn(
                    f"label {label} is {names[label]} in one symbol table and {name} in "
                    f"{table.path}; the first one counts"
                )
    return names


def _byte(label: int) -> str:
    """A name without blanks, so that text formats of OpenFst can be read back."""
    return chr(label) if 0x20 < label < 0x7F else f"\\x{label % NUL_LABEL:02x}"


def _code_point(label: int) -> str:
    if label < FIRST_GENERATED and not 0xD800 <= label < 0xE000:
        char = chr(label)
        if char.isprintable() and not char.isspace():
            return char
    if label > 0xFFFF:
        return f"\\U{label:08x}"
    return f"\\u{label:04x}" if label > 0xFF else f"\\x{label:02x}"
