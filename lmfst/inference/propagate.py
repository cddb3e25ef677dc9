"""Propagation: prefix probabilities of target strings by summing over their hypotheses.

The equation (design, "One formula for everything"; arXiv 2603.05193, sections 4 and 5):

    P_Y(y) = Σ_{x : ω(x) ≺ y}  P_X(x) · Σ_{t : ω(x)·out(t) ⪰ y}  p_X(t | x)

A hypothesis is a source prefix x whose emission ω(x) is a proper prefix of y. Hypotheses are taken
in order of offset |ω(x)|; all of an offset are merged and decided together, then one LM row of each
that is kept gives its share of every longer prefix of y and its children. Tokens that emit nothing
make children at the same offset: the next *wave* there.

A batch of queries runs in step: each step takes the hypotheses of one offset of every query, in one
array. Rows come from a *row source*; a query that lacks one waits, and goes on when there is more.

A total function is assumed; see `lmfst.inference.conditioned` for functions that reject some
strings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lmfst.fst.sequential import Determinised
from lmfst.ground.arrays import Ints, ragged
from lmfst.inference.account import Account
from lmfst.inference.canonical import Trunk
from lmfst.inference.frontier import Hypotheses, merged, sorted_by_position
from lmfst.inference.policy import Policy
from lmfst.inference.query import Layout
from lmfst.inference.row_source import RowSource
from lmfst.inference.row_table import RowTable
from lmfst.inference.selection import Selection
from lmfst.inference.sums import Sums
from lmfst.lexicon import Lexicons
from lmfst.lm.base import Session


class Propagation:
    """The sum over a batch's hypotheses. roots: the LM states that queries begin in."""

    def __init__(
        self,
        layout: Layout,
        lexicons: Lexicons,
        session: Session,
        policy: Policy,
        roots: Sequence[int],
    ) -> None:
        self._layout, self._lexicons = layout, lexicons
        self._session, self._policy, self._roots = session, policy, roots
        self._selection = Selection(layout, policy)
        self._waits = isinstance(lexicons.machine, Determinised)

    def begin(self, going: Mapping[int, float]) -> Sums:
        """The roots, at offset 0 of the queries that are propagated, with their thresholds; the
        others are at their end."""
        layout, guide = self._layout, self._selection.guide
        kept = [
            [] if self._session.merges or query.source is None else query.source.tokens()
            for query in layout.queries
        ]
        sums = Sums(len(layout), len(layout.document), Trunk(self._roots, kept))
        sums.account = Account(layout, self._session.merges)
        queries = np.array(sorted(going), dtype=np.int64)
        sums.offset[:] = layout.last + 1
        sums.offset[queries] = 0
        with np.errstate(divide="ignore"):
            sums.log_threshold[queries] = np.log([going[d] for d in queries.tolist()])
        first = layout.base[queries]
        sums.log_prefix[first] = 0.0
        sums.best[first] = 0.0
        count = len(queries)
        sums.agenda.add(
            first,
            np.array(self._roots, dtype=np.int64)[queries],
            np.full(count, -1, dtype=np.int64),
            np.full(count, self._lexicons.start, dtype=np.int64),
            np.zeros(count),
            0 if guide is None else guide.start,
        )
        return sums

    def advance(self, sums: Sums, source: RowSource) -> bool:
        """Take a step: the next wave of every query that doesn't wait. False if there is none, or
        enough rows are lacking."""
        if source.full:
            return False
        active = np.flatnonzero((sums.offset <= self._layout.last) & ~source.waiting)
        if not len(active):
            return False
        wave = sums.agenda.take(self._layout.base[active] + sums.offset[active])
        if wave is not None:
            if len(active) > 1:
                wave = sorted_by_position(wave)
            self._step(sums, wave, source)
        self._move_on(sums, active[~source.waiting[active]])
        return True

    def _move_on(self, sums: Sums, active: Ints) -> None:
        """Move queries to the next offset where hypotheses stand: the same one again, if tokens
        that emit nothing left some there, and past the end if there are none."""
        layout = self._layout
        ahead = sums.agenda.first_of(layout.document, len(layout))[active] - layout.base[active]
        again = ahead == sums.offset[active]
        sums.wave[active] = np.where(again, sums.wave[active] + 1, 0)
        sums.offset[active] = np.minimum(ahead, layout.last[active] + 1)

    def _step(self, sums: Sums, wave: Hypotheses, source: RowSource) -> None:
        """Decide and spread a wave. Queries that have to wait for a row are as before."""
        states = np.zeros(0, dtype=np.int64)
        merges = self._session.merges
        if merges:
            states, wave = merged(self._states(wave), wave)
        kept, heavy, wave = self._selection.decide(sums, wave)
        chosen = wave.at(kept)
        self._require_budget(sums, chosen)
        states = states[kept] if merges else self._states(chosen)
        rows = source.rows(chosen, states)
        if (rows < 0).any() and source.waits:
            lacking = chosen.at(rows < 0)
            source.waiting[self._layout.document[lacking.position]] = True
            out = source.waiting[self._layout.document[wave.position]]
            sums.agenda.put_back(wave.at(out))
            wave, kept, heavy = wave.at(~out), kept[~out], heavy[~out]
            out = source.waiting[self._layout.document[chosen.position]]
            chosen, states, rows = chosen.at(~out), states[~out], rows[~out]
        if sums.account is not None and not self._policy.estimates:
            self._drop(sums, wave, ~kept, heavy)
        if not len(chosen):
            return
        self._grow(sums, chosen, states)
        known = rows >= 0
        if not known.all():
            chosen, states, rows = chosen.at(known), states[known], rows[known]
        if sums.account is not None:
            ended = sums.trunk.ended(self._layout.document[chosen.position], states)
            log_prefix = sums.log_prefix[chosen.position]
            sums.account.count(chosen, log_prefix, ended.nonzero()[0], source.table, rows)
        if len(chosen):
            self._spread(sums, source.table, chosen, states, rows)

    def _require_budget(self, sums: Sums, chosen: Hypotheses) -> None:
        if sums.account is not None:
            documents = self._layout.document[chosen.position]
            more = np.bincount(documents, minlength=len(self._layout))
            self._policy.spend(int((sums.account.rows + more).max()), 0)

    def _drop(
        self, sums: Sums, wave: Hypotheses, gone: NDArray[np.bool_], heavy: NDArray[np.bool_]
    ) -> None:
        """Note the weight of hypotheses that are dropped; heavy: see `Selection`."""
        if gone.any():
            np.logaddexp.at(sums.log_dropped, wave.position[gone], wave.logw[gone])
            gone &= heavy
            np.logaddexp.at(sums.log_crowded, wave.position[gone], wave.logw[gone])

    def _grow(self, sums: Sums, chosen: Hypotheses, states: Ints) -> None:
        """Let trunks go on to hypotheses that were kept."""
        documents = self._layout.document[chosen.position]
        on = sums.trunk.next_ones(documents, chosen.parent, chosen.token)
        sums.trunk.grow(documents[on], states[on])

    def _spread(
        self, sums: Sums, table: RowTable, chosen: Hypotheses, states: Ints, rows: Ints
    ) -> None:
        """Add the shares of hypotheses to the prefixes that their next token covers; file their
        children."""
        flat, owner = ragged(table.cover_first[rows], table.cover_count[rows])
        covered = chosen.position[owner] + 1 + flat - table.cover_first[rows][owner]
        np.logaddexp.at(sums.log_prefix, covered, chosen.logw[owner] + table.cover_logp[flat])
        flat, owner = ragged(table.child_first[rows], table.child_count[rows])
        logw = chosen.logw[owner] + table.child_logp[flat]
        to = table.child_position[flat]
        np.maximum.at(sums.best, to, logw)
        if self._session.merges:
            alive = logw > -np.inf
        else:
            token = table.child_token[flat]
            alive = self._worth_filing(sums, chosen.position[owner], to, states[owner], token, logw)
        flat, owner = flat[alive], owner[alive]
        parents, tokens = states[owner], table.child_token[flat]
        guide: Ints | int = 0
        if self._selection.guide is not None:
            first = np.where(np.isin(parents, self._roots), 0, -1)
            guide = self._selection.guide.read(chosen.guide[owner], tokens, first)
        sums.agenda.add(to[alive], parents, tokens, table.child_next[flat], logw[alive], guide)

    def _worth_filing(
        self, sums: Sums, position: Ints, to: Ints, parent: Ints, token: Ints, logw: np.ndarray
    ) -> NDArray[np.bool_]:
        """Which children may still be kept: those that no later decision can keep need not wait for
        it, and count as dropped. position: of the parents; to: of the children."""
        alive = logw > -np.inf
        document = self._layout.document[to]
        on = sums.trunk.next_ones(document, parent, token)
        on &= alive
        if self._waits:
            sums.survives[document[on]] = logw[on]
        known = np.maximum(sums.log_prefix[self._layout.ahead[to]], sums.best[to])
        known = np.minimum(known, sums.survives[document])
        least = known + sums.log_threshold[document]
        light = alive & (logw < least) & (to > position)
        light &= ~on
        np.logaddexp.at(sums.log_dropped, to[light], logw[light])
        worth: NDArray[np.bool_] = alive & ~light
        return worth

    def _states(self, wave: Hypotheses) -> Ints:
        """LM states of hypotheses: those of their parents after their token, which roots don't
        have."""
        moved = wave.token >= 0
        states = wave.parent.copy()
        states[moved] = self._session.step(wave.parent[moved], wave.token[moved])
        return states
