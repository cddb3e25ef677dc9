"""What targets of words should write, from the words that NLTK or Python find in a text."""

from __future__ import annotations


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def kept(text: str, tokens: list[str]) -> list[bytes | str]:
    """What a rule that keeps white space should write for these words of a text."""
    out: list[bytes | str] = []

    def add(piece: str) -> None:
        if out and isinstance(out[-1], bytes):
            out[-1] += encoded(piece)
        else:
            out.append(encoded(piece))

    at = 0
    for token in [*tokens, ""]:
        begin = at
        while at < len(text) and text[at].isspace():
            at += 1
        space, last = text[begin:at], at == len(text)
        if begin and space == " " and not last:
            out.append("SEP")
        else:
            if begin and (space or not last):
                out.append("NOSEP")
            if space:
                add(space)
            if space and not last:
                out.append("NOSEP")
        if token:
            add(token)
            at += len(source_of(token, text[at : at + len(token)]))
    assert at == len(text)
    return out


def source_of(token: str, text: str) -> str:
    """What a word of NLTK was in the text, which it begins; quotation marks change."""
    if token in ("``", "''"):
        return '"' if text.startswith('"') else text
    assert text == token
    return token
