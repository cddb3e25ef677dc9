"""Vocabularies: the bytes that each token id of a language model contributes to the text."""

from __future__ import annotations

from lmfst.vocab.machine import Vocab
from lmfst.vocab.reading import (
    Known,
    Reading,
    read_tokenizer,
    vocab_from_symbols,
    vocab_from_tokenizer,
)

__all__ = [
    "Known",
    "Reading",
    "Vocab",
    "read_tokenizer",
    "vocab_from_symbols",
    "vocab_from_tokenizer",
]
