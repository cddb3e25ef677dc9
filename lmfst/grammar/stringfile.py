"""StringFile['f'(, in-mode(, out-mode))]: a list of strings, or of pairs, as one FST.

One entry a line, columns separated by tabs: a string (an acceptor line), or input and output, or
these and a weight. `#` begins a comment, `\\#` is the character. Brackets and escapes are those
of strings; a line whose brackets don't match is read as it stands, as older Thrax does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

from lmfst.fst.plain import plain_text
from lmfst.grammar.labels import Labels, string_labels
from lmfst.grammar.source import RuleError, printable
from lmfst.grammar.tries import Entry, trie_acceptor, trie_transducer
from lmfst.grammar.values import ASCII, BYTE, UTF8, Alphabets, Table, Value, alphabets_of
from lmfst.ground.types import Warn

Mode = str | Table
"""How a column's text becomes labels: `byte`, `utf8` or a symbol table."""

_COMMENT = re.compile(r"(?<!\\)#")
_SPECIAL = re.compile(r"[\[\]\\\0]|[\udc80-\udcff]")
_PLAIN = {
    ("byte", True): frozenset({ASCII}),
    ("utf8", True): frozenset({ASCII}),
    ("byte", False): frozenset({ASCII, BYTE}),
    ("utf8", False): frozenset({ASCII, UTF8}),
}
"""The alphabets of a column without brackets and escapes: by mode, and whether it is ASCII."""


def string_file(path: Path, modes: tuple[Mode, Mode], labels: Labels, warn: Warn) -> Value:
    """The FST of a file of strings; `modes` are those of input and output.

    RuleError, with the file's line, for what can't be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RuleError(f"{path}: {error.strerror or error}") from error
    text = plain_text(data, str(path), warn, RuleError).decode("utf-8", "surrogateescape")
    rows = _rows(text, path, warn)
    told: set[str] = set()
    inputs, outputs = (_Side(mode, labels, path, warn, told) for mode in modes)
    entries: list[Entry] = []
    for number, columns in rows:
        read = inputs.column(columns[0], number)
        weight = columns[2] if len(columns) > 2 else ""
        if len(columns) == 1:
            # An acceptor line: its output is the same labels, whatever the mode of the output.
            outputs.alphabets |= inputs.seen
            entries.append((read, read, weight))
        else:
            entries.append((read, outputs.column(columns[1], number), weight))
    if all(len(columns) == 1 for _, columns in rows):
        fst = trie_acceptor([entry[0] for entry in entries])
    else:
        fst = trie_transducer(entries)
    return Value(fst, frozenset(inputs.alphabets), frozenset(outputs.alphabets))


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
    """Reads the input or the output column.

    alphabets: those of all columns so far; seen: those of the latest one.
    told: what the file's reader has been warned of already.
    """

    def __init__(self, mode: Mode, labels: Labels, path: Path, warn: Warn, told: set[str]) -> None:
        self.alphabets: set[object] = set()
        self.seen: Alphabets = frozenset()
        self._mode, self._labels, self._path = mode, labels, path
        self._warn, self._told = warn, told

    def column(self, text: str, number: int) -> Sequence[int]:
        """The labels of a column."""
        if not isinstance(self._mode, Table) and not _SPECIAL.search(text):
            self.seen = _PLAIN[self._mode, text.isascii()]
            self.alphabets |= self.seen
            return text.encode() if self._mode == "byte" else [ord(char) for char in text]
        try:
            result, self.seen = self._read(text, self._mode, number)
        except RuleError as error:
            raise RuleError(f"{self._path}:{number}: {error.message}", hint=error.hint) from error
        self.alphabets |= self.seen
        return result

    def _read(self, text: str, mode: Mode, number: int) -> tuple[list[int], Alphabets]:
        if isinstance(mode, Table):
            return table_labels(text, mode), frozenset({mode})

        def warn(message: str) -> None:
            # Each thing once, with the first line that has it: files are long.
            if message not in self._told:
                self._told.add(message)
                self._warn(f"{self._path}:{number}: {message}")

        try:
            result = string_labels(text, mode, self._labels, warn)
        except RuleError:
            if not re.search(r"[\[\]\\]", text) or "\0" in text:
                raise
            self._warn(
                f"{self._path}:{number}: brackets don't match in `{printable(text)}`; read as they "
                "stand"
            )
            literal = re.sub(r"([\[\]\\])", r"\\\1", text)
            result = string_labels(literal, mode, self._labels, warn)
        return result, alphabets_of(result, mode, self._labels.names)


def table_labels(text: str, table: Table) -> list[int]:
    """The labels of symbols separated by single spaces. RuleError for one that the table lacks."""
    result = []
    for name in text.split(" ") if text else ():
        label = table.labels.get(name)
        if label is None:
            raise RuleError(
                f"'{printable(name)}' isn't in the symbol table {table.path}",
                hint="symbols are separated by single spaces",
            )
        if label:
            result.append(label)
    return result
