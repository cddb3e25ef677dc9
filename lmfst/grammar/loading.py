"""Symbol tables and compiled FSTs that a grammar reads from files.

Labels of generated symbols are particular to the process that made them, so a loaded FST is
relabelled to this compilation's numbers by name: the names stand in the FST's own symbol tables,
or in the FAR's entry `*StringFstSymbolTable`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmfst.fst import from_openfst
from lmfst.fst.archive import SYMBOLS_KEY
from lmfst.fst.layout import check_archive
from lmfst.fst.plain import plain_text
from lmfst.fst.tables import BOUNDARIES, FIRST_GENERATED, NUL_LABEL, read_table
from lmfst.fst.utf8 import doubts, show_doubts
from lmfst.grammar.labels import MAX_LABEL, Labels, used_labels
from lmfst.grammar.source import RuleError
from lmfst.grammar.values import ASCII, BYTE, GENERATED, UTF8, Alphabets, Table, Value
from lmfst.ground.errors import FstError
from lmfst.ground.types import Warn

_BLANKS = re.compile(rb"[ \t]")


def symbol_table(path: Path, warn: Warn) -> Table:
    """SymbolTable['f']: a symbol table from OpenFst's text format."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RuleError(f"{path}: {error.strerror or error}") from error
    lines = plain_text(data, str(path), warn, RuleError).split(b"\n")
    names: dict[int, str] = {}
    for number, line in enumerate(lines, 1):
        fields = [part for part in _BLANKS.split(line.rstrip(b"\r")) if part]
        if fields:
            label, name = _symbol_line(fields, f"{path}:{number}")
            if names.setdefault(label, name) != name:
                raise RuleError(f"{path}:{number}: label {label} already names {names[label]}")
    return Table(names, str(path))


def _symbol_line(fields: list[bytes], where: str) -> tuple[int, str]:
    """Label and name of a line of a symbol table."""
    if len(fields) != 2 or not fields[1].isdigit() or int(fields[1]) > MAX_LABEL:
        raise RuleError(f"{where}: expected `symbol TAB number`", hint="`<eps>` has the number 0")
    return int(fields[1]), fields[0].decode("utf-8", "surrogateescape")


def load_fst(path: Path, labels: Labels, warn: Warn) -> Value:
    """LoadFst['f']: an FST from an OpenFst file."""
    import pynini

    try:
        fst = pynini.Fst.read(str(path))
    except (OSError, ValueError) as error:
        raise RuleError(
            f"{path}: expected an OpenFst FST", hint="write it with fstcompile"
        ) from error
    return adopt(fst, {}, labels, warn, str(path))


def far_entry(path: Path, key: str, labels: Labels, warn: Warn) -> Value:
    """LoadFstFromFar['f','key']: an FST from an archive."""
    import pynini

    try:
        check_archive(path.read_bytes(), str(path))
        far = pynini.Far(str(path), "r")
    except FstError as error:
        raise RuleError(error.message, hint=error.hint) from error
    except (OSError, ValueError) as error:
        raise RuleError(
            f"{path}: expected an FST archive", hint="write it with `lmfst compile … -o F.far`"
        ) from error
    entries = {}
    while not far.done():
        name = far.get_key()
        if name in (key, SYMBOLS_KEY):
            entries[name] = far.get_fst().copy()
        else:
            entries[name] = None
        far.next()
    if entries.get(key) is None:
        known = ", ".join(sorted(set(entries) - {SYMBOLS_KEY})) or "nothing"
        raise RuleError(f"{path} has no FST '{key}'", hint=f"it has {known}")
    table = entries.get(SYMBOLS_KEY)
    names = _table_names(table.input_symbols(), str(path)) if table is not None else {}
    return adopt(entries[key], names, labels, warn, f"{path}: {key}")


def adopt(fst: Any, names: Mapping[int, str], labels: Labels, warn: Warn, what: str) -> Value:
    """A foreign FST as a value of this compilation.

    names: of generated symbols, by the FST's own labels.
    what:  how messages call it.
    """
    fst = _standard(fst)
    sides = []
    pairs = []
    used = used_labels(fst)
    tables = [_read_table(symbols, what) for symbols in (fst.input_symbols(), fst.output_symbols())]
    known = BOUNDARIES | dict(names)
    for table in tables:
        known |= table.generated if table is not None else {}
    wide = _are_code_points(fst, tables, used, known, warn, what)
    for table, side_labels in zip(tables, used, strict=True):
        alphabets, relabel = _side(table, side_labels, dict(names), labels, what, wide)
        sides.append(alphabets)
        pairs.append(relabel)
    unnamed = sorted({label for relabel in pairs for label, new in relabel.items() if new is None})
    for label in unnamed:
        labels.adopt(label)
    if unnamed:
        warn(
            f"{what}: no symbol table names its labels {', '.join(map(str, unnamed[:6]))}; "
            "kept as they are"
        )
    fst.set_input_symbols(None)
    fst.set_output_symbols(None)
    changes = [
        [(old, new) for old, new in side.items() if new not in (None, old)] for side in pairs
    ]
    if any(changes):
        fst.relabel_pairs(*(change or None for change in changes))
    return Value(fst, sides[0], sides[1])


def _standard(fst: Any) -> Any:
    """The FST with tropical weights, whatever it had."""
    import pynini

    if fst.arc_type() == "standard":
        return fst
    try:
        return pynini.arcmap(fst, map_type="to_standard")
    except (pynini.FstOpError, pynini.FstArgError) as error:
        raise RuleError(f"an FST with arcs of type {fst.arc_type()} can't be used") from error


def _read_table(symbols: Any, what: str) -> Any:
    """lmfst.fst's reading of an embedded symbol table."""
    try:
        return read_table(symbols, what)
    except FstError as error:
        raise RuleError(error.message, hint=error.hint) from error


def _table_names(symbols: Any, what: str) -> Mapping[int, str]:
    table = _read_table(symbols, what)
    return table.names if table is not None else {}


def _are_code_points(
    fst: Any,
    tables: list[Any],
    used: tuple[set[int], set[int]],
    names: Mapping[int, str],
    warn: Warn,
    what: str,
) -> bool:
    """Whether labels 128 … 255 of a side without a table are code points; see `from_openfst`."""
    plain = [table is None or table.alphabet == "generated" for table in tables]
    labels = set().union(*(side for side, mine in zip(used, plain, strict=True) if mine))
    if any(NUL_LABEL < label < FIRST_GENERATED and label not in names for label in labels):
        return True
    if all(plain) and any(128 <= label < NUL_LABEL for label in labels):
        symbols = dict.fromkeys(labels, "symbol")
        read = from_openfst(fst, name=what, mode="byte", names=symbols, warn=lambda message: None)
        found = show_doubts(doubts(read))
        if found:
            warn(
                f"{what}: read as bytes, but {found}; if its labels are code points, give it "
                "symbol tables that say so "
                "(`lmfst compile --input-mode utf8` of its text does)"
            )
    return False


def _side(
    table: Any, used: set[int], names: dict[int, str], labels: Labels, what: str, wide: bool
) -> tuple[Alphabets, dict[int, int | None]]:
    """The alphabets of one side, and new labels of its generated symbols (None: no name).

    wide: whether labels of a side without a table are code points.
    """
    if table is not None:
        if table.alphabet == "symbols":
            return frozenset({Table({0: "<eps>", **table.names}, what)}), {}
        names |= table.generated
    alphabet = table.alphabet if table is not None else "generated"
    wide = alphabet == "unicode" or (wide and alphabet == "generated")
    found: set[Any] = set()
    relabel: dict[int, int | None] = {}
    for label in used:
        if label in BOUNDARIES:
            found.add(GENERATED)
        elif label in names or label >= FIRST_GENERATED:
            found.add(GENERATED)
            relabel[label] = labels.label(names[label]) if label in names else None
        elif label < 128:
            found.add(ASCII)
        else:
            found.add(UTF8 if wide or label > NUL_LABEL else BYTE)
    return frozenset(found), relabel
