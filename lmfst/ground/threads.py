"""Kernels on several threads: parts of a range, each on its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from lmfst.ground.kernels import compiled

LEAST = 8
"""Items that are worth a thread."""
LEAST_NUMBERS = 1 << 18
"""Numbers that are worth one: it takes as long to begin and to wait for as some 100,000 of them."""


def in_parts(count: int, size: int, work: Callable[[int, int], None]) -> None:
    """Call work(first, last) for parts of range(count), items of `size` numbers, on as many threads
    as torch takes for its own. Kernels let other threads run meanwhile; each part must be
    independent of the others."""
    import torch

    parts = 1
    if compiled():
        parts = min(torch.get_num_threads(), count // LEAST, count * size // LEAST_NUMBERS)
    if parts < 2:
        work(0, count)
        return
    ends = [count * part // parts for part in range(parts + 1)]
    with ThreadPoolExecutor(parts - 1) as pool:
        others = [pool.submit(work, *ends[i : i + 2]) for i in range(1, parts)]
        work(ends[0], ends[1])
        for other in others:
            other.result()
