"""Letters in the case that an alphabet lacks, read as those that it has.

A model of DNA writes A, C, G and T, and no a, c, g and t: what has one case only can't mean
anything by the other, which sequences use for repeats (soft-masking) and other marks. Letters are
turned one by one, so that positions stay as they are. An alphabet with letters of both cases is
left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

_ASCII = 0x80


class Case:
    """The one case of the letters of an alphabet.

    names: the symbols of the alphabet; those that have no case don't count.
    kind: "upper" or "lower"; "" if there are letters of both, or none.
    """

    kind: Literal["upper", "lower", ""]

    def __init__(self, names: Iterable[str]) -> None:
        cased = [name for name in names if name.upper() != name.lower()]
        self.kind = ""
        if cased and all(name == name.upper() for name in cased):
            self.kind = "upper"
        elif cased and all(name == name.lower() for name in cased):
            self.kind = "lower"
        turns: dict[str, Callable[[str], str]] = {"upper": str.upper, "lower": str.lower}
        self._turn = turns.get(self.kind, str)
        self._table = bytes(ord(self._turn(chr(b))) if b < _ASCII else b for b in range(256))

    def name(self, name: str) -> str:
        """A symbol's name in this case."""
        return self._turn(name)

    def text(self, data: bytes) -> bytes:
        """A text with its ASCII letters in this case, as long as before."""
        return data.translate(self._table)

    def character(self, code: int, limit: int = _ASCII) -> int:
        """A character in this case; itself if it is none below `limit`, or would be several, or
        another letter's (dotless i has the capital of i)."""
        written = chr(code) if 0 <= code < limit else ""
        turned = self._turn(written)
        back = turned.lower() if self.kind == "upper" else turned.upper()
        return ord(turned) if len(turned) == 1 and back == written else code


def changed(before: Sequence[int], after: Sequence[int]) -> int:
    """In how many places two equally long strings differ."""
    return sum(one != other for one, other in zip(before, after, strict=True))


@dataclass
class Folded:
    """Letters that were read in the other case, in so many documents, the first of which is
    `first`."""

    letters: int = 0
    documents: int = 0
    first: str = ""

    def add(self, letters: int, origin: str) -> None:
        """A document and how many of its letters were."""
        self.letters += letters
        self.documents += 1
        self.first = self.first or origin

    def join(self, other: Folded) -> None:
        """Add those of later documents."""
        self.letters += other.letters
        self.documents += other.documents
        self.first = self.first or other.first

    def told(self) -> str:
        """How many letters were, and where: the beginning of a message."""
        several, letters = self.documents > 1, self.letters > 1
        where = f"{self.documents} documents, the first of them " if several else ""
        return (
            f"{self.letters} letter{'s' if letters else ''} of {where}{self.first} "
            f"{'are' if letters else 'is'} read in"
        )
