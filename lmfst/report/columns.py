"""Columns of rows that lmfst has written, read back in blocks: TSV and JSON lines, packed or not,
and Parquet.

Values come as they are in the file, text of TSV without its escapes; what they mean is said by
those who ask for them. A file is read from its beginning each time, and a block is all of it that
is held.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any, NoReturn

from lmfst.ground.errors import InputError, UsageError
from lmfst.io.extras import extra
from lmfst.io.forms import known_form
from lmfst.io.parquet import named
from lmfst.io.row_values import ESCAPED
from lmfst.io.streams import STDIN, opened
from lmfst.scored.levels import COLUMNS
from lmfst.scored.records import ESCAPED_COLUMNS, NEXT_COLUMNS

BLOCK = 4096
"""Rows of a block."""
LONGEST_HEADER = 1 << 20
_ESCAPE = re.compile(r"\\[tnr\\]")
_WHOLE = re.compile(r"-?\d{1,18}(\.0)?")
"""A whole number that 64 bits hold."""
_SHOWN = 12
_WRITE = "write rows to a file: lmfst score … -o OUT.tsv, or lmfst convert … -o OUT.tsv"
_AGAIN = "write the rows again, or name another file"


@dataclass(frozen=True)
class Wanted:
    """The columns that are asked for. level: of the rows that have them. optional: those that may
    be lacking, and are None then."""

    level: str
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return self.required + self.optional


@dataclass(frozen=True)
class Block:
    """Rows that follow one another. first: the number of the first, from 1. columns: by name, all
    as long; None for one that the file lacks."""

    path: str
    first: int
    columns: dict[str, list[Any] | None]

    def numbers(self, name: str, *, gaps: bool = False) -> list[Any]:
        """A column as floats; gaps: empty values are None. InputError for what is no number."""
        values = self._values(name)
        try:
            found: list[Any] = list(map(float, values))
        except (TypeError, ValueError):
            found = [self._number(name, at, value, gaps) for at, value in enumerate(values)]
        for at, value in enumerate(found):
            if value != value:
                self.fail(at, f"expected a number under {name!r}", "nan")
        return found

    def whole(self, name: str) -> list[int]:
        """A column as whole numbers. InputError for what is none."""
        values = self._values(name)
        if {*map(type, values)} <= {int} and max(map(abs, values), default=0) < 10**18:
            return values
        for at, value in enumerate(values):
            if not _WHOLE.fullmatch(_written(value)):
                self.fail(at, f"expected a whole number under {name!r}", repr(value))
        return [int(float(value)) if isinstance(value, float) else int(value) for value in values]

    def texts(self, name: str) -> list[str]:
        """A column as texts; numbers are written out. InputError for empty ones of Parquet and
        JSON."""
        values = self._values(name)
        for at, value in enumerate(values):
            if value is None:
                self.fail(at, f"expected a text under {name!r}", "null")
        return [value if isinstance(value, str) else str(value) for value in values]

    def maybe_whole(self, name: str) -> list[int | None]:
        """A column as whole numbers; None where there is none."""
        return [
            int(float(text)) if _WHOLE.fullmatch(text := _written(value)) else None
            for value in self._values(name)
        ]

    def fail(self, at: int, expected: str, found: str) -> NoReturn:
        """InputError about the row at an index."""
        raise InputError(
            f"{self.path}: row {self.first + at:,}: {expected}, found {found[:80]}", hint=_AGAIN
        )

    def _values(self, name: str) -> list[Any]:
        return self.columns[name] or []

    def _number(self, name: str, at: int, value: object, gaps: bool) -> float | None:
        if gaps and (value is None or value == ""):
            return None
        try:
            return float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            self.fail(at, f"expected a number under {name!r}", repr(value))


def _written(value: object) -> str:
    return str(value) if isinstance(value, int | float | str) else ""


def blocks(path: str, wanted: Wanted) -> Iterator[Block]:
    """The rows of a file, a block after the other.

    UsageError for a name that isn't that of rows; InputError for a file that can't be read, that
    lacks a column (the message says what its rows seem to be), and for damaged rows.
    """
    read = {"tsv": _tsv, "jsonl": _json_lines, "parquet": _parquet}
    yield from read[require_form(path)](path, wanted)


def require_form(path: str) -> str:
    """The format of a file of rows, by its name. Errors: as `blocks`, for a name that isn't that of
    rows and for a file that isn't there."""
    form = None if path == STDIN else known_form(path)
    if form not in ("tsv", "jsonl", "parquet"):
        raise UsageError(
            f"{path}: expected a file of rows, whose name ends in .tsv, .jsonl or .parquet",
            hint=_WRITE,
        )
    if not os.path.exists(path) or os.path.isdir(path):
        found = "a folder" if os.path.isdir(path) else "no such file"
        raise InputError(f"{path}: expected a file of rows, found {found}", hint=_WRITE)
    return form


def require_columns(path: str, names: Sequence[str], wanted: Wanted) -> None:
    """InputError unless there are the columns that are required."""
    lacking = [name for name in wanted.required if name not in names]
    if not lacking:
        return
    if not names:
        raise InputError(
            f"{path}: expected rows of level {wanted.level}, found an empty file", hint=_AGAIN
        )
    listed = ", ".join(map(repr, names[:_SHOWN])) + (", …" if len(names) > _SHOWN else "")
    found = seeming(names) or f"columns {listed}"
    raise InputError(
        f"{path}: expected rows of level {wanted.level}, with the columns "
        f"{', '.join(wanted.required)}; found {found}, without {', '.join(lacking)}",
        hint=f"score or convert the texts with --level {wanted.level}"
        + (", or name rows of texts with --texts" if {*COLUMNS["text"]} <= {*names} else "")
        + (" by this version of lmfst" if len(lacking) < len(wanted.required) / 2 else ""),
    )


def seeming(names: Sequence[str]) -> str:
    """What rows with these columns are; "" if lmfst writes none such."""
    for level, columns in COLUMNS.items():
        if {*columns} <= {*names}:
            return f"rows of level {level}"
    return "rows of lmfst next" if {*NEXT_COLUMNS} <= {*names} else ""


def _tsv(path: str, wanted: Wanted) -> Iterator[Block]:
    with opened(path) as stream, _utf8(path):
        header = stream.readline(LONGEST_HEADER)
        end = "\r\n" if header.endswith(b"\r\n") else "\n"
        names = _decoded(header).removesuffix(end).split("\t")
        require_columns(path, names if header else [], wanted)
        places = {name: names.index(name) for name in wanted.names if name in names}
        number = 1
        while lines := list(islice(stream, BLOCK)):
            if not lines[-1].endswith(b"\n"):
                # The last number may be half of one.
                _cut_off(path, number + len(lines) - 1)
            text = _decoded(b"".join(lines)).removesuffix(end)
            rows = [line.split("\t") for line in text.split(end)]
            if {*map(len, rows)} != {len(names)}:
                _uneven(path, number, rows, len(names))
            columns: dict[str, list[Any] | None] = dict.fromkeys(wanted.names)
            for name, place in places.items():
                columns[name] = _plain(name, [row[place] for row in rows])
            yield Block(path, number, columns)
            number += len(rows)


def _cut_off(path: str, number: int) -> NoReturn:
    raise InputError(
        f"{path}: row {number:,}: expected a line end after it, found the end of the file",
        hint=f"the file may be cut off: {_AGAIN}",
    )


def _uneven(path: str, first: int, rows: list[list[str]], width: int) -> NoReturn:
    at, row = next((at, row) for at, row in enumerate(rows) if len(row) != width)
    raise InputError(
        f"{path}: row {first + at:,}: expected {width} fields, as in the header, found {len(row)}",
        hint=f"the file may be cut off: {_AGAIN}",
    )


def _plain(name: str, values: list[str]) -> list[Any]:
    """Texts without the escapes of TSV. Those of units are the units' own, in all formats."""
    if name in ESCAPED_COLUMNS or not any("\\" in value for value in values):
        return values
    return [_ESCAPE.sub(lambda found: ESCAPED[found[0]], value) for value in values]


def _json_lines(path: str, wanted: Wanted) -> Iterator[Block]:
    with opened(path) as stream, _utf8(path):
        number = 1
        while lines := list(islice(stream, BLOCK)):
            rows = [_object(path, number + at, line) for at, line in enumerate(lines)]
            columns: dict[str, list[Any] | None] = dict.fromkeys(wanted.names)
            try:
                columns |= {name: [row[name] for row in rows] for name in wanted.required}
            except KeyError:
                for row in rows:
                    require_columns(path, list(row), wanted)
            for name in wanted.optional:
                if all(name in row for row in rows):
                    columns[name] = [row[name] for row in rows]
            yield Block(path, number, columns)
            number += len(rows)


def _object(path: str, number: int, line: bytes) -> dict[str, Any]:
    text = _decoded(line)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: row {number:,}: expected a JSON object: {error}",
            hint=f"the file may be cut off: {_AGAIN}",
        ) from None
    if not isinstance(found, dict):
        raise InputError(
            f"{path}: row {number:,}: expected a JSON object, found {type(found).__name__}",
            hint=_AGAIN,
        )
    return found


def _decoded(data: bytes) -> str:
    return data.decode("utf-8")


@contextmanager
def _utf8(path: str) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise InputError(
            f"{path}: expected UTF-8, as rows are written in, found the byte 0x{byte:02x}",
            hint=_AGAIN,
        ) from None


def _parquet(path: str, wanted: Wanted) -> Iterator[Block]:
    library = extra("pyarrow", "parquet", f"{path}: Parquet")
    files = extra("pyarrow.parquet", "parquet", f"{path}: Parquet")
    with opened(path) as stream:
        _look(path, stream)
    with named(path, library, _AGAIN), files.ParquetFile(path, pre_buffer=False) as file:
        names = file.schema_arrow.names
        require_columns(path, names, wanted)
        present = [name for name in wanted.names if name in names]
        number = 1
        for batch in file.iter_batches(BLOCK, columns=present, use_threads=False):
            columns: dict[str, list[Any] | None] = dict.fromkeys(wanted.names)
            for name in present:
                columns[name] = batch.column(batch.schema.get_field_index(name)).to_pylist()
            yield Block(path, number, columns)
            number += batch.num_rows


def _look(path: str, stream: IO[bytes]) -> None:
    if stream.read(4) != b"PAR1":
        raise InputError(f"{path}: expected a Parquet file, found something else", hint=_AGAIN)
