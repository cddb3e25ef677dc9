r"""Values in rows: as fields of TSV, with its escapes \t \n \r \\, and as what strict JSON has.

Numbers that JSON lacks are the strings "inf", "-inf" and "nan". In both, a float of lmfst's own has
its shortest form of at most 10 significant digits; what is passed on stays as it was read.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence

from lmfst.io.json_text import Number, dumps

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
