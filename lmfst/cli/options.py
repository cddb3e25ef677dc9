"""The options that several commands share, with their help texts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from lmfst.cli.mistakes import beam_size, context_tokens
from lmfst.ground import defaults
from lmfst.ground.errors import UsageError


class Level(StrEnum):
    unit = "unit"
    replicate = "replicate"
    text = "text"
    summary = "summary"


class Format(StrEnum):
    tsv = "tsv"
    jsonl = "jsonl"


class Doc(StrEnum):
    auto = "auto"
    line = "line"
    file = "file"
    jsonl = "jsonl"
    csv = "csv"
    tsv = "tsv"
    fasta = "fasta"


class Unknown(StrEnum):
    auto = "auto"
    report = "report"
    error = "error"
    skip = "skip"
    any = "any"


class Given(StrEnum):
    source = "source"
    target = "target"


class PolicyName(StrEnum):
    auto = "auto"
    beam = "beam"
    exact = "exact"
    sample = "sample"


class Partial(StrEnum):
    error = "error"
    condition = "condition"


class Specials(StrEnum):
    drop = "drop"
    text = "text"
    error = "error"


class PrefixSpace(StrEnum):
    auto = "auto"
    yes = "yes"
    no = "no"


class DType(StrEnum):
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class InputMode(StrEnum):
    auto = "auto"
    byte = "byte"
    utf8 = "utf8"


_ESCAPES = {"\\t": "\t", "\\n": "\n", "\\r": "\r", "\\\\": "\\"}


def _unescaped(text: str | None) -> str | None:
    """A text without its escapes; UsageError for a backslash that begins none."""

    def character(found: re.Match[str]) -> str:
        if found[0] not in _ESCAPES:
            raise UsageError(
                f"--separator {text!r}: expected the escapes {' '.join(_ESCAPES)}, found "
                f"{found[0]!r}"
            )
        return _ESCAPES[found[0]]

    return None if text is None else re.sub(r"\\.?", character, text, flags=re.DOTALL)


_MODEL, _POLICY, _OUTPUT, _GRAMMAR = "Model", "Policy", "Output", "Grammar or FST"

To = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="TARGET",
        help="Target units: bytes, chars, FILE.fst, FILE.far[:KEY], FILE.grm[:RULE], or a shipped "
        "grammar such as words or amino:TABLE11.",
    ),
]
Include = Annotated[
    list[str] | None,
    typer.Option(
        "--include",
        metavar="DIR",
        help="Where a grammar's imports are looked for, after its own folder; repeatable.",
        rich_help_panel=_GRAMMAR,
    ),
]
MaxStates = Annotated[
    int | None,
    typer.Option(
        "--max-states",
        metavar="N",
        min=1,
        help="States of any FST while a grammar is compiled (default: a million).",
        rich_help_panel=_GRAMMAR,
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        metavar="S",
        min=0.0,
        help="Processor seconds for each statement of a grammar (default: 60; 0: no limit). "
        "Shipped grammars have no limit.",
        rich_help_panel=_GRAMMAR,
    ),
]
InputModeOption = Annotated[
    InputMode,
    typer.Option(
        "--input-mode",
        help="What the labels of an FST file without symbol tables are: bytes, or code points "
        "(utf8). auto: code points if any is above 256.",
        rich_help_panel=_GRAMMAR,
    ),
]
Files = Annotated[
    list[str] | None, typer.Argument(metavar="[FILE...|-]", help="Input files; - is stdin.")
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="NAME|DIR|FILE",
        help="Source model: smollm2-135m, dna, a model folder or hub name, FILE.gguf or FILE.arpa.",
        rich_help_panel=_MODEL,
    ),
]
Revision = Annotated[
    str | None,
    typer.Option("--revision", help="Revision of a hub model.", rich_help_panel=_MODEL),
]
Bos = Annotated[
    str,
    typer.Option(
        "--bos",
        metavar="auto|none|TOKEN",
        help="What every document begins with. none: the first token is uniform "
        "(n-gram models: no history).",
        rich_help_panel=_MODEL,
    ),
]
SpecialTokens = Annotated[
    Specials,
    typer.Option(
        "--specials",
        help="Special tokens: drop takes them out of the support, text reads them as their text, "
        "error refuses models that have any.",
        rich_help_panel=_MODEL,
    ),
]
PrefixSpaceOption = Annotated[
    PrefixSpace,
    typer.Option(
        "--prefix-space",
        help="Whether a space at the very start of what the model writes is its own, put before "
        "every text, or the text's; auto: the tokenizer's rule.",
        rich_help_panel=_MODEL,
    ),
]
DTypeOption = Annotated[
    DType, typer.Option("--dtype", help="Number format of the model.", rich_help_panel=_MODEL)
]
Device = Annotated[
    str,
    typer.Option("--device", help="Torch device, such as cpu or cuda.", rich_help_panel=_MODEL),
]
Compiled = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="Compile the model's layers with torch.compile; needs a C++ compiler.",
        rich_help_panel=_MODEL,
    ),
]
BatchTokens = Annotated[
    int | None,
    typer.Option(
        "--batch-tokens",
        help="Token positions per model call, at most (default: what free memory allows).",
        rich_help_panel=_MODEL,
    ),
]
Context = Annotated[
    int | None,
    typer.Option(
        "--context",
        metavar="N",
        parser=context_tokens,
        help="Read the model's last N tokens only: a model of its own, whose sums can be exact "
        "(--exact), since hypotheses with equal last tokens add up.",
        rich_help_panel=_MODEL,
    ),
]
Separator = Annotated[
    str | None,
    typer.Option(
        "--separator",
        metavar="TEXT",
        help="What stands between the tokens of an n-gram model of words, such as ' '; "
        "\\t is a tab, \\n a line end (default: a space with --marks, else nothing).",
        callback=_unescaped,
        rich_help_panel=_MODEL,
    ),
]
Marks = Annotated[
    str,
    typer.Option(
        "--marks",
        metavar="none|▁|##|@@",
        help="How an n-gram model's tokens that are pieces of words are told: ▁ stands for the "
        "separator, ## continues a word, @@ is continued by the next token.",
        rich_help_panel=_MODEL,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        metavar="N",
        min=1,
        help="Processor threads of the model (default: what torch takes, one a core).",
        rich_help_panel=_MODEL,
    ),
]
Batch = Annotated[
    int,
    typer.Option("--batch", help="Documents that share model calls.", rich_help_panel=_MODEL),
]
PolicyOption = Annotated[
    PolicyName,
    typer.Option(
        "--policy",
        help="What to do when hypotheses multiply. auto: beam, but sample with its guide for the "
        "model dna and targets such as amino.",
        rich_help_panel=_POLICY,
    ),
]
Exact = Annotated[
    bool, typer.Option("--exact", help="Short for --policy exact.", rich_help_panel=_POLICY)
]
Tolerance = Annotated[
    float | None,
    typer.Option(
        "--tolerance",
        metavar="T",
        help="Lower the threshold of a document until at most T nats are missing for every 100 "
        f"symbols, by estimate, within {defaults.MOST_BEAM} hypotheses at an offset and "
        f"{defaults.EFFORT:g} times the model rows of {defaults.FIRST_THRESHOLD:g} (default: "
        f"{defaults.TOLERANCE}).",
        rich_help_panel=_POLICY,
    ),
]
Beam = Annotated[
    int | None,
    typer.Option(
        "--beam",
        metavar="K",
        parser=beam_size,
        help="Hypotheses kept at an offset; switches --tolerance off (default then: "
        f"{defaults.BEAM}).",
        rich_help_panel=_POLICY,
    ),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        metavar="T",
        help="Drop hypotheses below T times the heaviest one, or the mass that goes on; switches "
        f"--tolerance off (default then: {defaults.THRESHOLD:g}).",
        rich_help_panel=_POLICY,
    ),
]
Particles = Annotated[
    int | None,
    typer.Option(
        "--particles",
        metavar="M",
        help=f"Hypotheses that --policy sample keeps at an offset (default: {defaults.PARTICLES}).",
        rich_help_panel=_POLICY,
    ),
]
Replicates = Annotated[
    int | None,
    typer.Option(
        "--replicates",
        metavar="R",
        help=f"Independent samples of each document (default: {defaults.REPLICATES}).",
        rich_help_panel=_POLICY,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        metavar="S",
        help=f"Seed of the random numbers (default: {defaults.SEED}).",
        rich_help_panel=_POLICY,
    ),
]
Adaptive = Annotated[
    bool | None,
    typer.Option(
        "--adaptive",
        help="Keep fewer hypotheses where a few hold most of the mass.",
        rich_help_panel=_POLICY,
    ),
]
Guide = Annotated[
    str | None,
    typer.Option(
        "--guide",
        metavar="dna|FILE.arpa",
        help="An n-gram model over bytes that foresees which hypotheses of --policy sample will "
        "fit the rest; estimates vary less.",
        rich_help_panel=_POLICY,
    ),
]
Gap = Annotated[
    bool | None,
    typer.Option(
        "--gap/--no-gap",
        help="Whether to find out what keeping the heaviest hypotheses would give, too, which "
        "costs as much as a replicate.",
        rich_help_panel=_POLICY,
    ),
]
NodeBudget = Annotated[
    int,
    typer.Option(
        "--node-budget",
        metavar="N",
        help="Model rows a document may need under --exact before an error stops it.",
        rich_help_panel=_POLICY,
    ),
]
PartialOption = Annotated[
    Partial,
    typer.Option(
        "--partial",
        help="An FST that rejects strings: an error, or probabilities given that it accepts.",
        rich_help_panel=_POLICY,
    ),
]
GivenOption = Annotated[
    Given,
    typer.Option("--given", help="source: the text is read by the FST; target: it is its output."),
]
GivenPrefix = Annotated[
    Given,
    typer.Option(
        "--given",
        help="target: the prefix is in target form; source: it is read by the FST, and what is "
        "certainly emitted by then is the target prefix.",
    ),
]
DocOption = Annotated[
    Doc,
    typer.Option(
        "--doc",
        help="What a document is; auto: JSONL, CSV, TSV or FASTA by suffix, else a line. csv, tsv: "
        "a row of a table with a header.",
    ),
]
TextColumn = Annotated[
    str | None,
    typer.Option(
        "--text-column",
        metavar="NAME",
        help="Column of the text in tables, or its key in JSONL (default: text).",
    ),
]
IdColumn = Annotated[
    str | None,
    typer.Option(
        "--id-column",
        metavar="NAME",
        help="Column or key of the id (default: id if there is one, else the number of row or "
        "line).",
    ),
]
UnknownOption = Annotated[
    Unknown,
    typer.Option(
        "--unknown",
        help="Symbols that the model can't produce: report gives -inf and a warning, error stops, "
        "skip drops the document with a warning, any sums over what they may be (X, B, Z and J "
        "among residues; N, R, Y, … among bases); auto: error for FASTA in target form, else "
        "report.",
    ),
]
Bounds = Annotated[
    bool,
    typer.Option(
        "--bounds",
        help="With --level text or summary: columns lower, upper and dropped, bounds that are "
        "certain, and far apart for long texts.",
        rich_help_panel=_OUTPUT,
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
        rich_help_panel=_OUTPUT,
    ),
]
LevelOption = Annotated[
    Level,
    typer.Option(
        "--level",
        help="Rows per unit, per replicate of an estimate, per document, or one.",
        rich_help_panel=_OUTPUT,
    ),
]
FormatOption = Annotated[
    Format, typer.Option("--format", help="Row format.", rich_help_panel=_OUTPUT)
]
Out = Annotated[
    str | None,
    typer.Option(
        "-o", "--output", metavar="FILE", help="Write rows here.", rich_help_panel=_OUTPUT
    ),
]
Meta = Annotated[
    str | None,
    typer.Option(
        "--meta",
        metavar="FILE",
        help="Write what made the numbers (model, FST, policy, version) as JSON.",
        rich_help_panel=_OUTPUT,
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="No warnings, no progress.", rich_help_panel=_OUTPUT)
]
Top = Annotated[
    int, typer.Option("--top", metavar="N", help="Rows shown, most probable first; 0: all.")
]

TO = "bytes"
MODEL = defaults.MODEL


def grammar_options(params: Mapping[str, Any]) -> dict[str, Any]:
    """Those options of `lmfst.target.load.load_target` that a command's parameters give."""
    names = ("include", "max_states", "timeout")
    given = {name: params[name] for name in names if params[name] not in (None, (), [])}
    return {**given, "input_mode": str(params["input_mode"])}
