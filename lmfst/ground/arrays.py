"""Types of arrays, and ragged lists in them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Int = Any
"""An integer in a kernel: Python's own, or an element of an array."""


def spans(begin: Ints, end: Ints) -> tuple[Ints, Ints]:
    """All indices begin[i] … end[i] - 1, and the i that each belongs to."""
    return ragged(begin, end - begin)


def ragged(first: Ints, count: Ints) -> tuple[Ints, Ints]:
    """All indices first[i] … first[i] + count[i] - 1, and the i that each belongs to."""
    owner = np.repeat(np.arange(len(count)), count)
    before = np.cumsum(count) - count
    return np.arange(len(owner)) + (first - before)[owner], owner
