r"""Values in rows: as fields of TSV, with its escapes \t \n \r \\, and as what strict JSON has.

Numbers that JSON lacks are the strings "inf", "-inf" and "nan". In both, a float of lmfst's own has
its shortest form of at most 10 significant digits; what is passed on stays as it was read.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence

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


def fields(values: Sequence[object]) -> list[str]:
    """TSV fields; quicker for many of one type than one by one."""
    kinds = {*map(type, values)}
    if kinds == {float}:
        return [_float(value) for value in values]  # type: ignore[arg-type]
    if kinds == {int}:
        return [str(value) for value in values]
    if kinds == {str}:
        texts: list[str] = list(values)  # type: ignore[arg-type]
        whole = "".join(texts)
        if any(meant in whole for meant in ESCAPED.values()):
            return [text.translate(ESCAPES) for text in texts]
        return texts
    return [field(value) for value in values]


def json_texts(values: Sequence[object]) -> list[str]:
    """What each of `values` is in JSON; quicker than one by one."""
    kinds = {*map(type, values)}
    if kinds == {int}:
        return [str(value) for value in values]
    if kinds == {str}:
        known = {value: dumps_plain(value) for value in {*values}}
        return [known[value] for value in values]
    if kinds == {float}:
        texts = [_float(value) for value in values]  # type: ignore[arg-type]
        return [repr(float(text)) if text[-1].isdecimal() else f'"{text}"' for text in texts]
    return [dumps_plain(plain(value)) for value in values]


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
