"""Names of devices and number formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lmfst.cli.job_options import JobOptions, gpus_of_workers, placed
from lmfst.cli.model_options import ModelOptions
from lmfst.ground.errors import ModelError, UsageError
from lmfst.lm.devices import device_named
from lmfst.lm.load import load_lm
from lmfst.lm.sizes import ON_CPU, sizes_on
from lmfst.lm.transfers import exact_place
from tests.support.tiny import make_folder


def test_auto_is_a_gpu_where_torch_sees_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_named("auto") == torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tried = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", lambda size, device: tried.append(device))
    assert device_named("auto") == torch.device("cuda") == tried[0]
    assert device_named("cpu") == torch.device("cpu")


def test_what_is_named_and_not_there_is_an_error() -> None:
    missing = "mps" if not torch.backends.mps.is_available() else "xpu"
    with pytest.raises(UsageError, match=f"--device '{missing}' can't be used here") as error:
        device_named(missing)
    assert "auto" in error.value.hint
    assert len(error.value.message) < 200


@pytest.mark.parametrize("name", ["meta", "hpu", "no such one"])
def test_what_computes_nothing_is_an_error(name: str) -> None:
    with pytest.raises(UsageError, match=f"--device '{name}' can't be used here"):
        device_named(name)


def test_a_gpu_that_is_there_and_of_no_use_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(size: int, device: torch.device) -> None:
        raise RuntimeError(f"CUDA error: {device} is busy or unavailable\nmore")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", busy)
    with pytest.raises(UsageError, match="cuda is busy or unavailable") as error:
        device_named("auto")
    assert "--device cpu" in error.value.hint


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_auto_is_the_checkpoints_own_format(dtype: str, tmp_path: Path) -> None:
    import transformers

    folder = make_folder(tmp_path / "m")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
    model.save_pretrained(folder)
    assert load_lm(str(folder), dtype="auto").describe()["dtype"] == dtype
    assert load_lm(str(folder)).describe()["dtype"] == "float32"
    # Where the configuration doesn't say it, the weights do.
    path = folder / "config.json"
    config = json.loads(path.read_text())
    assert config.pop("dtype") == dtype
    path.write_text(json.dumps(config))
    assert load_lm(str(folder), dtype="auto").describe()["dtype"] == dtype


def _job(**options: object) -> JobOptions:
    return JobOptions(**options)  # type: ignore[arg-type]


def test_workers_have_gpus_where_there_are_some(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ModelOptions()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert placed(model, _job()).device == "cpu"
    assert placed(model, _job(engine="ray")).device == "cpu"
    assert placed(model, _job(engine="ray", gpus_per_worker=0.5)).device == "cuda"
    assert placed(ModelOptions(device="mps"), _job()).device == "mps"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    # What has no worker holds no memory of a GPU.
    monkeypatch.setattr(torch, "zeros", None)
    assert placed(model, _job()).device == "cuda"
    assert placed(ModelOptions(device="cpu"), _job()).device == "cpu"


def test_a_gpu_with_a_number_is_one_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert gpus_of_workers("cuda") == ("4", "6")
    assert gpus_of_workers("cuda:1") == gpus_of_workers("map") == ()


def test_sums_are_exact_where_a_device_has_the_numbers() -> None:
    assert exact_place(torch.device("mps")) == torch.device("cpu")
    assert exact_place(torch.device("cuda", 1)) == torch.device("cuda", 1)


def test_a_gpu_gets_more_at_a_time() -> None:
    assert sizes_on(torch.device("cpu"), 49_152, 10**8, 4) == ON_CPU
    there = sizes_on(torch.device("cuda"), 49_152, 10**8, 4)
    assert there.product > ON_CPU.product and there.rows > 300 and there.halves == 80
    assert sizes_on(torch.device("cuda"), 10**7, 10**10, 4)[2:4] == (ON_CPU.rows, 2)
    assert sizes_on(torch.device("cuda"), 49_152, 10**8, 2).halves == 640
    assert sizes_on(torch.device("mps"), 49_152, 10**8, 4).halves is None


def test_a_model_that_does_not_fit_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Any, *where: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    folder = make_folder(tmp_path / "m")
    monkeypatch.setattr(torch.nn.Module, "to", full)
    with pytest.raises(ModelError, match="doesn't fit into the memory") as error:
        load_lm(str(folder), device="cpu")
    assert "--device map" in error.value.hint
