"""Tokens drawn from rows: which ones, and what that takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lmfst.inference import draws
from lmfst.inference.draws import draw_tokens, pick
from lmfst.inference.normaliser import Normaliser
from lmfst.lm.base import Session, States

TOKENS = 100


class Given(Session):
    """A session whose rows are given, some at a time: those of state i are row i."""

    def __init__(self, rows: torch.Tensor) -> None:
        self._rows = rows

    def open(self) -> int:
        raise NotImplementedError

    def step(self, states: States, tokens: States) -> States:
        raise NotImplementedError

    def rows(self, states: States) -> Iterator[tuple[slice, torch.Tensor]]:
        for begin in range(0, len(states), 4):
            yield slice(begin, begin + 4), self._rows[states[begin : begin + 4]].clone()


class Largest(TorchDispatchMode):
    """Notes how many bytes the largest tensor has that anything makes."""

    most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if isinstance(found, torch.Tensor):
            self.most = max(self.most, found.nbytes)
        return found


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_many_draws_of_few_rows_take_little_memory(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draws, "_COPIED", 7 * TOKENS)
    rng = np.random.default_rng(1)
    rows = torch.from_numpy(rng.standard_normal((6, TOKENS)) * 3).to(dtype)
    rows[:, 7] = -np.inf
    states, chances = rng.integers(0, 6, 400), rng.random(400)
    with Largest() as largest:
        found = draw_tokens(Given(rows), Normaliser(np.zeros(0, np.int64)), states, chances)
    # Sums, or which rows and by which chances.
    assert largest.most == max(8 * 7 * TOKENS, 16 * len(states))
    sums = np.exp(torch.log_softmax(rows.double(), 1).numpy()).cumsum(axis=1)
    expected = [pick(sums[i], chance) for i, chance in zip(states, chances, strict=True)]
    assert found.tolist() == expected and 7 not in expected and len(set(expected)) > 20
