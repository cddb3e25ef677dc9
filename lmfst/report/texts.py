"""Rows of texts (`--level text`) of the same documents: what they say that rows of units don't.

    added = Σ logp - Σ canonical    nats, over documents that have both:

what tokenizations beside the tokenizer's own one add.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lmfst.ground.errors import InputError
from lmfst.report.columns import Wanted, blocks
from lmfst.report.summary import Totals

TEXTS = Wanted("text", ("id", "units", "symbols", "logp", "canonical", "stderr"))
NEAR = 1e-6
"""By how much sums of the same numbers may differ, as a share: rows have ten digits."""


@dataclass(frozen=True)
class Texts:
    """Sums over rows of texts. added, canonical: nats, over the `known` documents that have a
    canonical log-probability; most: by how much one document gained at most, and its id. stderr:
    nats, of the sum of all; None where there is none."""

    path: str
    documents: int
    known: int
    added: float
    canonical: float
    most: tuple[float, str]
    stderr: float | None


def read_texts(path: str, of: Totals, name: str) -> Texts:
    """The sums. of: totals of the output called `name`, whose documents these must be.

    InputError as `lmfst.report.columns.blocks`, and for other documents.
    """
    documents = known = symbols = 0
    logps, pairs, variances = [0.0], [(0.0, 0.0)], []
    most = (-math.inf, "")
    for block in blocks(path, TEXTS):
        logp, canonical = block.numbers("logp"), block.numbers("canonical", gaps=True)
        ids, errors = block.texts("id"), block.numbers("stderr", gaps=True)
        documents += len(logp)
        symbols += sum(block.whole("symbols"))
        logps.append(math.fsum(logp))
        both = [(a, b, id) for a, b, id in zip(logp, canonical, ids, strict=True) if b is not None]
        finite = [(a, b, id) for a, b, id in both if math.isfinite(a) and math.isfinite(b)]
        known += len(finite)
        pairs.append((math.fsum(a for a, _, _ in finite), math.fsum(b for _, b, _ in finite)))
        most = max([most, *((a - b, id) for a, b, id in finite)], key=lambda one: one[0])
        variances += [None if error is None else error**2 for error in errors]
    total = math.fsum(logps)
    expected = -of.bits * math.log(2.0)
    near = total == expected or abs(total - expected) <= NEAR * max(1.0, abs(expected))
    if (documents, symbols) != (of.documents, of.symbols) or not near:
        raise InputError(
            f"{path}: expected the texts of {name}, {of.documents:,} documents of "
            f"{of.symbols:,} symbols with a logp of {expected:.10g} in all; found "
            f"{documents:,} of {symbols:,} with {total:.10g}",
            hint="score the same texts with the same options, and --level text",
        )
    whole, canonical_sum = (math.fsum(one[at] for one in pairs) for at in (0, 1))
    stderr = None
    if variances and None not in variances:
        stderr = math.sqrt(math.fsum(v for v in variances if v is not None))
    return Texts(path, documents, known, whole - canonical_sum, canonical_sum, most, stderr)
