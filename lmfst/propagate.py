"""Propagation: prefix probabilities of target strings by summing over their nodes.

The equation (design, "One formula for everything"; arXiv 2603.05193, sections 4 and 5):

    P_Y(y) = Σ_{x : ω(x) ≺ y}  P_X(x) · Σ_{t : ω(x)·out(t) ⪰ y}  p_X(t | x)

A node is a source prefix x whose emission ω(x) is a proper prefix of y. Nodes are taken in order of
offset |ω(x)|; all nodes of an offset are merged and decided together, then one LM row of each kept
node gives its share of every longer prefix of y and its child nodes. Tokens that emit nothing make
children at the same offset: the next *wave* there.

A batch of documents runs in step: each step takes the nodes of one offset of every document, in one
array. Where lookahead is on, rows are evaluated ahead: a document stops at the first node without a
row, a simulation says which further rows are probably needed (`_Batch._ghost`), all of them are
asked for in one request, and the document goes on. Decisions are the real run's alone.

A total function is assumed; see `lmfst.partial` for functions that reject some strings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lmfst.accuracy import Pass, gained, missing_by_offset
from lmfst.guide import Future
from lmfst.lexicon import Lexicons
from lmfst.lm.base import Session
from lmfst.lookahead import REQUEST, Continuation, Key, Lookahead
from lmfst.pattern import OneOf, Pattern, first_string
from lmfst.plan import Floats, Ints, Plan, make_plan
from lmfst.policy import SILENT_TOLERANCE, Policy
from lmfst.rows import Group, Normaliser, RowTable, ragged
from lmfst.sampling import Sample
from lmfst.sequential import END, Determinised
from lmfst.trunk import Trunk
from lmfst.wave import Pool, Wave, merged, sorted_by_position

Next = dict[int, tuple[Ints, Floats]]

TRUST = 4
"""Nodes that a branch is simulated on for, per row that it has had (see `_Batch._trusted`)."""
RETAIN_EVERY = 64
"""Steps between two calls that let the session forget dead states."""
RETAINED_ROWS = 16384
"""Rows of a batch up to which nothing is forgotten where documents may be propagated again."""


@dataclass(frozen=True)
class Job:
    """A target to propagate: symbols [N], ⊥ (END) included if it is asked for. Where it leaves
    places open (`lmfst.pattern`), its probability is that of all strings that it stands for.

    wanted: positions 0 .. N at which the distribution of the next symbol is asked for. source: the
    canonical tokens of a source text, if one is known; they are kept (`lmfst.trunk`). lookahead:
    evaluate rows ahead, which the result doesn't depend on; it needs a source. random: the random
    numbers in [0, 1) of a policy that samples, by offset and wave, which knows neither source nor
    lookahead. future: what a guide expects, if sampling has one. impossible: says whether no token
    can ever produce the symbol at a position; asked where nothing is left of a prefix.
    """

    target: Pattern
    wanted: frozenset[int] = frozenset()
    source: Continuation | None = None
    lookahead: bool = True
    random: Callable[[int, int], float] | None = None
    future: Future | None = None
    impossible: Callable[[int], bool] | None = None

    @property
    def last(self) -> int:
        """Nodes stand up to this offset: after the last symbol only if what follows is wanted."""
        size = len(self.target)
        return size if size in self.wanted else size - 1


@dataclass
class Propagated:
    """What propagation found for a target of N symbols.

    log_prefix: float64 [N + 1]. log P_Y of every prefix of the target, nats: a lower bound where
        nodes were dropped.
    log_dropped: float64 [N + 1]. log of the weight dropped before each prefix was covered;
        P_Y lies in [exp log_prefix, exp log_prefix + exp log_dropped].
    missing: float64 [N]. What the weight dropped at each offset makes the whole lack, nats, an
        estimate (`lmfst.accuracy`); None where there is none, as for an estimate by sampling.
    canonical: log-probability of the source's own tokens and the end, nats; None if they or the end
        aren't known.
    passes: what each propagation of the target found; the last one gave these numbers.
    next: position → (symbols int64, logp float64) of the next symbol after target[:position].
    estimated: by sampling. log_replicates: float64 [R], log of each replicate's estimate of the
        whole. stderr, log_pruned: the standard error of its log (None for one replicate), and the
        log P_Y that a beam of as many nodes gives instead (None if it isn't asked for).
    rows: nodes that were kept. removed: nats by which renormalising without the specials raised
        logp, averaged over the nodes of each offset by weight and summed over offsets.
    """

    log_prefix: Floats
    log_dropped: Floats
    next: Next = field(default_factory=dict)
    rows: int = 0
    removed: float = 0.0
    estimated: bool = False
    stderr: float | None = None
    log_pruned: float | None = None
    missing: Floats | None = None
    canonical: float | None = None
    passes: Sequence[Pass] = ()
    log_replicates: Floats | None = None


def propagate(
    lexicons: Lexicons,
    session: Session,
    policy: Policy,
    normalise: Normaliser,
    jobs: Sequence[Job],
) -> list[Propagated]:
    """Prefix probabilities of every target; the documents share LM calls. See `Propagated`."""
    if not jobs:
        return []
    return _Batch(lexicons, session, policy, normalise, jobs).run()


class _State:
    """Where a batch stands. Arrays over positions hold offset o of document d at base[d] + o.

    offset: int64 [documents], the offset whose nodes are next. wave: int64 [documents], waves taken
    there. log_threshold: float64 [documents]. survives: float64 [documents], log weight of the next
    node of the source's own tokens, where output may wait for more input; inf where there is none.
    log_prefix, log_dropped, log_crowded (what was dropped because of the number of nodes alone),
    best (the heaviest node that arrived): float64 [positions]. pool: nodes that have arrived at
    offsets to come. trunk: the sources' own tokens.

    Of the real run only: rows (int64) and removed (float64), see `Propagated`, canonical (float64,
    NaN while it isn't known), all [documents]; splits: (position, symbol, logp) of next symbols.
    """

    def __init__(self, documents: int, positions: int, trunk: Trunk) -> None:
        self.offset = np.zeros(documents, dtype=np.int64)
        self.wave = np.zeros(documents, dtype=np.int64)
        self.log_threshold = np.full(documents, -np.inf)
        self.log_prefix = np.full(positions, -np.inf)
        self.log_dropped = np.full(positions, -np.inf)
        self.log_crowded = np.full(positions, -np.inf)
        self.best = np.full(positions, -np.inf)
        self.survives = np.full(documents, np.inf)
        self.pool = Pool(positions)
        self.trunk = trunk
        self.rows = np.zeros(documents, dtype=np.int64)
        self.removed = np.zeros(documents)
        self.canonical = np.full(documents, np.nan)
        self.splits: list[tuple[Ints, Ints, Floats]] = []

    def copy(self) -> _State:
        """The same for a simulation, which changes none of this."""
        other = _State(0, 0, self.trunk.copy())
        other.offset, other.wave = self.offset.copy(), self.wave.copy()
        other.log_threshold = self.log_threshold
        other.survives = self.survives.copy()
        other.log_prefix, other.log_dropped = self.log_prefix.copy(), self.log_dropped.copy()
        other.best, other.pool = self.best.copy(), self.pool.copy()
        return other


class _Batch:
    """The propagation of a batch of documents."""

    def __init__(
        self,
        lexicons: Lexicons,
        session: Session,
        policy: Policy,
        normalise: Normaliser,
        jobs: Sequence[Job],
    ) -> None:
        self.lexicons, self.session, self.policy = lexicons, session, policy
        self.normalise, self.jobs = normalise, jobs
        self.sizes = np.array([len(job.target) for job in jobs], dtype=np.int64)
        sizes = self.sizes + 1
        self.base = np.cumsum(sizes) - sizes
        self.last = np.array([job.last for job in jobs], dtype=np.int64)
        self.document = np.repeat(np.arange(len(jobs)), sizes)
        # Equal targets, such as those of replicates, share plans: `shared` maps the positions of
        # each to those of the first.
        alike: dict[tuple[Pattern, frozenset[int]], int] = {}
        of_first = [alike.setdefault((job.target, job.wanted), d) for d, job in enumerate(jobs)]
        self._symbol = [s for job in jobs for s in first_string((*job.target, END))]
        self.shared = np.arange(sizes.sum()) + (self.base[of_first] - self.base)[self.document]
        # Weights at an offset are compared with what covers one symbol more; at the end, with that.
        self.ahead_of = np.arange(1, sizes.sum() + 1)
        self.ahead_of[self.base + sizes - 1] -= 1
        self.roots = [session.open() for _ in jobs]
        self.table = RowTable()
        self._plans: dict[tuple[int, int], Plan] = {}
        self._row_of: dict[Key, int] = {}
        self._any_row: dict[tuple[int, int], int] = {}
        self._steps = self._asked = 0
        self._age: dict[int, int] = {}
        self._chains: dict[int, tuple[int, int]] = {}
        self._ahead: list[Lookahead | None] = [
            None
            if session.merges or job.source is None or not job.lookahead
            else Lookahead(lexicons, session, job.target, job.source)
            for job in jobs
        ]
        # Where all of the source's own tokens are known, and the end is asked for.
        self._canonical = np.array(
            [
                job.source is not None
                and job.source.is_canonical
                and job.target[-1:] == (END,)
                and not session.merges
                for job in jobs
            ]
        )
        self._waits = isinstance(lexicons.machine, Determinised)
        self._looks_ahead = any(ahead is not None for ahead in self._ahead)
        futures = [job.future for job in jobs if job.future is not None]
        self._guide = futures[0].guide if futures else None

    def run(self) -> list[Propagated]:
        passes: list[list[Pass]] = [[] for _ in self.jobs]
        results: dict[int, Propagated] = {}
        latest: dict[int, Floats] = {}
        going = dict.fromkeys(range(len(self.jobs)), self.policy.first_threshold)
        while going:
            state = self._first(going)
            while missing := self._advance(state, ghost=False):
                self._evaluate(self._ghost(state, missing))
            nexts = self._distributions(state)
            again: dict[int, float] = {}
            for document, tried in going.items():
                result = self._result(state, document, nexts[document])
                gain = gained(result.log_prefix, latest.get(document))
                latest[document] = result.log_prefix
                passes[document].append(self._pass(state, document, result, tried, gain))
                result.passes = passes[document]
                size = len(self.jobs[document].target)
                threshold = self.policy.next_threshold(passes[document], size)
                if threshold is None:
                    results[document] = result
                else:
                    again[document] = threshold
            going = again
        for root in self.roots:
            self.session.close(root)
        return [results[document] for document in range(len(self.jobs))]

    def _first(self, going: Mapping[int, float]) -> _State:
        """The roots, at offset 0 of the documents that are propagated, with their thresholds;
        the others are at their end."""
        kept = [
            [] if self.session.merges or job.source is None else job.source.tokens()
            for job in self.jobs
        ]
        state = _State(len(self.jobs), len(self.document), Trunk(self.roots, kept))
        documents = np.array(sorted(going), dtype=np.int64)
        state.offset[:] = self.last + 1
        state.offset[documents] = 0
        with np.errstate(divide="ignore"):
            state.log_threshold[documents] = np.log([going[d] for d in documents.tolist()])
        begin = self.base[documents]
        state.log_prefix[begin] = 0.0
        state.best[begin] = 0.0
        count = len(documents)
        state.pool.add(
            begin,
            np.array(self.roots, dtype=np.int64)[documents],
            np.full(count, -1, dtype=np.int64),
            np.full(count, self.lexicons.start, dtype=np.int64),
            np.zeros(count),
            0 if self._guide is None else self._guide.start,
        )
        return state

    def _advance(self, state: _State, *, ghost: bool) -> dict[Key, float]:
        """Take steps until every document has ended or lacks a row.

        Returns the nodes without a row, with their log weights. In a simulation (ghost) documents
        go on past them, each taken to be like another node at the same place, if there is one.
        """
        missing: dict[Key, float] = {}
        blocked = np.zeros(len(self.jobs), dtype=bool)
        while len(missing) < REQUEST or not ghost:
            active = np.flatnonzero((state.offset <= self.last) & ~blocked)
            if not len(active):
                break
            wave = state.pool.take(self.base[active] + state.offset[active])
            if wave is not None:
                if len(active) > 1:
                    wave = sorted_by_position(wave)
                if ghost:
                    self._ghost_step(state, wave, missing)
                else:
                    blocked |= self._step(state, wave, missing)
            self._move_on(state, active[~blocked[active]])
            if not ghost:
                self._forget(state)
        return missing

    def _move_on(self, state: _State, active: Ints) -> None:
        """Move documents to the next offset where nodes stand: the same one again, if tokens that
        emit nothing left some there, and past the end if there are none."""
        ahead = state.pool.first_of(self.document, len(self.jobs))[active] - self.base[active]
        again = ahead == state.offset[active]
        state.wave[active] = np.where(again, state.wave[active] + 1, 0)
        state.offset[active] = np.minimum(ahead, self.last[active] + 1)

    # Decisions.

    def _decide(self, state: _State, wave: Wave) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which nodes of a wave are kept, and which are heavy enough to be, bool [nodes] both."""
        first = wave.first()
        position = wave.position[first]
        heaviest = np.maximum.reduceat(wave.logw, first)
        # The prefix probability itself would be a poor yardstick where the text leaves a likely
        # token in the middle: mass that is about to die would crowd out the nodes that go on.
        reference = np.maximum(state.log_prefix[self.ahead_of[position]], heaviest)
        # Nor would hypotheses that have read less of the source, where output waits: the source's
        # own next node goes on for certain, and others that have read as far may be as light.
        reference = np.minimum(reference, state.survives[self.document[position]])
        least = reference + state.log_threshold[self.document[position]]
        kept = self.policy.keep(wave.logw, first, least)
        size = np.diff(first, append=len(wave))
        heavy = wave.logw >= np.repeat(least, size)
        later = state.wave[self.document[position]] > 0
        if later.any():
            total = np.log(np.add.reduceat(np.exp(wave.logw - np.repeat(heaviest, size)), first))
            fading = total + heaviest < state.log_prefix[position] + math.log(SILENT_TOLERANCE)
            going_on = ~np.repeat(later & fading, size)
            kept &= going_on
            heavy &= going_on
        kept |= state.trunk.next_ones(self.document[wave.position], wave.parent, wave.token)
        return kept, heavy

    def _sampled(self, state: _State, policy: Sample, wave: Wave) -> tuple[NDArray[np.bool_], Wave]:
        """Which nodes of a wave are kept at random, and the wave with their new weights."""
        first = wave.first()
        uniform = np.zeros(len(first))
        for i in np.flatnonzero(policy.crowded(wave.logw, first)).tolist():
            position = int(wave.position[first[i]])
            document = int(self.document[position])
            random = self.jobs[document].random
            if random is None:
                raise ValueError("a job without random numbers can't be sampled")
            offset = position - int(self.base[document])
            uniform[i] = random(offset, int(state.wave[document]))
        expected = self._expected(wave)
        kept, logw = policy.thin_out(wave.logw + expected, first, uniform)
        return kept, replace(wave, logw=logw - expected)

    def _expected(self, wave: Wave) -> Floats:
        """log of what guides expect of nodes, 0 where there is none."""
        expected = np.zeros(len(wave))
        if self._guide is None:
            return expected
        documents = self.document[wave.position]
        for document in np.unique(documents).tolist():
            future = self.jobs[document].future
            if future is not None:
                own = documents == document
                offset = wave.position[own] - self.base[document]
                expected[own] = future.log_expected(wave.lexicon[own], offset, wave.guide[own])
        return expected

    def _step(self, state: _State, wave: Wave, missing: dict[Key, float]) -> NDArray[np.bool_]:
        """Decide and spread a wave. Returns which documents lack a row: these are as before."""
        blocked = np.zeros(len(self.jobs), dtype=bool)
        states = np.zeros(0, dtype=np.int64)
        if self.session.merges:
            states, wave = merged(self._states(wave), wave)
        kept, heavy = self._decide(state, wave)
        if isinstance(self.policy, Sample):
            sampled, wave = self._sampled(state, self.policy, wave)
            kept &= sampled
        chosen = wave.at(kept)
        self._require_budget(state, chosen)
        states = states[kept] if self.session.merges else self._states(chosen)
        if self._looks_ahead:
            rows = self._rows_of(chosen.keys(states))
            if (rows < 0).any():
                lacking = chosen.at(rows < 0)
                missing.update(
                    zip(lacking.keys(states[rows < 0]), lacking.logw.tolist(), strict=True)
                )
                blocked[self.document[lacking.position]] = True
                out = blocked[self.document[wave.position]]
                state.pool.add_wave(wave.at(out))
                wave, kept, heavy = wave.at(~out), kept[~out], heavy[~out]
                out = blocked[self.document[chosen.position]]
                chosen, states, rows = chosen.at(~out), states[~out], rows[~out]
        else:
            rows = self._read_now(chosen, states)
        if not self.policy.estimates:
            self._drop(state, wave, ~kept, heavy)
        if len(chosen):
            self._grow(state, chosen, states)
            self._count(state, chosen, states, rows)
            self._spread(state, chosen, states, rows)
        return blocked

    def _drop(
        self, state: _State, wave: Wave, gone: NDArray[np.bool_], heavy: NDArray[np.bool_]
    ) -> None:
        """Note the weight of nodes that are dropped; heavy: see `_decide`."""
        if gone.any():
            np.logaddexp.at(state.log_dropped, wave.position[gone], wave.logw[gone])
            gone &= heavy
            np.logaddexp.at(state.log_crowded, wave.position[gone], wave.logw[gone])

    def _grow(self, state: _State, chosen: Wave, states: Ints) -> None:
        """Let trunks go on to nodes that were kept."""
        documents = self.document[chosen.position]
        on = state.trunk.next_ones(documents, chosen.parent, chosen.token)
        state.trunk.grow(documents[on], states[on])

    def _require_budget(self, state: _State, chosen: Wave) -> None:
        more = np.bincount(self.document[chosen.position], minlength=len(self.jobs))
        self.policy.spend(int((state.rows + more).max()), 0)

    def _count(self, state: _State, chosen: Wave, states: Ints, rows: Ints) -> None:
        """Note what real nodes cost, what leaving out the specials did to them, and where the own
        tokens of a source have come to the end."""
        documents = self.document[chosen.position]
        np.add.at(state.rows, documents, 1)
        share = np.exp(np.minimum(0.0, chosen.logw - state.log_prefix[chosen.position]))
        np.add.at(state.removed, documents, share * self.table.removed[rows])
        ended = state.trunk.ended(documents, states) & self._canonical[documents]
        for i in np.flatnonzero(ended).tolist():
            # The node covers the whole target where its next token is an end.
            count = self.table.cover_count[rows[i]]
            if chosen.position[i] + count == self.base[documents[i]] + self.sizes[documents[i]]:
                last = self.table.cover_first[rows[i]] + count - 1
                state.canonical[documents[i]] = chosen.logw[i] + self.table.cover_logp[last]
        if self.table.symbol_count[rows].any():
            flat, owner = ragged(self.table.symbol_first[rows], self.table.symbol_count[rows])
            state.splits.append(
                (
                    self.table.symbol_position[flat],
                    self.table.symbol[flat],
                    chosen.logw[owner] + self.table.symbol_logp[flat],
                )
            )

    def _spread(self, state: _State, wave: Wave, states: Ints, rows: Ints) -> None:
        """Add the nodes' shares to the prefixes that their next token covers; file the children."""
        table = self.table
        flat, owner = ragged(table.cover_first[rows], table.cover_count[rows])
        covered = wave.position[owner] + 1 + flat - table.cover_first[rows][owner]
        np.logaddexp.at(state.log_prefix, covered, wave.logw[owner] + table.cover_logp[flat])
        flat, owner = ragged(table.child_first[rows], table.child_count[rows])
        logw = wave.logw[owner] + table.child_logp[flat]
        to = table.child_position[flat]
        np.maximum.at(state.best, to, logw)
        alive = logw > -np.inf
        if not self.session.merges:
            # Children that no later decision can keep need not wait for it.
            on = state.trunk.next_ones(self.document[to], states[owner], table.child_token[flat])
            on &= alive
            if self._waits:
                state.survives[self.document[to[on]]] = logw[on]
            known = np.maximum(state.log_prefix[self.ahead_of[to]], state.best[to])
            known = np.minimum(known, state.survives[self.document[to]])
            least = known + state.log_threshold[self.document[to]]
            light = alive & (logw < least) & (to > wave.position[owner])
            light &= ~on
            np.logaddexp.at(state.log_dropped, to[light], logw[light])
            alive &= ~light
        flat, owner = flat[alive], owner[alive]
        parents, tokens = states[owner], table.child_token[flat]
        guide: Ints | int = 0
        if self._guide is not None:
            first = np.where(np.isin(parents, self.roots), 0, -1)
            guide = self._guide.read(wave.guide[owner], tokens, first)
        state.pool.add(to[alive], parents, tokens, table.child_next[flat], logw[alive], guide)

    def _states(self, wave: Wave) -> Ints:
        """LM states of nodes: those of their parents after their token, which roots don't have."""
        moved = wave.token >= 0
        states = wave.parent.copy()
        states[moved] = self.session.step(wave.parent[moved], wave.token[moved])
        return states

    # Rows.

    def _rows_of(self, keys: list[Key]) -> Ints:
        """The table's rows of nodes, -1 where there is none."""
        return np.array([self._row_of.get(key, -1) for key in keys], dtype=np.int64)

    def _read_now(self, wave: Wave, states: Ints) -> Ints:
        """Without lookahead: rows for these nodes, in a table of their own."""
        self.table.clear()
        if not len(wave):
            return np.zeros(0, dtype=np.int64)
        order = np.lexsort((wave.lexicon, self.shared[wave.position]))
        self._read(wave.at(order).keys(states[order]))
        rows = np.empty(len(order), dtype=np.int64)
        rows[order] = np.arange(len(order))
        return rows

    def _evaluate(self, keys: list[Key]) -> None:
        """With lookahead: add the rows of nodes to the table."""
        # Nodes of one plan side by side, and plans of one range of tokens.
        keys = sorted(keys, key=lambda k: (k[1], self._symbol[k[2]], self.shared[k[2]]))
        begin = len(self.table)
        self._read(keys)
        for row, key in enumerate(keys, start=begin):
            self._row_of[key] = row
            self._any_row.setdefault(key[1:], row)
            age, chain = self._chains.get(key[0], (0, 0))
            self._age[key[0]] = age + chain

    def _read(self, keys: list[Key]) -> None:
        """Ask the session for rows, in this order, which has equal plans side by side."""
        states = np.array([key[0] for key in keys], dtype=np.int64)
        self._asked += len(keys)
        for block, rows in self.session.rows(states):
            lse, removed = self.normalise(rows)
            groups: list[Group] = []
            before: tuple[int, int] | None = None
            for _, lexicon, position in keys[block]:
                here = (lexicon, int(self.shared[position]))
                if here == before:
                    groups[-1].positions.append(position)
                else:
                    groups.append(Group(lexicon, [position], self._plan(*here)))
                before = here
            self.table.read(rows, lse, removed, states[block], groups)

    def _plan(self, lexicon: int, position: int) -> Plan:
        if (lexicon, position) not in self._plans:
            document = int(self.document[position])
            job, offset = self.jobs[document], position - int(self.base[document])
            found = self.lexicons[lexicon]
            self._plans[lexicon, position] = make_plan(
                found,
                job.target[offset : offset + found.depth],
                useful=lambda state, depth: self._useful(job, state, offset + depth),
                wanted=[k for k in range(found.depth + 1) if offset + k in job.wanted],
                children_to=job.last - offset,
            )
        return self._plans[lexicon, position]

    def _useful(self, job: Job, lexicon: int, offset: int) -> bool:
        """Whether a node there can still contribute to anything that is asked for."""
        if offset in job.wanted or offset >= len(job.target):
            return True
        place = job.target[offset]
        if isinstance(place, OneOf):
            return any(self.lexicons.viable(lexicon, symbol) for symbol in place)
        return self.lexicons.viable(lexicon, place)

    def _forget(self, state: _State) -> None:
        """Drop what was needed up to here only."""
        self._steps += 1
        if self._steps % RETAIN_EVERY:
            return
        if self.policy.repeats and self._asked < RETAINED_ROWS:
            return
        here = self.base + state.offset
        self._plans = {k: p for k, p in self._plans.items() if k[1] >= here[self.document[k[1]]]}
        waiting, table = state.pool.wave(), self.table
        ahead = table.position >= here[self.document[table.position]]
        states = np.concatenate([waiting.parent, table.state[ahead]])
        owner = self.document[np.concatenate([waiting.position, table.position[ahead]])]
        for document in np.flatnonzero(state.offset <= self.last).tolist():
            root = self.roots[document]
            self.session.retain(root, np.unique(np.append(states[owner == document], root)))

    # Lookahead.

    def _ghost(self, state: _State, missing: dict[Key, float]) -> list[Key]:
        """The nodes to ask for now: the missing ones, and those that a simulation says are next."""
        self._chains.clear()
        found = dict(missing)
        found.update(self._advance(state.copy(), ghost=True))
        places = {key[1:] for key in found} | self._any_row.keys()
        keys = list(found)
        for key in found:
            document = int(self.document[key[2]])
            ahead = self._ahead[document]
            if ahead is not None and key[1:] not in self._any_row:
                more = ahead.extend(key, int(self.base[document]), places)
                places.update(k[1:] for k in more)
                keys += more
        return list(dict.fromkeys(keys))

    def _ghost_step(self, state: _State, wave: Wave, missing: dict[Key, float]) -> None:
        """As `_step`; a node without a row is noted, and taken to be like another one there."""
        chosen = wave.at(self._decide(state, wave)[0])
        states = self._states(chosen)
        self._grow(state, chosen, states)
        keys = chosen.keys(states)
        rows = self._rows_of(keys)
        for i in np.flatnonzero(rows < 0).tolist():
            key = keys[i]
            self._place(chosen, i, key)
            if self._trusted(key[0], int(chosen.parent[i])):
                missing[key] = float(chosen.logw[i])
                rows[i] = self._any_row.get(key[1:], -1)
        known = rows >= 0
        if known.any():
            self._spread(state, chosen.at(known), states[known], rows[known])

    def _place(self, wave: Wave, i: int, key: Key) -> None:
        """Note where in its source a node without a row is."""
        ahead = self._ahead[int(self.document[key[2]])]
        if ahead is not None and wave.token[i] >= 0:
            ahead.place(int(wave.parent[i]), int(wave.token[i]), key[0])

    def _trusted(self, state: int, parent: int) -> bool:
        """Whether a branch may be simulated on to a node without a row.

        A young branch may still surprise: it goes on for `TRUST` times as many nodes as it has had
        rows.
        """
        age, chain = self._chains.get(parent) or (self._age.get(parent, 0), 0)
        self._chains[state] = (age, chain + 1)
        return chain < max(1, TRUST * age)

    # Results.

    def _result(self, state: _State, document: int, nexts: Next) -> Propagated:
        begin, size = int(self.base[document]), len(self.jobs[document].target)
        log_prefix = state.log_prefix[begin : begin + size + 1].copy()
        log_dropped = state.log_dropped[begin : begin + size]
        missing = missing_by_offset(log_prefix, log_dropped)
        lost, impossible = np.flatnonzero(np.isinf(missing)), self.jobs[document].impossible
        if len(lost) and impossible is not None and impossible(int(lost[0])):
            # Then the probability is truly 0.
            missing[lost] = 0.0
        canonical = float(state.canonical[document])
        return Propagated(
            log_prefix=log_prefix,
            log_dropped=np.concatenate([[-np.inf], np.logaddexp.accumulate(log_dropped)]),
            next=nexts,
            rows=int(state.rows[document]),
            removed=float(state.removed[document]),
            missing=missing,
            canonical=None if math.isnan(canonical) else canonical,
        )

    def _pass(
        self, state: _State, document: int, result: Propagated, threshold: float, gain: float
    ) -> Pass:
        begin, size = int(self.base[document]), int(self.sizes[document])
        own = slice(begin, begin + size)
        crowded = missing_by_offset(result.log_prefix, state.log_crowded[own])
        missing = math.inf if result.missing is None else float(result.missing.sum())
        if self.jobs[document].last == size and result.log_prefix[-1] > -np.inf:
            # What follows the target is asked for, and lacks what was dropped behind its end.
            missing += float(np.exp(state.log_dropped[begin + size] - result.log_prefix[-1]))
        return Pass(
            threshold=threshold,
            gained=gain,
            missing=missing,
            # Of what is lost altogether it says nothing.
            crowded=float(crowded[np.isfinite(crowded)].sum()),
            rows=result.rows,
        )

    def _distributions(self, state: _State) -> list[Next]:
        """The next-symbol distributions of every document."""
        nothing = (np.zeros(0, np.int64), np.zeros(0))
        nexts = [dict.fromkeys(sorted(job.wanted), nothing) for job in self.jobs]
        if not state.splits:
            return nexts
        parts = zip(*state.splits, strict=True)
        position, symbol, logp = (np.concatenate(part) for part in parts)
        order = np.lexsort((symbol, position))
        order = order[logp[order] > -np.inf]
        if not len(order):
            return nexts
        position, symbol, logp = position[order], symbol[order], logp[order]
        changes = (position[1:] != position[:-1]) | (symbol[1:] != symbol[:-1])
        first = np.flatnonzero(np.append(True, changes))
        top = np.maximum.reduceat(logp, first)
        size = np.diff(first, append=len(logp))
        total = np.log(np.add.reduceat(np.exp(logp - np.repeat(top, size)), first)) + top
        position, symbol = position[first], symbol[first]
        total -= state.log_prefix[position]
        bounds = np.flatnonzero(np.append(True, position[1:] != position[:-1])).tolist()
        for begin, end in zip(bounds, [*bounds[1:], len(position)], strict=True):
            at = int(position[begin])
            document = int(self.document[at])
            nexts[document][at - int(self.base[document])] = symbol[begin:end], total[begin:end]
        return nexts
