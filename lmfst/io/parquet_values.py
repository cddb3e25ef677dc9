r"""Values of Arrow columns as what JSON has, and texts among them as bytes."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

from lmfst.io.json_text import Number
from lmfst.io.tables import shown


def text_values(column: Any, library: Any) -> list[bytes | None]:
    """The bytes of texts, which need not be UTF-8."""
    if library.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return [None if value is None else bytes(value) for value in _binary(column, library)]


def jsonable(column: Any, library: Any) -> list[object]:
    """Values as what JSON has; see `lmfst.io.parquet`."""
    types = library.types
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if types.is_string(column.type) or types.is_large_string(column.type):
        # They need not be UTF-8, which Arrow doesn't look at.
        return [_plain(value) for value in _binary(column, library)]
    if types.is_timestamp(column.type) and column.type.unit == "ns":
        # Python's own have microseconds.
        fraction = "" if column.type.tz is None else "Z"
        naive = column.cast(library.timestamp("ns"))
        return [
            None if value is None else value.replace(" ", "T") + fraction
            for value in naive.cast(library.string()).to_pylist()
        ]
    return [_plain(value) for value in column.to_pylist()]


def _binary(column: Any, library: Any) -> list[bytes | None]:
    found: list[bytes | None] = column.cast(library.large_binary()).to_pylist()
    return found


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return shown(value.decode("utf-8", "surrogateescape"))
    if isinstance(value, decimal.Decimal):
        return Number.of(str(value))
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)
