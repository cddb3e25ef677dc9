r"""ARPA files: reading and writing the tables of a backoff n-gram model.

The format is a text file with a `\data\` header that counts the n-grams of each order, one section
`\N-grams:` an order, and `\end\`. A line is `log10p TAB words [TAB log10 backoff]`; words are
separated by blanks. Text before `\data\` is a comment. Files may be gzip-compressed.

Reading is strict: what doesn't fit is a ModelError that names file, line and the expectation. A
UTF-8 byte-order mark is dropped with a warning; that of UTF-16 is an error, and so are files that
are no text (packed in other ways, KenLM's binary ones).
"""

from __future__ import annotations

import gzip
import io
import math
import re
import warnings
import zlib
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import IO, NoReturn

from lmfst.ground.errors import ModelError
from lmfst.ground.types import Warn
from lmfst.lm.ngram import LOG10_ZERO, Entry, Gram, NgramLM, NgramTables

_COUNT = re.compile(r"ngram\s+([0-9]+)\s*=\s*([0-9]+)")
_BLANKS = re.compile(r"[ \t]+")
_BLANK_WORD = re.compile(r"\t +\t")
_GZIP_MAGIC = b"\x1f\x8b"
_UTF8_MARK = b"\xef\xbb\xbf"
_OTHERS = {
    b"\xff\xfe": ("the byte-order mark of UTF-16", "iconv -f UTF-16 -t UTF-8"),
    b"\xfe\xff": ("the byte-order mark of UTF-16", "iconv -f UTF-16 -t UTF-8"),
    b"BZh": ("data packed by bzip2", "bunzip2"),
    b"\xfd7zXZ": ("data packed by xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("data packed by zstd", "unzstd"),
}
"""How files begin that are no plain text: what that is, and the command that makes it so."""
_KENLM_MAGIC = b"mmap lm http://kheafield.com/code"
_HINT = "the file may be cut short or not be an ARPA file; write it again"


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=2)


def read_arpa(path: str | PathLike[str], *, warn: Warn = _warn) -> NgramLM:
    """The n-gram model in the ARPA file `path` (plain or gzip); ModelError if it is not one."""
    return NgramLM(read_tables(path, warn=warn))


def read_tables(path: str | PathLike[str], *, warn: Warn = _warn) -> NgramTables:
    """The tables of the ARPA file `path`, log10 values as written; a missing backoff is 0.

    warn: called for a byte-order mark. Raises ModelError for an unreadable file, a syntax error, a
    word outside the unigram table, an n-gram listed twice, a positive log10 probability, or counts
    that differ from the header's.
    """
    name = str(path)
    try:
        with _open(Path(path)) as stream:
            return _Parser(name, stream, warn).parse()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ModelError(f"{name}: the gzip data are damaged: {error}", hint=_HINT) from None
    except OSError as error:
        raise ModelError(f"{name}: expected a readable ARPA file: {error.strerror}") from None


def write_arpa(tables: NgramTables, path: str | PathLike[str]) -> None:
    """Write `tables` as an ARPA file; numbers are written so that reading gives them back."""
    top = len(tables.grams)
    with _create(Path(path)) as stream:
        stream.write("\\data\\\n")
        for order, grams in enumerate(tables.grams, 1):
            stream.write(f"ngram {order}={len(grams)}\n")
        for order, grams in enumerate(tables.grams, 1):
            stream.write(f"\n\\{order}-grams:\n")
            for words, (log10p, backoff) in grams.items():
                end = f"\t{_number(backoff)}" if order < top and backoff != 0.0 else ""
                stream.write(f"{_number(log10p)}\t{' '.join(words)}{end}\n")
        stream.write("\n\\end\\\n")


class _Parser:
    """One pass over the lines of an ARPA file."""

    def __init__(self, name: str, stream: Iterable[bytes], warn: Warn) -> None:
        self._name = name
        self._warn = warn
        self._number = 0
        self._raw = b""
        self._lines = self._decoded(stream)
        self._words: dict[str, str] = {}

    def parse(self) -> NgramTables:
        for line in self._lines:
            if line == "\\data\\":
                break
        else:
            self._fail("a line \\data\\", "the end of the file")
        counts, line = self._counts()
        grams = []
        for order, count in enumerate(counts, 1):
            if line != f"\\{order}-grams:":
                self._fail(f"\\{order}-grams:", repr(line))
            table, line = self._section(order, len(counts))
            if len(table) != count:
                self._fail(f"{count} {order}-grams, as the header says", f"{len(table)}")
            grams.append(table)
        if line != "\\end\\":
            self._fail("\\end\\", repr(line))
        rest = next((line for line in self._lines if line), None)
        if rest is not None:
            self._fail("nothing after \\end\\", repr(rest))
        return NgramTables(tuple(grams))

    def _counts(self) -> tuple[list[int], str]:
        """The n-gram counts of the header, and the line that ends it."""
        counts: list[int] = []
        while True:
            line = self._next()
            if line.startswith("\\") and counts:
                return counts, line
            match = _COUNT.fullmatch(line)
            if match is None or int(match[1]) != len(counts) + 1:
                self._fail(f"'ngram {len(counts) + 1}=COUNT'", repr(line))
            counts.append(int(match[2]))
            if counts[0] == 0:
                self._fail("at least one 1-gram", "none")

    def _section(self, order: int, top: int) -> tuple[dict[Gram, Entry], str]:
        """The n-grams of one section, and the line that ends it."""
        table: dict[Gram, Entry] = {}
        while True:
            line = self._next()
            if line.startswith("\\"):
                return table, line
            words, entry = self._entry(line, order, top)
            if words in table:
                self._fail(f"each {order}-gram once", f"{' '.join(words)!r} again")
            table[words] = entry

    def _entry(self, line: str, order: int, top: int) -> tuple[Gram, Entry]:
        if _BLANK_WORD.search(line):
            self._fail("words without blanks (<0x20> is a space)", repr(line))
        fields = _BLANKS.split(line)
        if len(fields) not in (order + 1, order + 2):
            shape = f"a log10 probability, {order} words and perhaps a backoff weight"
            self._fail(shape, repr(line))
        log10p = self._float(fields[0], "a log10 probability")
        if log10p > 0.0:
            self._fail("a log10 probability of at most 0", fields[0])
        backoff = 0.0
        if len(fields) == order + 2:
            backoff = self._float(fields[-1], "a log10 backoff weight")
            if order == top and backoff != 0.0:
                self._fail(f"no backoff weight in the highest order ({top})", fields[-1])
        if order == 1:
            self._words[fields[1]] = fields[1]
            return (fields[1],), (log10p, backoff)
        words = tuple(self._words.get(word, "") for word in fields[1 : order + 1])
        if "" in words:
            unknown = fields[1 + words.index("")]
            self._fail("words that are listed as 1-grams", repr(unknown))
        return words, (log10p, backoff)

    def _float(self, text: str, what: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        # float() also takes digit-group underscores, which no other ARPA reader does.
        if math.isnan(value) or value == math.inf or "_" in text:
            self._fail(what, repr(text))
        return value

    def _next(self) -> str:
        """The next line that is not blank."""
        for line in self._lines:
            if line:
                return line
        self._fail("more lines up to \\end\\", "the end of the file")

    def _decoded(self, stream: Iterable[bytes]) -> Iterator[str]:
        for raw in stream:
            self._number += 1
            self._raw = self._begun(raw) if self._number == 1 else raw
            try:
                # Only ASCII blanks separate: words may hold any other Unicode white space.
                yield self._raw.decode("utf-8").strip(" \t\r\n")
            except UnicodeDecodeError as error:
                self._fail("UTF-8 text", f"the byte 0x{self._raw[error.start]:02x}")

    def _begun(self, line: bytes) -> bytes:
        """The first line without a byte-order mark; ModelError if it tells of another format."""
        for magic, (what, command) in _OTHERS.items():
            if line.startswith(magic):
                raise ModelError(
                    f"{self._name}: expected UTF-8 text, plain or packed by gzip, found {what}",
                    hint=f"convert it, for instance with: {command}",
                )
        if line.startswith(_KENLM_MAGIC):
            raise ModelError(
                f"{self._name}: expected an ARPA file, found a binary file of KenLM",
                hint="give the ARPA file that it was built from, lmplz's output",
            )
        if line.startswith(_UTF8_MARK):
            self._warn(f"{self._name}: begins with a UTF-8 byte-order mark; it is dropped")
        return line.removeprefix(_UTF8_MARK)

    def _fail(self, expected: str, found: str) -> NoReturn:
        where = f"{self._name}, line {self._number}"
        if b"\r" in self._raw.rstrip(b"\r\n"):
            raise ModelError(
                f"{where}: expected line ends LF or CRLF, found a CR within the line",
                hint="convert line ends that are CR alone, for instance with: tr '\\r' '\\n'",
            )
        if b"\0" in self._raw:
            raise ModelError(
                f"{where}: expected UTF-8 text, found a byte 0, as in UTF-16",
                hint="convert it, for instance with: iconv -f UTF-16LE -t UTF-8",
            )
        raise ModelError(f"{where}: expected {expected}, found {found}", hint=_HINT)


def _open(path: Path) -> gzip.GzipFile | io.BufferedReader:
    with path.open("rb") as stream:
        packed = stream.read(2) == _GZIP_MAGIC
    return gzip.open(path, "rb") if packed else path.open("rb")


def _create(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path, "wb"), encoding="utf-8", newline="\n")
    return path.open("w", encoding="utf-8", newline="\n")


def _number(value: float) -> str:
    return f"{LOG10_ZERO:g}" if value == -math.inf else repr(float(value))
