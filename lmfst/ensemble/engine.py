"""The engine of ensembles: queries answered by the engines of all models, and combined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from lmfst.ensemble.combination import NOTHING, Combination
from lmfst.fst.pattern import is_open
from lmfst.ground.arrays import Floats
from lmfst.ground.errors import UsageError
from lmfst.inference.accuracy import Pass
from lmfst.inference.engine import engine_for
from lmfst.inference.policy import Policy
from lmfst.inference.query import Query
from lmfst.inference.results import Propagated
from lmfst.inference.sources import unended
from lmfst.model import TransducedLM


class EnsembleEngine:
    """Answers queries about an ensemble, under a policy that each of its models is asked under."""

    def __init__(
        self, models: Sequence[TransducedLM], combination: Combination, policy: Policy
    ) -> None:
        self._combination = combination
        self._engines = [engine_for(model.setting, policy) for model in models]
        self._zeros = [model.scorer.zeros for model in models]

    def run(self, queries: Sequence[Query]) -> list[Propagated]:
        """As `lmfst.inference.engine.Engine.run`."""
        self._require_closed(queries)
        each = []
        for engine, zeros in zip(self._engines, self._zeros, strict=True):
            asked = [
                replace(
                    query,
                    wanted=self._wanted(query),
                    canonical=False,
                    impossible=partial(zeros.impossible, unended(query.target)),
                )
                for query in queries
            ]
            each.append(engine.run(asked))
        return [
            combined(self._combination, query, parts)
            for query, parts in zip(queries, zip(*each, strict=True), strict=True)
        ]

    def _wanted(self, query: Query) -> frozenset[int]:
        """The places whose distributions are asked of the models."""
        if not self._combination.needs_following:
            return query.wanted
        return query.wanted | frozenset(range(len(query.target)))

    def _require_closed(self, queries: Sequence[Query]) -> None:
        """UsageError for sets of symbols where probabilities of whole strings don't add up."""
        if self._combination.is_local and any(is_open(query.target) for query in queries):
            raise UsageError(
                f"how={self._combination.how!r} multiplies probabilities of single symbols, and "
                "has none of a set of symbols",
                hint='give single symbols, or use how="mixture-of-strings"',
            )


def combined(combination: Combination, query: Query, parts: Sequence[Propagated]) -> Propagated:
    """The result of a query, of those of the models."""
    logp = np.stack([part.log_prefix for part in parts])
    log_prefix, shares = _log_prefix(combination, query, parts, logp)
    dropped = combination.whole(np.stack([part.log_dropped for part in parts]))
    bounded = not combination.is_local or bool((dropped == -np.inf).all())
    missing = _missing(combination, parts, log_prefix, shares)
    return Propagated(
        log_prefix=log_prefix,
        log_dropped=dropped if bounded else np.full_like(dropped, -np.inf),
        next={
            at: combination.next_symbols(logp[:, at], [part.next[at] for part in parts])
            if log_prefix[at] > -np.inf
            else NOTHING
            for at in sorted(query.wanted)
        },
        rows=sum(part.rows for part in parts),
        removed=sum(w * part.removed for w, part in zip(combination.weights, parts, strict=True)),
        missing=missing,
        passes=_passes(parts, missing),
        bounded=bounded,
        parts=parts,
    )


def _log_prefix(
    combination: Combination, query: Query, parts: Sequence[Propagated], logp: Floats
) -> tuple[Floats, Floats | None]:
    """log P of every prefix [N + 1], and the models' shares in what is missing at each symbol
    [models, N]; None: their weights. logp: of the models' prefixes [models, N + 1]."""
    if combination.how == "mixture-of-strings":
        return combination.whole(logp), combination.shares(logp[:, -1:])
    if combination.how == "mixture":
        steps, shares = combination.steps(logp)
        return np.concatenate([[0.0], np.cumsum(steps)]), shares
    found = np.full(logp.shape[1], -np.inf)
    found[0] = 0.0
    for at in range(len(query.target)):
        if (logp[:, at + 1] == -np.inf).any():
            break
        own = logp[:, at + 1] - logp[:, at]
        found[at + 1] = found[at] + combination.product(own, [part.next[at] for part in parts])
    return found, None


def _missing(
    combination: Combination,
    parts: Sequence[Propagated],
    log_prefix: Floats,
    shares: Floats | None,
) -> Floats:
    """What is missing at each symbol, nats [N]."""
    each = np.stack([part.missing for part in parts if part.missing is not None])
    found = combination.missing(each, shares)
    lost = log_prefix[1:] == -np.inf
    possible = np.stack([part.log_prefix[1:] > -np.inf for part in parts])
    found[lost] = combination.lost(possible, each)[lost]
    return found


def _passes(parts: Sequence[Propagated], missing: Floats) -> list[Pass]:
    """All passes of the models; the last one has what the ensemble's result lacks and took."""
    passes = [one for part in parts for one in part.passes]
    last = [part.passes[-1] for part in parts if part.passes]
    if not last:
        return []
    whole = Pass(
        threshold=max(one.threshold for one in last),
        gained=max(one.gained for one in last),
        missing=float(missing.sum()),
        crowded=max(one.crowded for one in last),
        rows=sum(one.rows for one in last),
    )
    return [*passes[:-1], whole]
