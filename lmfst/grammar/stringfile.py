"""StringFile['f'(, in-mode(, out-mode))]: a list of strings, or of pairs, as one FST.

One entry a line, columns separated by tabs: a string (an acceptor line), or input and output, or
these and a weight. `#` begins a comment, `\\#` is the character. Brackets and escapes are those
of strings; a line whose brackets don't match is read as it stands, as older Thrax does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

from lmfst.grammar.labels import Labels, pynini_text, string_labels
from lmfst.grammar.source import RuleError, printable
from lmfst.grammar.values import ASCII, BYTE, UTF8, Alphabets, Table, Value, alphabets_of

Warn = Callable[[str], None]
Mode = str | Table
"""How a column's text becomes labels: `byte`, `utf8` or a symbol table."""

_COMMENT = re.compile(r"(?<!\\)#")
_SPECIAL = re.compile(r"[\[\]\\\0]|[\udc80-\udcff]")


def string_file(path: Path, modes: tuple[Mode, Mode], labels: Labels, warn: Warn) -> Value:
    """The FST of a file of strings; `modes` are those of input and output.

    RuleError, with the file's line, for what can't be read.
    """
    import pynini

    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise RuleError(f"{path}: {error.strerror or error}") from error
    rows = _rows(text.removeprefix("\ufeff"), path, warn)
    sides = [_Side(mode, labels, path, warn) for mode in modes]
    entries: list[tuple[str, ...]] = []
    for number, columns in rows:
        read = sides[0].column(columns[0], number)
        if len(columns) == 1:
            # An acceptor line: its output is the same labels, whatever the mode of the output.
            sides[1].alphabets |= sides[0].seen
            plain = sides[0].token == sides[1].token
            entries.append((read, read) if plain else (sides[0].numeric(columns[0], number),) * 2)
        else:
            entries.append((read, sides[1].column(columns[1], number), *columns[2:]))
    fst = pynini.string_map(
        entries, input_token_type=sides[0].token, output_token_type=sides[1].token
    )
    return Value(fst, frozenset(sides[0].alphabets), frozenset(sides[1].alphabets))


def _rows(text: str, path: Path, warn: Warn) -> list[tuple[int, list[str]]]:
    """Line number and columns (1 to 3) of each entry."""
    lines = [(number, _columns(line)) for number, line in enumerate(text.split("\n"), 1)]
    lines = [(number, columns) for number, columns in lines if columns != [""]]
    gaps = [number for number, columns in lines if len(columns) > 2 and "" in columns[1:-1]]
    if gaps:
        warn(
            f"{path}:{gaps[0]}: an empty column; empty columns are left out, as older Thrax does, "
            f"in all {len(lines)} lines of this file"
        )
        lines = [(number, [col for col in columns if col] or [""]) for number, columns in lines]
    rows = []
    for number, columns in lines:
        if len(columns) > 3 or (len(columns) == 3 and not _is_weight(columns[2])):
            warn(
                f"{path}:{number}: skipped: expected `input`, `input TAB output` or `input TAB "
                f"output TAB weight`, got {len(columns)} columns"
            )
        else:
            rows.append((number, columns))
    return rows


def _columns(line: str) -> list[str]:
    """The columns of a line without its comment; [""] if nothing is left."""
    line = line.removesuffix("\r")
    if "#" in line:
        comment = _COMMENT.search(line)
        if comment:
            line = line[: comment.start()].rstrip(" \t\r\f\v")
        line = line.replace("\\#", "#")
    return line.split("\t")


def _is_weight(text: str) -> bool:
    try:
        return not math.isnan(float(text)) and "_" not in text
    except ValueError:
        return False


class _Side:
    """Reads the input or the output column; collects the alphabets that occur.

    token: pynini's token type for the column's text.
    seen:  the alphabets of the latest column.
    """

    def __init__(self, mode: Mode, labels: Labels, path: Path, warn: Warn) -> None:
        self.mode = mode
        self.token = "utf8" if mode == "utf8" else "byte"
        self.alphabets: set[object] = set()
        self.seen: Alphabets = frozenset()
        self._labels, self._path, self._warn = labels, path, warn

    def column(self, text: str, number: int) -> str:
        """The column as pynini's string compiler has to get it."""
        if isinstance(self.mode, Table) or _SPECIAL.search(text):
            return self.numeric(text, number)
        wide = UTF8 if self.mode == "utf8" else BYTE
        self.seen = frozenset({ASCII} if text.isascii() else {ASCII, wide})
        self.alphabets |= self.seen
        return text

    def numeric(self, text: str, number: int) -> str:
        """The column as a sequence of bracketed numbers."""
        try:
            result, self.seen = self._read(text)
        except RuleError as error:
            raise RuleError(f"{self._path}:{number}: {error.message}", hint=error.hint) from error
        self.alphabets |= self.seen
        return pynini_text(result)

    def _read(self, text: str) -> tuple[list[int], Alphabets]:
        if isinstance(self.mode, Table):
            return table_labels(text, self.mode), frozenset({self.mode})
        try:
            result = string_labels(text, self.mode, self._labels, self._warn)
        except RuleError:
            if not re.search(r"[\[\]\\]", text) or "\0" in text:
                raise
            self._warn(
                f"{self._path}: brackets don't match in `{printable(text)}`; read as they stand"
            )
            literal = re.sub(r"([\[\]\\])", r"\\\1", text)
            result = string_labels(literal, self.mode, self._labels, self._warn)
        return result, alphabets_of(result, self.mode, self._labels.names)


def table_labels(text: str, table: Table) -> list[int]:
    """The labels of symbols separated by single spaces. RuleError for one that the table lacks."""
    result = []
    for name in text.split(" ") if text else ():
        label = table.symbols.find(name)
        if label < 0:
            raise RuleError(
                f"'{printable(name)}' isn't in the symbol table {table.path}",
                hint="symbols are separated by single spaces",
            )
        if label:
            result.append(label)
    return result
