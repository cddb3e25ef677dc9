"""What crosses between the host and a device, so that neither waits for the other.

To a device: arrays are put into an `Outbox`, and go there together, in one transfer, when the first
of them is needed or something else has to go anyway. From it: an `Arriving` is on its way while the
host does other things. On a GPU both go by pinned memory, in the order of the device's own work.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lmfst.lm.spread import on_device

if TYPE_CHECKING:
    import torch

_ALIGNED = 16
"""Bytes to whose multiples arrays are padded, so that each can be read as what it is."""


class Sent:
    """An array that goes to a device, or is there already."""

    def __init__(self, outbox: Outbox, array: np.ndarray) -> None:
        self._outbox, self.array = outbox, array
        self._there: torch.Tensor | None = None

    def arrive(self, there: torch.Tensor) -> None:
        """It is there."""
        self._there = there

    def get(self) -> torch.Tensor:
        """The array as a tensor on the device; it is sent now, unless it has been."""
        if self._there is None:
            self._outbox.send()
        assert self._there is not None
        return self._there


class Outbox:
    """Arrays that wait for the next transfer to a device; None: to tensors on the host."""

    def __init__(self, device: torch.device | None = None) -> None:
        import torch

        self.device = torch.device("cpu") if device is None else device
        self._waiting: list[Sent] = []

    def put(self, array: np.ndarray) -> Sent:
        """Have an array go with the next transfer. It may not change until then."""
        sent = Sent(self, np.ascontiguousarray(array))
        self._waiting.append(sent)
        return sent

    def send_now(self, arrays: Sequence[np.ndarray]) -> list[torch.Tensor]:
        """Arrays on the device, which go there together with what waits. After an error they are
        forgotten: a call that is made again has others, and what is sent must not grow."""
        sent = [self.put(array) for array in arrays]
        try:
            self.send()
        except BaseException:
            del self._waiting[-len(sent) :]
            raise
        return [one.get() for one in sent]

    def send(self) -> None:
        """Send what waits, if anything does. After an error it waits on."""
        import torch

        if not self._waiting:
            return
        sizes = [-(-sent.array.nbytes // _ALIGNED) * _ALIGNED for sent in self._waiting]
        # Memory of no bytes can't be read as numbers of several.
        sizes[-1] = max(sizes[-1], _ALIGNED)
        ends = np.cumsum(sizes).tolist()
        pinned = self.device.type == "cuda"
        if pinned:
            together = torch.empty(ends[-1], dtype=torch.uint8, pin_memory=True)
            buffer: np.ndarray = together.numpy()
        else:
            buffer = np.empty(ends[-1], np.uint8)
            together = torch.from_numpy(buffer)
        begins = [0, *ends[:-1]]
        for sent, begin in zip(self._waiting, begins, strict=True):
            buffer[begin : begin + sent.array.nbytes] = sent.array.reshape(-1).view(np.uint8)
        there = together.to(self.device, non_blocking=pinned)
        for sent, begin in zip(self._waiting, begins, strict=True):
            part = there[begin : begin + sent.array.nbytes]
            sent.arrive(part.view(_dtype(sent.array)).view(sent.array.shape))
        self._waiting = []


def _dtype(array: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(np.empty(0, array.dtype)).dtype


class Arriving:
    """A tensor on its way to the host."""

    def __init__(self, tensor: torch.Tensor) -> None:
        import torch

        self._event: Any = None
        if tensor.device.type != "cuda":
            self._host: np.ndarray = tensor.cpu().numpy()
            return
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        with torch.cuda.device(tensor.device):
            host.copy_(tensor, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()
        # Holds the memory, too.
        self._host = host.numpy()

    def get(self) -> np.ndarray:
        """The array, which is waited for."""
        if self._event is not None:
            self._event.synchronize()
        return self._host


def exact_place(device: torch.device) -> torch.device:
    """Where numbers of a device are added up in float64: there, or on the host if it has no such
    numbers (Apple's GPUs)."""
    import torch

    return torch.device("cpu") if device.type == "mps" else device


def exactly_placed(rows: torch.Tensor) -> torch.Tensor:
    """Rows where they can be added up in float64."""
    return on_device(rows, exact_place(rows.device))
