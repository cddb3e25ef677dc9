"""The models of a run on a device: each as lmfst's, and as transformers has it.

The second is the yardstick's, without any of lmfst's code in it.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import torch

from benchmark.counts import LETTERS, tiny_model
from lmfst.ground.temporary import scratch_folder
from lmfst.ground.types import DType
from lmfst.lm.default import dequantise
from lmfst.lm.load import load_lm
from lmfst.lm.transformers import TransformersLM
from lmfst.vocab import Encode, Vocab

BILLION = {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "tie_word_embeddings": True,
}
"""With the default model's vocabulary: 1.07 billion parameters."""
SMALL = BILLION | {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
SMALL |= {"num_attention_heads": 4, "num_key_value_heads": 2}


class Model(Protocol):
    """A model on a device, of any type of numbers. name: for the results."""

    name: str

    def lm(self, dtype: DType) -> TransformersLM:
        """lmfst's model."""

    def plain(self, dtype: DType) -> Any:
        """The library's model, which computes as the library does."""


class Files:
    """A model in a folder or a GGUF file. as_default: the file is that of the default model, of
    which a folder is made as lmfst makes it, with its own begin and ends. stack: has files that go
    with the run."""

    def __init__(self, path: Path, device: str, stack: ExitStack, *, as_default: bool) -> None:
        self.name, self._device = path.name, device
        self._given, self._as_default, self._stack = path, as_default, stack

    @cached_property
    def _path(self) -> Path:
        if not self._as_default:
            return self._given
        folder = Path(self._stack.enter_context(scratch_folder())) / self._given.stem
        folder.mkdir()
        dequantise(self._given, folder)
        return folder

    def lm(self, dtype: DType) -> TransformersLM:
        found = load_lm(
            str(self._path), dtype=dtype, device=self._device, warn=lambda message: None
        )
        if not isinstance(found, TransformersLM):
            raise SystemExit(f"{self._path} is no transformers model")
        return found

    def plain(self, dtype: DType) -> Any:
        from transformers import AutoModelForCausalLM

        where: dict[str, Any] = {"pretrained_model_name_or_path": str(self._path)}
        if self._path.is_file():
            where = {
                "pretrained_model_name_or_path": str(self._path.parent),
                "gguf_file": self._path.name,
            }
        model = AutoModelForCausalLM.from_pretrained(
            **where, dtype=getattr(torch, dtype), trust_remote_code=False
        )
        return model.to(self._device).eval()


class Random:
    """A llama model with random weights, made on the device by a seed. sizes: of its
    configuration. like: whose vocabulary it has."""

    def __init__(self, name: str, sizes: dict[str, Any], like: TransformersLM, device: str) -> None:
        self.name, self._sizes, self._device = name, sizes, device
        self._vocab, self._bos, self._encode = like.vocab, like.bos, like.canonical

    def lm(self, dtype: DType) -> TransformersLM:
        return TransformersLM(
            self.plain(dtype), self._vocab, bos=self._bos, encode=_as_encode(self._encode)
        )

    def plain(self, dtype: DType) -> Any:
        import transformers

        config = transformers.LlamaConfig(
            vocab_size=self._vocab.size,
            max_position_embeddings=2048,
            bos_token_id=self._bos,
            eos_token_id=self._vocab.eos[0],
            **self._sizes,
        )
        torch.manual_seed(1)
        before = torch.get_default_dtype()
        torch.set_default_dtype(getattr(torch, dtype))
        try:
            with torch.device(self._device):
                return transformers.LlamaForCausalLM(config).eval()
        finally:
            torch.set_default_dtype(before)


class Tiny:
    """The tiny random model of `benchmark.counts`, in place of the default model."""

    name = "tiny"

    def __init__(self, device: str) -> None:
        self._device = device

    def lm(self, dtype: DType) -> TransformersLM:
        made = tiny_model()
        model = self.plain(dtype)
        return TransformersLM(model, made.vocab, bos=made.bos, encode=partial(_pairs, made.vocab))

    def plain(self, dtype: DType) -> Any:
        import transformers

        made = tiny_model().model
        config = transformers.LlamaConfig.from_dict(made.config.to_dict())
        model = transformers.LlamaForCausalLM(config)
        model.load_state_dict(made.state_dict())
        return model.to(self._device, getattr(torch, dtype)).eval()


def _pairs(vocab: Vocab, text: str) -> Sequence[int]:
    """The tokens of a text of `LETTERS`: pairs, and the last letter by itself."""
    spelled = {bytes(t or b"").decode(): i for i, t in enumerate(vocab.token_bytes[0]) if t}
    if set(text) - set(LETTERS):
        return []
    return [spelled[text[i : i + 2]] for i in range(0, len(text), 2)]


def _as_encode(canonical: Callable[[bytes], Sequence[int] | None]) -> Encode:
    return lambda text: list(canonical(text.encode()) or [])


def joined(parts: Sequence[Path], stack: ExitStack) -> Path:
    """One file of several, in a folder that goes with the run."""
    name = parts[0].name.partition(".gguf")[0] + ".gguf"
    whole = Path(stack.enter_context(scratch_folder())) / name
    with whole.open("wb") as file:
        for part in parts:
            with part.open("rb") as piece:
                shutil.copyfileobj(piece, file)
    return whole


def digest_of(path: Path) -> str:
    """SHA-256 of a file, or of the weights of a folder."""
    content = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(path.glob("*.safetensors")):
        with file.open("rb") as opened:
            while block := opened.read(1 << 20):
                content.update(block)
    return content.hexdigest()


def tokens_of(lm: TransformersLM, texts: Sequence[str]) -> list[list[int]]:
    """The canonical tokens of texts, after what texts begin with. SystemExit where there are
    none."""
    found = []
    for text in texts:
        ids = lm.canonical(text.encode())
        if ids is None or lm.bos is None:
            raise SystemExit("the yardstick needs a tokenizer, and a token that texts begin with")
        found.append([lm.bos, *ids])
    return found


def teacher_forced(model: Any, tokens: Sequence[Sequence[int]], ends: Sequence[int]) -> list[float]:
    """log p of token strings and their ends, nats, all in one pass.

    Tokens after a string's own don't matter to it, so that no mask is needed, which is fastest.
    """
    device, most = model.device, max(map(len, tokens))
    ids = torch.tensor([[*one, *[0] * (most - len(one))] for one in tokens]).to(device)
    sizes = torch.tensor([len(one) for one in tokens]).to(device)
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits
        normaliser = _logsumexp(logits)
        read = logits[:, :-1].gather(2, ids[:, 1:, None])[:, :, 0].float() - normaliser[:, :-1]
        beyond = torch.arange(most - 1, device=device)[None] >= sizes[:, None] - 1
        last = torch.arange(len(tokens), device=device), sizes - 1
        ended = logits[last][:, list(ends)].float().logsumexp(1) - normaliser[last]
        logp = read.masked_fill(beyond, 0.0).double().sum(1) + ended.double()
    found: list[float] = logp.tolist()
    return found


def _logsumexp(logits: torch.Tensor) -> torch.Tensor:
    """In float32, some strings at a time: a copy of all logits would cost memory."""
    return torch.cat([part.float().logsumexp(2) for part in logits.split(32)])
