"""What the labels of an FST's input and output side are: bytes, code points, or symbols.

Which reading applies is decided by the symbol tables first and by the labels second. Reading the
labels so is for `lmfst.fst.relabel`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lmfst.fst.core import Arc
from lmfst.fst.tables import FIRST_GENERATED, NUL_LABEL, Table, read_table
from lmfst.ground.types import InputMode


@dataclass(frozen=True)
class Side:
    """How to read the labels of one side.

    kind: bytes, unicode (code points), or symbols (of a table).
    names: names of the labels that the kind doesn't define by itself.
    guessed: whether labels alone decided the kind; from_table: whether a symbol table did.
    """

    kind: Literal["bytes", "unicode", "symbols"]
    names: Mapping[int, str]
    guessed: bool = False
    from_table: bool = False


def sides_of(
    obj: Any, arcs: list[Arc], names: dict[int, str], mode: InputMode, name: str
) -> tuple[Side, Side]:
    """Decide how both sides are read."""
    input_table = read_table(obj.input_symbols(), f"{name}: input symbol table")
    output_table = read_table(obj.output_symbols(), f"{name}: output symbol table")
    for table in (input_table, output_table):
        if table is not None:
            names |= table.generated
    inputs, outputs = _table_side(input_table, names), _table_side(output_table, names)
    beyond = outputs is None and has_above(arcs, 2, names)
    if inputs is None:
        inputs = _guessed(mode, beyond or has_above(arcs, 1, names), names)
    if outputs is None:
        outputs = _guessed(mode, beyond or inputs.kind == "unicode", names)
    return inputs, outputs


def _guessed(mode: InputMode, high: bool, names: Mapping[int, str]) -> Side:
    """A side without a table of its own. high: whether labels speak for code points."""
    if mode == "auto":
        return Side("unicode" if high else "bytes", names, guessed=True)
    return Side("unicode" if mode == "utf8" else "bytes", names)


def _table_side(table: Table | None, names: Mapping[int, str]) -> Side | None:
    """What a symbol table says about its side; None if it only names generated symbols."""
    if table is None or table.alphabet == "generated":
        return None
    own = table.names if table.alphabet == "symbols" else names
    return Side(table.alphabet, own, from_table=True)


def has_above(arcs: list[Arc], side: Literal[1, 2], names: Mapping[int, str]) -> bool:
    """Whether the input (1) or output (2) labels can't be bytes, and so are code points."""
    # Without names a generated symbol looks like a private code point of planes 15 and 16, which no
    # ordinary text holds: such labels alone don't make a code-point FST.
    return any(NUL_LABEL < arc[side] < FIRST_GENERATED and arc[side] not in names for arc in arcs)
