"""FASTA records: a header line after `>`, then a sequence over one or more lines.

Read by Biopython's parser; white space in sequences is left out. What the parser would pass over in
silence (text before the first header, records without a sequence) is an error here, and a name that
comes twice is a warning.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from lmfst.ground.errors import InputError
from lmfst.io.lines import MEND

_ENCODING = ("utf-8", "surrogateescape")


def records(
    lines: Iterator[tuple[int, bytes]], name: str, warn: Callable[[str], None]
) -> Iterator[tuple[str, int, bytes]]:
    """(header without `>`, number of its line, sequence) of each record.

    lines: numbered from 1. name: the file's, for messages.
    """
    from Bio.SeqIO.FastaIO import SimpleFastaParser

    headers: deque[int] = deque()
    names: dict[str, int] = {}
    for title, sequence in SimpleFastaParser(_checked(lines, name, headers)):
        line, title = headers.popleft(), title.strip()
        if not title:
            raise InputError(f"{name}:{line}: expected a name after >, found none")
        if not sequence:
            raise InputError(
                f"{name}:{line}: record {title!r} has no sequence",
                hint="the file may have been cut off; delete the record or complete it",
            )
        first = title.split()[0]
        if first in names:
            warn(
                f"{name}:{line}: a record named {first} was at line {names[first]} already; both "
                "are read"
            )
        names.setdefault(first, line)
        yield title, line, sequence.encode(*_ENCODING)


def _checked(lines: Iterator[tuple[int, bytes]], name: str, headers: deque[int]) -> Iterator[str]:
    """The lines as text; notes the numbers of headers."""
    begun = False
    for number, line in lines:
        if line.startswith(b">"):
            if b"\r" in line.removesuffix(b"\n").removesuffix(b"\r"):
                raise InputError(
                    f"{name}:{number}: a header has a carriage return (CR) amid it: some lines of "
                    "the file end with LF, others with CR alone",
                    hint=f"make them all LF: {MEND}",
                )
            headers.append(number)
            begun = True
        elif line.strip() and not begun:
            raise InputError(
                f"{name}:{number}: expected a FASTA header, a line that begins with >, found "
                f"{line[:20].decode(*_ENCODING)!r}",
                hint="for other formats use --doc line, file, jsonl, csv or tsv",
            )
        text = line.decode(*_ENCODING)
        yield text if line.startswith(b">") else "".join(text.split()) + "\n"
