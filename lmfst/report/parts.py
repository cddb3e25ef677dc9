"""Documents of an output of units, as parts: rows of one document that follow one another.

A document may be larger than memory: it comes in several parts then, the first of which begins with
its first unit, and the last of which ends with the row of ⊥.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from lmfst.ground.errors import InputError
from lmfst.report.columns import Block, Wanted, blocks
from lmfst.scored.records import UNIT_COLUMNS, bits
from lmfst.target.units import END_NAME

UNITS = Wanted("unit", UNIT_COLUMNS, ("file", "line"))
_HINT = "a report needs all rows of each document, in their order: write the output again"

Place = tuple[str, int]
"""The file and the line of a document."""


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of a document.

    number: the document's, from 0. first: the index of the first of its rows here. units: their
    texts, escaped as in rows. bits, missing: of each row, in bits and in nats; missing is None
    where there is no such number. symbols: where the last row ends, in target symbols. start, end:
    those of the rows. last: whether the last row is that of ⊥, and the document complete.
    """

    number: int
    id: str
    place: Place | None
    first: int
    units: list[str]
    bits: list[float]
    missing: list[float | None]
    start: list[int]
    end: list[int]
    last: bool

    @property
    def symbols(self) -> int:
        return self.end[-1]

    @property
    def count(self) -> int:
        """How many of the rows are units, and not ⊥."""
        return len(self.units) - self.last


@dataclass(frozen=True)
class _Rows:
    """The columns of a block."""

    id: list[str]
    index: list[int]
    unit: list[str]
    start: list[int]
    end: list[int]
    bits: list[float]
    missing: list[float | None]
    place: list[Place | None] | None


@dataclass
class _State:
    """Where a document is. due: the index of the row that comes next; 0: it is complete."""

    number: int = -1
    id: str = ""
    due: int = 0


def parts(path: str) -> Iterator[Part]:
    """The documents of a file, part by part.

    InputError as `lmfst.report.columns.blocks`, for rows that are not those of whole documents in
    their order, and for an output without rows.
    """
    state = _State()
    for block in blocks(path, UNITS):
        rows = _typed(block)
        begins = [at for at, index in enumerate(rows.index) if index == 0]
        if begins[:1] != [0]:
            begins.insert(0, 0)
        for begin, end in zip(begins, [*begins[1:], len(rows.index)], strict=True):
            yield _part(block, rows, begin, end, state)
    if state.number < 0:
        raise InputError(f"{path}: there are no rows", hint="nothing was scored")
    if state.due:
        raise InputError(
            f"{path}: expected a row of {END_NAME} at the end of the document {state.id!r}, found "
            "the end of the file",
            hint=f"the file may be cut off; {_HINT}",
        )


def _typed(block: Block) -> _Rows:
    place = None
    if block.columns["file"] is not None and block.columns["line"] is not None:
        place = list(map(_place, block.columns["file"], block.maybe_whole("line")))
    return _Rows(
        block.texts("id"),
        block.whole("index"),
        block.texts("unit"),
        block.whole("start"),
        block.whole("end"),
        list(map(bits, _logps(block))),
        block.numbers("missing", gaps=True),
        place,
    )


def _place(file: object, line: int | None) -> Place | None:
    """A place; None where columns of these names, which were passed on, hold something else."""
    return (file, line) if isinstance(file, str) and file and line is not None else None


def _logps(block: Block) -> list[float]:
    found: list[float] = block.numbers("logp")
    if math.inf in found:
        block.fail(found.index(math.inf), "expected a log-probability under 'logp'", "inf")
    return found


def _part(block: Block, rows: _Rows, begin: int, end: int, state: _State) -> Part:
    """The rows from `begin` to before `end`, all of one document."""
    first, id = rows.index[begin], rows.id[begin]
    if first == 0:
        if state.due:
            block.fail(begin, f"expected a row of {END_NAME} before the next document", repr(id))
        state.number += 1
        state.id = id
    elif not state.due or first != state.due:
        expected = f"index {state.due}" if state.due else "index 0, of the next document"
        _disorder(block, begin, expected, f"index {first}")
    size = end - begin
    if rows.index[begin:end] != list(range(first, first + size)):
        at = next(at for at in range(size) if rows.index[begin + at] != first + at)
        _disorder(block, begin + at, f"index {first + at}", f"index {rows.index[begin + at]}")
    if rows.id[begin:end].count(state.id) != size:
        at = next(at for at in range(begin, end) if rows.id[at] != state.id)
        _disorder(block, at, f"the id {state.id!r}", repr(rows.id[at]))
    last = rows.unit[end - 1] == END_NAME and rows.start[end - 1] == rows.end[end - 1]
    state.due = 0 if last else first + size
    return Part(
        state.number,
        state.id,
        None if rows.place is None else rows.place[begin],
        first,
        rows.unit[begin:end],
        rows.bits[begin:end],
        rows.missing[begin:end],
        rows.start[begin:end],
        rows.end[begin:end],
        last,
    )


def _disorder(block: Block, at: int, expected: str, found: str) -> None:
    raise InputError(
        f"{block.path}: row {block.first + at:,}: expected {expected}, found {found}: these are "
        "not the rows of whole documents in their order",
        hint=_HINT,
    )
