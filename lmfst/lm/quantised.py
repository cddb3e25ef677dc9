"""Folders with quantised weights: `quantization_config` in `config.json`, read or refused.

The numbers are those of the weights as they are stored, dequantised and multiplied in the type that
`--dtype` asks for: inputs of layers aren't rounded. A format either becomes plain weights when it
is loaded (fp8, mxfp4, mxfp8, compressed-tensors), or stays small and is dequantised layer by layer
at every call (bitsandbytes), or is left to the library that its author wrote (GPTQ, AWQ), whose
products are of its own. No format has kernels from a hub: not bitsandbytes either, which asks for
some by itself where the package `kernels` is installed.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from lmfst.ground.errors import ModelError
from lmfst.ground.types import Warn
from lmfst.lm.files import CONFIG, ModelFiles, not_loaded
from lmfst.lm.spread import Spread

if TYPE_CHECKING:
    import torch

KEY, METHOD = "quantization_config", "quant_method"
BITSANDBYTES = "bitsandbytes"
NEEDS = {
    BITSANDBYTES: {"bitsandbytes": "bitsandbytes", "accelerate": "accelerate"},
    "gptq": {"optimum": "optimum", "gptqmodel": "gptqmodel"},
    "awq": {"gptqmodel": "gptqmodel", "accelerate": "accelerate"},
    "compressed-tensors": {"compressed_tensors": "compressed-tensors"},
    "fp8": {"accelerate": "accelerate"},
    "mxfp8": {"accelerate": "accelerate"},
    "mxfp4": {"accelerate": "accelerate"},
}
"""Format → modules that reading it takes → what they are installed as."""
DEQUANTISED = ("fp8", "mxfp8", "mxfp4", "compressed-tensors")
"""Formats that the library turns into plain weights when it loads them."""
TRIED = ("bitsandbytes", "compressed-tensors", "fp8")
"""Formats whose numbers were compared with those of dequantised weights."""
FROM_HUBS = ("eetq", "metal", "nvfp4")
"""Formats whose products are kernels from a hub."""
_OTHERWISE = (
    "take the weights before they were quantised, a GGUF file of the model, or one of the formats "
    f"{', '.join(sorted(NEEDS))}"
)


def require_readable(files: ModelFiles, warn: Warn) -> None:
    """ModelError for weights in a format that can't be read here, with the reason; a warning for
    one that nobody has tried with lmfst."""
    found = files.read(CONFIG) or {}
    if found.get(KEY) is None:
        return
    method = _method(files, found[KEY])
    if method in FROM_HUBS:
        raise ModelError(
            f"the weights of {files.name} are quantised as {method}, which takes kernels from a "
            "hub, and lmfst runs none",
            hint=_OTHERWISE,
        )
    if method not in NEEDS:
        _require_known(files, method)
    absent = [name for module, name in NEEDS.get(method, {}).items() if find_spec(module) is None]
    if absent:
        raise ModelError(
            f"the weights of {files.name} are quantised as {method}, and reading them takes "
            f"{' and '.join(absent)}, which {'are' if len(absent) > 1 else 'is'} not installed",
            hint=f"pip install {' '.join(absent)}; or {_OTHERWISE}",
        )
    if method not in TRIED:
        warn(
            f"the weights of {files.name} are quantised as {method}, which hasn't been tried with "
            "lmfst: compare some numbers with those of transformers"
        )


def _method(files: ModelFiles, given: Any) -> str:
    """The format that a configuration names."""
    method = given.get(METHOD) if isinstance(given, Mapping) else None
    if isinstance(given, Mapping) and _is_bitsandbytes(given):
        # The library goes by these, as older files have no method.
        return BITSANDBYTES
    if not isinstance(method, str) or method in ("", BITSANDBYTES):
        raise ModelError(
            f"{KEY} in {CONFIG} of {files.name} doesn't say how the weights are quantised: "
            f"expected an object with {METHOD!r}, and load_in_4bit or load_in_8bit if that is "
            f"{BITSANDBYTES}, found {str(given)[:60]}",
            hint="copy the file again; remove the key only if the weights are plain numbers",
        )
    return method


def _require_known(files: ModelFiles, method: str) -> None:
    """ModelError for a format that the library doesn't know: it would read the weights as if they
    were plain numbers."""
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

    if method not in AUTO_QUANTIZATION_CONFIG_MAPPING or method == "gguf":
        raise ModelError(
            f"the weights of {files.name} are quantised as {method!r}, which transformers can't "
            "read from a folder",
            hint=f"a newer transformers may know it; or {_OTHERWISE}",
        )


class Weights:
    """Quantised weights of a model that is to be loaded, or plain ones.

    dtype, arguments: what `from_pretrained` is given. `config` is made to have weights read as
    numbers of `dtype` ("auto": float32), or multiplied as such. place: the device, or those that
    the model is spread over. ModelError where a format can't be there.
    """

    def __init__(
        self,
        config: Any,
        dtype: torch.dtype | Literal["auto"],
        place: torch.device | Spread,
    ) -> None:
        import torch

        self._place = place
        self._dtype = torch.float32 if dtype == "auto" else dtype
        self._kind: Literal["", "dequantised", "bitsandbytes"] = ""
        self.dtype = dtype
        self.arguments: dict[str, Any] = {}
        held = getattr(config, KEY, None)
        if not isinstance(held, Mapping):
            return
        if held.get(METHOD) in DEQUANTISED:
            self._kind = "dequantised"
            # "auto" would dequantise into the type of what is stored beside, and round.
            self.dtype = self._dtype
            config.quantization_config = {**held, "dequantize": True}
        elif _is_bitsandbytes(held):
            self._kind, self.dtype = "bitsandbytes", self._dtype
            config.quantization_config = {**held, "bnb_4bit_compute_dtype": _name(self._dtype)}
            # Such a model can't be moved later.
            self.arguments = {"device_map": {"": _device(place)}}
            _import_bitsandbytes()

    def settled(self, model: Any) -> Any:
        """The model that was loaded, on its device, with products of its dequantised weights.

        ModelError for an output layer whose weights can't be read.
        """
        if self._kind:
            _cast(model, self._dtype)
        if self._kind == "bitsandbytes":
            _multiply(model, self._dtype)
            return model
        _require_head(model)
        return model if isinstance(self._place, Spread) else model.to(self._place)


def _device(place: torch.device | Spread) -> torch.device:
    """A device that bitsandbytes' weights can be on."""
    if isinstance(place, Spread):
        raise ModelError(
            f"weights that are quantised by {BITSANDBYTES} can't be spread by --device map",
            hint="name one device, such as cuda:0",
        )
    if place.type == "mps":
        raise ModelError(
            f"{BITSANDBYTES} takes kernels from a hub on mps, and lmfst runs none",
            hint="use --device cpu",
        )
    return place


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _multiply(model: Any, dtype: torch.dtype) -> None:
    """Have layers of bitsandbytes multiply by their dequantised weights."""
    import bitsandbytes

    head = model.get_output_embeddings()
    for name, layer in list(model.named_modules()):
        if not isinstance(layer, bitsandbytes.nn.Linear8bitLt | bitsandbytes.nn.Linear4bit):
            continue
        if layer is head:
            model.set_submodule(name, _plain(layer, dtype))
        elif isinstance(layer, bitsandbytes.nn.Linear8bitLt):
            # Its own product rounds inputs to 8 bits, but for columns that are large in whatever
            # is read together: a row would depend on what else a call is about.
            layer.forward = partial(_product, layer)
        else:
            # Else some processors multiply in bfloat16, whatever is asked for.
            layer.support_avx512bf16_for_cpu = False


def _cast(model: Any, dtype: torch.dtype) -> None:
    """Weights that aren't quantised as numbers of one type: beside others that are, the library
    leaves them as they are stored, and dequantised ones have the type of their scales."""
    kept = tuple(getattr(model, "_keep_in_fp32_modules", None) or ())
    for name, weight in model.named_parameters():
        stored = type(weight).__name__ in ("Params4bit", "Int8Params")
        if weight.is_floating_point() and not stored and not any(part in name for part in kept):
            weight.data = weight.data.to(dtype)


def _is_bitsandbytes(given: Mapping[str, Any]) -> bool:
    """Whether the library takes a configuration for that of bitsandbytes."""
    return bool(given.get("load_in_4bit") or given.get("load_in_8bit"))


def _weight(layer: Any) -> torch.Tensor:
    """The weight of a layer of bitsandbytes, dequantised, [out, in]."""
    import bitsandbytes

    weight = layer.weight
    if isinstance(layer, bitsandbytes.nn.Linear8bitLt):
        # From -127 to 127 for the largest of a row.
        return weight.data.float() * (weight.SCB.float() / 127)[:, None]
    found: torch.Tensor = bitsandbytes.functional.dequantize_4bit(weight.data, weight.quant_state)
    return found


def _product(layer: Any, x: torch.Tensor) -> torch.Tensor:
    import torch

    bias = None if layer.bias is None else layer.bias.to(x.dtype)
    return torch.nn.functional.linear(x, _weight(layer).to(x.dtype), bias)


def _plain(layer: Any, dtype: torch.dtype) -> torch.nn.Linear:
    """The same layer with plain weights."""
    import torch

    weight = _weight(layer).to(dtype)
    made = torch.nn.Linear(1, 1, bias=layer.bias is not None, device="meta")
    made.out_features, made.in_features = weight.shape
    made.weight = torch.nn.Parameter(weight, requires_grad=False)
    if layer.bias is not None:
        made.bias = torch.nn.Parameter(layer.bias.detach().to(dtype), requires_grad=False)
    return made


def _import_bitsandbytes() -> None:
    """Import the package as one that takes no kernels from a hub, and says nothing of each product.

    ModelError if it can't be imported.
    """
    logging.getLogger(BITSANDBYTES).setLevel(logging.ERROR)
    try:
        with _without_kernels():
            import bitsandbytes  # noqa: F401
    except Exception as error:  # its binaries fit some machines only
        raise not_loaded(f"the package {BITSANDBYTES}", error) from error


@contextmanager
def _without_kernels() -> Iterator[None]:
    """In the block the package `kernels` can't be imported."""
    before = sys.modules.get("kernels")
    sys.modules["kernels"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["kernels"]
        if before is not None:
            sys.modules["kernels"] = before


def _require_head(model: Any) -> None:
    import torch

    head = model.get_output_embeddings()
    weight = getattr(head, "weight", None)
    if head is None or (isinstance(weight, torch.Tensor) and weight.is_floating_point()):
        return
    raise ModelError(
        "the output layer of the model is quantised in a way that lmfst can't read",
        hint=_OTHERWISE,
    )
