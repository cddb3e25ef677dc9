"""`--compile`: the parts of a transformers model that torch.compile can make faster.

Whole layers can't be compiled: attention over the token tree reads and writes a store of its own,
and one compiled program a layer would take minutes to make. What remains (feed-forward parts and
norms) has the same code in every layer and is compiled once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lmfst.ground.errors import ModelError


def compile_layers(model: Any) -> None:
    """Compile what is not attention in the layers of a model, and try it out.

    Raises ModelError where there is nothing to compile or torch.compile fails.
    """
    import torch

    parts = list(_parts(model))
    if not parts:
        raise ModelError(
            f"--compile finds no layers in a {type(model).__name__}: its layers must be a list of "
            "modules with an attention part",
            hint="leave --compile out",
        )
    for part in parts:
        part.compile(dynamic=True)
    try:
        with torch.no_grad():
            for size in (1, 2):
                model(input_ids=torch.zeros((1, size), dtype=torch.long, device=model.device))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"torch.compile failed: {reason}",
            hint="it needs a working C++ compiler (g++ or $CXX), on a GPU Triton, too; or leave "
            "--compile out",
        ) from error


def _parts(model: Any) -> Iterator[Any]:
    import torch

    for layers in model.modules():
        if not isinstance(layers, torch.nn.ModuleList):
            continue
        for layer in layers:
            children = dict(layer.named_children())
            if any("att" in name.lower() for name in children):
                yield from (
                    part
                    for name, part in children.items()
                    if "att" not in name.lower() or "norm" in name.lower()
                )
