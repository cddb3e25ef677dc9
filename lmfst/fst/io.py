"""OpenFst files: binary in and out, text out.

Byte 0 and the empty label: OpenFst's label 0 is epsilon, so byte 0 is written as label 256, and a
symbol 0 of another alphabet as a label of its own. Files are replaced whole or not at all.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from lmfst.fst.capture import captured_stderr
from lmfst.fst.core import EPS, Fst
from lmfst.fst.layout import check_layout, is_checked_here, read_header
from lmfst.fst.openfst import acceptor_from_openfst, from_openfst
from lmfst.fst.symbols import Symbols
from lmfst.fst.tables import (
    BYTE_TABLE,
    FIRST_BEYOND,
    FIRST_GENERATED,
    NUL_LABEL,
    SYMBOLS_TABLE,
    UTF8_TABLE,
    written_name,
)
from lmfst.ground.announce import warn_default
from lmfst.ground.atomic import atomic_write
from lmfst.ground.errors import FstError
from lmfst.ground.temporary import scratch_folder
from lmfst.ground.types import InputMode, Warn

CHILD_SECONDS = 300
"""What a process that reads a file for this one may take."""
LONGEST_DIAGNOSTIC = 500

_CONVERT = (
    "import sys, pywrapfst\n"
    "fst = pywrapfst.Fst.read(sys.argv[1])\n"
    "pywrapfst.convert(fst, 'vector').write(sys.argv[2])\n"
)


def read_fst(
    path: str | Path, *, mode: InputMode = "auto", weights: bool = False, warn: Warn = warn_default
) -> Fst:
    """The transducer in an OpenFst binary file (vector, const, compact; std, log or log64 arcs).

    `mode`, `weights` and `warn` as in `from_openfst`. FstError, with OpenFst's own diagnostic, if
    the file is missing, damaged or something else.
    """
    obj = _object(path)
    return from_openfst(obj, name=str(path), mode=mode, weights=weights, warn=warn)


def read_acceptor(path: str | Path, *, mode: InputMode = "auto", warn: Warn = warn_default) -> Fst:
    """The acceptor in an OpenFst binary file, as `acceptor_from_openfst` reads it. Errors as in
    `read_fst`."""
    return acceptor_from_openfst(_object(path), name=str(path), mode=mode, warn=warn)


def _object(path: str | Path) -> Any:
    """The pywrapfst FST in a file."""
    name = str(path)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise FstError(
            f"{name}: expected an FST file, can't read it: {error.strerror}", hint="check the path"
        ) from error
    header = read_header(data, name)
    if is_checked_here(header):
        check_layout(data, header, name)
        return read_object(name, name)
    with scratch_folder() as folder:
        target = os.path.join(folder, "vector.fst")
        _convert_in_child(name, target)
        return read_object(target, name)


def read_object(path: str, name: str) -> Any:
    """The pywrapfst FST in a file that is known to be sound. name: what messages call it."""
    import pywrapfst

    with captured_stderr() as diagnostic:
        try:
            return pywrapfst.Fst.read(path)
        except (pywrapfst.FstIOError, pywrapfst.FstOpError, UnicodeError) as error:
            failure = error
    raise _unreadable(name, diagnostic() or str(failure))


def _convert_in_child(path: str, target: str) -> None:
    """Rewrite an FST of any type as a vector FST, safe from OpenFst ending the process."""
    command = [sys.executable, "-Pc", _CONVERT, path, target]
    try:
        done = subprocess.run(command, capture_output=True, timeout=CHILD_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise _unreadable(path, f"OpenFst wasn't done after {CHILD_SECONDS} s") from None
    if done.returncode != 0:
        raise _unreadable(path, own_diagnostic(done))


def own_diagnostic(done: subprocess.CompletedProcess[bytes]) -> str:
    """What OpenFst said when a process failed, or else the process; not at any length."""
    lines = done.stderr.decode("utf-8", "replace").splitlines()
    own = [line for line in lines if line.startswith(("ERROR", "FATAL", "terminate", "  what"))]
    text = " ".join(own or lines[-1:]) or f"exit status {done.returncode}"
    return text if len(text) <= LONGEST_DIAGNOSTIC else text[:LONGEST_DIAGNOSTIC] + "…"


def _unreadable(name: str, diagnostic: str) -> FstError:
    hint = "write the file again from its source; `fstinfo` shows what it holds"
    if "Unknown FST type" in diagnostic:
        # Such types (const8, compact16_string, arc_lookahead, …) are plug-ins of an OpenFst.
        hint = "rewrite it as a type that needs no plug-in: `fstconvert --fst_type=vector`"
    return FstError(
        f"{name}: expected an OpenFst binary FST, OpenFst can't read it: {diagnostic}", hint=hint
    )


def write_openfst(fst: Fst, path: str | Path) -> None:
    """Write an OpenFst binary file (vector, standard arcs, no weights), whole or not at all.

    Input labels are bytes (256 for NUL). Outputs that aren't plain bytes get a symbol table, so
    that `read_fst` gives the same function with the same symbol names. FstError if the file can't
    be written.
    """
    data = to_openfst(fst).write_to_string()
    try:
        atomic_write(path, data)
    except OSError as error:
        raise FstError(
            f"{path}: can't write the FST: {error.strerror}",
            hint="check the folder and its free space",
        ) from error


def to_openfst(fst: Fst) -> Any:
    """The pywrapfst VectorFst of a transducer, with labels as in the file format."""
    import pywrapfst

    obj = pywrapfst.VectorFst()
    one = pywrapfst.Weight.one(obj.weight_type())
    obj.add_states(fst.n_states)
    obj.set_start(fst.start)
    for state in fst.final.nonzero()[0].tolist():
        obj.set_final(state)
    outputs = _output_labels(fst)
    for src, ilabel, olabel, dst in fst.arcs():
        obj.add_arc(src, pywrapfst.Arc(_input_label(ilabel), outputs[olabel], one, dst))
    table = _output_table(fst.symbols, outputs)
    if table is not None:
        obj.set_output_symbols(table)
    return obj


def to_text(fst: Fst) -> str:
    """OpenFst's text format: `src dst ilabel olabel` lines, a line with the state for a final one.

    The start state comes first, labels are numbers as in the binary file, epsilon is 0.
    """
    outputs = _output_labels(fst)
    lines: dict[int, list[str]] = {fst.start: []}
    for src, ilabel, olabel, dst in fst.arcs():
        row = f"{src}\t{dst}\t{_input_label(ilabel)}\t{outputs[olabel]}"
        lines.setdefault(src, []).append(row)
    for state in fst.final.nonzero()[0].tolist():
        lines.setdefault(state, []).append(str(state))
    rest = sorted(lines.keys() - {fst.start})
    return "".join(row + "\n" for state in (fst.start, *rest) for row in lines[state])


def _input_label(ilabel: int) -> int:
    return 0 if ilabel == EPS else ilabel or NUL_LABEL


def _output_labels(fst: Fst) -> dict[int, int]:
    """OpenFst label of each output symbol, those that only have a name included.

    Bytes and code points are their own labels, and generated symbols follow them; the symbols of a
    table keep their numbers. Symbol 0 can't, as 0 is epsilon.
    """
    kind, names = fst.symbols.kind, fst.symbols.names
    used = sorted({*fst.olabel.tolist(), *names} - {EPS})
    own = used if kind == "symbols" else [symbol for symbol in used if symbol not in names]
    first = {"bytes": FIRST_GENERATED, "unicode": FIRST_BEYOND, "symbols": max(used, default=0) + 1}
    labels = {symbol: symbol for symbol in own}
    if 0 in labels:
        labels[0] = NUL_LABEL if kind == "bytes" else first[kind] + len(names)
    generated = [symbol for symbol in used if symbol not in labels]
    return labels | {symbol: first[kind] + rank for rank, symbol in enumerate(generated)} | {EPS: 0}


def _output_table(symbols: Symbols, outputs: dict[int, int]) -> Any:
    """The output symbol table; None if all symbols are plain bytes."""
    import pywrapfst

    if symbols.kind == "bytes" and not symbols.names:
        return None
    if len(set(symbols.names.values())) < len(symbols.names):
        raise FstError("expected one name for each output symbol, got a name of two symbols")
    titles = {"bytes": BYTE_TABLE, "unicode": UTF8_TABLE, "symbols": SYMBOLS_TABLE}
    table = pywrapfst.SymbolTable(titles[symbols.kind])
    table.add_symbol("<eps>", 0)
    plain = set(range(256)) - set(symbols.names) if symbols.kind == "bytes" else set()
    for symbol in sorted({*outputs, *plain} - {EPS}):
        label = outputs.get(symbol, symbol or NUL_LABEL)
        name = symbols.names.get(symbol) or written_name(symbols, symbol)
        # The binding takes text only: bytes that are no UTF-8 are written as \xNN.
        raw = name.encode("utf-8", "surrogateescape")
        table.add_symbol(raw.decode("utf-8", "backslashreplace"), label)
    return table
