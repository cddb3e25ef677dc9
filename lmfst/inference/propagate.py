"""Propagation: prefix probabilities of target strings by summing over their hypotheses.

The equation (design, "One formula for everything"; arXiv 2603.05193, sections 4 and 5):

    P_Y(y) = Σ_{x : ω(x) ≺ y}  P_X(x) · Σ_{t : ω(x)·out(t) ⪰ y}  p_X(t | x)

A hypothesis is a source prefix x whose emission ω(x) is a proper prefix of y. Hypotheses are taken
in order of offset |ω(x)|; all of an offset are merged and decided together, then one LM row of each
that is kept gives its share of every longer prefix of y and its children. Tokens that emit nothing
make children at the same offset: the next *wave* there.

A batch of queries runs in step: each step takes the hypotheses of one offset of every query, in one
array, and asks for their rows. (Where rows are evaluated ahead, `lmfst.inference.advance` does the
same.)

A total function is assumed; see `lmfst.inference.conditioned` for functions that reject some
strings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lmfst.fst.sequential import END, Determinised
from lmfst.ground.arrays import Ints
from lmfst.inference.frontier import Hypotheses, merged
from lmfst.inference.guide import Guide
from lmfst.inference.policy import Policy
from lmfst.inference.query import Layout
from lmfst.inference.row_source import ReadNow
from lmfst.inference.selection import Selection
from lmfst.inference.sums import Sums
from lmfst.inference.wave import drop, grow_trunks, move_all, note, spread
from lmfst.lexicon import Lexicons
from lmfst.lm.base import Session


class Propagation:
    """The sum over a batch's hypotheses. roots: the LM states that queries begin in. most:
    hypotheses of an offset that are kept; output_waits: whether output may wait for more input."""

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
        self.most = self._selection.most
        self.output_waits = isinstance(lexicons.machine, Determinised)

    def begin(self, going: Mapping[int, float]) -> Sums:
        """The roots, at offset 0 of the queries that are propagated, with their thresholds; the
        others are at their end."""
        layout, guide = self._layout, self._selection.guide
        kept = [
            []
            if self._session.merges or query.alone or query.source is None
            else query.source.tokens()
            for query in layout.queries
        ]
        sums = Sums.begin(layout, self._roots, kept)
        sums.documents["has_canonical"] = [
            query.source is not None
            and query.source.is_canonical
            and query.target[-1:] == (END,)
            and not query.alone
            and not self._session.merges
            for query in layout.queries
        ]
        queries = np.array(sorted(going), dtype=np.int64)
        sums.offset[:] = layout.last + 1
        sums.offset[queries] = 0
        with np.errstate(divide="ignore"):
            thresholds = np.log([going[d] for d in queries.tolist()])
        sums.documents["log_threshold"][queries] = thresholds
        first = layout.base[queries]
        sums.positions["log_prefix"][first] = 0.0
        sums.positions["best"][first] = 0.0
        count = len(queries)
        sums.frontier.add(
            first,
            np.array(self._roots, dtype=np.int64)[queries],
            np.full(count, -1, dtype=np.int64),
            np.full(count, self._lexicons.start, dtype=np.int64),
            np.full(count, 0 if guide is None else guide.start, dtype=np.int64),
            np.zeros(count),
        )
        return sums

    def step(self, sums: Sums, source: ReadNow) -> bool:
        """Take a step: the next wave of every query. False if there is none."""
        layout = self._layout
        active = np.flatnonzero(sums.offset <= layout.last)
        if not len(active):
            return False
        wave = sums.frontier.take(layout.base[active] + sums.offset[active])
        if len(wave):
            self._decide(sums, wave, source)
        move_all(sums.documents, sums.frontier.ends, active)
        return True

    def _decide(self, sums: Sums, wave: Hypotheses, source: ReadNow) -> None:
        """Decide and spread a wave."""
        states = np.zeros(0, dtype=np.int64)
        merges = self._session.merges
        if merges:
            states, wave = merged(self._states(wave), wave)
        kept, heavy, wave = self._selection.decide(sums, wave)
        chosen = wave.at(kept)
        self._require_budget(sums, chosen)
        if not self._policy.estimates:
            drop(sums.positions, wave.position, wave.logw, kept, heavy)
        if len(chosen):
            states = states[kept] if merges else self._states(chosen)
            self._spread(sums, chosen, states, source)

    def _require_budget(self, sums: Sums, chosen: Hypotheses) -> None:
        documents = self._layout.document[chosen.position]
        more = np.bincount(documents, minlength=len(self._layout))
        self._policy.spend(int((sums.documents["rows"] + more).max()), 0)

    def _spread(self, sums: Sums, chosen: Hypotheses, states: Ints, source: ReadNow) -> None:
        """Read the rows of hypotheses, note them, and file their children."""
        documents, positions, tokens = sums.documents, sums.positions, sums.tokens
        frontier, account, position = sums.frontier, sums.account, chosen.position
        rows = source.rows(chosen, states)
        records = source.records
        grow_trunks(documents, positions, tokens, position, chosen.parent, chosen.token, states)
        account.make_room(len(chosen))
        note(
            documents,
            positions,
            tokens,
            records.rows,
            records.covers,
            account.kept,
            account.kept_count,
            position,
            chosen.logw,
            states,
            rows,
        )
        account.take_splits(source.table)
        children = len(records.entries)
        frontier.make_room(children)
        guide = self._selection.guide
        filed = np.empty(0 if guide is None else children, dtype=np.int64)
        count = spread(
            documents,
            positions,
            tokens,
            frontier.waiting,
            frontier.ends,
            frontier.used,
            records.rows,
            records.covers,
            records.entries,
            position,
            chosen.logw,
            chosen.guide,
            states,
            rows,
            np.zeros(len(chosen), dtype=bool),
            self.output_waits,
            self._session.merges,
            filed,
        )
        if guide is not None:
            self._guide(sums, guide, filed[:count])

    def _guide(self, sums: Sums, guide: Guide, filed: Ints) -> None:
        """Let the guide read the tokens of the hypotheses at some places of the frontier, which
        have its states of their parents."""
        waiting = sums.frontier.waiting
        some = waiting[filed]
        first = np.where(np.isin(some["parent"], self._roots), 0, -1)
        waiting["guide"][filed] = guide.read(some["guide"], some["token"], first)

    def _states(self, wave: Hypotheses) -> Ints:
        """LM states of hypotheses: those of their parents after their token, which roots don't
        have."""
        moved = wave.token >= 0
        states = wave.parent.copy()
        states[moved] = self._session.step(wave.parent[moved], wave.token[moved])
        return states
