"""Vocabularies by the types of their tokens, where a model's files have such types.

SentencePiece models and GGUF files give every token a type, which decides whether it is text,
whatever it looks like. The library goes by texts: in its hands unused tokens are text, control
tokens of some alphabets, too, and symbols that a user defined are special. Tokenizers of other
files are taken as the library has them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lmfst.lm.files import TOKENIZER, ModelFiles
from lmfst.lm.gguf_file import MODEL, TYPES, gguf_value
from lmfst.lm.tokenizer_files import sentencepiece_model
from lmfst.vocab import NO_TOKEN, Vocab

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""The types, the same numbers in both kinds of files. Symbols that a user defined are text."""
_ROLES = tuple(f"{role}_token" for role in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))


@dataclass(frozen=True)
class TokenTypes:
    """What the types say that the library's tokenizer doesn't.

    special: control and unknown tokens. text: symbols that the library alone calls special.
    hidden: id -> why it spells nothing.
    """

    special: frozenset[int] = frozenset()
    text: frozenset[int] = frozenset()
    hidden: Mapping[int, str] = field(default_factory=dict)


def token_types(files: ModelFiles, tokenizer: Any, size: int) -> TokenTypes:
    """What a model's files say of its tokens, ids 0 .. size - 1.

    ModelError for a GGUF file whose metadata can't be read.
    """
    types, hidden = _types(files, tokenizer, size)
    special = {i for i, kind in types.items() if kind in (UNKNOWN, CONTROL)}
    hidden |= {i: "the model's files call it unused" for i, k in types.items() if k == UNUSED}
    symbols = {i for i, kind in types.items() if kind == USER_DEFINED}
    if symbols:
        added = tokenizer.added_tokens_decoder.items()
        symbols &= {*tokenizer.all_special_ids, *(i for i, token in added if token.special)}
        symbols -= _named_special(files, tokenizer)
    return TokenTypes(frozenset(special), frozenset(symbols), hidden)


def with_types(vocab: Vocab, types: TokenTypes, *, text: bool) -> Vocab:
    """A vocabulary with what the types say; `types.text` must spell something in it.

    text: whether special tokens spell their written form (`--specials text`).
    """
    beyond = {i for i, why in types.hidden.items() if why == NO_TOKEN}
    special = (vocab.specials | types.special) - set(vocab.eos) - types.text - beyond
    reasons = {i: why for i, why in types.hidden.items() if i not in special | set(vocab.eos)}
    hidden = reasons.keys() | (set() if text else special)
    tables = tuple(
        [None if i in hidden else data for i, data in enumerate(table)]
        for table in vocab.token_bytes
    )
    unmapped = {i: why for i, why in vocab.unmapped.items() if i not in special} | reasons
    return dataclasses.replace(
        vocab, token_bytes=tables, specials=frozenset(special), unmapped=unmapped
    )


def _types(files: ModelFiles, tokenizer: Any, size: int) -> tuple[dict[int, int], dict[int, str]]:
    """(id -> type, of the ids that the model's files give one; id -> why, of those that spell
    nothing in that kind of file)."""
    if files.gguf_path is not None:
        listed = (gguf_value(files.gguf_path, TYPES) or [])[:size]
        hidden = dict.fromkeys(range(len(listed), size), NO_TOKEN) if listed else {}
        if gguf_value(files.gguf_path, MODEL) == "gpt2":
            why = "a byte token, which a byte-level tokenizer doesn't read as a byte"
            hidden |= {i: why for i, kind in enumerate(listed) if kind == BYTE}
        return dict(enumerate(listed)), hidden
    model = sentencepiece_model(files)
    if model is None:
        return {}, {}
    # Some classes number the pieces anew.
    ids = tokenizer.get_vocab()
    found = {ids.get(piece.piece, size): int(piece.type) for piece in model.pieces}
    return {i: kind for i, kind in found.items() if i < size}, {}


def _named_special(files: ModelFiles, tokenizer: Any) -> set[int]:
    """Ids that have a role, or that the model's own configuration of its tokenizer calls special.

    The library calls all symbols of a SentencePiece model special that a user defined.
    """
    held = {} if files.gguf else files.read(TOKENIZER) or {}
    named = [v for k, v in held.items() if k.endswith("_special_tokens")]
    added = held.get("added_tokens_decoder")
    if isinstance(added, dict):
        named += [t for t in added.values() if isinstance(t, dict) and t.get("special")]
    texts = {str(token) for token in _flat(named)}
    texts |= {str(getattr(tokenizer, role, None)) for role in _ROLES}
    return {i for token, i in tokenizer.get_vocab().items() if token in texts}


def _flat(named: Any) -> list[Any]:
    """The texts of tokens in a configuration's entries: texts, objects with one, lists of these."""
    if isinstance(named, list):
        return [text for part in named for text in _flat(part)]
    return [named.get("content")] if isinstance(named, dict) else [named]
