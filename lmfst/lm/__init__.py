"""Language models: what gives the probability of the next source token.

The `LM` protocol, transformers models evaluated as token trees, n-gram models, and loading them by
name. Not here: what tokens spell (`lmfst.vocab`), and sums over token strings (`lmfst.inference`).
"""

from lmfst.lm.backoff import BackoffLM
from lmfst.lm.base import LM, ContextSession, Session, States
from lmfst.lm.load import load_guide, load_lm
from lmfst.lm.ngram import NgramLM
from lmfst.lm.transformers import TransformersLM
from lmfst.lm.truncated import TruncatedLM

__all__ = [
    "LM",
    "BackoffLM",
    "ContextSession",
    "NgramLM",
    "Session",
    "States",
    "TransformersLM",
    "TruncatedLM",
    "load_guide",
    "load_lm",
]
