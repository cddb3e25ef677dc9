"""Kernels and crossings between device and host of whole runs with a tiny transformers model.

Its vocabulary is small and ambiguous (letters and pairs of letters), its weights are random: what
is counted is what the code asks for, not what it takes.
"""

from __future__ import annotations

import random
import string
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch

from benchmark.parts import HOST, MODEL, TENSORS, Counting, Parts, WatchedLM
from lmfst.inference.policy import Beam
from lmfst.lm.sizes import sizes_on
from lmfst.lm.transformers import TransformersLM
from lmfst.model import TransducedLM
from lmfst.target.load import load_target
from lmfst.vocab import Vocab

LETTERS = string.ascii_lowercase[:8] + " "
LAYERS = 2
LENGTH = 60
DOCUMENTS = (1, 8)


def tiny_model() -> TransformersLM:
    """A llama model of two layers over single letters and pairs of them."""
    import transformers

    pairs = [a + b for a in LETTERS for b in LETTERS]
    spelled = [*LETTERS, *pairs]
    end = len(spelled)
    vocab = Vocab(
        size=end + 1,
        token_bytes=([*(text.encode() for text in spelled), None],),
        next_state=([0] * (end + 1),),
        specials=frozenset(),
        eos=(end,),
        unmapped={},
        names=(*spelled, "</s>"),
    )
    config = transformers.LlamaConfig(
        vocab_size=end + 1,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=end,
        eos_token_id=end,
    )
    torch.manual_seed(1)
    model = transformers.LlamaForCausalLM(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return TransformersLM(model, vocab, bos=end)


def texts(count: int) -> list[str]:
    """Random texts of these letters, each of its own length."""
    draw = random.Random(3)
    return ["".join(draw.choices(LETTERS, k=LENGTH + i)) for i in range(count)]


@contextmanager
def as_on_a_device(lm: TransformersLM) -> Iterator[None]:
    """Have calls packed, and rows reduced, as on an accelerator: by torch, instead of by kernels on
    the host."""
    with ExitStack() as stack:
        sizes = sizes_on(torch.device("cuda"), lm.vocab.size, parameters=1, itemsize=4)
        stack.enter_context(patch.object(lm, "sizes", sizes))
        for module in ("normaliser", "reduction", "gathering"):
            name = f"lmfst.inference.{module}.compiled"
            stack.enter_context(patch(name, lambda: False))
        yield


def counted(lm: TransformersLM, to: str, documents: int, on_device: bool = False) -> dict[str, Any]:
    """What one run asks for: calls, kept rows, and kernels and crossings of the engine and of the
    model's side, in all; `crossings` by part and name. on_device: see `as_on_a_device`."""
    parts = Parts()
    policy = Beam(size=8, threshold=1e-3)
    model = TransducedLM(WatchedLM(lm, parts), load_target(to), policy, warn=lambda message: None)
    # What is made once, such as lexicons, is made before.
    model.score(texts(documents))
    parts.reset()
    way = as_on_a_device(lm) if on_device else nullcontext()
    with way, parts.watching(), Counting(parts) as counting:
        scored = model.score(texts(documents))
    own = Counter(counting.kernels)
    return {
        "to": to,
        "documents": documents,
        "reduced": "by torch" if on_device else "by kernels",
        "calls": parts.calls,
        "asked": parts.asked,
        "kept": sum(one.nodes for one in scored),
        "engine_kernels": own[TENSORS] + own[HOST],
        "model_kernels": own[MODEL],
        "engine_crossings": counting.crossed(TENSORS) + counting.crossed(HOST),
        "model_crossings": counting.crossed(MODEL),
        "crossings": {
            f"{'model' if part == MODEL else 'engine'} {name}": number
            for (part, name), number in sorted(_joined(counting).items())
        },
    }


def _joined(counting: Counting) -> Counter[tuple[str, str]]:
    """Crossings with the engine's parts as one."""
    found: Counter[tuple[str, str]] = Counter()
    for (part, name), number in counting.crossings.items():
        found[MODEL if part == MODEL else HOST, name] += number
    return found


def rows(targets: tuple[str, ...] = ("bytes", "words")) -> list[dict[str, Any]]:
    """The counts of all runs."""
    lm = tiny_model()
    ways = (False, True)
    return [counted(lm, to, n, way) for to in targets for n in DOCUMENTS for way in ways]
