"""One pass over an output: totals, what is known of each document, the distribution of surprisal,
and the most surprising units.

    bits = -logp / ln 2;  bits per symbol = bits of a document, ⊥ included, / its symbols;
    perplexity per unit = 2 ^ (bits / rows).

About 80 bytes are held of each document, and a few units in all.
"""

from __future__ import annotations

import heapq
import math
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np

from lmfst.ground.arrays import Bools, Floats, Ints
from lmfst.report.markup import bytes_on_page
from lmfst.report.parts import Part
from lmfst.report.unit_text import utf8_bytes

MOST_UNITS = 50
"""How many of the most surprising units are kept."""
LONGEST = 200
"""Characters of a unit that are shown."""
BEFORE, AFTER = 12, 6
"""Units that are kept as what stands before and after one."""
FINE = 20
"""Bins of the distribution in a bit."""
MOST_KINDS = 1 << 16


@dataclass
class Documents:
    """What is known of each document, in the order of the output.

    places, ids, texts: 64-bit digests of file and line, of the id, and of all units. bits: with ⊥.
    end_bits: of ⊥. worst, worst_at: the surprisal, and the index, of the most surprising unit; -1
    in a document without any. missing: nats; not a number where the output has none. infinite:
    1 for a document of probability zero.
    """

    places: array[int] = field(default_factory=lambda: array("Q"))
    ids: array[int] = field(default_factory=lambda: array("Q"))
    texts: array[int] = field(default_factory=lambda: array("Q"))
    bits: array[float] = field(default_factory=lambda: array("d"))
    end_bits: array[float] = field(default_factory=lambda: array("d"))
    missing: array[float] = field(default_factory=lambda: array("d"))
    worst: array[float] = field(default_factory=lambda: array("d"))
    worst_at: array[int] = field(default_factory=lambda: array("q"))
    units: array[int] = field(default_factory=lambda: array("q"))
    symbols: array[int] = field(default_factory=lambda: array("q"))

    def __len__(self) -> int:
        return len(self.bits)

    def floats(self, name: str) -> Floats:
        """A column of numbers, float64 [documents]."""
        return np.array(getattr(self, name), dtype=np.float64)

    def whole(self, name: str) -> Ints:
        """A column of whole numbers, int64 [documents]; digests as uint64."""
        column = getattr(self, name)
        return np.array(column, dtype=np.uint64 if column.typecode == "Q" else np.int64)

    def rates(self) -> Floats:
        """Bits per symbol, float64 [documents]; not a number for documents without symbols."""
        symbols = self.floats("symbols")
        found = np.full(len(symbols), np.nan)
        np.divide(self.floats("bits"), symbols, out=found, where=symbols > 0)
        return found

    def ranked(self) -> Ints:
        """Numbers of documents, those with most bits per symbol first, those without symbols
        last."""
        rates = self.rates()
        rates[np.isnan(rates)] = -np.inf
        return np.argsort(-rates, kind="stable").astype(np.int64)


@dataclass(frozen=True)
class Unit:
    """A unit in its place. document: its number. at: its index. value: by which it was kept."""

    value: float
    document: int
    id: str
    at: int
    text: str
    before: list[str]
    after: list[str]
    bits: tuple[float, ...]


class Worst:
    """The units with the largest values; of equal ones the first."""

    def __init__(self, most: int = MOST_UNITS) -> None:
        self._most = most
        self._heap: list[tuple[float, int, Unit]] = []
        self._count = 0

    @property
    def floor(self) -> float:
        """What a value must be above."""
        return self._heap[0][0] if len(self._heap) == self._most else -math.inf

    def add(self, unit: Unit) -> None:
        """Keep a unit, if it is above the floor."""
        if unit.value > self.floor:
            self._count += 1
            put = heapq.heappush if len(self._heap) < self._most else heapq.heapreplace
            put(self._heap, (unit.value, -self._count, unit))

    def found(self) -> list[Unit]:
        """The largest value first."""
        return [unit for _, _, unit in sorted(self._heap, key=lambda one: one[:2], reverse=True)]


@dataclass
class Summary:
    """What one pass finds. to: what the units are, by the manifest, "" if it isn't known.

    fine: how many units have a surprisal of [i, i + 1) / FINE bits. infinite: units of probability
    zero. written: bytes of all units on a page. source_bytes: of all texts; None if nothing says
    it. kinds: how often which unit is there, as long as they aren't too many.
    """

    to: str = ""
    documents: Documents = field(default_factory=Documents)
    fine: Counter[int] = field(default_factory=Counter)
    infinite: int = 0
    written: int = 0
    worst: Worst = field(default_factory=Worst)
    source_bytes: int | None = 0
    kinds: Counter[str] = field(default_factory=Counter)
    all_kinds: bool = True
    grouped: bool = False

    def __post_init__(self) -> None:
        if self.to not in ("bytes", "chars"):
            self.source_bytes = None
        self._now = _Document()

    @property
    def length(self) -> float:
        """Bytes of a unit on a page, on average."""
        return self.written / max(1, self.fine.total() + self.infinite)

    @property
    def apart(self) -> bool:
        """Whether units are to be shown apart: they are several symbols, and few of them have white
        space at an end that would do it."""
        spaced = sum(count for unit, count in self.kinds.items() if unit != unit.strip())
        return self.grouped and spaced < 0.2 * self.kinds.total()

    def add(self, part: Part) -> None:
        """Take up the next part."""
        if part.first == 0:
            self._now = _Document()
        now, count = self._now, part.count
        units, bits = part.units[:count], part.bits[:count]
        self._count(part, units, bits)
        now.add(part)
        self._keep(part, bits)
        now.recent = (now.recent + units)[-BEFORE:]
        if part.last:
            now.end(part, self.documents)

    def _count(self, part: Part, units: Sequence[str], bits: Sequence[float]) -> None:
        finite = [value for value in bits if value != math.inf]
        self.infinite += len(bits) - len(finite)
        self.written += bytes_on_page("".join([unit[:LONGEST] for unit in units]))
        self.fine.update([int(value * FINE) for value in finite])
        if self.all_kinds:
            self.kinds.update(units)
            self.all_kinds = len(self.kinds) <= MOST_KINDS
        if self.source_bytes is not None:
            more = len(units) if self.to == "bytes" else utf8_bytes(units)
            self.source_bytes = None if more is None else self.source_bytes + more
        if not self.grouped:
            self.grouped = part.end[-1] - part.start[0] > len(units)

    def _keep(self, part: Part, bits: Sequence[float]) -> None:
        """The most surprising units of a part. After a unit of probability zero, which has no
        successor, nothing is surprising any more."""
        now, worst = self._now, self.worst
        for at, value in enumerate(bits):
            if now.ended:
                return
            now.ended = value == math.inf
            if value > now.worst:
                now.worst, now.worst_at = value, part.first + at
            if value > worst.floor:
                worst.add(unit_of(part, at, value, (value,), now.recent))


def unit_of(
    part: Part, at: int, value: float, bits: tuple[float, ...], recent: Sequence[str]
) -> Unit:
    """The unit at an index of a part. recent: what stands before the part."""
    before = [*recent, *part.units[max(0, at - BEFORE) : at]][-BEFORE:]
    after = part.units[at + 1 : min(part.count, at + 1 + AFTER)]
    text = part.units[at]
    return Unit(value, part.number, part.id, part.first + at, text, before, after, bits)


def key(text: str) -> int:
    """A 64-bit digest."""
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


class _Document:
    """What is gathered of a document while its parts come."""

    def __init__(self) -> None:
        self.bits = self.missing = 0.0
        self.worst, self.worst_at = -1.0, -1
        self.units = 0
        self.ended = False
        self.recent: list[str] = []
        self._hash = blake2b(digest_size=8)

    def add(self, part: Part) -> None:
        self.bits += math.fsum(part.bits)
        self.units += part.count
        gaps = None in part.missing
        self.missing += math.nan if gaps else math.fsum(part.missing)  # type: ignore[arg-type]
        text = "".join(f"{unit}\t" for unit in part.units)
        self._hash.update(text.encode("utf-8", "surrogatepass"))

    def end(self, part: Part, documents: Documents) -> None:
        """The document is complete with this part."""
        place = part.place
        documents.places.append(0 if place is None else key(f"{place[0]}\t{place[1]}"))
        documents.ids.append(key(part.id))
        documents.texts.append(int.from_bytes(self._hash.digest(), "big"))
        documents.bits.append(self.bits)
        documents.end_bits.append(part.bits[-1])
        documents.missing.append(self.missing)
        documents.worst.append(self.worst)
        documents.worst_at.append(self.worst_at)
        documents.units.append(self.units)
        documents.symbols.append(part.symbols)


@dataclass(frozen=True)
class Totals:
    """Sums over documents. logp, in nats, and bits: with ⊥; end_bits: of all ⊥. missing: nats, of
    those documents that have such a number; lacking: how many have none. worst: the number of the
    document that lacks most, None if none lacks anything; infinite: those of probability zero."""

    documents: int
    units: int
    symbols: int
    bits: float
    end_bits: float
    missing: float
    lacking: int
    worst: int | None
    infinite: int
    source_bytes: int | None

    @property
    def rows(self) -> int:
        """Units, and the ⊥ of each document."""
        return self.units + self.documents

    @property
    def unit_bits(self) -> float:
        """Bits without ⊥."""
        return self.bits if math.isinf(self.bits) else self.bits - self.end_bits


def totals(documents: Documents, source_bytes: int | None, chosen: Bools | None = None) -> Totals:
    """The sums. chosen: over which documents, bool [documents]; None: all."""
    which = np.ones(len(documents), dtype=bool) if chosen is None else chosen
    missing = np.where(which, documents.floats("missing"), np.nan)
    known = ~np.isnan(missing)
    most = int(np.argmax(np.where(known, missing, -1.0))) if known.any() else None
    bits, end_bits = documents.floats("bits")[which], documents.floats("end_bits")[which]
    return Totals(
        documents=int(which.sum()),
        units=int(documents.whole("units")[which].sum()),
        symbols=int(documents.whole("symbols")[which].sum()),
        bits=math.fsum(bits),
        end_bits=math.fsum(end_bits),
        missing=math.fsum(missing[known]),
        lacking=int((which & ~known).sum()),
        worst=most if most is not None and missing[most] > 0.0 else None,
        infinite=int(np.isinf(bits).sum()),
        source_bytes=source_bytes,
    )
