"""The commands that need no language model: apply, compile, print, info, draw."""

from __future__ import annotations

from typing import Annotated

import typer

from lmfst.cli import options as o
from lmfst.cli.group import app
from lmfst.cli.terminal import Terminal

Machine = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="FILE.fst, FILE.far[:KEY], FILE.grm[:RULE], bytes, or the name of a shipped grammar.",
    ),
]


@app.command()
def apply(
    context: typer.Context,
    files: o.Files = None,
    to: o.To = o.TO,
    include: o.Include = None,
    max_states: o.MaxStates = None,
    timeout: o.Timeout = None,
    all: Annotated[
        bool,
        typer.Option(
            "--all",
            help="All outputs, shorter ones first, as lines `id TAB output`, or rows of a table; "
            "then their weights if the FST has any.",
        ),
    ] = False,
    best: Annotated[
        bool,
        typer.Option(
            "--best",
            help="The output of the lightest path, by the FST's weights; of equally light ones "
            "the shortest, then the first in order.",
        ),
    ] = False,
    invert: Annotated[
        bool,
        typer.Option(
            "--invert",
            help="From outputs back to inputs. Rejects several inputs, but with --all or --best.",
        ),
    ] = False,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="Outputs of a text under --all.")
    ] = 1000,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first document that is rejected.")
    ] = False,
    doc: o.DocOption = o.Doc.auto,
    text_column: o.TextColumn = None,
    id_column: o.IdColumn = None,
    quiet: o.Quiet = False,
) -> None:
    """The target's function itself, document by document, without a model.

    Lines give lines, FASTA gives FASTA, tables and JSONL a column or key `output`. Rejected
    documents are reported; they give an empty line or field, and exit code 1 at the end.
    """
    from lmfst.cli import applying
    from lmfst.cli.reading import Reading

    applying.apply(
        to,
        files or ["-"],
        grammar=o.grammar_options(context.params),
        choice=applying.Choice(all, best, invert, limit),
        reading=Reading(doc.value, text_column, id_column),
        strict=strict,
        terminal=Terminal.of(quiet),
    )


@app.command("compile")
def compile_(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE.grm|NAME|FILE.txt|-",
            help="A grammar, a shipped grammar, or an FST in OpenFst's text format.",
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "-o", "--output", metavar="FILE.fst|FILE.far", help="One rule; or an archive of all."
        ),
    ],
    rule: Annotated[
        str | None, typer.Option("-r", "--rule", metavar="RULE", help="Only this exported rule.")
    ] = None,
    isymbols: Annotated[
        str | None,
        typer.Option("--isymbols", metavar="FILE", help="Input symbol table of a text FST."),
    ] = None,
    osymbols: Annotated[
        str | None,
        typer.Option("--osymbols", metavar="FILE", help="Output symbol table of a text FST."),
    ] = None,
    acceptor: Annotated[
        bool, typer.Option("--acceptor", help="Arcs of a text FST have one label.")
    ] = False,
    include: o.Include = None,
    max_states: o.MaxStates = None,
    timeout: o.Timeout = None,
    quiet: o.Quiet = False,
) -> None:
    """A grammar, or a text FST, to OpenFst's binary format."""
    from lmfst.cli import machines

    terminal = Terminal.of(quiet)
    if machines.is_grammar(source):
        machines.no_tables(isymbols, osymbols, acceptor)
        machines.compile_grammar(
            source, output, rule=rule, grammar=o.grammar_options(context.params), terminal=terminal
        )
    else:
        machines.compile_text_fst(
            source,
            output,
            rule=rule,
            isymbols=isymbols,
            osymbols=osymbols,
            acceptor=acceptor,
            terminal=terminal,
        )


@app.command("print")
def print_(
    context: typer.Context,
    machine: Machine,
    osymbols: Annotated[
        str | None,
        typer.Option(
            "--save-osymbols", metavar="FILE", help="Write the table of output symbols here."
        ),
    ] = None,
    include: o.Include = None,
    max_states: o.MaxStates = None,
    timeout: o.Timeout = None,
    quiet: o.Quiet = False,
) -> None:
    """An FST as lmfst reads it, in OpenFst's text format: bytes in, symbols out, no weights.

    Inputs are byte numbers (256 for NUL, 0 for nothing); outputs are names where there is a symbol
    table, numbers otherwise.
    """
    from lmfst.cli import machines

    machines.print_fst(
        machine, osymbols, grammar=o.grammar_options(context.params), terminal=Terminal.of(quiet)
    )


@app.command()
def info(
    context: typer.Context,
    machine: Machine,
    include: o.Include = None,
    max_states: o.MaxStates = None,
    timeout: o.Timeout = None,
    quiet: o.Quiet = False,
) -> None:
    """Properties of an FST, a line `key TAB value` each; witnesses for those it lacks."""
    from lmfst.cli import machines

    machines.info(machine, grammar=o.grammar_options(context.params), terminal=Terminal.of(quiet))


@app.command()
def draw(
    context: typer.Context,
    machine: Machine,
    include: o.Include = None,
    max_states: o.MaxStates = None,
    timeout: o.Timeout = None,
    quiet: o.Quiet = False,
) -> None:
    """A drawing in the dot language: `lmfst draw F.fst | dot -Tsvg > F.svg` makes a picture."""
    from lmfst.cli import machines

    machines.draw(machine, grammar=o.grammar_options(context.params), terminal=Terminal.of(quiet))
