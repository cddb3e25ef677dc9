"""What a GGUF file's metadata says and the library's loader passes over.

The loader knows a token by its text; the file gives each id a type, which decides what it may spell:
control, unknown and unused tokens are no text, whatever they look like. Read by the format's
description (github.com/ggml-org/ggml, docs/gguf.md), versions 2 and 3, little-endian.
"""

from __future__ import annotations

import dataclasses
import struct
from pathlib import Path
from typing import Any, BinaryIO

from lmfst.errors import ModelError
from lmfst.vocab import Vocab
from lmfst.vocab.reading import NO_TOKEN

TYPES, BEGIN = "tokenizer.ggml.token_type", "tokenizer.ggml.bos_token_id"
UNKNOWN, CONTROL, UNUSED, BYTE = 2, 3, 5, 6
"""Types of tokens; 1 is a token of text, 4 one that a user defined, which is text, too."""

_NUMBERS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


def gguf_value(path: Path, key: str) -> Any:
    """The value of a metadata key, None if the file has no such key.

    Numbers, truth values, strings and lists of these. ModelError for a file that can't be read.
    """
    try:
        with path.open("rb") as file:
            return _find(file, key)
    except (OSError, ValueError, KeyError, struct.error, MemoryError, OverflowError) as error:
        raise ModelError(
            f"the metadata of {path.name} can't be read: {error or type(error).__name__}",
            hint="the file may be cut short or of another version: copy or convert it again",
        ) from error


def _find(file: BinaryIO, key: str) -> Any:
    if file.read(4) != b"GGUF":
        raise ValueError("it doesn't begin with GGUF")
    version, _, count = _take(file, "IQQ")
    if version not in (2, 3):
        raise ValueError(f"it is of version {version}, not 2 or 3")
    for _ in range(count):
        name = _string(file)
        (kind,) = _take(file, "I")
        value = _value(file, kind, name == key)
        if name == key:
            return value
    return None


def _take(file: BinaryIO, form: str) -> tuple[Any, ...]:
    return struct.unpack(f"<{form}", file.read(struct.calcsize(f"<{form}")))


def _string(file: BinaryIO) -> str:
    (length,) = _take(file, "Q")
    return file.read(length).decode("utf-8", "replace")


def _value(file: BinaryIO, kind: int, wanted: bool) -> Any:
    """A value of that kind; it is passed over, and None is given, if it isn't wanted."""
    if kind == _STRING:
        if wanted:
            return _string(file)
        (length,) = _take(file, "Q")
        file.seek(length, 1)
        return None
    if kind != _ARRAY:
        return _take(file, _NUMBERS[kind])[0]
    inner, count = _take(file, "IQ")
    if inner in _NUMBERS:
        if wanted:
            return list(_take(file, f"{count}{_NUMBERS[inner]}"))
        file.seek(count * struct.calcsize(_NUMBERS[inner]), 1)
        return None
    values = [_value(file, inner, wanted) for _ in range(count)]
    return values if wanted else None


def with_token_types(vocab: Vocab, path: Path, *, text: bool) -> Vocab:
    """The vocabulary with what the file's token types take out of it.

    text: whether control and unknown tokens spell their written form (`--specials text`).
    """
    types = (gguf_value(path, TYPES) or [])[: vocab.size]
    if not types:
        return vocab
    ends, beyond = set(vocab.eos), range(len(types), vocab.size)
    controls = {i for i, kind in enumerate(types) if kind in (UNKNOWN, CONTROL)} - ends
    reasons = {i: why for i in range(len(types)) if (why := _no_text(vocab, i, types[i], text))}
    reasons |= dict.fromkeys(beyond, NO_TOKEN)
    hidden = reasons.keys() | (set() if text else controls)
    tables = tuple(
        [None if i in hidden else data for i, data in enumerate(table)]
        for table in vocab.token_bytes
    )
    return dataclasses.replace(
        vocab,
        token_bytes=tables,
        specials=(vocab.specials | controls) - set(beyond),
        unmapped={**vocab.unmapped, **{i: why for i, why in reasons.items() if i not in ends}},
    )


def _no_text(vocab: Vocab, i: int, kind: int, text: bool) -> str:
    """Why a token of that type spells nothing, "" if it spells something or is a control token."""
    if kind == UNUSED:
        return "the file's token types say that it is unused"
    if kind == UNKNOWN and not text and i not in vocab.specials:
        return "the model's unknown token"
    if kind == BYTE and all(len(table[i] or b"") != 1 for table in vocab.token_bytes):
        return "a byte token, and the tokenizer's decoder doesn't read it as a byte"
    return ""
