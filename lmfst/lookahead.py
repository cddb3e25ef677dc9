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

Place = tuple[int, int]
"""(position in the source, state of the decoder of tokens)"""
BEGIN: Place = (0, 0)

TRUNK = 1024
"""Tokens that a continuation adds at most."""
REQUEST = 512
"""Missing nodes of a batch after which a simulation ends. A call of this many rows costs hardly
more per row than a larger one, and what is asked for less far ahead is more often kept."""


class Continuation:
    """The canonical way on from every place of a source text, in tokens.

    encode: a segmentation of a byte string into tokens, or None where it has none. canonical: the
    tokenizer's own tokens of the whole text, if it has any; is_canonical: whether these are the way
    on from the beginning.
    """

    def __init__(
        self, text: bytes, vocab: Vocab, encode: Encode, canonical: Sequence[int] | None = None
    ) -> None:
        self._text, self._vocab, self._encode = text, vocab, encode
        self._next: dict[Place, tuple[int, Place]] = {}
        self._lay(BEGIN, encode(text) if canonical is None else canonical, len(text))
        self._boundaries = sorted({position for position, _ in self._next})
        self.is_canonical = canonical is not None and self.tokens() == list(canonical)

    def _lay(self, place: Place, tokens: Sequence[int] | None, end: int) -> None:
        """Note tokens of the text from a place on, as far as they spell it and not past an end."""
        for token in tokens or ():
            after = self.after(place, token)
            if after is None or after == place or after[0] > end:
                return
            self._next.setdefault(place, (token, after))
            place = after

    def after(self, place: Place, token: int) -> Place | None:
        """The place after a token; None if the text doesn't go on with what it spells."""
        position, decoder = place
        spelled = self._vocab.token_bytes[decoder][token]
        if spelled is None or not self._text.startswith(spelled, position):
            return None
        return position + len(spelled), self._vocab.next_state[decoder][token]

    def token(self, place: Place) -> tuple[int, Place] | None:
        """The token that goes on from a place, and the place after it."""
        position = place[0]
        if place not in self._next and 0 <= position < len(self._text):
            at = int(np.searchsorted(self._boundaries, position, side="right"))
            end = self._boundaries[at] if at < len(self._boundaries) else len(self._text)
            self._lay(place, self._encode(self._text[position:end]), end)
        return self._next.get(place)

    def tokens(self) -> list[int]:
        """The canonical tokens of the whole text, as far as there are any."""
        found, place = [], BEGIN
        while (on := self.token(place)) is not None:
            found.append(on[0])
            place = on[1]
        return found


@dataclass
class Lookahead:
    """The lookahead of one document: where its nodes are in the source.

    places: LM state → place in the source; None where that is another text.
    """

    lexicons: Lexicons
    session: Session
    target: Pattern
    continuation: Continuation
    places: dict[int, Place | None] = field(default_factory=dict)

    def place(self, parent: int, token: int, state: int) -> None:
        """Note the place of a new node, whose parent has been noted or is the root."""
        if state not in self.places:
            before = self.places.get(parent, BEGIN)
            after = None if before is None else self.continuation.after(before, token)
            self.places[state] = after

    def extend(self, key: Key, base: int, known: Container[tuple[int, int]]) -> list[Key]:
        """The nodes of a node's canonical continuation that fit the target, at most `TRUNK`.

        base: the document's first position in the batch. known: places (lexicon state, position)
        at which the continuation ends.
        """
        state, lexicon, offset = key[0], key[1], key[2] - base
        found: list[Key] = []
        place = self.places.setdefault(state, BEGIN)
        while len(found) < TRUNK:
            on = None if place is None else self.continuation.token(place)
            moved = None if on is None else self._read(lexicon, offset, on[0])
            if on is None or moved is None or (moved[0], moved[1] + base) in known:
                break
            lexicon, offset = moved
            state = int(self.session.step(np.array([state]), np.array([on[0]]))[0])
            place = self.places.setdefault(state, on[1])
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
