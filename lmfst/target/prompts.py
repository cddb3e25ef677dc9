"""Prompts: the beginning of a target string, which is given, and what follows it is asked for.

A prompt is written in target form, or in source form: then the function reads it, and what it has
emitted for certain by then, ω(prompt), is the beginning of the target string.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

from lmfst.fst import Identity, Utf8
from lmfst.fst.pattern import Pattern
from lmfst.fst.sequential import emit
from lmfst.ground.document import Document
from lmfst.ground.errors import InputError, UsageError
from lmfst.ground.types import Given
from lmfst.target.load import Target
from lmfst.target.strings import as_bytes


@dataclass(frozen=True)
class Prompt:
    """What documents follow.

    text: the prompt of all of them. column: in place of it, the field of a document's row (a column
    of a table, a key of JSON) that has its own. given: whether prompts are in "source" or "target"
    form; None: in that of the documents.

    UsageError for a text and a column.
    """

    text: str | bytes = b""
    column: str | None = None
    given: Given | None = None

    def __post_init__(self) -> None:
        if self.text and self.column is not None:
            raise UsageError(
                "--prompt is that of all documents, --prompt-column has one for each",
                hint="leave one of them out",
            )

    def __bool__(self) -> bool:
        """Whether there may be one."""
        return bool(self.text) or self.column is not None

    def of(self, document: Document) -> bytes:
        """The prompt of a document; InputError if its row has none, or something else than text."""
        if self.column is None:
            return as_bytes(self.text)
        if self.column not in document.row:
            names = ", ".join(map(repr, document.row))
            raise InputError(
                f"expected a prompt in {self.column!r}, and there is no such field",
                hint=f"its fields are {names}"
                if names
                else "a prompt for each document needs tables or JSONL (--doc)",
            )
        found = document.row[self.column]
        if not isinstance(found, str | bytes):
            shown = "nothing" if found is None else f"{found!r:.40}"
            raise InputError(f"expected a prompt, a text, in {self.column!r}, found {shown}")
        return as_bytes(found)


def misread(target: Target, text: bytes, form: Given, option: str) -> str:
    """What to say of a prompt that looks as if it were in the other form, else nothing. option:
    what says which form it is in."""
    names = [f"[{name}]" for name in target.machine.symbols.names.values()]
    found = next((name for name in names if name.encode() in text), None)
    if form == "source" and found is not None:
        return (
            f"{found} in the prompt is read as letters, since it is in source form: "
            f"{option} target reads it as a symbol"
        )
    if form == "target" and target.units.marks and found is None and b" " in text.strip():
        mark = target.units.name(min(target.units.marks))
        return (
            f"the prompt is read in target form, where [{mark}] separates units and a space is a "
            f"symbol of its own: {option} source reads it as ordinary text"
        )
    return ""


def emitted(target: Target, text: str | bytes) -> tuple[int, ...]:
    """ω(text): the symbols that every output of a text beginning with `text` begins with.

    InputError with the place where the function accepts no continuation.
    """
    data = as_bytes(text)
    _, out, read = emit(target.machine, data)
    if read < len(data):
        start = "first byte" if read == 0 else f"first {read + 1} bytes"
        raise InputError(
            f"{target.name} accepts no string that begins with the {start} "
            f"of the prefix (byte {data[read]:#04x} at offset {read})"
        )
    return tuple(out)


class Read(NamedTuple):
    """A document as it was read: its text, of which so many letters were in the other case, and its
    target; so many of whose first symbols are the prompt. In source form the text begins with the
    prompt, too."""

    text: bytes
    target: Pattern
    folded: int
    prompt: int = 0


class Texts(Protocol):
    """What reads texts; see `lmfst.target.reader.Reader`."""

    def source(self, text: bytes, read: Callable[[bytes], Pattern]) -> Read:
        """A text in source form as the function `read` reads it."""

    def written(self, text: bytes) -> Read:
        """A text in target form."""


def read_prompt(texts: Texts, target: Target, prompt: bytes, form: Given) -> Read:
    """A prompt by itself."""
    if form == "source":
        return texts.source(prompt, partial(emitted, target))
    _require_whole(target, prompt)
    return texts.written(prompt)


def read_after(
    texts: Texts,
    target: Target,
    prompt: bytes,
    form: Given,
    text: bytes,
    given: Given,
    run: Callable[[bytes], Pattern],
) -> Read:
    """A text, which is `given`, after a prompt in some form.

    In source form both are read as one, by `run`: what a function makes of two strings is not what
    it makes of each. UsageError for a text in source form after a prompt in target form, where this
    isn't its own source; InputError for what can't be read.
    """
    if given == "target":
        before, own = read_prompt(texts, target, prompt, form), texts.written(text)
        folded = before.folded + own.folded
        return Read(own.text, before.target + own.target, folded, len(before.target))
    if form == "target":
        _require_whole(target, prompt)
        if not isinstance(target.machine, Identity | Utf8):
            raise UsageError(
                "a document in source form can't follow a prompt in target form: what "
                f"{target.name} makes of it depends on the source before it",
                hint="add --prompt-given source, or --given target",
            )
    try:
        found = texts.source(prompt + text, run)
    except InputError as error:
        where = f"{error.message} (prompt and document, the prompt has {len(prompt)} bytes)"
        raise InputError(where, hint=error.hint) from None
    known = emitted(target, found.text[: len(prompt)])
    if found.target[: len(known)] != known:
        raise InputError(
            "the prompt has letters that stand for several others",
            hint="write out what is meant, or leave out --unknown any",
        )
    return found._replace(prompt=len(known))


def _require_whole(target: Target, prompt: bytes) -> None:
    """InputError for a prompt in target form that ends inside a character, where symbols are
    characters."""
    if target.machine.symbols.kind != "unicode":
        return
    try:
        prompt.decode()
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":
            raise InputError(
                f"the prompt ends inside a character ({prompt[error.start :]!r}), which is no "
                f"symbol of {target.name}",
                hint="complete it, add --prompt-given source, or score --to bytes",
            ) from None
