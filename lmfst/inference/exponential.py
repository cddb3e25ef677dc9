"""exp(x) in float64, in a form that compiles to vector instructions.

    exp(x) = 2^k · e^r,    k = round(x / log 2),    |r| ≤ log(2) / 2

where e^r is its Taylor polynomial of degree 11: 1e-14 relative error.
"""

from __future__ import annotations

import math

import numpy as np

from lmfst.ground.arrays import Floats, Int
from lmfst.ground.kernels import fused_kernel, kernel

_ROUND = 6755399441055744.0
"""1.5 · 2^52: what is added to it is rounded to an integer, which its last bits are."""
_BITS = 0x4338000000000000 - 1023
"""The bits of that number, less the bias of exponents."""
_INVERSE_LOG2 = 1 / math.log(2)
_LOG2_HIGH, _LOG2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
"""log 2 in two parts, the first of few enough digits that k times it is exact."""
_NORMAL = -708.0
"""Above this, exp is a normal number."""
_2, _3, _4, _5, _6, _7, _8, _9, _10, _11 = (1 / math.factorial(k) for k in range(2, 12))


@fused_kernel
def exponentiate_normal(x: Floats, size: Int) -> None:
    """Replace x[:size], none of which is above 700, by its exponentials; by exp(-708), which is
    nothing beside 1, where that is more."""
    for i in range(size):
        y = max(x[i], _NORMAL)
        rounded = y * _INVERSE_LOG2 + _ROUND
        k = rounded - _ROUND
        r = (y - k * _LOG2_HIGH) - k * _LOG2_LOW
        s = r * r
        low = (_2 + _3 * r) + (_4 + _5 * r) * s
        middle = (_6 + _7 * r) + (_8 + _9 * r) * s
        high = _10 + _11 * r
        q = s * s
        power = ((low + (middle + high * q) * q) * s + r) + 1.0
        bits = (np.float64(rounded).view(np.int64) - _BITS) << 52
        x[i] = power * np.int64(bits).view(np.float64)


@kernel
def exponentiate(x: Floats, size: Int) -> None:
    """Replace x[:size], none of which is above 700, by its exponentials."""
    low = 0
    for i in range(size):
        low += 1 if x[i] < _NORMAL else 0
    if low == 0:
        exponentiate_normal(x, size)
        return
    for i in range(size):
        x[i] = math.exp(x[i])


@kernel
def add_up(terms: Floats, size: Int, totals: Floats) -> None:
    """totals [width]: the sums over terms [size, width], flat, of each column."""
    width = len(totals)
    totals[:] = 0.0
    for j in range(size):
        for i in range(width):
            totals[i] += terms[j * width + i]
