"""The reference of the decision step in torch against the host's, and against plain loops."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lmfst.inference.frontier import records
from lmfst.inference.record_types import DOCUMENTS, POSITIONS
from lmfst.inference.reference import keep, reference_weight
from lmfst.inference.wave import decide, keep_heaviest

WEIGHTS = st.one_of(
    st.sampled_from([-math.inf, -3.0, -2.0, -1.0, 0.0, -0.0]),
    st.floats(-60, 0),
)
SEGMENTS = st.lists(st.lists(WEIGHTS, min_size=1, max_size=15), min_size=1, max_size=9)
SIZES = st.integers(1, 20)


def joined(segments: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    """Log weights, and where each segment begins."""
    sizes = np.array([len(one) for one in segments])
    return np.array([w for one in segments for w in one]), np.cumsum(sizes) - sizes


def kept_by_torch(logw: Any, first: Any, least: Any, size: int) -> list[bool]:
    tensors = (torch.from_numpy(np.asarray(one)) for one in (logw, first, least))
    found = keep(*tensors, size)
    assert found.dtype == torch.bool
    return found.tolist()


def kept_by_loops(segments: list[list[float]], least: list[float], size: int) -> list[bool]:
    found = []
    for one, bound in zip(segments, least, strict=True):
        heavy = [i for i, w in enumerate(one) if w >= bound]
        best = set(sorted(heavy, key=lambda i: -one[i])[:size])
        found += [i in best for i in range(len(one))]
    return found


@settings(max_examples=300)
@given(SEGMENTS, st.lists(WEIGHTS, min_size=9, max_size=9), SIZES)
@example([[-1.0] * 5, [-math.inf] * 3, [-2.0]], [-1.0, -math.inf, -1.0] * 3, 2)
@example([[-1.0, -1.0]], [0.0] * 9, 1)
def test_what_is_kept(segments: list[list[float]], least: list[float], size: int) -> None:
    least = least[: len(segments)]
    logw, first = joined(segments)
    expected = kept_by_loops(segments, least, size)
    kept = logw >= np.repeat(least, np.diff(first, append=len(logw)))
    for begin, end in pairwise([*first.tolist(), len(logw)]):
        keep_heaviest(logw, begin, end, size, kept)
    assert kept.tolist() == expected
    assert kept_by_torch(logw, first, least, size) == expected


@pytest.mark.parametrize("documents", [1, 8, 256])
@pytest.mark.parametrize("size", [1, 8, 1000])
def test_large_waves(documents: int, size: int) -> None:
    rng = np.random.default_rng(documents)
    sizes = rng.integers(1, 40, documents)
    first = np.cumsum(sizes) - sizes
    # In steps, so that many are alike.
    logw = rng.integers(-40, 0, sizes.sum()) / 4
    least = rng.integers(-40, 0, documents) / 4
    segments = np.split(logw, first[1:])
    expected = kept_by_loops([one.tolist() for one in segments], least.tolist(), size)
    assert kept_by_torch(logw, first, least, size) == expected
    assert any(expected) and not all(expected)


def test_nothing_to_decide() -> None:
    nothing = torch.zeros(0, dtype=torch.float64)
    assert keep(nothing, torch.zeros(0, dtype=torch.int64), nothing, 3).tolist() == []


@settings(max_examples=200)
@given(SEGMENTS, st.integers(0, 2**32 - 1), SIZES)
def test_weighing_is_that_of_the_engine(segments: list[list[float]], seed: int, size: int) -> None:
    """Thresholds and what is kept, of waves of as many documents as there are segments."""
    rng = np.random.default_rng(seed)
    count = len(segments)
    logw, first = joined(segments)
    log_prefix = np.where(rng.random(count) < 0.2, -np.inf, rng.uniform(-60, 0, count))
    survives = np.where(rng.random(count) < 0.7, np.inf, rng.uniform(-60, 0, count))
    log_threshold = np.where(rng.random(count) < 0.2, -np.inf, np.log(rng.uniform(0.001, 1, count)))
    tensors = [torch.from_numpy(x) for x in (logw, first, log_prefix, survives, log_threshold)]
    least = reference_weight(*tensors)
    assert least.dtype == torch.float64
    by_loops = [
        min(max(max(one), p), s) + t
        for one, p, s, t in zip(segments, log_prefix, survives, log_threshold, strict=True)
    ]
    assert least.tolist() == by_loops

    # Of document d, position 2·d is decided; what it is weighed against stands one symbol on.
    owner = np.repeat(np.arange(count), [len(one) for one in segments])
    places = np.arange(2 * count)
    positions = records(POSITIONS, 2 * count, document=places // 2, ahead=places | 1)
    positions["log_prefix"] = np.repeat(log_prefix, 2)
    documents = records(DOCUMENTS, count, survives=survives, log_threshold=log_threshold, top=-9)
    nothing, (kept, heavy) = np.zeros(len(logw), np.int64), np.empty((2, len(logw)), dtype=bool)
    tokens = np.zeros(1, np.int64)
    decide(documents, positions, tokens, size, 2 * owner, nothing, nothing, logw, kept, heavy)
    assert keep(tensors[0], tensors[1], least, size).tolist() == kept.tolist()
    assert (tensors[0] >= least[torch.from_numpy(owner)]).tolist() == heavy.tolist()
