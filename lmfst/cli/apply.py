"""`lmfst apply`: what a target makes of documents, and which documents it makes something of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from lmfst.cli import options as o
from lmfst.cli.flatten import flattened
from lmfst.cli.loading import fst_of, target_of
from lmfst.cli.mistakes import document_files
from lmfst.cli.progress import Progress
from lmfst.cli.reading import documents
from lmfst.cli.rejections import Rejections
from lmfst.cli.terminal import Terminal
from lmfst.ground.errors import BudgetError, InputError
from lmfst.io import Document, Output, OutputWriter, require_apart

if TYPE_CHECKING:
    from lmfst.target.relation import Asked, Relation

Strict = Annotated[
    bool, typer.Option("--strict", help="Stop at the first document that is rejected.")
]


@dataclass(frozen=True)
class AskedOptions:
    """Which outputs are asked for; see `lmfst.target.relation.Asked`."""

    all: Annotated[
        bool,
        typer.Option(
            "--all",
            help="All outputs, shorter ones first, as lines `id TAB output`, or rows of a table; "
            "then their weights if the FST has any.",
        ),
    ] = False
    best: Annotated[
        bool,
        typer.Option(
            "--best",
            help="The output of the lightest path, by the FST's weights; of equally light ones "
            "the shortest, then the first in order.",
        ),
    ] = False
    invert: Annotated[
        bool,
        typer.Option(
            "--invert",
            help="From outputs back to inputs. Rejects several inputs, but with --all or --best.",
        ),
    ] = False
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="Outputs of a text under --all.")
    ] = 1000


@flattened
def apply(
    *,
    files: o.Files = None,
    to: o.To = o.TO,
    grammar: o.GrammarOptions,
    asked: AskedOptions,
    strict: Strict = False,
    reading: o.ReadingOptions,
    quiet: o.Quiet = False,
) -> None:
    """The target's function itself, document by document, without a model.

    Lines give lines, FASTA gives FASTA, tables and JSONL a column or key `output`. Rejected
    documents are reported; they give an empty line or field, and exit code 1 at the end.
    """
    from lmfst.target.relation import Asked

    terminal = Terminal.of(quiet)
    wanted = Asked(asked.all, asked.best, asked.invert, asked.limit)
    paths = document_files(files or ["-"], reading.doc)
    require_apart(files or [], paths, ["-"])
    relation = _relation(to, grammar, wanted, terminal)
    writer = OutputWriter(every=wanted.every, weighted=relation.weighted, warn=terminal.warn)
    rejections = Rejections(terminal, strict)
    total = 0
    with Progress(terminal, to_stdout=True) as progress:
        for document in progress.reading(documents(paths, reading, terminal, writer.header)):
            total += 1
            try:
                found = relation.outputs(document.text)
                if wanted.every:
                    _warn_of_count(document, found, wanted.limit, terminal)
                writer.write(document, found)
            except (InputError, BudgetError) as error:
                rejections.add(document.origin, error)
                writer.reject(document)
            progress.done()
    rejections.end(total, "document", "output")


def _relation(to: str, grammar: o.GrammarOptions, asked: Asked, terminal: Terminal) -> Relation:
    from lmfst.target.relation import relation_of_fst, relation_of_target

    if asked.by_target(to):
        return relation_of_target(target_of(to, grammar, terminal))
    return relation_of_fst(fst_of(to, grammar, terminal, weights=asked.weights), asked)


def _warn_of_count(document: Document, found: list[Output], limit: int, terminal: Terminal) -> None:
    if not found:
        terminal.warn(f"{document.origin}: there is no output")
    if len(found) == limit:
        terminal.warn(f"{document.origin}: there may be more than {limit} outputs (--limit)")
