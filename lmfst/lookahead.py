"""Lookahead: which nodes a document will probably need, so that few large LM calls suffice.

A known target and its source text tell what comes. The first request of a document evaluates the
canonical tokenization of the whole text (of a long one, its beginning). Whenever propagation then
meets a kept node that has not been evaluated, it is simulated on: a node without a row is taken to
behave like an evaluated one that has read the same text, which differs in older tokens only. What
the simulation keeps is asked for at once; so the branches that are likely to be kept come with all
of their likely continuations. Where nothing has been evaluated at a place, the canonical tokens go
on from there, until they meet a place where something has.

Lookahead only fills a cache. Decisions are taken offset by offset by the real run, from the same
numbers as without it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field

import numpy as np

from lmfst.lexicon import Lexicons
from lmfst.lm.base import Session
from lmfst.pattern import Pattern, fits
from lmfst.vocab import Vocab

Encode = Callable[[bytes], Sequence[int] | None]
Key = tuple[int, int, int]
"""(LM state, lexicon state, position in the batch)"""

TRUNK = 1024
"""Tokens that a continuation adds at most."""
REQUEST = 512
"""Missing nodes of a batch after which a simulation ends. A call of this many rows costs hardly
more per row than a larger one, and what is asked for less far ahead is more often kept."""


class Continuation:
    """The canonical way on from every position of a source text, in tokens.

    encode: a segmentation of a byte string into tokens, or None where it has none. is_canonical:
    whether that of the whole text is the tokenizer's own.
    """

    def __init__(
        self, text: bytes, vocab: Vocab, encode: Encode, *, is_canonical: bool = False
    ) -> None:
        self._text, self._vocab, self._encode = text, vocab, encode
        self.is_canonical = is_canonical
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

    def tokens(self) -> list[int]:
        """The canonical tokens of the whole text, as far as there are any."""
        found, position = [], 0
        while (on := self.token(position)) is not None:
            found.append(on[0])
            position = on[1]
        return found


@dataclass
class Lookahead:
    """The lookahead of one document: where its nodes are in the source.

    position: LM state → bytes of the source read.
    """

    lexicons: Lexicons
    session: Session
    target: Pattern
    continuation: Continuation
    position: dict[int, int] = field(default_factory=dict)

    def place(self, parent: int, token: int, state: int) -> None:
        """Note the source position of a new node, whose parent has been noted or is the root."""
        if state not in self.position:
            before = self.position.get(parent, 0)
            self.position[state] = before + self.continuation.size(token, before == 0)

    def extend(self, key: Key, base: int, known: Container[tuple[int, int]]) -> list[Key]:
        """The nodes of a node's canonical continuation that fit the target, at most `TRUNK`.

        base: the document's first position in the batch. known: places (lexicon state, position)
        at which the continuation ends.
        """
        state, lexicon, offset = key[0], key[1], key[2] - base
        found: list[Key] = []
        position = self.position.setdefault(state, 0)
        while len(found) < TRUNK:
            on = self.continuation.token(position)
            moved = None if on is None else self._read(lexicon, offset, on[0])
            if on is None or moved is None or (moved[0], moved[1] + base) in known:
                break
            lexicon, offset = moved
            state = int(self.session.step(np.array([state]), np.array([on[0]]))[0])
            position = self.position.setdefault(state, on[1])
            found.append((state, lexicon, offset + base))
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
            if not fits(self.target[offset : offset + len(out)], out):
                return None
            offset += len(out)
        if offset >= len(self.target):
            return None
        after = self.lexicons.vocab.next_state[decoder][token]
        return self.lexicons.intern(after, state), offset
