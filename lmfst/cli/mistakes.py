"""Arguments that look like something else: what the user probably meant."""

from __future__ import annotations

import glob
import math
import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import typer

from lmfst.ground.errors import InputError
from lmfst.ground.types import DocMode, Warn
from lmfst.io import corpus_files, require_different
from lmfst.io.streams import STDIN

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
            "reads, not a text. To score documents after a text: --prompt TEXT (lmfst convert). "
            "lmfst next TEXT shows what follows a text."
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


def document_files(paths: Sequence[str], doc: DocMode = "auto") -> list[str]:
    """The files that hold documents, before anything large is loaded for them: those named, `-`
    for the standard input, and those of folders and patterns (`lmfst.io.corpus_files`).

    InputError for a file that isn't there. UsageError for a folder or pattern without files, or
    with files of several forms, and where its files come twice.
    """
    found: list[str] = []
    for path in paths:
        if path == STDIN or (is_file(path) and not Path(path).is_dir()):
            found.append(path)
        elif is_file(path) or _is_pattern(path):
            found += corpus_files([path], doc)
        else:
            _refuse(path)
    if found != [*paths]:
        require_different([file for file in found if file != STDIN])
    return found


def _is_pattern(path: str) -> bool:
    """Whether what is no file's name is a pattern; of what might be a text, if it matches."""
    if not glob.has_magic(path) or not _is_text(path):
        return glob.has_magic(path)
    return any(Path(found).is_file() for found in glob.iglob(path, recursive=True))


def _refuse(path: str) -> NoReturn:
    shown = path if len(path) <= _SHOWN else path[:_SHOWN] + "…"
    hint = "give an existing file, a folder, a pattern such as 'corpus/*.txt', or - for stdin"
    if _is_text(path):
        text = shlex.quote(shown)
        hint += f"; a text comes by a pipe: printf '%s\\n' {text} | lmfst …"
    raise InputError(f"there is no file {shown}", hint=hint)


def _is_text(path: str) -> bool:
    """Whether the name of a file that isn't there looks more like a text."""
    return path.split() != [path] or not {*"./"} & {*path}


def is_file(text: str) -> bool:
    """Whether a text is the name of a file, or of a folder."""
    try:
        return text != "" and Path(text).exists()
    except (OSError, ValueError):  # longer than names can be, or with a NUL
        return False


def warn_of_file(prompt: str, warn: Warn) -> None:
    """Warn of a prompt that is the name of a file."""
    if is_file(prompt):
        warn(f"the prompt is {prompt!r} itself, not what the file of that name holds")


def not_a_document(path: str) -> str:
    """A warning for a file whose name says that it holds no documents; "" for others."""
    if path.endswith(_GRAMMARS):
        return f"{path} is read as documents; a transducer or grammar is named with --to {path}"
    if path.endswith(_MODELS):
        return f"{path} is read as documents; a model is named with --model {path}"
    return ""
