"""Kernels on several threads: parts of a range, each on its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from lmfst.ground.kernels import compiled

LEAST = 8
"""Items that are worth a thread."""


def in_parts(count: int, work: Callable[[int, int], None]) -> None:
    """Call work(first, last) for parts of range(count), on as many threads as torch takes for its
    own. Kernels let other threads run meanwhile; each part must be independent of the others."""
    import torch

    parts = min(torch.get_num_threads(), count // LEAST) if compiled() else 1
    if parts < 2:
        work(0, count)
        return
    ends = [count * part // parts for part in range(parts + 1)]
    with ThreadPoolExecutor(parts - 1) as pool:
        others = [pool.submit(work, *ends[i : i + 2]) for i in range(1, parts)]
        work(ends[0], ends[1])
        for other in others:
            other.result()
