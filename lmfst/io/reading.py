"""How a file is to be read, and what readers of all forms say of records that are no documents."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO

from lmfst.ground.document import Document, Form, Reason, Rejected
from lmfst.ground.types import Warn
from lmfst.io.lines import Lines, ended, numbered
from lmfst.io.streams import Reached

Header = Callable[[Form, list[str]], None]
Found = Iterator[Document | Rejected]


@dataclass(frozen=True)
class Reading:
    """What a reader is told.

    name: the file's, for messages. text, id: the columns, or keys, that were asked for; None: the
    usual ones. header: who is told the columns of a table. longest: bytes that a record may have;
    None: any number. skip: records that are passed over at the beginning. reached: see
    `lmfst.io.streams`.
    """

    name: str
    warn: Warn
    text: str | None = None
    id: str | None = None
    header: Header | None = None
    longest: int | None = None
    skip: int = 0
    reached: Reached | None = None
    waits: bool = True
    """Whether reading on may wait: not in a file, all of which is there."""

    def lines(self, stream: IO[bytes], *, is_text: bool = False) -> Lines:
        """The lines of a file; is_text: see `lmfst.io.lines.ended`."""
        lines = numbered(stream, self.name, self.warn, self.longest)
        return ended(lines, self.name, self.warn, is_text=is_text)

    def rejected(
        self, line: int, reason: Reason, message: str, hint: str = "", id: str | None = None
    ) -> Rejected:
        """A record that is no document. message: without the place."""
        return Rejected(self.name, line, id, reason, f"{self.name}:{line}: {message}", hint)

    def too_long(self, line: int, what: str, size: int | None, id: str | None = None) -> Rejected:
        """A record that is too long. size: its bytes; None if they weren't counted to the end."""
        found = "more" if size is None else f"{size:,}"
        return self.rejected(
            line,
            "too_long",
            f"expected {what} of at most {self.longest:,} bytes, found {found}",
            "cut it into shorter documents, or allow longer ones",
            id,
        )


Reader = Callable[[IO[bytes], Reading], Found]
