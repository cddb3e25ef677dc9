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
from lmfst.ground.errors import BudgetError, Failure, InputError, UsageError
from lmfst.io import open_rows

if TYPE_CHECKING:
    from lmfst.ensemble import Ensemble
    from lmfst.generate.next_units import Unit
    from lmfst.model import TransducedLM

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
    from lmfst.generate.next_units import limits_of
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
    _require_plot(plot, asking)
    lm = ensemble.load(model, to, grammar, choice, limits, terminal)
    limits_of(**wanted, separated=bool(lm.target.units.marks))
    writing = open_rows(rows.output, fmt, NEXT_COLUMNS, escaped=ESCAPED_COLUMNS)
    with writing as writer:
        for (prompt,) in asking.batches(1):
            found = _found(lm, prompt, {"given": given, **wanted}, terminal)
            if isinstance(found, Failure):
                asking.reject(prompt, found, writer)
            else:
                for row in next_rows(prompt.id, found):
                    writer.write(row)
                _draw(plot, prompt, found, terminal)
            writer.flush()
    asking.end()


def _found(
    model: TransducedLM | Ensemble, prompt: Prompt, how: dict[str, Any], terminal: Terminal
) -> list[Unit] | Failure:
    """The units after a prompt; the error of one that has no answer. how: options of `following`
    (`lmfst.generate.next_units`)."""
    from lmfst.generate.next_units import following

    try:
        with Progress(terminal, to_stdout=False, doing="looking for the next unit"):
            return following(model, prompt.text, warn=terminal.warn, **how)
    except (InputError, BudgetError) as error:
        return error


def _require_plot(plot: str | None, asking: Asking) -> None:
    """UsageError for a plot of several distributions; InputError where nothing can draw one."""
    if plot is None:
        return
    from lmfst.report.plots import require_plot

    require_plot(plot)
    if not asking.is_one:
        raise UsageError("--plot draws one distribution", hint="give one prompt")


def _draw(plot: str | None, prompt: Prompt, found: list[Unit], terminal: Terminal) -> None:
    """Draw a distribution, if that is asked for."""
    if plot is None:
        return
    from lmfst.report.plots import next_plot

    text = prompt.text
    shown = text if isinstance(text, str) else text.decode(errors="replace")
    write_file(plot, next_plot(plot, shown, found, terminal.warn), what="--plot")
