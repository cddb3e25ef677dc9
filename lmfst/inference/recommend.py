"""The policies that packaged models are best used with.

Where many sources give one output, as the codons of a protein do, a beam can't hold what they weigh
together: under the model of DNA it is 16 nats short for a protein of 30 residues. Sampling with the
guide that comes with the model is made for that.
"""

from __future__ import annotations

import numpy as np

from lmfst.fst import EPS, Fst
from lmfst.fst.functional import functional_witness
from lmfst.ground.errors import BudgetError
from lmfst.inference.sampling import Sample

RECOMMENDED = {"dna": Sample(particles=64, replicates=2, guide="dna", gap=False)}
"""By the name of the model, for targets that give several sources the same output."""
MOST_LABELS = 256


def recommended(model: str, fst: Fst | None, alphabet: bytes) -> Sample | None:
    """The policy for a model, by name, and a target; None if it has none of its own.

    fst: None for bytes and characters. alphabet: the bytes of the model's tokens.
    """
    if model not in RECOMMENDED or fst is None or not merges_sources(fst, alphabet):
        return None
    return RECOMMENDED[model]


def merges_sources(fst: Fst, alphabet: bytes) -> bool:
    """Whether two strings over an alphabet have the same output, so that the inverse is no
    function. True, too, for an FST that is too large to tell."""
    part = fst.reading(frozenset(alphabet))
    written = sorted({*part.olabel.tolist()} - {EPS})
    if len(written) > MOST_LABELS:
        return True
    number = {label: i for i, label in enumerate(written)} | {EPS: EPS}
    turned = [(src, number[out], label, to) for src, label, out, to in part.arcs()]
    finals = np.flatnonzero(part.final).tolist()
    inverse = Fst.from_arcs(turned, part.start, finals, n_states=part.n_states)
    try:
        return functional_witness(inverse) is not None
    except BudgetError:
        return True
