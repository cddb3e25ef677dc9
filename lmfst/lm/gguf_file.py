"""The metadata of a GGUF file, read for what the library's loader passes over.

By the format's description (github.com/ggml-org/ggml, docs/gguf.md), versions 2 and 3,
little-endian. One pass over the file's head; values that aren't asked for are skipped, so that a
vocabulary costs little.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

from lmfst.ground.errors import ModelError

BEGIN = "tokenizer.ggml.bos_token_id"
MODEL = "tokenizer.ggml.model"
TYPES = "tokenizer.ggml.token_type"

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
