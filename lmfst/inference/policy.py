"""Policies: which hypotheses of an offset are kept (design: "what to do when hypotheses multiply").

Exact keeps all and stops with an error at a node budget. Beam keeps the K heaviest whose weight is
at least tau times a reference, which is the larger of the heaviest hypothesis at the offset and the
mass that is known to cover the target one symbol further; what it drops is added up, so that the
true probability lies in [lower, lower + dropped]. Tolerance is a beam that is run again with a
lower tau until little enough is missing. The own tokens of a known source are kept in any case
(`lmfst.inference.canonical`). Merging hypotheses that share their future is no policy: it loses
nothing and is done before every decision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

from lmfst.ground import defaults
from lmfst.ground.errors import BudgetError, UsageError
from lmfst.inference.accuracy import WORTH_A_WARNING, Pass, Tally

MISSING_POWER = 0.75
"""What is missing grows about with this power of the threshold."""
ROWS_POWER = 0.3
"""Rows grow about with this power of the inverse threshold."""
AIM = 0.8
"""Share of what may be missing that a further pass aims at."""
SURE = 0.1
"""Share of what may be missing below which nothing has to be tried out."""
SETTLED = 2.0
"""By how many times what may be missing lower thresholds may have raised some prefix."""
UNSETTLED_STEP = 0.2
"""Factor by which the threshold is lowered where little is missing by estimate, but no lower one
has been tried; and by which one must have been."""
SMALLEST_STEP, LARGEST_STEP = 0.6, 0.03
"""Factors by which a further pass lowers the threshold, at least and at most."""
GROWTH = 1.15
"""Growth of the rows that a further pass must be able to afford."""
MOST_PASSES = 6
STATE_STEP = 3e-3
"""By what a first threshold is multiplied where there is one pass only. (Measured, bytes of seven
and eight texts of 120 bytes: states lack 0.002 and 0.015 nats per 100 bytes with 1.8 and 2.8 rows a
byte; 0.002 and 0.023 at 0.01 with 1.5 and 2.0, 0.001 and 0.013 at 0.001 with 2.4 and 3.7.)"""
SEARCH_STEP = 0.1
"""The same in a search for next units, whose strings are short."""

SILENT_TOLERANCE = 1e-16
"""Where a chain of hypotheses at one offset ends, as a share of the prefix probability.

Tokens that emit nothing can follow each other for ever; what is left counts as dropped.
"""


@dataclass(frozen=True)
class Policy:
    """Base of the policies. `node_budget`: LM rows that one document may ask for under `Exact`."""

    node_budget: int = defaults.NODE_BUDGET

    estimates: ClassVar[bool] = False
    """Whether results are estimates with an error, rather than lower bounds."""
    prunes: ClassVar[bool] = False
    """Whether hypotheses are dropped by weight, so that it is known well which are kept."""
    keeps_all: ClassVar[bool] = False
    """Whether none is dropped but for the ends of silent chains."""

    def __post_init__(self) -> None:
        if self.node_budget < 1:
            raise UsageError(f"--node-budget must be at least 1, not {self.node_budget}")

    @property
    def first_threshold(self) -> float:
        """The share of a reference weight below which hypotheses are dropped in the first pass."""
        return 0.0

    @property
    def copies(self) -> int:
        """How many times a document is propagated beside others."""
        return 1

    @property
    def repeats(self) -> bool:
        """Whether documents may be propagated again; see `next_threshold`."""
        return False

    @property
    def most(self) -> int | None:
        """How many hypotheses of an offset are kept, at most, and only those heavy enough; None
        where all are kept, heavy enough or not."""
        return None

    @property
    def of_states(self) -> Policy:
        """What states (`lmfst.inference.states`) keep, whose hypotheses are decided once."""
        return self

    @property
    def of_search(self) -> tuple[Policy, Policy]:
        """What a search for next units keeps: of the prefix, and after it."""
        return self, self.of_states

    def next_threshold(self, passes: Sequence[Pass], symbols: int) -> float | None:
        """The threshold at which a document of so many symbols has to be propagated again after
        some passes, the latest one last; None if it is finished."""
        return None

    def limit(self, passes: Sequence[Pass], symbols: int) -> str | None:
        """Why a finished document of so many symbols lacks more than it should: "size" (of the
        beam), "threshold" or "effort"; None if it doesn't."""
        return None

    def advice(self, tally: Tally) -> str:
        """What to say of documents that lack more than they should, and what to do about it."""
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
    """Keep every hypothesis. Chains of silent tokens end at `SILENT_TOLERANCE`."""

    keeps_all: ClassVar[bool] = True


@dataclass(frozen=True)
class Beam(Policy):
    """Keep the `size` heaviest hypotheses of an offset with weight ≥ `threshold` · reference."""

    size: int = defaults.BEAM
    threshold: float = defaults.THRESHOLD

    prunes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size < 1:
            raise UsageError(f"--beam must be at least 1, not {self.size}")
        if not 0 <= self.threshold < 1:
            size = f"--beam {self.threshold:g}" if self.threshold > 1 else ""
            raise UsageError(
                f"--threshold must be at least 0 and below 1, not {self.threshold}",
                hint=size and f"it is a share of the heaviest hypothesis; to keep so many: {size}",
            )

    def spend(self, used: int, more: int) -> int:
        """A beam bounds the rows of an offset itself; no budget is needed."""
        return used + more

    @property
    def first_threshold(self) -> float:
        return self.threshold

    @property
    def most(self) -> int | None:
        return self.size

    def limit(self, passes: Sequence[Pass], symbols: int) -> str | None:
        last = passes[-1]
        if last.missing <= WORTH_A_WARNING:
            return None
        return "size" if last.crowded > last.missing / 2 else "threshold"

    def advice(self, tally: Tally) -> str:
        options = {
            "size": f"--beam {4 * self.size}",
            "threshold": f"--threshold {self.threshold / 10:.2g}",
        }
        return (
            f"{sum(tally.above.values())} of {tally.documents} documents lack more than "
            f"{WORTH_A_WARNING} nats, by estimate (column missing; {tally.worst:.2g} at worst): "
            f"try {' or '.join(options[limit] for limit in sorted(tally.above))}"
        )


@dataclass(frozen=True)
class Tolerance(Beam):
    """A beam whose threshold is lowered, document by document, until at most `tolerance` nats are
    missing for every 100 target symbols (in all, of fewer than 100); see
    `lmfst.inference.accuracy`.

    The first pass is at `threshold`; later ones use its rows again. A document is finished where
    little enough is missing by estimate, and thresholds lowered to a fifth at least have raised no
    prefix by more than twice that. `effort` limits the rows of a pass to so many times those of the
    first one, and `size` the hypotheses of an offset; where a limit is met, the document is left as
    it is, and its `missing` says what that means.
    """

    size: int = defaults.MOST_BEAM
    threshold: float = defaults.FIRST_THRESHOLD
    tolerance: float = defaults.TOLERANCE
    effort: float = defaults.EFFORT

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.tolerance < math.inf:
            raise UsageError(
                f"--tolerance must be a number of nats above 0, not {self.tolerance}",
                hint="use --policy exact where nothing may be missing",
            )
        if self.threshold <= 0:
            raise UsageError("a tolerance needs a first threshold above 0")
        if not self.effort >= 1:
            raise UsageError(f"effort must be at least 1, not {self.effort}")

    @property
    def repeats(self) -> bool:
        return True

    @property
    def of_states(self) -> Policy:
        """A state has no second pass: what few documents need is taken for all."""
        return Beam(self.node_budget, self.size, self.threshold * STATE_STEP)

    @property
    def of_search(self) -> tuple[Policy, Policy]:
        """Unless less may be missing than by default, one pass: what is missing of a prefix is
        hardly missing of what follows, given it."""
        if self.tolerance < defaults.TOLERANCE:
            return self, self.of_states
        first = Beam(self.node_budget, self.size, self.threshold)
        return first, replace(first, threshold=self.threshold * SEARCH_STEP)

    def goal(self, symbols: int) -> float:
        """What a document of so many symbols may lack, nats."""
        return self.tolerance * max(symbols, 100) / 100

    def limit(self, passes: Sequence[Pass], symbols: int) -> str | None:
        last, goal = passes[-1], self.goal(symbols)
        if self._accurate(passes, goal):
            return None
        if len(passes) == MOST_PASSES:
            return "threshold"
        if last.missing == math.inf:
            return None
        if last.crowded > max(goal, last.missing - last.crowded):
            return "size"
        return "effort" if last.rows * GROWTH >= self._affordable(passes) else None

    def _affordable(self, passes: Sequence[Pass]) -> float:
        """Rows that a pass may use, by the first one that has lost no prefix."""
        return self.effort * next(one.rows for one in passes if one.missing < math.inf)

    def _accurate(self, passes: Sequence[Pass], goal: float) -> bool:
        """Whether little enough is missing, and lower thresholds found hardly more of any prefix:
        where a light hypothesis predicts what follows far better, more is missing than it says."""
        last, raised = passes[-1], 0.0
        if last.missing > goal:
            return False
        if last.missing <= SURE * goal:
            return True
        for before, after in zip(passes[-2::-1], passes[:0:-1], strict=True):
            raised += after.gained
            if before.threshold * UNSETTLED_STEP * (1 + 1e-9) >= last.threshold:
                return raised <= SETTLED * goal
        return False

    def advice(self, tally: Tally) -> str:
        reasons = {
            "size": f"more than {self.size} hypotheses at an offset",
            "effort": f"more than {self.effort:g} times the rows of threshold {self.threshold:g}",
            "threshold": f"more than {MOST_PASSES} passes",
        }
        met = ", ".join(f"{n} would need {reasons[limit]}" for limit, n in tally.above.items())
        return (
            f"{sum(tally.above.values())} of {tally.documents} documents are not within "
            f"--tolerance {self.tolerance:g} nats per 100 symbols, by estimate (column missing; "
            f"{tally.worst:.2g} nats at worst): {met}; set --beam and --threshold by hand"
        )

    def next_threshold(self, passes: Sequence[Pass], symbols: int) -> float | None:
        last, goal = passes[-1], self.goal(symbols)
        if self._accurate(passes, goal) or self.limit(passes, symbols):
            return None
        if last.missing == math.inf:
            return last.threshold * LARGEST_STEP
        lacking = UNSETTLED_STEP
        if last.missing > goal:
            lacking = (AIM * goal / last.missing) ** (1 / MISSING_POWER)
        affordable = (self._affordable(passes) / last.rows) ** (-1 / ROWS_POWER)
        step = min(SMALLEST_STEP, max(lacking, affordable, LARGEST_STEP))
        # Two digits: what differs in the last ones, as a model's rows do, mustn't matter.
        return float(f"{last.threshold * step:.2g}")

    def describe(self) -> dict[str, Any]:
        found = {**asdict(self), "policy": "beam", "tolerance_unit": "nats per 100 symbols"}
        found["first_threshold"] = found.pop("threshold")
        return found
