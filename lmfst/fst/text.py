"""OpenFst's text format → an OpenFst object, with errors that name the line.

A line is an arc `source target input output [weight]` or a final state `state [weight]`; acceptors
have one label an arc. Fields are separated by blanks or tabs, the first state named is the start,
and states are numbered in order of appearance, as fstcompile does. A symbol table has a line
`symbol number` an entry. Labels are numbers where no table is given.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from lmfst.fst.plain import plain_text
from lmfst.fst.symbols import Symbols
from lmfst.fst.tables import BYTE_TABLE, LAST_CODE_POINT, NUL_LABEL, UTF8_TABLE, written_name
from lmfst.ground.announce import warn_default
from lmfst.ground.errors import FstError
from lmfst.ground.types import InputMode, Warn

MAX_LABEL = 2**31 - 1

Table = dict[str, int]
"""Symbol → label."""


def read_symbol_table(path: str | Path, *, warn: Warn = warn_default) -> Table:
    """The symbol table in a text file. FstError, with the line, for anything else in it.

    warn: told of a byte-order mark and of line ends that are CR alone.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise FstError(
            f"{path}: expected a symbol table, can't read it: {error.strerror}",
            hint="one `symbol TAB number` a line, `<eps>` 0",
        ) from error
    table: Table = {}
    names: dict[int, str] = {}
    for at, fields in _fields(plain_text(data, str(path), warn), str(path)):
        if len(fields) != 2:
            _fail(str(path), at, "a symbol and its number", f"{len(fields)} fields")
        symbol, label = fields[0], _label(fields[1], None, str(path), at)
        if table.setdefault(symbol, label) != label:
            _fail(str(path), at, "each symbol once", f"{symbol!r} again")
        if names.setdefault(label, symbol) != symbol:
            _fail(str(path), at, "one symbol for each number", f"{label} for a second one")
    return table


def compile_text(
    data: bytes,
    name: str,
    *,
    isymbols: Table | None = None,
    osymbols: Table | None = None,
    acceptor: bool = False,
    warn: Warn = warn_default,
) -> Any:
    """The pywrapfst VectorFst (standard arcs) that the text describes, with its tables embedded.

    name: what messages call the text. warn: as in `read_symbol_table`. FstError, with the line, for
    a line that doesn't fit.
    """
    import pywrapfst

    fst = pywrapfst.VectorFst()
    states: dict[str, int] = {}
    outputs = isymbols if acceptor and osymbols is None else osymbols

    def state(field: str, at: int) -> int:
        if not field.isdecimal():
            _fail(name, at, "a state number", repr(field))
        if field not in states:
            states[field] = fst.add_state()
        return states[field]

    width = 3 if acceptor else 4
    for at, fields in _fields(plain_text(data, name, warn), name):
        source = state(fields[0], at)
        if len(states) == 1:
            fst.set_start(source)
        if len(fields) <= 2:
            fst.set_final(source, _weight(fields[1:], name, at))
            continue
        if len(fields) not in (width, width + 1):
            shape = "source target label" if acceptor else "source target input output"
            hint = "say --acceptor if arcs have one label" if len(fields) == 3 else ""
            _fail(name, at, f"`{shape} [weight]`", f"{len(fields)} fields", hint)
        target = state(fields[1], at)
        ilabel = _label(fields[2], isymbols, name, at)
        olabel = _label(fields[width - 1], outputs, name, at)
        weight = _weight(fields[width:], name, at)
        fst.add_arc(source, pywrapfst.Arc(ilabel, olabel, weight, target))
    if not states:
        _fail(name, 1, "at least one state", "nothing")
    fst.set_input_symbols(_table(isymbols, f"{name}: input symbols"))
    fst.set_output_symbols(_table(outputs, f"{name}: output symbols"))
    return fst


def name_labels(obj: Any, mode: InputMode) -> None:
    """Give the sides of an OpenFst FST that have no symbol table one that says what labels are.

    mode: `byte` or `utf8` (code points), by Thrax's tables; `auto` leaves the FST as it is.
    """
    for side in ("input", "output"):
        if mode != "auto" and getattr(obj, f"{side}_symbols")() is None:
            getattr(obj, f"set_{side}_symbols")(_alphabet(obj, mode))


def _alphabet(obj: Any, mode: InputMode) -> Any:
    """The byte alphabet, or the code points in use, as a table that `from_openfst` reads so."""
    import pywrapfst

    table = pywrapfst.SymbolTable(BYTE_TABLE if mode == "byte" else UTF8_TABLE)
    table.add_symbol("<epsilon>", 0)
    labels = set(range(1, NUL_LABEL + 1))
    if mode == "utf8":
        arcs = [arc for state in obj.states() for arc in obj.arcs(state)]
        labels = {arc.ilabel for arc in arcs} | {arc.olabel for arc in arcs}
    symbols = Symbols("bytes" if mode == "byte" else "unicode")
    for label in sorted(labels - {0}):
        if label <= LAST_CODE_POINT:
            symbol = label % NUL_LABEL if mode == "byte" else label
            table.add_symbol(written_name(symbols, symbol), label)
    return table


def _fields(data: bytes, name: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of the lines that aren't blank."""
    for at, line in enumerate(data.split(b"\n"), start=1):
        try:
            # Only blanks and tabs separate: symbols may hold any other white space.
            text = line.removesuffix(b"\r").decode().replace("\t", " ")
        except UnicodeDecodeError as error:
            _fail(name, at, "UTF-8", f"the byte 0x{line[error.start]:02x}")
        fields = [field for field in text.split(" ") if field]
        if fields:
            yield at, fields


def _label(field: str, table: Table | None, name: str, at: int) -> int:
    if table is None:
        if not field.isdecimal() or not field.isascii() or int(field) > MAX_LABEL:
            _fail(name, at, "a label number", repr(field), "give the symbol table of its side")
        return int(field)
    if field not in table:
        _fail(name, at, "a symbol of the symbol table", repr(field), "add it to the table")
    return table[field]


def _weight(fields: list[str], name: str, at: int) -> Any:
    import pywrapfst

    if not fields:
        return pywrapfst.Weight.one("tropical")
    try:
        value = float(fields[0])
    except ValueError:
        value = math.nan
    if math.isnan(value) or value == -math.inf:
        _fail(name, at, "a weight", repr(fields[0]))
    return pywrapfst.Weight("tropical", "Infinity" if value == math.inf else value)


def _table(table: Table | None, title: str) -> Any:
    import pywrapfst

    if table is None:
        return None
    made = pywrapfst.SymbolTable(title)
    for symbol, label in table.items():
        made.add_symbol(symbol, label)
    return made


def _fail(name: str, at: int, expected: str, found: str, hint: str = "") -> NoReturn:
    raise FstError(f"{name}, line {at}: expected {expected}, found {found}", hint=hint)
