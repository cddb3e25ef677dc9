"""N-gram models from ARPA files as source models.

Tokens are their own UTF-8 bytes (`<0xNN>` is the byte NN), perhaps with a separator between them
(`lmfst.vocab.words`); `<s>` and `</s>` are BOS and EOS. The state of a history is the longest
suffix that matters to the model, so contexts that share it merge: sums over exponentially many
source strings become exact and polynomial.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from lmfst.ground.errors import ModelError
from lmfst.lm.base import LM, Session, States
from lmfst.lm.ngram import NgramLM
from lmfst.vocab import Vocab

if TYPE_CHECKING:
    import torch


class BackoffLM(LM):
    """An `NgramLM` with the bytes of its words.

    bos: whether documents begin in the state of `<s>`, else in that of no history. facts:
    provenance for `describe`. Raises ModelError for a model without an end mark.
    """

    merges = True

    def __init__(
        self, model: NgramLM, vocab: Vocab, *, bos: bool = True, facts: dict[str, Any] | None = None
    ) -> None:
        if not model.eos_ids:
            raise ModelError(
                "the n-gram model has no end mark </s>, so its strings never end",
                hint="train or write the model with sentence ends",
            )
        self.vocab = vocab
        self.model = model
        self.bos = bos
        self._facts = facts or {}
        self._start = model.start(bos)

    def state(self, context: Sequence[int]) -> int:
        """The model's state after a context."""
        state = np.array([self._start])
        for token in context:
            state = self.model.step(state, np.array([token]))
        return int(state[0])

    def next_logp(self, contexts: Sequence[Sequence[int]]) -> ArrayLike:
        return self.model.rows(np.array([self.state(context) for context in contexts]))

    def key(self, context: tuple[int, ...]) -> Hashable:
        return self.state(context)

    def session(self) -> Session:
        return _BackoffSession(self)

    def describe(self) -> dict[str, Any]:
        return {**self._facts, "order": self.model.order, "bos": "<s>" if self.bos else None}


class _BackoffSession(Session):
    """States are those of the n-gram model, shared by all documents."""

    merges = True
    block = 4096

    def __init__(self, lm: BackoffLM) -> None:
        self._lm = lm

    def open(self) -> int:
        return self._lm._start

    def step(self, states: States, tokens: States) -> States:
        return self._lm.model.step(states, tokens)

    def rows(self, states: States) -> Iterator[tuple[slice, torch.Tensor]]:
        import torch

        for begin in range(0, len(states), self.block):
            rows = self._lm.model.rows(states[begin : begin + self.block])
            yield slice(begin, begin + len(rows)), torch.from_numpy(rows)
