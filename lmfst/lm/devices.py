"""`--device` and `--dtype`: what their names mean here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from lmfst.ground.errors import UsageError
from lmfst.ground.types import DType
from lmfst.lm.spread import Spread, spread_of

if TYPE_CHECKING:
    import torch

AUTO = "auto"


def device_named(name: str) -> torch.device | Spread:
    """The device, or those that a model is spread over. auto: a CUDA GPU, else the processor.
    UsageError if it can't be used here."""
    import torch

    if spread := spread_of(name):
        return spread
    if name == AUTO:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"--device {name!r} can't be used here: {reason}",
            hint="use auto, cpu, a device that this installation of torch sees, such as cuda or "
            "mps, or map for all of them",
        ) from None
    return device


def dtype_named(name: DType, config: Any, *, gguf: bool) -> torch.dtype | Literal["auto"]:
    """What transformers takes as a number format. auto: that of the checkpoint, by its
    configuration or, where it doesn't say it, by its weights; float32 for a GGUF file, whose
    weights are unpacked into it."""
    import torch

    if name == AUTO:
        own = getattr(config, "dtype", None)
        if gguf:
            return torch.float32
        return own if isinstance(own, torch.dtype) else "auto"
    found: torch.dtype = getattr(torch, name)
    return found
