"""Propagation: prefix probabilities of a target string by summing over its nodes.

The equation (design, "One formula for everything"; arXiv 2603.05193, sections 4 and 5):

    P_Y(y) = Σ_{x : ω(x) ≺ y}  P_X(x) · Σ_{t : ω(x)·out(t) ⪰ y}  p_X(t | x)

A node is a source prefix x whose emission ω(x) is a proper prefix of y. Nodes are taken in order of
offset |ω(x)|; all nodes of an offset are merged and decided together, then one LM row of each kept node
gives its share of every longer prefix of y and its child nodes. Tokens that emit nothing make children at
the same offset: the next *wave* there.

`propagate` is a generator: it yields a `Request` for rows and is sent what they reduce to, so that a
driver (`run_batch`) can serve many documents with one LM call. It assumes a total function; see
`lmfst.partial` for functions that reject some strings.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lmfst.lexicon import Lexicons
from lmfst.lm.base import Session
from lmfst.plan import Floats, Ints, Normaliser, Plan, Reduced, make_plan, reduce_rows
from lmfst.policy import SILENT_TOLERANCE, Policy
from lmfst.sequential import END

RETAIN_EVERY = 64
"""Offsets between two calls that let the session forget dead states."""


@dataclass(frozen=True)
class Request:
    """Rows that a document needs: LM states int64 [n], and for consecutive groups of them a plan."""

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


class _Run:
    """One document's propagation: the state between offsets."""

    def __init__(
        self,
        lexicons: Lexicons,
        session: Session,
        policy: Policy,
        target: Sequence[int],
        wanted: Iterable[int],
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
        self._plans: dict[int, Plan] = {}

    def _first_wave(self) -> _Wave:
        one = np.zeros(1, dtype=np.int64)
        return _Wave(one + self.root, one - 1, one + self.lexicons.start, np.zeros(1))

    def run(self) -> Generator[Request, Reply, Propagated]:
        for offset in range(self.last + 1):
            self._plans = {}
            waves = self.arrived.pop(offset, [])
            first = True
            while waves:
                states, wave = self._settle(_Wave.join(waves), offset, first=first)
                waves, first = [], False
                if len(states):
                    waves = yield from self._expand(states, wave, offset)
            if offset % RETAIN_EVERY == RETAIN_EVERY - 1:
                self.session.retain(self.root, self._live())
        self.session.close(self.root)
        return self._result()

    def _live(self) -> Ints:
        parents = [wave.parent for waves in self.arrived.values() for wave in waves]
        return np.unique(np.concatenate([np.array([self.root]), *parents]))

    def _settle(self, wave: _Wave, offset: int, *, first: bool) -> tuple[Ints, _Wave]:
        """Merge and decide the nodes of a wave. Returns the LM states of the kept ones, and them."""
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
        return states, wave

    def _reference(self, wave: _Wave, offset: int) -> float:
        """What node weights are compared with: the mass that is known to go on, or the heaviest node.

        The prefix probability itself would be a poor yardstick where the text leaves a likely token
        in the middle: mass that is about to die would crowd out the nodes that go on.
        """
        if offset >= self.size:
            return float(self.log_prefix[offset])
        return max(float(self.log_prefix[offset + 1]), float(wave.logw.max(initial=-np.inf)))

    def _states(self, wave: _Wave) -> Ints:
        if (wave.token < 0).any():
            return wave.parent
        return self.session.step(wave.parent, wave.token)

    def _expand(
        self, states: Ints, wave: _Wave, offset: int
    ) -> Generator[Request, Reply, list[_Wave]]:
        """Ask for the rows of kept nodes and spread their mass. Returns the next wave at `offset`."""
        self.rows = self.policy.spend(self.rows, len(states))
        order = np.argsort(wave.lexicon, kind="stable")
        states, wave = states[order], wave.at(order)
        kinds, begins = np.unique(wave.lexicon, return_index=True)
        bounds = [*begins.tolist(), len(states)]
        plans = [self._plan(int(kind), offset) for kind in kinds]
        groups = tuple((bounds[i + 1] - bounds[i], plan) for i, plan in enumerate(plans))
        replies = yield Request(states, groups)
        silent: list[_Wave] = []
        for i, (plan, reply) in enumerate(zip(plans, replies, strict=True)):
            part = slice(bounds[i], bounds[i + 1])
            self._cover(plan, reply, wave.logw[part], offset)
            silent += self._spawn(plan, reply, states[part], wave.logw[part], offset)
        return silent

    def _plan(self, lexicon: int, offset: int) -> Plan:
        if lexicon not in self._plans:
            rest = self.target[offset:]
            self._plans[lexicon] = make_plan(
                self.lexicons[lexicon],
                rest,
                useful=lambda state, depth: self._useful(state, offset + depth),
                wanted=[k - offset for k in self.wanted if k >= offset],
                children_to=self.last - offset,
            )
        return self._plans[lexicon]

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
            with np.errstate(divide="ignore"):
                share = np.log(weight @ reply.mass) + top
            self.log_prefix[span] = np.logaddexp(self.log_prefix[span], share)
        for split, probs in zip(plan.splits, reply.splits, strict=True):
            with np.errstate(divide="ignore"):
                self.splits[offset + split.depth].append(
                    (split.symbols, np.log(weight @ probs) + top)
                )
        share_of_prefix = math.exp(min(0.0, top - float(self.log_prefix[offset])))
        self.removed += share_of_prefix * float(weight @ reply.removed)

    def _spawn(
        self, plan: Plan, reply: Reduced, states: Ints, logw: Floats, offset: int
    ) -> list[_Wave]:
        """File the child nodes under their offsets. Returns those that stay at `offset`."""
        silent = []
        for depth in np.unique(plan.child_depth).tolist():
            columns = np.flatnonzero(plan.child_depth == depth)
            weights = (logw[:, None] + reply.child_logp[:, columns]).ravel()
            wave = _Wave(
                np.repeat(states, len(columns)),
                np.tile(plan.child_token[columns], len(states)),
                np.tile(plan.child_next[columns], len(states)),
                weights,
            )
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
) -> Generator[Request, Reply, Propagated]:
    """Prefix probabilities of `target`, followed by ⊥ if `end`; see `Propagated`.

    wanted: positions (0 .. number of symbols) where the next-symbol distribution is asked for.
    """
    symbols = [*target, END] if end else list(target)
    return _Run(lexicons, session, policy, symbols, wanted).run()


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
    reduced = iter([_joined(parts) for parts in pieces])
    return [[next(reduced) for _ in request.groups] for request in requests]


def _joined(parts: list[Reduced]) -> Reduced:
    if len(parts) == 1:
        return parts[0]
    return Reduced(
        np.concatenate([part.mass for part in parts]),
        np.concatenate([part.child_logp for part in parts]),
        tuple(np.concatenate(split) for split in zip(*(p.splits for p in parts), strict=True)),
        np.concatenate([part.removed for part in parts]),
    )
