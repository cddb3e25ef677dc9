"""The typer application and its entry point."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from lmfst import __version__, defaults
from lmfst.cli import options as o
from lmfst.cli.terminal import Terminal
from lmfst.errors import LmfstError

app = typer.Typer(
    name="lmfst",
    help="Turn a language model into an exact language model over other units.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        print(f"lmfst {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def convert(
    files: o.Files = None,
    to: o.To = o.TO,
    model: o.Model = o.MODEL,
    revision: o.Revision = None,
    bos: o.Bos = "auto",
    specials: o.SpecialTokens = o.Specials.drop,
    dtype: o.DTypeOption = o.DType.float32,
    device: o.Device = "cpu",
    batch_tokens: o.BatchTokens = defaults.BATCH_TOKENS,
    batch: o.Batch = defaults.BATCH_DOCUMENTS,
    policy: o.PolicyOption = o.PolicyName.beam,
    exact: o.Exact = False,
    beam: o.Beam = defaults.BEAM,
    threshold: o.Threshold = defaults.THRESHOLD,
    node_budget: o.NodeBudget = defaults.NODE_BUDGET,
    partial: o.PartialOption = o.Partial.error,
    given: o.GivenOption = o.Given.source,
    doc: o.DocOption = o.Doc.auto,
    level: o.LevelOption = o.Level.unit,
    format: o.FormatOption = o.Format.tsv,
    output: o.Out = None,
    meta: o.Meta = None,
    quiet: o.Quiet = False,
) -> None:
    """Text in, one row per target unit out: its log-probability given the units before it."""
    from lmfst.cli import work

    terminal = Terminal(quiet=quiet)
    settings = work.Settings(
        to=to,
        model=model,
        policy="exact" if exact else policy.value,
        beam=beam,
        threshold=threshold,
        node_budget=node_budget,
        partial=partial.value,
        load={
            "revision": revision,
            "bos": bos,
            "specials": specials.value,
            "dtype": dtype.value,
            "device": device,
            "batch_tokens": batch_tokens,
        },
    )
    work.convert(
        settings,
        files or ["-"],
        given=given.value,
        doc=doc.value,
        batch=batch,
        level=level.value,
        format=format.value,
        output=output,
        meta=meta,
        terminal=terminal,
    )


@app.command("next")
def next_(
    prefix: Annotated[str, typer.Argument(help="The string so far; empty: the beginning.")] = "",
    to: o.To = o.TO,
    model: o.Model = o.MODEL,
    revision: o.Revision = None,
    bos: o.Bos = "auto",
    specials: o.SpecialTokens = o.Specials.drop,
    dtype: o.DTypeOption = o.DType.float32,
    device: o.Device = "cpu",
    batch_tokens: o.BatchTokens = defaults.BATCH_TOKENS,
    policy: o.PolicyOption = o.PolicyName.beam,
    exact: o.Exact = False,
    beam: o.Beam = defaults.BEAM,
    threshold: o.Threshold = defaults.THRESHOLD,
    node_budget: o.NodeBudget = defaults.NODE_BUDGET,
    partial: o.PartialOption = o.Partial.error,
    top: o.Top = defaults.TOP,
    format: o.FormatOption = o.Format.tsv,
    output: o.Out = None,
    quiet: o.Quiet = False,
) -> None:
    """The distribution of the next unit after a prefix in target form, ⊥ (the end) included."""
    from lmfst.cli import work

    terminal = Terminal(quiet=quiet)
    settings = work.Settings(
        to=to,
        model=model,
        policy="exact" if exact else policy.value,
        beam=beam,
        threshold=threshold,
        node_budget=node_budget,
        partial=partial.value,
        load={
            "revision": revision,
            "bos": bos,
            "specials": specials.value,
            "dtype": dtype.value,
            "device": device,
            "batch_tokens": batch_tokens,
        },
    )
    work.next_units(
        settings, prefix, top=top, format=format.value, output=output, terminal=terminal
    )


@app.command()
def apply(
    files: o.Files = None,
    to: o.To = o.TO,
    doc: o.DocOption = o.Doc.auto,
    quiet: o.Quiet = False,
) -> None:
    """The target's function itself, document by document, without a model."""
    from lmfst.cli import work

    work.apply(to, files or ["-"], doc=doc.value, terminal=Terminal(quiet=quiet))


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        app()
    except LmfstError as error:
        Terminal().error(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader has what it wanted. Python must not try to flush the closed pipe on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)
