"""`lmfst sample`: strings drawn from a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmfst.cli import options as o
from lmfst.cli.ensemble_options import EnsembleOptions
from lmfst.cli.flatten import flattened
from lmfst.cli.loading import choice_of
from lmfst.cli.mistakes import warn_of_file
from lmfst.cli.model_options import MODEL, LimitOptions, ModelOptions, PolicyOptions
from lmfst.cli.progress import Progress
from lmfst.cli.terminal import Terminal
from lmfst.cli.within import Within as WithinOption
from lmfst.cli.within import acceptor_of, fst_of_within
from lmfst.cli.writing import write_file
from lmfst.ground import defaults, types
from lmfst.ground.errors import UsageError
from lmfst.io import open_rows

if TYPE_CHECKING:
    from lmfst.generate.resample import Weights
    from lmfst.generate.sample import Asked, Drawing
    from lmfst.generate.steps import Within

DRAWS = "Draws"
"""Name of a panel."""


@dataclass(frozen=True)
class DrawOptions:
    """How many strings are drawn, and which; see `lmfst.generate.sample.Asked`."""

    count: Annotated[
        int,
        typer.Option("-n", "--count", metavar="N", help="Strings to draw.", rich_help_panel=DRAWS),
    ] = 1
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            metavar="S",
            help="Seed of the random numbers; string i depends on it and on i alone.",
            rich_help_panel=DRAWS,
        ),
    ] = defaults.SEED
    max_units: Annotated[
        int,
        typer.Option(
            "--max-units",
            metavar="L",
            help="Units drawn for each string, at most; it is cut there, and marked.",
            rich_help_panel=DRAWS,
        ),
    ] = defaults.MAX_UNITS
    temperature: Annotated[
        float,
        typer.Option(
            "--temperature",
            metavar="T",
            help="Draw target symbols with probabilities p^(1/T), made to sum to 1.",
            rich_help_panel=DRAWS,
        ),
    ] = 1.0
    top_k: Annotated[
        int | None,
        typer.Option(
            "--top-k",
            metavar="K",
            help="Draw from the K most probable target symbols.",
            rich_help_panel=DRAWS,
        ),
    ] = None
    top_p: Annotated[
        float,
        typer.Option(
            "--top-p",
            metavar="P",
            help="Draw from the fewest target symbols with a share of P together.",
            rich_help_panel=DRAWS,
        ),
    ] = 1.0
    resample: Annotated[
        int | None,
        typer.Option(
            "--resample",
            metavar="M",
            help="With --within: let M strings grow together, and draw among them in proportion to "
            "their weights when few have most of it.",
            rich_help_panel=DRAWS,
        ),
    ] = None
    batch: Annotated[
        int,
        typer.Option(
            "--batch", help="Strings that share model calls, at most.", rich_help_panel=MODEL
        ),
    ] = defaults.BATCH_DOCUMENTS

    def asked(self, within: Within | None = None) -> Asked:
        """What is asked for, within an acceptor. UsageError for numbers out of range."""
        from lmfst.generate.sample import Asked
        from lmfst.generate.shape import Shape

        shape = Shape(self.temperature, self.top_k, self.top_p)
        numbers = self.count, self.seed, self.max_units, self.batch
        return Asked(*numbers, shape, within, self.resample)

    def require(self, within: str | None) -> None:
        """UsageError for numbers out of range, and --resample without --within, before anything
        large is loaded."""
        replace(self, resample=None).asked()
        if self.resample is not None and within is None:
            self.asked()

    def facts(self) -> dict[str, Any]:
        """What decides which strings are drawn; JSON-ready."""
        return {
            "count": self.count,
            "seed": self.seed,
            "max_units": self.max_units,
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "batch": self.batch,
            "resample": self.resample,
        }


Prompt = Annotated[
    str,
    typer.Option(
        "--prompt",
        metavar="TEXT",
        help="What every string begins with. In target form [NAME] is a generated symbol, such as "
        "[SEP] between words.",
    ),
]
Given = Annotated[
    types.Given | None,
    typer.Option(
        "--given",
        help="target (default): the prompt is in target form; source: it is read by the FST, and "
        "what is certainly emitted by then is what strings begin with.",
    ),
]
Meta = Annotated[
    str | None,
    typer.Option(
        "--meta",
        metavar="FILE",
        help="Write what made the strings (model, FST, seed, version) as JSON.",
        rich_help_panel=o.OUTPUT,
    ),
]


@flattened
def sample(
    *,
    to: o.To = o.TO,
    prompt: Prompt = "",
    given: Given = None,
    draws: DrawOptions,
    within: WithinOption = None,
    grammar: o.GrammarOptions,
    model: ModelOptions,
    ensemble: EnsembleOptions,
    policy: PolicyOptions,
    limits: LimitOptions,
    rows: o.RowOptions,
    meta: Meta = None,
    quiet: o.Quiet = False,
) -> None:
    """Strings drawn from the model in target units, one row each.

    Without --temperature, --top-k and --top-p tokens are drawn from the source model, at its speed,
    and strings have the probabilities of the model over target units, given the prompt. With them,
    symbols are drawn one by one. Within a grammar strings have weights, unless they are drawn
    exactly, which n-gram models and --context allow.
    """
    from lmfst.generate.drawn import SAMPLE_COLUMNS, WITHIN_COLUMNS
    from lmfst.generate.next_units import symbols_of
    from lmfst.generate.sample import Drawing, require_drawable

    terminal = Terminal.of(quiet)
    draws.require(within)
    choice = choice_of(policy, limits, suggestible=False)
    require_drawable(choice.name == "sample", limits.partial == "condition")
    ensemble.policy(model, choice)
    if given is not None and not prompt:
        raise UsageError("--given says how the prompt is read, and there is no --prompt")
    warn_of_file(prompt, terminal.warn)
    rows.row_format()
    fst = fst_of_within(within, grammar, terminal)
    lm = ensemble.load(model, to, grammar, choice, limits, terminal)
    start = symbols_of(lm, prompt, given or "target", terminal.warn)
    drawing = Drawing(lm, draws.asked(acceptor_of(fst, within, lm)), start)
    if meta is not None:
        facts = {**lm.describe(), **draws.facts(), "prompt": prompt, "within": within}
        text = json.dumps({**facts, "way": drawing.way}, indent=1, ensure_ascii=False) + "\n"
        write_file(meta, text.encode("utf-8", "surrogateescape"), what="--meta")
    columns = SAMPLE_COLUMNS if within is None else WITHIN_COLUMNS
    weights = _write(drawing, rows, columns, terminal)
    if within is not None:
        terminal.note(weights.told(drawing.way))


def _write(
    drawing: Drawing, rows: o.RowOptions, columns: Sequence[str], terminal: Terminal
) -> Weights:
    """Write strings as they are drawn; their weights."""
    from lmfst.generate.resample import Weights

    weights, fmt = Weights(), rows.row_format()
    writing, to_stdout = open_rows(rows.output, fmt, columns), rows.output in (None, "-")
    with writing as writer, Progress(terminal, to_stdout=to_stdout, doing="drawing"):
        for number, drawn in enumerate(drawing, start=1):
            if fmt == "parquet" and not drawn.is_utf8:
                terminal.warn(
                    "some text holds bytes that are no UTF-8, which Parquet can't hold: they are "
                    "written \\udcNN (--format jsonl or tsv tells them from text)"
                )
            writer.write(drawn.row(number))
            writer.flush()
            weights.add(drawn.logw)
    return weights
