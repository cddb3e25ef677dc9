"""How many model calls prefetching takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch

from lmfst.inference import prefetch
from lmfst.inference.policy import Beam
from lmfst.lm.base import LM, ContextSession, Session, States
from lmfst.model import TransducedLM
from lmfst.target.load import load_target
from tests.support.oracle import make_vocab

TOKENS = [b"a", b"b", b"ab", b"ba", b"aab", b"bba"]


class Calls(LM):
    """A model that finds the tokenizer's own tokens improbable: single letters. It depends on the
    last two tokens only, which it doesn't tell. calls: how many rows were asked for together."""

    def __init__(self) -> None:
        self.vocab = make_vocab(TOKENS)
        self.calls: list[int] = []
        draw = np.random.default_rng(5)
        self._logits = draw.normal(size=(8, 8, self.vocab.size))
        self._logits[:, :, :2] -= 9.0
        self._logits[:, :, list(self.vocab.eos)] -= 4.0

    def next_logp(self, contexts: Sequence[Sequence[int]]) -> np.ndarray:
        return np.stack([self._logits[tuple((7, 7, *one)[-2:])] for one in contexts])

    def canonical(self, data: bytes) -> Sequence[int]:
        return [TOKENS.index(bytes([byte])) for byte in data]

    def session(self) -> Session:
        return Counted(self)


class Counted(ContextSession):
    """Counts its calls."""

    def __init__(self, lm: Calls) -> None:
        super().__init__(lm)
        self._calls = lm.calls

    def rows(self, states: States) -> Iterator[tuple[slice, torch.Tensor]]:
        self._calls.append(len(states))
        yield from super().rows(states)


def test_a_light_trunk_takes_no_call_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is kept whatever it weighs, so a speculative run can count on it."""
    # As if the text were much longer than what a first call reads of it.
    monkeypatch.setattr(prefetch, "TRUNK", 4)
    lm = Calls()
    draw = np.random.default_rng(0)
    text = bytes(draw.choice([97, 98], 300).tolist())
    model = TransducedLM(lm, load_target("bytes"), Beam(size=4, threshold=1e-2))
    (scored,) = model.score([text])
    assert scored.nodes > len(text)
    assert len(lm.calls) < len(text) / 3, lm.calls
    few = sum(count < 4 for count in lm.calls)
    assert few < 10, lm.calls
