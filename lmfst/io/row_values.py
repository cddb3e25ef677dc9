r"""Values in rows: as fields of TSV, with its escapes \t \n \r \\, and as what strict JSON has.

Numbers that JSON lacks are the strings "inf", "-inf" and "nan". In both, a float of lmfst's own has
its shortest form of at most 10 significant digits; what is passed on stays as it was read.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring

from lmfst.io.json_text import Number, dumps, dumps_plain

ESCAPED = {"\\t": "\t", "\\n": "\n", "\\r": "\r", "\\\\": "\\"}
"""The escapes of TSV, and what each stands for."""
ESCAPES = str.maketrans({meant: escape for escape, meant in ESCAPED.items()})


def field(value: object) -> str:
    """One TSV field."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.translate(ESCAPES)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, numbers.Integral):
        return str(int(value))
    if isinstance(value, numbers.Real):
        return _float(float(value))
    return dumps(plain(value)).translate(ESCAPES)


Cells = tuple[str, Sequence[object]]
"""A column of text: a conversion of `%`, and what it converts in each row."""


def fields(column: Sequence[object]) -> Cells:
    """TSV fields; quicker for many of one type than one by one."""
    if isinstance(column, range):
        return "%d", column
    kinds = {*map(type, column)}
    if kinds == {int}:
        return "%d", column
    if kinds == {float}:
        return "%.10g", _unsigned(column)  # type: ignore[arg-type]
    if kinds == {str}:
        texts: Sequence[str] = column  # type: ignore[assignment]
        whole = "".join(texts)
        if any(meant in whole for meant in ESCAPED.values()):
            return "%s", [text.translate(ESCAPES) for text in texts]
        return "%s", texts
    return "%s", [field(value) for value in column]


def escaped_field(value: object) -> str:
    """One TSV field whose text has been escaped."""
    return value if isinstance(value, str) else field(value)


def escaped_fields(column: Sequence[object]) -> Cells:
    """The same of a column."""
    if {*map(type, column)} == {str}:
        return "%s", column
    return "%s", list(map(escaped_field, column))


def json_value(value: object) -> str:
    """What a value is in JSON."""
    return dumps_plain(plain(value))


def json_values(column: Sequence[object]) -> Cells:
    """What each value of a column is in JSON; quicker than one by one."""
    if isinstance(column, range):
        return "%d", column
    kinds = {*map(type, column)}
    if kinds == {int}:
        return "%d", column
    if kinds == {str}:
        return "%s", list(map(encode_basestring, column))  # type: ignore[arg-type]
    if kinds == {float}:
        texts = [f"{value:.10g}" for value in _unsigned(column)]  # type: ignore[arg-type]
        return "%s", [text if _is_json(text) else _as_json(text) for text in texts]
    return "%s", list(map(json_value, column))


def _is_json(text: str) -> bool:
    """Whether it is sure that JSON has a float of `_float` in the same form. Its digits are the
    fewest that the number is known by, but for the very smallest (e-308 and below), and Python has
    exponents for fewer of the large numbers."""
    return "." in text and "e+" not in text and "e-3" not in text


def _as_json(text: str) -> str:
    return repr(float(text)) if text[-1].isdecimal() else f'"{text}"'


def _unsigned(column: Sequence[float]) -> Sequence[float]:
    """Zeros without a sign."""
    return [value + 0.0 for value in column] if 0.0 in column else column


def _float(value: float) -> str:
    # Adding 0.0 turns -0.0 into 0.0.
    return f"{value + 0.0:.10g}"


def plain(value: object) -> object:
    """`value` made of what strict JSON has; TypeError for what is no number, text or container."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        text = _float(float(value))
        return float(text) if math.isfinite(value) else text
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [plain(item) for item in value]
    raise TypeError(f"expected text, a number, a list or a mapping, found {type(value).__name__}")


def exact(value: object) -> object:
    """A value as it was read, of JSON or of a table: no digit of a number goes."""
    if isinstance(value, float):
        return value if math.isfinite(value) or isinstance(value, Number) else _float(value)
    if isinstance(value, dict):
        return {key: exact(item) for key, item in value.items()}
    return [exact(item) for item in value] if isinstance(value, list) else value


def passed_field(value: object) -> str:
    """One TSV field of what is passed on."""
    value = exact(value)
    if value is None:
        return ""
    return (value if isinstance(value, str) else dumps(value)).translate(ESCAPES)
