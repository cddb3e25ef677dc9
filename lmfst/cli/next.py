"""`lmfst next`: the distribution of the next unit."""

from __future__ import annotations

from typing import Annotated

import typer

from lmfst.cli import options as o
from lmfst.cli.flatten import flattened
from lmfst.cli.loading import choice_of, load_model
from lmfst.cli.mistakes import is_file
from lmfst.cli.model_options import LimitOptions, ModelOptions, PolicyOptions
from lmfst.cli.progress import Progress
from lmfst.cli.terminal import Terminal
from lmfst.cli.writing import write_file
from lmfst.ground import defaults, types
from lmfst.ground.errors import UsageError
from lmfst.io import open_rows

Prefix = Annotated[
    str,
    typer.Argument(
        help="The string so far; empty: the beginning. In target form [NAME] is a generated "
        "symbol, such as [SEP] between words."
    ),
]
Given = Annotated[
    types.Given,
    typer.Option(
        "--given",
        help="target: the prefix is in target form; source: it is read by the FST, and what is "
        "certainly emitted by then is the target prefix.",
    ),
]
Top = Annotated[
    int, typer.Option("--top", metavar="N", help="Rows shown, most probable first; 0: all.")
]

Plot = Annotated[
    str | None,
    typer.Option(
        "--plot",
        metavar="FILE.png|.svg",
        help="Draw the probabilities of the first units as bars (pip install lmfst[plot]).",
        rich_help_panel=o.OUTPUT,
    ),
]


@flattened
def next_(
    *,
    prefix: Prefix = "",
    to: o.To = o.TO,
    grammar: o.GrammarOptions,
    model: ModelOptions,
    policy: PolicyOptions,
    limits: LimitOptions,
    given: Given = "target",
    top: Top = defaults.TOP,
    rows: o.RowOptions,
    plot: Plot = None,
    quiet: o.Quiet = False,
) -> None:
    """The distribution of the next unit after a prefix, ⊥ (the end) included.

    Where units are words, a last row … has the probability of all units that are not shown.
    """
    from lmfst.generate.next_units import following
    from lmfst.scored.records import ESCAPED_COLUMNS, NEXT_COLUMNS, next_row

    terminal = Terminal.of(quiet)
    choice = choice_of(policy, limits, suggestible=False)
    if top < 0:
        raise UsageError(f"--top must be at least 0, not {top}")
    if choice.name == "sample":
        raise UsageError(
            "--policy sample estimates probabilities of given strings, not of the next unit",
            hint="use --policy beam or --exact",
        )
    if is_file(prefix):
        terminal.warn(f"the prefix is {prefix!r} itself, not what the file of that name holds")
    fmt = rows.row_format()
    if plot is not None:
        from lmfst.report.plots import require_plot

        require_plot(plot)
    lm = load_model(model, to, grammar, choice, limits, terminal)
    with Progress(terminal, to_stdout=False, doing="looking for the next unit"):
        found = following(lm, prefix, given=given, top=top, warn=terminal.warn)
    with open_rows(rows.output, fmt, NEXT_COLUMNS, escaped=ESCAPED_COLUMNS) as writer:
        for unit, logp in found:
            writer.write(next_row(unit, logp))
    if plot is not None:
        from lmfst.report.plots import next_plot

        write_file(plot, next_plot(plot, prefix, found, terminal.warn), what="--plot")
