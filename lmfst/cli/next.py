"""`lmfst next`: the distribution of the next unit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmfst.cli import options as o
from lmfst.cli.ensemble_options import EnsembleOptions
from lmfst.cli.flatten import flattened
from lmfst.cli.loading import choice_of
from lmfst.cli.model_options import LimitOptions, ModelOptions, PolicyOptions
from lmfst.cli.progress import Progress
from lmfst.cli.prompts import Asking, Given, Prompt, Prompts
from lmfst.cli.terminal import Terminal
from lmfst.cli.writing import write_file
from lmfst.ground import defaults
from lmfst.ground.errors import BudgetError, InputError, UsageError
from lmfst.io import open_rows

if TYPE_CHECKING:
    from lmfst.generate.next_units import Unit

Top = Annotated[
    int | None,
    typer.Option(
        "--top",
        metavar="N",
        help="Units after each prompt, most probable first; 0: all. "
        f"[default: {defaults.TOP}, or as many as --mass and --seconds allow]",
    ),
]
Mass = Annotated[
    float | None,
    typer.Option(
        "--mass",
        metavar="P",
        help="The most probable units that have this much of the probability together, such as "
        "0.9.",
    ),
]
Seconds = Annotated[
    float | None,
    typer.Option(
        "--seconds",
        metavar="S",
        help="Where units are words: end a search after S seconds, once the prompt is read, with "
        "what is found.",
    ),
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
    prompts: Prompts = None,
    to: o.To = o.TO,
    grammar: o.GrammarOptions,
    model: ModelOptions,
    ensemble: EnsembleOptions,
    policy: PolicyOptions,
    limits: LimitOptions,
    given: Given = "target",
    top: Top = None,
    mass: Mass = None,
    seconds: Seconds = None,
    rows: o.RowOptions,
    plot: Plot = None,
    quiet: o.Quiet = False,
) -> None:
    """The distribution of the next unit after a prompt, ⊥ (the end) included.

    Where units are words, a last row … has the probability of all units that are not shown.
    """
    from lmfst.generate.next_units import following, limits_of
    from lmfst.scored.records import ESCAPED_COLUMNS, NEXT_COLUMNS, next_rows

    terminal = Terminal.of(quiet)
    choice = choice_of(policy, limits, suggestible=False)
    if choice.name == "sample":
        raise UsageError(
            "--policy sample estimates probabilities of given strings, not of the next unit",
            hint="use --policy beam or --exact",
        )
    ensemble.policy(model, choice)
    wanted: dict[str, Any] = {"top": top, "mass": mass, "seconds": seconds}
    limits_of(**wanted)
    asking, fmt = Asking(prompts, terminal), rows.row_format()
    if plot is not None:
        _require_plot(plot, asking)
    lm = ensemble.load(model, to, grammar, choice, limits, terminal)
    limits_of(**wanted, separated=bool(lm.target.units.marks))
    writing = open_rows(rows.output, fmt, NEXT_COLUMNS, escaped=ESCAPED_COLUMNS)
    with writing as writer:
        for (prompt,) in asking.batches(1):
            try:
                with Progress(terminal, to_stdout=False, doing="looking for the next unit"):
                    found = following(lm, prompt.text, given=given, warn=terminal.warn, **wanted)
            except (InputError, BudgetError) as error:
                asking.reject(prompt, error, writer)
            else:
                for row in next_rows(prompt.id, found):
                    writer.write(row)
                if plot is not None:
                    _draw(plot, prompt, found, terminal)
            writer.flush()
    asking.end()


def _require_plot(plot: str, asking: Asking) -> None:
    """UsageError for several distributions; InputError where nothing can draw."""
    from lmfst.report.plots import require_plot

    require_plot(plot)
    if not asking.is_one:
        raise UsageError("--plot draws one distribution", hint="give one prompt")


def _draw(plot: str, prompt: Prompt, found: list[Unit], terminal: Terminal) -> None:
    """Draw a distribution."""
    from lmfst.report.plots import next_plot

    text = prompt.text
    shown = text if isinstance(text, str) else text.decode(errors="replace")
    write_file(plot, next_plot(plot, shown, found, terminal.warn), what="--plot")
