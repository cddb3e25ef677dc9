"""Vocabularies of models whose tokens are their own text, such as n-gram models."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lmfst.ground.announce import warn_default
from lmfst.ground.types import Specials, Warn, require_choice
from lmfst.vocab.checks import warn_if_endless
from lmfst.vocab.machine import Vocab
from lmfst.vocab.words import NO_MARKS, hint_of, separator_of, spaced

UNKNOWN = ("<unk>", "<UNK>")
SPECIALS = ("<s>", "</s>", *UNKNOWN)

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def vocab_from_symbols(
    names: Sequence[str],
    *,
    eos: Sequence[int],
    specials: Specials = "drop",
    separator: str | None = None,
    marks: str = NO_MARKS,
    warn: Warn = warn_default,
) -> Vocab:
    """The vocabulary of a model whose tokens are their own text, such as an n-gram model's.

    names: the token of each id; it spells its own UTF-8 bytes (lone surrogates U+DC80..U+DCFF stand
    for bytes that were not UTF-8 in the file), and `<0xNN>` spells the byte NN. specials: whether
    `<s>`, `</s>`, `<unk>` and `<UNK>` spell nothing ("drop", "error") or their names ("text"); an
    EOS id spells nothing. separator: the text between neighbouring tokens, which are words then
    (None: a space with marks, else nothing). marks: "none", "▁", "##" or "@@", see
    `lmfst.vocab.words`.

    Raises ModelError for an EOS id out of range, UsageError for other specials or marks.
    """
    require_choice("--specials", specials, Specials)
    separator = separator_of(separator, marks)
    controls = {i for i, name in enumerate(names) if name in SPECIALS} - set(eos)
    hidden = set() if specials == "text" else controls
    table = [None if i in hidden or i in eos else _spelled(name) for i, name in enumerate(names)]
    single = {i for i, name in enumerate(names) if _BYTE.fullmatch(name)}
    token_bytes, next_state = spaced(table, single, separator, marks)
    unknown = [names[i] for i in sorted(hidden) if names[i] in UNKNOWN]
    vocab = Vocab(
        size=len(names),
        token_bytes=token_bytes,
        next_state=next_state,
        specials=frozenset(controls),
        eos=tuple(dict.fromkeys(eos)),
        unmapped={},
        names=tuple(names),
        hint=hint_of(table, separator, marks, unknown),
    )
    warn_if_endless(vocab, warn)
    return vocab


def _spelled(name: str) -> bytes:
    """What a token spells."""
    match = _BYTE.fullmatch(name)
    return bytes([int(match[1], 16)]) if match else name.encode("utf-8", "surrogateescape")
