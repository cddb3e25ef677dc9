"""Prefetching: which rows a batch will probably need, so that few large LM calls suffice.

A known target and its source text tell what comes. The first request of a query evaluates the
canonical tokenization of the whole text (of a long one, its beginning). Whenever propagation then
meets a hypothesis that is kept and has no row, a *speculative run* goes on: a hypothesis without a
row is taken to behave like one that has a row and has read the same text, which differs in older
tokens only. What the speculative run keeps is asked for at once; so the branches that are likely to
be kept come with all of their likely continuations. Where nothing has been evaluated at a place,
the canonical tokens go on from there, until they meet a place where something has.

Prefetching only fills a table. Decisions are taken offset by offset by the real run, from the same
numbers as without it.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lmfst.fst.pattern import Pattern, fits
from lmfst.ground.arrays import Ints
from lmfst.inference.canonical import BEGIN, CanonicalPath, SourcePlace
from lmfst.inference.frontier import Hypotheses
from lmfst.inference.propagate import Propagation
from lmfst.inference.query import Layout
from lmfst.inference.row_source import Evaluated, Key, RowSource, keys_of
from lmfst.inference.sums import Sums
from lmfst.lexicon import Lexicons
from lmfst.lm.base import Session

TRUNK = 1024
"""Tokens that a continuation adds at most."""
REQUEST = 512
"""Lacking rows of a batch after which a speculative run ends. A call of this many costs hardly more
per row than a larger one, and what is asked for less far ahead is more often kept."""
TRUST = 4
"""Hypotheses that a branch is followed for, per row that it has had (see `Speculative`)."""


@dataclass
class Ahead:
    """The way ahead of one query: where its hypotheses are in the source.

    places: LM state → place in the source; None where that is another text.
    """

    lexicons: Lexicons
    session: Session
    target: Pattern
    source: CanonicalPath
    places: dict[int, SourcePlace | None] = field(default_factory=dict)

    def place(self, parent: int, token: int, state: int) -> None:
        """Note the place of a new hypothesis, whose parent has been noted or is the root."""
        if state not in self.places:
            before = self.places.get(parent, BEGIN)
            after = None if before is None else self.source.after(before, token)
            self.places[state] = after

    def extend(self, key: Key, base: int, known: Container[tuple[int, int]]) -> list[Key]:
        """The hypotheses of a hypothesis' canonical continuation that fit the target, at most
        `TRUNK`.

        base: the query's first position in the batch. known: places (lexicon state, position) at
        which the continuation ends.
        """
        state, lexicon, offset = key.state, key.lexicon, key.position - base
        found: list[Key] = []
        place = self.places.setdefault(state, BEGIN)
        while len(found) < TRUNK:
            on = None if place is None else self.source.token(place)
            moved = None if on is None else self._read(lexicon, offset, on[0])
            if on is None or moved is None or (moved[0], moved[1] + base) in known:
                break
            lexicon, offset = moved
            state = int(self.session.step(np.array([state]), np.array([on[0]]))[0])
            place = self.places.setdefault(state, on[1])
            found.append(Key(state, lexicon, offset + base))
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


class Speculative(RowSource):
    """The rows of a speculative run: where there is none, that of another hypothesis there.

    A young branch may still surprise: it is followed for `TRUST` times as many hypotheses without a
    row as it has had rows. ages: LM state → rows that its branch has had. chains: LM state → (these
    before the run, hypotheses since).
    """

    waits = False

    def __init__(
        self,
        layout: Layout,
        evaluated: Evaluated,
        aheads: Sequence[Ahead | None],
        ages: Mapping[int, int],
    ) -> None:
        super().__init__(evaluated.table, len(layout))
        self._layout, self._evaluated, self._aheads = layout, evaluated, aheads
        self._ages = ages
        self.chains: dict[int, tuple[int, int]] = {}

    @property
    def full(self) -> bool:
        return len(self.lacking) >= REQUEST

    def rows(self, chosen: Hypotheses, states: Ints) -> Ints:
        keys = keys_of(chosen, states)
        rows = self._evaluated.known(keys)
        for i in np.flatnonzero(rows < 0).tolist():
            key = keys[i]
            ahead = self._aheads[int(self._layout.document[key.position])]
            if ahead is not None and chosen.token[i] >= 0:
                ahead.place(int(chosen.parent[i]), int(chosen.token[i]), key.state)
            if self._trusted(key.state, int(chosen.parent[i])):
                self.lacking[key] = float(chosen.logw[i])
                rows[i] = self._evaluated.places.get(key[1:], -1)
        return rows

    def _trusted(self, state: int, parent: int) -> bool:
        """Whether a branch is followed on to a hypothesis without a row."""
        age, chain = self.chains.get(parent) or (self._ages.get(parent, 0), 0)
        self.chains[state] = (age, chain + 1)
        return chain < max(1, TRUST * age)


class Prefetcher:
    """Evaluates the rows that a batch lacks, and those that it will probably need next."""

    def __init__(
        self, layout: Layout, lexicons: Lexicons, session: Session, evaluated: Evaluated
    ) -> None:
        self._layout, self._evaluated = layout, evaluated
        self._aheads = [
            None
            if query.source is None or not query.lookahead
            else Ahead(lexicons, session, query.target, query.source)
            for query in layout.queries
        ]
        self._ages: dict[int, int] = {}

    def fill(self, propagation: Propagation, sums: Sums) -> None:
        """Evaluate what is lacking, and what a speculative run from here on keeps."""
        run = Speculative(self._layout, self._evaluated, self._aheads, self._ages)
        copy = sums.copy()
        while propagation.advance(copy, run):
            pass
        keys = self._with_continuations({**self._evaluated.lacking, **run.lacking})
        self._evaluated.evaluate(keys)
        for key in keys:
            self._ages[key.state] = sum(run.chains.get(key.state, (0, 0)))

    def _with_continuations(self, found: Mapping[Key, float]) -> list[Key]:
        """These, and the canonical tokens that go on from places where nothing was evaluated."""
        known = self._evaluated.places
        places = {key[1:] for key in found} | known.keys()
        keys = list(found)
        for key in found:
            document, _ = self._layout.place(key.position)
            ahead = self._aheads[document]
            if ahead is not None and key[1:] not in known:
                more = ahead.extend(key, int(self._layout.base[document]), places)
                places.update(k[1:] for k in more)
                keys += more
        return list(dict.fromkeys(keys))
