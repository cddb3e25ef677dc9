"""What a run asks of its device: operators and crossings by the code, kernels by the profiler.

The profiler sees what the device has done: kernels, copies either way, and calls in which the host
waits. Where the device is the CPU itself, operators that no other one has called stand for kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmark.gpu_check import scored, transduced
from benchmark.parts import HOST, MODEL, TENSORS, Counting, Parts, WatchedLM
from lmfst.lm.base import LM

Span = tuple[float, float]


def counted(lm: LM, folder: Path, texts: Sequence[str], setting: dict[str, Any]) -> dict[str, Any]:
    """Calls of the model, and what the code asks for: operators and crossings of the engine and of
    the model's side, in all."""
    parts = Parts()
    model = transduced(WatchedLM(lm, parts), folder, {"to": "bytes", **setting})
    with parts.watching(), Counting(parts) as counting:
        parts.reset()
        scored(model, texts)
    return {
        "calls": parts.calls,
        "asked": parts.asked,
        "engine_operators": counting.kernels[TENSORS] + counting.kernels[HOST],
        "model_operators": counting.kernels[MODEL],
        "engine_crossings": counting.crossed(TENSORS) + counting.crossed(HOST),
        "model_crossings": counting.crossed(MODEL),
    }


def profiled(device: str, work: Callable[[], Any]) -> dict[str, Any]:
    """Kernels, copies, waits, and the seconds in which the device was at work, whatever else ran
    then."""
    cuda = device != "cpu"
    activity = ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU
    with profile(activities=[activity]) as found:
        work()
        if cuda:
            torch.cuda.synchronize(device)
    return summed(list(found.events() or ()), cuda)


def summed(events: Sequence[Any], cuda: bool) -> dict[str, Any]:
    """What events of the profiler say."""
    here = [one for one in events if _on_device(one, cuda)]
    copies = [one for one in here if one.name.startswith(("Memcpy", "Memset"))]
    return {
        "kernels": len(here) - len(copies),
        "copies_to_host": sum("DtoH" in one.name for one in copies),
        "copies_to_device": sum("HtoD" in one.name for one in copies),
        "waits": sum("Synchronize" in one.name for one in events),
        "device_s": covered((one.time_range.start, one.time_range.end) for one in here) / 1e6,
    }


def _on_device(event: Any, cuda: bool) -> bool:
    if not cuda:
        return event.cpu_parent is None
    marks = getattr(event, "is_user_annotation", False) or "Sync" in event.name
    return bool(event.device_type == DeviceType.CUDA) and not marks


def covered(spans: Iterable[Span]) -> float:
    """How long at least one of some spans of time lasts."""
    total, last = 0.0, -float("inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, last))
        last = max(last, end)
    return total
