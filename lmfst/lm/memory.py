"""How many token positions fit into one model call, and how a lack of memory shows."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePath
from types import SimpleNamespace
from typing import Any

from lmfst.ground import defaults
from lmfst.lm.config import number, text_config

SHARE = 0.25
"""Share of the free memory that a call's intermediate results may take."""
_HIDDEN = 1024
"""The hidden size of a model that doesn't say it."""
WIDE = 512
"""Of a model with a hidden size below this, calls get faster beyond `defaults.BATCH_TOKENS` yet:
five proteins sampled together under the model of DNA, of hidden size 128, took 0.92 of the time
with four times as many (one CPU core)."""


def fitting_tokens(model: Any, device: Any) -> int:
    """Token positions per call for the memory that is free on a model's device, at most
    `useful_tokens`."""
    text = text_config(model.config)
    hidden = number(text, "hidden_size", _HIDDEN)
    inner = number(text, "intermediate_size", 4 * hidden)
    layers = number(text, "num_hidden_layers", 32)
    # Per position: activations of a layer, and the keys and values that are kept of all of them.
    per_token = (8 * hidden + 3 * inner + 2 * layers * hidden) * model.dtype.itemsize
    fitting = int(_free_bytes(device) * SHARE / per_token)
    return max(16, min(useful_tokens(hidden, on_cpu=device.type == "cpu"), fitting))


def useful_tokens(hidden: int, *, on_cpu: bool) -> int:
    """Token positions beyond which calls get no faster: on a CPU `defaults.BATCH_TOKENS`, or up to
    four times as many where the hidden size of the model is small."""
    times = min(4, max(1, WIDE // hidden)) if on_cpu else 16
    return times * defaults.BATCH_TOKENS


def tokens_by_files(paths: Iterable[str], *, on_cpu: bool) -> int:
    """`useful_tokens` of a model by its files, without loading it: by its `config.json`, if it has
    one."""
    hidden = _HIDDEN
    for path in paths:
        if PurePath(path).name == "config.json":
            with suppress(OSError, ValueError, TypeError):
                facts = json.loads(Path(path).read_bytes())
                config = SimpleNamespace(**{**facts, **facts.get("text_config", {})})
                hidden = number(config, "hidden_size", _HIDDEN)
    return useful_tokens(hidden, on_cpu=on_cpu)


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
