"""The optimiser of scripts/train_dna.py."""

from __future__ import annotations

from typing import Any

MUON_RATE, ADAM_RATE = 0.02, 0.003
WEIGHT_DECAY = 0.1  # times the learning rate; for matrices only


class Muon:
    """Muon for the matrices of the transformer layers (K. Jordan, 2024), AdamW for the rest.

    The momentum of each matrix is replaced by an approximation of the nearest orthogonal matrix,
    by five Newton-Schulz steps; queries, keys and values are matrices of their own.
    """

    MOMENTUM = 0.95

    def __init__(self, model: Any) -> None:
        import torch

        layers = model.gpt_neox.layers
        self.heads = model.config.num_attention_heads
        self.groups: list[tuple[str, list[Any]]] = [
            ("qkv", [x.attention.query_key_value.weight for x in layers]),
            ("square", [x.attention.dense.weight for x in layers]),
            ("tall", [x.mlp.dense_h_to_4h.weight for x in layers]),
            ("wide", [x.mlp.dense_4h_to_h.weight for x in layers]),
        ]
        self.moment = {kind: torch.zeros_like(torch.stack(ws)) for kind, ws in self.groups}
        taken = {id(w) for _, ws in self.groups for w in ws}
        rest = [p for p in model.parameters() if id(p) not in taken]
        self.adam = torch.optim.AdamW(rest, lr=ADAM_RATE, betas=(0.9, 0.98), weight_decay=0.0)

    def step(self, rate: float) -> None:
        """One update at `rate` times the full learning rate."""
        import torch

        for group in self.adam.param_groups:
            group["lr"] = ADAM_RATE * rate
        self.adam.step()
        with torch.no_grad():
            for kind, weights in self.groups:
                grad = torch.stack([w.grad for w in weights])
                moment = self.moment[kind].lerp_(grad, 1 - self.MOMENTUM)
                update = self._direction(kind, grad.lerp(moment, self.MOMENTUM))
                for weight, delta in zip(weights, update, strict=True):
                    weight.mul_(1 - MUON_RATE * rate * WEIGHT_DECAY)
                    weight.add_(delta, alpha=-MUON_RATE * rate)

    def _direction(self, kind: str, moment: Any) -> Any:
        """Orthogonalised moments [layers, out, in], with root-mean-square of comparable size."""
        layers, out, width = moment.shape
        if kind == "qkv":
            # Rows are ordered by head, then query, key, value.
            parts = moment.view(layers, self.heads, 3, -1, width).transpose(1, 2)
            flat = parts.reshape(layers * 3, -1, width)
            back = orthogonal(flat).view(layers, 3, self.heads, -1, width)
            return back.transpose(1, 2).reshape(layers, out, width)
        if kind == "tall":
            return orthogonal(moment.mT).mT * 2
        return orthogonal(moment)

    def tensors(self) -> dict[str, Any]:
        """The state, for a checkpoint."""
        state = {f"muon.{kind}": moment for kind, moment in self.moment.items()}
        for i, entry in self.adam.state_dict()["state"].items():
            state |= {f"adam.{i}.{name}": value for name, value in entry.items()}
        return state

    def load(self, tensors: dict[str, Any]) -> None:
        """Take the state of a checkpoint."""
        for kind in self.moment:
            self.moment[kind].copy_(tensors[f"muon.{kind}"])
        state: dict[int, dict[str, Any]] = {}
        for key, value in tensors.items():
            if key.startswith("adam."):
                _, number, name = key.split(".")
                state.setdefault(int(number), {})[name] = value
        self.adam.load_state_dict({**self.adam.state_dict(), "state": state})


def orthogonal(x: Any) -> Any:
    """About U Vᵀ of the singular value decomposition, for x [n, rows ≤ columns, columns]."""
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.775 * gram + 2.0315 * gram @ gram) @ x
    return x
