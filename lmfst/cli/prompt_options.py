"""The options of prompts: what documents follow, in target units, or source text that was read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmfst.cli.mistakes import warn_of_file
from lmfst.cli.terminal import Terminal
from lmfst.ground.errors import UsageError
from lmfst.ground.types import Given

if TYPE_CHECKING:
    from lmfst.ensemble import Ensemble
    from lmfst.model import TransducedLM
    from lmfst.target.prompts import Prompt

PROMPT = "Prompt"
"""The name of the panel."""


@dataclass(frozen=True)
class PromptOptions:
    """See `lmfst.target.prompts` and `lmfst.inference.prompted`."""

    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt",
            metavar="TEXT",
            help="Score what follows this beginning, given it: rows are of the documents alone. It "
            "may end anywhere, also inside a token: all tokenizations count.",
            rich_help_panel=PROMPT,
        ),
    ] = None
    prompt_column: Annotated[
        str | None,
        typer.Option(
            "--prompt-column",
            metavar="NAME",
            help="The same with a prompt for each document, in this column of a table or key of "
            "JSONL.",
            rich_help_panel=PROMPT,
        ),
    ] = None
    prompt_given: Annotated[
        Given | None,
        typer.Option(
            "--prompt-given",
            help="target: prompts are in target form; source: they are read by the FST, and what "
            "is certainly emitted by then is given. Default: as --given.",
            rich_help_panel=PROMPT,
        ),
    ] = None
    prompt_source: Annotated[
        str | None,
        typer.Option(
            "--prompt-source",
            metavar="TEXT",
            help="Score what follows this source text, which the model has read as the tokenizer's "
            "own tokens: no token spans the seam.",
            rich_help_panel=PROMPT,
        ),
    ] = None

    def target_prompt(self, terminal: Terminal) -> Prompt:
        """The prompts in target units; a warning for one that names a file. UsageError for options
        that don't go together."""
        from lmfst.target.prompts import Prompt

        if self.prompt_given and self.prompt is None and self.prompt_column is None:
            raise UsageError(
                "--prompt-given is the form of --prompt and --prompt-column",
                hint="leave it out, or add one of them (--prompt-source is source text anyway)",
            )
        for text in (self.prompt, self.prompt_source):
            warn_of_file(text or "", terminal.warn)
        return Prompt(self.prompt or "", self.prompt_column, self.prompt_given)

    def read(self, model: TransducedLM | Ensemble, prompt: Prompt) -> TransducedLM | Ensemble:
        """A model after the source text that it is to read. UsageError where a prompt in target
        units doesn't go with its policy."""
        from lmfst.scored.scorer import require_exact

        require_exact(prompt, model.policy)
        return model.after_source(self.prompt_source or "")

    def facts(self, given: Given) -> dict[str, Any]:
        """What there is to know of prompts in target units, for provenance; JSON-ready. given: the
        form of documents."""
        if not self.prompt and self.prompt_column is None:
            return {}
        form = {"prompt_given": self.prompt_given or given}
        if self.prompt_column is not None:
            return {"prompt_column": self.prompt_column, **form}
        text = (self.prompt or "").encode("utf-8", "surrogateescape")
        return {"prompt": text.decode("utf-8", "backslashreplace"), **form}
