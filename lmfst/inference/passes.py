"""Passes: a batch of queries is propagated, and again until the policy is content.

Where a device evaluates rows while the host goes on, the batch is cut in two: the host decides for
one half while the device evaluates for the other.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

import numpy as np

from lmfst.ground.arrays import Floats
from lmfst.inference.accuracy import Pass, gained
from lmfst.inference.evaluated import Evaluated
from lmfst.inference.normaliser import Normaliser
from lmfst.inference.policy import Policy
from lmfst.inference.prefetch import Prefetcher
from lmfst.inference.propagate import Propagation
from lmfst.inference.query import Layout, Query
from lmfst.inference.results import Propagated, distributions, ends_of, pass_of, result_of
from lmfst.inference.row_source import ReadNow
from lmfst.inference.rows import Rows
from lmfst.inference.sums import Sums
from lmfst.lexicon import Lexicons
from lmfst.lm.base import Session

RETAIN_EVERY = 64
"""Steps between two calls that let the session forget dead states."""
RETAIN_ROWS = 2048
"""The same in rows, where they are evaluated ahead."""
RETAINED_ROWS = 16384
"""Rows of a batch, or of each half of one, up to which nothing is forgotten where queries may be
propagated again."""


def propagate(
    lexicons: Lexicons,
    session: Session,
    policy: Policy,
    normalise: Normaliser,
    queries: Sequence[Query],
    root: int | None = None,
) -> list[Propagated]:
    """Prefix probabilities of every target; the queries share LM calls. See `Propagated`.

    root: the LM state in which all of them begin, whose document stays open; None: each in one of
    its own.
    """
    if not queries:
        return []
    ahead = any(query.source is not None and query.lookahead for query in queries)
    parts = 1
    if session.halves is not None and root is None and ahead:
        parts = 2 if len(queries) >= session.halves else 1
    batches = [
        _Batch(lexicons, session, policy, normalise, queries[part::parts], root)
        for part in range(parts)
    ]
    going = [batch.run() for batch in batches]
    while going:
        going = [one for one in going if next(one, _ENDED) is not _ENDED]
    return [batches[i % parts].results[i // parts] for i in range(len(queries))]


_ENDED = object()


class _Batch:
    """The passes over a batch of queries. results: what was found, by their numbers."""

    def __init__(
        self,
        lexicons: Lexicons,
        session: Session,
        policy: Policy,
        normalise: Normaliser,
        queries: Sequence[Query],
        root: int | None,
    ) -> None:
        self._session, self._policy = session, policy
        self._layout, self._stays = Layout(queries), root is not None
        self._roots = [session.open() if root is None else root for _ in queries]
        self._rows = Rows(self._layout, lexicons, session, normalise)
        self._propagation = Propagation(self._layout, lexicons, session, policy, self._roots)
        self._source = ReadNow(self._rows)
        self._prefetcher: Prefetcher | None = None
        if any(query.source is not None and query.lookahead for query in queries):
            propagation = self._propagation
            evaluated = Evaluated(
                self._rows, self._layout, propagation.most, propagation.output_waits
            )
            self._prefetcher = Prefetcher(self._layout, lexicons, session, evaluated)
        self._steps = self._forgotten = 0
        self.results: dict[int, Propagated] = {}

    def run(self) -> Iterator[None]:
        """Find the result of every query; stops whenever rows are being evaluated."""
        count = len(self._layout)
        passes: list[list[Pass]] = [[] for _ in range(count)]
        results = self.results
        latest: dict[int, Floats] = {}
        going = dict.fromkeys(range(count), self._policy.first_threshold)
        while going:
            sums = yield from self._pass(going)
            nexts = distributions(self._layout, sums)
            again: dict[int, float] = {}
            for document, tried in going.items():
                result = result_of(self._layout, sums, document, nexts[document])
                gain = gained(result.log_prefix, latest.get(document))
                latest[document] = result.log_prefix
                passes[document].append(pass_of(self._layout, sums, document, result, tried, gain))
                result.passes = passes[document]
                if self._layout.queries[document].ends:
                    result.ends = ends_of(self._layout, sums, document)
                size = int(self._layout.sizes[document])
                threshold = self._policy.next_threshold(passes[document], size)
                if threshold is None:
                    results[document] = result
                else:
                    again[document] = threshold
            going = again
        if not self._stays:
            for root in self._roots:
                self._session.close(root)

    def _pass(self, going: dict[int, float]) -> Generator[None, None, Sums]:
        """One pass over some queries, each with its threshold; stops as `run` does."""
        sums = self._propagation.begin(going)
        if self._prefetcher is None:
            while self._propagation.step(sums, self._source):
                self._steps += 1
                if self._steps % RETAIN_EVERY == 0:
                    self._forget(sums)
        else:
            for evaluating in self._prefetcher.run(sums):
                if evaluating:
                    yield
                elif self._rows.asked - self._forgotten >= RETAIN_ROWS:
                    self._forgotten = self._rows.asked
                    self._forget(sums)
        return sums

    def _forget(self, sums: Sums) -> None:
        """Drop what was needed up to here only."""
        if self._policy.repeats and self._rows.asked < RETAINED_ROWS:
            return
        layout, table = self._layout, self._rows.table
        here = layout.base + sums.offset
        position, parent = sums.frontier.parents()
        ahead = table.position >= here[layout.document[table.position]]
        states = np.concatenate([parent, table.state[ahead]])
        ends = [part[:2] for part in sums.account.ends]
        states = np.concatenate([states, *(model for _, model in ends)])
        owner = layout.document[
            np.concatenate([position, table.position[ahead], *(at for at, _ in ends)])
        ]
        if self._stays:
            root = self._roots[0]
            self._session.retain_all([(root, np.unique(np.append(states, root)))])
            return
        live = []
        for document in np.flatnonzero(sums.offset <= layout.last).tolist():
            root = self._roots[document]
            live.append((root, np.unique(np.append(states[owner == document], root))))
        self._session.retain_all(live)
