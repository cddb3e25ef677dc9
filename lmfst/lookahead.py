"""Lookahead: which nodes a document will probably need, so that few large LM calls suffice.

A known target and its source text tell what comes. The first call of a document evaluates the
canonical tokenization of the whole text (of a long one, its beginning). Whenever propagation then
meets a kept node that has not been evaluated, it is simulated on with the numbers there are; all
nodes that the simulation keeps and lacks are asked for in one call, each with the beginning of its
canonical continuation: 1 token for a new branch, then 2, 4, 8 … for one that survives. Lookahead
only fills a cache. Decisions are taken offset by offset by the real run, from the same numbers as
without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from lmfst.lexicon import Lexicons
from lmfst.lm.base import Session
from lmfst.vocab import Vocab

Encode = Callable[[bytes], Sequence[int] | None]
Key = tuple[int, int, int]
"""(LM state, lexicon state, offset)"""

TRUNK = 1024
"""Tokens that the first continuation of a document adds, and those that go on from its end."""
LONGEST_REACH = 64
"""Tokens that the continuation of a branch may add at once."""
REQUEST = 512
"""Missing nodes after which a simulation ends; continuations may add as many again."""
HORIZON = 4096
"""Symbols that a simulation goes ahead: what it asks for must fit into memory."""


class Continuation:
    """The canonical way on from every position of a source text, in tokens.

    encode: the tokenizer's own segmentation of a byte string, or None where it has none.
    """

    def __init__(self, text: bytes, vocab: Vocab, encode: Encode) -> None:
        self._text, self._vocab, self._encode = text, vocab, encode
        self._next: dict[int, tuple[int, int]] = {}
        self._lay(0, len(text))
        self._boundaries = sorted(self._next)

    def _lay(self, begin: int, end: int) -> None:
        """Note the tokens of text[begin:end]."""
        at = begin
        for token in self._encode(self._text[begin:end]) or ():
            size = self.size(token, at == 0)
            if size == 0 or at + size > end:
                return
            self._next.setdefault(at, (token, at + size))
            at += size

    def size(self, token: int, first: bool) -> int:
        """Bytes that a token spells, as the first one or later."""
        spelled = self._vocab.token_bytes[0 if first else -1][token]
        return len(spelled) if spelled is not None else 0

    def token(self, position: int) -> tuple[int, int] | None:
        """The token that goes on from a position, and the position after it."""
        if position not in self._next and 0 <= position < len(self._text):
            at = int(np.searchsorted(self._boundaries, position, side="right"))
            end = self._boundaries[at] if at < len(self._boundaries) else len(self._text)
            self._lay(position, end)
        return self._next.get(position)


@dataclass
class Lookahead:
    """The lookahead of one document: where its nodes are in the source, and how far branches reach.

    position: LM state → bytes of the source read. tip: LM state at the end of a continuation that
    was asked for → its length.
    """

    lexicons: Lexicons
    session: Session
    target: Sequence[int]
    continuation: Continuation
    position: dict[int, int] = field(default_factory=dict)
    tip: dict[int, int] = field(default_factory=dict)

    def place(self, parents: np.ndarray, tokens: np.ndarray, states: np.ndarray) -> None:
        """Note the source positions of new nodes."""
        for parent, token, state in zip(
            parents.tolist(), tokens.tolist(), states.tolist(), strict=True
        ):
            if state not in self.position:
                before = self.position.get(parent, 0)
                self.position[state] = before + self.continuation.size(token, before == 0)

    def reach(self, parent: int, token: int) -> int:
        """Tokens to add to a node that is asked for: twice its branch's last reach, else 1."""
        on = self.continuation.token(self.position.get(parent, 0))
        if parent in self.tip and on is not None and on[0] == token:
            # Only the trunk reaches further than a branch may, and goes on so.
            return max(self.tip[parent], min(LONGEST_REACH, 2 * self.tip[parent]))
        return 1

    def extend(self, key: Key, reach: int) -> list[Key]:
        """The nodes of a node's canonical continuation, at most `reach`, that fit the target."""
        state, lexicon, offset = key
        found: list[Key] = []
        position = self.position.setdefault(state, 0)
        while len(found) < reach:
            on = self.continuation.token(position)
            moved = None if on is None else self._read(lexicon, offset, on[0])
            if on is None or moved is None:
                break
            lexicon, offset = moved
            state = int(self.session.step(np.array([state]), np.array([on[0]]))[0])
            position = self.position.setdefault(state, on[1])
            found.append((state, lexicon, offset))
        self.tip[state] = len(found) or 1
        return found

    def _read(self, lexicon: int, offset: int, token: int) -> tuple[int, int] | None:
        """Lexicon state and offset after a token; None if it leaves the target or ends it."""
        decoder, state = self.lexicons.pair(lexicon)
        spelled = self.lexicons.vocab.token_bytes[decoder][token]
        if spelled is None:
            return None
        for byte in spelled:
            step = self.lexicons.machine.step(state, byte)
            if step is None:
                return None
            state, out = step
            if tuple(self.target[offset : offset + len(out)]) != out:
                return None
            offset += len(out)
        if offset >= len(self.target):
            return None
        after = self.lexicons.vocab.next_state[decoder][token]
        return self.lexicons.intern(after, state), offset
