"""The decision step in vectorised torch: which hypotheses of many offsets are kept, on any device.

The reference that the host's versions are held to, and timed against. All offsets of a step, of any
number of documents, are decided by the same few operations, without a loop over them: segments are
hypotheses of one offset, side by side. Ties fall to the hypothesis that came first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def reference_weight(
    logw: torch.Tensor,
    first: torch.Tensor,
    log_prefix: torch.Tensor,
    survives: torch.Tensor,
    log_threshold: torch.Tensor,
) -> torch.Tensor:
    """The log weight float64 [segments] below which a segment's hypotheses are dropped.

    logw: float64 [n], nats. first: int64 [segments], where each segment begins; none is empty.
    Of each segment, float64 [segments]: log_prefix, the log prefix mass one symbol on; survives,
    what the reference is at most (`lmfst.inference.sums.Sums`); log_threshold, the log of the share
    of the reference that a hypothesis must weigh.
    """
    owner = _owner(first, len(logw))
    heaviest = logw.new_full(first.shape, -float("inf")).scatter_reduce_(0, owner, logw, "amax")
    return heaviest.maximum(log_prefix).minimum(survives) + log_threshold


def keep(logw: torch.Tensor, first: torch.Tensor, least: torch.Tensor, size: int) -> torch.Tensor:
    """Which hypotheses weigh at least `least` of their segment, and are among the `size` heaviest
    of it: bool [n].

    logw: float64 [n], nats. first: int64 [segments], where each segment begins; none is empty.
    least: float64 [segments]. What `lmfst.inference.wave.decide` keeps.
    """
    import torch

    owner = _owner(first, len(logw))
    heavy = logw >= least[owner]
    order = logw.where(heavy, -float("inf")).argsort(descending=True, stable=True)
    order = order[owner[order].argsort(stable=True)]
    place = torch.arange(len(logw), device=logw.device) - first[owner]
    rank = torch.empty_like(place).scatter_(0, order, place)
    return heavy & (rank < size)


def _owner(first: torch.Tensor, count: int) -> torch.Tensor:
    """The segment int64 [count] of each hypothesis. Nothing of it waits for the device."""
    owner = first.new_zeros(count)
    if count:
        owner[first[1:]] = 1
    return owner.cumsum(0)
