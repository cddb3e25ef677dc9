"""Guides: what a small n-gram model expects of the rest of a target, to sample hypotheses by.

Sampling (`lmfst.inference.sampling`) keeps hypotheses in proportion to their weight so far. It is
unbiased for any other proportion too, and varies least if the weight is multiplied by the
probability that the hypothesis goes on to write the rest of the target (the twisted particle filter
of Whiteley and Lee 2014, Annals of Statistics 42(1)). The source model's own value of that is what
is looked for; an n-gram model over the same bytes has it exactly, by a sum from the end of the
target backwards:

    h(g, q, o) = Σ_b p(b | g) · h(g·b, q·b, o + |out(q, b)|)   over bytes b that fit the target,

with g the state of the n-gram model, q that of the transducer and o the offset; a byte fits a place
that is left open (`lmfst.fst.pattern`) if it writes any of its symbols. What the guide
rules out or doesn't know has the low probability exp(`UNSEEN`) here. A poor guide makes estimates
vary more, but never wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmfst.fst.pattern import Pattern, fits
from lmfst.fst.sequential import END
from lmfst.ground.arrays import Floats, Ints
from lmfst.ground.errors import ModelError, UsageError
from lmfst.lexicon import Lexicons

if TYPE_CHECKING:
    from lmfst.lm.backoff import BackoffLM

Place = tuple[int, int]
"""(transducer state, offset)"""

MOST_VALUES = 1 << 27
"""Values of h that targets may have together, and a guide's rows, float32: 512 MiB."""
UNSEEN = -10.0
"""The least log-probability of a byte, nats."""
MOST_TURNS = 8
"""Turns in which values at an offset that depend on each other are computed."""
LEAST = -20.0
"""h is at least the offset's highest value plus this, nats: what the guide excludes can be kept."""


class Guide:
    """An n-gram model whose tokens are single bytes, ready to be used with a vocabulary.

    read: bytes that stand before all texts. Raises ModelError for a model without any such token,
    UsageError for one that is too large.
    """

    def __init__(self, lm: BackoffLM, lexicons: Lexicons, read: bytes = b"") -> None:
        model = lm.model
        self.lexicons = lexicons
        self.size = model.n_states
        self.start = lm.state(())
        spelled = {text: token for token, text in enumerate(lm.vocab.token_bytes[0]) if text}
        known = {text[0]: token for text, token in spelled.items() if len(text) == 1}
        if not known.keys() & set(lexicons.alphabet):
            raise ModelError(
                "the guide has no token that is a byte which the model writes",
                hint="give an n-gram model over single letters, such as the A, C, G and T of DNA",
            )
        if self.size * len(model.names) > MOST_VALUES:
            raise UsageError(
                f"the guide is too large: {self.size} states with {len(model.names)} tokens each",
                hint="give an n-gram model over single letters, or one of lower order",
            )
        every = np.arange(self.size)
        rows = np.maximum(model.rows(every), UNSEEN).astype(np.float32)
        unseen, forgotten = np.full(self.size, UNSEEN, np.float32), np.zeros(self.size, np.int64)
        # An unknown byte makes the guide forget what was before.
        self.logp = dict.fromkeys(lexicons.alphabet, unseen)
        self.moves = dict.fromkeys(lexicons.alphabet, forgotten)
        for byte in known.keys() & set(lexicons.alphabet):
            self.logp[byte] = rows[:, known[byte]]
            self.moves[byte] = model.step(every, np.full(self.size, known[byte]))
        for byte in read:
            self.start = int(self.moves[byte][self.start]) if byte in self.moves else 0
        self.ends = rows[:, list(model.eos_ids)].max(axis=1)

    def read(self, states: Ints, tokens: Ints, first: Ints) -> Ints:
        """The guide's states [n] after source tokens [n]; first: 0 where a token is the first one
        of its document, else -1."""
        moved = states.copy()
        texts = self.lexicons.vocab.token_bytes
        for token, decoder in {*zip(tokens.tolist(), first.tolist(), strict=True)}:
            own = (tokens == token) & (first == decoder)
            for byte in texts[decoder][token] or b"":
                moved[own] = self.moves[byte][moved[own]]
        return moved


class BackwardMass:
    """h for one target. size: how many values that are. Raises UsageError if they are too many."""

    def __init__(self, guide: Guide, target: Pattern) -> None:
        self.guide = guide
        self._target = target
        ways = self._ways()
        self._index = {place: i for i, place in enumerate(ways)}
        self.size = len(ways) * guide.size
        if self.size > MOST_VALUES:
            raise UsageError(
                f"the guide has {guide.size} states, and a document of {len(target)} symbols has "
                f"{len(ways)} places: too many",
                hint="use a guide of lower order, or shorter documents",
            )
        self._values = np.full((len(ways), guide.size), -np.inf, np.float32)
        self._sum(ways)

    def log_expected(self, lexicon: Ints, offset: Ints, states: Ints) -> Floats:
        """log h of hypotheses [n], finite: their lexicon states, offsets and the guide's states."""
        lexicons = self.guide.lexicons
        places = zip(lexicon.tolist(), offset.tolist(), strict=True)
        at = [self._index.get((lexicons.pair(state)[1], o), -1) for state, o in places]
        found = np.where(np.array(at) < 0, -np.inf, self._values[at, states].astype(np.float64))
        expected: Floats = np.maximum(found, self._floor[offset])
        return expected

    def _ways(self) -> dict[Place, list[tuple[int, Place | None]]]:
        """For every place that can be reached the bytes that go on from it, and where to; None if
        the target is covered then, and END for the end of the text."""
        machine, size = self.guide.lexicons.machine, len(self._target)
        ways: dict[Place, list[tuple[int, Place | None]]] = {}
        waiting: list[Place] = [(machine.start, 0)]
        while waiting:
            place = waiting.pop()
            if place in ways:
                continue
            state, offset = place
            ways[place] = found = []
            for byte in self.guide.logp:
                step = machine.step(state, byte)
                if step is not None and self._fits(offset, step[1]):
                    after = (step[0], offset + len(step[1]))
                    found.append((byte, after if after[1] < size else None))
            last = machine.final(state)
            if last is not None and fits(self._target[offset:], (*last, END)):
                found.append((END, None))
            waiting += [after for _, after in found if after is not None]
        return ways

    def _fits(self, offset: int, out: Sequence[int]) -> bool:
        """Whether the target goes on with `out`, as far as it goes."""
        rest = self._target[offset : offset + len(out)]
        return fits(rest, out[: len(rest)])

    def _sum(self, ways: dict[Place, list[tuple[int, Place | None]]]) -> None:
        by_offset: dict[int, list[Place]] = {}
        for place in ways:
            by_offset.setdefault(place[1], []).append(place)
        self._floor = np.full(len(self._target) + 1, LEAST)
        for offset in sorted(by_offset, reverse=True):
            places = by_offset[offset]
            for _ in range(MOST_TURNS):
                before = [self._values[self._index[place]].copy() for place in places]
                for place in places:
                    self._values[self._index[place]] = self._summed(ways[place])
                if all(
                    np.array_equal(old, self._values[self._index[place]])
                    for old, place in zip(before, places, strict=True)
                ):
                    break
            highest = max(float(self._values[self._index[place]].max()) for place in places)
            if highest > -np.inf:
                self._floor[offset] = highest + LEAST

    def _summed(self, ways: Iterable[tuple[int, Place | None]]) -> NDArray[np.float32]:
        """The right-hand side of the sum at one place, for every state of the guide."""
        guide = self.guide
        total = np.full(guide.size, -np.inf, np.float32)
        for byte, after in ways:
            term = guide.ends if byte == END else guide.logp[byte]
            if after is not None:
                term = term + self._values[self._index[after]][guide.moves[byte]]
            total = np.logaddexp(total, term)
        return total
