"""A language model with one session that lasts: rows that were asked for once are kept.

For questions that share a prefix, such as many propagations over strings that begin alike. What the
numbers are is up to the model that is wrapped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from lmfst.lm.base import LM, Session, States

if TYPE_CHECKING:
    import torch

MAX_BYTES = 1 << 30


class RememberingLM(LM):
    """`lm`, but every `session()` is the same one, and it forgets no states.

    max_bytes: of the rows kept; beyond that rows are asked for again.
    """

    def __init__(self, lm: LM, *, max_bytes: int = MAX_BYTES) -> None:
        self._lm = lm
        self.vocab, self.merges = lm.vocab, lm.merges
        self._session = RememberingSession(lm.session(), max_bytes)

    def next_logp(self, contexts: Sequence[Sequence[int]]) -> ArrayLike:
        return self._lm.next_logp(contexts)

    def canonical(self, data: bytes) -> Sequence[int] | None:
        return self._lm.canonical(data)

    def encode(self, data: bytes) -> Sequence[int] | None:
        return self._lm.encode(data)

    def session(self) -> Session:
        return self._session

    def describe(self) -> dict[str, Any]:
        return self._lm.describe()


class RememberingSession(Session):
    """A session with a single document, of which all states and (within limits) rows are kept."""

    block = 64

    def __init__(self, session: Session, max_bytes: int) -> None:
        self._inner = session
        self.merges = session.merges
        self._root = session.open()
        self._steps: dict[tuple[int, int], int] = {}
        self._rows: dict[int, torch.Tensor] = {}
        self._bytes, self._max_bytes = 0, max_bytes

    def open(self) -> int:
        return self._root

    def step(self, states: States, tokens: States) -> States:
        pairs = list(zip(states.tolist(), tokens.tolist(), strict=True))
        new = list(dict.fromkeys(pair for pair in pairs if pair not in self._steps))
        if new:
            moved = self._inner.step(*np.array(new, dtype=np.int64).T)
            self._steps.update(zip(new, moved.tolist(), strict=True))
        return np.array([self._steps[pair] for pair in pairs], dtype=np.int64)

    def rows(self, states: States) -> Iterator[tuple[slice, torch.Tensor]]:
        import torch

        for begin in range(0, len(states), self.block):
            wanted = states[begin : begin + self.block].tolist()
            here = {state: self._rows[state] for state in wanted if state in self._rows}
            here |= self._asked([state for state in dict.fromkeys(wanted) if state not in here])
            yield slice(begin, begin + len(wanted)), torch.stack([here[s] for s in wanted])

    def _asked(self, states: list[int]) -> dict[int, torch.Tensor]:
        """Rows from the wrapped session, kept as far as there is room."""
        found: dict[int, torch.Tensor] = {}
        for part, rows in self._inner.rows(np.array(states, dtype=np.int64)):
            for state, row in zip(states[part], rows, strict=True):
                found[state] = row.clone()
        for state, row in found.items():
            size = row.numel() * row.element_size()
            if self._bytes + size <= self._max_bytes:
                self._rows[state] = row
                self._bytes += size
        return found
