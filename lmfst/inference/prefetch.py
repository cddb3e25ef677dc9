"""Prefetching: which rows a batch will probably need, so that few large LM calls suffice.

A known target and its source text tell what comes. The first request of a query evaluates the
canonical tokenization of the whole text (of a long one, its beginning). Whenever propagation then
meets a hypothesis that is kept and has no row, a *speculative run* goes on: a hypothesis without a
row is taken to behave like one that has a row and has read the same text, which differs in older
tokens only (`lmfst.inference.advance`). What the speculative run keeps is asked for at once; so the
branches that are likely to be kept come with all of their likely continuations. Where nothing has
been evaluated at a place, the canonical tokens go on from there, until they meet a place where
something has.

Prefetching only fills a table. Decisions are taken offset by offset by the real run, from the same
numbers as without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np

from lmfst.fst.pattern import Pattern, fits
from lmfst.ground.arrays import Ints
from lmfst.inference.advance import ghost
from lmfst.inference.canonical import CanonicalPath
from lmfst.inference.evaluated import Evaluated
from lmfst.inference.frontier import NONE
from lmfst.inference.query import Layout
from lmfst.inference.sums import Sums
from lmfst.lexicon import Lexicons
from lmfst.lm.base import Session

TRUNK = 1024
"""Tokens that a continuation adds at most."""


@dataclass(frozen=True)
class Ahead:
    """The way ahead of one query."""

    lexicons: Lexicons
    target: Pattern
    source: CanonicalPath

    def after(self, place: int, lexicon: int, token: int) -> int:
        """The place in the source after a token is read at a place of it, in a lexicon state; NONE
        if the source doesn't go on with it."""
        if place == NONE:
            return NONE
        after = self.source.after((place, self.lexicons.pair(lexicon)[0]), token)
        return NONE if after is None else after[0]

    def tokens(self, place: int, lexicon: int, offset: int) -> Iterator[tuple[int, int, int, int]]:
        """The canonical tokens that go on from a hypothesis, as far as they fit the target: the
        token, and lexicon state, offset and place in the source after it.

        place, lexicon, offset: where the hypothesis is; place isn't NONE.
        """
        lexicons, target = self.lexicons, self.target
        while True:
            on = self.source.token((place, lexicons.pair(lexicon)[0]))
            read = None if on is None else lexicons.reading(lexicon, on[0])
            if on is None or read is None:
                return
            out, lexicon = read
            here = target[offset : offset + len(out)]
            offset += len(out)
            if offset >= len(target) or not (here == out or fits(here, out)):
                return
            place = on[1][0]
            yield on[0], lexicon, offset, place


class Prefetcher:
    """Runs a batch to its end: evaluates the rows that it lacks, and those that it will probably
    need next."""

    def __init__(
        self, layout: Layout, lexicons: Lexicons, session: Session, evaluated: Evaluated
    ) -> None:
        self._layout, self._session, self._evaluated = layout, session, evaluated
        self._aheads = [
            None
            if query.source is None or not query.lookahead
            else Ahead(lexicons, query.target, query.source)
            for query in layout.queries
        ]

    def run(self, sums: Sums) -> Iterator[bool]:
        """Take a batch to its end; stops while rows are being evaluated (True), and once they are
        (False)."""
        evaluated = self._evaluated
        while True:
            evaluated.go_on(sums, speculative=False)
            if not len(evaluated.lacking):
                return
            evaluated.go_on(sums.copy(), speculative=True)
            places = self._source_places()
            places += self._continue(places)
            evaluated.ask(self._states())
            yield True
            evaluated.take(np.array(places, dtype=np.int64))
            yield False

    def _source_places(self) -> list[int]:
        """Where the lacking hypotheses are in the sources of their documents."""
        lacking, records = self._evaluated.lacking, self._evaluated.records
        entry = lacking["entry"]
        known = reading = [NONE] * len(entry)
        if len(records.entries):
            # What is read for those that are no entries isn't used below.
            owner = records.entries["owner"][entry]
            known = records.rows["source"][owner].tolist()
            reading = records.rows["lexicon"][owner].tolist()
        parents, tokens = lacking["parent"].tolist(), lacking["token"].tolist()
        lexicons = lacking["lexicon"].tolist()
        documents = self._layout.document[lacking["position"]].tolist()
        places: list[int] = []
        for number, (parent, token) in enumerate(zip(parents, tokens, strict=True)):
            ahead = self._aheads[documents[number]]
            if ahead is None:
                places.append(NONE)
            elif token == NONE:
                places.append(0)
            elif parent < NONE:
                above = ghost(parent)
                places.append(ahead.after(places[above], lexicons[above], token))
            else:
                places.append(ahead.after(known[number], reading[number], token))
        return places

    def _continue(self, places: Sequence[int]) -> list[int]:
        """Add the canonical tokens that go on from where nothing has been evaluated to what is
        lacking; their places in the source. places: of all that is lacking."""
        evaluated, layout = self._evaluated, self._layout
        lacking = evaluated.lacking
        taken = {*zip(lacking["lexicon"].tolist(), lacking["position"].tolist(), strict=True)}
        added: list[int] = []
        alone = np.flatnonzero((lacking["donor"] == NONE) & (np.array(places) != NONE))
        some = lacking[alone]
        document = layout.document[some["position"]]
        base = layout.base[document]
        columns = (alone, document, base, some["lexicon"], some["position"] - base)
        for here, query, begin, *at in zip(*map(np.ndarray.tolist, columns), strict=True):
            ahead = self._aheads[query]
            assert ahead is not None  # or it had no place in a source
            found: set[tuple[int, int]] = set()
            for token, lexicon, offset, place in islice(ahead.tokens(places[here], *at), TRUNK):
                position = begin + offset
                if (lexicon, position) in taken or evaluated.has_place(lexicon, position):
                    break
                here = evaluated.add_lacking(here, token, lexicon, position)
                found.add((lexicon, position))
                added.append(place)
            taken |= found
        return added

    def _states(self) -> Ints:
        """The LM states of the lacking hypotheses, level by level."""
        lacking = self._evaluated.lacking
        states: Ints = lacking["parent"].copy()
        token, level = lacking["token"], lacking["level"]
        order = np.argsort(level, kind="stable")
        order = order[token[order] != NONE]
        bounds = np.searchsorted(level[order], np.arange(level.max(initial=0) + 2)).tolist()
        for depth, (begin, end) in enumerate(pairwise(bounds)):
            at = order[begin:end]
            above = states[ghost(states[at])] if depth else states[at]
            states[at] = self._session.step(above, token[at])
        return states
