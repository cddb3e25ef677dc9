"""`lmfst counts`: how frequent units are, in texts or in strings that were drawn."""

from __future__ import annotations

from typing import Annotated

import typer

from lmfst.cli import options as o
from lmfst.cli.flatten import flattened
from lmfst.cli.loading import target_of
from lmfst.cli.mistakes import document_files
from lmfst.cli.progress import Progress
from lmfst.cli.reading import documents
from lmfst.cli.terminal import Terminal
from lmfst.ground import types
from lmfst.io import open_rows, require_apart

Given = Annotated[
    types.Given,
    typer.Option("--given", help="source: the text is read by the FST; target: it is its output."),
]
Ngram = Annotated[
    int,
    typer.Option(
        "--ngram",
        metavar="N",
        min=1,
        help="Count sequences of N units: the probability of the last one given those before.",
    ),
]
Ends = Annotated[bool, typer.Option("--ends", help="Count the end of a string, ⊥, as a unit.")]


@flattened
def counts(
    *,
    files: o.Files = None,
    to: o.To = o.TO,
    grammar: o.GrammarOptions,
    given: Given = "source",
    ngram: Ngram = 1,
    ends: Ends = False,
    reading: o.ReadingOptions,
    rows: o.RowOptions,
    quiet: o.Quiet = False,
) -> None:
    """Relative frequencies of units in texts, as surprisal, with standard errors; without a model.

    Rows of lmfst sample are counted by --given target: what was drawn, without the prompt.
    """
    from lmfst.generate.counts import Counts, add_document
    from lmfst.scored.records import ESCAPED_COLUMNS

    terminal = Terminal.of(quiet)
    paths, fmt = document_files(files or ["-"], reading.doc), rows.row_format()
    require_apart(files or [], paths, [rows.output or "-"])
    target = target_of(to, grammar, terminal)
    found = Counts(target.units, ngram, ends=ends)
    with Progress(terminal, to_stdout=False) as progress:
        for document in progress.reading(documents(paths, reading, terminal)):
            add_document(found, target, document, given)
            progress.done()
    found.require_some()
    escaped = ("before", *ESCAPED_COLUMNS)
    with open_rows(rows.output, fmt, found.columns, escaped=escaped) as writer:
        for row in found.rows():
            writer.write(row)
