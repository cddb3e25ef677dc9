"""Documents: texts with an id and where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Form = Literal["line", "file", "jsonl", "csv", "tsv", "fasta"]
"""What a document is in its file: `DocMode` (`lmfst.ground.types`) without auto."""


@dataclass(frozen=True)
class Document:
    """One document: its `id`, its bytes, and its `origin` "FILE:LINE" for messages.

    is_sequence: whether it is a biological sequence, whose letters mean the same in either case.
    form: what it is in its file. row: all fields of its row, JSON object or FASTA record (`header`)
    as they were read, in order. extra: those of them that are neither its text nor its id, to be
    passed on beside what is said of it.
    """

    id: str
    text: bytes
    origin: str
    is_sequence: bool = False
    form: Form = "line"
    row: Mapping[str, object] = field(default_factory=dict, hash=False)
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)
