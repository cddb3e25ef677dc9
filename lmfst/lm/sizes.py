"""Sizes of the parts of a model call that suit the device.

A processor is kept busy by little, and is fastest with what its cache holds; a GPU needs much at a
time, and starting an operation takes some microseconds whatever its size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lmfst.ground import defaults

if TYPE_CHECKING:
    import torch


class Sizes(NamedTuple):
    """product: pairs of a query and a key that take about as long as a further product in every
    layer. step: keys of a chunk are padded to a multiple of it. rows: rows of logits that exist at
    a time. halves: documents of a batch that are decided for in two halves, at least; None: never.
    symbols: of documents that are scored together.
    """

    product: int
    step: int
    rows: int
    halves: int | None
    symbols: int


ON_CPU = Sizes(product=4096, step=1, rows=64, halves=None, symbols=defaults.BATCH_SYMBOLS)
"""A product: measured with two CPU cores. Rows: they stay in a processor's cache while they are
read."""
FLOAT32 = 4
"""Bytes of a number."""
_LOGITS = 1 << 24
"""Logits that exist on a GPU at a time: 64 MiB, and for a moment four times as much for their
float64 numbers and exponentials."""
_PRODUCT = 1 << 20
"""An estimate, not measured: starting the ten kernels of a product takes some 50 µs, in which a
GPU of 50 · 10^12 operations a second does those of 2^20 pairs of vectors of 9 × 64 numbers."""
_STEP = 16
"""torch's efficient attention copies masks with rows of other lengths in every layer."""


_TIMES = 16
"""As many times as many positions as on a CPU are worth while in a call there
(`lmfst.lm.memory.useful_tokens`)."""
_HALVES = 8 * 10**9
"""An estimate, not measured: parameters times documents from which on a GPU takes longer for the
rows of half a batch (16 a document and call) than the host takes to start their kernels; of models
in half precision eight times as many."""


def sizes_on(device: torch.device, vocabulary: int, parameters: int, itemsize: int) -> Sizes:
    """The sizes for a device and a model: the tokens of its vocabulary, its parameters, and the
    bytes of one."""
    if device.type == "cpu":
        return ON_CPU
    halves = None
    if device.type == "cuda":
        work = _HALVES if itemsize >= FLOAT32 else 8 * _HALVES
        halves = max(2, -(-work // max(1, parameters)))
    rows = max(ON_CPU.rows, _LOGITS // vocabulary)
    return Sizes(_PRODUCT, _STEP, rows, halves, _TIMES * defaults.BATCH_SYMBOLS)
