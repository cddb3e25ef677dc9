"""`lmfst compile`, `print`, `info` and `draw`: FSTs made and looked at."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lmfst.cache import atomic_write, write_hint
from lmfst.cli.terminal import Terminal
from lmfst.errors import BudgetError, FstError, InputError, UsageError
from lmfst.fst import EPS, Fst, Mode, from_openfst, to_openfst
from lmfst.fst.check import epsilon_output_cycle_witness, functional_witness, rejected_string
from lmfst.fst.shown import escaped, show_bytes, show_output
from lmfst.io import Stdout
from lmfst.sequential import Determinised
from lmfst.target import (
    GRAMMAR,
    grammar_of,
    load_fst,
    reads_nul,
    require_no_mode,
    shipped_grammars,
    short_name,
)

WALKED_STATES = 300
"""`info` walks the sequential form over all bytes up to this many states."""
LARGE_DRAWING = 500


def is_grammar(source: str) -> bool:
    """Whether `lmfst compile` takes its argument as a grammar."""
    return source.endswith(GRAMMAR) or source in shipped_grammars()


def no_tables(isymbols: str | None, osymbols: str | None, acceptor: bool) -> None:
    """UsageError for options that are meant for text FSTs."""
    if isymbols or osymbols or acceptor:
        raise UsageError("--isymbols, --osymbols and --acceptor are for FSTs in text format")


def compile_grammar(
    source: str, output: str, *, rule: str | None, grammar: dict[str, Any], terminal: Terminal
) -> None:
    """Compile a grammar; write one rule as .fst, or all (or the one named) as .far."""
    from lmfst.grammar import compile_file

    require_no_mode(source, grammar.pop("input_mode"))
    if not output.endswith((".fst", ".far")):
        raise UsageError(
            f"expected an output FILE.fst or FILE.far, got {output!r}",
            hint=".fst holds one rule, .far all exported rules",
        )
    module = compile_file(grammar_of(source)[0], rule=rule, warn=terminal.warn, **grammar)
    if output.endswith(".far"):
        module.write_far(output)
    else:
        module.write_fst(rule, output)


def compile_text_fst(
    source: str,
    output: str,
    *,
    rule: str | None,
    isymbols: str | None,
    osymbols: str | None,
    acceptor: bool,
    mode: Mode,
    terminal: Terminal,
) -> None:
    """Compile OpenFst text to an OpenFst file. A file that lmfst can't use gets a warning.

    mode: "byte" and "utf8" give a side without a symbol table one that says so.
    """
    from lmfst.fst.text import compile_text, name_labels, read_symbol_table

    if rule is not None:
        raise UsageError("--rule is for grammars; an FST in text format has none")
    if not output.endswith(".fst"):
        raise UsageError(f"expected an output FILE.fst, got {output!r}")
    name = "<stdin>" if source == "-" else source
    data = _bytes_of(source)
    tables = {
        "isymbols": read_symbol_table(isymbols, warn=terminal.warn) if isymbols else None,
        "osymbols": read_symbol_table(osymbols, warn=terminal.warn) if osymbols else None,
    }
    obj = compile_text(data, name, acceptor=acceptor, warn=terminal.warn, **tables)
    name_labels(obj, mode)
    try:
        from_openfst(obj, name=output, weights=True, warn=terminal.warn)
    except FstError as error:
        terminal.warn(f"lmfst can't use this FST: {error.message}")
    _write(output, obj.write_to_string())


def _bytes_of(source: str) -> bytes:
    if source == "-":
        if sys.stdin is None:
            raise InputError("<stdin>: the standard input is closed", hint="name a file, or pipe")
        return sys.stdin.buffer.read()
    try:
        return Path(source).read_bytes()
    except OSError as error:
        known = ", ".join(shipped_grammars())
        raise InputError(
            f"{source}: expected a grammar or a text FST: {error.strerror or error}",
            hint=f"give an existing file, or one of the shipped grammars {known}",
        ) from None


def _write(path: str, data: bytes) -> None:
    try:
        atomic_write(path, data)
    except OSError as error:
        raise InputError(
            f"{path}: can't be written: {error.strerror or error}",
            hint=write_hint(error),
        ) from None


def print_fst(
    to: str, osymbols: str | None, *, grammar: dict[str, Any], terminal: Terminal
) -> None:
    """Write an FST as text, and its output symbol table to a file if asked for."""
    obj = to_openfst(load_fst(to, warn=terminal.warn, **grammar))
    table = obj.output_symbols()
    if osymbols is not None:
        if table is None:
            raise UsageError(
                f"{to} has no output symbol table: its outputs are bytes, written as numbers"
            )
        rows = [f"{name}\t{label}\n" for label, name in table]
        _write(osymbols, "".join(rows).encode())
    Stdout().write(obj.print(osymbols=table).encode())


def draw(to: str, *, grammar: dict[str, Any], terminal: Terminal) -> None:
    """Write an FST as dot text."""
    from lmfst.fst.draw import to_dot

    fst = load_fst(to, warn=terminal.warn, **grammar)
    if fst.n_states > LARGE_DRAWING:
        terminal.warn(f"{fst.n_states} states: dot may take very long")
    Stdout().write(to_dot(fst, short_name(to)).encode())


def info(to: str, *, grammar: dict[str, Any], terminal: Terminal) -> None:
    """Write what is known about an FST, as it is found out."""
    fst = load_fst(to, warn=terminal.warn, **grammar)
    out = sys.stdout
    for key, value in _facts(to, fst):
        out.write(f"{key}\t{value}\n")
        out.flush()


def _facts(to: str, fst: Fst) -> Iterator[tuple[str, str]]:
    yield "name", short_name(to)
    yield "digest", fst.digest
    yield "states", str(fst.n_states)
    yield "arcs", str(fst.n_arcs)
    yield "final states", str(int(fst.final.sum()))
    yield "input bytes", str(len({*fst.ilabel.tolist()} - {EPS}))
    yield "output symbols", str(len({*fst.olabel.tolist()} - {EPS}))
    yield "output alphabet", fst.symbols.kind
    yield "generated symbols" if fst.symbols.kind != "symbols" else "table entries", _names(fst)
    trimmed = fst.trim()
    yield "useful states", str(trimmed.n_states if trimmed.final.any() else 0)
    yield "output cycle", _judged(lambda: epsilon_output_cycle_witness(fst) or "no")
    functional = _judged(lambda: _functional(fst))
    yield "functional", functional
    yield "total over all bytes", _judged(lambda: _total(fst))
    walked = _judged(lambda: _walked(fst)) if functional == "yes" else "not functional"
    yield "sequential states", walked


def _judged(find: Callable[[], str]) -> str:
    """A verdict, or why there is none."""
    try:
        return find()
    except (BudgetError, FstError) as error:
        return f"undecided: {error.message}"


def _names(fst: Fst) -> str:
    names = [escaped(name) for name in fst.symbols.names.values()]
    return " ".join([str(len(names)), *names[:8], *(["…"] if len(names) > 8 else [])])


def _functional(fst: Fst) -> str:
    found = functional_witness(fst)
    if found is None:
        return "yes"
    text, *outputs = found
    one, other = (show_output(out, fst.symbols) for out in outputs)
    return f"no: {show_bytes(text)} has the outputs {one} and {other}"


def _total(fst: Fst) -> str:
    found = rejected_string(fst, bytes(range(256)))
    if found is None:
        return "yes"
    if not reads_nul(fst) and rejected_string(fst, bytes(range(1, 256))) is None:
        return "yes, but for the byte NUL, which no arc reads (label 256)"
    return f"no: rejects {show_bytes(found)}"


def _walked(fst: Fst) -> str:
    """Sequential states reached over all byte strings, as far as `WALKED_STATES`."""
    machine = Determinised(fst)
    state = 0
    while state < machine.n_states:
        for byte in range(256):
            machine.step(state, byte)
            if machine.n_states > WALKED_STATES:
                return f"more than {WALKED_STATES}"
        state += 1
    return str(machine.n_states)
