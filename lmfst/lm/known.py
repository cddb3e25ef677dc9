"""What a model's files say of its tokenizer, where transformers makes something else of them.

A GGUF file says whether a space stands before a text (`tokenizer.ggml.add_space_prefix`), and a
folder may have SentencePiece's own file (`tokenizer.model`) and no other.
"""

from __future__ import annotations

import importlib.util
from typing import Any

from lmfst.lm.files import ModelFiles
from lmfst.vocab import Known
from lmfst.vocab.spm import known_of_sentencepiece

SENTENCEPIECE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
"""Names of SentencePiece's files."""
_PREFIXED = {"llama": True, "t5": None, "gemma4": None}
"""Kinds of tokenizers in GGUF files that `add_space_prefix` is about → what holds without it, as
llama.cpp reads it (None: what the library does)."""


def known_of_files(files: ModelFiles, tokenizer: Any) -> Known:
    """What there is to know besides the tokenizer.

    Raises ModelError for files that can't be read and SentencePiece models that aren't supported.
    """
    if files.gguf:
        return _of_gguf(files)
    if files.path("tokenizer.json") is None and importlib.util.find_spec("sentencepiece"):
        for name in SENTENCEPIECE:
            path = files.path(name)
            found = None if path is None else known_of_sentencepiece(path, tokenizer)
            if found is not None:
                return found
    return Known()


def _of_gguf(files: ModelFiles) -> Known:
    from transformers.integrations.gguf.reader import read_gguf_metadata

    folder = files.folder
    assert folder is not None
    metadata, _ = read_gguf_metadata(str(folder / files.where["gguf_file"]))
    kind = metadata.get("tokenizer.ggml.model")
    if kind not in _PREFIXED:
        return Known()
    said = metadata.get("tokenizer.ggml.add_space_prefix", _PREFIXED[kind])
    return Known(prefixed=None if said is None else bool(said))
