r"""Tables as documents: CSV and TSV with a header, one document a row.

CSV is that of RFC 4180: commas, and fields in quotes where they hold commas, line ends or quotes (a
quote twice). TSV is what `lmfst.io.rows` writes: a line is a row, tabs separate fields, quotes are
text, and \t \n \r \\ in a field stand for tab, line feed, carriage return and backslash; \udcNN for
a byte that is no UTF-8. Both may have CRLF line ends. A row is handed on as soon as it is complete.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import IO, Literal, Self

from lmfst.ground.document import Document, Rejected
from lmfst.ground.errors import InputError
from lmfst.io.lines import MEND, Line, Lines, Overlong
from lmfst.io.reading import Found, Reading
from lmfst.io.row_values import ESCAPED

Kind = Literal["csv", "tsv"]

TEXT, ID = "text", "id"
"""The columns that are taken where none is named."""
LONGEST_FIELD = 2**31 - 1
"""Characters of a CSV field."""

_SEPARATED = {",": "use --doc csv", "\t": "use --doc tsv"} | dict.fromkeys(
    ";|", "save the table with commas for --doc csv, or with tabs for --doc tsv"
)
_ESCAPE = re.compile(r"\\(?:[tnr\\]|udc[89a-f][0-9a-f])")
_ENCODING = ("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Row:
    """A row: its 1-based number without the header, the number of its first line, and its fields by
    column. Bytes that are no UTF-8 are lone surrogates ("surrogateescape")."""

    number: int
    line: int
    fields: dict[str, str]


def table(stream: IO[bytes], reading: Reading, kind: Kind) -> Found:
    """The rows of a table as documents. Errors: see `rows` and `chosen`."""
    names, found = rows(reading.lines(stream), reading, kind)
    text, key = chosen(names, reading.text, reading.id, reading.name)
    if reading.header is not None:
        reading.header(kind, names)
    others = [column for column in names if column not in (text, key)]
    for row in islice(found, reading.skip, None):
        if isinstance(row, Rejected):
            yield row
            continue
        fields = row.fields
        yield Document(
            str(row.number) if key is None else shown(fields[key]),
            fields[text].encode(*_ENCODING),
            f"{reading.name}:{row.line}",
            form=kind,
            row=fields,
            extra={column: shown(fields[column]) for column in others},
            file=reading.name,
            line=row.line,
        )


def rows(lines: Lines, reading: Reading, kind: Kind) -> tuple[list[str], Iterator[Row | Rejected]]:
    """The columns of a table and its rows; in place of one, what is wrong with it: more or fewer
    fields, quotes that are not closed or close amid a field, too many bytes.

    lines: numbered from 1. Raises InputError, with the line, for a missing or bad header and a
    column that comes twice.
    """
    name = reading.name
    decoded = _Decoded(lines, reading)
    found = (_csv if kind == "csv" else _tsv)(decoded, reading)
    _, columns = next(found, (0, None))
    if columns is None:
        raise InputError(
            f"{name}: expected a header line with the names of columns, the file is empty",
            hint="the first line of a table names its columns, such as text",
        )
    if isinstance(columns, Rejected):
        raise InputError(columns.message, hint=columns.hint)
    if columns in ([], [""]):
        raise InputError(
            f"{name}:1: expected a header line with the names of columns, found an empty line",
            hint="the header must be the first line",
        )
    _check_columns(columns, name, kind)
    return columns, _rows(found, columns, reading, kind)


def chosen(
    columns: Sequence[str], text: str | None, id: str | None, name: str
) -> tuple[str, str | None]:
    """The columns of text and id (None: there is none). text, id: those asked for; None: the usual
    ones, where there are such.

    InputError, with the columns that there are, for one that isn't there.
    """
    shown = ", ".join(map(repr, columns))
    for option, wanted in (("--text-column", TEXT if text is None else text), ("--id-column", id)):
        if wanted is None or wanted in columns:
            continue
        hint = f"name one with {option}"
        if len(columns) == 1 and (other := re.search(r"[;\t|,]", columns[0])):
            hint = f"fields seem to be separated by {other[0]!r}: {_SEPARATED[other[0]]}"
        near = [name for name in columns if name.strip().casefold() == wanted.strip().casefold()]
        if near:
            hint = f"spaces and capitals count: rename the column {near[0]!r}, or {hint}"
        raise InputError(
            f"{name}: expected a column {wanted!r}, the columns are {shown}", hint=hint
        )
    usual = ID if ID in columns else None
    return TEXT if text is None else text, usual if id is None else id


def shown(text: str) -> str:
    r"""The text with bytes that are no UTF-8 as `\xNN`."""
    return re.sub("[\udc80-\udcff]", lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", text)


class _TooLongError(Exception):
    """A row is too long. size: its bytes."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class _Decoded:
    """Lines as text, those of one row after those of another. number: that of the last one."""

    def __init__(self, lines: Lines, reading: Reading) -> None:
        self._lines, self._reading = lines, reading
        self._warned = False
        self._size = self._quotes = 0
        self.number = 0

    def begin(self) -> int:
        """A row begins with the next line; its number."""
        self._size = self._quotes = 0
        return self.number + 1

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        line = self._next()
        longest = self._reading.longest
        if isinstance(line, bytes) and (longest is None or self._size <= longest):
            return self._text(line)
        # A line end amid quotes ends no row.
        while self._quotes % 2:
            try:
                self._next()
            except StopIteration:
                break
        raise _TooLongError(self._size)

    def _next(self) -> Line:
        self.number, line = next(self._lines)
        if isinstance(line, Overlong):
            self._size += line.size
            self._quotes += line.quotes
        elif self._reading.longest is not None:
            self._size += len(line.rstrip(b"\r\n"))
            self._quotes += line.count(b'"')
        return line

    def _text(self, line: bytes) -> str:
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError as error:
            found = (
                f"{self._reading.name}:{self.number}: the byte 0x{line[error.start]:02x} is no "
                "UTF-8"
            )
        mend = "convert the file, for instance with: iconv -f WINDOWS-1252 -t UTF-8"
        if self.number == 1:
            raise InputError(f"{found}: expected a header in UTF-8", hint=mend)
        if not self._warned:
            self._warned = True
            self._reading.warn(f"{found}: such bytes are taken as they are; {mend}")
        return line.decode(*_ENCODING)


Fields = Iterator[tuple[int, list[str] | Rejected]]


def _csv(lines: _Decoded, reading: Reading) -> Fields:
    """(number of its first line, fields) of each row, the header first."""
    reader = csv.reader(lines, strict=True)
    while True:
        first = lines.begin()
        # The limit is the module's, so it is put back for others at once.
        limit = csv.field_size_limit(LONGEST_FIELD)
        fields: list[str] | Rejected
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            fields = replace(_bad_csv(str(error), reading, first, lines.number), line=first)
        except _TooLongError as error:
            fields = reading.too_long(first, "a row", error.size)
        finally:
            csv.field_size_limit(limit)
        yield first, fields


def _bad_csv(reason: str, reading: Reading, first: int, last: int) -> Rejected:
    if "unexpected end" in reason:
        return reading.rejected(
            first,
            "quotes",
            "a quote that opens a field in this row is not closed by the end of the file",
            'close it; a quote inside a field in quotes is written twice (""), and a field '
            "that isn't in quotes must not begin with one",
        )
    if "new-line character" in reason:
        return reading.rejected(
            last,
            "quotes",
            "a carriage return (CR) without a line feed stands in a field without quotes",
            f"if CR ends lines, use: {MEND}; else put the field in quotes",
        )
    return reading.rejected(
        last,
        "quotes",
        f"expected CSV: {reason}",
        'a field in quotes ends with its quote; a quote inside is written twice ("")',
    )


def _tsv(lines: _Decoded, reading: Reading) -> Fields:
    """As `_csv`."""
    quotes = escapes = False
    while True:
        first = lines.begin()
        try:
            line = next(lines)
        except StopIteration:
            return
        except _TooLongError as error:
            yield first, reading.too_long(first, "a row", error.size)
            continue
        text = line.removesuffix("\n")
        if text != line:
            text = text.removesuffix("\r")
        fields = text.split("\t")
        if not quotes and any(len(f) > 1 and f[0] == f[-1] == '"' for f in fields):
            quotes = True
            reading.warn(
                f"{reading.name}:{first}: a field is in quotes, which are text in TSV; if a "
                "program put them there, save the table as CSV and read it with --doc csv"
            )
        if "\\" in text:
            plain = [_ESCAPE.sub(_meant, field) for field in fields]
            if not escapes and plain != fields:
                escapes = True
                reading.warn(
                    f"{reading.name}:{first}: \\t, \\n, \\r and \\\\ in a field are read as tab, "
                    "line ends and backslash, as lmfst writes them"
                )
            fields = plain
        yield first, fields


def _check_columns(columns: list[str], name: str, kind: Kind) -> None:
    if re.fullmatch("sep=.?", columns[0].lower()):
        raise InputError(
            f"{name}:1: expected the names of columns, found a line that tells Excel the separator",
            hint="delete this line",
        )
    if any("\0" in column for column in columns):
        raise InputError(
            f"{name}:1: expected a header in UTF-8, found NUL bytes in it, as in UTF-16",
            hint="convert it, for instance with: iconv -f UTF-16LE -t UTF-8",
        )
    if kind == "tsv" and any("\r" in column for column in columns):
        raise InputError(f"{name}:1: the header has a carriage return (CR)", hint=f"use: {MEND}")
    first: dict[str, int] = {}
    for at, column in enumerate(columns, start=1):
        if column in first:
            what = f"are both called {column!r}" if column else "have no name"
            raise InputError(
                f"{name}:1: expected different names, columns {first[column]} and {at} {what}",
                hint="rename one of them in the header",
            )
        first[column] = at


def _rows(
    found: Fields, columns: list[str], reading: Reading, kind: Kind
) -> Iterator[Row | Rejected]:
    number = 0
    blank = False
    for line, fields in found:
        if fields in ([], [""]):
            if len(columns) > 1:
                if not blank:
                    blank = True
                    reading.warn(
                        f"{reading.name}:{line}: an empty line is no row of the table; it is left "
                        "out"
                    )
                continue
            fields = [""]
        number += 1
        if isinstance(fields, Rejected):
            yield fields
        elif len(fields) == len(columns):
            yield Row(number, line, dict(zip(columns, fields, strict=True)))
        else:
            hint = "a comma or a line end inside a field needs quotes around the field"
            if kind == "tsv":
                hint = "a tab inside a field is written \\t, a line end \\n; quotes don't hold them"
            yield reading.rejected(
                line,
                "fields",
                f"expected {len(columns)} fields, as in the header, found {len(fields)}",
                hint,
            )


def _meant(escape: re.Match[str]) -> str:
    """What an escape of TSV stands for; a byte that is no UTF-8 is a lone surrogate."""
    return ESCAPED.get(escape[0]) or chr(int(escape[0][2:], 16))
