"""The engine of policies that sample: replicates in one batch, guided where a guide is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from lmfst.fst.pattern import Pattern
from lmfst.ground.errors import UsageError
from lmfst.inference.guide import MOST_VALUES, BackwardMass, Guide
from lmfst.inference.passes import propagate
from lmfst.inference.policy import Beam, Policy
from lmfst.inference.query import Query
from lmfst.inference.results import Propagated
from lmfst.inference.sampling import Sample, mean_estimate
from lmfst.inference.setting import Setting
from lmfst.inference.sources import add_canonical


class Sampled:
    """Estimates, each the mean of its replicates, which share model calls with those of the other
    queries."""

    def __init__(self, setting: Setting, policy: Policy) -> None:
        """UsageError for a guide that is no n-gram model over bytes."""
        if not isinstance(policy, Sample):
            raise UsageError(f"expected a policy that samples, found {policy.describe()['policy']}")
        self._setting, self._policy = setting, policy
        # What can't be used as a guide is said before anything is computed.
        _ = self._guide

    @staticmethod
    def takes(setting: Setting, policy: Policy) -> bool:
        """Policies that sample."""
        return isinstance(policy, Sample)

    @cached_property
    def _guide(self) -> Guide | None:
        name = self._policy.guide
        if name is None:
            return None
        from lmfst.lm.load import load_guide

        setting = self._setting
        return Guide(load_guide(name, warn=setting.warn), setting.lexicons, setting.read)

    def run(self, queries: Sequence[Query]) -> list[Propagated]:
        """As `lmfst.inference.engine.Engine.run`. No distributions of the next symbol."""
        if any(query.wanted for query in queries):
            raise UsageError(
                "policy sample estimates probabilities of given strings, not distributions of "
                "the next symbol",
                hint="use policy beam or exact",
            )
        found = self._in_memory(queries)
        add_canonical(self._setting, queries, found)
        return found

    def _in_memory(self, queries: Sequence[Query]) -> list[Propagated]:
        """As `run`, so many queries at a time as what the guide expects of them allows."""
        if self._guide is None:
            return self._together(queries, {})
        results: list[Propagated] = []
        known: dict[Pattern, BackwardMass] = {}
        begin = 0
        for at, query in enumerate(queries):
            if query.target in known:
                continue
            found = BackwardMass(self._guide, query.target)
            if known and sum(one.size for one in known.values()) + found.size > MOST_VALUES:
                results += self._together(queries[begin:at], known)
                known, begin = {}, at
            known[query.target] = found
        return results + self._together(queries[begin:], known)

    def _together(
        self, queries: Sequence[Query], backward: Mapping[Pattern, BackwardMass]
    ) -> list[Propagated]:
        """Estimates that share model calls; backward: what a guide expects of each target."""
        policy, count = self._policy, self._policy.replicates
        drawn = [
            replace(
                query,
                lookahead=False,
                random=policy.random_numbers(query.number, replicate),
                backward=backward.get(query.target),
            )
            for query in queries
            for replicate in range(count)
        ]
        found = self._propagate(policy, drawn)
        pruned: Sequence[Propagated | None] = [None] * len(queries)
        if policy.gap:
            beam = Beam(size=policy.particles, threshold=0.0)
            pruned = self._propagate(beam, [Query(query.target) for query in queries])
        return [_mean(found[i * count : (i + 1) * count], bound) for i, bound in enumerate(pruned)]

    def _propagate(self, policy: Policy, queries: Sequence[Query]) -> list[Propagated]:
        setting = self._setting
        session = setting.lm.session()
        return propagate(setting.lexicons, session, policy, setting.normalise, queries)


def _mean(own: Sequence[Propagated], bound: Propagated | None) -> Propagated:
    """One result of replicates; bound: that of a beam, if there is one."""
    log_estimates = np.stack([one.log_prefix for one in own])
    mean, stderr = mean_estimate(log_estimates)
    return Propagated(
        log_prefix=mean,
        log_dropped=np.full(len(mean), -np.inf),
        rows=sum(one.rows for one in own) + (bound.rows if bound else 0),
        removed=sum(one.removed for one in own) / len(own),
        estimated=True,
        stderr=stderr,
        log_pruned=float(bound.log_prefix[-1]) if bound else None,
        log_replicates=log_estimates[:, -1].copy(),
    )
