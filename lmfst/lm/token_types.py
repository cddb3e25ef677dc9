"""Vocabularies by the types of their tokens, where a model's files have such types.

SentencePiece models and GGUF files give every token a type, which decides whether it is text,
whatever it looks like. The library goes by texts: in its hands unused tokens are text, control
tokens of some alphabets, too, and symbols that a user defined are special. Tokenizers of other
files are taken as the library has them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from lmfst.lm.files import TOKENIZER, ModelFiles
from lmfst.lm.gguf_file import TYPES, gguf_value
from lmfst.lm.tokenizer_files import sentencepiece_model
from lmfst.vocab import Vocab, vocab_from_tokenizer
from lmfst.vocab.reading import NO_TOKEN

Warn = Callable[[str], None]
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""The types, the same numbers in both kinds of files. Symbols that a user defined are text."""
_ROLES = tuple(f"{role}_token" for role in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))


def vocab_of_model(
    files: ModelFiles,
    tokenizer: Any,
    *,
    size: int,
    eos: list[int],
    specials: Literal["drop", "text", "error"],
    warn: Warn,
) -> Vocab:
    """The vocabulary of a model's tokenizer, see `vocab_from_tokenizer`, by the types in its files.

    Raises as that does, and ModelError for a GGUF file whose metadata can't be read.
    """
    types = _types(files, tokenizer, size)
    text = specials == "text"
    symbols = {i for i, kind in types.items() if kind == USER_DEFINED}
    added = tokenizer.added_tokens_decoder.items()
    symbols &= {*tokenizer.all_special_ids, *(i for i, token in added if token.special)}
    symbols -= _named_special(files, tokenizer)
    vocab = vocab_from_tokenizer(
        tokenizer, size=size, eos=eos, specials="text" if symbols else specials, warn=warn
    )
    return _typed(vocab, types, symbols, text=text) if types else vocab


def _types(files: ModelFiles, tokenizer: Any, size: int) -> dict[int, int]:
    """id -> type, of the ids that the model's files give one; 0 for rows beyond a GGUF file's."""
    if files.gguf_path is not None:
        listed = gguf_value(files.gguf_path, TYPES) or []
        return dict.fromkeys(range(size), 0) | dict(enumerate(listed[:size])) if listed else {}
    model = sentencepiece_model(files)
    if model is None:
        return {}
    # Some classes number the pieces anew.
    ids = tokenizer.get_vocab()
    found = {ids.get(piece.piece, size): int(piece.type) for piece in model.pieces}
    return {i: kind for i, kind in found.items() if i < size}


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


def _typed(vocab: Vocab, types: dict[int, int], symbols: set[int], *, text: bool) -> Vocab:
    """The vocabulary with what the types say: symbols are text, whatever the library says."""
    rows = {i for i, kind in types.items() if kind}
    controls = {i for i in rows if types[i] in (UNKNOWN, CONTROL)}
    special = (vocab.specials | controls) - set(vocab.eos) - symbols - (types.keys() - rows)
    others = types.keys() - special - set(vocab.eos)
    reasons = {i: why for i in sorted(others) if (why := _no_text(vocab, i, types[i]))}
    hidden = reasons.keys() | (set() if text else special)
    tables = tuple(
        [None if i in hidden else data for i, data in enumerate(table)]
        for table in vocab.token_bytes
    )
    unmapped = {i: why for i, why in vocab.unmapped.items() if i not in controls} | reasons
    return dataclasses.replace(
        vocab, token_bytes=tables, specials=frozenset(special), unmapped=unmapped
    )


def _no_text(vocab: Vocab, i: int, kind: int) -> str:
    """Why a token of that type spells nothing, "" if it spells something or is special."""
    if not kind:
        return NO_TOKEN
    if kind == UNUSED:
        return "the model's files call it unused"
    if kind == BYTE and all(len(table[i] or b"") != 1 for table in vocab.token_bytes):
        return "a byte token, and the tokenizer's decoder doesn't read it as a byte"
    return ""
