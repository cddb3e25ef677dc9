"""JSON lines as documents: an object a line, with a text and perhaps an id."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, NoReturn

from lmfst.ground.document import Document, Reason, Rejected
from lmfst.io.json_text import loads
from lmfst.io.lines import Overlong
from lmfst.io.reading import Found, Reading
from lmfst.io.tables import ID, TEXT


def json_lines(stream: IO[bytes], reading: Reading) -> Found:
    """The objects of a file; lines of white space are none. Those skipped are not looked into."""
    left = reading.skip
    for number, line in reading.lines(stream):
        if isinstance(line, bytes) and not line.strip():
            continue
        if left:
            left -= 1
        elif isinstance(line, Overlong):
            yield reading.too_long(number, "a line", line.size)
        else:
            yield _record(line, number, reading)


class _UnusableError(Exception):
    """A line that is no document: Reason, and what `Rejected` says."""

    def __init__(self, reason: Reason, expected: str, found: str, hint: str = "") -> None:
        super().__init__(f"expected {expected}, found {found}")
        self.reason: Reason = reason
        self.hint = hint


def _record(line: bytes, number: int, reading: Reading) -> Document | Rejected:
    id: str | None = None
    try:
        record = _object(line, number, reading)
        # What can be said of the id, for messages about the text.
        key = record.get(ID if reading.id is None else reading.id)
        id = str(key) if isinstance(key, str | int) and not isinstance(key, bool) else None
        return _document(record, number, reading)
    except _UnusableError as error:
        text = TEXT if reading.text is None else reading.text
        usual = f'every line is an object such as {{"id": "1", "{text}": "..."}}'
        return reading.rejected(number, error.reason, str(error), error.hint or usual, id)


def _object(line: bytes, number: int, reading: Reading) -> dict[str, object]:
    def constant(name: str) -> None:
        where = f"{reading.name}:{number}"
        reading.warn(f"{where}: {name} is no number of JSON; it is passed on as a text")

    def fail(expected: str, found: str) -> NoReturn:
        raise _UnusableError("undecodable", expected, found) from None

    try:
        # Decoded here, because json would guess at UTF-16 and UTF-32.
        record = loads(line.decode("utf-8"), constant)
    except UnicodeDecodeError as error:
        fail("UTF-8", f"the byte 0x{line[error.start]:02x} at column {error.start + 1}")
    except json.JSONDecodeError as error:
        fail("a JSON object", f"bad JSON at column {error.colno}: {error.msg}")
    except (RecursionError, ValueError) as error:
        fail("a JSON object", str(error))
    if not isinstance(record, dict):
        fail("a JSON object", type(record).__name__)
    return record


def _document(record: dict[str, object], number: int, reading: Reading) -> Document:
    text_key = TEXT if reading.text is None else reading.text
    id_key = ID if reading.id is None else reading.id
    text, key = record.get(text_key), record.get(id_key, number if reading.id is None else None)
    if not isinstance(text, str):
        keys = ", ".join(map(repr, record)) or "none"
        raise _UnusableError(
            "no_text",
            f'a string under "{text_key}"',
            _kind(record, text_key),
            f"the keys are {keys}: name the one of the text with --text-column",
        )
    if not isinstance(key, str | int) or isinstance(key, bool):
        raise _UnusableError(
            "bad_id", f'a string or an integer under "{id_key}"', _kind(record, id_key)
        )
    try:
        # As they are written: bytes that are no UTF-8 are \udc80 … \udcff.
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise _UnusableError(
            "surrogate", "text that UTF-8 can encode", f"the lone surrogate {text[error.start]!a}"
        ) from None
    return Document(
        str(key),
        data,
        f"{reading.name}:{number}",
        form="jsonl",
        row=record,
        extra={name: value for name, value in record.items() if name not in (text_key, id_key)},
        file=reading.name,
        line=number,
    )


def _kind(record: Mapping[str, object], key: str) -> str:
    """What is under a key, for messages."""
    if key not in record:
        return "none"
    value = record[key]
    return (
        "null" if value is None else "float" if isinstance(value, float) else type(value).__name__
    )
