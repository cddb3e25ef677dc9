"""Strings of target symbols as users give them: numbers, names, sets of these, or text."""

from __future__ import annotations

from collections.abc import Sequence, Set

from lmfst.fst import Symbols as Alphabet
from lmfst.fst.pattern import OneOf, Pattern, Place
from lmfst.ground.errors import InputError
from lmfst.target.units import parse_target_text

Symbol = int | str | Set[int] | Set[str]
Symbols = Sequence[Symbol] | str | bytes


def as_bytes(text: str | bytes) -> bytes:
    """A text as bytes: UTF-8, lone surrogates standing for bytes that are no UTF-8."""
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text


def pattern_of(y: Symbols, alphabet: Alphabet) -> Pattern:
    """y as symbol numbers, sets as `OneOf`; text is read by `lmfst.target.units.parse_target_text`.

    Raises InputError for text that names no symbol, FstError for a name in a list that doesn't.
    """
    if isinstance(y, str | bytes):
        return parse_target_text(as_bytes(y), alphabet)
    return tuple(_place(symbol, alphabet) for symbol in y)


def _place(symbol: Symbol, alphabet: Alphabet) -> Place:
    if isinstance(symbol, OneOf):
        return symbol
    if isinstance(symbol, Set):
        if not symbol:
            raise InputError(
                "a set of symbols is empty", hint="give the symbols that may stand there"
            )
        return OneOf(_label(one, alphabet) for one in symbol)
    return _label(symbol, alphabet)


def _label(symbol: int | str, alphabet: Alphabet) -> int:
    return alphabet.label(symbol) if isinstance(symbol, str) else int(symbol)
