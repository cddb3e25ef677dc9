"""Draws from distributions, by inversion of their sums.

One uniform number decides one draw: the first outcome whose sum of probabilities is above it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmfst.ground.arrays import Floats, Ints
from lmfst.inference.normaliser import Normaliser, check
from lmfst.lm.base import Session
from lmfst.lm.transfers import Arriving, Outbox, exactly_placed

if TYPE_CHECKING:
    import torch


_COPIED = 1 << 24
"""Sums that are copied at a time, where several draws are from one row."""


def pick(sums: Floats, chance: float) -> int:
    """The outcome that a chance in [0, 1) picks. sums: float64 [n], running sums of weights, the
    last one above 0. An outcome of weight 0 is never picked."""
    # Rounding might put the point at the very end.
    point = min(chance * sums[-1], np.nextafter(sums[-1], 0.0))
    return int(np.searchsorted(sums, point, side="right"))


def draw_tokens(session: Session, normalise: Normaliser, states: Ints, chances: Floats) -> Ints:
    """A token after each of some LM states [n], drawn from the support by the chances [n] in
    [0, 1); states that are equal share a row. ModelError for rows that are no distributions."""
    import torch

    asked, row = np.unique(states, return_inverse=True)
    order = np.argsort(row, kind="stable")
    outbox = session.outbox or Outbox()
    which, chance = outbox.put(row[order]), outbox.put(chances[order])
    blocks: list[tuple[torch.Tensor, ...]] = []
    ends = np.searchsorted(row[order], np.arange(len(asked) + 1))
    for part, rows in session.rows(asked):
        placed = exactly_placed(rows)
        lse, removed = normalise.unchecked(placed)
        here = slice(ends[part.start], ends[part.start + len(rows)])
        # Mostly each row is asked for once, and needn't be copied.
        once = here.stop - here.start == len(rows)
        own = None if once else which.get()[here] - part.start
        tokens = _drawn(placed, lse, own, chance.get()[here])
        blocks.append((tokens.double(), removed, lse))
    found = np.empty(len(states), np.int64)
    if blocks:
        together = torch.cat([torch.cat(column) for column in zip(*blocks, strict=True)])
        sizes = (len(states), len(states) + len(asked))
        drawn, lost, logs = np.split(Arriving(together).get(), sizes)
        check(logs, lost)
        found[order] = drawn
    return found


def _drawn(
    rows: torch.Tensor, lse: torch.Tensor, which: torch.Tensor | None, chances: torch.Tensor
) -> torch.Tensor:
    """The tokens int64 [n] that chances [n] pick from some of rows [m, vocabulary], on the device
    of these. which: int64 [n], None for all, each once."""
    import torch

    sums = rows.double().sub_(lse[:, None]).exp_().cumsum(1)
    if which is None:
        return _picked(sums, chances)
    most = max(1, _COPIED // sums.shape[1])
    parts = zip(which.split(most), chances.split(most), strict=True)
    return torch.cat([_picked(sums[own], some) for own, some in parts])


def _picked(sums: torch.Tensor, chances: torch.Tensor) -> torch.Tensor:
    """What `pick` gives for each of some running sums [n, outcomes], int64 [n]."""
    import torch

    total = sums[:, -1]
    below = torch.nextafter(total, torch.zeros_like(total))
    points = torch.minimum(chances * total, below)
    return torch.searchsorted(sums, points[:, None], right=True)[:, 0]
