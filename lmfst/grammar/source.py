"""A grammar file's text, positions in it, and errors that point at them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lmfst.fst.plain import plain_text
from lmfst.ground.errors import BudgetError, GrammarError, LmfstError

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Pos:
    """A place in a grammar file; line and column count from 1, the column in characters."""

    line: int
    column: int


@dataclass(frozen=True)
class Source:
    """A grammar file: the path as messages show it, and the text."""

    path: str
    text: str

    def where(self, pos: Pos) -> str:
        return f"{self.path}:{pos.line}:{pos.column}"

    def excerpt(self, pos: Pos) -> str:
        """The line of `pos` and a caret below it; long lines are cut around the column."""
        lines = self.text.split("\n")
        line = lines[pos.line - 1].rstrip("\r") if 0 < pos.line <= len(lines) else ""
        column = min(max(pos.column, 1), len(line) + 1)
        start = max(0, column - 60) if len(line) > 100 else 0
        shown = line[start : start + 100]
        # Tabs stay tabs in the padding, so that the caret stands right in any terminal.
        padding = "".join("\t" if char == "\t" else " " for char in shown[: column - 1 - start])
        return f"    {printable(shown)}\n    {padding}^"

    def error(
        self,
        pos: Pos,
        message: str,
        *,
        rule: str = "",
        hint: str = "",
        notes: tuple[str, ...] = (),
        kind: type[LmfstError] = GrammarError,
    ) -> LmfstError:
        """`file:line:col: rule NAME: message`, the line with a caret, then the notes."""
        name = f"rule {rule}: " if rule else ""
        lines = [f"{self.where(pos)}: {name}{message}", self.excerpt(pos)]
        text = "\n".join([*lines, *(f"  {note}" for note in notes)])
        return kind(without_surrogates(text), hint=without_surrogates(hint))


class RuleError(Exception):
    """What went wrong in an operation, before it is known where in the grammar that was."""

    def __init__(
        self, message: str, *, hint: str = "", kind: type[LmfstError] = GrammarError
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.kind = kind


def budget(message: str, hint: str) -> RuleError:
    """A RuleError that becomes a BudgetError."""
    return RuleError(message, hint=hint, kind=BudgetError)


def printable(text: str) -> str:
    """Control characters and lone surrogates (bytes that are no UTF-8) shown as \\xNN."""
    return "".join(_shown(char) for char in text)


def without_surrogates(text: str) -> str:
    """The text with lone surrogates (bytes that are no UTF-8) as \\xNN: no terminal takes them."""
    return _SURROGATE.sub(lambda match: _shown(match[0]), text)


def _shown(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code == 9 or (char.isprintable() and not 0xD800 <= code <= 0xDFFF):
        return char
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def read_source(path: Path, shown: str, warn: Callable[[str], None]) -> Source:
    """The text of a grammar file; bytes that are no UTF-8 become lone surrogates.

    warn: told of a byte-order mark and of line ends that are CR alone. GrammarError if the file
    can't be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise GrammarError(
            f"{shown}: expected a grammar file: {error.strerror or error}",
            hint="give the path of a .grm file that you may read",
        ) from error
    text = plain_text(data, shown, warn, GrammarError)
    return Source(shown, text.decode("utf-8", "surrogateescape"))
