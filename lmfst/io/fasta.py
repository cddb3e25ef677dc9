"""FASTA records: a header line after `>`, then a sequence over one or more lines.

Read by Biopython's parser; white space in sequences is left out. What the parser would pass over in
silence (text before the first header, records without a sequence) is an error here, and a name that
comes twice is a warning, but not in a corpus, of which not all names are held.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import IO

from lmfst.ground.document import Document
from lmfst.ground.errors import InputError
from lmfst.io.lines import MEND, Overlong
from lmfst.io.reading import Found, Reading

_ENCODING = ("utf-8", "surrogateescape")


@dataclass
class _Header:
    """line: its number. size: the bytes of the record so far, white space left out."""

    line: int
    size: int


def fasta(stream: IO[bytes], reading: Reading) -> Found:
    """The records of a file. InputError for what is no FASTA, or has ends of lines of two kinds."""
    yield from islice(_records(stream, reading), reading.skip, None)


def _records(stream: IO[bytes], reading: Reading) -> Found:
    from Bio.SeqIO.FastaIO import SimpleFastaParser

    headers: deque[_Header] = deque()
    names: dict[str, int] = {}
    for title, sequence in SimpleFastaParser(_checked(stream, reading, headers)):
        header, title = headers.popleft(), title.strip()
        line = header.line
        if reading.longest is not None and header.size > reading.longest:
            yield reading.too_long(line, "a record", header.size, title or None)
            continue
        if not title:
            yield reading.rejected(line, "no_name", "expected a name after >, found none")
            continue
        if not sequence:
            yield reading.rejected(
                line,
                "no_sequence",
                f"record {title!r} has no sequence",
                "the file may have been cut off; delete the record or complete it",
                title,
            )
            continue
        first = title.split()[0]
        if reading.longest is None and first in names:
            reading.warn(
                f"{reading.name}:{line}: a record named {first} was at line {names[first]} "
                "already; both are read"
            )
        if reading.longest is None:
            names.setdefault(first, line)
        yield Document(
            title,
            sequence.encode(*_ENCODING),
            f"{reading.name}:{line}: record {title!r}",
            is_sequence=True,
            form="fasta",
            row={"header": title},
            file=reading.name,
            line=line,
        )


def _checked(stream: IO[bytes], reading: Reading, headers: deque[_Header]) -> Iterator[str]:
    """The lines as text, without those of records that are too long already; notes the headers."""
    name, longest = reading.name, reading.longest
    last: _Header | None = None
    for number, line in reading.lines(stream):
        head = line.head if isinstance(line, Overlong) else line
        if head.startswith(b">"):
            if b"\r" in head.removesuffix(b"\n").removesuffix(b"\r"):
                raise InputError(
                    f"{name}:{number}: a header has a carriage return (CR) amid it: some lines of "
                    "the file end with LF, others with CR alone",
                    hint=f"make them all LF: {MEND}",
                )
            last = _Header(number, line.size if isinstance(line, Overlong) else 0)
            headers.append(last)
            yield head.decode(*_ENCODING)
        elif last is None and head.strip():
            raise InputError(
                f"{name}:{number}: expected a FASTA header, a line that begins with >, found "
                f"{head[:20].decode(*_ENCODING)!r}",
                hint="for other formats use --doc line, file, jsonl, csv or tsv",
            )
        elif last is not None:
            if isinstance(line, Overlong):
                last.size += line.size
                continue
            letters = "".join(line.decode(*_ENCODING).split())
            if letters.startswith(">"):
                raise InputError(
                    f"{name}:{number}: white space stands before >: expected a header to begin "
                    "its line",
                    hint="remove it, for instance with: sed 's/^[[:space:]]*>/>/' FILE > MENDED",
                )
            last.size += len(letters)
            if longest is None or last.size <= longest:
                yield letters + "\n"
