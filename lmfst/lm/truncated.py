"""`--context N`: a transformers model that is read with its last N tokens only.

That is a model of its own, an n-gram model of order N + 1 whose probabilities a network gives:

    p_N(t | x) = p(t | BOS, the last N tokens of x).

Contexts that end in the same N tokens have the same future, so their probabilities add up (the
merge policy), and sums over exponentially many source strings are exact for p_N. BOS stays in
front, as it does where texts are longer than the model's context (`lmfst.lm.window`).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from lmfst.ground.errors import UsageError
from lmfst.lm.base import LM, ContextSession, Session, States

if TYPE_CHECKING:
    import torch

    from lmfst.lm.transformers import TransformersLM

MAX_BYTES = 1 << 30
"""Memory for rows that are kept; beyond that they are asked for again."""
MAX_TOKENS = 1 << 24
"""Tokens in contexts that are remembered from one batch of documents to the next."""
BLOCK_BYTES = 1 << 26
"""Memory for rows that are asked for together."""


class TruncatedLM(LM):
    """`lm` after its last `length` tokens.

    Raises UsageError if the model can't read so many.
    """

    merges = True

    def __init__(self, lm: TransformersLM, length: int) -> None:
        most = lm.context_length - 1
        if not 1 <= length <= most:
            raise UsageError(
                f"--context must be between 1 and {most} (the model reads that many tokens after "
                f"its begin token), not {length}"
            )
        self.vocab, self.length = lm.vocab, length
        self._lm = self.base = lm
        self._session = _TruncatedSession(self)

    def next_logp(self, contexts: Sequence[Sequence[int]]) -> ArrayLike:
        return self._lm.next_logp([context[-self.length :] for context in contexts])

    def key(self, context: tuple[int, ...]) -> Hashable:
        return context[-self.length :]

    def canonical(self, data: bytes) -> Sequence[int] | None:
        return self._lm.canonical(data)

    def encode(self, data: bytes) -> Sequence[int] | None:
        return self._lm.encode(data)

    def session(self) -> Session:
        """The same session again and again, so that no row is asked for twice."""
        if self._session.full:
            self._session = _TruncatedSession(self)
        return self._session

    def describe(self) -> dict[str, Any]:
        return {**self._lm.describe(), "context": self.length}


class _TruncatedSession(ContextSession):
    """States are the last tokens of a context; their rows are kept as far as there is room."""

    def __init__(self, lm: TruncatedLM) -> None:
        super().__init__(lm)
        self.block = max(1, BLOCK_BYTES // (lm.vocab.size * 4))
        self._length = lm.length
        self._most = MAX_BYTES // (lm.vocab.size * 4)
        self._kept = np.zeros((0, lm.vocab.size), dtype=np.float32)
        self._used = 0
        self._overflown = False
        self._place = np.zeros(0, dtype=np.int64)
        """Where a state's row is kept, -1 for those that are not."""

    @property
    def full(self) -> bool:
        """Whether a new session is better than this one."""
        return self._overflown or len(self._contexts) * self._length > MAX_TOKENS

    def _intern(self, context: tuple[int, ...]) -> int:
        return super()._intern(context[-self._length :])

    def rows(self, states: States) -> Iterator[tuple[slice, torch.Tensor]]:
        import torch

        missing = len(self._contexts) - len(self._place)
        self._place = np.concatenate([self._place, np.full(missing, -1)])
        for begin in range(0, len(states), self.block):
            wanted = states[begin : begin + self.block]
            part = slice(begin, begin + len(wanted))
            place = self._place[wanted]
            if (place >= 0).all():
                yield part, torch.from_numpy(self._kept[place])
                continue
            new = np.unique(wanted[place < 0])
            found = self._asked(new)
            rows = np.empty((len(wanted), found.shape[1]), dtype=np.float32)
            rows[place >= 0] = self._kept[place[place >= 0]]
            rows[place < 0] = found[np.searchsorted(new, wanted[place < 0])]
            yield part, torch.from_numpy(rows)

    def _asked(self, states: States) -> np.ndarray:
        """Rows [n, vocabulary] of states, which are kept if there is room."""
        contexts = [self._contexts[state] for state in states.tolist()]
        rows = np.asarray(self._lm.next_logp(contexts), dtype=np.float32)
        end = self._used + len(states)
        if end > self._most:
            self._overflown = True
            return rows
        if end > len(self._kept):
            size = min(self._most, max(end, 2 * len(self._kept)))
            grown = np.zeros((size, rows.shape[1]), dtype=np.float32)
            grown[: self._used] = self._kept[: self._used]
            self._kept = grown
        self._kept[self._used : end] = rows
        self._place[states] = np.arange(self._used, end)
        self._used = end
        return rows
