"""`lmfst print`: an FST as text."""

from __future__ import annotations

from typing import Annotated

import typer

from lmfst.cli import options as o
from lmfst.cli.flatten import flattened
from lmfst.cli.loading import fst_of
from lmfst.cli.terminal import Terminal
from lmfst.cli.writing import write_file
from lmfst.ground.errors import UsageError
from lmfst.io import Stdout

SavedSymbols = Annotated[
    str | None,
    typer.Option("--save-osymbols", metavar="FILE", help="Write the table of output symbols here."),
]


@flattened
def print_(
    *,
    machine: o.Machine,
    osymbols: SavedSymbols = None,
    grammar: o.GrammarOptions,
    quiet: o.Quiet = False,
) -> None:
    """An FST as lmfst reads it, in OpenFst's text format: bytes in, symbols out, no weights.

    Inputs are byte numbers (256 for NUL, 0 for nothing); outputs are names where there is a symbol
    table, numbers otherwise.
    """
    from lmfst.fst import to_openfst

    obj = to_openfst(fst_of(machine, grammar, Terminal.of(quiet)))
    table = obj.output_symbols()
    if osymbols is not None:
        if table is None:
            raise UsageError(
                f"{machine} has no output symbol table: its outputs are bytes, written as numbers"
            )
        rows = [f"{name}\t{label}\n" for label, name in table]
        write_file(osymbols, "".join(rows).encode())
    Stdout().write(obj.print(osymbols=table).encode())
