"""Kernels and crossings between device and host of whole runs, which must not grow.

What a run asks of a device shows on a CPU, too: how many operators it calls, and how often numbers
go from one side to the other or one side waits for the other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

from tests.support.paths import SCRIPTS

sys.path.insert(0, str(SCRIPTS))

from benchmark.counts import as_on_a_device, counted, texts, tiny_model
from benchmark.parts import Counting, Parts, WatchedLM

from lmfst.generate.sample import sample
from lmfst.inference.engine import engine_for
from lmfst.inference.policy import Beam
from lmfst.lm.transformers import TransformersLM
from lmfst.model import TransducedLM
from lmfst.target.load import load_target


class Most(NamedTuple):
    """Kernels and crossings at most, of the engine and of the model's side, over a whole run."""

    engine_kernels: int
    engine_crossings: int
    model_kernels: int
    model_crossings: int


PER_CALL = {
    ("bytes", 1, False): Most(3, 10, 113, 1),
    ("bytes", 8, False): Most(6, 21, 143, 1),
    ("words", 8, False): Most(6, 21, 139, 1),
    ("bytes", 1, True): Most(28, 1, 108, 1),
    ("bytes", 8, True): Most(28, 1, 108, 1),
    ("words", 8, True): Most(28, 1, 108, 1),
}
"""A model call, by target, number of documents, and whether calls are packed and rows reduced as on
a device (there by torch; else by kernels on the host, to which arrays of the host's own memory
cross). On a device documents change none of them."""
PER_HUNDRED_ROWS = {
    ("bytes", 1, False): Most(4, 12, 161, 6),
    ("bytes", 8, False): Most(3, 8, 58, 3),
    ("words", 8, False): Most(3, 8, 59, 3),
    ("bytes", 1, True): Most(38, 2, 144, 2),
    ("bytes", 8, True): Most(12, 1, 43, 1),
    ("words", 8, True): Most(13, 1, 46, 1),
}
"""A hundred kept rows."""


@pytest.fixture(scope="module")
def lm() -> TransformersLM:
    return tiny_model()


@pytest.mark.parametrize(("to", "documents", "on_device"), PER_CALL)
def test_kernels_and_crossings_do_not_grow(
    lm: TransformersLM, to: str, documents: int, on_device: bool
) -> None:
    found = counted(lm, to, documents, on_device)
    assert lm.tree and found["kept"] > 400 * documents
    for name in Most._fields:
        number, key = found[name], (to, documents, on_device)
        assert number > 0
        by_call, by_rows = number / found["calls"], 100 * number / found["kept"]
        assert by_call <= getattr(PER_CALL[key], name), f"{name}: {by_call:.1f} a call"
        assert by_rows <= getattr(PER_HUNDRED_ROWS[key], name), f"{name}: {by_rows:.1f} a 100 rows"


def _distributions(model: TransducedLM) -> None:
    targets = [model.transduce(text) for text in texts(3)]
    queries = [model.scorer.query(y, wanted=frozenset(range(len(y) + 1))) for y in targets]
    engine_for(model.setting, model.policy).run(queries)


def _states(model: TransducedLM) -> None:
    states = model.states(texts(3))
    for symbol in b"abba":
        states = [one.advance(symbol) for one in states]
        for one in states:
            one.next_symbols()


@pytest.mark.parametrize(
    "work",
    [
        _distributions,
        _states,
        lambda model: list(sample(model, 4, max_units=20)),
        lambda model: list(sample(model, 4, max_units=20, prompt="ab")),
        lambda model: list(sample(model, 4, max_units=20, temperature=0.7)),
    ],
)
def test_two_crossings_a_call_whatever_is_asked_for(
    lm: TransformersLM, work: Callable[[TransducedLM], object]
) -> None:
    parts = Parts()
    policy = Beam(size=8, threshold=1e-3)
    model = TransducedLM(WatchedLM(lm, parts), load_target("bytes"), policy)
    with as_on_a_device(lm):
        work(model)
        parts.reset()
        with parts.watching(), Counting(parts) as counting:
            work(model)
    assert parts.calls > 4
    assert sum(counting.crossings.values()) == 2 * parts.calls


@pytest.mark.parametrize("to", ["bytes", "words"])
def test_numbers_are_those_of_the_host(lm: TransformersLM, to: str) -> None:
    policy = Beam(size=8, threshold=1e-3)
    model = TransducedLM(lm, load_target(to), policy, warn=lambda message: None)
    expected = model.score(texts(5))
    with as_on_a_device(lm):
        found = model.score(texts(5))
        drawn = [one.text for one in sample(model, 3, seed=1, max_units=20)]
    for one, other in zip(found, expected, strict=True):
        assert one.nodes == other.nodes
        np.testing.assert_allclose(one.logp, other.logp, atol=1e-5)
    assert drawn == [one.text for one in sample(model, 3, seed=1, max_units=20)]
