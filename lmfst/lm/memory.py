"""How many token positions fit into one model call, and how a lack of memory shows."""

from __future__ import annotations

from typing import Any

from lmfst.ground import defaults
from lmfst.lm.config import number, text_config

SHARE = 0.25
"""Share of the free memory that a call's intermediate results may take."""


WIDE = 512
"""Of a model with a hidden size below this, calls get faster beyond `defaults.BATCH_TOKENS` yet:
five proteins sampled together under the model of DNA, of hidden size 128, took 0.92 of the time
with four times as many (one CPU core)."""


def fitting_tokens(model: Any) -> int:
    """Token positions per call for the memory that is free on the model's device.

    On a CPU at most `defaults.BATCH_TOKENS`, beyond which calls get no faster, or up to four times
    as many where the model is small.
    """
    text = text_config(model.config)
    hidden = number(text, "hidden_size", 1024)
    inner = number(text, "intermediate_size", 4 * hidden)
    layers = number(text, "num_hidden_layers", 32)
    # Per position: activations of a layer, and the keys and values that are kept of all of them.
    per_token = (8 * hidden + 3 * inner + 2 * layers * hidden) * model.dtype.itemsize
    fitting = int(_free_bytes(model.device) * SHARE / per_token)
    times = min(4, max(1, WIDE // hidden)) if model.device.type == "cpu" else 16
    most = times * defaults.BATCH_TOKENS
    return max(16, min(most, fitting))


def _free_bytes(device: Any) -> int:
    import torch

    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch says that memory could not be had."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in text or "not enough memory" in text or "out of memory" in text
    )
