"""Arguments that look like something else: what the user probably meant."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import typer

from lmfst.ground.errors import InputError

_GRAMMARS = (".grm", ".fst", ".far")
_SHOWN = 200
"""Characters of an argument that a message shows."""
_MODELS = (".arpa", ".arpa.gz", ".gguf", ".safetensors")


def context_tokens(given: str | int) -> int:
    """The number that --context takes. BadParameter for a text, which it doesn't."""
    try:
        return int(given)
    except ValueError:
        number = False
        with suppress(ValueError):
            number = math.isfinite(float(given))
        if number:
            raise typer.BadParameter(
                f"{given!r} is no whole number: --context is how many of its last tokens the model "
                "reads"
            ) from None
        raise typer.BadParameter(
            f"{given!r} is no whole number: --context is how many of its last tokens the model "
            "reads, not a text. To score a text after another one, write the two as one document: "
            "each row is conditional on all that comes before it. lmfst next TEXT shows what "
            "follows a text."
        ) from None


def beam_size(given: str | int) -> int:
    """The number that --beam takes. BadParameter for a share, which it doesn't."""
    try:
        return int(given)
    except ValueError:
        hint = ""
        with suppress(ValueError):
            hint = f"; for a share of the heaviest: --threshold {float(given):g}"
        raise typer.BadParameter(
            f"{given!r} is no whole number: --beam is how many hypotheses are kept{hint}"
        ) from None


def require_documents(paths: Sequence[str]) -> None:
    """InputError if one of the files that hold documents isn't there, or is a folder, before
    anything large is loaded for it."""
    for path in paths:
        if path == "-":
            continue
        if is_file(path) and Path(path).is_dir():
            raise InputError(
                f"{path} is a folder", hint=f"name the files in it, such as {path.rstrip('/')}/*"
            )
        if not is_file(path):
            shown = path if len(path) <= _SHOWN else path[:_SHOWN] + "…"
            hint = "give an existing file, or - for stdin"
            if path.split() != [path] or not {*"./"} & {*path}:
                text = shlex.quote(shown)
                hint += f"; a text comes by a pipe: printf '%s\\n' {text} | lmfst …"
            raise InputError(f"there is no file {shown}", hint=hint)


def is_file(text: str) -> bool:
    """Whether a text is the name of a file, or of a folder."""
    try:
        return text != "" and Path(text).exists()
    except (OSError, ValueError):  # longer than names can be, or with a NUL
        return False


def not_a_document(path: str) -> str:
    """A warning for a file whose name says that it holds no documents; "" for others."""
    if path.endswith(_GRAMMARS):
        return f"{path} is read as documents; a transducer or grammar is named with --to {path}"
    if path.endswith(_MODELS):
        return f"{path} is read as documents; a model is named with --model {path}"
    return ""
