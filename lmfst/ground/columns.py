"""Columns of rows: what they hold, for formats that have types, and those of a single value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import TypeVar, overload

T = TypeVar("T")

COLUMN_TYPES: dict[str, type] = {
    **dict.fromkeys(("id", "unit", "versus", "file"), str),
    **dict.fromkeys(
        ("index", "start", "end", "replicate", "documents", "units", "symbols", "line"), int
    ),
    **dict.fromkeys(
        (
            "logp",
            "surprisal",
            "missing",
            "canonical",
            "stderr",
            "gap",
            "bits_per_symbol",
            "specials",
            "lower",
            "upper",
            "dropped",
            "difference",
            "difference_stderr",
            "p",
            "mass",
        ),
        float,
    ),
}
"""Text, whole number or number, by name (`lmfst.scored.records`); any value may be missing."""


class Same(Sequence[T]):
    """A column with one value in all its rows, `rows` of them: written, it is formatted once."""

    __slots__ = ("rows", "value")

    def __init__(self, value: T, rows: int) -> None:
        self.value, self.rows = value, rows

    def __len__(self) -> int:
        return self.rows

    def __iter__(self) -> Iterator[T]:
        return repeat(self.value, self.rows)

    @overload
    def __getitem__(self, at: int) -> T: ...

    @overload
    def __getitem__(self, at: slice) -> Same[T]: ...

    def __getitem__(self, at: int | slice) -> T | Same[T]:
        there = range(self.rows)[at]
        return self.value if isinstance(there, int) else Same(self.value, len(there))

    def __repr__(self) -> str:
        return f"Same({self.value!r}, {self.rows})"
