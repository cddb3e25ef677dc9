"""Waves, the pool and decisions against plain Python."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest

from lmfst.inference.frontier import NOWHERE, Agenda, Hypotheses, merged, sorted_by_position
from lmfst.inference.policy import Beam
from lmfst.inference.row_source import keys_of


def random_wave(rng: np.random.Generator, size: int) -> Hypotheses:
    position, parent, token, lexicon, guide = rng.integers(0, 4, (5, size))
    return Hypotheses(position, parent, token, lexicon, np.log(rng.random(size)), guide)


@pytest.mark.parametrize("seed", range(20))
def test_merging_adds_up_equal_nodes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wave = random_wave(rng, 40)
    states = rng.integers(0, 3, 40)
    expected: defaultdict[tuple[int, int, int], float] = defaultdict(float)
    for key, weight in zip(keys_of(wave, states), np.exp(wave.logw).tolist(), strict=True):
        expected[key] += weight
    found_states, found = merged(states, wave)
    assert keys_of(found, found_states) == list(expected)  # in order of first arrival
    np.testing.assert_allclose(np.exp(found.logw), list(expected.values()), rtol=1e-12)


def nodes_of(wave: Hypotheses) -> list[tuple[float, ...]]:
    columns = (wave.position, wave.parent, wave.token, wave.lexicon, wave.logw, wave.guide)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.parametrize("seed", range(10))
def test_the_pool_gives_back_what_was_added_in_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pool, waiting = Agenda(4), []
    for _ in range(30):
        wave = random_wave(rng, int(rng.integers(0, 200)))
        pool.put_back(wave)
        waiting += nodes_of(wave)
        wanted = np.unique(rng.integers(0, 4, int(rng.integers(1, 4))))
        here = [node for node in waiting if node[0] in wanted]
        waiting = [node for node in waiting if node[0] not in wanted]
        for documents in (1, 2):
            document = np.array([0, 0, 1, 1]) % documents
            places: list[list[int]] = [[NOWHERE] for _ in range(documents)]
            for position, *_ in (*here, *waiting):
                places[document[position]].append(position)
            assert pool.first_of(document, documents).tolist() == [min(p) for p in places]
        taken = pool.copy().take(wanted)
        assert pool.take(wanted) is not None or taken is None
        assert ([] if taken is None else nodes_of(taken)) == here
        assert len(pool) == len(waiting)


@pytest.mark.parametrize("seed", range(20))
def test_a_beam_decides_each_offset_for_itself(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wave = sorted_by_position(random_wave(rng, 30))
    wave.logw[::5] = wave.logw[0]  # equal weights: the first to arrive is kept
    reference = np.log(rng.random(len(wave.first())))
    policy = Beam(size=int(rng.integers(1, 6)), threshold=0.3)
    kept = policy.keep(wave.logw, wave.first(), reference + math.log(0.3))
    ends = [*wave.first()[1:].tolist(), len(wave)]
    for begin, end, ref in zip(wave.first().tolist(), ends, reference.tolist(), strict=True):
        heavy = [i for i in range(begin, end) if wave.logw[i] >= ref + math.log(0.3)]
        heavy.sort(key=lambda i: -wave.logw[i])
        assert np.flatnonzero(kept[begin:end]).tolist() == sorted(
            i - begin for i in heavy[: policy.size]
        )
