"""Sampling without replacement: unbiased estimates where hypotheses are too many to keep.

The hypotheses of an offset are thinned out to M of them. Hypothesis i is kept with probability
π_i = min(1, c·w_i), and a kept one weighs w_i / π_i from then on, so that every sum over hypotheses
keeps its expectation, and so does P_Y of every prefix of the target. With c such that Σ π_i = M
this is the choice of least variance among the unbiased ones (Fearnhead & Clifford 2003, "On-line
inference for hidden Markov models via particle filters", section 3); heavy hypotheses are kept as
they are. Which of the others are kept is decided by one random number per offset: systematic
sampling in the order of arrival, which spreads the choice over all parents.

Independent replicates of a document give a standard error.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lmfst.ground import defaults
from lmfst.ground.arrays import Floats, Ints
from lmfst.ground.errors import UsageError
from lmfst.inference.accuracy import Tally
from lmfst.inference.policy import Policy

_ALMOST_ONE = 1 - 1e-12
_KEEP_ALL = 1e300


@dataclass(frozen=True)
class Sample(Policy):
    """Keep about `particles` hypotheses of an offset, at random, and give them the weight of the
    rest.

    replicates: independent estimates of each document, averaged. seed: results are a function of
    it, the document's number and the settings. adaptive: π_i = min(1, M·w_i / Σ w), which keeps
    fewer than M hypotheses where a few hold most of the mass. guide: an n-gram model (.arpa, or the
    name of a packaged one) that says which hypotheses will probably go on; see
    `lmfst.inference.guide`. gap: have what a beam of as many hypotheses gives, too, which takes as
    many model rows as one more replicate.
    """

    particles: int = defaults.PARTICLES
    replicates: int = defaults.REPLICATES
    seed: int = defaults.SEED
    adaptive: bool = False
    guide: str | None = None
    gap: bool = True
    common: bool = False

    estimates: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("particles", "replicates"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name} must be at least 1, not {getattr(self, name)}")
        if self.seed < 0:
            raise UsageError(f"--seed must be an integer of at least 0, not {self.seed}")

    @property
    def copies(self) -> int:
        return self.replicates

    def spend(self, used: int, more: int) -> int:
        """The number of particles bounds the rows of an offset itself; no budget is needed."""
        return used + more

    def advice(self, tally: Tally) -> str:
        guided = "" if self.guide else " or give a --guide"
        return (
            f"few replicates hold most of the weight of {tally.unsure} estimate(s) (as much as "
            f"{tally.least_effective:.1f} of {self.replicates} equal ones, at worst): their logp "
            f"and stderr are too rough to report; raise --particles{guided}"
        )

    def random_numbers(self, document: int, replicate: int) -> Callable[[int, int], float]:
        """The random number in [0, 1) of a replicate of a document at (offset, wave): the same for
        a changed document, so that what is alike is decided alike."""
        key = (self.seed, 0 if self.common else document, replicate)
        return lambda offset, wave: float(np.random.default_rng((*key, offset, wave)).random())

    def crowded(self, logw: Floats, first: Ints) -> NDArray[np.bool_]:
        """Which offsets have more hypotheses than particles, bool [offsets]: these need a random
        number.

        logw: float64 [hypotheses], nats; the hypotheses of an offset follow each other. first:
        int64 [offsets], where each offset's begin.
        """
        alive = np.add.reduceat(logw > -np.inf, first, dtype=np.int64)
        return alive > self.particles

    def thin_out(
        self, logw: Floats, first: Ints, uniform: Floats
    ) -> tuple[NDArray[np.bool_], Floats]:
        """Which hypotheses are kept, bool [hypotheses], and the log weights of the hypotheses if
        kept, [hypotheses].

        uniform: float64 [offsets], random numbers in [0, 1); used where an offset is crowded.
        """
        kept = logw > -np.inf
        crowded = np.flatnonzero(self.crowded(logw, first))
        if not len(crowded):
            return kept, logw
        size = np.diff(first, append=len(logw))[crowded]
        column = np.arange(size.max())
        inside = column < size[:, None]
        place = np.where(inside, first[crowded][:, None] + column, 0)
        log_weights = np.where(inside, logw[place], -np.inf)
        weights = np.exp(log_weights - log_weights.max(1, keepdims=True))
        inclusion = self._inclusion(weights)
        chosen = _systematic(inclusion, uniform[crowded])
        kept[place[inside]] = chosen[inside]
        raised = logw.copy()
        with np.errstate(divide="ignore"):
            raised[place[inside]] -= np.log(inclusion[inside])
        return kept, np.where(kept, raised, logw)

    def _inclusion(self, weights: Floats) -> Floats:
        """The inclusion probabilities π of weights ≥ 0, both [offsets, hypotheses]."""
        if self.adaptive:
            scale = self.particles / weights.sum(1)
        else:
            scale = _scale(weights, self.particles)
        inclusion: Floats = np.minimum(1.0, weights * scale[:, None])
        inclusion[inclusion >= _ALMOST_ONE] = 1.0
        return inclusion


def _scale(weights: Floats, particles: int) -> Floats:
    """c with Σ min(1, c·w) = particles, for each row of weights [offsets, hypotheses]; every row
    has more than `particles` positive weights."""
    ordered = -np.sort(-weights, axis=1)
    # tail[:, j]: what the j-th heaviest and all lighter ones weigh, summed from the lightest up.
    tail = np.cumsum(ordered[:, ::-1], axis=1)[:, ::-1][:, :particles]
    left = particles - np.arange(particles)
    certain = (ordered[:, :particles] * left >= tail).sum(1)
    row = np.arange(len(weights))
    # Where all but fewer than `particles` round to nothing beside the heaviest, these are kept.
    at = np.minimum(certain, particles - 1)
    rest = np.maximum(tail[row, at], particles / _KEEP_ALL)
    found: Floats = (particles - at) / rest
    return found


def _systematic(inclusion: Floats, uniform: Floats) -> NDArray[np.bool_]:
    """A choice with these inclusion probabilities, bool [offsets, hypotheses]; uniform: one random
    number in [0, 1) an offset."""
    certain = inclusion >= 1.0
    reached = np.cumsum(np.where(certain, 0.0, inclusion), axis=1)
    # Points u, u + 1, … with u in (0, 1]: a hypothesis is chosen if one falls into its stretch.
    points = np.floor(reached + uniform[:, None])
    before = np.concatenate([np.zeros((len(points), 1)), points[:, :-1]], axis=1)
    return certain | (points > before)


def mean_estimate(log_estimates: Floats) -> tuple[Floats, float | None]:
    """(log of the mean [positions], standard error of the last position's log or None).

    log_estimates: float64 [replicates, positions], nats. The standard error is that of the mean
    over the mean, which is the error of its log to first order; one replicate has none.
    """
    count = len(log_estimates)
    top = log_estimates.max(0)
    shift = np.where(np.isfinite(top), top, 0.0)
    share = np.exp(log_estimates - shift)
    with np.errstate(divide="ignore"):
        mean = np.log(share.mean(0)) + shift
    if count == 1 or mean[-1] == -math.inf:
        return mean, None
    return mean, float(share[:, -1].std(ddof=1) / share[:, -1].mean() / math.sqrt(count))
