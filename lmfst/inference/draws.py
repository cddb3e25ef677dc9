"""Draws from distributions, by inversion of their sums.

One uniform number decides one draw: the first outcome whose sum of probabilities is above it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmfst.ground.arrays import Floats, Ints
from lmfst.inference.normaliser import Normaliser
from lmfst.lm.base import Session

if TYPE_CHECKING:
    import torch


def pick(sums: Floats, chance: float) -> int:
    """The outcome that a chance in [0, 1) picks. sums: float64 [n], running sums of weights, the
    last one above 0. An outcome of weight 0 is never picked."""
    # Rounding might put the point at the very end.
    point = min(chance * sums[-1], np.nextafter(sums[-1], 0.0))
    return int(np.searchsorted(sums, point, side="right"))


def draw_tokens(session: Session, normalise: Normaliser, states: Ints, chances: Floats) -> Ints:
    """A token after each of some LM states [n], drawn from the support by the chances [n] in
    [0, 1); states that are equal share a row. ModelError for rows that are no distributions."""
    asked, row = np.unique(states, return_inverse=True)
    found = np.empty(len(states), np.int64)
    for part, rows in session.rows(asked):
        here = np.flatnonzero((row >= part.start) & (row < part.start + len(rows)))
        lse, _ = normalise(rows)
        found[here] = _drawn(rows, lse, row[here] - part.start, chances[here])
    return found


def _drawn(rows: torch.Tensor, lse: torch.Tensor, which: Ints, chances: Floats) -> Ints:
    """The tokens [n] that chances [n] pick from some of rows [m, vocabulary]."""
    import torch

    place = rows.device
    sums = (rows.double() - lse.to(place)[:, None]).exp_().cumsum(1)
    if len(which) != len(rows) or (which != np.arange(len(rows))).any():
        sums = sums[torch.from_numpy(which).to(place)]
    total = sums[:, -1]
    below = torch.nextafter(total, torch.zeros_like(total))
    points = torch.minimum(torch.from_numpy(chances).to(place) * total, below)
    picked = torch.searchsorted(sums, points[:, None], right=True)[:, 0]
    tokens: Ints = picked.cpu().numpy()
    return tokens
