"""Policies: which nodes of an offset are kept (design: "what to do when nodes multiply").

Exact keeps all and stops with an error at a node budget. Beam keeps the K heaviest whose weight is
at least tau times a reference, which is the larger of the heaviest node at the offset and the mass
that is known to cover the target one symbol further; what it drops is added up, so that the true
probability lies in [lower, lower + dropped]. The own tokens of a known source are kept in any case
(`lmfst.trunk`). Merging nodes that share their future is no policy: it loses nothing and is done
before every decision.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lmfst import defaults
from lmfst.errors import BudgetError, UsageError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SILENT_TOLERANCE = 1e-16
"""Where a chain of nodes at one offset ends, as a share of the prefix probability.

Tokens that emit nothing can follow each other for ever; what is left counts as dropped.
"""


@dataclass(frozen=True)
class Policy:
    """Base of the policies. `node_budget`: LM rows that one document may ask for under `Exact`."""

    node_budget: int = defaults.NODE_BUDGET

    estimates: ClassVar[bool] = False
    """Whether results are estimates with an error, rather than lower bounds."""

    def __post_init__(self) -> None:
        if self.node_budget < 1:
            raise UsageError(f"--node-budget must be at least 1, not {self.node_budget}")

    def keep(self, logw: Floats, first: Ints, log_reference: Floats) -> NDArray[np.bool_]:
        """Which nodes are kept, bool [nodes].

        logw: float64 [nodes], nats; the nodes of an offset follow each other. first: int64
        [offsets], where each offset's begin. log_reference: float64 [offsets], log of the weight
        that thresholds are relative to.
        """
        raise NotImplementedError

    def floor(self, log_reference: Floats) -> Floats | float:
        """Log weights that are below this for a lower bound of the reference are never kept."""
        return -math.inf

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

    def keep(self, logw: Floats, first: Ints, log_reference: Floats) -> NDArray[np.bool_]:
        return np.ones(len(logw), dtype=bool)


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

    def floor(self, log_reference: Floats) -> Floats | float:
        return log_reference + math.log(self.threshold) if self.threshold > 0 else -math.inf

    def keep(self, logw: Floats, first: Ints, log_reference: Floats) -> NDArray[np.bool_]:
        least = np.full(len(first), self.floor(log_reference))
        if len(first) == 1 and len(logw) <= self.size:
            return logw >= least
        sizes = np.diff(first, append=len(logw))
        heavy = logw >= np.repeat(least, sizes)
        if (np.add.reduceat(heavy, first, dtype=np.int64) > self.size).any():
            # A stable sort makes ties fall to the node that arrived first, in every run.
            offset = np.repeat(np.arange(len(sizes)), sizes)
            order = np.lexsort((-np.where(heavy, logw, -np.inf), offset))
            heavy[order[np.arange(len(logw)) - first[offset] >= self.size]] = False
        return heavy
