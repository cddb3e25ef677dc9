"""The decision step timed: on the host, and in vectorised torch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

DOCUMENTS = (1, 8, 64, 256)
HYPOTHESES = 12
"""Of a document at an offset, on average."""
SIZE, LOG_THRESHOLD = 8, float(np.log(1e-3))
SECONDS = 0.2
"""For which each version is repeated, a few times."""


def wave(documents: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Random hypotheses: log weights, where each document's begin, and what else is decided by."""
    sizes = rng.integers(1, 2 * HYPOTHESES, documents)
    first = np.cumsum(sizes) - sizes
    return {
        "logw": rng.normal(-40, 4, int(sizes.sum())),
        "first": first,
        "log_prefix": rng.normal(-37, 2, documents),
        "survives": np.where(rng.random(documents) < 0.1, -36.0, np.inf),
        "log_threshold": np.full(documents, LOG_THRESHOLD),
    }


def host_step(found: dict[str, np.ndarray]) -> Callable[[], np.ndarray]:
    """The engine's decision of a wave."""
    from lmfst.inference.frontier import records
    from lmfst.inference.record_types import DOCUMENTS, POSITIONS
    from lmfst.inference.wave import decide

    logw, first, count = found["logw"], found["first"], len(found["first"])
    positions = records(POSITIONS, 2 * count, ahead=np.arange(2 * count) | 1)
    positions["document"] = np.arange(2 * count) // 2
    positions["log_prefix"] = np.repeat(found["log_prefix"], 2)
    documents = records(DOCUMENTS, count, top=-9, survives=found["survives"])
    documents["log_threshold"] = found["log_threshold"]
    here = np.repeat(2 * np.arange(count), np.diff(first, append=len(logw)))
    tokens, nothing = np.zeros(1, np.int64), np.zeros(len(logw), np.int64)
    kept, heavy = np.empty((2, len(logw)), dtype=bool)

    def step() -> np.ndarray:
        decide(documents, positions, tokens, SIZE, here, nothing, nothing, logw, kept, heavy)
        return kept

    return step


def rows(device: str) -> list[dict[str, Any]]:
    """Microseconds a step and a document, by how many documents there are. Empty where this lmfst
    has no reference."""
    try:
        from lmfst.inference.reference import keep, reference_weight
    except ImportError:
        return []
    rng, result = np.random.default_rng(1), []
    for documents in DOCUMENTS:
        arrays = wave(documents, rng)
        tensors = {name: torch.from_numpy(one).to(device) for name, one in arrays.items()}

        def in_torch(tensors: dict[str, torch.Tensor] = tensors) -> torch.Tensor:
            found = keep(tensors["logw"], tensors["first"], reference_weight(**tensors), SIZE)
            # Decisions are wanted on the host.
            return found.cpu()

        on_host = host_step(arrays)
        if not np.array_equal(in_torch().numpy(), on_host()):
            raise SystemExit("the reference decides otherwise than the host")
        host = _seconds(on_host)
        torched = _seconds(in_torch)
        result.append(
            {
                "documents": documents,
                "hypotheses": len(arrays["logw"]),
                "host_us": 1e6 * host,
                "torch_us": 1e6 * torched,
                "ratio": torched / host,
            }
        )
    return result


def _seconds(step: Callable[[], Any]) -> float:
    """Seconds a call takes: the least of five means."""
    step()
    means = []
    for _ in range(5):
        begin, calls = time.perf_counter(), 0
        while time.perf_counter() < begin + SECONDS / 5:
            step()
            calls += 1
        means.append((time.perf_counter() - begin) / calls)
    return min(means)
