"""`lmfst decode`: the most probable strings after prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from lmfst.cli import options as o
from lmfst.cli.convert import require_batch
from lmfst.cli.ensemble_options import EnsembleOptions
from lmfst.cli.flatten import flattened
from lmfst.cli.loading import choice_of
from lmfst.cli.model_options import MODEL, LimitOptions, ModelOptions, PolicyOptions
from lmfst.cli.progress import Progress
from lmfst.cli.prompts import Asking, Given, Prompt, Prompts
from lmfst.cli.terminal import Terminal
from lmfst.cli.within import Within, acceptor_of, fst_of_within
from lmfst.ground import defaults, types
from lmfst.ground.errors import Failure, InputError, UsageError
from lmfst.io import open_rows

if TYPE_CHECKING:
    from lmfst.ensemble import Ensemble
    from lmfst.generate.decode import Beam, Decoded, Decoding
    from lmfst.model import TransducedLM

DECODING = "Decoding"
"""Name of a panel."""

Batch = Annotated[
    int,
    typer.Option("--batch", help="Prompts that share model calls, at most.", rich_help_panel=MODEL),
]


@dataclass(frozen=True)
class DecodeOptions:
    """What is looked for; see `lmfst.generate.decode.Beam`."""

    greedy: Annotated[
        bool,
        typer.Option(
            "--greedy",
            help="Take the most probable unit each time (the default).",
            rich_help_panel=DECODING,
        ),
    ] = False
    beam_width: Annotated[
        int | None,
        typer.Option(
            "--beam-width",
            metavar="B",
            help="Keep the B most probable strings at each unit (--beam, of the policy, is another "
            "thing: how many tokenizations of a string are summed over).",
            rich_help_panel=DECODING,
        ),
    ] = None
    length_penalty: Annotated[
        float,
        typer.Option(
            "--length-penalty",
            metavar="A",
            help="Rank strings by logp / n^A, n their units and the end; 0: by probability.",
            rich_help_panel=DECODING,
        ),
    ] = 0.0
    max_units: Annotated[
        int,
        typer.Option(
            "--max-units",
            metavar="L",
            help="Units after a prompt, at most; a string is cut there, and marked.",
            rich_help_panel=DECODING,
        ),
    ] = defaults.MAX_UNITS
    top: Annotated[
        int,
        typer.Option(
            "--top",
            metavar="N",
            help="Strings shown for each prompt, best first.",
            rich_help_panel=DECODING,
        ),
    ] = 1

    def beam(self) -> Beam:
        """What is looked for. UsageError for numbers out of range, or both ways."""
        from lmfst.generate.decode import Beam

        if self.greedy and self.beam_width is not None:
            raise UsageError(
                f"--greedy keeps one string, and --beam-width {self.beam_width} others, too",
                hint="leave one of them out",
            )
        if self.beam_width is None and self.length_penalty:
            raise UsageError(
                "--length-penalty ranks the strings of a beam, and greedy decoding has one",
                hint="add --beam-width B, or leave it out",
            )
        width = 1 if self.beam_width is None else self.beam_width
        return Beam(width, self.max_units, self.length_penalty, self.top)


@flattened
def decode(
    *,
    prompts: Prompts = None,
    to: o.To = o.TO,
    given: Given = "target",
    decoding: DecodeOptions,
    within: Within = None,
    grammar: o.GrammarOptions,
    model: ModelOptions,
    ensemble: EnsembleOptions,
    batch: Batch = defaults.BATCH_DOCUMENTS,
    policy: PolicyOptions,
    limits: LimitOptions,
    rows: o.RowOptions,
    quiet: o.Quiet = False,
) -> None:
    """The most probable strings in target units, after each of some prompts.

    A step adds a unit: a symbol, or, where units are words, a whole word with what ends it.
    """
    from lmfst.generate.decode import DECODE_COLUMNS, Decoding
    from lmfst.generate.sample import require_drawable

    terminal = Terminal.of(quiet)
    beam, fmt = decoding.beam(), rows.row_format()
    choice = choice_of(policy, limits, suggestible=False)
    require_drawable(choice.name == "sample", limits.partial == "condition")
    ensemble.policy(model, choice)
    require_batch(batch)
    asking = Asking(prompts, terminal)
    fst = fst_of_within(within, grammar, terminal)
    lm = ensemble.load(model, to, grammar, choice, limits, terminal)
    finder = Decoding(lm, beam, acceptor_of(fst, within, lm))
    writing = open_rows(rows.output, fmt, DECODE_COLUMNS)
    to_stdout = rows.output in (None, "-")
    with writing as writer, Progress(terminal, to_stdout=to_stdout, doing="decoding"):
        for some in asking.batches(batch):
            for prompt, found in zip(some, _found(finder, lm, some, given, terminal), strict=True):
                if isinstance(found, Failure):
                    asking.reject(prompt, found, writer)
                else:
                    for rank, decoded in enumerate(found, start=1):
                        writer.write(decoded.row(prompt.id, rank))
                writer.flush()
    asking.end()


def _found(
    finder: Decoding,
    model: TransducedLM | Ensemble,
    prompts: Sequence[Prompt],
    given: types.Given,
    terminal: Terminal,
) -> Iterator[list[Decoded] | Failure]:
    """What is found after prompts, in order; the error of one that has no answer."""
    from lmfst.generate.next_units import symbols_of

    read: list[tuple[int, ...] | InputError] = []
    for prompt in prompts:
        try:
            read.append(symbols_of(model, prompt.text, given, terminal.warn))
        except InputError as error:
            read.append(error)
    found = finder.after_all([one for one in read if not isinstance(one, InputError)])
    for one in read:
        yield one if isinstance(one, InputError) else next(found)
