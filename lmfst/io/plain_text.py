"""Lines, and whole files, as documents."""

from __future__ import annotations

import codecs
from typing import IO

from lmfst.ground.document import Document
from lmfst.io.lines import UTF16_MARKS, Lines, Overlong, likeness, numbered, suspect
from lmfst.io.reading import Found, Reading
from lmfst.io.streams import peeked

BLOCK = 1 << 16
"""First bytes of a file that tell whether it is text."""


def line_documents(stream: IO[bytes], reading: Reading) -> Found:
    """The lines of a file."""
    name, warned = reading.name, False
    left = reading.skip
    for number, line in _judged(reading.lines(stream, is_text=True), reading):
        if left:
            left -= 1
            continue
        if isinstance(line, Overlong):
            yield reading.too_long(number, "a line", line.size, str(number))
            continue
        text = line.removesuffix(b"\n")
        if text.endswith(b"\r") and len(text) < len(line):
            text = text[:-1]
            if not warned:
                reading.warn(f"{name}:{number}: CRLF line ends; the CR is not taken as text")
                warned = True
        yield Document(str(number), text, f"{name}:{number}", file=name, line=number)


def _judged(lines: Lines, reading: Reading) -> Lines:
    """The lines, with a warning if the first two look like something else. Where reading on doesn't
    wait, the second one is looked at first if the first one is suspect."""
    first, what = b"", ""
    held: list[tuple[int, bytes]] = []
    for number, line in lines:
        if number <= 2 and not what and isinstance(line, bytes):
            first = first or line
            what = likeness(first, line if number == 2 else b"")
            if what:
                reading.warn(f"{reading.name}:1: this line is read as text, and looks like {what}")
            elif not reading.waits and number == 1 and suspect(line):
                held.append((number, line))
                continue
        yield from held
        held.clear()
        yield number, line
    yield from held


def not_binary(stream: IO[bytes], reading: Reading) -> Found:
    """The lines of a file; for one that is no text, that it is none."""
    head, whole = peeked(stream, BLOCK)
    if _is_binary(head, ends=len(head) < BLOCK):
        if not reading.skip:
            yield reading.rejected(
                1,
                "binary",
                "expected lines of text, found a binary file: it has NUL bytes and is no UTF-8",
                "leave it out; if it is packed, or of another form, unpack or convert it",
            )
        return
    yield from line_documents(whole, reading)


def _is_binary(head: bytes, ends: bool) -> bool:
    if b"\0" not in head or head.startswith(UTF16_MARKS):
        return False
    try:
        # A character may go on after the block.
        codecs.getincrementaldecoder("utf-8")().decode(head, final=ends)
    except UnicodeDecodeError:
        return True
    return False


def file_document(stream: IO[bytes], reading: Reading) -> Found:
    """The file as one document; none if it is empty."""
    name, longest = reading.name, reading.longest
    parts: list[bytes] = []
    size = 0
    for _, line in numbered(stream, name, reading.warn, longest):
        size += line.size if isinstance(line, Overlong) else len(line)
        if isinstance(line, Overlong) or (longest is not None and size > longest):
            parts.clear()
            break
        parts.append(line)
    if not size or reading.skip:
        return
    if longest is not None and size > longest:
        yield reading.too_long(1, "a file", None, name)
        return
    yield Document(name, b"".join(parts), name, form="file", file=name, line=1)
