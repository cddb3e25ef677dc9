"""How far next-byte distributions are from a reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def jensen_shannon(p: Floats, q: Floats) -> Floats:
    """The Jensen-Shannon divergence of every row, bits, in [0, 1]. p, q: probabilities [n, k]."""
    middle = (p + q) / 2
    return (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2


def _relative_entropy(p: Floats, q: Floats) -> Floats:
    """Σ p log2 (p / q) of every row; q > 0 wherever p > 0."""
    ratio = np.divide(p, q, out=np.ones_like(p), where=p > 0)
    return np.asarray((p * np.log2(ratio)).sum(1))


def mean_divergence(found: Sequence[Floats], reference: Sequence[Floats]) -> float:
    """The mean over all positions of all texts, bits."""
    parts = [jensen_shannon(p, q) for p, q in zip(found, reference, strict=True)]
    return float(np.concatenate(parts).mean())
