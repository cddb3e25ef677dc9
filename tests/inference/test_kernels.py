"""Kernels and crossings between device and host of whole runs, which must not grow.

What a run asks of a device shows on a CPU, too: how many operators it calls, and how often numbers
go from one side to the other or one side waits for the other.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import pytest

from tests.support.paths import SCRIPTS

sys.path.insert(0, str(SCRIPTS))

from benchmark.counts import counted, tiny_model

from lmfst.lm.transformers import TransformersLM


class Most(NamedTuple):
    """Kernels and crossings at most, of the engine and of the model's side, over a whole run."""

    engine_kernels: int
    engine_crossings: int
    model_kernels: int
    model_crossings: int


PER_CALL = {
    ("bytes", 1): Most(116, 30, 130, 18),
    ("bytes", 8): Most(275, 71, 238, 46),
    ("words", 8): Most(328, 84, 272, 52),
}
"""A model call."""
PER_HUNDRED_ROWS = {
    ("bytes", 1): Most(178, 46, 199, 28),
    ("bytes", 8): Most(84, 22, 73, 14),
    ("words", 8): Most(93, 25, 77, 15),
}
"""A hundred kept rows."""


@pytest.fixture(scope="module")
def lm() -> TransformersLM:
    return tiny_model()


@pytest.mark.parametrize(("to", "documents"), PER_CALL)
def test_kernels_and_crossings_do_not_grow(lm: TransformersLM, to: str, documents: int) -> None:
    found = counted(lm, to, documents)
    assert lm.tree and found["kept"] > 400 * documents
    for name in Most._fields:
        number, key = found[name], (to, documents)
        assert number > 0
        by_call, by_rows = number / found["calls"], 100 * number / found["kept"]
        assert by_call <= getattr(PER_CALL[key], name), f"{name}: {by_call:.1f} a call"
        assert by_rows <= getattr(PER_HUNDRED_ROWS[key], name), f"{name}: {by_rows:.1f} a 100 rows"
