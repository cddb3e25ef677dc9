"""`--device map`: a model spread over devices by accelerate, layer by layer.

GPUs are filled first, then the processor's memory, then the disk: weights that lie in one of these
two are brought to the first device for each call. Hidden states go from one device to the next by
accelerate's hooks; keys and values of a layer stay where it is computed
(`lmfst.lm.attention.KeyValueStore`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmfst.ground.errors import UsageError
from lmfst.lm.memory import SHARE

if TYPE_CHECKING:
    import torch

MAP = "map"
Place = int | str
_MASK = "attention_mask"
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_LIMIT = re.compile(rf"([0-9]+|[a-z]+)=([0-9]+(?:\.[0-9]+)?)({'|'.join(_UNITS)})")


@dataclass(frozen=True)
class Spread:
    """Devices that a model may be spread over: numbers of GPUs, and "cpu". limits: bytes of weights
    that one may have; those that aren't named have what is free, but for `SHARE` of it."""

    limits: Mapping[Place, int]

    def room(self) -> dict[Place, int]:
        """Bytes of weights for each device that is there. UsageError if there is no such one."""
        from accelerate.utils import get_max_memory

        found: dict[Place, int] = {
            place: int(size * (1 - SHARE)) for place, size in get_max_memory().items()
        }
        for place in self.limits:
            if place not in found:
                raise UsageError(
                    f"--device {MAP} limits device {place}, and there is none",
                    hint=f"devices are {', '.join(map(str, found))}",
                )
        return found | dict(self.limits)


def is_map(device: str) -> bool:
    """Whether a name of a device means several."""
    return device.partition(":")[0] == MAP


def spread_of(device: str) -> Spread | None:
    """What `map`, or `map:0=20GiB,cpu=64GiB`, means; None for another device.

    UsageError if a limit isn't one.
    """
    if not is_map(device):
        return None
    _, colon, limits = device.partition(":")
    return Spread(dict(map(_limit, limits.split(","))) if colon else {})


def _limit(text: str) -> tuple[Place, int]:
    found = _LIMIT.fullmatch(text.strip())
    if found is None:
        raise UsageError(
            f"--device {MAP}: expected limits such as 0=20GiB,cpu=64GiB, found {text!r}"
        )
    place, number, unit = found.groups()
    return int(place) if place.isdecimal() else place, int(float(number) * _UNITS[unit])


def places(model: Any) -> list[Place] | None:
    """Where the parts of a model lie, in their order; None if it is on one device as a whole."""
    found = getattr(model, "hf_device_map", None)
    if not found or not hasattr(model, "_hf_hook"):
        return None
    return list(dict.fromkeys(found.values()))


def device_of(model: Any) -> torch.device:
    """Where a model's input goes, and its output comes from."""
    import torch

    if places(model) is None:
        found: torch.device = model.device
        return found
    return torch.device(model._hf_hook.execution_device)


def place_of(model: Any) -> str:
    """Where a model is, in words."""
    spread = places(model)
    return str(model.device) if spread is None else f"{MAP}: {', '.join(map(str, spread))}"


def on_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor on a device. (`Tensor.to` is a call of the library also where it is there.)"""
    return tensor if tensor.device == device else tensor.to(device)


def computes_on_one(model: Any) -> bool:
    """Whether all layers are computed on one device, wherever their weights lie."""
    return len({*(places(model) or ())} - {"cpu", "disk"}) < 2


def leave_masks(model: Any, *, leave: bool) -> None:
    """Have hooks hand on masks as they are, or bring them to their layers' devices.

    What the attention over token trees is given as a mask has no contents, and says by an attribute
    what it means (`lmfst.lm.attention.seen_by`), which would stay behind.
    """
    for module in model.modules():
        hook = getattr(module, "_hf_hook", None)
        if hook is None or not hasattr(hook, "skip_keys"):
            continue
        keys = hook.skip_keys or []
        others = [key for key in ([keys] if isinstance(keys, str) else keys) if key != _MASK]
        hook.skip_keys = [*others, _MASK] if leave else others


@contextmanager
def weights_here(module: Any) -> Iterator[None]:
    """In the block a module's own weights can be read, wherever they lie."""
    if not any(weight.is_meta for weight in module.parameters(recurse=False)):
        yield
        return
    from accelerate.utils import align_module_device

    with align_module_device(module):
        yield
