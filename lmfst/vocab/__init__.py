"""Vocabularies: the bytes that each token id of a language model contributes to the text.

Read from a tokenizer's decoder, or from a list of symbols. Not here: loading tokenizers
(`lmfst.lm`), and what a target makes of the text (`lmfst.target`).
"""

from __future__ import annotations

from lmfst.vocab.machine import Vocab
from lmfst.vocab.prefix import Encode
from lmfst.vocab.reading import NO_TOKEN, Known, Reading, read_tokenizer, vocab_from_tokenizer
from lmfst.vocab.symbols import vocab_from_symbols
from lmfst.vocab.words import NO_MARKS

__all__ = [
    "NO_MARKS",
    "NO_TOKEN",
    "Encode",
    "Known",
    "Reading",
    "Vocab",
    "read_tokenizer",
    "vocab_from_symbols",
    "vocab_from_tokenizer",
]
