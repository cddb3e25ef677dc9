"""Histograms as SVG, with the same counts as a table: a picture alone says nothing to a reader that
speaks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lmfst.report.markup import Html, e
from lmfst.report.summary import FINE

MOST_BINS = 40
_WIDTH, _HEIGHT = 720, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 10, 12, 40
_STEPS = (1, 2, 4, 5, 10, 20, 40, 100, 200, 400, 1000, 2000, 10_000, 100_000, 1_000_000)
"""Widths of bins, in fine ones."""


@dataclass(frozen=True)
class Bins:
    """Counts by bin, one list for each output. low: where the first bin begins, width: of each, in
    bits. above: how many are above the last bin."""

    low: float
    width: float
    counts: list[list[int]]
    above: list[int]

    def label(self, at: int) -> str:
        begin = self.low + at * self.width
        return f"{begin:g} to {begin + self.width:g}"


def binned(fine: Sequence[Counter[int]], infinite: Sequence[int]) -> Bins:
    """Fine counts as at most `MOST_BINS` bins of a handy width, up to where all but a thousandth of
    the units are. infinite: units that are in no bin."""
    # Estimates may be below 0; these are in the first bin.
    last = max(0, *(_quantile(counts, 0.999) for counts in fine))
    step = next((step for step in _STEPS if last < step * MOST_BINS), _STEPS[-1])
    size = min(MOST_BINS, last // step + 1)
    found = [[0] * size for _ in fine]
    above = list(infinite)
    for at, counts in enumerate(fine):
        for index, count in counts.items():
            if index // step < size:
                found[at][max(0, index // step)] += count
            else:
                above[at] += count
    return Bins(0.0, step / FINE, found, above)


def _quantile(counts: Counter[int], share: float) -> int:
    """The fine bin below which that share of the units is."""
    due = share * sum(counts.values())
    for index in sorted(counts):
        due -= counts[index]
        if due <= 0:
            return index
    return 0


def quantile(counts: Counter[int], share: float, infinite: int = 0) -> float:
    """The same in bits, up to the width of a fine bin. infinite: units that are in no bin."""
    if share * (counts.total() + infinite) > counts.total():
        return math.inf
    share *= 1.0 + infinite / max(1, counts.total())
    return (_quantile(counts, share) + 1) / FINE


def histogram(bins: Bins, label: str) -> Html:
    """A drawing. The counts of a second output are a line over the bars of the first."""
    most = max(1, max(map(max, bins.counts)))
    size = len(bins.counts[0])
    slot = (_WIDTH - _LEFT - _RIGHT) / size
    scale = (_HEIGHT - _TOP - _BOTTOM) / most
    floor = _HEIGHT - _BOTTOM
    parts = [*_upward(most, scale), *_along(bins, size, slot)]
    for at, count in enumerate(bins.counts[0]):
        place = {"x": f"{_LEFT + at * slot + 0.5:.1f}", "width": f"{max(1.0, slot - 1):.1f}"}
        tall = {"y": f"{floor - count * scale:.1f}", "height": f"{count * scale:.1f}"}
        parts.append(e("rect", {"class": "fa", **place, **tall}))
    for counts in bins.counts[1:]:
        steps = []
        for at, count in enumerate(counts):
            y = floor - count * scale
            steps += [f"{_LEFT + at * slot:.1f},{y:.1f}", f"{_LEFT + (at + 1) * slot:.1f},{y:.1f}"]
        parts.append(e("polyline", {"class": "lb", "points": " ".join(steps)}))
    view = {"viewBox": f"0 0 {_WIDTH} {_HEIGHT}", "role": "img", "aria-label": label}
    return e("svg", view, parts)


def _upward(most: int, scale: float) -> list[Html]:
    found = []
    power = 10 ** math.floor(math.log10(most))
    step = max(1, next(power * part // 10 for part in (2, 5, 10, 20) if most * 2 <= power * part))
    for count in range(0, most + 1, step):
        y = f"{_HEIGHT - _BOTTOM - count * scale:.1f}"
        ends: dict[str, str | int] = {"x1": _LEFT, "x2": _WIDTH - _RIGHT, "y1": y, "y2": y}
        found.append(e("line", {"class": "grid" if count else "axis", **ends}))
        place: dict[str, str | int] = {"x": _LEFT - 6, "y": y, "text-anchor": "end", "dy": "0.35em"}
        found.append(e("text", place, f"{count:,}"))
    return found


def _along(bins: Bins, size: int, slot: float) -> list[Html]:
    every = max(1, math.ceil(size / 10))
    found = []
    for at in range(0, size + 1, every):
        x = f"{_LEFT + at * slot:.1f}"
        place: dict[str, str | int] = {"x": x, "y": _HEIGHT - _BOTTOM + 16, "text-anchor": "middle"}
        found.append(e("text", place, f"{bins.low + at * bins.width:g}"))
    middle: dict[str, str | int] = {
        "x": (_WIDTH + _LEFT) // 2,
        "y": _HEIGHT - 6,
        "text-anchor": "middle",
    }
    return [*found, e("text", middle, "bits")]
