"""What stands between the tokens of a model of words, as a machine of two states.

A text is spelled by words with a separator between neighbours. Pieces of words carry a mark, by one
of three conventions:

- `▁` (SentencePiece) stands for a separator, wherever it is; one at the beginning of the text is
  dropped, so that `▁the` and `the` both spell "the" there;
- `##` before a token (WordPiece) continues the word: no separator, and the mark is no text, except
  that the first token of a text is spelled as it is;
- `@@` after a token (subword-nmt) is continued by the next one: no separator, no text.

State 0: no separator is due (the beginning, or after `@@`); state 1: one is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from lmfst.ground.types import Marks, require_choice

NO_MARKS = "none"
BEFORE, INSIDE, JOINED = "▁", "##", "@@"
SPACE = " "

Table = list[bytes | None]


def separator_of(separator: str | None, marks: str) -> str:
    """The separator: as given, or a space where there are marks. UsageError for other marks."""
    require_choice("--marks", marks, Marks)
    if separator is None:
        return "" if marks == NO_MARKS else SPACE
    return separator


def spaced(
    table: Table, literal: Collection[int], separator: str, marks: str
) -> tuple[tuple[Table, ...], tuple[list[int], ...]]:
    """(token bytes, next states) of `lmfst.vocab.Vocab`, one list [tokens] a state.

    table: what each token says, None outside the support; an empty one spells nothing in any
    state. literal: ids of tokens in which nothing is a mark, such as `<0xNN>`.
    """
    if not separator and marks == NO_MARKS:
        return (table,), ([0] * len(table),)
    between = separator.encode("utf-8", "surrogateescape")
    first: Table = []
    later: Table = []
    after: list[int] = []
    for i, text in enumerate(table):
        begun, continued, state = text, text, 1
        if text:
            begun, continued, state = _spelled(text, between, marks, i in literal)
        first.append(begun)
        later.append(continued)
        after.append(state)
    empty = [0 if text == b"" else state for text, state in zip(table, after, strict=True)]
    return (first, later), (empty, after)


def _spelled(text: bytes, between: bytes, mark: str, literal: bool) -> tuple[bytes, bytes, int]:
    """What a token spells in states 0 and 1, and the state after it."""
    sign = mark.encode()
    if mark == BEFORE:
        if literal:
            return text, text, 1
        return text.removeprefix(sign).replace(sign, between), text.replace(sign, between), 1
    marked = len(text) > len(sign) and not literal
    if mark == INSIDE and marked and text.startswith(sign):
        return text, text[len(sign) :], 1
    if mark == JOINED and marked and text.endswith(sign):
        own = text[: -len(sign)]
        return own, between + own, 0
    return text, between + text, 1


def hint_of(table: Table, separator: str, marks: str, unknown: Sequence[str]) -> str:
    """Which texts the tokens don't spell, for messages; "" where they are no words.

    table: as in `spaced`. unknown: names of tokens outside the support that stand for other words.
    """
    if separator or marks != NO_MARKS:
        between = f"{separator!r} between them" if separator else "nothing between them"
        what = "words" if marks == NO_MARKS else "words and pieces of words"
        hint = f"the model writes {what} of its vocabulary, {between}, and other text never"
        if unknown:
            hint += f" ({unknown[0]}, which stands for other words, is outside the support)"
        return hint
    option = _likely_option([text for text in table if text])
    if not option:
        return ""
    return f"nothing stands between the tokens; if they are words, or pieces of words, try {option}"


def _likely_option(texts: Sequence[bytes]) -> str:
    """The option that reads tokens as words, if they look like words; else ""."""
    for mark in (BEFORE, INSIDE, JOINED):
        sign = mark.encode()
        at_end = mark == JOINED
        found = [t for t in texts if (t.endswith(sign) if at_end else t.startswith(sign))]
        if any(len(text) > len(sign) for text in found):
            return f"--marks '{mark}'"
    long = sum(len(text.decode("utf-8", "replace")) > 1 for text in texts)
    blank = any(bytes([byte]).isspace() for byte in set().union(*texts))
    return "" if blank or 2 * long < len(texts) or not texts else "--separator ' '"
