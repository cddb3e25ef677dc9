"""The plan of a job: how a corpus is cut into shards, in the order of its records.

A shard ends before the record that would make it too many records or too much text, or too much
that is passed on beside texts, so where it ends depends on where it begins and on what follows
alone. The plan is made while the corpus is read, needs no more of it than a shard, and goes on from
any shard's beginning.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from lmfst.corpus.records import Corpus
from lmfst.ground.document import Document, Rejected

RECORDS = 256
BYTES = 1 << 15
"""A shard's records and bytes of text, at most (one record may be longer). A killed run loses what
it has done of a shard or two, some minutes of a slow model; and two shards lie in the buffer
of a socket, so that handing them out waits for nobody."""
PASSED = 1 << 20
"""Characters of what is passed on beside its texts: it costs memory alone, so that there may be
more."""


MOST = 1 << 14
"""Shards of a job, about: so much of the plan is in memory, and so many files are in a folder."""


class Limits(NamedTuple):
    """Of a shard."""

    records: int = RECORDS
    bytes: int = BYTES
    passed: int = PASSED

    @classmethod
    def of(cls, size: int) -> Limits:
        """Those for a corpus of so many bytes."""
        times = max(1, -(-size // (BYTES * MOST)))
        return cls(RECORDS * times, BYTES * times, max(PASSED, BYTES * times))


class _Room:
    """What is left of limits."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._records = self._bytes = self._passed = 0

    def take(self, item: Document | Rejected) -> bool:
        """Take up a record. Whether it is the first of new limits, because it was too much for
        the old ones."""
        limits, size, passed = self._limits, 0, 0
        if isinstance(item, Document):
            size, passed = len(item.text), _length(item.extra)
        full = self._records > 0 and (
            self._records == limits.records
            or self._bytes + size > limits.bytes
            or self._passed + passed > limits.passed
        )
        if full:
            self._records = self._bytes = self._passed = 0
        self._records += 1
        self._bytes += size
        self._passed += passed
        return full


def _length(value: object) -> int:
    """Characters of a value that was read, about."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(len(name) + _length(item) for name, item in value.items())
    return sum(map(_length, value)) if isinstance(value, list) else 8


def windows(documents: Sequence[Document]) -> Iterator[tuple[int, Sequence[Document]]]:
    """Documents of a shard, as many at once as a shard of a small corpus has, each time with the
    number of the first one: those of a large corpus' shard together may be too many."""
    room, begin = _Room(Limits()), 0
    for number, document in enumerate(documents):
        if room.take(document):
            yield begin, documents[begin:number]
            begin = number
    if documents:
        yield begin, documents[begin:]


class Start(NamedTuple):
    """Where a shard begins: its number, the numbers of its first record and document in the corpus,
    that of its file, that of the record in the file, and how many bytes of the corpus come before
    it, by estimate. All count from 0."""

    number: int = 0
    record: int = 0
    document: int = 0
    file: int = 0
    offset: int = 0
    reached: int = 0


class Shard(NamedTuple):
    """What is planned: where a shard begins, how many records and documents it has, and where the
    next one begins."""

    start: Start
    records: int
    documents: int
    next: Start

    @property
    def number(self) -> int:
        return self.start.number

    @property
    def size(self) -> int:
        """Bytes of the corpus, by estimate."""
        return self.next.reached - self.start.reached


Items = list[Document | Rejected]


def content(items: Items) -> str:
    """A digest of a shard's records: tells whether they are those that were scored."""
    found = hashlib.blake2b(digest_size=16)
    for item in items:
        found.update(repr(item).encode("utf-8", "surrogatepass") + b"\n")
    return found.hexdigest()


@dataclass
class _Sizes:
    """How many bytes of the corpus have been read, by estimate.

    sizes: of its files. file: the one that is being read. within: bytes of it; at first, of the
    corpus. before: bytes before each file.
    """

    corpus: Corpus
    sizes: Sequence[int]
    file: int
    within: int
    before: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.before = [0]
        for size in self.sizes:
            self.before.append(self.before[-1] + size)
        self.within = max(0, self.within - self.before[self.file])

    def add(self, file: int, text: int) -> int:
        if file != self.file:
            self.file, self.within = file, 0
        self.within += text
        given = self.corpus.position
        return self.before[file] + min(given() if given else self.within, self.sizes[file])


def total(corpus: Corpus) -> list[int]:
    """Bytes of each file."""
    return [Path(path).stat().st_size for path in corpus.files]


def cut(
    corpus: Corpus, sizes: Sequence[int], start: Start, limits: Limits
) -> Iterator[tuple[Shard, Items]]:
    """The shards from `start` on, with their records. Passes on what reading raises."""
    items: Items = []
    documents, room = 0, _Room(limits)
    reach = _Sizes(corpus, sizes, start.file, start.reached)
    reached = start.reached
    for file, offset, item in corpus.records(start.file, start.offset):
        if room.take(item):
            reached = reached if offset else reach.before[file]
            shard = _shard(start, len(items), documents, file, offset, reached)
            yield shard, items
            start, items, documents = shard.next, [], 0
        items.append(item)
        size = len(item.text) if isinstance(item, Document) else 0
        documents += isinstance(item, Document)
        reached = reach.add(file, size + 1)
    if items:
        files = len(corpus.files)
        yield _shard(start, len(items), documents, files, 0, sum(sizes)), items


def _shard(
    start: Start, records: int, documents: int, file: int, offset: int, reached: int
) -> Shard:
    after = Start(
        start.number + 1,
        start.record + records,
        start.document + documents,
        file,
        offset,
        max(reached, start.reached),
    )
    return Shard(start, records, documents, after)
