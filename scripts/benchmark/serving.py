"""The worker's side: answer requests, one JSON object a line, with what a run took and gave.

A request is {"run": NAME, "texts": [...], "options": {...}, "keep": FILE.npz or null}; the answer
holds the fields of `Outcome`, seconds, forward (seconds inside the model's forward calls), calls,
positions, memory, or {"error": ...}. Imported by workers in different environments: only the
standard library, numpy and torch.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

SYMBOLS = 257
"""The columns of a next-byte distribution: 256 bytes, then the end of the text."""


@dataclass
class Outcome:
    """What a run gave. logp: nats, summed over the texts. next: for each text, a function that
    gives its next-byte distributions as probabilities [bytes + 1, SYMBOLS]; called after the clock
    has stopped. more: further facts for the answer."""

    logp: float = 0.0
    next: list[Callable[[], np.ndarray]] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)


Runner = Callable[[list[str], dict[str, Any]], Outcome]


class Meter(Protocol):
    """Counts forward calls, their token positions (padding included) and their seconds."""

    def reset(self) -> None: ...

    def read(self) -> dict[str, Any]:
        """forward (seconds), calls, positions; None for all where nothing was counted."""
        ...


class ModuleMeter:
    """Meters the forward calls of a module."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.calls, self.positions, self.seconds = 0, 0, 0.0
        self._forward = model.forward
        model.forward = self._measured  # type: ignore[method-assign]

    def _measured(self, *args: Any, **options: Any) -> Any:
        begin = time.perf_counter()
        result = self._forward(*args, **options)
        self.seconds += time.perf_counter() - begin
        self.calls += 1
        self.positions += (args[0] if args else options["input_ids"]).numel()
        return result

    def reset(self) -> None:
        self.calls, self.positions, self.seconds = 0, 0, 0.0

    def read(self) -> dict[str, Any]:
        if not self.calls:
            return {"forward": None, "calls": None, "positions": None}
        return {"forward": self.seconds, "calls": self.calls, "positions": self.positions}


def reset_peak() -> None:
    """Let the process's peak memory start again from what it holds now (Linux only)."""
    place = Path("/proc/self/clear_refs")
    if place.exists():
        place.write_text("5")


def peak_memory() -> float | None:
    """The peak of the process's resident memory since `reset_peak`, MiB; None where the system
    doesn't tell."""
    place = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", place.read_text()) if place.exists() else None
    return int(found[1]) / 1024 if found else None


def answer(request: dict[str, Any], runners: dict[str, Runner], meter: Meter) -> dict[str, Any]:
    """Carry out one request."""
    runner = runners[request["run"]]
    meter.reset()
    reset_peak()
    begin = time.perf_counter()
    outcome = runner(request["texts"], request["options"])
    seconds = time.perf_counter() - begin
    found = {"seconds": seconds, "memory": peak_memory(), "logp": outcome.logp, **meter.read()}
    if request.get("keep"):
        arrays = {str(i): dense() for i, dense in enumerate(outcome.next)}
        np.savez_compressed(request["keep"], **arrays)  # type: ignore[arg-type]
    return found | outcome.more


def serve(start: Callable[[], tuple[dict[str, Runner], Meter, dict[str, Any]]]) -> None:
    """Answer until the input ends. start: gives the runners, the meter and facts for the first
    answer."""
    channel = os.fdopen(os.dup(1), "w")
    # What libraries print must not come between the answers.
    os.dup2(2, 1)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    begin = time.perf_counter()
    runners, meter, facts = start()
    facts |= {"torch": torch.__version__, "threads": torch.get_num_threads()}
    _say(channel, facts | {"start_seconds": time.perf_counter() - begin})
    for line in sys.stdin:
        try:
            _say(channel, answer(json.loads(line), runners, meter))
        except Exception:  # any failure of an engine is reported by the benchmark
            _say(channel, {"error": traceback.format_exc()})


def _say(channel: Any, value: dict[str, Any]) -> None:
    channel.write(json.dumps(value) + "\n")
    channel.flush()
