"""What engines are made for: a model, a target, and how the two are read together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lmfst.inference.normaliser import Normaliser
from lmfst.lexicon import Lexicons
from lmfst.lm.base import LM
from lmfst.target.load import Target


@dataclass(frozen=True)
class Setting:
    """lexicons: of the model's vocabulary and the target. normalise: takes the tokens outside the
    support out of rows. conditioned: whether the target rejects strings, and probabilities are
    given that it accepts. lookahead: whether rows may be evaluated ahead. read, before: a source
    text that the model has read already, and what the function has emitted of it (see
    `lmfst.inference.prompted`)."""

    lm: LM
    target: Target
    lexicons: Lexicons
    normalise: Normaliser
    conditioned: bool
    lookahead: bool
    warn: Callable[[str], None]
    read: bytes = b""
    before: tuple[int, ...] = ()
