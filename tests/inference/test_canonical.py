"""The source's own tokens are kept whatever they weigh."""

from __future__ import annotations

import numpy as np
import pytest

from lmfst.inference.policy import Beam
from lmfst.model import TransducedLM
from lmfst.target.load import fst_target
from tests.support.oracle import TableLM, make_vocab, random_fst

TOKENS = [b"a", b"b", b"ab", b"ba", b"abb"]


def canonical_logp(lm: TableLM, text: bytes) -> float:
    """log-probability of the text's own tokens and the end."""
    tokens = list(lm.encode(text) or ())
    ends = list(lm.vocab.eos)
    total = sum(float(lm.row(tuple(tokens[:i]))[token]) for i, token in enumerate(tokens))
    return total + float(np.logaddexp.reduce(lm.row(tuple(tokens))[ends]))


@pytest.mark.parametrize("lookahead", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_a_beam_is_never_below_the_sources_own_tokens(seed: int, lookahead: bool) -> None:
    lm = TableLM(make_vocab(TOKENS), order=3, depth=9, seed=seed, merges=False)
    rng = np.random.default_rng(seed)
    texts = [bytes(rng.choice([97, 98], rng.integers(0, 9)).tolist()) for _ in range(5)]
    policy = Beam(size=1, threshold=0.9)
    model = TransducedLM(lm, fst_target(random_fst(seed), "random"), policy, lookahead=lookahead)
    for text, scored in zip(texts, model.score(texts), strict=True):
        assert scored.logp >= canonical_logp(lm, text) - 1e-12
