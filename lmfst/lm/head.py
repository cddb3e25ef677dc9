"""The last layer of a model apart from the rest, so that its rows exist a few at a time.

A vocabulary's logits for all positions of a call would be the largest array of a run by far. The
product is taken as W · hᵀ, [vocabulary, rows]: with few rows and a large vocabulary this keeps a
CPU's matrix product about 1.7 times as busy as h · Wᵀ does (measured with MKL, 49,152 × 576, 64
rows), and its result is the rows, transposed, without a copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmfst.lm.spread import device_of, on_device

if TYPE_CHECKING:
    import torch


REACH = 100.0
"""Logits up to this and down to its negative are tried out."""


@dataclass
class Usage:
    """What a model has been used for: forward calls, token positions in them, and seconds."""

    calls: int = 0
    positions: int = 0
    seconds: float = 0.0

    def add(self, positions: int, seconds: float) -> None:
        """Count a call."""
        self.calls += 1
        self.positions += positions
        self.seconds += seconds


class Head:
    """A linear output layer. body: the model without it; weight: [vocabulary, hidden]; bias:
    [vocabulary] or None."""

    def __init__(self, body: Any, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self.body, self._weight, self._bias = body, weight, bias
        self._buffer: torch.Tensor | None = None

    @property
    def device(self) -> torch.device:
        """Of its rows."""
        return self._weight.device

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Rows [n, vocabulary] for hidden states [n, hidden]. They share memory with those of the
        next call, whose allocation would take longer than the product."""
        import torch

        hidden = on_device(hidden, self.device)
        size, count = self._weight.shape[0], hidden.shape[0]
        if self._buffer is None or self._buffer.numel() < size * count:
            self._buffer = hidden.new_empty(size * count)
        product = self._buffer[: size * count].view(size, count)
        with torch.no_grad():
            torch.mm(self._weight, hidden.t(), out=product)
            if self._bias is not None:
                product += self._bias[:, None]
        return product.t()


def find_head(model: Any, context: Sequence[int]) -> Head | None:
    """The output layer of a transformers causal model, or None if its logits are anything but a
    linear function of its last hidden states (scaled or capped ones, for example), or if its
    weights lie elsewhere (`lmfst.lm.spread`).

    This is tried out on the token ids `context`: what goes into the layer must be what the rest of
    the model gives, and what comes out of it the model's logits. For the latter the layer's output
    is replaced by numbers that no scale or cap leaves as they are; its real ones may be too small
    to show one.
    """
    import torch

    layer, body = model.get_output_embeddings(), model.base_model
    if body is model or type(layer) is not torch.nn.Linear or layer.weight.is_meta:
        return None
    given: list[torch.Tensor] = []
    put: list[torch.Tensor] = []

    def replace(module: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        given.append(args[0].to(output.device))
        ramp = torch.linspace(-REACH, REACH, output.shape[-1], device=output.device)
        put.append(ramp.to(output.dtype).expand_as(output))
        return put[-1]

    ids = torch.tensor([list(context)], device=device_of(model))
    hook = layer.register_forward_hook(replace)
    try:
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits
            hidden = getattr(body(input_ids=ids, use_cache=False), "last_hidden_state", None)
    except Exception:  # the rest of such a model can't be called by itself
        return None
    finally:
        hook.remove()
    if len(put) != 1 or logits.shape != put[0].shape or not torch.equal(logits.to(put[0]), put[0]):
        return None
    if hidden is None or hidden.shape != given[0].shape:
        return None
    if not _alike(hidden.to(given[0].device), given[0]):
        return None
    bias = layer.bias
    return Head(body, layer.weight.detach(), None if bias is None else bias.detach())


def _alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two evaluations of the same hidden states differ by rounding only."""
    import torch

    scale = float(other.float().abs().max())
    apart = float((one.float() - other.float()).abs().max())
    return apart <= 32 * float(torch.finfo(one.dtype).eps) * scale
