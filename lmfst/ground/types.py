"""Shared types without numpy, and the choices of options."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Literal, get_args

from lmfst.ground.errors import UsageError

Warn = Callable[[str], None]
"""Takes a message, whole and without an end of line."""

Specials = Literal["drop", "text", "error"]
"""What special tokens are: no text, their written form, or an error."""
Marks = Literal["none", "▁", "##", "@@"]
"""How tokens that are pieces of words are told (`lmfst.vocab.words`)."""
PrefixSpace = Literal["auto", "yes", "no"]
"""Whether a space at the very start is the model's own (`lmfst.vocab.prefix`)."""
InputMode = Literal["auto", "byte", "utf8"]
"""What labels without a symbol table are."""
DocMode = Literal["auto", "line", "file", "jsonl", "csv", "tsv", "fasta", "parquet"]
"""What a document is."""
Given = Literal["source", "target"]
"""Whether texts are read by the function, or are its outputs."""
Unknown = Literal["auto", "report", "error", "skip", "any"]
"""What to do about symbols that the model can't produce."""
Partial = Literal["error", "condition"]
"""What to do about a target that rejects strings."""
PolicyName = Literal["auto", "beam", "exact", "sample"]
"""Names of policies on the command line."""
How = Literal["mixture", "product", "mixture-of-strings"]
"""How the models of an ensemble are combined (`lmfst.ensemble`)."""
Level = Literal["unit", "replicate", "text", "summary"]
"""What a row is."""
RowFormat = Literal["tsv", "jsonl", "parquet"]
DType = Literal["float32", "bfloat16", "float16", "auto"]
"""Number formats of models; auto: the checkpoint's own."""


def require_choice(option: str, value: object, choices: object) -> None:
    """UsageError unless `value` is one of a Literal's. option: as the command line has it."""
    known = get_args(choices)
    if value not in known:
        raise UsageError(f"{option} must be one of {', '.join(known)}, not {value!r}")


def require_whole(option: str, value: object, least: int, what: str) -> None:
    """UsageError unless a value is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise UsageError(
            f"{option} must be a whole number of at least {least}, not {value!r}",
            hint=f"it is {what}",
        )
