"""`--device` and `--dtype`: what their names mean here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from lmfst.ground.errors import UsageError
from lmfst.ground.types import DType
from lmfst.lm.spread import Spread, spread_of

if TYPE_CHECKING:
    import torch

AUTO = "auto"


def chosen() -> str:
    """What auto means here: a CUDA GPU, else the processor. No GPU is begun to be used by that,
    which takes memory of it."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def device_named(name: str) -> torch.device | Spread:
    """The device, or those that a model is spread over. auto: see `chosen`. UsageError if it can't
    be used here."""
    import torch

    if spread := spread_of(name):
        return spread
    named = chosen() if name == AUTO else name
    reason = "it holds no numbers"
    try:
        device = torch.device(named)
        torch.zeros(1, device=device)
        if device.type != "meta":
            return device
    except (RuntimeError, AssertionError, ImportError) as error:
        # torch may go on for a page.
        reason = str(error).splitlines()[0].partition(". ")[0]
    if name == AUTO:
        raise UsageError(
            f"--device {AUTO} takes the GPU that torch sees, and it can't be used: {reason}",
            hint="use --device cpu, or see whether other programs have the GPU to themselves",
        )
    raise UsageError(
        f"--device {name!r} can't be used here: {reason}",
        hint="use auto, cpu, a device that this installation of torch sees, such as cuda or mps, "
        "or map for all of them",
    )


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
