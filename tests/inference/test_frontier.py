"""Waves, the frontier and decisions against plain Python."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest

from lmfst.inference.canonical import ENDED
from lmfst.inference.frontier import NONE, Frontier, Hypotheses, Records, merged, records
from lmfst.inference.record_types import DOCUMENTS, POSITIONS
from lmfst.inference.wave import decide, grow_trunks, move_on, on_trunk

Node = tuple[float, ...]


def random_wave(rng: np.random.Generator, size: int) -> Hypotheses:
    position, parent, token, lexicon, guide = rng.integers(0, 4, (5, size))
    return Hypotheses(position, parent, token, lexicon, np.log(rng.random(size)), guide)


def keys_of(wave: Hypotheses, states: np.ndarray) -> list[tuple[int, int, int]]:
    columns = (states.tolist(), wave.lexicon.tolist(), wave.position.tolist())
    return list(zip(*columns, strict=True))


def nodes_of(wave: Hypotheses) -> list[Node]:
    columns = (wave.position, wave.parent, wave.token, wave.lexicon, wave.logw, wave.guide)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def add(frontier: Frontier, wave: Hypotheses) -> None:
    frontier.add(wave.position, wave.parent, wave.token, wave.lexicon, wave.guide, wave.logw)


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


@pytest.mark.parametrize("seed", range(10))
def test_the_frontier_gives_back_what_was_added_in_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frontier, waiting = Frontier(4), []
    for _ in range(30):
        wave = random_wave(rng, int(rng.integers(0, 200)))
        add(frontier, wave)
        waiting += nodes_of(wave)
        wanted = np.unique(rng.integers(0, 4, int(rng.integers(1, 4))))
        here = [node for at in wanted for node in waiting if node[0] == at]
        waiting = [node for node in waiting if node[0] not in wanted]
        assert nodes_of(frontier.copy().take(wanted)) == here
        assert nodes_of(frontier.take(wanted)) == here
        assert len(frontier) == len(waiting)
        parents = sorted(zip(*(part.tolist() for part in frontier.parents()), strict=True))
        assert parents == sorted((node[0], node[1]) for node in waiting)


def test_places_are_used_again() -> None:
    rng = np.random.default_rng(0)
    frontier = Frontier(4)
    for _ in range(50):
        add(frontier, random_wave(rng, 100))
        frontier.take(np.arange(4))
    assert len(frontier.waiting) < 300


def one_document(positions: int) -> tuple[Records, Records, np.ndarray]:
    documents = records(DOCUMENTS, 1, last=positions - 2, survives=math.inf, top=7)
    ahead = np.minimum(np.arange(1, positions + 1), positions - 1)
    sums = dict.fromkeys(("log_prefix", "log_dropped", "log_crowded", "best"), -math.inf)
    return documents, records(POSITIONS, positions, ahead=ahead, **sums), np.array([3, 4, ENDED])


def kept_of(
    documents: Records, positions: Records, tokens: np.ndarray, most: int, wave: Hypotheses
) -> tuple[list[int], list[int]]:
    kept, heavy = np.empty((2, len(wave)), dtype=bool)
    columns = (wave.position, wave.parent, wave.token, wave.logw)
    decide(documents, positions, tokens, most, *columns, kept, heavy)
    return np.flatnonzero(kept).tolist(), np.flatnonzero(heavy).tolist()


@pytest.mark.parametrize("seed", range(20))
def test_a_beam_decides_each_offset_for_itself(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wave = random_wave(rng, 30)
    wave = wave.at(np.argsort(wave.position, kind="stable"))
    wave.logw[::5] = wave.logw[0]  # equal weights: the first to arrive is kept
    documents, positions, tokens = one_document(6)
    documents["log_threshold"] = math.log(0.3)
    positions["log_prefix"][:] = np.log(rng.random(6))
    size = int(rng.integers(1, 6))
    expected, all_heavy = [], []
    for at in range(4):
        own = [i for i in range(30) if wave.position[i] == at]
        if not own:
            continue
        reference = max(float(positions["log_prefix"][at + 1]), max(wave.logw[own]))
        heavy = [i for i in own if wave.logw[i] >= reference + math.log(0.3)]
        all_heavy += heavy
        expected += sorted(sorted(heavy, key=lambda i: -wave.logw[i])[:size])
    assert kept_of(documents, positions, tokens, size, wave) == (expected, all_heavy)
    # The source's own next one is kept whatever it weighs.
    documents["top"], tokens[0] = wave.parent[4], wave.token[4]
    alike = (wave.parent == wave.parent[4]) & (wave.token == wave.token[4])
    own = sorted({*expected, *np.flatnonzero(alike).tolist()})
    assert kept_of(documents, positions, tokens, size, wave) == (own, all_heavy)
    # All are kept where none is dropped by weight, but for chains of which nothing is left.
    assert kept_of(documents, positions, tokens, NONE, wave)[0] == list(range(30))
    documents["wave"], documents["top"] = 1, 99
    positions["log_prefix"][:] = 40.0
    assert kept_of(documents, positions, tokens, NONE, wave)[0] == []


def test_a_trunk_goes_on_token_by_token() -> None:
    documents, positions, tokens = one_document(2)

    def grow(parent: int, token: int, state: int) -> None:
        columns = (np.array([value]) for value in (0, parent, token, state))
        grow_trunks(documents, positions, tokens, *columns)

    grow(9, 3, 11)
    grow(7, 4, 11)
    grow(7, 3, NONE)
    assert documents["top"].tolist() == [7]
    grow(7, 3, 9)
    assert on_trunk(documents, tokens, 0, 9, 4)
    assert not on_trunk(documents, tokens, 0, 9, 3)
    grow(9, 4, 10)
    assert on_trunk(documents, tokens, 0, 10, ENDED)


def test_a_document_moves_on_to_where_hypotheses_stand() -> None:
    documents, _, _ = one_document(4)
    frontier = Frontier(4)
    add(
        frontier,
        Hypotheses(*(np.array([value]) for value in (2, 0, 0, 0)), np.zeros(1), np.zeros(1, int)),
    )
    move_on(documents, frontier.ends, 0)
    assert (documents["offset"][0], documents["wave"][0]) == (2, 0)
    move_on(documents, frontier.ends, 0)
    assert (documents["offset"][0], documents["wave"][0]) == (2, 1)
    frontier.take(np.array([2]))
    move_on(documents, frontier.ends, 0)
    assert (documents["offset"][0], documents["wave"][0]) == (3, 0)
