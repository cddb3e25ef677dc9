"""Results of propagation: what the sums of a batch say of each of its queries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from lmfst.ground.arrays import Floats, Ints
from lmfst.inference.accuracy import Pass, missing_by_offset
from lmfst.inference.query import Layout
from lmfst.inference.sums import Sums

Next = dict[int, tuple[Ints, Floats]]


class Ends(NamedTuple):
    """Kept hypotheses whose next symbols are asked for: offset, LM state and lexicon state, int64
    [n], and log weight, float64 [n], nats. log_dropped: log of the weight dropped at the target's
    end."""

    offset: Ints
    model: Ints
    lexicon: Ints
    logw: Floats
    log_dropped: float


@dataclass
class Propagated:
    """What propagation found for a target of N symbols.

    log_prefix: float64 [N + 1]. log P_Y of every prefix of the target, nats: a lower bound where
        hypotheses were dropped.
    log_dropped: float64 [N + 1]. log of the weight dropped before each prefix was covered;
        P_Y lies in [exp log_prefix, exp log_prefix + exp log_dropped].
    missing: float64 [N]. What the weight dropped at each offset makes the whole lack, nats, an
        estimate (`lmfst.inference.accuracy`); None where there is none, as for an estimate by
        sampling.
    canonical: log-probability of the source's own tokens and the end, nats; None if they or the end
        aren't known.
    passes: what each propagation of the target found; the last one gave these numbers.
    next: position → (symbols int64, logp float64) of the next symbol after target[:position].
    ends: the hypotheses that these are of, if they are asked for.
    estimated: by sampling. log_replicates: float64 [R], log of each replicate's estimate of the
        whole. stderr, log_pruned: the standard error of its log (None for one replicate), and the
        log P_Y that a beam of as many hypotheses gives instead (None if it isn't asked for).
    rows: hypotheses that were kept. removed: nats by which renormalising without the specials
        raised logp, averaged over the hypotheses of each offset by weight and summed over offsets
        (those after the prompt, where there is one).
    bounded: whether log_prefix and log_dropped bound the probability. parts: of an ensemble, what
        was found by each of its models.
    """

    log_prefix: Floats
    log_dropped: Floats
    next: Next = field(default_factory=dict)
    ends: Ends | None = None
    rows: int = 0
    removed: float = 0.0
    estimated: bool = False
    stderr: float | None = None
    log_pruned: float | None = None
    missing: Floats | None = None
    canonical: float | None = None
    passes: Sequence[Pass] = ()
    log_replicates: Floats | None = None
    bounded: bool = True
    parts: Sequence[Propagated] = ()


def result_of(layout: Layout, sums: Sums, document: int, nexts: Next) -> Propagated:
    """The result of a query, but for its passes. nexts: as from `distributions`."""
    query = layout.queries[document]
    begin, size = int(layout.base[document]), len(query.target)
    log_prefix = sums.log_prefix[begin : begin + size + 1].copy()
    log_dropped = sums.log_dropped[begin : begin + size]
    missing = missing_by_offset(log_prefix, log_dropped)
    lost = np.flatnonzero(np.isinf(missing))
    if len(lost) and query.impossible is not None and query.impossible(int(lost[0])):
        # Then the probability is truly 0.
        missing[lost] = 0.0
    noted = sums.documents[document]
    canonical = float(noted["canonical"])
    return Propagated(
        log_prefix=log_prefix,
        log_dropped=np.concatenate([[-np.inf], np.logaddexp.accumulate(log_dropped)]),
        next=nexts,
        rows=int(noted["rows"]),
        removed=float(noted["removed"]),
        missing=missing,
        canonical=None if math.isnan(canonical) else canonical,
    )


def pass_of(
    layout: Layout, sums: Sums, document: int, result: Propagated, threshold: float, gain: float
) -> Pass:
    """What a pass over a query at a threshold found out. gain: over the pass before, nats."""
    begin, size = int(layout.base[document]), int(layout.sizes[document])
    own = slice(begin, begin + size)
    crowded = missing_by_offset(result.log_prefix, sums.log_crowded[own])
    missing = math.inf if result.missing is None else float(result.missing.sum())
    if layout.queries[document].last == size and result.log_prefix[-1] > -np.inf:
        # What follows the target is asked for, and lacks what was dropped behind its end.
        missing += float(np.exp(sums.log_dropped[begin + size] - result.log_prefix[-1]))
    return Pass(
        threshold=threshold,
        gained=gain,
        missing=missing,
        # Of what is lost altogether it says nothing.
        crowded=float(crowded[np.isfinite(crowded)].sum()),
        rows=result.rows,
    )


def ends_of(layout: Layout, sums: Sums, document: int) -> Ends:
    """The kept hypotheses of a query whose next symbols are asked for."""
    begin, size = int(layout.base[document]), int(layout.sizes[document])
    log_dropped = float(sums.log_dropped[begin + size])
    parts = sums.account.ends
    if not parts:
        nothing = np.zeros(0, np.int64)
        return Ends(nothing, nothing, nothing, np.zeros(0), log_dropped)
    position, model, lexicon, logw = (np.concatenate(part) for part in zip(*parts, strict=True))
    own = layout.document[position] == document
    return Ends(position[own] - begin, model[own], lexicon[own], logw[own], log_dropped)


def distributions(layout: Layout, sums: Sums) -> list[Next]:
    """The next-symbol distributions of every query."""
    nothing = (np.zeros(0, np.int64), np.zeros(0))
    nexts = [dict.fromkeys(sorted(query.wanted), nothing) for query in layout.queries]
    splits = sums.account.splits
    if not splits:
        return nexts
    position, symbol, logp = (np.concatenate(part) for part in zip(*splits, strict=True))
    order = np.lexsort((symbol, position))
    order = order[logp[order] > -np.inf]
    if not len(order):
        return nexts
    position, symbol, logp = position[order], symbol[order], logp[order]
    changes = (position[1:] != position[:-1]) | (symbol[1:] != symbol[:-1])
    first = np.flatnonzero(np.append(True, changes))
    top = np.maximum.reduceat(logp, first)
    size = np.diff(first, append=len(logp))
    total = np.log(np.add.reduceat(np.exp(logp - np.repeat(top, size)), first)) + top
    position, symbol = position[first], symbol[first]
    total -= sums.log_prefix[position]
    bounds = np.flatnonzero(np.append(True, position[1:] != position[:-1])).tolist()
    for begin, end in zip(bounds, [*bounds[1:], len(position)], strict=True):
        document, offset = layout.place(int(position[begin]))
        nexts[document][offset] = symbol[begin:end], total[begin:end]
    return nexts
