"""Temperature, top-k and top-p: the shape of a distribution over symbols.

    p'(a) ∝ p(a)^(1/T) for the a that are kept, else 0

Of the distribution at temperature T the k most probable symbols are kept, and of these the fewest,
most probable first, that have a share of top-p together; in the order of transformers' `generate`.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np

from lmfst.ground.arrays import Floats
from lmfst.ground.errors import UsageError


@dataclass(frozen=True)
class Shape:
    """temperature: above 0; 1 leaves probabilities as they are. top_k: symbols that are kept; None:
    all. top_p: the share that they have together; 1: all.

    UsageError for numbers out of range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0

    def __post_init__(self) -> None:
        temperature, top_k, top_p = self.temperature, self.top_k, self.top_p
        if temperature == 0:
            raise UsageError(
                "--temperature must be above 0: at 0 the most probable symbol is taken each time, "
                "and nothing is drawn",
                hint="use lmfst decode --greedy",
            )
        if not isinstance(temperature, Real) or not 0 < temperature < np.inf:
            raise UsageError(f"--temperature must be a number above 0, not {temperature}")
        if top_k is not None and (not isinstance(top_k, Integral) or top_k < 1):
            raise UsageError(
                f"--top-k must be a whole number of at least 1, not {top_k}",
                hint="leave it out to keep all symbols",
            )
        if not isinstance(top_p, Real) or not 0 < top_p <= 1:
            raise UsageError(
                f"--top-p must be above 0 and at most 1, not {top_p}",
                hint="it is the share that the symbols that are kept have together; 1 keeps all",
            )

    @property
    def changes(self) -> bool:
        """Whether anything is asked for that changes a distribution."""
        return self != AS_IT_IS

    def weights(self, logp: Floats) -> Floats:
        """The probabilities float64 [n] that symbols of logp [n], nats, are drawn with, up to a
        factor."""
        scaled = logp / self.temperature
        weights: Floats = np.exp(scaled - scaled.max())
        order = np.argsort(-weights, kind="stable")
        if self.top_k is not None:
            weights[order[self.top_k :]] = 0.0
        if self.top_p < 1:
            sums = np.cumsum(weights[order])
            # A symbol is kept if those before it have less than the share.
            enough = np.concatenate([[False], sums[:-1] >= self.top_p * sums[-1]])
            weights[order[enough]] = 0.0
        return weights


AS_IT_IS = Shape()
"""The shape that changes nothing."""
