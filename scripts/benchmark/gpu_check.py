"""The numbers of a device beside those of the CPU, stored in float32.

A document's log-probability may be `APART` nats away. Of strings drawn with a seed at most one in
`FEW` may differ, since a random number can lie between what two machines round to; where, is told.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.gpu_data import target
from lmfst.generate.sample import sample
from lmfst.ground.document import Document
from lmfst.inference.engine import engine_for
from lmfst.inference.policy import Beam, Policy
from lmfst.inference.results import Propagated
from lmfst.inference.sampling import Sample
from lmfst.lm.base import LM
from lmfst.model import TransducedLM

APART = 1e-3
"""Nats by which a document may differ in float32."""
FEW = 4
Numbers = dict[str, list[Any]]


def policy_of(case: dict[str, Any]) -> Policy:
    """A beam with a threshold, or so many particles."""
    if "particles" in case:
        return Sample(particles=case["particles"], replicates=1, seed=1, guide="dna", gap=False)
    return Beam(size=case["beam"], threshold=case["threshold"])


def transduced(lm: LM, folder: Path, case: dict[str, Any]) -> TransducedLM:
    """The model of a case. folder: with the transducers."""
    return TransducedLM(lm, target(folder, case["to"]), policy_of(case), warn=lambda message: None)


def scored(model: TransducedLM, texts: Sequence[str], given: str = "source") -> list[float]:
    """log p_Y of texts, all together, nats."""
    documents = [Document(id=str(i), text=t.encode(), origin=t) for i, t in enumerate(texts)]
    form: Any = given
    return [one.logp for one in model.score_documents(documents, given=form, batch=len(texts))]


def distributions(model: TransducedLM, texts: Sequence[str]) -> list[Propagated]:
    """The next symbols' distributions after every prefix of texts, all together."""
    queries = [
        model.scorer.query(y, wanted=frozenset(range(len(y) + 1)))
        for y in (model.transduce(text) for text in texts)
    ]
    return engine_for(model.setting, model.policy).run(queries)


def entropy(found: Propagated) -> float:
    """Of a text's distributions, nats, on average."""
    total = 0.0
    for _, logp in found.next.values():
        held = logp[logp > -np.inf]
        total -= float((np.exp(held) * held).sum())
    return total / len(found.next)


def numbers_of(case: dict[str, Any], lm: LM, folder: Path) -> list[Any]:
    """The numbers of a case's documents: nats, or strings that were drawn."""
    model = transduced(lm, folder, case)
    if case["kind"] == "drawn":
        strings = sample(model, case["count"], seed=1, max_units=case["units"])
        return [one.text for one in strings]
    if case["kind"] == "distributions":
        return [entropy(found) for found in distributions(model, case["texts"])]
    return scored(model, case["texts"], case["given"])


def compared(case: dict[str, Any], found: Sequence[Any]) -> dict[str, Any]:
    """The row of a case, beside what is stored of it. ok: whether it is near enough."""
    stored = case["numbers"]
    row = {"what": case["name"], "documents": len(stored)}
    if len(found) != len(stored):
        return row | {
            "ok": False,
            "first_difference": f"{len(found)} documents instead of {len(stored)}",
        }
    if case["kind"] == "drawn":
        differ = [i for i, pair in enumerate(zip(stored, found, strict=True)) if len({*pair}) > 1]
        first = _difference(differ[0], stored, found) if differ else None
        few = len(differ) * FEW <= len(stored)
        return row | {"differ": len(differ), "first_difference": first, "ok": few}
    apart = [abs(a - b) for a, b in zip(stored, found, strict=True)]
    most = max(apart)
    # Not a number is no number that is near.
    ok = math.isfinite(sum(found)) and most <= APART
    where = int(np.argmax(apart))
    first = None if ok else f"document {where + 1}: {found[where]!r}, stored {stored[where]!r}"
    return row | {"apart": most, "first_difference": first, "ok": ok}


def _difference(at: int, stored: Sequence[str], found: Sequence[str]) -> str:
    """Where a string that was drawn begins to differ."""
    one, other = stored[at], found[at]
    same = next(
        (i for i, pair in enumerate(zip(one, other, strict=False)) if len({*pair}) > 1),
        min(len(one), len(other)),
    )
    return f"string {at + 1}, character {same + 1}: {other[same:][:20]!r}, {one[same:][:20]!r}"


def drift(texts: Sequence[str], found: Sequence[float], stored: Sequence[float]) -> dict[str, Any]:
    """By how much documents' numbers differ, nats: of the worst one, and in all per 100 bytes, with
    its sign and without."""
    apart, size = np.array(found) - np.array(stored), sum(len(text.encode()) for text in texts)
    return {
        "documents": len(apart),
        "apart": float(np.abs(apart).max()),
        "per_100": 100 * float(apart.sum()) / size,
        "abs_per_100": 100 * float(np.abs(apart).sum()) / size,
        "ok": bool(np.isfinite(apart).all()),
    }
