"""The option `--within`: a grammar that strings are kept to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lmfst.cli.options import GRAMMAR, GrammarOptions
from lmfst.cli.terminal import Terminal

if TYPE_CHECKING:
    from lmfst.fst import Fst
    from lmfst.scored.string_model import StringModel
    from lmfst.target.acceptor import Acceptor

Within = Annotated[
    str | None,
    typer.Option(
        "--within",
        metavar="FILE.grm[:RULE]|FILE.fst",
        help="Keep strings to those that this acceptor accepts: strings in target form, from their "
        "beginning (the prompt's) to their end.",
        rich_help_panel=GRAMMAR,
    ),
]


def fst_of_within(name: str | None, grammar: GrammarOptions, terminal: Terminal) -> Fst | None:
    """The acceptor that is named, before anything large is loaded."""
    from lmfst.target.acceptor import load_acceptor
    from lmfst.target.load import OPENFST

    if name is None:
        return None
    return load_acceptor(
        name,
        include=grammar.include or (),
        max_states=grammar.max_states,
        timeout=grammar.timeout,
        input_mode=grammar.input_mode if name.endswith(OPENFST) else "auto",
        warn=terminal.warn,
    )


def acceptor_of(fst: Fst | None, name: str | None, model: StringModel) -> Acceptor | None:
    """The acceptor over the symbols of a model's target."""
    from lmfst.target.acceptor import Acceptor

    if fst is None or name is None:
        return None
    return Acceptor(fst, model.target.machine.symbols, name)
