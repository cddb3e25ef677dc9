"""A lack of memory outside of model calls is said in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lmfst.inference.reduction import Reduction
from tests.support.cli import ARPA, call


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), MemoryError()]
)
def test_memory_that_lacks_is_an_error_in_words(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise error

    model = tmp_path / "m.arpa"
    model.write_text(ARPA)
    monkeypatch.setattr(Reduction, "add", full)
    done = call("convert", "--model", model, "--level", "text", input=b"a\n")
    assert done.code == 1
    assert "error: out of memory: " in done.err and "hint: share calls" in done.err


def test_other_errors_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("something else")

    model = tmp_path / "m.arpa"
    model.write_text(ARPA)
    monkeypatch.setattr(Reduction, "add", broken)
    with pytest.raises(RuntimeError, match="something else"):
        call("convert", "--model", model, "--level", "text", input=b"a\n")
