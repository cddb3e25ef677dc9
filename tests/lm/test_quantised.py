"""Folders with quantised weights: read as their dequantised weights, or refused with the reason."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lmfst.ground.errors import ModelError
from lmfst.lm import quantised
from lmfst.lm.load import load_lm
from lmfst.lm.spread import Spread
from lmfst.lm.transformers import TransformersLM
from tests.support.paths import REPOSITORY
from tests.support.tiny import change, make_folder

WEIGHTS = "model.safetensors"
CONTEXTS = [[100, 101, 102, 103, 100, 5, 60][:i] for i in range(8)]
BITS4 = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
BITS8 = {"quant_method": "bitsandbytes", "load_in_8bit": True}
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [8, 8]}
PACKED = {
    "quant_method": "compressed-tensors",
    "format": "pack-quantized",
    "quantization_status": "compressed",
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {
                "num_bits": 4,
                "type": "int",
                "strategy": "group",
                "group_size": 8,
                "symmetric": True,
            },
        }
    },
    "ignore": ["lm_head"],
}
Tensors = dict[str, torch.Tensor]


def without(module: str) -> pytest.MarkDecorator:
    """Left out where a package isn't installed. (It isn't imported here.)"""
    return pytest.mark.skipif(find_spec(module) is None, reason=f"needs {module}")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_folder(tmp_path_factory.mktemp("quantised") / "plain")
    # Larger ones: a model of weights near 0 says little.
    weights = load_file(made / WEIGHTS)
    torch.manual_seed(1)
    for name, weight in weights.items():
        if "norm" not in name:
            weights[name] = torch.randn_like(weight) * 0.3
    save(weights, made)
    return made


def save(weights: Tensors, folder: Path) -> None:
    save_file(
        {name: weight.contiguous() for name, weight in weights.items()},
        folder / WEIGHTS,
        metadata={"format": "pt"},
    )


def copy(plain: Path, to: Path, weights: Tensors | None = None, **config: Any) -> Path:
    """The folder with other weights, and keys of its configuration."""
    shutil.copytree(plain, to)
    change(to / "config.json", **config)
    if weights is not None:
        save(weights, to)
    return to


def rows(lm: TransformersLM, contexts: list[list[int]] = CONTEXTS) -> np.ndarray:
    """Log-probabilities, nats [contexts, vocabulary]."""
    found = np.asarray(lm.next_logp(contexts), dtype=np.float64)
    return found - np.logaddexp.reduce(found, axis=1)[:, None]


def load(folder: Path, **options: Any) -> TransformersLM:
    def warn(message: str) -> None:
        raise AssertionError(message)

    found = load_lm(str(folder), warn=warn, **options)
    assert isinstance(found, TransformersLM) and found.tree
    return found


# What is refused.


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (BITS4, ["bitsandbytes"]),
        (BITS8, ["bitsandbytes"]),
        ({"load_in_8bit": True}, ["bitsandbytes"]),
        ({"quant_method": "gptq", "bits": 4}, ["optimum", "gptqmodel"]),
        ({"quant_method": "awq", "bits": 4}, ["gptqmodel"]),
        (PACKED, ["compressed-tensors"]),
        (FP8, ["accelerate"]),
    ],
)
def test_what_is_missing_is_named(
    plain: Path, tmp_path: Path, config: Any, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantised, "find_spec", lambda name: None)
    folder = copy(plain, tmp_path / "model", quantization_config=config)
    with pytest.raises(ModelError) as caught:
        load_lm(str(folder))
    method = config.get("quant_method", "bitsandbytes")
    assert f"quantised as {method}" in caught.value.message
    assert "not installed" in caught.value.message
    assert all(name in caught.value.message for name in names)
    assert caught.value.hint.startswith(f"pip install {names[0]}")


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"quant_method": "eetq"}, "kernels from a hub"),
        ({"quant_method": "metal"}, "kernels from a hub"),
        ({"quant_method": "nvfp4"}, "kernels from a hub"),
        ({"quant_method": "magic"}, "'magic', which transformers can't read"),
        ({"quant_method": "gguf"}, "'gguf', which transformers can't read"),
        ({"quant_method": "bitsandbytes"}, "load_in_4bit or load_in_8bit"),
        ({"quant_method": 5}, "doesn't say how"),
        ({"bits": 4}, "found {'bits': 4}"),
        ("awq", "found awq"),
        ([1], "doesn't say how"),
        ({}, "doesn't say how"),
    ],
)
def test_what_cannot_be_read_is_refused(
    plain: Path, tmp_path: Path, config: Any, told: str
) -> None:
    folder = copy(plain, tmp_path / "model", quantization_config=config)
    with pytest.raises(ModelError) as caught:
        load_lm(str(folder))
    assert told in caught.value.message
    assert caught.value.hint


def test_a_format_that_nobody_has_tried_is_told(plain: Path, tmp_path: Path) -> None:
    folder = copy(plain, tmp_path / "model", quantization_config={"quant_method": "bitnet"})
    told: list[str] = []
    # The weights aren't in that format.
    with pytest.raises(ModelError):
        load_lm(str(folder), warn=told.append)
    assert any("quantised as bitnet, which hasn't been tried" in one for one in told)


@pytest.mark.parametrize(
    ("place", "told"), [(Spread({}), "--device map"), (torch.device("mps"), "kernels from a hub")]
)
def test_where_bitsandbytes_cannot_be(place: Any, told: str) -> None:
    config = SimpleNamespace(quantization_config=dict(BITS4))
    with pytest.raises(ModelError, match=told):
        quantised.Weights(config, torch.float32, place)


def test_plain_weights_are_left_as_they_are() -> None:
    config = SimpleNamespace()
    assert quantised.Weights(config, torch.float32, torch.device("cpu")).arguments == {}
    assert vars(config) == {}


# What is dequantised when it is loaded.


def projections(weights: Tensors) -> list[str]:
    return [name for name in weights if "proj" in name]


def fp8(weights: Tensors) -> tuple[Tensors, Tensors]:
    """Weights in blocks of 8 × 8 with a scale each, and the same dequantised."""
    stored, read, block = dict(weights), dict(weights), 8
    for name in projections(weights):
        weight = weights[name]
        out, into = weight.shape
        blocks = weight.view(out // block, block, into // block, block)
        scale = blocks.abs().amax((1, 3)) / 448
        whole = scale.repeat_interleave(block, 0).repeat_interleave(block, 1)
        stored[name] = (weight / whole).to(torch.float8_e4m3fn)
        stored[f"{name}_scale_inv"] = scale
        read[name] = stored[name].float() * whole
    return stored, read


def packed(weights: Tensors) -> tuple[Tensors, Tensors]:
    """Weights of 4 bits in groups of 8 with a scale each, and the same dequantised."""
    pack = importlib.import_module("compressed_tensors.compressors").pack_to_int32
    stored, read, group = dict(weights), dict(weights), 8
    for name in projections(weights):
        weight = weights[name]
        out, into = weight.shape
        groups = weight.view(out, into // group, group)
        scale = groups.abs().amax(2) / 7
        whole = (groups / scale[:, :, None]).round().clamp(-8, 7)
        base = name.removesuffix(".weight")
        del stored[name]
        stored[f"{base}.weight_packed"] = pack(whole.view(out, into).to(torch.int8), 4)
        stored[f"{base}.weight_scale"] = scale
        stored[f"{base}.weight_shape"] = torch.tensor([out, into])
        read[name] = (whole * scale[:, :, None]).view(out, into)
    return stored, read


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("rest", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("config", "store"),
    [(FP8, fp8), pytest.param(PACKED, packed, marks=without("compressed_tensors"))],
)
def test_formats_that_become_plain_weights(
    plain: Path,
    tmp_path: Path,
    config: dict[str, Any],
    store: Callable[[Tensors], tuple[Tensors, Tensors]],
    dtype: str,
    rest: torch.dtype,
) -> None:
    weights = load_file(plain / WEIGHTS)
    for name in set(weights) - set(projections(weights)):
        weights[name] = weights[name].to(rest)
    stored, read = store(weights)
    # Other weights have a type of their own, as such models have.
    one = load(copy(plain, tmp_path / "one", stored, quantization_config=config), dtype=dtype)
    other = load(copy(plain, tmp_path / "other", read), dtype=dtype)
    np.testing.assert_allclose(rows(one), rows(other), atol=1e-6 if dtype == "float32" else 1e-2)
    assert np.abs(rows(one) - rows(load(plain, dtype=dtype))).max() > 1e-2
    assert {weight.dtype for weight in one.model.parameters()} == {getattr(torch, dtype)}
    assert one._head is not None


def test_dequantised_weights_are_not_rounded_where_nothing_says_to_what(
    plain: Path, tmp_path: Path
) -> None:
    weights = load_file(plain / WEIGHTS)
    for name in set(weights) - set(projections(weights)):
        weights[name] = weights[name].to(torch.bfloat16)
    folder = copy(plain, tmp_path / "m", fp8(weights)[0], quantization_config=FP8)
    found = json.loads((folder / "config.json").read_text())
    del found["dtype"]
    (folder / "config.json").write_text(json.dumps(found))
    lm = load(folder, dtype="auto")
    assert lm.describe()["dtype"] == "float32"
    np.testing.assert_array_equal(rows(lm), rows(load(folder, dtype="float32")))


# bitsandbytes: its layers' own products are left out.


class FakeBits8(torch.nn.Linear):
    """A layer as bitsandbytes has them, of 8 bits."""

    def __init__(self, whole: torch.nn.Linear) -> None:
        super().__init__(whole.in_features, whole.out_features, bias=whole.bias is not None)
        largest = whole.weight.data.abs().amax(1)
        stored = (whole.weight.data / largest[:, None] * 127).round().to(torch.int8)
        self.weight = torch.nn.Parameter(stored, requires_grad=False)
        self.weight.SCB = largest  # type: ignore[attr-defined]
        self.read = stored.float() * largest[:, None] / 127
        if whole.bias is not None:
            self.bias = whole.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise AssertionError("its own product was asked for")


class FakeBits4(torch.nn.Module):
    support_avx512bf16_for_cpu = True


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("bitsandbytes")
    package.nn = SimpleNamespace(  # type: ignore[attr-defined]
        Linear8bitLt=FakeBits8, Linear4bit=FakeBits4
    )
    monkeypatch.setitem(sys.modules, "bitsandbytes", package)


class Two(torch.nn.Module):
    """A layer, and an output layer."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.body = FakeBits8(torch.nn.Linear(6, 4, bias=bias))
        self.other = FakeBits4()
        self.head = FakeBits8(torch.nn.Linear(4, 3, bias=bias))

    def get_output_embeddings(self) -> Any:
        return self.head


@pytest.mark.parametrize("bias", [False, True])
def test_products_are_those_of_dequantised_weights(fake: None, bias: bool) -> None:
    model = Two(bias)
    body, head = model.body, model.head
    config = SimpleNamespace(quantization_config=dict(BITS8))
    weights = quantised.Weights(config, torch.float32, torch.device("cpu"))
    assert weights.arguments == {"device_map": {"": torch.device("cpu")}}
    assert config.quantization_config["bnb_4bit_compute_dtype"] == "float32"
    assert weights.settled(model) is model
    x = torch.randn(5, 6)
    linear = torch.nn.functional.linear
    torch.testing.assert_close(model.body(x), linear(x, body.read, body.bias))
    assert type(model.head) is torch.nn.Linear
    assert (model.head.in_features, model.head.out_features) == (4, 3)
    y = torch.randn(2, 4)
    torch.testing.assert_close(model.head(y), linear(y, head.read, head.bias))
    assert model.other.support_avx512bf16_for_cpu is False


def test_kernels_of_a_hub_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    held = ModuleType("kernels")
    monkeypatch.setitem(sys.modules, "kernels", held)
    with quantised._without_kernels(), pytest.raises(ImportError):
        importlib.import_module("kernels")
    assert importlib.import_module("kernels") is held


def test_a_package_that_cannot_be_imported_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    config = SimpleNamespace(quantization_config=dict(BITS8))
    with pytest.raises(ModelError, match="the package bitsandbytes can't be loaded"):
        quantised.Weights(config, torch.float32, torch.device("cpu"))


# The real package.

KERNELS = """
import os, pathlib
def get_kernel(name, *args, **kwargs):
    pathlib.Path(os.environ["MARKERS"], "fetched").touch()
    raise FileNotFoundError(name)
"""
QUANTISE = """
import json, sys, torch, transformers
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
plain, folder = sys.argv[1:3]
for name, options in json.loads(sys.argv[3]).items():
    model = AutoModelForCausalLM.from_pretrained(
        plain, quantization_config=BitsAndBytesConfig(**options), dtype=torch.float32
    )
    model.save_pretrained(f"{folder}/{name}")
"""
READ = """
import json, sys, numpy, lmfst
for name in json.loads(sys.argv[2]):
    lm = lmfst.load_lm(f"{sys.argv[1]}/{name}")
    numpy.save(f"{sys.argv[1]}/{name}/rows.npy", lm.next_logp(json.loads(sys.argv[3])))
    print(lm.tree, lm._head is not None, lm.vocab.size)
"""
BITS = {
    "bfloat16": BITS4 | {"bnb_4bit_compute_dtype": "bfloat16"},
    "double": BITS4 | {"bnb_4bit_use_double_quant": True},
    "eight": BITS8,
    "head-of-4": BITS4 | {"llm_int8_skip_modules": ["none"]},
    "head-of-8": BITS8 | {"llm_int8_skip_modules": ["none"]},
}


def run(code: str, *arguments: str | Path, **environment: str) -> tuple[str, str]:
    """What a Python program has written, on both streams."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def bits(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """Folders by bitsandbytes, with the rows that lmfst reads; what it has said; what was fetched
    from a hub."""
    folder = tmp_path_factory.mktemp("bits")
    for name in BITS:
        copy(plain, folder / name)
    options = {
        name: {key: value for key, value in config.items() if key != "quant_method"}
        for name, config in BITS.items()
    }
    run(QUANTISE, plain, folder, json.dumps(options))
    site, markers = folder / "site", folder / "markers"
    site.mkdir()
    markers.mkdir()
    (site / "kernels.py").write_text(KERNELS)
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    given = json.dumps(list(BITS)), json.dumps(CONTEXTS)
    out, err = run(READ, folder, *given, PYTHONPATH=path, MARKERS=str(markers))
    return folder, out + err, " ".join(os.listdir(markers))


def dequantised(folder: Path) -> Tensors:
    """The weights of a folder of bitsandbytes', by its own functions."""
    functional = importlib.import_module("bitsandbytes.functional")
    stored = load_file(folder / WEIGHTS)
    read: Tensors = {}
    for name, weight in stored.items():
        if not name.endswith(".weight"):
            continue
        scale = stored.get(f"{name.removesuffix('.weight')}.SCB")
        parts = {k.removeprefix(f"{name}."): v for k, v in stored.items() if f"{name}." in k}
        if scale is not None:
            read[name] = weight.float() * scale.float()[:, None] / 127
        elif parts:
            state = functional.QuantState.from_dict(parts, device=torch.device("cpu"))
            read[name] = functional.dequantize_4bit(weight, state).float()
        else:
            read[name] = weight
    return read


@without("bitsandbytes")
@pytest.mark.slow
def test_bitsandbytes_says_and_fetches_nothing(bits: tuple[Path, str, str]) -> None:
    _, said, fetched = bits
    assert said == "True True 259\n" * len(BITS)
    assert fetched == ""


@without("bitsandbytes")
@pytest.mark.slow
@pytest.mark.parametrize("name", BITS)
def test_bitsandbytes(bits: tuple[Path, str, str], plain: Path, tmp_path: Path, name: str) -> None:
    small = bits[0] / name
    assert "quantization_config" in json.loads((small / "config.json").read_text())
    found = np.load(small / "rows.npy").astype(np.float64)
    found -= np.logaddexp.reduce(found, axis=1)[:, None]
    expected = load(copy(plain, tmp_path / "read", dequantised(small)))
    np.testing.assert_allclose(found, rows(expected), atol=1e-5)
    assert np.abs(found - rows(load(plain))).max() > 1e-3
