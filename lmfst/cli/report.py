"""`lmfst report`: a page about one output, or about two of the same corpus."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from lmfst.cli import options as o
from lmfst.cli.terminal import Terminal
from lmfst.cli.writing import write_file
from lmfst.ground.errors import UsageError

MOST = 2
"""Outputs that a page compares."""
Outputs = Annotated[
    list[str],
    typer.Argument(
        metavar="OUT [OUT]",
        help="Rows of units that lmfst score or convert has written (.tsv, .jsonl, .parquet); with "
        "a second output of the same texts, under another model or setting, the two are compared.",
        show_default=False,
    ),
]
Page = Annotated[
    str,
    typer.Option(
        "-o",
        "--output",
        metavar="PAGE.html",
        help="Where the page goes (default: the standard output, if that is a file or a pipe).",
        rich_help_panel=o.OUTPUT,
    ),
]
Texts = Annotated[
    str | None,
    typer.Option(
        "--texts",
        metavar="OUT",
        help="Rows of --level text of the same documents: then the page says, too, what "
        "tokenizations beside the tokenizer's own add, and the standard error of estimates.",
    ),
]


def report(
    *, outputs: Outputs, output: Page = "-", texts: Texts = None, quiet: o.Quiet = False
) -> None:
    """One HTML page, which needs no network: totals, documents coloured by surprisal, units."""
    from lmfst.ground.manifests import manifest_of
    from lmfst.io import Stdout, require_apart, require_different
    from lmfst.report import findings, page

    terminal = Terminal.of(quiet)
    if len(outputs) > MOST:
        raise UsageError(
            f"expected one output or two, found {len(outputs)}: {', '.join(outputs)}",
            hint="compare them by twos",
        )
    require_different(outputs)
    read = [*outputs, *([] if texts is None else [texts])]
    beside = [str(place) for place in map(manifest_of, outputs) if os.path.exists(place)]
    require_apart(read, [*read, *beside], [output])
    if output == "-" and sys.stdout is not None and sys.stdout.isatty():
        raise UsageError(
            "the page is HTML, and the standard output is a terminal",
            hint="write it to a file: -o page.html",
        )
    made = page(findings(outputs, texts, terminal.warn))
    if output == "-":
        Stdout().write(made)
    else:
        write_file(output, made, what="-o")
