"""Propagation for functions that reject some strings, given that the string is accepted.

With A(y) = Σ_{x accepted : f(x) ⪰ y} p_X(x), the model over the domain is P_Y(y) = A(y) / A(ε). A
token that covers y proves nothing while the rest of the string may still be rejected, so a
hypothesis stays open until it reaches a *universal* state, from which every continuation is
accepted, or an accepted end (design, "One formula for everything"). Hypotheses are taken in order
of their length in tokens and merged by (LM state, lexicon state, how much of the target they
match); a hypothesis is left when its mass is below `OPEN_TOLERANCE` of what is accepted for the
prefixes it can count for.

This is exact and needs many rows: every token that may lead to a rejection is followed. It is meant
for models with few contexts (n-gram models merge) or small vocabularies; the policy's node budget
stops it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from lmfst.fst.pattern import OneOf, Place, admits, is_open
from lmfst.fst.sequential import Determinised
from lmfst.ground.errors import BudgetError, FstError, UsageError
from lmfst.inference.normaliser import Normaliser
from lmfst.inference.policy import Policy
from lmfst.inference.query import Query
from lmfst.inference.results import Propagated
from lmfst.inference.setting import Setting
from lmfst.lexicon import Lexicon, Lexicons
from lmfst.lm.base import Session
from lmfst.lm.transfers import exactly_placed

OPEN_TOLERANCE = 1e-13
SMALLEST = 1e-290

Progress = tuple[int, int | None]
"""(symbols of the target matched, the first symbol beyond them or None while none was emitted)."""
Hypothesis = tuple[int, int, int, int | None]
"""(LM state, lexicon state, *progress)"""


class Domain:
    """Which lexicon states are universal: they accept every byte string over `alphabet`."""

    def __init__(self, lexicons: Lexicons, alphabet: bytes) -> None:
        self._lexicons = lexicons
        self._alphabet = alphabet
        self._known: dict[frozenset[int], bool] = {}

    def universal(self, state: int) -> bool:
        """Whether nothing that follows lexicon state `state` is rejected."""
        machine = self._lexicons.machine
        if not isinstance(machine, Determinised):
            return True
        _, first = self._lexicons.pair(state)
        if machine.sources(first) not in self._known:
            self._explore(machine, first)
        return self._known[machine.sources(first)]

    def _explore(self, machine: Determinised, first: int) -> None:
        """Judge all sets of FST states reachable from `first`: bad ones spoil their ancestors."""
        seen = {machine.sources(first): first}
        into: dict[frozenset[int], set[frozenset[int]]] = {}
        bad: list[frozenset[int]] = []
        queue = [machine.sources(first)]
        while queue:
            here = queue.pop()
            steps = [machine.step(seen[here], byte) for byte in self._alphabet]
            if machine.final(seen[here]) is None or None in steps:
                bad.append(here)
            for step in steps:
                if step is None:
                    continue
                there = machine.sources(step[0])
                into.setdefault(there, set()).add(here)
                if there not in seen:
                    seen[there] = step[0]
                    queue.append(there)
        self._known.update(dict.fromkeys(seen, True))
        while bad:
            here = bad.pop()
            if self._known[here]:
                self._known[here] = False
                bad += into.get(here, ())


class Conditioned:
    """The engine for targets that reject strings, given that they accept."""

    def __init__(self, setting: Setting, policy: Policy) -> None:
        """UsageError for a policy that prunes or samples."""
        if not policy.keeps_all:
            raise UsageError(
                "--partial condition sums over whole strings, which pruning can't bound",
                hint="add --exact (meant for n-gram models and short texts)",
            )
        self._setting, self._policy = setting, policy
        self._domain = Domain(setting.lexicons, setting.lexicons.alphabet)

    @staticmethod
    def takes(setting: Setting, policy: Policy) -> bool:
        """Any policy, where probabilities are conditioned."""
        return setting.conditioned

    def run(self, queries: Sequence[Query]) -> list[Propagated]:
        """As `lmfst.inference.engine.Engine.run`, one query after the other."""
        setting = self._setting
        return [
            propagate_partial(
                setting.lexicons,
                self._domain,
                setting.lm.session(),
                self._policy,
                setting.normalise,
                query.target,
                wanted=query.wanted,
            )
            for query in queries
        ]


Accepted = dict[Progress, float]
"""The accepted mass by progress."""


def _reaching(accepted: Accepted, size: int) -> list[float]:
    """Per position 0 .. size, the accepted mass that matches the target so far at least."""
    mass = [0.0] * (size + 1)
    for (matched, _), part in accepted.items():
        mass[matched] += part
    for at in range(size - 1, -1, -1):
        mass[at] += mass[at + 1]
    return mass


def _outputs(lexicon: Lexicon) -> list[tuple[int, int, tuple[int, ...]]]:
    """(token, next lexicon state, output) of all tokens of a lexicon."""
    found = []
    stack: list[tuple[int, tuple[int, ...]]] = [(0, ())]
    while stack:
        node, output = stack.pop()
        for place in range(int(lexicon.low[node]), int(lexicon.own[node])):
            found.append((int(lexicon.tokens[place]), int(lexicon.next[place]), output))
        for child in range(int(lexicon.child_ptr[node]), int(lexicon.child_ptr[node + 1])):
            stack.append((child, (*output, int(lexicon.symbol[child]))))
    return found


def _advance(target: Sequence[Place], progress: Progress, output: Sequence[int]) -> Progress:
    """How far the target is matched after more output."""
    matched, beyond = progress
    if beyond is not None:
        return progress
    for symbol in output:
        if matched == len(target) or not admits(target[matched], symbol):
            return matched, symbol
        matched += 1
    return matched, None


def propagate_partial(
    lexicons: Lexicons,
    domain: Domain,
    session: Session,
    policy: Policy,
    normalise: Normaliser,
    target: Sequence[Place],
    *,
    wanted: Iterable[int] = (),
) -> Propagated:
    """Prefix probabilities of `target`, ⊥ included, given that the string is accepted.

    wanted: positions where the next-symbol distribution is asked for. Raises FstError if the model
    spells no accepted string, BudgetError when the policy's node budget is spent, UsageError for a
    distribution at a place that the target leaves open: which symbol stood there isn't kept.
    """
    wanted = list(wanted)
    if is_open(target[at] for at in wanted if at < len(target)):
        raise UsageError(
            "--partial condition gives no distribution of the next symbol at a set of symbols",
            hint="ask for the distribution after a prefix that ends before it, or behind it",
        )
    symbols = list(target)
    root = session.open()
    open_: dict[Hypothesis, float] = {(root, lexicons.start, 0, None): 1.0}
    accepted: Accepted = {}
    rows = 0
    outputs: dict[int, list[tuple[int, int, tuple[int, ...]]]] = {}
    left: dict[int, float] = {}
    while open_ := _still_open(open_, accepted, left, len(symbols)):
        rows = policy.spend(rows, len(open_))
        open_ = _wave(lexicons, domain, session, normalise, symbols, open_, accepted, outputs)
    session.close(root)
    if not accepted:
        raise FstError(
            "the model spells no string that the transducer accepts",
            hint="check that the transducer reads the bytes that the model's tokens spell",
        )
    return _result(symbols, accepted, left, rows, wanted)


def _still_open(
    hypotheses: dict[Hypothesis, float], accepted: Accepted, left: dict[int, float], size: int
) -> dict[Hypothesis, float]:
    """The hypotheses that can still change a result; the others' mass goes to `left`.

    A hypothesis whose output has left the target counts for the prefixes it matches; one that still
    follows the target may count for all of them.
    """
    reached = _reaching(accepted, size)
    following: dict[Hypothesis, float] = {}
    for node, mass in hypotheses.items():
        most = node[2] if node[3] is not None else size
        if mass > OPEN_TOLERANCE * reached[most] / max(1, len(hypotheses)):
            if mass < SMALLEST:
                raise BudgetError(
                    f"a hypothesis fell below {SMALLEST:g}: the text is too long or too improbable "
                    "for --partial condition",
                    hint="split the text into shorter documents",
                )
            following[node] = mass
        else:
            left[most] = left.get(most, 0.0) + mass
    return following


def _wave(
    lexicons: Lexicons,
    domain: Domain,
    session: Session,
    normalise: Normaliser,
    target: Sequence[Place],
    hypotheses: dict[Hypothesis, float],
    accepted: Accepted,
    outputs: dict[int, list[tuple[int, int, tuple[int, ...]]]],
) -> dict[Hypothesis, float]:
    """Read one more token everywhere. Returns the hypotheses that are open afterwards."""
    keys = list(hypotheses)
    following: dict[Hypothesis, float] = {}
    for block, rows in session.rows(np.array([key[0] for key in keys])):
        placed = exactly_placed(rows)
        logs, _ = normalise(placed)
        probs = np.exp(placed.double().cpu().numpy() - logs[:, None])
        for key, row in zip(keys[block], probs, strict=True):
            state, lexicon, matched, beyond = key
            if lexicon not in outputs:
                outputs[lexicon] = _outputs(lexicons[lexicon])
            moves = []
            for token, after, output in outputs[lexicon]:
                mass = hypotheses[key] * float(row[token])
                reached = _advance(target, (matched, beyond), output)
                if mass == 0.0:
                    continue
                # A hypothesis counts at once if it must be accepted and its progress can't change
                # any more.
                if after < 0 or (reached[1] is not None and domain.universal(after)):
                    accepted[reached] = accepted.get(reached, 0.0) + mass
                else:
                    moves.append((token, after, reached, mass))
            tokens = np.array([move[0] for move in moves], dtype=np.int64)
            there = session.step(np.full(len(moves), state), tokens)
            for to, (_, after, reached, mass) in zip(there.tolist(), moves, strict=True):
                node = (to, after, *reached)
                following[node] = following.get(node, 0.0) + mass
    return following


def _result(
    target: Sequence[Place],
    accepted: Accepted,
    left: dict[int, float],
    rows: int,
    wanted: Iterable[int],
) -> Propagated:
    size = len(target)
    reaches = _reaching(accepted, size)
    total = reaches[0]
    with np.errstate(divide="ignore"):
        log_prefix = np.log(np.array(reaches) / total)
        lost = [math.fsum(m for at, m in left.items() if at >= n) for n in range(size + 1)]
        log_dropped = np.log(np.array(lost) / total)
    nexts = {}
    for at in wanted:
        found: dict[int, float] = {}
        for (matched, beyond), part in accepted.items():
            symbol = target[at] if matched > at else beyond
            # It is no set: see `propagate_partial`.
            if matched >= at and symbol is not None and not isinstance(symbol, OneOf):
                found[symbol] = found.get(symbol, 0.0) + part
        names = np.array(sorted(found), dtype=np.int64)
        mass = np.array([found[symbol] for symbol in sorted(found)])
        nexts[at] = names, np.log(mass / reaches[at])
    return Propagated(log_prefix, log_dropped, nexts, rows=rows)
