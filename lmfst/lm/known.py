"""What a model's files say of its tokenizer, where transformers makes something else of them.

A GGUF file says whether a space stands before a text (`tokenizer.ggml.add_space_prefix`), and a
folder may have SentencePiece's own file (`tokenizer.model`) and no other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lmfst.lm.files import PIECES, TOKENIZER, WHOLE, ModelFiles
from lmfst.lm.gguf_file import MODEL, gguf_value
from lmfst.lm.tokenizer_files import installed
from lmfst.vocab import Known
from lmfst.vocab.spm import known_of_sentencepiece

_PREFIXED = {"llama": True, "t5": None, "gemma4": None}
"""Kinds of tokenizers in GGUF files that `add_space_prefix` is about → what holds without it, as
llama.cpp reads it (None: what the library does)."""


def known_of_files(files: ModelFiles, tokenizer: Any) -> Known:
    """What there is to know besides the tokenizer.

    Raises ModelError for files that can't be read and SentencePiece models that aren't supported.
    """
    if files.gguf:
        return _of_gguf(files)
    if files.path(WHOLE) is None and installed("sentencepiece"):
        for name in PIECES:
            path = files.path(name)
            found = None if path is None else known_of_sentencepiece(path, tokenizer)
            if found is not None:
                said = (files.read(TOKENIZER) or {}).get("add_prefix_space")
                return replace(found, prefixed=said) if isinstance(said, bool) else found
    return Known()


def _of_gguf(files: ModelFiles) -> Known:
    path = files.gguf_path
    assert path is not None
    kind = gguf_value(path, MODEL)
    if kind not in _PREFIXED:
        return Known()
    said = gguf_value(path, "tokenizer.ggml.add_space_prefix")
    said = _PREFIXED[kind] if said is None else said
    return Known(prefixed=None if said is None else bool(said))
