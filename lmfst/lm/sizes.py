"""Sizes of the parts of a model call that suit the device.

A processor is kept busy by little, and is fastest with what its cache holds; a GPU needs much at a
time, and every operation costs it some 5 to 10 µs whatever its size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch


class Sizes(NamedTuple):
    """product: pairs of a query and a key that take about as long as a further product in every
    layer. step: keys of a chunk are padded to a multiple of it. rows: rows of logits that exist at
    a time."""

    product: int
    step: int
    rows: int


ON_CPU = Sizes(product=4096, step=1, rows=64)
"""A product: measured with two CPU cores. Rows: they stay in a processor's cache while they are
read."""
_LOGITS = 1 << 24
"""Logits that exist on a GPU at a time: 64 MiB, and twice as much for their float64 numbers."""
_PRODUCT = 1 << 20
"""An estimate, not measured: starting the ten kernels of a product takes some 50 µs, in which a
GPU of 50 · 10^12 operations a second does those of 2^20 pairs of vectors of 9 × 64 numbers."""
_STEP = 16
"""torch's efficient attention copies masks with rows of other lengths in every layer."""


def sizes_on(device: torch.device, vocabulary: int) -> Sizes:
    """The sizes for a device, and a vocabulary of so many tokens."""
    if device.type == "cpu":
        return ON_CPU
    return Sizes(_PRODUCT, _STEP, max(ON_CPU.rows, _LOGITS // vocabulary))
