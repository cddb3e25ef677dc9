"""Compiled layers give the same numbers."""

from __future__ import annotations

import shutil
from copy import deepcopy

import pytest
import torch
import transformers

from lmfst.ground.errors import ModelError
from lmfst.lm.compiled import compile_layers
from lmfst.lm.transformers import TransformersLM
from tests.support.oracle import make_vocab
from tests.support.tiny import llama

CONFIG = llama(20, layers=2)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiled_layers_give_the_same_rows() -> None:
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(CONFIG).eval()
    compiled = deepcopy(model)
    compile_layers(compiled)
    vocab = make_vocab([b"a", b"b", b"ab"], extra=16)
    contexts = [(), (0,), (1, 2, 0), (0, 1, 2, 0, 1, 2, 0, 0)]
    rows = [TransformersLM(m, vocab, bos=3).next_logp(contexts) for m in (model, compiled)]
    torch.testing.assert_close(torch.as_tensor(rows[0]), torch.as_tensor(rows[1]))


def test_a_model_without_layers_is_an_error() -> None:
    with pytest.raises(ModelError, match="finds no layers in a Linear"):
        compile_layers(torch.nn.Linear(2, 2))


def test_a_failure_of_the_compiler_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    model = transformers.AutoModelForCausalLM.from_config(CONFIG).eval()

    def fail(*args: object, **options: object) -> None:
        raise RuntimeError("no compiler\nand so on")

    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **options: None)
    monkeypatch.setattr(type(model), "forward", fail)
    with pytest.raises(ModelError, match=r"torch.compile failed: no compiler\n  hint"):
        compile_layers(model)
