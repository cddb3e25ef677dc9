"""`lmfst info`: what is known about an FST."""

from __future__ import annotations

import sys

from lmfst.cli import options as o
from lmfst.cli.flatten import flattened
from lmfst.cli.loading import fst_of
from lmfst.cli.terminal import Terminal


@flattened
def info(*, machine: o.Machine, grammar: o.GrammarOptions, quiet: o.Quiet = False) -> None:
    """Properties of an FST, a line `key TAB value` each; witnesses for those it lacks."""
    from lmfst.target.facts import facts_of
    from lmfst.target.load import short_name

    fst = fst_of(machine, grammar, Terminal.of(quiet))
    out = sys.stdout
    for key, value in facts_of(fst, short_name(machine)):
        # As it is found out, which may take long.
        out.write(f"{key}\t{value}\n")
        out.flush()
