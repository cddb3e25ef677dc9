"""Normalisers of LM rows over the support.

    log p(t | x) = logit_t - log Σ_{u in the support} exp(logit_u)

Rows of float32 are exponentiated and added up in float32 in blocks of `_BLOCK` tokens, the blocks
in float64: a relative error of about 1e-7.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from lmfst.ground.arrays import Floats, Ints
from lmfst.ground.errors import ModelError

if TYPE_CHECKING:
    import torch

_BLOCK = 2048
"""float32 terms that are added up in float32."""
_BLOCKS = 8
"""Blocks that are computed together: what lies in between stays in the processor's cache."""
_FEW = 64
"""Rows that are read together."""
_LEAST = 1e-30
"""Sums of float32 exponentials below this, or above its inverse, may have lost something."""


class Normaliser:
    """Takes the tokens outside the support out of LM rows and finds the rows' log normalisers.

    seconds: time spent, that on a device aside which goes on meanwhile.
    """

    def __init__(self, outside: Ints) -> None:
        """outside: int64 token ids that are no part of the support."""
        self.seconds = 0.0
        self._outside = outside
        self._on_device: dict[Any, torch.Tensor] = {}

    def __call__(self, rows: torch.Tensor) -> tuple[torch.Tensor, Floats]:
        """(log normalisers float64 [n], nats removed float64 [n]); sets `rows` outside to -inf.

        ModelError for rows that are no distributions.
        """
        lse, removed = self.unchecked(rows)
        check(lse.cpu().numpy())
        return lse, removed.cpu().numpy()

    def unchecked(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The same on the rows' device, which isn't waited for; the caller has to `check`."""
        import torch

        begin = time.perf_counter()
        if not len(self._outside):
            lse = _logsumexp(rows)
            removed = torch.zeros_like(lse)
        else:
            if rows.device not in self._on_device:
                self._on_device[rows.device] = torch.from_numpy(self._outside).to(rows.device)
            ids = self._on_device[rows.device]
            # Of transposed rows, index_select along the tokens would copy all.
            left_out = _logsumexp(rows.t().index_select(0, ids).t().contiguous())
            rows.index_fill_(1, ids, float("-inf"))
            lse = _logsumexp(rows)
            removed = torch.logaddexp(lse, left_out) - lse
        self.seconds += time.perf_counter() - begin
        return lse, removed


def check(lse: Floats) -> None:
    """ModelError unless normalisers are numbers: nothing true could follow from them."""
    if np.isnan(lse).any() or np.isposinf(lse).any():
        raise ModelError(
            "the model's output is not a number (NaN or infinite)",
            hint="its numbers may be too large for --dtype: try float32",
        )
    if np.isneginf(lse).any():
        raise ModelError(
            "after some context the model gives probability zero to every token in its support",
            hint="its mass may lie on special or unknown tokens; try --specials text",
        )


def _logsumexp(rows: torch.Tensor) -> torch.Tensor:
    """Log-sum-exp of rows, float64 [n]."""
    import torch

    if rows.dtype == torch.float64:
        return torch.logsumexp(rows, dim=1)
    if rows.device.type == "cpu":
        # Any number near the highest will do as the origin, and most rows have one in a small part.
        total, shift = _shifted_sum(rows, rows[:, :_BLOCK].amax(dim=1, keepdim=True))
        if bool(((total > _LEAST) & (total < 1 / _LEAST)).all()):
            return total.log() + shift
    total, shift = _shifted_sum(rows, rows.amax(dim=1, keepdim=True))
    return total.log() + shift


def _shifted_sum(rows: torch.Tensor, origin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(Σ exp(row - shift) float64 [n], shift float64 [n]); shift is `origin` [n, 1], or 0 where
    that is infinite."""
    import torch

    shift = torch.where(torch.isfinite(origin), origin, torch.zeros_like(origin)).float()
    count, size = rows.shape
    few, some = (_FEW, _BLOCK * _BLOCKS) if rows.device.type == "cpu" else (max(1, count), size)
    totals = []
    for own, origins in zip(rows.split(few), shift.split(few), strict=True):
        sums = [_sums((part.float() - origins).exp_()) for part in own.split(some, dim=1)]
        totals.append(torch.cat(sums, dim=1).double().sum(dim=1))
    return torch.cat(totals), shift.squeeze(1).double()


def _sums(terms: torch.Tensor) -> torch.Tensor:
    """Sums of terms [n, tokens] over blocks of `_BLOCK` tokens, [n, blocks]."""
    import torch

    full = terms.shape[1] // _BLOCK * _BLOCK
    # The order in which torch adds up, and so the last digits, depend on the order of dimensions.
    if terms.stride(0) == 1:
        blocks = terms[:, :full].t().unflatten(0, (-1, _BLOCK)).sum(dim=1).t()
    else:
        blocks = terms[:, :full].unflatten(1, (-1, _BLOCK)).sum(dim=2)
    return torch.cat([blocks, terms[:, full:].sum(dim=1, keepdim=True)], dim=1)
