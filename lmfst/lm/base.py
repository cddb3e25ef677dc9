"""What lmfst asks of a source language model.

An `LM` has one required method, `next_logp`: the next-token log-probabilities after each of several
contexts. Everything else has a default that is right, if not fast. Propagation sees a model through
a `Session`: an automaton whose states are ints, with the moves `open`, `step` and `rows`. Two
contexts with one state add up (merge); a model whose future depends on the whole past has one state
a context, an n-gram model one state a history, which makes sums over exponentially many strings
polynomial.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmfst.ground import defaults
from lmfst.lm.transfers import Outbox
from lmfst.vocab import Vocab

if TYPE_CHECKING:
    import torch

States = NDArray[np.int64]


class LM(ABC):
    """A causal language model over token ids 0 .. vocab.size - 1.

    vocab: the bytes of every token, its EOS ids and specials.
    merges: whether several contexts can have one `key`, so that their probabilities add up.
    batch_symbols: of documents that are scored together, at most, one document aside.
    """

    vocab: Vocab
    merges: bool = False
    batch_symbols: int = defaults.BATCH_SYMBOLS

    @abstractmethod
    def next_logp(self, contexts: Sequence[Sequence[int]]) -> ArrayLike:
        """Log-probabilities [len(contexts), vocab.size] of the token after each context.

        A context holds the tokens so far, without BOS (the model adds its own); natural log; any
        constant may be added to a row, since rows are normalised over the support afterwards.
        """

    def key(self, context: tuple[int, ...]) -> Hashable:
        """What the future depends on: contexts with equal keys must have equal futures."""
        return context

    def canonical(self, data: bytes) -> Sequence[int] | None:
        """The tokenizer's own tokens of a byte string; None where it has none."""
        return None

    def encode(self, data: bytes) -> Sequence[int] | None:
        """The canonical tokens of a byte string, or else any that spell it; None if nothing does.
        The speed of scoring depends on it, and what a beam keeps beside the heaviest hypotheses.
        """
        own = self.canonical(data)
        return self.vocab.encode_any(data) if own is None else own

    def session(self) -> Session:
        """A fresh session for a batch of documents."""
        return ContextSession(self)

    def describe(self) -> dict[str, Any]:
        """What made the numbers: JSON-ready facts such as name, revision, dtype and BOS rule."""
        return {"model": type(self).__name__}


class Session(ABC):
    """An automaton over token ids, for the documents of one batch. States are ints.

    outbox: takes what is to go to the device of rows; None where they are on the host. halves: how
    many documents are decided for in two halves, at least, since a device evaluates one while the
    host goes on with the other; None: never.
    """

    merges: bool = False
    outbox: Outbox | None = None
    halves: int | None = None

    @abstractmethod
    def open(self) -> int:
        """The state of a new document: nothing read but BOS."""

    @abstractmethod
    def step(self, states: States, tokens: States) -> States:
        """The states [n] after reading tokens [n] in states [n]."""

    @abstractmethod
    def rows(self, states: States) -> Iterator[tuple[slice, torch.Tensor]]:
        """Next-token log-probabilities, up to a constant a row, in blocks.

        Yields (slice into `states`, float tensor [slice length, vocabulary]); a block may be
        overwritten by the caller and is not kept by the session.
        """

    def retain(  # noqa: B027 (forgetting is optional)
        self, root: int, live: States
    ) -> None:
        """Forget what a document no longer needs: of its states `live` will be asked for again;
        others only if the document is propagated once more, and may take longer then."""

    def retain_all(self, live: Sequence[tuple[int, States]]) -> None:
        """`retain` for all documents of the session that are still propagated: their roots, and
        the states that will be asked for again."""
        for root, states in live:
            self.retain(root, states)

    def close(self, root: int) -> None:  # noqa: B027 (as above)
        """Forget a document."""


class ContextSession(Session):
    """The session of any `LM`: states are its interned keys, each with one context that has it.
    Where every context is a key of its own, a context is kept as the one before it and a token."""

    block = 256

    def __init__(self, lm: LM) -> None:
        self._lm = lm
        self.merges = lm.merges
        self._contexts: list[tuple[int, ...]] = []
        self._ids: dict[Hashable, int] = {}

    def _intern(self, context: tuple[int, ...]) -> int:
        key = self._lm.key(context) if self.merges else context
        if key not in self._ids:
            self._ids[key] = len(self._contexts)
            self._contexts.append(context)
        return self._ids[key]

    def _context(self, state: int) -> tuple[int, ...]:
        """A context of a state."""
        if self.merges:
            return self._contexts[state]
        found: list[int] = []
        while state:
            state, token = self._contexts[state]
            found.append(token)
        return tuple(reversed(found))

    def open(self) -> int:
        return self._intern(())

    def step(self, states: States, tokens: States) -> States:
        # Without merging a pair (state, token) is as good a key as the whole context.
        moved = [
            self._intern((*self._contexts[state], token) if self.merges else (state, token))
            for state, token in zip(states.tolist(), tokens.tolist(), strict=True)
        ]
        return np.array(moved, dtype=np.int64)

    def rows(self, states: States) -> Iterator[tuple[slice, torch.Tensor]]:
        import torch

        for begin in range(0, len(states), self.block):
            part = slice(begin, begin + self.block)
            contexts = [self._context(state) for state in states[part].tolist()]
            rows = np.array(self._lm.next_logp(contexts))
            yield slice(begin, begin + len(contexts)), torch.from_numpy(rows)
