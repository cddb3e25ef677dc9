"""Closing: the hypotheses at the end of a state's string are decided, and get rows.

Tokens that emit nothing make hypotheses at the same place, the next *wave*; a state is closed when
none are left, or so little that the rest counts as dropped (`lmfst.inference.policy`). Decisions
use y alone, never a symbol to come: the reference weight that a threshold is a share of is the
heaviest hypothesis at the end of y, or the mass that goes on from before if that is larger, and
not, as in propagation, what covers the next symbol. What goes on from before may end with the next
symbol, so the heaviest hypothesis is kept whatever it weighs: where single tokens spell all
symbols, every string is possible. Rows are asked for once a wave, for all states
together; of a row the numbers in the order of the lexicon are kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from lmfst.ground.arrays import Bools, Floats, Int, Ints, ragged
from lmfst.ground.kernels import kernel
from lmfst.inference.cursors import Cursors, Place, Waiting, by_lexicon, log_sums, split
from lmfst.inference.gathering import Gathering, Wanted
from lmfst.inference.normaliser import Normaliser
from lmfst.inference.policy import Policy
from lmfst.inference.wave import FADED, keep_heaviest
from lmfst.lexicon import Lexicons
from lmfst.lm.base import Session


@dataclass(frozen=True)
class Kept:
    """What a policy keeps at the end of a string: the heaviest hypothesis, and those of `share` of
    the reference weight at least, of these the `most` heaviest of each wave (None: all there are,
    heavy enough or not).
    spend: see `Policy.spend`. always: whether the heaviest one is kept whatever it weighs."""

    share: float
    most: int | None
    spend: Callable[[int, int], int]
    always: bool = True

    @staticmethod
    def by(policy: Policy) -> Kept:
        """The rule of a policy of states."""
        return Kept(policy.first_threshold, policy.most, policy.spend)

    @staticmethod
    def searching(policy: Policy) -> Kept:
        """The same in a search, which isn't after strings that hardly weigh anything."""
        return Kept(policy.first_threshold, policy.most, policy.spend, always=False)


class Open(NamedTuple):
    """n states to be closed. logp: float64 [n], log P_Y of the string of each, nats. log_carried:
    float64 [n], log of the mass of their cursors from before, nats. rows: int64 [n], hypotheses
    that were kept for each so far. waiting: hypotheses, by state."""

    logp: Floats
    log_carried: Floats
    rows: Ints
    waiting: Waiting


class Closed(NamedTuple):
    """n states that are closed. fresh: their new cursors. share: float64 [n], the dropped weight as
    a share of P_Y. rows: int64 [n], as in `Open`."""

    fresh: list[Place]
    share: Floats
    rows: Ints


class Going:
    """States that are being closed: what is known of them after some waves."""

    def __init__(self, lexicons: Lexicons, states: Open) -> None:
        self.logp, self.waiting, self.wave = states.logp, states.waiting, 0
        self.heaviest, self.rows = states.log_carried.copy(), states.rows.copy()
        self.share, self.fresh = np.zeros(len(states.logp)), _Fresh(lexicons)

    @property
    def is_open(self) -> bool:
        """Whether hypotheses are left to be decided."""
        return len(self.waiting.owner) > 0

    def closed(self) -> Closed:
        """The states, closed."""
        return Closed(self.fresh.places(len(self.logp)), self.share, self.rows)


class Closing:
    """Closes states of a session. asked: rows asked for so far."""

    def __init__(
        self, lexicons: Lexicons, session: Session, normalise: Normaliser, kept: Kept
    ) -> None:
        self.asked = 0
        self._lexicons, self._session, self._normalise = lexicons, session, normalise
        self._kept = kept

    def begin(self, states: Open) -> Going:
        """States that are to be closed."""
        return Going(self._lexicons, states)

    def step(self, several: Sequence[Going]) -> None:
        """Take the next wave of each of several that are open; their rows are asked for
        together."""
        chosen = [self._choose(one) for one in several]
        self._read([(one.fresh, *found) for one, found in zip(several, chosen, strict=True)])
        for one, (models, hypotheses) in zip(several, chosen, strict=True):
            one.waiting = one.fresh.add(models, hypotheses)
            one.wave += 1

    def _choose(self, one: Going) -> tuple[Ints, Waiting]:
        """The hypotheses of a wave that are kept, and their LM states."""
        waiting, count = one.waiting, len(one.logp)
        models = np.zeros(0, np.int64)
        if self._session.merges:
            models, waiting = _merged(self._models(waiting), waiting)
        np.maximum.at(one.heaviest, waiting.owner, waiting.logw)
        kept = self._decide(one, waiting)
        lost, owner = ~kept, waiting.owner
        weights = np.exp(waiting.logw[lost] - one.logp[owner[lost]])
        one.share += np.bincount(owner[lost], weights, count)
        chosen = waiting.at(kept)
        one.rows += np.bincount(chosen.owner, minlength=count)
        self._kept.spend(int(one.rows.max(initial=0)), 0)
        return models[kept] if self._session.merges else self._models(chosen), chosen

    def beginning(self, models: Ints, lexicon: Ints, logw: Floats) -> Cursors:
        """Cursors at the beginning of the rows of hypotheses [n], with LM states, lexicon states,
        and log P_X, nats."""
        fresh, none = _Fresh(self._lexicons), np.full(len(models), -1)
        chosen = Waiting(none, models, none, lexicon, logw)
        self._read([(fresh, models, chosen)])
        return fresh.cursors(models, chosen)

    def _models(self, waiting: Waiting) -> Ints:
        """The LM states of hypotheses."""
        moved = waiting.token >= 0
        models = waiting.parent.copy()
        models[moved] = self._session.step(waiting.parent[moved], waiting.token[moved])
        return models

    def _decide(self, one: Going, waiting: Waiting) -> Bools:
        """Which hypotheses of a wave are kept."""
        owner, logw = waiting.owner, waiting.logw
        kept = np.ones(len(waiting.owner), dtype=bool)
        rule = self._kept
        if rule.most is not None:
            with np.errstate(divide="ignore"):
                kept = logw >= one.heaviest[owner] + np.log(rule.share)
            if one.wave == 0 and rule.always:
                keep_heaviest_of_each(owner, logw, kept)
            keep_of_each(owner, logw, min(rule.most, 1 << 62), kept)
        if one.wave:
            total = np.bincount(owner, np.exp(logw - one.logp[owner]), len(one.logp))
            kept &= total[owner] >= math.exp(FADED)
        return kept

    def _read(self, parts: Sequence[tuple[_Fresh, Ints, Waiting]]) -> None:
        """Have the rows of hypotheses that aren't known yet: of each part for itself."""
        wanted = _unread(parts)
        if not len(wanted):
            return
        asked, row = np.unique(wanted[:, 1], return_inverse=True)
        self.asked += len(asked)
        groups = [
            (part, lexicon, those[some])
            for part, those in by_lexicon(wanted[:, 0])
            for lexicon, some in by_lexicon(wanted[those, 2])
        ]
        each = [Wanted(row[own], self._lexicons[lexicon].tokens) for _, lexicon, own in groups]
        gathering = Gathering(each, self._normalise, self._session.outbox)
        blocks = (gathering.add(rows, block) for block, rows in self._session.rows(asked))
        for arrived in _one_behind(blocks):
            for (part, lexicon, own), found in zip(groups, arrived(), strict=True):
                models = wanted[own[found.which], 1]
                parts[part][0].read(models, lexicon, found.lse, found.terms)


def _one_behind(items: Iterator[Any]) -> Iterator[Any]:
    """Each item when the next one is there: a device goes on meanwhile."""
    last = next(items, None)
    for item in items:
        yield last
        last = item
    yield last


def _unread(parts: Sequence[tuple[_Fresh, Ints, Waiting]]) -> Ints:
    """The rows that aren't known yet, int64 [n, 3]: the part that needs it, its LM state and
    lexicon state."""
    found: list[tuple[int, int, int]] = []
    for part, (fresh, models, chosen) in enumerate(parts):
        pairs = dict.fromkeys(zip(models.tolist(), chosen.lexicon.tolist(), strict=True))
        found += [(part, *pair) for pair in pairs if pair not in fresh.rows]
    return np.array(found, dtype=np.int64).reshape(-1, 3)


@dataclass
class _Fresh:
    """Rows that have been read for some states, and the cursors that stand at their beginning."""

    lexicons: Lexicons
    rows: dict[tuple[int, int], int] = field(default_factory=dict)
    """The row of an LM state and a lexicon state."""
    lse: list[float] = field(default_factory=list)
    base: list[int] = field(default_factory=list)
    terms: list[np.ndarray] = field(default_factory=list)
    size: int = 0
    logw: dict[tuple[int, int], float] = field(default_factory=dict)
    """log P_X of the cursor of a state and a row."""

    def read(self, models: Ints, lexicon: int, lse: Floats, terms: np.ndarray) -> None:
        """Add rows [n, tokens] in the order of a lexicon."""
        for i, model in enumerate(models.tolist()):
            self.rows[model, lexicon] = len(self.lse)
            self.lse.append(float(lse[i]))
            self.base.append(self.size + i * terms.shape[1])
        self.terms.append(terms.ravel())
        self.size += terms.size

    def add(self, models: Ints, chosen: Waiting) -> Waiting:
        """Make cursors of hypotheses whose rows have been read; equal ones of a state add up.
        Returns what their silent tokens make of them."""
        row = np.zeros(len(chosen.owner), np.int64)
        keys = zip(models.tolist(), chosen.lexicon.tolist(), strict=True)
        owners, weights = chosen.owner.tolist(), chosen.logw.tolist()
        for i, key in enumerate(keys):
            row[i] = self.rows[key]
            cursor = (owners[i], int(row[i]))
            known = self.logw.get(cursor)
            self.logw[cursor] = weights[i] if known is None else np.logaddexp(known, weights[i])
        return self._silent(models, row, chosen)

    def _silent(self, models: Ints, row: Ints, chosen: Waiting) -> Waiting:
        """The tokens of hypotheses that emit nothing."""
        silent = np.zeros(len(chosen.owner), np.int64)
        for lexicon, some in by_lexicon(chosen.lexicon):
            silent[some] = self.lexicons[lexicon].own[0]
        place, parent = ragged(np.zeros(len(chosen.owner), np.int64), silent)
        at = row[parent]
        base, lse = np.array(self.base, dtype=np.int64)[at], np.array(self.lse)[at]
        logw = chosen.logw[parent] + (self._joined()[base + place].astype(np.float64) - lse)
        token, after = np.empty((2, len(place)), np.int64)
        for lexicon, some in by_lexicon(chosen.lexicon[parent]):
            held = self.lexicons[lexicon]
            token[some], after[some] = held.tokens[place[some]], held.next[place[some]]
        found = Waiting(chosen.owner[parent], models[parent], token, after, logw)
        return found.at(logw > -np.inf)

    def places(self, count: int) -> list[Place]:
        """Where the cursors of each of `count` states are."""
        keys = np.array(list(self.logw), dtype=np.int64).reshape(-1, 2)
        keys = keys[order := np.argsort(keys[:, 0], kind="stable")]
        owner, row = keys.T
        return split(self._cursors(row, np.array(list(self.logw.values()))[order]), owner, count)

    def cursors(self, models: Ints, chosen: Waiting) -> Cursors:
        """Cursors at the beginning of the rows of hypotheses, which have been read."""
        pairs = zip(models.tolist(), chosen.lexicon.tolist(), strict=True)
        return self._cursors(np.array([self.rows[p] for p in pairs], dtype=np.int64), chosen.logw)

    def _cursors(self, row: Ints, logw: Floats) -> Cursors:
        models, lexicons = np.array(list(self.rows), dtype=np.int64).reshape(-1, 2)[row].T
        return Cursors(
            model=models,
            lexicon=lexicons,
            node=np.zeros(len(row), np.int64),
            logw=logw,
            lse=np.array(self.lse)[row],
            base=np.array(self.base, dtype=np.int64)[row],
            terms=self._joined(),
        )

    def _joined(self) -> np.ndarray:
        """All terms, in one array."""
        if len(self.terms) > 1:
            self.terms = [np.concatenate(self.terms)]
        return self.terms[0] if self.terms else np.zeros(0)


def _merged(models: Ints, waiting: Waiting) -> tuple[Ints, Waiting]:
    """Hypotheses with the same future add up: (LM states, hypotheses), in the order in which they
    came first."""
    order = np.lexsort((waiting.lexicon, models, waiting.owner))
    keys = np.stack([waiting.owner, models, waiting.lexicon])[:, order]
    group = np.empty(len(order), np.int64)
    group[order] = np.cumsum(np.append(False, (keys[:, 1:] != keys[:, :-1]).any(axis=0)))
    # Numbered as they come.
    _, first, group = np.unique(group, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    first = np.sort(first)
    merged = waiting.at(first)._replace(logw=log_sums(rank[group], waiting.logw, len(first)))
    return models[first], merged


@kernel
def keep_heaviest_of_each(owner: Ints, logw: Floats, kept: Bools) -> None:
    """Keep the heaviest hypothesis of each owner, of equal ones that which came first. Those of an
    owner stand side by side."""
    best = 0
    for i in range(len(owner)):
        if owner[i] != owner[best] or logw[i] > logw[best]:
            best = i
        if i + 1 == len(owner) or owner[i + 1] != owner[i]:
            kept[best] = True


@kernel
def keep_of_each(owner: Ints, logw: Floats, size: Int, kept: Bools) -> None:
    """Of the hypotheses of each owner, which stand side by side, that are kept, keep the `size`
    heaviest."""
    begin = 0
    while begin < len(owner):
        end = begin
        while end < len(owner) and owner[end] == owner[begin]:
            end += 1
        keep_heaviest(logw, begin, end, size, kept)
        begin = end
