"""The commands that use a language model: convert and next."""

from __future__ import annotations

from typing import Annotated

import typer

from lmfst.cli import options as o
from lmfst.cli.group import app
from lmfst.cli.terminal import Terminal
from lmfst.ground import defaults


@app.command()
def convert(
    command: typer.Context,
    files: o.Files = None,
    to: o.To = o.TO,
    include: o.Include = None,
    max_states: o.MaxStates = None,
    timeout: o.Timeout = None,
    input_mode: o.InputModeOption = o.InputMode.auto,
    model: o.Model = o.MODEL,
    revision: o.Revision = None,
    bos: o.Bos = "auto",
    specials: o.SpecialTokens = o.Specials.drop,
    prefix_space: o.PrefixSpaceOption = o.PrefixSpace.auto,
    dtype: o.DTypeOption = o.DType.float32,
    device: o.Device = "cpu",
    compiled: o.Compiled = False,
    batch_tokens: o.BatchTokens = None,
    context: o.Context = None,
    separator: o.Separator = None,
    marks: o.Marks = "none",
    threads: o.Threads = None,
    batch: o.Batch = defaults.BATCH_DOCUMENTS,
    policy: o.PolicyOption = o.PolicyName.auto,
    exact: o.Exact = False,
    tolerance: o.Tolerance = None,
    beam: o.Beam = None,
    threshold: o.Threshold = None,
    particles: o.Particles = None,
    replicates: o.Replicates = None,
    seed: o.Seed = None,
    adaptive: o.Adaptive = None,
    guide: o.Guide = None,
    gap: o.Gap = None,
    node_budget: o.NodeBudget = defaults.NODE_BUDGET,
    partial: o.PartialOption = o.Partial.error,
    given: o.GivenOption = o.Given.source,
    doc: o.DocOption = o.Doc.auto,
    text_column: o.TextColumn = None,
    id_column: o.IdColumn = None,
    unknown: o.UnknownOption = o.Unknown.auto,
    level: o.LevelOption = o.Level.unit,
    bounds: o.Bounds = False,
    versus: o.Versus = None,
    format: o.FormatOption = o.Format.tsv,
    output: o.Out = None,
    meta: o.Meta = None,
    quiet: o.Quiet = False,
) -> None:
    """Text in, one row per target unit out: its log-probability given the units before it."""
    from lmfst.cli import work
    from lmfst.cli.reading import Reading

    work.convert(
        work.Settings.of(command.params),
        files or ["-"],
        given=given.value,
        reading=Reading(doc.value, text_column, id_column),
        unknown=unknown.value,
        batch=batch,
        level=level.value,
        bounds=bounds,
        versus=versus,
        format=format.value,
        output=output,
        meta=meta,
        terminal=Terminal.of(quiet),
    )


@app.command("next")
def next_(
    command: typer.Context,
    prefix: Annotated[
        str,
        typer.Argument(
            help="The string so far; empty: the beginning. In target form [NAME] is a generated "
            "symbol, such as [SEP] between words."
        ),
    ] = "",
    to: o.To = o.TO,
    include: o.Include = None,
    max_states: o.MaxStates = None,
    timeout: o.Timeout = None,
    input_mode: o.InputModeOption = o.InputMode.auto,
    model: o.Model = o.MODEL,
    revision: o.Revision = None,
    bos: o.Bos = "auto",
    specials: o.SpecialTokens = o.Specials.drop,
    prefix_space: o.PrefixSpaceOption = o.PrefixSpace.auto,
    dtype: o.DTypeOption = o.DType.float32,
    device: o.Device = "cpu",
    compiled: o.Compiled = False,
    batch_tokens: o.BatchTokens = None,
    context: o.Context = None,
    separator: o.Separator = None,
    marks: o.Marks = "none",
    threads: o.Threads = None,
    policy: o.PolicyOption = o.PolicyName.auto,
    exact: o.Exact = False,
    tolerance: o.Tolerance = None,
    beam: o.Beam = None,
    threshold: o.Threshold = None,
    node_budget: o.NodeBudget = defaults.NODE_BUDGET,
    partial: o.PartialOption = o.Partial.error,
    given: o.GivenPrefix = o.Given.target,
    top: o.Top = defaults.TOP,
    format: o.FormatOption = o.Format.tsv,
    output: o.Out = None,
    quiet: o.Quiet = False,
) -> None:
    """The distribution of the next unit after a prefix, ⊥ (the end) included.

    Where units are words, a last row … has the probability of all units that are not shown.
    """
    from lmfst.cli import work

    work.next_units(
        work.Settings.of(command.params),
        prefix,
        given=given.value,
        top=top,
        format=format.value,
        output=output,
        terminal=Terminal.of(quiet),
    )
