"""Propagation: prefix probabilities of a target string by summing over its nodes.

The equation (design, "One formula for everything"; arXiv 2603.05193, sections 4 and 5):

    P_Y(y) = Σ_{x : ω(x) ≺ y}  P_X(x) · Σ_{t : ω(x)·out(t) ⪰ y}  p_X(t | x)

A node is a source prefix x whose emission ω(x) is a proper prefix of y. Nodes are taken in order of
offset |ω(x)|; all nodes of an offset are merged and decided together, then one LM row of each kept
node gives its share of every longer prefix of y and its child nodes. Tokens that emit nothing make
children at the same offset: the next *wave* there.

`propagate` is a generator: it yields a `Request` for rows and is sent what they reduce to, so that
a driver (`run_batch`) can serve many documents with one LM call. It assumes a total function; see
`lmfst.partial` for functions that reject some strings.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lmfst.lexicon import Lexicons
from lmfst.lm.base import Session
from lmfst.lookahead import HORIZON, REQUEST, TRUNK, Continuation, Key, Lookahead
from lmfst.plan import Floats, Ints, Normaliser, Plan, Reduced, make_plan, reduce_rows
from lmfst.policy import SILENT_TOLERANCE, Policy
from lmfst.sequential import END

RETAIN_EVERY = 64
"""Offsets between two calls that let the session forget dead states."""


@dataclass(frozen=True)
class Request:
    """Rows that a document needs: LM states int64 [n], and a plan for each group of them."""

    states: Ints
    groups: tuple[tuple[int, Plan], ...]


Reply = list[Reduced]


@dataclass
class Propagated:
    """What propagation found for a target of N symbols.

    log_prefix: float64 [N + 1]. log P_Y of every prefix of the target, nats: a lower bound where
        nodes were dropped.
    log_dropped: float64 [N + 1]. log of the weight dropped before each prefix was covered;
        P_Y lies in [exp log_prefix, exp log_prefix + exp log_dropped].
    next: position → (symbols int64, logp float64) of the next symbol after target[:position].
    rows: LM rows asked for. removed: nats by which renormalising without the specials raised logp,
        averaged over the nodes of each offset by weight and summed over offsets.
    """

    log_prefix: Floats
    log_dropped: Floats
    next: dict[int, tuple[Ints, Floats]] = field(default_factory=dict)
    rows: int = 0
    removed: float = 0.0


@dataclass
class _Wave:
    """Nodes that reached an offset: parents (LM states), tokens read there (-1: none), lexicon
    states, log weights; all [nodes]."""

    parent: Ints
    token: Ints
    lexicon: Ints
    logw: Floats

    @staticmethod
    def join(waves: Sequence[_Wave]) -> _Wave:
        if len(waves) == 1:
            return waves[0]
        return _Wave(
            *(
                np.concatenate([getattr(wave, name) for wave in waves])
                for name in ("parent", "token", "lexicon", "logw")
            )
        )

    def at(self, index: NDArray[np.intp]) -> _Wave:
        return _Wave(self.parent[index], self.token[index], self.lexicon[index], self.logw[index])


@dataclass
class _Nodes:
    """Decided nodes of one offset, sorted by lexicon state.

    states: int64 [nodes], LM states. kinds: the lexicon states; group i is bounds[i]:bounds[i+1].
    """

    offset: int
    states: Ints
    wave: _Wave
    kinds: list[int]
    bounds: list[int]

    def groups(self) -> list[tuple[int, int, int]]:
        """(lexicon state, begin, end) of every group."""
        return list(zip(self.kinds, self.bounds[:-1], self.bounds[1:], strict=True))

    def ids(self) -> list[Key]:
        """What identifies the nodes' rows and plans."""
        pairs = zip(self.states.tolist(), self.wave.lexicon.tolist(), strict=True)
        return [(state, lexicon, self.offset) for state, lexicon in pairs]


class _Run:
    """One document's propagation: the state between offsets."""

    def __init__(
        self,
        lexicons: Lexicons,
        session: Session,
        policy: Policy,
        target: Sequence[int],
        wanted: Iterable[int],
        source: Continuation | None = None,
    ) -> None:
        self.lexicons, self.session, self.policy = lexicons, session, policy
        self.target = [int(symbol) for symbol in target]
        self.size = len(self.target)
        self.wanted = frozenset(wanted)
        # Nodes stand before the last symbol; after it only where a distribution is wanted there.
        self.last = self.size if self.size in self.wanted else self.size - 1
        self.log_prefix = np.full(self.size + 1, -np.inf)
        self.log_prefix[0] = 0.0
        self.log_dropped_at = np.full(self.size + 2, -np.inf)
        self.splits: dict[int, list[tuple[Ints, Floats]]] = {k: [] for k in self.wanted}
        self.rows, self.removed = 0, 0.0
        self.root = session.open()
        self.arrived: dict[int, list[_Wave]] = {0: [self._first_wave()]}
        self._plans: dict[tuple[int, int], Plan] = {}
        self._known: dict[Key, Reduced] = {}
        self._ahead = None if source is None else Lookahead(lexicons, session, self.target, source)

    def _first_wave(self) -> _Wave:
        one = np.zeros(1, dtype=np.int64)
        return _Wave(one + self.root, one - 1, one + self.lexicons.start, np.zeros(1))

    def run(self) -> Generator[Request, Reply, Propagated]:
        for offset in range(self.last + 1):
            waves = self.arrived.pop(offset, [])
            first = True
            while waves:
                nodes = self._settle(_Wave.join(waves), offset, first=first)
                waves, first = [], False
                if len(nodes.states):
                    self.rows = self.policy.spend(self.rows, len(nodes.states))
                    waves = self._spread(nodes, (yield from self._replies(nodes)))
            self._forget(offset)
        self.session.close(self.root)
        return self._result()

    def _forget(self, offset: int) -> None:
        """Drop what was needed up to `offset` only."""
        if offset % RETAIN_EVERY != RETAIN_EVERY - 1:
            return
        self._plans = {key: plan for key, plan in self._plans.items() if key[1] > offset}
        self._known = {key: row for key, row in self._known.items() if key[2] > offset}
        parents = [wave.parent for waves in self.arrived.values() for wave in waves]
        ahead = np.array([key[0] for key in self._known], dtype=np.int64)
        live = np.unique(np.concatenate([np.array([self.root]), ahead, *parents]))
        self.session.retain(self.root, live)

    def _settle(self, wave: _Wave, offset: int, *, first: bool) -> _Nodes:
        """Merge and decide the nodes of a wave. Returns the kept ones, by lexicon state."""
        states = np.zeros(0, dtype=np.int64)
        if self.session.merges:
            states = self._states(wave)
            states, wave = _merged(states, wave)
        log_prefix = float(self.log_prefix[offset])
        kept = self.policy.keep(wave.logw, self._reference(wave, offset))
        total = _logsumexp(wave.logw)
        if total == -math.inf or (not first and total < log_prefix + math.log(SILENT_TOLERANCE)):
            kept = kept[:0]
        if len(kept) < len(wave.logw):
            gone = np.ones(len(wave.logw), dtype=bool)
            gone[kept] = False
            lost = _logsumexp(wave.logw[gone])
            self.log_dropped_at[offset] = np.logaddexp(self.log_dropped_at[offset], lost)
            wave = wave.at(kept)
            states = states[kept] if self.session.merges else states
        if not self.session.merges:
            states = self._states(wave)
        return self._grouped(states, wave, offset)

    def _reference(self, wave: _Wave, offset: int) -> float:
        """What weights are compared with: the mass that is known to go on, or the heaviest node.

        The prefix probability itself would be a poor yardstick where the text leaves a likely token
        in the middle: mass that is about to die would crowd out the nodes that go on.
        """
        if offset >= self.size:
            return float(self.log_prefix[offset])
        return max(float(self.log_prefix[offset + 1]), float(wave.logw.max(initial=-np.inf)))

    def _states(self, wave: _Wave) -> Ints:
        if (wave.token < 0).any():
            return wave.parent
        states = self.session.step(wave.parent, wave.token)
        if self._ahead is not None:
            self._ahead.place(wave.parent, wave.token, states)
        return states

    def _grouped(self, states: Ints, wave: _Wave, offset: int) -> _Nodes:
        if len(states) == 1 or (len(states) and (wave.lexicon == wave.lexicon[0]).all()):
            return _Nodes(offset, states, wave, [int(wave.lexicon[0])], [0, len(states)])
        order = np.argsort(wave.lexicon, kind="stable")
        states, wave = states[order], wave.at(order)
        kinds, begins = np.unique(wave.lexicon, return_index=True)
        bounds = [*begins.tolist(), len(states)]
        return _Nodes(offset, states, wave, kinds.tolist(), bounds)

    def _replies(self, nodes: _Nodes) -> Generator[Request, Reply, Reply]:
        """What the rows of nodes reduce to, from the LM or from what lookahead has asked for."""
        if self._ahead is None:
            groups = tuple(
                (end - begin, self._plan(kind, nodes.offset)) for kind, begin, end in nodes.groups()
            )
            return (yield Request(nodes.states, groups))
        if any(key not in self._known for key in nodes.ids()):
            keys = self._speculate(nodes, self._ahead)
            plans = [(lexicon, offset) for _, lexicon, offset in keys]
            runs = [(plan, len(list(run))) for plan, run in itertools.groupby(plans)]
            groups = tuple((size, self._plan(*plan)) for plan, size in runs)
            replies = yield Request(np.array([key[0] for key in keys]), groups)
            rows = (row for reply in replies for row in reply.rows())
            self._known.update(zip(keys, rows, strict=True))
        known = [self._known[key] for key in nodes.ids()]
        return [Reduced.stack(known[begin:end]) for _, begin, end in nodes.groups()]

    def _speculate(self, nodes: _Nodes, ahead: Lookahead) -> list[Key]:
        """The nodes to ask for now: the missing ones, and those that a simulation says are next."""
        ghost = copy.copy(self)
        ghost.log_prefix = self.log_prefix.copy()
        ghost.log_dropped_at = self.log_dropped_at.copy()
        ghost.arrived = {offset: list(waves) for offset, waves in self.arrived.items()}
        ghost.splits = {k: [] for k in self.wanted}
        missing: dict[Key, int] = {}
        waves = ghost._spread_known(nodes, missing, ahead)
        for offset in range(nodes.offset, min(self.last, nodes.offset + HORIZON) + 1):
            if len(missing) >= REQUEST:
                break
            first = offset > nodes.offset
            waves = ghost.arrived.pop(offset, []) if first else waves
            while waves:
                waves = ghost._spread_known(
                    ghost._settle(_Wave.join(waves), offset, first=first), missing, ahead
                )
                first = False
        keys = dict.fromkeys(missing)
        for key, reach in missing.items():
            if len(keys) >= 2 * REQUEST:
                break
            keys.update(dict.fromkeys(ahead.extend(key, reach)))
        return sorted((key for key in keys if key not in self._known), key=lambda k: (k[2], k[1]))

    def _spread_known(
        self, nodes: _Nodes, missing: dict[Key, int], ahead: Lookahead
    ) -> list[_Wave]:
        """In a simulation: spread the nodes whose rows are known, note the others in `missing`."""
        known = []
        for i, key in enumerate(nodes.ids()):
            if key in self._known:
                known.append(i)
            elif nodes.wave.token[i] < 0:
                missing[key] = TRUNK
            else:
                missing[key] = ahead.reach(int(nodes.wave.parent[i]), int(nodes.wave.token[i]))
        if not known:
            return []
        index = np.array(known)
        kept = self._grouped(nodes.states[index], nodes.wave.at(index), nodes.offset)
        rows = [self._known[key] for key in kept.ids()]
        return self._spread(kept, [Reduced.stack(rows[b:e]) for _, b, e in kept.groups()])

    def _spread(self, nodes: _Nodes, replies: Reply) -> list[_Wave]:
        """Spread the mass of nodes. Returns the next wave at their offset."""
        silent: list[_Wave] = []
        for (kind, begin, end), reply in zip(nodes.groups(), replies, strict=True):
            plan = self._plan(kind, nodes.offset)
            logw = nodes.wave.logw[begin:end]
            self._cover(plan, reply, logw, nodes.offset)
            silent += self._spawn(plan, reply, nodes.states[begin:end], logw, nodes.offset)
        return silent

    def _plan(self, lexicon: int, offset: int) -> Plan:
        if (lexicon, offset) not in self._plans:
            found = self.lexicons[lexicon]
            self._plans[lexicon, offset] = make_plan(
                found,
                self.target[offset : offset + found.depth],
                useful=lambda state, depth: self._useful(state, offset + depth),
                wanted=[k - offset for k in self.wanted if k >= offset],
                children_to=self.last - offset,
            )
        return self._plans[lexicon, offset]

    def _useful(self, lexicon: int, offset: int) -> bool:
        """Whether a node there can still contribute to anything that is asked for."""
        if offset in self.wanted or offset >= self.size:
            return True
        return self.lexicons.viable(lexicon, self.target[offset])

    def _cover(self, plan: Plan, reply: Reduced, logw: Floats, offset: int) -> None:
        """Add the nodes' share to the prefixes that their next token covers."""
        top = float(logw.max())
        weight = np.exp(logw - top)
        if plan.depth:
            span = slice(offset + 1, offset + 1 + plan.depth)
            share = _log_weighted(weight, top, logw, reply.mass)
            self.log_prefix[span] = np.logaddexp(self.log_prefix[span], share)
        for split, probs in zip(plan.splits, reply.splits, strict=True):
            share = _log_weighted(weight, top, logw, probs)
            self.splits[offset + split.depth].append((split.symbols, share))
        share_of_prefix = math.exp(min(0.0, top - float(self.log_prefix[offset])))
        self.removed += share_of_prefix * float(weight @ reply.removed)

    def _spawn(
        self, plan: Plan, reply: Reduced, states: Ints, logw: Floats, offset: int
    ) -> list[_Wave]:
        """File the child nodes under their offsets. Returns those that stay at `offset`."""
        silent = []
        for depth, begin, end in plan.levels:
            weights = (logw[:, None] + reply.child_logp[:, begin:end]).ravel()
            token, after = plan.child_token[begin:end], plan.child_next[begin:end]
            if len(states) > 1:
                token, after = np.tile(token, len(states)), np.tile(after, len(states))
            wave = _Wave(np.repeat(states, end - begin), token, after, weights)
            if weights.min() == -np.inf:
                wave = wave.at(np.flatnonzero(weights > -np.inf))
            if not len(wave.logw):
                continue
            if depth == 0:
                silent.append(wave)
            else:
                self.arrived.setdefault(offset + depth, []).append(wave)
        return silent

    def _result(self) -> Propagated:
        lost = np.logaddexp.accumulate(self.log_dropped_at)[: self.size]
        nexts = {k: _combined(parts, float(self.log_prefix[k])) for k, parts in self.splits.items()}
        return Propagated(
            log_prefix=self.log_prefix,
            log_dropped=np.concatenate([[-np.inf], lost]),
            next=nexts,
            rows=self.rows,
            removed=self.removed,
        )


def _merged(states: Ints, wave: _Wave) -> tuple[Ints, _Wave]:
    """Add up nodes with one LM state and one lexicon state."""
    code = states * (int(wave.lexicon.max()) + 1) + wave.lexicon
    _, first, inverse = np.unique(code, return_index=True, return_inverse=True)
    if len(first) == len(code):
        return states, wave
    top = np.full(len(first), -np.inf)
    np.maximum.at(top, inverse, wave.logw)
    total = np.bincount(inverse, np.exp(wave.logw - top[inverse]), minlength=len(first))
    merged = wave.at(first)
    merged.logw = np.log(total) + top
    return states[first], merged


def _log_weighted(weight: Floats, top: float, logw: Floats, probs: Floats) -> Floats:
    """log Σ_i exp(logw_i) probs[i, :]. weight: exp(logw - top), which may underflow.

    Columns where only underflown nodes have a probability are summed again, in the log domain.
    """
    with np.errstate(divide="ignore"):
        share = np.log(weight @ probs) + top
        for column in np.flatnonzero((share == -np.inf) & (probs > 0).any(axis=0)):
            share[column] = _logsumexp(logw + np.log(probs[:, column]))
    return share


def _logsumexp(values: Floats) -> float:
    top = float(values.max(initial=-math.inf))
    return top + math.log(float(np.exp(values - top).sum())) if top > -math.inf else top


def _combined(parts: list[tuple[Ints, Floats]], log_prefix: float) -> tuple[Ints, Floats]:
    """Sum the shares of each next symbol, relative to the prefix probability."""
    if not parts or log_prefix == -math.inf:
        return np.zeros(0, np.int64), np.zeros(0)
    symbols = np.concatenate([part[0] for part in parts])
    logp = np.concatenate([part[1] for part in parts]) - log_prefix
    distinct, inverse = np.unique(symbols, return_inverse=True)
    top = np.full(len(distinct), -np.inf)
    np.maximum.at(top, inverse, logp)
    shift = np.where(np.isfinite(top), top, 0.0)
    total = np.bincount(inverse, np.exp(logp - shift[inverse]), minlength=len(distinct))
    with np.errstate(divide="ignore"):
        return distinct, np.log(total) + shift


def propagate(
    lexicons: Lexicons,
    session: Session,
    policy: Policy,
    target: Sequence[int],
    *,
    end: bool = True,
    wanted: Iterable[int] = (),
    source: Continuation | None = None,
) -> Generator[Request, Reply, Propagated]:
    """Prefix probabilities of `target`, followed by ⊥ if `end`; see `Propagated`.

    wanted: positions (0 .. number of symbols) where the next-symbol distribution is asked for.
    source: the canonical tokens of a source text, for lookahead; the result doesn't depend on it.
    """
    symbols = [*target, END] if end else list(target)
    if session.merges:
        source = None
    return _Run(lexicons, session, policy, symbols, wanted, source).run()


def run_batch(
    generators: Sequence[Generator[Request, Reply, Propagated]],
    session: Session,
    normalise: Normaliser,
) -> list[Propagated]:
    """Drive documents together: every round serves one request of each with shared LM calls."""
    results: list[Propagated | None] = [None] * len(generators)
    requests: dict[int, Request] = {}

    def advance(i: int, reply: Reply | None) -> None:
        try:
            requests[i] = generators[i].send(reply) if reply is not None else next(generators[i])
        except StopIteration as stop:
            requests.pop(i, None)
            results[i] = stop.value

    for i in range(len(generators)):
        advance(i, None)
    while requests:
        order = list(requests)
        replies = _serve([requests[i] for i in order], session, normalise)
        for i, reply in zip(order, replies, strict=True):
            advance(i, reply)
    return [result for result in results if result is not None]


def _serve(requests: list[Request], session: Session, normalise: Normaliser) -> list[Reply]:
    """The replies to several requests, by blocks of rows."""
    states = np.concatenate([request.states for request in requests])
    groups = [group for request in requests for group in request.groups]
    pieces: list[list[Reduced]] = [[] for _ in groups]
    ends = np.cumsum([size for size, _ in groups])
    for block, rows in session.rows(states):
        lse, removed = normalise(rows)
        at, last = block.start, block.start + rows.shape[0]
        g = int(np.searchsorted(ends, at, side="right"))
        while at < last:
            until = min(int(ends[g]), last)
            part = slice(at - block.start, until - block.start)
            pieces[g].append(reduce_rows(rows[part], lse[part], removed[part], groups[g][1]))
            at, g = until, g + 1
    reduced = iter([Reduced.stack(parts) for parts in pieces])
    return [[next(reduced) for _ in request.groups] for request in requests]
