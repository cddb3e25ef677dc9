"""The canonical path: a text in the tokens that the model's tokenizer makes of it.

    log P_X(x) = Σ_i log p_X(x_i | x_{<i}) + log p_X(EOS | x),    x = tokenize(text)

That is what is commonly reported as the log-probability of a text. It is one term of the sum over
all token strings, so never above it.

A beam sees the past only. Where a text goes on with something improbable, all that goes on with it
may weigh less than the threshold, and then the hypotheses left are those that happened to stand
elsewhere. The tokenizer's own segmentation of a known source is the best guess at what goes on, so
it is kept whatever it weighs, beside what the policy keeps: the *trunk*. What is kept is a
superset, so the sums are lower bounds as before, and never below the probability of the source's
own tokens.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

import numpy as np

from lmfst.inference.normaliser import Normaliser
from lmfst.inference.token_logps import token_logps
from lmfst.lm.base import LM
from lmfst.vocab import Vocab

Encode = Callable[[bytes], Sequence[int] | None]
SourcePlace = tuple[int, int]
"""(position in the source, state of the decoder of tokens)"""
BEGIN: SourcePlace = (0, 0)
ENDED = -2
"""The token after the last one of a source: none, and no root either."""


class CanonicalPath:
    """The canonical way on from every place of a source text, in tokens.

    encode: a segmentation of a byte string into tokens, or None where it has none. canonical: the
    tokenizer's own tokens of the whole text, if it has any; is_canonical: whether these are the way
    on from the beginning.
    """

    def __init__(
        self, text: bytes, vocab: Vocab, encode: Encode, canonical: Sequence[int] | None = None
    ) -> None:
        self._text, self._vocab, self._encode = text, vocab, encode
        self._next: dict[SourcePlace, tuple[int, SourcePlace]] = {}
        self._lay(BEGIN, encode(text) if canonical is None else canonical, len(text))
        self._boundaries = sorted({position for position, _ in self._next})
        self.is_canonical = canonical is not None and self.tokens() == list(canonical)

    def _lay(self, place: SourcePlace, tokens: Sequence[int] | None, end: int) -> None:
        """Note tokens of the text from a place on, as far as they spell it and not past an end."""
        for token in tokens or ():
            after = self.after(place, token)
            if after is None or after == place or after[0] > end:
                return
            self._next.setdefault(place, (token, after))
            place = after

    def after(self, place: SourcePlace, token: int) -> SourcePlace | None:
        """The place after a token; None if the text doesn't go on with what it spells."""
        position, decoder = place
        spelled = self._vocab.token_bytes[decoder][token]
        if spelled is None or not self._text.startswith(spelled, position):
            return None
        return position + len(spelled), self._vocab.next_state[decoder][token]

    def token(self, place: SourcePlace) -> tuple[int, SourcePlace] | None:
        """The token that goes on from a place, and the place after it."""
        position = place[0]
        if place not in self._next and 0 <= position < len(self._text):
            at = bisect_right(self._boundaries, position)
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


def canonical_logps(
    lm: LM, normalise: Normaliser, texts: Sequence[bytes | None]
) -> list[float | None]:
    """log P_X of each text's own tokens and the end, nats; None where there are none.

    normalise: takes the tokens outside the support out of rows.
    """
    session = lm.session()
    roots: dict[int, int] = {}
    states: list[int] = []
    reads: list[tuple[int, list[int]]] = []
    ends = list(lm.vocab.eos)
    for at, text in enumerate(texts):
        tokens = None if text is None else lm.canonical(text)
        if tokens is None:
            continue
        state = roots[at] = session.open()
        for token in tokens:
            states.append(state)
            reads.append((at, [token]))
            state = int(session.step(np.array([state]), np.array([token]))[0])
        states.append(state)
        reads.append((at, ends))
    totals = dict.fromkeys(roots, 0.0)
    asked = [np.array(tokens, dtype=np.int64) for _, tokens in reads]
    logps = token_logps(session, normalise, np.array(states, dtype=np.int64), asked)
    for (at, _), logp in zip(reads, logps, strict=True):
        totals[at] += float(np.logaddexp.reduce(logp))
    for root in roots.values():
        session.close(root)
    return [totals.get(at) for at in range(len(texts))]
