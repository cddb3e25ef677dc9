"""`lmfst compile`: a grammar or a text FST as an OpenFst file."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from lmfst.cli import options as o
from lmfst.cli.flatten import flattened
from lmfst.cli.terminal import Terminal
from lmfst.cli.writing import write_file
from lmfst.ground.errors import FstError, InputError, UsageError
from lmfst.ground.types import InputMode

Source = Annotated[
    str,
    typer.Argument(
        metavar="FILE.grm|NAME|FILE.txt|-",
        help="A grammar, a shipped grammar, or an FST in OpenFst's text format.",
    ),
]
Compiled = Annotated[
    str,
    typer.Option(
        "-o", "--output", metavar="FILE.fst|FILE.far", help="One rule; or an archive of all."
    ),
]
Rule = Annotated[
    str | None, typer.Option("-r", "--rule", metavar="RULE", help="Only this exported rule.")
]


@dataclass(frozen=True)
class TextOptions:
    """What an FST in text format doesn't say by itself."""

    isymbols: Annotated[
        str | None,
        typer.Option("--isymbols", metavar="FILE", help="Input symbol table of a text FST."),
    ] = None
    osymbols: Annotated[
        str | None,
        typer.Option("--osymbols", metavar="FILE", help="Output symbol table of a text FST."),
    ] = None
    acceptor: Annotated[
        bool, typer.Option("--acceptor", help="Arcs of a text FST have one label.")
    ] = False


@flattened
def compile_(
    *,
    source: Source,
    output: Compiled,
    rule: Rule = None,
    text: TextOptions,
    grammar: o.GrammarOptions,
    quiet: o.Quiet = False,
) -> None:
    """A grammar, or a text FST, to OpenFst's binary format."""
    from lmfst.target.load import GRAMMAR, shipped_grammars

    terminal = Terminal.of(quiet)
    if source.endswith(GRAMMAR) or source in shipped_grammars():
        if text.isymbols or text.osymbols or text.acceptor:
            raise UsageError("--isymbols, --osymbols and --acceptor are for FSTs in text format")
        _compile_grammar(source, output, rule, grammar, terminal)
    else:
        if rule is not None:
            raise UsageError("--rule is for grammars; an FST in text format has none")
        _compile_text(source, output, text, grammar.input_mode, terminal)


def _compile_grammar(
    source: str, output: str, rule: str | None, grammar: o.GrammarOptions, terminal: Terminal
) -> None:
    """Compile a grammar; write one rule as .fst, or all (or the one named) as .far."""
    from lmfst.grammar import compile_file
    from lmfst.target.load import grammar_of, require_no_mode

    require_no_mode(source, grammar.input_mode)
    if not output.endswith((".fst", ".far")):
        raise UsageError(
            f"expected an output FILE.fst or FILE.far, got {output!r}",
            hint=".fst holds one rule, .far all exported rules",
        )
    module = compile_file(
        grammar_of(source)[0],
        rule=rule,
        include=grammar.include or (),
        warn=terminal.warn,
        **grammar.limits(),
    )
    if output.endswith(".far"):
        module.write_far(output)
    else:
        module.write_fst(rule, output)


def _compile_text(
    source: str, output: str, text: TextOptions, mode: InputMode, terminal: Terminal
) -> None:
    """Compile OpenFst text to an OpenFst file. A file that lmfst can't use gets a warning.

    mode: "byte" and "utf8" give a side without a symbol table one that says so.
    """
    from lmfst.fst import from_openfst
    from lmfst.fst.text import compile_text, name_labels, read_symbol_table

    if not output.endswith(".fst"):
        raise UsageError(f"expected an output FILE.fst, got {output!r}")
    name = "<stdin>" if source == "-" else source
    data = _bytes_of(source)
    isymbols, osymbols = (
        read_symbol_table(path, warn=terminal.warn) if path else None
        for path in (text.isymbols, text.osymbols)
    )
    obj = compile_text(
        data,
        name,
        acceptor=text.acceptor,
        isymbols=isymbols,
        osymbols=osymbols,
        warn=terminal.warn,
    )
    name_labels(obj, mode)
    try:
        from_openfst(obj, name=output, weights=True, warn=terminal.warn)
    except FstError as error:
        terminal.warn(f"lmfst can't use this FST: {error.message}")
    write_file(output, obj.write_to_string())


def _bytes_of(source: str) -> bytes:
    from lmfst.target.load import shipped_grammars

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
