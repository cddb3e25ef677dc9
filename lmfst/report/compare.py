"""Two outputs of one corpus: documents that belong together, and the difference a unit.

Differences are bits of the second output less bits of the first: above 0 the first one is better.
Units are compared where both outputs have the same units of a document.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest

import numpy as np

from lmfst.ground.arrays import Bools, Floats, Ints
from lmfst.ground.errors import InputError
from lmfst.report.parts import Part, parts
from lmfst.report.shown import DIFFERENT, Gather
from lmfst.report.summary import BEFORE, FINE, Documents, Worst, unit_of

TIE = 1e-6
"""Bits by which documents, and units, must differ to be told apart."""
_STEP = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Pairs:
    """Documents of two outputs that belong together.

    by: what they were matched by. first, second: their numbers, int64 [pairs], in the order of the
    first output. same: whether their units are the same, bool [pairs]. bits: of each, with ⊥,
    float64 [pairs, 2]. alone: how many documents of each output have no partner.
    """

    by: str
    first: Ints
    second: Ints
    same: Bools
    bits: Floats
    alone: tuple[int, int]

    @property
    def in_order(self) -> bool:
        """Whether both outputs have the documents in the same order."""
        return bool((np.diff(self.second) > 0).all())

    @property
    def differences(self) -> Floats:
        """Bits by which the first output is better, float64 [pairs]; not a number where both give a
        document probability zero."""
        with np.errstate(invalid="ignore"):
            found: Floats = self.bits[:, 1] - self.bits[:, 0]
        return found

    def chosen(self) -> list[int]:
        """The pairs in which either output is better by most; the largest difference first."""
        found = np.nan_to_num(self.differences, nan=0.0)
        order = np.argsort(found, kind="stable")
        ends = [*order[:DIFFERENT].tolist(), *order[::-1][:DIFFERENT].tolist()]
        ends.sort(key=lambda pair: -abs(found[pair]))
        return [pair for pair in dict.fromkeys(ends) if abs(found[pair]) > TIE]


def paired(paths: tuple[str, str], documents: tuple[Documents, Documents]) -> Pairs:
    """The documents that two outputs share: by file and line, if both have these and share some,
    else by id; of equal ones the first with the first, and so on. InputError if there are none."""
    one, other = documents
    for by, name in (("file and line", "places"), ("id", "ids")):
        keys = one.whole(name), other.whole(name)
        if name == "places" and not (keys[0].all() and keys[1].all()):
            continue
        _, first, second = np.intersect1d(
            _distinct(keys[0]), _distinct(keys[1]), assume_unique=True, return_indices=True
        )
        if len(first):
            order = np.argsort(first)
            return _pairs(by, documents, first[order], second[order])
    raise InputError(
        f"{paths[0]} and {paths[1]}: expected two outputs of one corpus, found no document that "
        "both have, neither by file and line nor by id",
        hint="compare two models, or two settings, on the same files; or report on each alone",
    )


def _pairs(by: str, documents: tuple[Documents, Documents], first: Ints, second: Ints) -> Pairs:
    one, other = documents
    return Pairs(
        by,
        first,
        second,
        one.whole("texts")[first] == other.whole("texts")[second],
        np.stack([one.floats("bits")[first], other.floats("bits")[second]], axis=1),
        (len(one) - len(first), len(other) - len(second)),
    )


def _distinct(keys: Ints) -> Ints:
    """Keys in which the second of equal ones differs from the first, and so on."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    begins = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    run = np.arange(len(keys)) - np.repeat(begins, np.diff(np.r_[begins, len(keys)]))
    found = keys.copy()
    found[order] = ordered + run.astype(np.uint64) * _STEP
    return found


@dataclass(frozen=True)
class Verdict:
    """Which of two outputs gives the documents that both have the higher probability.

    bits: of each, over documents to which both give some. difference: of the second less the
    first; error: the standard error of the sum, from the spread over documents, None for one.
    better: in how many documents the first is better, and the second; the rest are equal.
    impossible: documents to which the first, the second, and both give probability zero; such
    documents count among `better`.
    """

    documents: int
    bits: tuple[float, float]
    difference: float
    error: float | None
    better: tuple[int, int]
    impossible: tuple[int, int, int]


def verdict(pairs: Pairs) -> Verdict:
    """What the pairs say."""
    infinite = np.isinf(pairs.bits)
    both = infinite.all(axis=1)
    finite = ~infinite.any(axis=1)
    found = pairs.differences
    each, count = found[finite], int(finite.sum())
    error = None
    if count > 1:
        error = float(np.std(each, ddof=1)) * math.sqrt(count)
    return Verdict(
        len(found),
        (math.fsum(pairs.bits[finite, 0]), math.fsum(pairs.bits[finite, 1])),
        math.fsum(each),
        error,
        (int((found > TIE).sum()), int((found < -TIE).sum())),
        (
            int((infinite[:, 0] & ~both).sum()),
            int((infinite[:, 1] & ~both).sum()),
            int(both.sum()),
        ),
    )


@dataclass
class Differences:
    """Differences of units of documents whose units are the same in both outputs.

    fine: how many units have a difference of [i, i + 1) / FINE bits. first, second: the units in
    which either output is better by most. better: in how many units each is better. units: all.
    """

    units: int = 0
    better: tuple[int, int] = (0, 0)
    fine: Counter[int] = field(default_factory=Counter)
    first: Worst = field(default_factory=Worst)
    second: Worst = field(default_factory=Worst)


@dataclass(frozen=True)
class _Row:
    """A row in its part. recent: the units before the part."""

    part: Part
    at: int
    recent: list[str]

    @property
    def bits(self) -> float:
        return self.part.bits[self.at]


def look_again(
    paths: tuple[str, str], pairs: Pairs, gathers: tuple[Gather, Gather]
) -> Differences | None:
    """A second pass over both outputs. None if there is nothing to compare unit by unit: no
    document has the same units, or documents come in another order."""
    same = pairs.first[pairs.same], pairs.second[pairs.same]
    if not pairs.in_order or not len(same[0]):
        for path, gather in zip(paths, gathers, strict=True):
            for part in parts(path):
                gather.add(part)
        return None
    found = Differences()
    one, other = (
        _rows(path, {*numbers.tolist()}, gather)
        for path, numbers, gather in zip(paths, same, gathers, strict=True)
    )
    for a, b in zip_longest(one, other):
        if a is None or b is None:
            raise InputError(
                f"{paths[0]} or {paths[1]} changed while it was read",
                hint="wait until it is complete",
            )
        if a.at < a.part.count:
            _compare(a, b, found)
    return found


def _rows(path: str, numbers: set[int], gather: Gather) -> Iterator[_Row]:
    recent: list[str] = []
    for part in parts(path):
        gather.add(part)
        if part.first == 0:
            recent = []
        if part.number in numbers:
            yield from (_Row(part, at, recent) for at in range(len(part.units)))
        recent = (recent + part.units)[-BEFORE:]


def _compare(a: _Row, b: _Row, found: Differences) -> None:
    bits = a.bits, b.bits
    if math.isinf(bits[0]) and math.isinf(bits[1]):
        found.units += 1
        return
    difference = bits[1] - bits[0]
    found.units += 1
    if difference > TIE:
        found.better = found.better[0] + 1, found.better[1]
    elif difference < -TIE:
        found.better = found.better[0], found.better[1] + 1
    if math.isfinite(difference):
        found.fine[math.floor(difference * FINE)] += 1
    if difference > max(TIE, found.first.floor):
        found.first.add(unit_of(a.part, a.at, difference, bits, a.recent))
    elif -difference > max(TIE, found.second.floor):
        found.second.add(unit_of(a.part, a.at, -difference, bits, a.recent))
