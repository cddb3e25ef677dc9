"""Row schemas: what a scored document becomes on output.

Bits exist only here. `surprisal` = -logp / ln 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from lmfst.ground.arrays import Floats
from lmfst.ground.columns import Same
from lmfst.ground.errors import UsageError
from lmfst.inference.accuracy import Pass
from lmfst.inference.estimate import stderr_of_difference
from lmfst.inference.results import Propagated
from lmfst.target.units import END_NAME, Units

UNIT_COLUMNS = ("id", "index", "unit", "start", "end", "logp", "surprisal", "missing")
TEXT_COLUMNS = (
    "id",
    "units",
    "symbols",
    "logp",
    "missing",
    "canonical",
    "stderr",
    "gap",
    "bits_per_symbol",
    "specials",
)
SUMMARY_COLUMNS = ("documents", *TEXT_COLUMNS[1:])
BOUNDS_COLUMNS = ("lower", "upper", "dropped")
"""Columns that texts and summaries have besides where bounds are asked for."""
VERSUS_COLUMNS = ("versus", "difference", "difference_stderr")
"""Columns that texts have besides where they are compared with one of them."""
REPLICATE_COLUMNS = ("id", "replicate", "symbols", "logp", "bits_per_symbol")
ESCAPED_COLUMNS = ("unit",)
"""Columns whose text `Units.text` has escaped already."""
GOES_ON = "…"
"""Stands before the rest of a unit that the prompt has begun."""
NEXT_COLUMNS = ("id", "unit", "logp", "surprisal", "p", "mass")

Row = dict[str, Any]
Block = dict[str, Sequence[Any]]
"""Rows as columns, all as long."""


def rows_of(block: Block) -> list[Row]:
    """The rows of a block."""
    return [dict(zip(block, values, strict=True)) for values in zip(*block.values(), strict=True)]


def bits(logp: float) -> float:
    """Surprisal in bits of a log-probability in nats."""
    return -logp / math.log(2.0) + 0.0


def next_rows(id: str, found: Iterable[tuple[str, float]]) -> Iterator[Row]:
    """Units that may follow a prefix, with their logp in nats, as rows of `NEXT_COLUMNS`. mass: the
    probability of a row's unit and of those before it."""
    mass = 0.0
    for unit, logp in found:
        p = 2.0 ** -bits(logp)
        mass = min(1.0, mass + p)
        yield {"id": id, "unit": unit, "logp": logp, "surprisal": bits(logp), "p": p, "mass": mass}


def exponential(x: float) -> float:
    """exp(x), inf where it is too large for a float."""
    return math.inf if x > 709.0 else math.exp(x)


def upper_bound(logp: float, log_dropped: float) -> float:
    """log of what a probability is at most, nats, if weight was dropped; never above 0."""
    return max(logp, min(0.0, float(np.logaddexp(logp, log_dropped))))


@dataclass(frozen=True)
class Scored:
    """One scored document.

    target: its target symbols. log_prefix: float64 [symbols + 2], log P_Y of every prefix, of the
    whole string last (⊥ included). log_dropped: log of the weight dropped in all. specials: nats by
    which leaving the special tokens out raised logp, on average over hypotheses. nodes: LM rows
    used. estimated: whether `logp` is an estimate by sampling, and no lower bound. Of estimates:
    stderr, the standard error of logp, None for a single replicate; log_pruned, the lower bound of
    a beam of as many hypotheses, None if it wasn't asked for. missing: float64 [symbols + 1], what
    was dropped before each symbol (⊥ included) makes the whole lack, nats, an estimate
    (`lmfst.inference.accuracy`); None for estimates by sampling and where probabilities are given
    that the string is accepted. canonical: log-probability of the tokenizer's own tokens of the
    text, with the end, nats; None where it has none. passes, log_replicates: see
    `lmfst.inference.results.Propagated`. extra: what is passed on beside its rows
    (`lmfst.io.Document`). bounded: whether there are bounds; estimates have none, and see
    `lmfst.Ensemble`.

    Where a prompt is given, all of it is about what follows: target and probabilities, which are
    given the prompt. log_dropped is then relative to that of the prompt, of which `uncertain` nats
    may lack, certainly no more. begun: whether the first unit is the rest of one that the prompt
    has begun. lacking: what is missing in all, of the prompt, too.
    """

    id: str
    target: tuple[int, ...]
    log_prefix: np.ndarray
    log_dropped: float
    specials: float
    nodes: int
    units: Units
    estimated: bool = False
    stderr: float | None = None
    log_pruned: float | None = None
    missing: np.ndarray | None = None
    canonical: float | None = None
    passes: Sequence[Pass] = ()
    log_replicates: np.ndarray | None = None
    extra: Mapping[str, object] = field(default_factory=dict)
    uncertain: float = 0.0
    lacking: float | None = None
    begun: bool = False
    bounded: bool = True

    @staticmethod
    def of(
        id: str,
        target: Sequence[int],
        found: Propagated,
        units: Units,
        extra: Mapping[str, object] | None = None,
        *,
        prompt: int = 0,
        before: Sequence[int] = (),
    ) -> Scored:
        """The record of a propagation over `target` and ⊥, the first symbols of which are a prompt
        of probability above 0. before: symbols that stand before the target. UsageError for an
        estimate with a prompt."""
        if prompt and found.estimated:
            raise UsageError("a quotient of estimates is no estimate of this kind")
        base = float(found.log_prefix[prompt]) if prompt else 0.0
        return Scored(
            id,
            tuple(target[prompt:]),
            log_prefix=found.log_prefix[prompt:] - base,
            log_dropped=float(found.log_dropped[-1]) - base,
            specials=found.removed,
            nodes=found.rows,
            units=units,
            estimated=found.estimated,
            stderr=found.stderr,
            log_pruned=found.log_pruned,
            missing=None if found.missing is None else found.missing[prompt:],
            canonical=None if found.canonical is None else found.canonical - base,
            passes=found.passes,
            log_replicates=found.log_replicates,
            extra=extra or {},
            uncertain=float(np.logaddexp(0.0, found.log_dropped[prompt] - base)),
            lacking=None if found.missing is None else float(found.missing.sum()),
            begun=units.goes_on((*before, *target[:prompt]), target[prompt:]),
            bounded=found.bounded and not found.estimated,
        )

    @property
    def gap(self) -> float | None:
        """How far the beam's lower bound is below an estimate, nats; None without either."""
        if self.log_pruned is None:
            return None
        return 0.0 if self.log_pruned == self.logp else self.logp - self.log_pruned

    @property
    def dropped(self) -> float | None:
        """The weight dropped in all, a probability (which may underflow); after a prompt, as a
        multiple of its probability. None where there are no bounds."""
        return exponential(self.log_dropped) if self.bounded else None

    @property
    def logp(self) -> float:
        """log p_Y(y), nats: a lower bound where nodes were dropped, or an estimate."""
        return float(self.log_prefix[-1])

    @property
    def lower(self) -> float | None:
        """log of the lower bound, nats: `logp`, less what was dropped within a prompt, or None."""
        return self.logp - self.uncertain if self.bounded else None

    @property
    def upper(self) -> float | None:
        """log of the upper bound p_Y(y) + dropped, nats (never above 0); after a prompt of P and
        dropped weight D, (p + dropped) / (P + D). None where there are no bounds."""
        if not self.bounded:
            return None
        most = float(np.logaddexp(self.logp, self.log_dropped)) - self.uncertain
        return max(self.logp - self.uncertain, min(0.0, most))

    def unit_rows(self) -> list[Row]:
        """One row a unit, and the last one for ⊥."""
        return rows_of(self.unit_block())

    def unit_block(self) -> Block:
        """The same as columns."""
        size = len(self.target)
        if self.units.marks:
            spans = self.units.spans(self.target)
            units = [self.target[begin:end] for begin, end in spans]
            known = {unit: self.units.text(unit) for unit in {*units}}
            texts = [known[unit] for unit in units]
            if self.begun:
                texts[0] = f"{GOES_ON}{texts[0]}"
            begins: Sequence[int] = [*(begin for begin, _ in spans), size]
            ends = [*(end for _, end in spans), size]
            last = [*ends[:-1], size + 1]
            logp = _differences(self.log_prefix[begins], self.log_prefix[last])
        else:
            texts = self.units.texts(self.target)
            begins, ends = range(size + 1), [*range(1, size + 1), size]
            logp = _differences(self.log_prefix[:-1], self.log_prefix[1:])
        return {
            "id": Same(self.id, len(ends)),
            "index": range(len(ends)),
            "unit": [*texts, END_NAME],
            "start": begins,
            "end": ends,
            "logp": logp.tolist(),
            "surprisal": (-logp / math.log(2.0) + 0.0).tolist(),
            "missing": self._shares(begins),
        }

    def _shares(self, begins: Sequence[int]) -> Sequence[float | None]:
        """What the weight dropped in each unit makes the whole lack, nats."""
        if self.missing is None:
            return Same(None, len(begins))
        if not self.missing.any():
            return Same(0.0, len(begins))
        if len(begins) == len(self.missing):
            found: list[float | None] = self.missing.tolist()
            return found
        borders = pairwise([*begins, len(self.missing)])
        return [float(self.missing[begin:end].sum()) for begin, end in borders]

    def replicate_rows(self) -> Iterator[Row]:
        """One row a replicate of an estimate, each an estimate of its own."""
        size = len(self.target)
        found = [] if self.log_replicates is None else self.log_replicates.tolist()
        for replicate, logp in enumerate(found):
            yield {
                "id": self.id,
                "replicate": replicate,
                "symbols": size,
                "logp": logp,
                "bits_per_symbol": bits(logp) / size if size else None,
            }

    def versus(self, other: Scored) -> Row:
        """How much more probable this document is than another one, in nats, and the standard error
        of that where both are estimates by the same random numbers."""
        both_zero = self.logp == other.logp == -math.inf
        return {
            "versus": other.id,
            "difference": None if both_zero else self.logp - other.logp,
            "difference_stderr": stderr_of_difference(self.log_replicates, other.log_replicates),
        }

    def text_row(self) -> Row:
        """One row for the document."""
        size = len(self.target)
        return {
            "id": self.id,
            "units": len(self.units.spans(self.target)),
            "symbols": size,
            "logp": self.logp,
            "missing": self.lacking,
            "canonical": self.canonical,
            "stderr": self.stderr,
            "gap": self.gap,
            "bits_per_symbol": bits(self.logp) / size if size else None,
            "specials": self.specials,
            "lower": self.lower,
            "upper": self.upper,
            "dropped": self.dropped,
        }


def _differences(before: Floats, after: Floats) -> Floats:
    """How much less probable the longer prefixes are; -inf from the first impossible symbol on."""
    found = np.full(len(after), -np.inf)
    np.subtract(after, before, out=found, where=after > -np.inf)
    return found


def summary_row(scored: Iterable[Row]) -> Row:
    """Totals over text rows: sums, and bits per symbol of the whole; rows are taken one by one."""
    added = ("units", "symbols", "logp", "missing", "canonical", "gap", "specials")
    total: Row = dict.fromkeys((*added, *BOUNDS_COLUMNS, "variance"), 0)
    count = 0
    for row in scored:
        count += 1
        # Errors of independent estimates add up in squares.
        stderr = row["stderr"]
        values = {**row, "variance": None if stderr is None else stderr**2}
        for name, before in total.items():
            value = values[name]
            total[name] = None if before is None or value is None else before + value
    variance, size, logp = total.pop("variance"), total["symbols"], total["logp"]
    return {
        "documents": count,
        **total,
        # Infinite gaps of both signs have no sum.
        "gap": None if not count or total["gap"] != total["gap"] else total["gap"],
        "stderr": None if variance is None or not count else math.sqrt(variance),
        "bits_per_symbol": bits(logp) / size if size else None,
    }
