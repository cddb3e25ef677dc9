"""Policies: which nodes of an offset are kept (design: "what to do when nodes multiply").

Exact keeps all and stops with an error at a node budget. Beam keeps the K heaviest whose weight is
at least tau times a reference, which is the larger of the heaviest node at the offset and the mass
that is known to cover the target one symbol further; what it drops is added up, so that the true
probability lies in [lower, lower + dropped]. Merging nodes that share their future is no policy: it
loses nothing and is done before every decision.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmfst import defaults
from lmfst.errors import BudgetError, UsageError

SILENT_TOLERANCE = 1e-16
"""Where a chain of nodes at one offset ends, as a share of the prefix probability.

Tokens that emit nothing can follow each other for ever; what is left counts as dropped.
"""


@dataclass(frozen=True)
class Policy:
    """Base of the policies. `node_budget`: LM rows that one document may ask for under `Exact`."""

    node_budget: int = defaults.NODE_BUDGET

    def __post_init__(self) -> None:
        if self.node_budget < 1:
            raise UsageError(f"--node-budget must be at least 1, not {self.node_budget}")

    def keep(self, logw: NDArray[np.float64], log_reference: float) -> NDArray[np.intp]:
        """Indices of the nodes to keep. logw: float64 [nodes], nats.

        log_reference: log of the weight that thresholds are relative to.
        """
        raise NotImplementedError

    def spend(self, used: int, more: int) -> int:
        """Rows used after `more` further ones; BudgetError above the budget."""
        if used + more > self.node_budget:
            raise BudgetError(
                f"a document needs more than {self.node_budget} nodes under policy "
                f"{self.describe()['policy']!r}",
                hint="shorten the document, raise --node-budget, or use --policy beam",
            )
        return used + more

    def describe(self) -> dict[str, Any]:
        """The policy and its settings, for provenance."""
        return {"policy": type(self).__name__.lower(), **asdict(self)}


@dataclass(frozen=True)
class Exact(Policy):
    """Keep every node. Chains of silent tokens end at `SILENT_TOLERANCE`."""

    def keep(self, logw: NDArray[np.float64], log_reference: float) -> NDArray[np.intp]:
        return np.arange(len(logw))


@dataclass(frozen=True)
class Beam(Policy):
    """Keep the `size` heaviest nodes of an offset with weight ≥ `threshold` · reference."""

    size: int = defaults.BEAM
    threshold: float = defaults.THRESHOLD

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size < 1:
            raise UsageError(f"--beam must be at least 1, not {self.size}")
        if not 0 <= self.threshold < 1:
            raise UsageError(f"--threshold must be at least 0 and below 1, not {self.threshold}")

    def spend(self, used: int, more: int) -> int:
        """A beam bounds the rows of an offset itself; no budget is needed."""
        return used + more

    def keep(self, logw: NDArray[np.float64], log_reference: float) -> NDArray[np.intp]:
        least = log_reference + math.log(self.threshold) if self.threshold > 0 else -math.inf
        heavy = np.flatnonzero(logw >= least)
        if len(heavy) > self.size:
            # A stable sort makes ties fall to the node that arrived first, in every run.
            heavy = np.sort(heavy[np.argsort(-logw[heavy], kind="stable")[: self.size]])
        return heavy
