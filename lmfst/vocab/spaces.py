"""Tokenizers whose decoder puts a space between tokens, told by their machine.

WordPiece's decoder puts one before every token that doesn't continue a word, and without a decoder
the library joins tokens with spaces. So two words side by side are spelled only where a token holds
both, or the second one is a continuation, too; CJK characters, each a token, often are neither.
"""

from __future__ import annotations

from collections.abc import Sequence

_JOINED = (b".", b",", b"?", b"!", b"'", b"n't")
"""What WordPiece's decoder joins to the token before it, if it cleans up."""


def spaces_hint(token_bytes: Sequence[Sequence[bytes | None]]) -> str:
    """What to say of a text that no tokens spell; "" unless every token but continuations gets a
    space before it. token_bytes: as in `Vocab`.

    A token is alike as the first one and later, but for the space, unless it continues a word:
    then it has its mark (##) where it comes first.
    """
    if len(token_bytes) != 2:
        return ""
    spaced = False
    for first, later in zip(*token_bytes, strict=True):
        if not first or later is None:
            continue
        if later == b" " + first:
            spaced = True
        elif later == first and not first.startswith((b" ", *_JOINED)):
            return ""
    if not spaced:
        return ""
    return (
        "the tokenizer puts a space before every token but the continuations of words, so no "
        "tokens spell a text without one there (between CJK characters, for example): write the "
        "spaces, or use a target that deletes them"
    )
