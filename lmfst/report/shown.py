"""Documents that a page shows unit by unit: which, and as much of each as there is room for.

Those with most bits per symbol are shown, and others evenly spread over the ranking. What is held,
and written, is bounded however large the output is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lmfst.ground.arrays import Ints
from lmfst.report.markup import cut, script_json
from lmfst.report.parts import Part, Place
from lmfst.report.summary import LONGEST, Documents, Unit, unit_of

MOST, SPREAD, DIFFERENT = 20, 20, 10
"""Documents that are shown: the most surprising ones, others, and those in which either output of
two is better by most."""
MOST_UNITS = 8000
"""Units of a document that are shown, at most."""
ROOM = 3_000_000
"""Bytes that shown documents may have on the page."""
_TYPICAL = 24
"""Bytes that a unit has on the page, about, beside its text."""
_LEAST = 8000
"""Bytes that each document may have, however few its units seem to need."""


@dataclass(frozen=True)
class Window:
    """Which units of a document are shown. begin: index of the first. room: bytes there are."""

    begin: int
    room: int


@dataclass
class Shown:
    """A document that is shown. begin: the index of its first unit here. units: their texts. bits,
    missing: of each; the ⊥ of the document comes last if `complete`."""

    number: int
    id: str
    place: Place | None
    begin: int
    units: list[str] = field(default_factory=list)
    bits: list[float] = field(default_factory=list)
    missing: list[float | None] = field(default_factory=list)
    complete: bool = False
    size: int = 0


class Gather:
    """Gathers the units of the documents that are shown, on a second pass over an output.

    room: bytes for all of them. marked: the most surprising unit of each, by number.
    """

    def __init__(self, documents: Documents, windows: Mapping[int, Window], room: int) -> None:
        self._windows, self._room = windows, room
        self._marks = {number: documents.worst_at[number] for number in windows}
        self.shown: dict[int, Shown] = {}
        self.marked: dict[int, Unit] = {}

    def add(self, part: Part) -> None:
        """Take up the next part."""
        window = self._windows.get(part.number)
        if window is None:
            return
        mark = self._marks[part.number] - part.first
        if 0 <= mark < len(part.units):
            bits = part.bits[mark]
            self.marked[part.number] = unit_of(part, mark, bits, (bits,), ())
        shown = self.shown.get(part.number)
        if shown is None:
            shown = Shown(part.number, part.id, part.place, window.begin)
            self.shown[part.number] = shown
        for at in range(max(0, window.begin - part.first), len(part.units)):
            due = part.first + at - window.begin == len(shown.units)
            if not due or not self._take(part, at, shown, window.room):
                return
        shown.complete = part.last

    def _take(self, part: Part, at: int, shown: Shown, room: int) -> bool:
        """Show a unit, if there is room for it."""
        text = cut(part.units[at], LONGEST)
        size = len(script_json(text).encode()) + _TYPICAL // 2
        if len(shown.units) >= MOST_UNITS or shown.size + size > room:
            return False
        if size > self._room:
            return False
        shown.units.append(text)
        shown.bits.append(part.bits[at])
        shown.missing.append(part.missing[at])
        shown.size += size
        self._room -= size
        return True


def choose(documents: Documents) -> list[int]:
    """The numbers of the documents to show, the most surprising first."""
    ranked = documents.ranked()
    return _spread(ranked, MOST, SPREAD)


def _spread(ranked: Ints, most: int, spread: int) -> list[int]:
    """The first ones, and some evenly spread over the rest; the last one is among these."""
    rest = ranked[most:]
    count = min(spread, len(rest))
    places = np.unique(np.linspace(0, len(rest) - 1, count).round().astype(np.int64))
    return [*ranked[:most].tolist(), *(rest[places].tolist() if count else [])]


def windows(
    documents: Documents, chosen: Sequence[int], room: int, length: float
) -> dict[int, Window]:
    """What is shown of each of the chosen documents: from its beginning, or around its most
    surprising unit where that is too far. room: bytes for all of them; all rooms together are no
    more, so that no document takes another's. length: bytes of a unit on the page, on average."""
    typical = _TYPICAL + math.ceil(length)
    rows = [min(documents.units[number] + 1, MOST_UNITS) for number in chosen]
    sizes = [max(_LEAST, count * typical) for count in rows]
    fair = level(sizes, room)
    left = max(0, room - sum(sizes)) // max(1, len(sizes))
    found = {}
    for number, size in zip(chosen, sizes, strict=True):
        own = min(size, fair) + left
        worst, fit = documents.worst_at[number], min(MOST_UNITS, own // typical)
        begin = min(worst - fit // 2, documents.units[number] + 1 - fit)
        found[number] = Window(0 if worst < fit else max(0, begin), own)
    return found


def level(sizes: Iterable[int], room: int) -> int:
    """How much each may have at most, so that all together have no more than there is room for."""
    waiting = sorted(sizes)
    left = room
    while waiting:
        fair = left // len(waiting)
        if waiting[0] > fair:
            return fair
        left -= waiting.pop(0)
    return room


def rounded(values: Sequence[float]) -> list[float | None]:
    """Bits for the page, to two digits; None stands for infinitely many, which JSON lacks.
    Estimates may be below 0."""
    return [None if math.isinf(value) else round(value, 2) for value in values]


def rounded_missing(values: Sequence[float | None]) -> list[float | None] | None:
    """Nats for the page; None if there are none, or nothing is missing. In it as above."""
    if not any(values) or None in values:
        return None
    return [
        None if value is None or math.isinf(value) else float(f"{value:.2g}") for value in values
    ]
