"""A fixed set of numbers, held against those of an earlier run over the same rows."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.engine import SAMPLE, Replayed, proteins
from benchmark.replay import Rows
from lmfst.ground.defaults import MODEL
from lmfst.inference.policy import Beam, Policy, Tolerance
from lmfst.inference.sampling import Sample
from lmfst.lm.base import LM

APART = 1e-9
"""Nats by which a sum may differ."""
MISSING_APART = 1e-6
"""The same for what a document lacks, by estimate."""
GENE = "ATGGCGAAACTGTGCCGTGATTATCATGGCACCTAA"
OPEN = "the watery part of the world"
"""A text that is asked for in either case of each letter."""
BEAM = Beam(size=8, threshold=1e-3)
Documents = list[dict[str, Any]]


def numbers(load: Callable[[str], LM], rows: Rows) -> dict[str, Documents]:
    """The documents of each case: logp, kept rows, those of each pass, what is missing; all sums:
    log_prefix of every prefix, the canonical tokens, what specials held, entropies."""
    smol, dna = load(MODEL), load("dna")
    to_bytes = Replayed.of(smol, "bytes", recording=rows.of(MODEL))
    to_words = Replayed.of(smol, "words", recording=rows.of(MODEL))
    amino = Replayed.of(dna, "amino", recording=rows.of("dna"))
    sample = Sample(particles=32, replicates=2, seed=1, guide="dna", gap=False)
    return {
        "bytes, K=8, 1e-3": scores(to_bytes, SAMPLE, BEAM),
        "bytes, default": scores(to_bytes, SAMPLE, Tolerance()),
        "words, K=8, 1e-2": scores(to_words, SAMPLE, Beam(size=8, threshold=1e-2)),
        "amino, K=8, 1e-3": scores(amino, [GENE], BEAM),
        "amino, sampled": scores(amino, proteins(2), sample, given="target"),
        "bytes, distributions": distributions(to_bytes, SAMPLE[4].encode()[:200], BEAM),
        "bytes, either case": distributions(to_bytes, either_case(to_bytes, OPEN), BEAM),
    }


def scores(replayed: Replayed, texts: list[str], policy: Policy, **options: Any) -> Documents:
    found = replayed.score(texts, policy, **options)
    return [
        {
            "logp": one.logp,
            "rows": one.nodes,
            "missing": None if one.missing is None else float(one.missing.sum()),
            "passes": [run.rows for run in one.passes],
            "sums": [*one.log_prefix.tolist(), one.canonical, one.specials],
        }
        for one in found
    ]


def distributions(replayed: Replayed, target: Any, policy: Policy) -> Documents:
    """A target with the distribution at every place, of which its entropy is kept."""
    found = replayed.model.with_policy(policy).next_at_all(target)
    entropy = [float(-(np.exp(logp) * logp).sum()) for _, logp in found.next.values()]
    return [
        {
            "logp": float(found.log_prefix[-1]),
            "rows": found.rows,
            "missing": None if found.missing is None else float(found.missing.sum()),
            "passes": [run.rows for run in found.passes],
            "sums": [*found.log_prefix.tolist(), found.removed, *entropy],
        }
    ]


def either_case(replayed: Replayed, text: str) -> list[Any]:
    """The symbols of a text, a set of two for each letter."""
    read = replayed.model.symbols
    pairs = zip(read(text.lower()), read(text.upper()), strict=True)
    return [low if low == high else {low, high} for low, high in pairs]


def compare(before: dict[str, Documents], now: dict[str, Documents]) -> list[dict[str, Any]]:
    """A row for each case: by how much its numbers differ at most, and whether that is allowed."""
    if before.keys() != now.keys():
        raise SystemExit(f"expected the cases {sorted(now)}, found {sorted(before)}: write anew")
    return [{"case": name} | _compared(before[name], now[name]) for name in now]


def _compared(before: Documents, now: Documents) -> dict[str, Any]:
    pairs = list(zip(before, now, strict=True))
    apart = max(_apart(a["sums"], b["sums"]) for a, b in pairs)
    missing = max(_apart([a["missing"]], [b["missing"]]) for a, b in pairs)
    other_rows = sum((a["rows"], a["passes"]) != (b["rows"], b["passes"]) for a, b in pairs)
    return {
        "documents": len(now),
        "logp": sum(one["logp"] for one in now),
        "rows": sum(one["rows"] for one in now),
        "rows_before": sum(one["rows"] for one in before),
        "apart": apart,
        "missing_apart": missing,
        "equal": apart <= APART and missing <= MISSING_APART and not other_rows,
    }


def _apart(one: list[Any], other: list[Any]) -> float:
    """The largest difference; inf where numbers have no counterpart."""
    if len(one) != len(other):
        return math.inf
    worst = 0.0
    for a, b in zip(one, other, strict=True):
        if a != b:
            apart = math.nan if None in (a, b) else abs(a - b)
            # What is no number differs from everything.
            worst = max(worst, math.inf if math.isnan(apart) else apart)
    return worst


def check(path: Path, load: Callable[[str], LM], rows: Rows) -> list[dict[str, Any]]:
    """Write the numbers to a file where there is none, else compare them with it."""
    now = numbers(load, rows)
    added = rows.save()
    if not path.is_file():
        path.write_text(json.dumps(now) + "\n")
    return [row | {"added": added} for row in compare(json.loads(path.read_text()), now)]
