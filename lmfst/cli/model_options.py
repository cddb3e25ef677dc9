"""The options of the model, and of what is done when hypotheses multiply."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer

from lmfst.cli.mistakes import beam_size, context_tokens
from lmfst.ground import defaults
from lmfst.ground.errors import UsageError
from lmfst.ground.types import DType, Partial, PolicyName, PrefixSpace, Specials
from lmfst.io.rows import ESCAPED

MODEL, POLICY = "Model", "Policy"
"""Names of panels."""


def _unescaped(text: str | None) -> str | None:
    """A text without its escapes; UsageError for a backslash that begins none."""

    def character(found: re.Match[str]) -> str:
        if found[0] not in ESCAPED:
            raise UsageError(
                f"--separator {text!r}: expected the escapes {' '.join(ESCAPED)}, found "
                f"{found[0]!r}"
            )
        return ESCAPED[found[0]]

    return None if text is None else re.sub(r"\\.?", character, text, flags=re.DOTALL)


@dataclass(frozen=True)
class ModelOptions:
    """The model, and how it is read and run; see `lmfst.lm.load.load_lm`."""

    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="NAME|DIR|FILE",
            help="Source model: smollm2-135m, dna, a model folder or hub name, FILE.gguf or "
            f"FILE.arpa. [default: {defaults.MODEL}]",
            rich_help_panel=MODEL,
        ),
    ] = None
    revision: Annotated[
        str | None,
        typer.Option("--revision", help="Revision of a hub model.", rich_help_panel=MODEL),
    ] = None
    bos: Annotated[
        str,
        typer.Option(
            "--bos",
            metavar="auto|none|TOKEN",
            help="What every document begins with. none: the first token is uniform "
            "(n-gram models: no history).",
            rich_help_panel=MODEL,
        ),
    ] = "auto"
    specials: Annotated[
        Specials,
        typer.Option(
            "--specials",
            help="Special tokens: drop takes them out of the support, text reads them as their "
            "text, error refuses models that have any.",
            rich_help_panel=MODEL,
        ),
    ] = "drop"
    prefix_space: Annotated[
        PrefixSpace,
        typer.Option(
            "--prefix-space",
            help="Whether a space at the very start of what the model writes is its own, put "
            "before every text, or the text's; auto: the tokenizer's rule.",
            rich_help_panel=MODEL,
        ),
    ] = "auto"
    dtype: Annotated[
        DType,
        typer.Option(
            "--dtype",
            help="Number format of the model; auto: the checkpoint's own.",
            rich_help_panel=MODEL,
        ),
    ] = "float32"
    device: Annotated[
        str,
        typer.Option(
            "--device",
            help="Torch device, such as cpu or cuda; auto: a GPU of CUDA, else cpu; map: all of "
            "them, memory and the disk, for a model that is too large for one "
            "(map:0=20GiB,cpu=64GiB says how much each takes).",
            rich_help_panel=MODEL,
        ),
    ] = "auto"
    compiled: Annotated[
        bool,
        typer.Option(
            "--compile",
            help="Compile the model's layers with torch.compile; needs a C++ compiler.",
            rich_help_panel=MODEL,
        ),
    ] = False
    batch_tokens: Annotated[
        int | None,
        typer.Option(
            "--batch-tokens",
            help="Token positions per model call, at most (default: what free memory allows).",
            rich_help_panel=MODEL,
        ),
    ] = None
    context: Annotated[
        int | None,
        typer.Option(
            "--context",
            metavar="N",
            parser=context_tokens,
            help="Read the model's last N tokens only: a model of its own, whose sums can be exact "
            "(--exact), since hypotheses with equal last tokens add up.",
            rich_help_panel=MODEL,
        ),
    ] = None
    separator: Annotated[
        str | None,
        typer.Option(
            "--separator",
            metavar="TEXT",
            help="What stands between the tokens of an n-gram model of words, such as ' '; "
            "\\t is a tab, \\n a line end (default: a space with --marks, else nothing).",
            callback=_unescaped,
            rich_help_panel=MODEL,
        ),
    ] = None
    marks: Annotated[
        str,
        typer.Option(
            "--marks",
            metavar="none|▁|##|@@",
            help="How an n-gram model's tokens that are pieces of words are told: ▁ stands for the "
            "separator, ## continues a word, @@ is continued by the next token.",
            rich_help_panel=MODEL,
        ),
    ] = "none"
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            metavar="N",
            min=1,
            help="Processor threads of the model (default: what torch takes, one a core).",
            rich_help_panel=MODEL,
        ),
    ] = None

    @property
    def names(self) -> list[str]:
        """The names of all models."""
        return self.models or [defaults.MODEL]

    @property
    def model(self) -> str:
        """The name of the model. UsageError if there are several."""
        self.require_one()
        return self.names[0]

    def require_one(self) -> None:
        """UsageError for several models."""
        if len(self.names) > 1:
            raise UsageError(
                f"expected one --model, found {len(self.names)}: {', '.join(self.names)}",
                hint="leave the others out, or add --ensemble mixture, which takes several as one",
            )


@dataclass(frozen=True)
class PolicyOptions:
    """Which hypotheses are kept; see `lmfst.inference.choose.PolicyChoice`."""

    policy: Annotated[
        PolicyName,
        typer.Option(
            "--policy",
            help="What to do when hypotheses multiply. auto: beam, but sample with its guide for "
            "the model dna and targets such as amino.",
            rich_help_panel=POLICY,
        ),
    ] = "auto"
    exact: Annotated[
        bool, typer.Option("--exact", help="Short for --policy exact.", rich_help_panel=POLICY)
    ] = False
    tolerance: Annotated[
        float | None,
        typer.Option(
            "--tolerance",
            metavar="T",
            help="Lower the threshold of a document until at most T nats are missing for every 100 "
            f"symbols, by estimate, within {defaults.MOST_BEAM} hypotheses at an offset and "
            f"{defaults.EFFORT:g} times the model rows of {defaults.FIRST_THRESHOLD:g} (default: "
            f"{defaults.TOLERANCE}).",
            rich_help_panel=POLICY,
        ),
    ] = None
    beam: Annotated[
        int | None,
        typer.Option(
            "--beam",
            metavar="K",
            parser=beam_size,
            help="Hypotheses kept at an offset; switches --tolerance off (default then: "
            f"{defaults.BEAM}).",
            rich_help_panel=POLICY,
        ),
    ] = None
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            metavar="T",
            help="Drop hypotheses below T times the heaviest one, or the mass that goes on; "
            f"switches --tolerance off (default then: {defaults.THRESHOLD:g}).",
            rich_help_panel=POLICY,
        ),
    ] = None


@dataclass(frozen=True)
class SamplingOptions:
    """Settings of `lmfst.inference.sampling.Sample`; None: not said."""

    particles: Annotated[
        int | None,
        typer.Option(
            "--particles",
            metavar="M",
            help="Hypotheses that --policy sample keeps at an offset (default: "
            f"{defaults.PARTICLES}).",
            rich_help_panel=POLICY,
        ),
    ] = None
    replicates: Annotated[
        int | None,
        typer.Option(
            "--replicates",
            metavar="R",
            help=f"Independent samples of each document (default: {defaults.REPLICATES}).",
            rich_help_panel=POLICY,
        ),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            metavar="S",
            help=f"Seed of the random numbers (default: {defaults.SEED}).",
            rich_help_panel=POLICY,
        ),
    ] = None
    adaptive: Annotated[
        bool | None,
        typer.Option(
            "--adaptive",
            help="Keep fewer hypotheses where a few hold most of the mass.",
            rich_help_panel=POLICY,
        ),
    ] = None
    guide: Annotated[
        str | None,
        typer.Option(
            "--guide",
            metavar="dna|FILE.arpa",
            help="An n-gram model over bytes that foresees which hypotheses of --policy sample "
            "will fit the rest; estimates vary less.",
            rich_help_panel=POLICY,
        ),
    ] = None
    gap: Annotated[
        bool | None,
        typer.Option(
            "--gap/--no-gap",
            help="Whether to find out what keeping the heaviest hypotheses would give, too, which "
            "costs as much as a replicate.",
            rich_help_panel=POLICY,
        ),
    ] = None

    def said(self) -> dict[str, Any]:
        """Those that were said."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class LimitOptions:
    """What a document may need, and what the target may reject."""

    node_budget: Annotated[
        int,
        typer.Option(
            "--node-budget",
            metavar="N",
            help="Model rows a document may need under --exact before an error stops it.",
            rich_help_panel=POLICY,
        ),
    ] = defaults.NODE_BUDGET
    partial: Annotated[
        Partial,
        typer.Option(
            "--partial",
            help="An FST that rejects strings: an error, or probabilities given that it accepts.",
            rich_help_panel=POLICY,
        ),
    ] = "error"
