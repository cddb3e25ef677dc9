"""What a pruned number lacks, estimated, and what a pass over a document found out about it.

A beam drops hypotheses. If those dropped at offset o had gone on as the kept ones did, all that
follows would be larger by the share that they had there; to first order the whole text lacks

    missing = Σ_o dropped_o / P_Y(y_{<o})     nats.

That is an estimate, not a bound: a light hypothesis that predicts the rest far better than the
heavy ones makes it too small, one that would have died makes it too large. The certified bound
(prefix mass plus all dropped mass) says nothing about a long text.

Given a prompt of n symbols, what is asked for is P_Y(y) / P_Y(y_{<n}). By the same reckoning what
was dropped before n makes both lack the same. But where dropped hypotheses would have gone on
otherwise than those kept, the quotient is off in either direction, so they are counted all the
same.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from lmfst.ground.arrays import Floats
from lmfst.target.case import Folded

_COUNTS = ("documents", "rows", "passes", "unsure")
_FLOATS = ("missing", "worst", "least_effective")
WORTH_A_WARNING = 0.1
"""Nats that a document may lack before there is a warning, where no tolerance is set."""


@dataclass(frozen=True)
class Pass:
    """A propagation of one document: its threshold; by how much it raised any prefix's
    log-probability over the pass before, nats (inf for the first one); what is missing of the
    whole, nats, in all and because of the number of hypotheses alone; and the rows it used.
    """

    threshold: float
    gained: float
    missing: float
    crowded: float
    rows: int


def gained(log_prefix: Floats, before: Floats | None) -> float:
    """The most by which a pass raised the log-probability of a prefix, nats, both [N + 1]; inf if
    there was no pass before."""
    if before is None:
        return math.inf
    known = log_prefix > -np.inf
    return float((log_prefix[known] - before[known]).max())


def missing_by_offset(log_prefix: Floats, log_dropped: Floats) -> Floats:
    """The share that was dropped at each offset, float64 [N], nats.

    log_prefix: float64 [N + 1], log P_Y of every prefix. log_dropped: float64 [N], log of the
    weight dropped at each offset. Where nothing is left of a prefix, it is inf from there on if
    anything had been dropped, and 0 otherwise: then the true probability is 0.
    """
    before = log_prefix[:-1]
    share = np.zeros(len(before))
    some = (log_dropped > -np.inf) & (before > -np.inf)
    with np.errstate(over="ignore"):
        share[some] = np.exp(log_dropped[some] - before[some])
    lost = np.flatnonzero(log_prefix == -np.inf)
    if len(lost):
        at = int(lost[0]) - 1
        share[at:] = np.inf if (log_dropped[: at + 1] > -np.inf).any() else 0.0
    return share


@dataclass
class Tally:
    """What is missing of the documents of a run, and what finding out took.

    missing: nats, in all. worst: of one document. above: documents that lack more than they should,
    by the limit that they met ("size": the number of hypotheses, "threshold", or "effort": the
    number of rows). thresholds: how many documents were finished at each one. rows: of the last
    pass of every document. passes: in all. unsure: estimates of whose replicates few hold most of
    the weight; least_effective: how many, at worst. folded: letters that were
    read in the other case.
    """

    documents: int = 0
    missing: float = 0.0
    worst: float = 0.0
    above: Counter[str] = field(default_factory=Counter)
    thresholds: Counter[float] = field(default_factory=Counter)
    rows: int = 0
    passes: int = 0
    unsure: int = 0
    least_effective: float = math.inf
    folded: Folded = field(default_factory=Folded)

    def add_unsure(self, effective: float) -> None:
        """An estimate whose replicates weigh as much as `effective` equal ones."""
        self.unsure += 1
        self.least_effective = min(self.least_effective, effective)

    def add(self, passes: Sequence[Pass], missing: float, limit: str | None) -> None:
        """A document: its passes, what is missing of it, and the limit that it met."""
        self.documents += 1
        self.missing += missing
        self.worst = max(self.worst, missing)
        if limit is not None:
            self.above[limit] += 1
        self.thresholds[passes[-1].threshold] += 1
        self.rows += passes[-1].rows
        self.passes += len(passes)

    def join(self, other: Tally) -> None:
        """Add what is known of later documents."""
        self.documents += other.documents
        self.missing += other.missing
        self.worst = max(self.worst, other.worst)
        self.above += other.above
        self.thresholds += other.thresholds
        self.rows += other.rows
        self.passes += other.passes
        self.unsure += other.unsure
        self.least_effective = min(self.least_effective, other.least_effective)
        self.folded.join(other.folded)

    def packed(self) -> dict[str, Any]:
        """All of it, for `unpacked`; JSON-ready, whatever isn't finite as text."""
        numbers = {name: repr(getattr(self, name)) for name in _FLOATS}
        counts = {name: getattr(self, name) for name in _COUNTS}
        thresholds = {repr(threshold): n for threshold, n in self.thresholds.items()}
        folded = asdict(self.folded)
        return {**counts, **numbers, "above": dict(self.above), "thresholds": thresholds,
                "folded": folded}  # fmt: skip

    @classmethod
    def unpacked(cls, facts: Mapping[str, Any]) -> Tally:
        """What `packed` has packed."""
        numbers: dict[str, Any] = {name: facts[name] for name in _COUNTS}
        numbers.update({name: float(facts[name]) for name in _FLOATS})
        return cls(
            **numbers,
            above=Counter(facts["above"]),
            thresholds=Counter({float(t): n for t, n in facts["thresholds"].items()}),
            folded=Folded(**facts["folded"]),
        )

    def facts(self) -> dict[str, Any]:
        """For provenance; JSON-ready. Of estimates by sampling only what was folded."""
        folded = {"letters": self.folded.letters, "documents": self.folded.documents}
        found: dict[str, Any] = {"folded": folded} if self.folded.letters else {}
        if not self.documents:
            return found
        facts: dict[str, Any] = {
            "documents": self.documents,
            "missing": self.missing if math.isfinite(self.missing) else "inf",
            "above_tolerance": sum(self.above.values()),
            "limits_met": dict(self.above),
            "thresholds": {f"{t:.3g}": n for t, n in sorted(self.thresholds.items(), reverse=True)},
            "rows": self.rows,
            "passes": self.passes,
        }
        return {"accuracy": facts, **found}
