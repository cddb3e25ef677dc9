"""Log-probabilities of a few tokens after LM states, by the rows that the session gives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmfst.ground.arrays import Floats, Ints
from lmfst.inference.normaliser import Normaliser
from lmfst.lm.base import Session


def token_logps(
    session: Session, normalise: Normaliser, states: Ints, tokens: Sequence[Ints]
) -> list[Floats]:
    """Of each of some LM states [n] the log-probabilities float64 of its tokens, nats; states that
    are equal share a row. ModelError for rows that are no distributions."""
    asked, row = np.unique(states, return_inverse=True)
    found: list[Floats] = [np.zeros(0)] * len(states)
    for part, rows in session.rows(asked):
        here = np.flatnonzero((row >= part.start) & (row < part.start + len(rows)))
        logps = normalise.logp(rows, row[here] - part.start, [tokens[i] for i in here.tolist()])
        for i, logp in zip(here.tolist(), logps, strict=True):
            found[i] = logp
    return found
