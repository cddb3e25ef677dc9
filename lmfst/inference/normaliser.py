"""Normalisers of LM rows over the support.

    log p(t | x) = logit_t - log Σ_{u in the support} exp(logit_u)

Sums are taken in float64: a row's normaliser is the same to 1e-15, relatively, whatever rows come
with it, wherever it is computed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lmfst.ground.arrays import Floats, Int, Ints
from lmfst.ground.errors import ModelError
from lmfst.ground.kernels import compiled, fused_kernel
from lmfst.ground.threads import in_parts
from lmfst.inference.exponential import exponentiate_normal
from lmfst.lm.transfers import exactly_placed

if TYPE_CHECKING:
    import torch

_TOKENS = 16
"""Tokens that are read together: what lies in between stays in the processor's cache."""
_STEEP = 600.0
"""Exponents up to this are well below what float64 can hold."""
_LOWEST = -1e300
_NO_NUMBER = "the model's output is not a number (NaN or infinite)"
_TOO_LARGE = "its numbers may be too large for --dtype: try float32"


class Normaliser:
    """Takes the tokens outside the support out of LM rows and finds the rows' log normalisers.

    seconds: time spent, that on a device aside which goes on meanwhile.
    """

    def __init__(self, outside: Ints) -> None:
        """outside: int64 token ids that are no part of the support."""
        self.seconds = 0.0
        self._outside = outside
        self._on_device: dict[Any, torch.Tensor] = {}

    def __call__(self, rows: torch.Tensor) -> tuple[Floats, Floats]:
        """(log normalisers float64 [n], nats removed float64 [n]), on the host; sets `rows` outside
        to -inf.

        ModelError for rows that are no distributions.
        """
        import torch

        lse, removed = self.unchecked(rows)
        logs, lost = torch.stack((lse, removed)).cpu().numpy()
        check(logs, lost)
        return logs, lost

    def logp(self, rows: torch.Tensor, owner: Ints, tokens: Sequence[Ints]) -> list[Floats]:
        """Log-probabilities float64 of tokens after some of rows [m, vocabulary]: for each of n
        requests its row, owner int64 [n], and the tokens that are asked for. Crosses to the rows'
        device and back once. ModelError for rows that are no distributions."""
        import torch

        rows = exactly_placed(rows)
        lse, removed = self.unchecked(rows)
        sizes = np.array([len(some) for some in tokens], dtype=np.int64)
        asked = np.stack((np.repeat(owner, sizes), np.concatenate(tokens)))
        which, what = torch.from_numpy(asked).to(rows.device).unbind()
        found = torch.cat((rows[which, what].double() - lse[which], removed, lse)).cpu().numpy()
        *each, lost, logs = np.split(found, np.append(np.cumsum(sizes), len(found) - len(rows)))
        check(logs, lost)
        return each

    def unchecked(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The same on the rows' device, which has float64 numbers and isn't waited for; the caller
        has to `check`."""
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
            left_out = torch.logsumexp(rows.t().index_select(0, ids).double(), dim=0)
            rows.index_fill_(1, ids, float("-inf"))
            lse = _logsumexp(rows)
            removed = torch.logaddexp(lse, left_out) - lse
        self.seconds += time.perf_counter() - begin
        return lse, removed


def check(lse: Floats, removed: Floats) -> None:
    """ModelError unless normalisers, and what was removed, are numbers: nothing true could follow
    from them."""
    if np.isposinf(lse).any() or np.isnan(lse).any():
        raise ModelError(_NO_NUMBER, hint=_TOO_LARGE)
    if np.isneginf(lse).any():
        raise ModelError(
            "after some context the model gives probability zero to every token in its support",
            hint="its mass may lie on special or unknown tokens; try --specials text",
        )
    if not np.isfinite(removed).all():
        raise ModelError(_NO_NUMBER, hint=_TOO_LARGE)


def _logsumexp(rows: torch.Tensor) -> torch.Tensor:
    """Log-sum-exp of rows, float64 [n]."""
    import torch

    if rows.device.type != "cpu" or not compiled():
        return torch.logsumexp(rows.double(), dim=1)
    columns, found = transposed(rows), np.empty(len(rows))
    size, count = columns.shape
    in_parts(count, size, lambda first, last: log_sums(columns, first, last, found))
    return torch.from_numpy(found)


def transposed(rows: torch.Tensor) -> np.ndarray:
    """Rows on the host as [vocabulary, n], float32 or float64: what a token has in neighbouring
    rows is in one place, as output layers give it; without a copy, then."""
    import torch

    exact = rows if rows.dtype == torch.float64 else rows.float()
    found: np.ndarray = exact.t().contiguous().numpy()
    return found


@fused_kernel
def log_sums(rows: np.ndarray, first: Int, last: Int, found: Floats) -> None:
    """Set found [n] for the columns first … last - 1 of rows [vocabulary, n] to log Σ exp; NaN
    where one has a NaN or an infinity, -inf where all are."""
    size, count = len(rows), last - first
    shift, total = np.full(count, _LOWEST), np.zeros(count)
    part, highest = np.empty(count), np.empty(count)
    terms = np.empty(_TOKENS * count)
    for low in range(0, size, _TOKENS):
        high = min(low + _TOKENS, size)
        highest[:] = _LOWEST
        for token in range(low, high):
            row = rows[token, first:last]
            to = terms[(token - low) * count : (token - low + 1) * count]
            for i in range(count):
                to[i] = row[i] - shift[i]
                highest[i] = max(highest[i], row[i])
        # Any number near the highest will do as the origin; it seldom moves.
        moved = False
        for i in range(count):
            if highest[i] - shift[i] > _STEEP:
                total[i] *= math.exp(shift[i] - highest[i])
                shift[i] = highest[i]
                moved = True
        if moved:
            for token in range(low, high):
                for i in range(count):
                    terms[(token - low) * count + i] = rows[token, first + i] - shift[i]
        exponentiate_normal(terms, (high - low) * count)
        part[:] = 0.0
        for t in range(high - low):
            for i in range(count):
                part[i] += terms[t * count + i]
        for i in range(count):
            total[i] += part[i]
    for i in range(count):
        if shift[i] == _LOWEST and total[i] > 0.0:
            # Nothing was above -inf.
            total[i] = 0.0
        found[first + i] = shift[i] + math.log(total[i])
