"""The options that several commands share, with their help texts.

Those that go together are groups (`lmfst.cli.flatten`); those of the model are in
`lmfst.cli.model_options`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from lmfst.ground.types import DocMode, InputMode, RowFormat
from lmfst.io.forms import row_format

GRAMMAR, OUTPUT = "Grammar or FST", "Output"
"""Names of panels."""
TO = "bytes"

Files = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[FILE...|-]",
        help="Input files, folders (all files below with a known suffix) and patterns in quotes "
        "('*.jsonl', 'corpus/**/*.txt.gz'); - is stdin. gzip and zstd are unpacked.",
    ),
]
To = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="TARGET",
        help="Target units: bytes, chars, FILE.fst, FILE.far[:KEY], FILE.grm[:RULE], or a shipped "
        "grammar such as words or amino:TABLE11.",
    ),
]
Machine = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="FILE.fst, FILE.far[:KEY], FILE.grm[:RULE], bytes, or the name of a shipped grammar.",
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="No warnings, no progress.", rich_help_panel=OUTPUT)
]


@dataclass(frozen=True)
class GrammarOptions:
    """How the grammar or the FST that a target names is read."""

    include: Annotated[
        list[str] | None,
        typer.Option(
            "--include",
            metavar="DIR",
            help="Where a grammar's imports are looked for, after its own folder; repeatable.",
            rich_help_panel=GRAMMAR,
        ),
    ] = None
    max_states: Annotated[
        int | None,
        typer.Option(
            "--max-states",
            metavar="N",
            min=1,
            help="States of any FST while a grammar is compiled (default: a million).",
            rich_help_panel=GRAMMAR,
        ),
    ] = None
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            metavar="S",
            min=0.0,
            help="Processor seconds for each statement of a grammar (default: 60; 0: no limit). "
            "Shipped grammars have no limit.",
            rich_help_panel=GRAMMAR,
        ),
    ] = None
    input_mode: Annotated[
        InputMode,
        typer.Option(
            "--input-mode",
            help="What the labels of an FST file without symbol tables are: bytes, or code points "
            "(utf8). auto: code points if any is above 256.",
            rich_help_panel=GRAMMAR,
        ),
    ] = "auto"

    def limits(self) -> dict[str, Any]:
        """Those limits of `lmfst.grammar.compile_file` that were said."""
        limits = {"max_states": self.max_states, "timeout": self.timeout}
        return {name: value for name, value in limits.items() if value is not None}


@dataclass(frozen=True)
class ReadingOptions:
    """How files are read as documents; see `lmfst.io.read_documents`."""

    doc: Annotated[
        DocMode,
        typer.Option(
            "--doc",
            help="What a document is; auto: JSONL, CSV, TSV, FASTA or Parquet by suffix, packed or "
            "not, else a line. csv, tsv, parquet: a row of a table with named columns.",
        ),
    ] = "auto"
    text_column: Annotated[
        str | None,
        typer.Option(
            "--text-column",
            "--text-field",
            metavar="NAME",
            help="Column of the text in tables and Parquet, or its key in JSONL (default: text).",
        ),
    ] = None
    id_column: Annotated[
        str | None,
        typer.Option(
            "--id-column",
            "--id-field",
            metavar="NAME",
            help="Column or key of the id (default: id if there is one, else the number of row or "
            "line). With several files FILE: stands before it (not in score).",
        ),
    ] = None


@dataclass(frozen=True)
class RowOptions:
    """How rows are written, and where."""

    format: Annotated[
        RowFormat | None,
        typer.Option(
            "--format",
            help="Row format (default: by the suffix of -o, else tsv). parquet is binary: into a "
            "file or a pipe.",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Write rows here, in the format that the suffix says: .tsv, .jsonl or .parquet; "
            ".tsv.gz and .jsonl.gz are packed.",
            rich_help_panel=OUTPUT,
        ),
    ] = None

    def row_format(self) -> RowFormat:
        """The format that was said, or that the suffix says. UsageError if they contradict."""
        return row_format(self.output, self.format)
