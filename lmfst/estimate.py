"""Estimates of targets by sampling: replicates in one batch, guides, standard errors.

    log P̂ = log (1/R) Σ_r P_r,    stderr = sd(P_r) / (mean(P_r) · √R)

for R independent replicates P_r of each prefix probability (`lmfst.sampling`). Estimates that share
their random numbers go up and down together, so that the error of their difference is smaller than
those of the two (common random numbers):

    stderr of log P̂ − log P̂' = sd(P_r / mean(P) − P'_r / mean(P')) / √R

Both are to first order, and say little where a few replicates hold most of the mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lmfst.guide import MOST_VALUES, Future, Guide
from lmfst.lexicon import Lexicons
from lmfst.lm.base import LM
from lmfst.pattern import Pattern
from lmfst.plan import Floats
from lmfst.policy import Beam
from lmfst.propagate import Job, Propagated, propagate
from lmfst.rows import Normaliser
from lmfst.sampling import Sample, mean_estimate

Warn = Callable[[str], None]

UNSURE = 0.3
"""Standard deviation of a replicate, relative to the mean, above which a standard error to first
order is not to be trusted, unless replicates are many."""
ENOUGH = 16
"""Replicates of equal weight whose mean may be trusted however much they vary."""


class Estimator:
    """Estimates strings of one model and target; guides are loaded once."""

    def __init__(self, lm: LM, lexicons: Lexicons, normalise: Normaliser, warn: Warn) -> None:
        self._lm, self._lexicons = lm, lexicons
        self._normalise, self._warn = normalise, warn
        self._guides: dict[str, Guide] = {}

    def guide(self, policy: Sample) -> Guide | None:
        """The guide of a policy, if it has one. UsageError for what is no n-gram model."""
        name = policy.guide
        if name is None:
            return None
        if name not in self._guides:
            from lmfst.lm.load import load_guide

            self._guides[name] = Guide(load_guide(name, warn=self._warn), self._lexicons)
        return self._guides[name]

    def run(self, policy: Sample, targets: Sequence[Pattern], first: int) -> list[Propagated]:
        """Estimates, each the mean of its replicates, which share model calls with those of the
        other targets. first: the number of the first target in the corpus."""
        guide = self.guide(policy)
        if guide is None:
            return self._together(policy, targets, {}, first)
        results: list[Propagated] = []
        futures: dict[Pattern, Future] = {}
        begin = 0
        for at, target in enumerate(targets):
            if target in futures:
                continue
            future = Future(guide, target)
            if futures and sum(f.size for f in futures.values()) + future.size > MOST_VALUES:
                results += self._together(policy, targets[begin:at], futures, first + begin)
                futures, begin = {}, at
            futures[target] = future
        return results + self._together(policy, targets[begin:], futures, first + begin)

    def _together(
        self,
        policy: Sample,
        targets: Sequence[Pattern],
        futures: Mapping[Pattern, Future],
        first: int,
    ) -> list[Propagated]:
        """Estimates of targets that share model calls; futures: what a guide expects of each."""
        jobs = [
            Job(
                target,
                lookahead=False,
                random=policy.random_numbers(number, replicate),
                future=futures.get(target),
            )
            for number, target in enumerate(targets, start=first)
            for replicate in range(policy.replicates)
        ]
        found = propagate(self._lexicons, self._lm.session(), policy, self._normalise, jobs)
        pruned: Sequence[Propagated | None] = [None] * len(targets)
        if policy.gap:
            beam = Beam(size=policy.particles, threshold=0.0)
            plain = [Job(target) for target in targets]
            pruned = propagate(self._lexicons, self._lm.session(), beam, self._normalise, plain)
        count = policy.replicates
        return [_mean(found[i * count : (i + 1) * count], bound) for i, bound in enumerate(pruned)]


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


def effective_number(log_replicates: Floats) -> float:
    """How many replicates [R] of equal weight would vary as these do: (Σ P_r)² / Σ P_r²; R if all
    are 0."""
    top = log_replicates.max()
    if top == -math.inf:
        return float(len(log_replicates))
    share = np.exp(log_replicates - top)
    return float(share.sum() ** 2 / (share**2).sum())


def unsure(log_replicates: Floats | None) -> bool:
    """Whether few of an estimate's replicates hold most of its mean. One alone can't tell."""
    if log_replicates is None or len(log_replicates) < 2 or log_replicates.max() == -math.inf:
        return False
    share = np.exp(log_replicates - log_replicates.max())
    varies = share.std(ddof=1) > UNSURE * share.mean()
    return bool(varies and effective_number(log_replicates) < ENOUGH)


def stderr_of_difference(one: Floats | None, other: Floats | None) -> float | None:
    """The standard error of log P̂ − log P̂' from the replicates [R] of two estimates by the same
    random numbers, nats; None without two replicates of each, or where a mean is 0."""
    if one is None or other is None or len(one) != len(other) or len(one) < 2:
        return None
    if -math.inf in (one.max(), other.max()):
        return None
    shares = [np.exp(found - found.max()) for found in (one, other)]
    relative = shares[0] / shares[0].mean() - shares[1] / shares[1].mean()
    return float(relative.std(ddof=1) / math.sqrt(len(one)))
