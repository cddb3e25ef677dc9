"""`lmfst draw`: a drawing of an FST."""

from __future__ import annotations

from lmfst.cli import options as o
from lmfst.cli.flatten import flattened
from lmfst.cli.loading import fst_of
from lmfst.cli.terminal import Terminal
from lmfst.io import Stdout

LARGE = 500
"""States of a drawing beyond which there is a warning."""


@flattened
def draw(*, machine: o.Machine, grammar: o.GrammarOptions, quiet: o.Quiet = False) -> None:
    """A drawing in the dot language: `lmfst draw F.fst | dot -Tsvg > F.svg` makes a picture."""
    from lmfst.fst.draw import to_dot
    from lmfst.target.load import short_name

    terminal = Terminal.of(quiet)
    fst = fst_of(machine, grammar, terminal)
    if fst.n_states > LARGE:
        terminal.warn(f"{fst.n_states} states: dot may take very long")
    Stdout().write(to_dot(fst, short_name(machine)).encode())
