"""Documents as target strings: read by the function, or written in target form.

Symbols that the model can't produce are left as they are, refused, or read as what they stand for
(`lmfst.unknown`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from lmfst.errors import InputError
from lmfst.io import Document
from lmfst.pattern import OneOf, Pattern, Place
from lmfst.sequential import run
from lmfst.target import Target
from lmfst.units import parse_target_text
from lmfst.unknown import Alphabet

Given = Literal["source", "target"]
Unknown = Literal["auto", "report", "error", "skip", "any"]
"""See `lmfst.score.TransducedLM.score_documents`."""


class Reader:
    """Reads documents for a target. alphabet: what the model can produce of its symbols."""

    def __init__(self, target: Target, alphabet: Alphabet) -> None:
        self._target, self._alphabet = target, alphabet

    def target(self, document: Document, given: Given, unknown: Unknown) -> Pattern:
        """A document's target.

        Raises InputError where the function rejects it, for text that names no symbol, and for
        symbols that can't be produced if these are no matter of `unknown`.
        """
        if given == "source":
            found = self._of_source(_bytes(document.text), unknown)
        else:
            found = self._of_target(document, unknown)
        sequence = given == "target" and document.is_sequence
        if unknown in ("error", "skip", "any") or (unknown == "auto" and sequence):
            self._require_producible(found)
        return found

    def producible(self, place: Place) -> bool:
        """Whether the model can produce anything that may stand at a place."""
        return isinstance(place, OneOf) or place in self._alphabet

    def options(self, place: Place) -> str:
        """What to do about a symbol that can't be produced, in brackets; empty if it means no
        other symbols."""
        if place not in self._alphabet.codes:
            return ""
        return " (--unknown any sums over what it may be, --unknown skip leaves it out)"

    def _of_source(self, text: bytes, unknown: Unknown) -> Pattern:
        if unknown == "any":
            return self._alphabet.read(text)
        return run(self._target.machine, text)

    def _of_target(self, document: Document, unknown: Unknown) -> Pattern:
        symbols = self._target.machine.symbols
        target = parse_target_text(_bytes(document.text), symbols)
        if document.is_sequence and (unknowns := self._unknowns(target)):
            upper = parse_target_text(_bytes(document.text.upper()), symbols)
            if self._unknowns(upper) < unknowns:
                target = upper
        return self._alphabet.opened(target) if unknown == "any" else target

    def _unknowns(self, target: Sequence[int]) -> int:
        """How many of a target's symbols can't be produced."""
        return sum(symbol not in self._alphabet for symbol in target)

    def _require_producible(self, target: Pattern) -> None:
        for at, place in enumerate(target):
            if isinstance(place, OneOf) or place in self._alphabet:
                continue
            name = self._target.units.name(place)
            hint = "mend it, or use --unknown skip or report"
            if place in self._alphabet.codes:
                hint = f"--unknown any sums over what {name!r} may be; or {hint}"
            raise InputError(
                f"position {at + 1} is {name!r}, which the model can't produce: expected "
                f"{self._alphabet.names()}",
                hint=hint,
            )


def encoding_fault(document: Document) -> str:
    """What to say of a document that is no UTF-8; nothing of one that is."""
    text = _bytes(document.text)
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return (
            f"{document.origin}: the byte 0x{text[error.start]:02x} at offset {error.start} is no "
            "UTF-8; such bytes are read as they are, none as a character (if the text is in "
            "another encoding, convert it: iconv -f WINDOWS-1252 -t UTF-8)"
        )
    return ""


def _bytes(text: str | bytes) -> bytes:
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
