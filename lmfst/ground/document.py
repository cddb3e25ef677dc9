"""Documents: texts with an id and where they come from, and what was found in place of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Form = Literal["line", "file", "jsonl", "csv", "tsv", "fasta", "parquet"]
"""What a document is in its file: `DocMode` (`lmfst.ground.types`) without auto."""
Reason = Literal[
    "binary",
    "too_long",
    "undecodable",
    "surrogate",
    "no_text",
    "bad_id",
    "fields",
    "quotes",
    "no_name",
    "no_sequence",
]
"""Why a record is no document. binary: the whole file is neither text nor packed text. too_long: it
has more bytes than it may have. undecodable: no UTF-8, or no JSON object. surrogate: its text is no
Unicode. no_text, bad_id: what should be its text, or id, isn't there or something else. fields: a
row of a table has more or fewer than the header. quotes: those of a row of CSV don't go together.
no_name, no_sequence: a FASTA record lacks them."""


@dataclass(frozen=True)
class Document:
    """One document: its `id`, its bytes, and its `origin` "FILE:LINE" for messages.

    file, line: that place again, apart: the file's name ("<stdin>" for the standard input) and the
    number of the line that it begins on, from 1 (in Parquet: of the row); "" and 0 for texts that
    come from no file.
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
    file: str = ""
    line: int = 0


@dataclass(frozen=True)
class Rejected:
    """A record of a file that is no document.

    file, line: where it begins, as those of documents; id: its own, as far as it has one. reason: a
    short name, one of `Reason` where it is reading that fails. message: what was expected and what
    came, with the place; hint: how to mend it.
    """

    file: str
    line: int
    id: str | None
    reason: str
    message: str
    hint: str = ""
