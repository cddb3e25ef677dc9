"""`lmfst next`: the distribution of the next unit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

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
from lmfst.ground.errors import InputError, UsageError
from lmfst.io import open_rows, read_documents

Prefixes = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PREFIX...|-]",
        help="The string so far; none: the beginning; several: one after the other; -: the lines "
        "of the standard input, each answered as it comes. In target form [NAME] is a generated "
        "symbol, such as [SEP] between words.",
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
    int | None,
    typer.Option(
        "--top",
        metavar="N",
        help="Units of each prefix, most probable first; 0: all. "
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
        help="Where units are words: end a search after S seconds, once the prefix is read, with "
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
    prefixes: Prefixes = None,
    to: o.To = o.TO,
    grammar: o.GrammarOptions,
    model: ModelOptions,
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
    """The distribution of the next unit after a prefix, ⊥ (the end) included.

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
    wanted: dict[str, Any] = {"top": top, "mass": mass, "seconds": seconds}
    limits_of(**wanted)
    strings, fmt = _strings(prefixes, plot, terminal), rows.row_format()
    lm = load_model(model, to, grammar, choice, limits, terminal)
    limits_of(**wanted, separated=bool(lm.target.units.marks))
    writing = open_rows(rows.output, fmt, NEXT_COLUMNS, escaped=ESCAPED_COLUMNS)
    with writing as writer:
        for number, (prefix, origin) in enumerate(strings, start=1):
            doing = Progress(terminal, to_stdout=False, doing="looking for the next unit")
            with doing, _of(origin):
                found = following(lm, prefix, given=given, warn=terminal.warn, **wanted)
            for row in next_rows(str(number), found):
                writer.write(row)
            writer.flush()
            if plot is not None:
                from lmfst.report.plots import next_plot

                shown = prefix if isinstance(prefix, str) else prefix.decode(errors="replace")
                write_file(plot, next_plot(plot, shown, found, terminal.warn), what="--plot")


def _strings(
    prefixes: list[str] | None, plot: str | None, terminal: Terminal
) -> Iterable[tuple[str | bytes, str]]:
    """The prefixes, each with what to call it in messages; of the standard input as they come."""
    given = [""] if prefixes is None or not prefixes else prefixes
    if plot is not None:
        from lmfst.report.plots import require_plot

        require_plot(plot)
        if given == ["-"] or len(given) > 1:
            raise UsageError("--plot draws one distribution", hint="give one prefix")
    if "-" in given:
        if len(given) > 1:
            raise UsageError(
                "- reads all prefixes from the standard input",
                hint="put the others there, too, one a line",
            )
        read = read_documents("-", doc="line", warn=terminal.warn)
        return ((document.text, document.origin) for document in read)
    for prefix in filter(is_file, given):
        terminal.warn(f"the prefix is {prefix!r} itself, not what the file of that name holds")
    named = [f"prefix {i}" if len(given) > 1 else "" for i in range(1, len(given) + 1)]
    return list(zip(given, named, strict=True))


@contextmanager
def _of(origin: str) -> Iterator[None]:
    """Errors say whose they are."""
    try:
        yield
    except InputError as error:
        if not origin:
            raise
        raise InputError(f"{origin}: {error.message}", hint=error.hint) from None
