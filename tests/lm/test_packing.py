"""Packing of calls against brute force: a model whose row for a context is the context itself."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from lmfst.lm.attention import Inputs
from lmfst.lm.nodes import ENTRY, HELD, SLOT, USED
from lmfst.lm.packing import stable_order
from lmfst.lm.sizes import ON_CPU, Sizes
from lmfst.lm.tree import TreeSession
from lmfst.lm.window import Windows


class Reader:
    """A model that, by what its call lets each entry see, says which tokens it has read.

    fails: how often a call runs out of memory. calls: the sizes of all calls.
    """

    device = place = torch.device("cpu")
    dtype, sizes = torch.float32, ON_CPU

    def __init__(self, length: int, bos: int | None, budget: int, fails: float) -> None:
        self.windows, self.bos, self.batch_tokens = Windows(length), bos, budget
        self.fails, self.random = fails, np.random.default_rng(1)
        self.calls: list[int] = []
        self.warned = 0
        self.held: dict[int, tuple[int, int]] = {}
        """Slot → token and position."""
        self.read: dict[int, tuple[int, ...]] = {}
        """Slot → the tokens up to its own that were read for it."""

    def uniform_row(self) -> torch.Tensor:
        return torch.full((1, 1), -1)

    def warn_of_length(self) -> None:
        self.warned += 1

    def shrink(self, tokens: int, error: BaseException) -> None:
        assert tokens == self.calls[-1]

    def forward(self, inputs: Inputs) -> torch.Tensor:
        tokens, positions = inputs.tokens.tolist(), inputs.positions.tolist()
        slots = inputs.call.slots.tolist()
        self.calls.append(len(tokens))
        assert 0 < len(tokens) <= self.batch_tokens
        assert len(set(slots)) == len(slots) and max(slots) < inputs.call.store.capacity
        for slot in slots:
            self.read.pop(slot, None)
        self.held.update(zip(slots, zip(tokens, positions, strict=True), strict=True))
        if self.random.random() < self.fails:
            raise MemoryError
        seen = self._seen(inputs)
        for i in np.argsort(positions, kind="stable").tolist():
            keys = sorted(seen[i], key=lambda slot: self.held[slot][1])
            found = tuple(self.held[slot][0] for slot in keys)
            assert [self.held[slot][1] for slot in keys] == list(range(positions[i] + 1))
            assert keys[-1] == slots[i]
            # What is seen had read nothing else itself.
            assert all(self.read[slot] == found[: n + 1] for n, slot in enumerate(keys[:-1]))
            self.read[slots[i]] = found
        return torch.tensor([slots[i] for i in inputs.asked.tolist()])

    def _seen(self, inputs: Inputs) -> list[list[int]]:
        """The slots that each entry sees."""
        found: list[list[int]] = []
        call, count = inputs.call, len(inputs.tokens)
        for block in call.blocks:
            mask = block.mask[:, 0]
            assert ((mask == 0) | (mask == torch.finfo(mask.dtype).min)).all()
            assert block.run is None or block.context.tolist() == [[*range(10**6)[block.run]]]
            query_at, key_at = block.positions
            for chunk, keys in enumerate(block.context.tolist()):
                for row, own in zip(range(mask.shape[1]), mask[chunk], strict=True):
                    looks = (own == 0).nonzero()[:, 0].tolist()
                    assert looks
                    found.append([keys[k] for k in looks])
                    if len(looks) > 1:
                        assert query_at[chunk, row] == self.held[found[-1][-1]][1]
                        at = [self.held[keys[k]][1] for k in looks]
                        assert key_at[chunk, looks].tolist() == at
        if call.answers is None or call.queries is None:
            assert call.answers is call.queries is None and len(found) == count
            return found
        assert call.queries[call.answers].tolist() == list(range(count))
        return [found[query] for query in call.answers.tolist()]

    def logits(self, found: torch.Tensor) -> Iterator[torch.Tensor]:
        yield from found[:, None].split(5)


def expected(lm: Reader, text: list[int]) -> tuple[int, ...]:
    """What is read of a text: at most the last tokens that fit."""
    first = 0
    while len(text) - first + 1 > lm.windows.length:
        first += lm.windows.stride
    return (*([] if lm.bos is None else [lm.bos]), *text[first:])


@pytest.mark.parametrize("length", [2, 7, 8, 1000])
@pytest.mark.parametrize("bos", [0, None])
@pytest.mark.parametrize("budget", [4, 40])
@pytest.mark.parametrize(
    "sizes", [ON_CPU, Sizes(product=1 << 20, step=16, rows=64, halves=None, symbols=100)]
)
def test_calls_see_what_brute_force_says(
    length: int, bos: int | None, budget: int, sizes: Sizes
) -> None:
    rng = np.random.default_rng([length, budget])
    lm = Reader(length, bos, budget, fails=0.1)
    lm.sizes = sizes
    session = TreeSession(lm)
    session.compact_above = 3
    texts: dict[int, dict[int, list[int]]] = {}
    for turn in range(40):
        if turn % 10 < 3:
            texts[session.open()] = {}
        for root, states in texts.items():
            states.setdefault(root, [])
            for _ in range(int(rng.integers(1, 12))):
                known = list(states)
                at = known[-1 - int(rng.integers(min(3, len(known)))) if rng.random() < 0.9 else 0]
                text = [*states[at], int(rng.integers(1, 10**9))]
                pair = np.array([at]), np.array(text[-1:])
                state = int(session.step(*pair)[0])
                assert session.step(*pair) == [state] and state not in states
                states[state] = text
        asked = [s for states in texts.values() for s in states if rng.random() < 0.3]
        asked = [asked[int(i)] for i in rng.permutation(len(asked))]
        text_of = {state: text for states in texts.values() for state, text in states.items()}
        for part, rows in session.rows(np.array(asked, dtype=np.int64)):
            for state, row in zip(asked[part], rows[:, 0].tolist(), strict=True):
                if bos is None and not text_of[state]:
                    assert row == -1
                else:
                    assert lm.read[row] == expected(lm, text_of[state])
        trees = session.trees.arrays
        assert trees.nodes[:, HELD].sum() == (trees.slots[:, ENTRY] >= 0).sum()
        _forget(session, texts, rng)
    assert (
        lm.warned
        == sum(any(len(text) >= length for text in states.values()) for states in texts.values())
        or length < 1000
    )
    for root in texts:
        session.close(root)
    trees = session.trees.arrays
    assert trees.counts[USED] == 0 and (trees.nodes[:, SLOT:HELD] == -1).all()


def _forget(
    session: TreeSession, texts: dict[int, dict[int, list[int]]], rng: np.random.Generator
) -> None:
    """Retain some states of every document, and close one now and then."""
    for root, states in list(texts.items()):
        if rng.random() < 0.02:
            session.close(root)
            del texts[root]
        elif rng.random() < 0.3:
            live = [state for state in states if state == root or rng.random() < 0.5]
            session.retain(root, np.array(live))
            texts[root] = {state: states[state] for state in live}


def test_entries_that_are_asked_for_again_are_the_only_ones_evaluated_twice() -> None:
    lm = Reader(1000, 0, 100, fails=0.0)
    session = TreeSession(lm)
    path = [session.open()]
    for token in range(1, 20):
        path += session.step(np.array(path[-1:]), np.array([token])).tolist()
    for asked, size in ((path[5:6], 6), (path[9:10], 4), (path[9:11], 2), (path[3:], 17)):
        for _ in session.rows(np.array(asked)):
            pass
        assert lm.calls[-1] == size
    assert session.trees.arrays.counts[USED] == 20


def test_states_of_no_session_are_an_error() -> None:
    session = TreeSession(Reader(1000, 0, 100, fails=0.0))
    with pytest.raises(IndexError, match="no such state"):
        session.step(np.array([session.open() + 1]), np.array([3]))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 64, 1000])
def test_sorting_is_stable(count: int) -> None:
    keys = np.random.default_rng(count).integers(0, 20, count)
    assert stable_order(keys).tolist() == np.argsort(keys, kind="stable").tolist()
