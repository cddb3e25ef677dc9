"""Strings in messages: text as text, and whatever isn't as an escape that says what it is.

A backslash is doubled, so that an escape can't be mistaken for text: `\\xNN` is a control character
or a byte that is no UTF-8, `\\uNNNN` and `\\UNNNNNNNN` are characters that can't be seen.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from lmfst.fst.symbols import Symbols

_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\\": "\\\\"}


def show_bytes(data: bytes) -> str:
    """A byte string in quotes, for messages; `the empty string` for none."""
    return _quoted(data.decode("utf-8", "surrogateescape")) if data else "the empty string"


def show_output(output: Iterable[int], symbols: Symbols) -> str:
    """A string of output symbols in quotes, for messages; `nothing` for none.

    Bytes and characters stand side by side, generated symbols in brackets, the symbols of a table
    by their names with spaces between.
    """
    output = list(output)
    if not output:
        return "nothing"
    if symbols.kind == "symbols":
        return _quoted(" ".join(map(symbols.name, output)))
    pieces: list[bytes] = []
    for symbol in output:
        name = symbols.names.get(symbol)
        if name is not None:
            pieces.append(f"[{name}]".encode("utf-8", "surrogateescape"))
        elif symbols.kind == "bytes" and 0 <= symbol < 256:
            pieces.append(bytes([symbol]))
        elif symbols.kind == "unicode" and not 0xD800 <= symbol < 0xE000:
            pieces.append(chr(symbol).encode())
        else:
            pieces.append(symbols.name(symbol).encode())
    return show_bytes(b"".join(pieces))


def escaped(text: str) -> str:
    """The text with everything escaped that can't be seen; lone surrogates are bytes."""
    first = unicodedata.category(text[0]).startswith("M") if text else False
    shown = [_shown(char) for char in text]
    # A combining mark would melt into the quote before it.
    return "".join([_code(ord(text[0])), *shown[1:]] if first else shown)


def _quoted(text: str) -> str:
    shown = escaped(text)
    if "'" not in shown:
        return f"'{shown}'"
    if '"' not in shown:
        return f'"{shown}"'
    escape = shown.replace("'", "\\'")
    return f"'{escape}'"


def _shown(char: str) -> str:
    code = ord(char)
    if char in _SHORT:
        return _SHORT[char]
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return char if char.isprintable() else _code(code)


def _code(code: int) -> str:
    """The escape of a character; two digits only for ASCII, as others are several bytes."""
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
