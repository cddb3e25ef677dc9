"""Patterns: target strings in which a place may be left open between several symbols.

A pattern y of symbols and sets of symbols stands for the strings in the product of its places, and

    P_Y(y) = Σ_{z ∈ y} P_Y(z),    p_Y(y) = Σ_{z ∈ y} p_Y(z)

is one propagation: a hypothesis is a source prefix whose emission is in the pattern so far. A
string of plain symbols is the pattern that stands for itself alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class OneOf(frozenset[int]):
    """Symbols, at least one, any of which may stand at a place.

    written: the symbol that stood for them, or the first of them.
    """

    written: int

    def __new__(cls, symbols: Iterable[int], written: int | None = None) -> OneOf:
        made = super().__new__(cls, symbols)
        made.written = min(made) if written is None else written
        return made


Place = int | OneOf
Pattern = tuple[Place, ...]


def admits(place: Place, symbol: int) -> bool:
    """Whether a symbol may stand at a place."""
    return place == symbol or (isinstance(place, OneOf) and symbol in place)


def fits(pattern: Sequence[Place], out: Sequence[int]) -> bool:
    """Whether `out` is one of the strings that a pattern stands for."""
    if len(pattern) != len(out):
        return False
    return all(map(admits, pattern, out))


def is_open(pattern: Iterable[Place]) -> bool:
    """Whether a pattern stands for more than one string."""
    return any(isinstance(place, OneOf) for place in pattern)


def first_string(pattern: Iterable[Place]) -> tuple[int, ...]:
    """One of the strings that a pattern stands for."""
    return tuple(min(place) if isinstance(place, OneOf) else place for place in pattern)


def as_written(pattern: Iterable[Place]) -> tuple[int, ...]:
    """The symbols as they were written."""
    return tuple(place.written if isinstance(place, OneOf) else place for place in pattern)
