"""Statistics of estimates by sampling.

    log P̂ = log (1/R) Σ_r P_r,    stderr = sd(P_r) / (mean(P_r) · √R)

for R independent replicates P_r of each prefix probability (`lmfst.inference.sampling`). Estimates
that share their random numbers go up and down together, so that the error of their difference is
smaller than those of the two (common random numbers):

    stderr of log P̂ − log P̂' = sd(P_r / mean(P) − P'_r / mean(P')) / √R

Both are to first order, and say little where a few replicates hold most of the mean.
"""

from __future__ import annotations

import math

import numpy as np

from lmfst.ground.arrays import Floats

UNSURE = 0.3
"""Standard deviation of a replicate, relative to the mean, above which a standard error to first
order is not to be trusted, unless replicates are many."""
ENOUGH = 16
"""Replicates of equal weight whose mean may be trusted however much they vary."""


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
