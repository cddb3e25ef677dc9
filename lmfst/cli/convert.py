"""`lmfst convert`: documents scored under a model, as rows."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmfst.cli import options as o
from lmfst.cli.ensemble_options import EnsembleOptions
from lmfst.cli.flatten import flattened
from lmfst.cli.loading import choice_of, suggests
from lmfst.cli.mistakes import document_files
from lmfst.cli.model_options import (
    MODEL,
    LimitOptions,
    ModelOptions,
    PolicyOptions,
    SamplingOptions,
)
from lmfst.cli.progress import Progress
from lmfst.cli.prompt_options import PromptOptions
from lmfst.cli.reading import documents
from lmfst.cli.terminal import Terminal
from lmfst.cli.writing import write_file
from lmfst.ground import defaults, types
from lmfst.ground.errors import UsageError
from lmfst.ground.types import Warn
from lmfst.io import Arrivals, RowWriter, open_rows, require_apart

if TYPE_CHECKING:
    from lmfst.report.plots import SurprisalPlot
    from lmfst.scored.records import Block, Scored

Batch = Annotated[
    int,
    typer.Option(
        "--batch",
        help="Documents that share model calls, at most; with 1 none changes another's last "
        "digits.",
        rich_help_panel=MODEL,
    ),
]
Given = Annotated[
    types.Given,
    typer.Option("--given", help="source: the text is read by the FST; target: it is its output."),
]
Unknown = Annotated[
    types.Unknown,
    typer.Option(
        "--unknown",
        help="Symbols that the model can't produce: report gives -inf and a warning, error stops, "
        "skip drops the document with a warning, any sums over what they may be (X, B, Z and J "
        "among residues; N, R, Y, … among bases); auto: error for FASTA in target form, else "
        "report.",
    ),
]
Level = Annotated[
    types.Level,
    typer.Option(
        "--level",
        help="Rows per unit, per replicate of an estimate, per document, or one.",
        rich_help_panel=o.OUTPUT,
    ),
]
Bounds = Annotated[
    bool,
    typer.Option(
        "--bounds",
        help="With --level text or summary: columns lower, upper and dropped, bounds that are "
        "certain, and far apart for long texts.",
        rich_help_panel=o.OUTPUT,
    ),
]
Versus = Annotated[
    str | None,
    typer.Option(
        "--versus",
        metavar="ID",
        help="With --level text: how much more probable each document is than the one with this "
        "id; estimates use the same random numbers, so that the difference has a standard error "
        "of its own.",
        rich_help_panel=o.OUTPUT,
    ),
]


@dataclass(frozen=True)
class Beside:
    """What is written beside rows."""

    meta: Annotated[
        str | None,
        typer.Option(
            "--meta",
            metavar="FILE",
            help="Write what made the numbers (model, FST, policy, version) as JSON.",
            rich_help_panel=o.OUTPUT,
        ),
    ] = None
    plot: Annotated[
        str | None,
        typer.Option(
            "--plot",
            metavar="FILE.png|.svg",
            help="Draw surprisal along the first documents (pip install lmfst[plot]).",
            rich_help_panel=o.OUTPUT,
        ),
    ] = None

    def require_apart(self, rows: str | None) -> None:
        """UsageError if one file would be written twice. rows: where rows go."""
        seen: dict[str, str] = {}
        for option, path in (("-o", rows), ("--meta", self.meta), ("--plot", self.plot)):
            if path is None or path == "-" or (os.path.exists(path) and not os.path.isfile(path)):
                continue
            place = os.path.realpath(path)
            if place in seen:
                raise UsageError(
                    f"{option} {path}: expected a file of its own, {seen[place]} goes there, too",
                    hint="give another name",
                )
            seen[place] = option

    def picture(self, level: types.Level) -> SurprisalPlot | None:
        """What draws; None if nothing is asked for. UsageError for a level without units."""
        if self.plot is None:
            return None
        if level != "unit":
            raise UsageError(
                f"--plot draws the surprisal of units, and --level {level} has no rows of units",
                hint="leave out --level, or --plot",
            )
        from lmfst.report.plots import SurprisalPlot

        return SurprisalPlot(self.plot)

    def write_meta(self, facts: dict[str, Any]) -> None:
        """Write what made the numbers, if that is asked for."""
        if self.meta is not None:
            text = json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
            write_file(self.meta, text.encode(), what="--meta")

    def draw(self, picture: SurprisalPlot | None, warn: Warn) -> None:
        """Write the plot."""
        if self.plot is not None and picture is not None:
            write_file(self.plot, picture.data(warn), what="--plot")


@flattened
def convert(
    *,
    files: o.Files = None,
    to: o.To = o.TO,
    grammar: o.GrammarOptions,
    model: ModelOptions,
    ensemble: EnsembleOptions,
    batch: Batch = defaults.BATCH_DOCUMENTS,
    policy: PolicyOptions,
    sampling: SamplingOptions,
    limits: LimitOptions,
    given: Given = "source",
    prompts: PromptOptions,
    reading: o.ReadingOptions,
    unknown: Unknown = "auto",
    level: Level = "unit",
    bounds: Bounds = False,
    versus: Versus = None,
    rows: o.RowOptions,
    beside: Beside,
    quiet: o.Quiet = False,
) -> None:
    """Text in, one row per target unit out: its log-probability given the units before it."""
    from lmfst.inference.accuracy import Tally
    from lmfst.scored.levels import Levels
    from lmfst.scored.records import ESCAPED_COLUMNS

    terminal = Terminal.of(quiet)
    suggestible, common = suggests(model, limits), versus is not None
    choice = choice_of(policy, limits, sampling, suggestible=suggestible, common=common)
    require_batch(batch)
    levels = Levels(level, bounds, versus)
    levels.require(ensemble.policy(model, choice))
    prompt, fmt = prompts.target_prompt(terminal), rows.row_format()
    paths = _paths(files or [], reading, rows, beside)
    picture = beside.picture(level)
    lm = prompts.read(ensemble.load(model, to, grammar, choice, limits, terminal), prompt)
    levels.require(lm.policy)
    how: Any = {"given": given, "batch": batch, "unknown": unknown, "prompt": prompt}
    facts = {"policy_from": choice.origin(lm.policy), **prompts.facts(given)}
    made_by = {**lm.describe(), **facts}
    beside.write_meta(made_by)
    tally, arrivals, warn = Tally(), Arrivals(), terminal.warn
    writing = open_rows(rows.output, fmt, levels.columns, escaped=ESCAPED_COLUMNS, warn=warn)
    with writing as writer, Progress(terminal, to_stdout=rows.output in (None, "-")) as progress:
        read = progress.reading(documents(paths, reading, terminal, arrivals=arrivals))
        found = lm.score_documents(read, **how, tally=tally, waits=arrivals)
        _write(writer, levels.blocks(_counted(found, progress), warn), picture)
    beside.write_meta({**made_by, **tally.facts()})
    beside.draw(picture, warn)


def _paths(
    files: list[str], reading: o.ReadingOptions, rows: o.RowOptions, beside: Beside
) -> list[str]:
    """The files to read, which are none of those to write."""
    paths = document_files(files or ["-"], reading.doc)
    require_apart(files, paths, [rows.output or "-", beside.meta, beside.plot])
    beside.require_apart(rows.output)
    return paths


def _counted(records: Iterable[Scored], progress: Progress) -> Iterator[Scored]:
    """The records, counted as they come."""
    for scored in records:
        progress.done(len(scored.target))
        yield scored


def require_batch(batch: int) -> None:
    """UsageError for a number out of range."""
    if batch < 1:
        raise UsageError(f"--batch must be at least 1, not {batch}")


def _write(
    writer: RowWriter,
    found: Iterable[tuple[Block, Mapping[str, object]]],
    picture: SurprisalPlot | None,
) -> None:
    """Write the rows of documents, those of each as soon as they are there."""
    for block, passed in found:
        writer.write_block(block, passed)
        writer.flush()
        if picture is not None:
            picture.add(block)
