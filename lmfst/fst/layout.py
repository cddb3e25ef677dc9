"""The layout of an OpenFst binary file, walked before OpenFst reads it.

OpenFst trusts the counts in a file: a damaged one ends the whole process with an allocation failure
rather than an error. So the counts of vector and const FSTs, the common types, are held against the
size of the file first. The other types (compact and so on) are read in a child process instead, see
`lmfst.fst.io`.

Layout (OpenFst 1.7 and 1.8, little-endian): header {int32 magic, string FST type, string arc type,
int32 version, int32 flags, uint64 properties, int64 start, int64 states, int64 arcs}, then the
symbol tables that the flags announce, then the states. A string is {int32 length, bytes}.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from lmfst.ground.errors import FstError

FST_MAGIC = 2125659606
SYMBOLS_MAGIC = 2125658996
_TABLE_MAGIC, _LIST_MAGIC = 2125656924, 5656924
"""Archives of type sttable and stlist."""

_HAS_INPUT_SYMBOLS, _HAS_OUTPUT_SYMBOLS, _IS_ALIGNED = 1, 2, 4
_WEIGHT_BYTES = {"standard": 4, "log": 4, "log64": 8}
_LONGEST_NAME = 1 << 20


@dataclass(frozen=True)
class Header:
    """What the first bytes of a file say. `size` is their number."""

    fst_type: str
    arc_type: str
    flags: int
    start: int
    n_states: int
    n_arcs: int
    size: int


class _Damaged(Exception):
    """The counts don't fit the size of the file."""


class _Cursor:
    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at

    def take(self, layout: str) -> tuple[int, ...]:
        size = struct.calcsize("<" + layout)
        self.need(size)
        values = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += size
        return values

    def need(self, size: int) -> None:
        if size < 0 or self.at + size > len(self.data):
            raise _Damaged(f"it ends at byte {len(self.data)} in the middle of its data")

    def text(self) -> bytes:
        (length,) = self.take("i")
        if length > _LONGEST_NAME:
            raise _Damaged(f"a name at byte {self.at - 4} would have {length} bytes")
        self.need(length)
        self.at += length
        return self.data[self.at - length : self.at]


def read_header(data: bytes, path: str) -> Header:
    """The header of an FST file. FstError, with what the file seems to be, if it is none."""
    if data[:4] != struct.pack("<i", FST_MAGIC):
        raise FstError(
            f"{path}: expected an OpenFst binary FST, got {_guess(data)}", hint=_hint(data)
        )
    cursor = _Cursor(data, 4)
    try:
        fst_type, arc_type = (cursor.text().decode("utf-8", "replace") for _ in range(2))
        _, flags, _, start, n_states, n_arcs = cursor.take("iiQqqq")
    except _Damaged as error:
        raise _damaged(path, str(error)) from None
    return Header(fst_type, arc_type, flags, start, n_states, n_arcs, cursor.at)


def is_checked_here(header: Header) -> bool:
    """Whether `check_layout` knows this type of FST."""
    return header.fst_type in ("vector", "const") and header.arc_type in _WEIGHT_BYTES


def check_layout(data: bytes, header: Header, path: str) -> None:
    """Hold all counts of a vector or const FST against the file's size. FstError on a misfit."""
    cursor = _Cursor(data, header.size)
    weight = _WEIGHT_BYTES[header.arc_type]
    try:
        # A number of states of -1 means that the file was written as a stream.
        if header.n_states < -1 or header.start < -1 or 0 <= header.n_states <= header.start:
            raise _Damaged(f"start state {header.start} of {header.n_states} states")
        for flag in (_HAS_INPUT_SYMBOLS, _HAS_OUTPUT_SYMBOLS):
            if header.flags & flag:
                _symbols(cursor)
        if header.fst_type == "vector":
            _walk_vector(cursor, header, weight)
        else:
            _walk_const(cursor, header, weight)
    except _Damaged as error:
        raise _damaged(path, str(error)) from None


def read_symbols(data: bytes, where: str) -> list[tuple[int, bytes]]:
    """(label, name) of each entry of a symbol table file. FstError if it is damaged."""
    try:
        return _symbols(_Cursor(data))
    except _Damaged as error:
        raise FstError(
            f"{where}: expected a symbol table, got a damaged one: {error}",
            hint="write the file again from its source",
        ) from None


def check_archive(data: bytes, path: str) -> None:
    """Hold the counts of an archive (sttable, stlist) against its size, as far as they can be told.

    {int32 magic, int32 version, entries {string key, FST}}; a list ends with an empty key, a table
    with the int64 place of each entry, and int64 how many. FstError on a misfit, or if the data are
    no archive. An FST file passes: it is an archive of one entry.
    """
    if not _is_archive(data) and data[:4] != struct.pack("<i", FST_MAGIC):
        raise FstError(
            f"{path}: expected an FST archive (FAR), got {_guess(data)}",
            hint="write it with `lmfst compile … -o F.far` or farcreate",
        )
    try:
        if data[:4] == struct.pack("<i", _TABLE_MAGIC):
            _walk_table(data)
        elif data[:4] == struct.pack("<i", _LIST_MAGIC):
            _Cursor(data, 8).text()
    except _Damaged as error:
        raise FstError(
            f"{path}: expected an FST archive (FAR), got a damaged or cut-off one: {error}",
            hint="write the file again from its source",
        ) from None


def _walk_table(data: bytes) -> None:
    """The places of a table's entries must be in order, each with a key and an FST."""
    head = 8
    (size,) = _Cursor(data, max(head, len(data) - 8)).take("q")
    places = len(data) - 8 - 8 * size
    if not 0 <= size <= len(data) // 8 or places < head:
        raise _Damaged(f"it would have {size} entries")
    entries = _Cursor(data, places).take(f"{size}q")
    if [*entries, places] != sorted({*entries, places}) or min(entries, default=places) != head:
        raise _Damaged("its list of entries makes no sense")
    for at in entries:
        cursor = _Cursor(data, at)
        cursor.text()
        if cursor.take("i") != (FST_MAGIC,):
            raise _Damaged(f"no FST at byte {cursor.at - 4}")


def _symbols(cursor: _Cursor) -> list[tuple[int, bytes]]:
    """A symbol table: {int32 magic, string title, int64 next free label, int64 size, entries}."""
    (magic,) = cursor.take("i")
    if magic != SYMBOLS_MAGIC:
        raise _Damaged(f"no symbol table at byte {cursor.at - 4}")
    cursor.text()
    _, size = cursor.take("qq")
    if size < 0:
        raise _Damaged(f"a symbol table of {size} entries")
    entries: list[tuple[int, bytes]] = []
    for _ in range(size):
        name = cursor.text()
        entries.append((cursor.take("q")[0], name))
    return entries


def _walk_vector(cursor: _Cursor, header: Header, weight: int) -> None:
    """States {weight, int64 number of arcs, arcs}; an unknown number of states runs to the end."""
    arc = 12 + weight
    states = 0
    while states != header.n_states and (header.n_states >= 0 or cursor.at < len(cursor.data)):
        cursor.need(weight)
        cursor.at += weight
        (n_arcs,) = cursor.take("q")
        cursor.need(n_arcs * arc if n_arcs >= 0 else -1)
        cursor.at += n_arcs * arc
        states += 1


def _walk_const(cursor: _Cursor, header: Header, weight: int) -> None:
    """All states {weight, uint32 first arc, arcs, input, output epsilons}, then all arcs."""
    if header.n_states < 0 or header.n_arcs < 0:
        raise _Damaged(f"{header.n_states} states and {header.n_arcs} arcs")
    aligned = bool(header.flags & _IS_ALIGNED)
    if aligned:
        cursor.at += -cursor.at % 16
    state_size = weight + 16
    cursor.need(header.n_states * state_size)
    table = np.frombuffer(cursor.data, np.uint8, header.n_states * state_size, cursor.at)
    counts = table.reshape(-1, state_size)[:, weight : weight + 8].copy().view("<u4")
    if (counts.sum(axis=1, dtype=np.int64) > header.n_arcs).any():
        raise _Damaged("a state has more arcs than the file")
    cursor.at += header.n_states * state_size
    if aligned:
        cursor.at += -cursor.at % 16
    cursor.need(header.n_arcs * (16 if weight == 4 else 24))


def _damaged(path: str, why: str) -> FstError:
    return FstError(
        f"{path}: expected an OpenFst binary FST, got a damaged or cut-off one: {why}",
        hint="write the file again from its source",
    )


def _guess(data: bytes) -> str:
    if not data:
        return "an empty file"
    if _is_archive(data):
        return "an archive of FSTs (FAR)"
    if data[:2] == b"\x1f\x8b":
        return "a gzip file"
    if data[:4] == struct.pack("<i", SYMBOLS_MAGIC):
        return "an OpenFst symbol table"
    if _is_text(data):
        return "a text file"
    return f"a file that begins with {data[:8]!r}"


def _hint(data: bytes) -> str:
    if _is_archive(data):
        return "archives end in .far: name an entry as FILE.far:KEY; `farextract` takes FSTs out"
    if data[:2] == b"\x1f\x8b":
        return "unpack it first: `gunzip`"
    if data and _is_text(data):
        return "text FSTs become binary with `lmfst compile F.txt -o F.fst`; grammars end in .grm"
    return "write it with `lmfst compile`, pynini's Fst.write or `fstcompile`"


def _is_archive(data: bytes) -> bool:
    return any(data[:4] == struct.pack("<i", magic) for magic in (_TABLE_MAGIC, _LIST_MAGIC))


def _is_text(data: bytes) -> bool:
    sample = data[:4096]
    return b"\0" not in sample and all(byte >= 0x20 or byte in b"\t\n\r\f" for byte in sample)
