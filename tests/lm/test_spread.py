"""Models spread over devices: the processor's memory and the disk, since there is no GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lmfst
from lmfst.ground.errors import ModelError, UsageError
from lmfst.lm import load_lm
from lmfst.lm.spread import spread_of
from tests.support.tiny import llama, make_folder

TEXTS = ["the cat sat", "on the mat", "", "a"]


@pytest.fixture(scope="module", params=["untied", "tied"])
def folder(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of six layers."""
    import torch
    import transformers

    path = make_folder(tmp_path_factory.mktemp("spread"))
    torch.manual_seed(1)
    settings = llama(259, layers=6)
    settings.tie_word_embeddings = request.param == "tied"
    transformers.LlamaForCausalLM(settings).save_pretrained(path)
    return path


def logp(folder: Path, device: str, warnings: list[str] | None = None) -> list[float]:
    told = warnings if warnings is not None else []
    model = lmfst.load(str(folder), device=device, policy="beam", warn=told.append)
    return [found.logp for found in model.score(TEXTS)]


@pytest.mark.parametrize("room", ["60KB", "40KB", "1KB"])
def test_numbers_are_those_of_one_device(folder: Path, room: str) -> None:
    """Whatever lies on the disk: some layers, with the head or without, or everything."""
    warnings: list[str] = []
    assert logp(folder, f"map:cpu={room}", warnings) == pytest.approx(logp(folder, "cpu"), abs=1e-5)
    assert not [said for said in warnings if "token tree" in said]
    lm = load_lm(str(folder), device=f"map:cpu={room}")
    assert "disk" in lm.describe()["device"]
    assert lm.tree  # type: ignore[attr-defined]


def test_a_model_that_fits_is_on_one_device(folder: Path) -> None:
    lm = load_lm(str(folder), device="map")
    assert lm.describe()["device"] == "cpu"


def test_whole_contexts(folder: Path) -> None:
    contexts = [[5, 6, 7], [8], [5, 6]]
    rows = [
        np.asarray(load_lm(str(folder), device=device, tree=False).next_logp(contexts))
        for device in ("map:cpu=40KB", "cpu")
    ]
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-5)


def test_masks_and_calls_go_to_the_devices_of_layers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hooks hand on copies, as if each layer had a device of its own: marks that stand on the
    originals alone must not be lost."""
    from accelerate import hooks

    expected, moved = logp(folder, "cpu"), 0
    real = hooks.send_to_device

    def send(tensor: Any, device: Any, *rest: Any, skip_keys: Any = None, **more: Any) -> Any:
        nonlocal moved
        if isinstance(tensor, dict):
            sent = {
                key: value if key in (skip_keys or []) else send(value, device)
                for key, value in tensor.items()
            }
            return type(tensor)(**sent)
        if isinstance(tensor, tuple):
            return tuple(send(value, device) for value in tensor)
        if hasattr(tensor, "clone"):
            moved += 1
            return tensor.clone()
        return real(tensor, device, *rest, skip_keys=skip_keys, **more)

    monkeypatch.setattr(hooks, "send_to_device", send)
    warnings: list[str] = []
    assert logp(folder, "map:cpu=40KB", warnings) == pytest.approx(expected, abs=1e-5)
    assert moved > 100 and not [said for said in warnings if "token tree" in said]


def test_a_call_on_another_device() -> None:
    """Made once for a device; layers are written once, wherever they are."""
    import torch

    from lmfst.lm.attention import Block, Call, KeyValueStore

    def numbers(*size: int) -> torch.Tensor:
        return torch.zeros(size, dtype=torch.long)

    block = Block(slice(0, 2), numbers(1, 2), None, torch.zeros(1, 1, 2, 2), (numbers(1, 2),) * 2)
    call = Call(KeyValueStore(), numbers(2), [block], numbers(2), numbers(2))
    there = call.on(torch.device("meta"))
    assert call.on(torch.device("cpu")) is call
    assert call.on(torch.device("meta")) is there
    tensors = [there.slots, there.queries, there.answers]
    tensors += [there.blocks[0].context, there.blocks[0].mask_for(1, 2), *there.blocks[0].positions]
    assert all(tensor is not None and tensor.is_meta for tensor in tensors)
    assert there.written is call.written and there.store is call.store


def test_damaged_weights_are_found_on_the_disk(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = tmp_path / "damaged"
    path.mkdir()
    for file in folder.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    weights = load_file(path / "model.safetensors")
    weights["model.layers.5.mlp.up_proj.weight"][3, 3] = float("nan")
    save_file(weights, path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"hold NaN: model\.layers\.5\.mlp\.up_proj"):
        load_lm(str(path), device="map:cpu=40KB")


def test_limits() -> None:
    found = spread_of("map:0=2GiB, cpu=1MB")
    assert found is not None and found.limits == {0: 2 << 30, "cpu": 10**6}
    assert spread_of("map") is not None and spread_of("cuda:1") is None
    for wrong in ("map:", "map:cpu", "map:cpu=much", "map:=1GiB", "map:0=2GiB,"):
        with pytest.raises(UsageError, match="expected limits such as 0=20GiB,cpu=64GiB"):
            spread_of(wrong)


def test_devices_that_are_not_there(folder: Path) -> None:
    with pytest.raises(UsageError, match="limits device 7, and there is none") as caught:
        load_lm(str(folder), device="map:7=1GiB")
    assert "cpu" in caught.value.hint
    with pytest.raises(UsageError, match="--compile and --device map"):
        load_lm(str(folder), device="map", compiled=True)
