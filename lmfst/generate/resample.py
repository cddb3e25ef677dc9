"""Sequential Monte Carlo over target units: strings with weights, drawn anew as these drift apart.

M strings grow together, each by a unit at a time, and are weighted as they are where strings are
drawn one by one (`lmfst.generate.constrain`, `lmfst.generate.by_unit`). When the effective sample
size (Σ w)² / Σ w² is below M / 2, M strings are drawn among them in proportion to their weights,
with replacement, and each weighs the mean of what they weighed. So each string is properly
weighted: the mean of the weights stays an unbiased estimate of P(accepted). (Gordon, Salmond and
Smith, IEE Proc. F 140(2), 1993; for strings of language models: Lew et al., arXiv 2306.03081.)

Strings that grew together depend on each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from lmfst.generate.drawn import Growing
from lmfst.ground.arrays import Floats
from lmfst.inference.draws import pick

Weighed = tuple[Growing, float]
"""A string, and the effective sample size of its run."""


def run(
    size: int,
    begin: Callable[[int], Growing],
    step: Callable[[list[Growing]], None],
    random: np.random.Generator,
    together: int,
) -> Iterator[Weighed]:
    """The strings of one run. begin: a new string, by its number. step: takes strings further.
    random: draws among strings. together: how many grow at a time, at most."""
    strings = [begin(number) for number in range(size)]
    units = 0
    while not all(string.over for string in strings):
        units += 1
        waiting = _short(strings, units)
        while waiting:
            step(waiting[:together])
            waiting = _short(waiting, units)
        strings = _drawn_anew(strings, random)
    ess = effective(string.logw for string in strings)
    yield from ((string, ess) for string in strings)


def _short(strings: Sequence[Growing], units: int) -> list[Growing]:
    """The strings that haven't so many units yet."""
    return [one for one in strings if not one.over and one.complete_units < units]


def _drawn_anew(strings: list[Growing], random: np.random.Generator) -> list[Growing]:
    logw = np.array([string.logw for string in strings])
    if effective(logw) >= len(strings) / 2 or np.isneginf(logw).all():
        return strings
    weights, top = shares(logw)
    mean = math.log(weights.mean()) + top
    sums = np.cumsum(weights)
    found = []
    for string in strings:
        other = strings[pick(sums, random.random())].twin(string.random)
        other.logw = mean
        found.append(other)
    return found


def shares(logw: Floats) -> tuple[Floats, float]:
    """Weights [n] as shares of the largest, and its log, nats; zeros where all weigh nothing."""
    top = float(logw.max(initial=-np.inf))
    if np.isneginf(top):
        return np.zeros(len(logw)), 0.0
    return np.exp(logw - top), top


def effective(logw: Iterable[float]) -> float:
    """The effective sample size of strings with log weights, nats: how many of equal weight tell as
    much; 0 where all weigh nothing."""
    weights, _ = shares(np.array(list(logw), dtype=np.float64))
    total = float(weights.sum())
    return total**2 / float((weights**2).sum()) if total > 0 else 0.0


class Weights:
    """The weights of strings that were drawn, and what they tell together."""

    def __init__(self) -> None:
        self._logw: list[float] = []

    def add(self, logw: float | None) -> None:
        """Count a string; None: it has no weight."""
        if logw is not None:
            self._logw.append(logw)

    def told(self, way: str) -> str:
        """A sentence about them."""
        logw = np.array(self._logw, dtype=np.float64)
        weights, top = shares(logw)
        if not weights.any():
            return (
                "no string within the grammar was found: all came to where nothing goes on"
                if len(weights)
                else "no string was drawn"
            )
        mean = float(weights.mean())
        logp = math.log(mean) + top
        if way == "exact":
            return f"strings are within the grammar with log-probability {logp:.6g} (nats), exactly"
        said = f"strings are within the grammar with log-probability {logp:.4g} (nats), by estimate"
        if way != "resampled" and len(weights) > 1:
            error = float(weights.std(ddof=1)) / math.sqrt(len(weights)) / mean
            said += f" (standard error {error:.2g})"
        return f"{said}; effective sample size {effective(logw):.1f} of {len(logw)}"
