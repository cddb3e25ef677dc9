"""Numbered lines of a byte stream, and what their ends and first words say about the file.

LF ends a line. A file that has no LF at all but carriage returns (CR) is one of old Macintosh
programs, or of some spreadsheets: CR ends its lines then, with a warning. A CR among lines that end
with LF is text.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from typing import IO, NamedTuple

from lmfst.ground.errors import InputError
from lmfst.ground.types import Warn

_UTF8_MARK = b"\xef\xbb\xbf"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
MEND = "tr '\\r' '\\n' < FILE > MENDED"
"""A command that makes lines of what CR separates."""

_NAME = re.compile(r"[^\W\d][\w.:/()%#-]*( [\w.:/()%#-]*){0,2}|[^\W\d][\w ,.:/()%#'-]*\?")
_LONGEST_NAME = 80
_RESIDUES = re.compile(rb"([A-Z*-]+|[a-z*-]+)\r?\n?")
_USUAL = {"id", "text"}
_MARKS = (("\t", "tsv"), (",", "csv"), (";", "csv"), ("|", "csv"))


class Overlong(NamedTuple):
    """What is known of a line that was passed over: its first `HEAD` bytes, how many it has, and
    how many double quotes are among them."""

    head: bytes
    size: int
    quotes: int


Line = bytes | Overlong
Lines = Iterator[tuple[int, Line]]
"""Lines with their numbers."""
HEAD = 80
_PIECE = 1 << 16
"""Bytes of a line too long that are held at a time, once its length is known to be too large."""


def numbered(stream: IO[bytes], name: str, warn: Warn, longest: int | None = None) -> Lines:
    """The lines with their 1-based numbers; the first one without its byte-order mark.

    longest: lines of more bytes, LF not counted, are passed over piece by piece. InputError for
    UTF-16. The lines are as they are: CR is no end here.
    """
    number = 0
    most = -1 if longest is None else longest + 1
    while line := stream.readline(most):
        number += 1
        if number == 1 and line.startswith(UTF16_MARKS):
            raise InputError(
                f"{name}: expected UTF-8 text, found the byte-order mark of UTF-16",
                hint="convert it, for instance with: iconv -f UTF-16 -t UTF-8",
            )
        if len(line) == most and not line.endswith(b"\n"):
            yield number, _passed_over(stream, line)
            continue
        if number == 1 and line.startswith(_UTF8_MARK):
            warn(f"{name}: begins with a UTF-8 byte-order mark; it is not taken as text")
            line = line.removeprefix(_UTF8_MARK)
        if line:
            yield number, line


def _passed_over(stream: IO[bytes], begun: bytes) -> Overlong:
    """What is left of a line is read, and forgotten."""
    head, size, quotes = begun[:HEAD], len(begun), begun.count(b'"')
    while piece := stream.readline(_PIECE):
        size += len(piece)
        quotes += piece.count(b'"')
        if piece.endswith(b"\n"):
            size -= 1
            break
    return Overlong(head, size, quotes)


def ended(lines: Lines, name: str, warn: Warn, *, is_text: bool) -> Lines:
    """The lines of a file; those of a file without any LF end with CR, and get LF.

    is_text: whether a CR may be meant as text. Two are needed then, and a warning says what becomes
    of a single one, or of those in a first line that LF ends.
    """
    for number, line in lines:
        if number > 1 or isinstance(line, Overlong):
            yield number, line
            continue
        returns = line.removesuffix(b"\n").removesuffix(b"\r").count(b"\r")
        bare = not line.endswith(b"\n")
        if not (returns or (bare and b"\r" in line)):
            yield number, line
        elif bare and (not is_text or line.count(b"\r") > 1):
            warn(
                f"{name}: has no line feed (LF): its lines are taken to end with carriage returns "
                "(CR), as old Macintosh programs write them"
            )
            *parts, last = line.split(b"\r")
            whole = [part + b"\n" for part in parts] + ([last] if last else [])
            yield from enumerate(whole, start=1)
        else:
            if is_text and (bare or returns > 1):
                warn(
                    f"{name}:1: carriage returns (CR) without line feeds are taken as text; if "
                    f"they end lines, use: {MEND}"
                )
            yield number, line


def suspect(first: bytes) -> bool:
    """Whether the second line of a file might make `likeness` say something."""
    return first.startswith(b">") or any(_header(first, mark) for mark, _ in _MARKS)


def likeness(first: bytes, second: bytes) -> str:
    """What the first two lines of a file look like that isn't text: how to read it; or nothing."""
    if first.startswith(b"PAR1"):
        return "a Parquet file; if it is one, use --doc parquet"
    if first.startswith(b"{") and b'"' in first and first.rstrip().endswith(b"}"):
        return "an object of JSON lines; if it is one, use --doc jsonl"
    if first[:1] == b">" and first[1:2].strip() and _RESIDUES.fullmatch(second):
        return "a FASTA header; if it is one, use --doc fasta"
    for mark, doc in _MARKS:
        names = _header(first, mark)
        if names and _fits(second, mark, names):
            shown = ", ".join(name.strip() or "''" for name in names[:8]) + (
                ", …" if len(names) > 8 else ""
            )
            save = "save it with commas and " if mark in ";|" else ""
            return (
                f"the header of a table ({shown}); if it is one, {save}use --doc {doc} "
                "--text-column NAME"
            )
    return ""


def _header(line: bytes, mark: str) -> list[str]:
    """The short names that a line consists of, if it has several and no two are equal."""
    try:
        text = line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        return []
    if mark not in text or len(text) > 4000:
        return []
    names = _fields(text, mark)
    # The first one is empty where a program wrote row numbers without a name.
    named = names[1:] if names and not names[0] else names
    if _spaced(names) or mark == "|":
        # Prose has spaces after its commas: so do a few headers, known by their names.
        named = [name.strip() for name in named] if _USUAL & {*map(str.strip, names)} else []
    plain = all(len(name) <= _LONGEST_NAME and _NAME.fullmatch(name) for name in named)
    return names if named and plain and len({*names}) == len(names) else []


def _fits(line: bytes, mark: str, names: list[str]) -> bool:
    """Whether a line has as many fields as the header, or begins a field of several lines; its
    fields begin with spaces only where those of the header do, else it is prose."""
    text = line.decode("utf-8", "replace").rstrip("\r\n")
    fields = _fields(text, mark)
    if mark != "\t" and _spaced(fields) and not _spaced(names):
        return False
    return len(fields) == len(names) or (mark != "\t" and text.count('"') % 2 == 1)


def _spaced(fields: list[str]) -> bool:
    return any(field.startswith(" ") for field in fields[1:])


def _fields(text: str, mark: str) -> list[str]:
    if mark == "\t":
        return text.split(mark)
    try:
        return next(csv.reader([text], delimiter=mark), [])
    except csv.Error:
        return []
