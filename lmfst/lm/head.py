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

if TYPE_CHECKING:
    import torch


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

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Rows [n, vocabulary] for hidden states [n, hidden]. They share memory with those of the
        next call, whose allocation would take longer than the product."""
        import torch

        size, count = self._weight.shape[0], hidden.shape[0]
        if self._buffer is None or self._buffer.numel() < size * count:
            self._buffer = hidden.new_empty(size * count)
        product = self._buffer[: size * count].view(size, count)
        with torch.no_grad():
            torch.mm(self._weight, hidden.t(), out=product)
            if self._bias is not None:
                product += self._bias[:, None]
        return product.t()


def find_head(model: Any, context: Sequence[int], tolerance: float) -> Head | None:
    """The output layer of a transformers causal model, or None if its logits are anything but a
    linear function of its last hidden states (scaled or capped ones, for example): this is tried
    out on the token ids `context`."""
    import torch

    layer = model.get_output_embeddings()
    weight, bias = getattr(layer, "weight", None), getattr(layer, "bias", None)
    body = model.base_model
    if body is model or not isinstance(layer, torch.nn.Linear) or weight is None:
        return None
    ids = torch.tensor([list(context)], device=model.device)
    with torch.no_grad():
        hidden = getattr(body(input_ids=ids, use_cache=False), "last_hidden_state", None)
        expected = model(input_ids=ids, use_cache=False).logits[0].float()
    if hidden is None or hidden.shape[-1] != weight.shape[1]:
        return None
    head = Head(body, weight.detach(), None if bias is None else bias.detach())
    found = head.logits(hidden[0]).float()
    return head if float((found - expected).abs().max()) <= tolerance else None
