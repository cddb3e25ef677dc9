"""Strings of a grammar → labels, and the numbers of generated symbols.

In byte mode a character is its UTF-8 bytes, in utf8 mode its code point. `[…]` holds labels: an
integer (decimal, 0x…, 0…) is that label, one byte is itself, [BOS] and [EOS] are the ends that
CDRewrite knows, anything else is a generated symbol, numbered in the order of first use. Spaces
separate several.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from lmfst.fst.tables import BOS, EOS, FIRST_GENERATED, NUL_LABEL
from lmfst.grammar.source import RuleError, printable

MAX_LABEL = 2**31 - 1
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "[": "[", "]": "]", "\\": "\\"}
_INTEGER = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)\Z")
_FOREIGN = re.compile("[\udc80-\udcff]")
_SPECIAL = re.compile(r"[\[\]\\]")
_ESCAPE = re.compile(r"\\(.?)", re.DOTALL)
_TOKEN = re.compile(
    r"""
    [^\[\]\\]+                     # plain text
    | \\.?                         # an escape, or a lone backslash at the end
    | \[ (?: [^\[\]\\] | \\. )* \]  # a bracketed symbol
    | [\[\]]                       # a bracket that is no part of a pair
    """,
    re.DOTALL | re.VERBOSE,
)


class Labels:
    """The generated symbols of one compilation: name ↔ label."""

    def __init__(self) -> None:
        self._labels: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._next = FIRST_GENERATED

    @property
    def names(self) -> Mapping[int, str]:
        return self._names

    def label(self, name: str) -> int:
        """The label of a generated symbol; a new one at first use."""
        if not name.isascii():
            # Symbol tables hold no other bytes than UTF-8: one spelling here and there.
            raw = name.encode("utf-8", "surrogateescape")
            name = raw.decode("utf-8", "backslashreplace")
        known = self._labels.get(name)
        if known is not None:
            return known
        while self._next in self._names:
            self._next += 1
        self._add(name, self._next)
        return self._next

    def adopt(self, label: int) -> None:
        """Keep a label without a name, met in a foreign FST, from being given to a symbol."""
        if label not in self._names:
            self._add(f"label {label}", label)

    def _add(self, name: str, label: int) -> None:
        self._labels[name] = label
        self._names[label] = name

    def show(self, labels: list[int], utf8: bool = False) -> str:
        """A path's labels as text, generated symbols in brackets."""
        parts: list[str] = []
        pending = bytearray()

        def flush() -> None:
            parts.append(pending.decode("utf-8", "surrogateescape"))
            pending.clear()

        for label in labels:
            if label in self._names:
                flush()
                parts.append(f"[{self._names[label]}]")
            elif label < NUL_LABEL and not utf8:
                pending.append(label)
            else:
                flush()
                code_point = label <= 0x10FFFF and not 0xD800 <= label < 0xE000
                parts.append(chr(label) if utf8 and code_point else f"[{label}]")
        flush()
        return printable("".join(parts))


def string_labels(text: str, mode: str, labels: Labels, warn: Callable[[str], None]) -> list[int]:
    """The labels of a string FST's text in mode `byte` or `utf8`.

    text: as it stands between the quotes; bytes that are no UTF-8 are lone surrogates.
    warn: told of escapes that mean nothing, and of bytes that are no UTF-8 in byte mode.
    RuleError for unbalanced brackets, a label out of range, or text that is no UTF-8 in utf8 mode.
    """
    foreign = _FOREIGN.search(text) if mode == "byte" else None
    if foreign:
        warn(
            f"a string holds bytes that are no UTF-8 ({printable(foreign[0])}), and so no text "
            "matches it; is the file in another encoding, such as Latin-1? convert it to UTF-8 "
            f"(iconv), or write [0x{ord(foreign[0]) - 0xDC00:02X}] if the byte is meant"
        )
    if not _SPECIAL.search(text):
        return _characters(text, mode)
    result: list[int] = []
    chunk: list[str] = []
    for token in _TOKEN.findall(text):
        if token[0] == "\\":
            chunk.append(_unescape(token[1:], warn))
        elif token[0] not in "[]":
            chunk.append(token)
        elif len(token) == 1:
            raise _unbalanced(token, text)
        else:
            result += _characters("".join(chunk), mode)
            chunk = []
            inner = token[1:-1]
            if "\\" in inner:
                inner = _ESCAPE.sub(lambda match: _unescape(match[1], warn), inner)
            result += _bracketed(inner, mode, labels)
    return result + _characters("".join(chunk), mode)


def _unbalanced(bracket: str, text: str) -> RuleError:
    """The error for a bracket that is no part of a pair."""
    if bracket == "]":
        message = "']' without a '[' before it"
    elif re.search(r"\[(?:[^\[\]\\]|\\.)*\[", text, re.DOTALL):
        message = "'[' inside a bracketed symbol"
    else:
        message = "a '[' is never closed"
    return RuleError(message, hint=f"write \\{bracket} for the character")


def _unescape(char: str, warn: Callable[[str], None]) -> str:
    """What a backslash and `char` stand for; what is no escape stays both, as in Thrax 1.3."""
    if char in _ESCAPES:
        return _ESCAPES[char]
    shown = f"\\{printable(char)}" if char else "a backslash at the end of a string"
    warn(
        f'{shown} is no escape (they are \\n \\r \\t \\[ \\] \\\\, and \\" in a double-quoted '
        "string); the backslash is kept, as Thrax 1.3 does (1.2 dropped it): write \\\\ if it "
        "is meant, and leave it out if not"
    )
    return f"\\{char}"


def _characters(text: str, mode: str) -> list[int]:
    """Text without brackets and escapes as labels."""
    if "\0" in text:
        raise RuleError(
            "a NUL character in a string", hint="write NUL as [256]: label 0 is epsilon"
        )
    if mode == "byte":
        return list(text.encode("utf-8", "surrogateescape"))
    labels = [ord(char) for char in text]
    if any(0xD800 <= label < 0xE000 for label in labels):
        raise RuleError(
            f"a utf8 string holds bytes that are no UTF-8: {printable(text)}",
            hint="use byte mode, or repair the file's encoding",
        )
    return labels


def _bracketed(text: str, mode: str, labels: Labels) -> list[int]:
    """The labels of what stands between [ and ]; spaces separate several."""
    result = [_symbol(part, mode, labels) for part in text.split()]
    if not result:
        raise RuleError("an empty symbol []", hint="write \\[\\] for the characters")
    return [label for label in result if label]


def _symbol(name: str, mode: str, labels: Labels) -> int:
    """One label: an integer, an end of the string, a single character, or a generated symbol.

    0 is epsilon, and so no label at all.
    """
    if _INTEGER.match(name):
        return _integer(name)
    if name in ("BOS", "EOS"):
        return BOS if name == "BOS" else EOS
    data = name.encode("utf-8", "surrogateescape")
    if len(data) == 1:
        return data[0]
    if mode == "utf8" and len(name) == 1:
        return ord(name)
    return labels.label(name)


def _integer(text: str) -> int:
    digits = text.lstrip("+-")
    # As C's strtol with base 0: a leading 0 means octal, 0x hexadecimal.
    base = 16 if digits[:2].lower() == "0x" else 8 if digits[0] == "0" and len(digits) > 1 else 10
    value = int(text, base)
    if not 0 <= value <= MAX_LABEL:
        raise RuleError(
            f"the label [{text}] is out of range", hint=f"labels are 0 … {MAX_LABEL}; 0 is epsilon"
        )
    return value


def pynini_text(labels: list[int]) -> str:
    """Labels written so that pynini's string compiler gives exactly these, whatever the mode."""
    return "".join(map("[{}]".format, labels))


def used_labels(fst: Any) -> tuple[set[int], set[int]]:
    """The input and the output labels on the arcs of a pynini FST, epsilon apart."""
    inputs: set[int] = set()
    outputs: set[int] = set()
    for state in fst.states():
        for arc in fst.arcs(state):
            inputs.add(arc.ilabel)
            outputs.add(arc.olabel)
    return inputs - {0}, outputs - {0}
