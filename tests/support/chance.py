"""Tests of draws against exact probabilities: Pearson's chi-square, and Kolmogorov and Smirnov's
on chances made of draws (the randomised probability integral transform). p-values."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch

String = tuple[int, ...]
FEWEST = 5.0
"""Draws that a class must be expected to have; rarer strings are one class together."""


def chi_square(drawn: Sequence[String], exact: Mapping[String, float]) -> float:
    """p-value of Pearson's test. A string of probability zero: 0."""
    counts = Counter(drawn)
    if any(exact.get(string, 0.0) <= 0.0 for string in counts):
        return 0.0
    total, size = math.fsum(exact.values()), len(drawn)
    cells: list[tuple[float, int]] = []
    rare = [0.0, 0]
    for string, p in exact.items():
        expected = size * p / total
        if expected < FEWEST:
            rare = [rare[0] + expected, rare[1] + counts[string]]
        else:
            cells.append((expected, counts[string]))
    if rare[0] >= FEWEST:
        cells.append((rare[0], int(rare[1])))
    elif rare[0] > 0:
        expected, count = cells.pop()
        cells.append((expected + rare[0], count + int(rare[1])))
    statistic = math.fsum((count - expected) ** 2 / expected for expected, count in cells)
    freedom = len(cells) - 1
    assert freedom >= 2, "too few strings to tell anything"
    half = torch.tensor([freedom / 2, statistic / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(half[0], half[1]))


def kolmogorov_smirnov(drawn: Sequence[String], exact: Mapping[String, float], seed: int) -> float:
    """p-value, asymptotic, of the test that draws have the distribution: F(y-) + U p(y), with the
    strings in order, is uniform. seed: of U."""
    total, below, before = math.fsum(exact.values()), {}, 0.0
    for string in sorted(exact):
        below[string] = before
        before += exact[string] / total
    random = np.random.default_rng(seed)
    chances = np.sort([below[y] + random.random() * exact[y] / total for y in drawn])
    size = len(chances)
    steps = np.arange(size + 1) / size
    distance = max(float((steps[1:] - chances).max()), float((chances - steps[:-1]).max()))
    scaled = distance * (math.sqrt(size) + 0.12 + 0.11 / math.sqrt(size))
    terms = (2 * (-1) ** (k - 1) * math.exp(-2 * (k * scaled) ** 2) for k in range(1, 101))
    return min(1.0, max(0.0, math.fsum(terms))) if scaled > 0.2 else 1.0
