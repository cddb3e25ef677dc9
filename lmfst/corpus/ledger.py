"""The ledger: which shards are planned and done, a line each, at the end of a file.

A line is a checksum (CRC-32, hex) and an event in JSON: `plan` (where a shard begins and ends, what
its records are, and the batch tokens it is scored with), `done` (what came of it, and the checksums
of its files), `forget` (shards from a number on are planned anew) or `end` (the corpus has no
more). A `done` is on the disk before anything relies on it, and after the files that it speaks of.
Lines at the end that are incomplete are what a killed run, or a machine that stopped, leaves: they
never were. Anything else that is damaged is an error.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lmfst.corpus.disk import writing
from lmfst.corpus.manifest import RESTART
from lmfst.corpus.shards import Shard, Start
from lmfst.ground.errors import InputError


class Scored(NamedTuple):
    """What came of a shard. rows_sum, rejects_sum: SHA-256 (hex) of its files; "" where there is
    nothing, and no file. facts: the scorer's. lost: whether it was left out."""

    number: int
    rows: int
    rows_size: int
    rows_sum: str
    rejects: int
    rejects_size: int
    rejects_sum: str
    symbols: int
    missing: float
    facts: dict[str, Any]
    lost: bool = False


class Entry(NamedTuple):
    """A shard in the plan. batch_tokens: what it is scored with. content: of its records
    (`lmfst.corpus.shards.content`)."""

    shard: Shard
    batch_tokens: int
    content: str


@dataclass(frozen=True)
class End:
    """The corpus' records and documents, and how many shards they are."""

    shards: int
    records: int
    documents: int


class Ledger:
    """The ledger of a work folder, to be read and added to by the one who holds its lock.

    plan: every shard that was ever handed out, by its number. done: those that are done. end: None
    as long as the corpus' end wasn't reached. batch_tokens: the latest.
    """

    def __init__(self, path: Path, batch_tokens: int) -> None:
        """InputError if it is damaged, or can't be read or written."""
        self.plan: dict[int, Entry] = {}
        self.done: dict[int, Scored] = {}
        self.end: End | None = None
        self.batch_tokens = batch_tokens
        self._path = path
        with writing(path, path.parent):
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        os.close(self._handle)

    def _read(self) -> None:
        with open(self._path, "rb") as stream:
            data = stream.read()
        good, bad = 0, False
        for line, whole in _lines(data):
            event = _event(line)
            if event is None:
                bad = True
            elif bad:
                raise self._damaged("a line that isn't its last")
            else:
                try:
                    self._take(event)
                except (ValueError, TypeError, KeyError, IndexError) as error:
                    raise self._damaged(str(error)) from None
                good += whole
        if good < len(data):
            with writing(self._path, self._path.parent):
                os.ftruncate(self._handle, good)

    def _damaged(self, what: str) -> InputError:
        return InputError(
            f"{self._path}: the record of what is done is damaged: {what}", hint=RESTART
        )

    def _take(self, event: dict[str, Any]) -> None:
        kind = event.pop("event")
        if kind == "plan":
            start, after = Start(*event["start"]), Start(*event["next"])
            shard = Shard(
                start, after.record - start.record, after.document - start.document, after
            )
            self.plan[shard.number] = Entry(shard, event["batch_tokens"], event["content"])
            self.batch_tokens = min(self.batch_tokens, event["batch_tokens"])
        elif kind == "done":
            scored = Scored(**event)
            if scored.number not in self.plan:
                raise ValueError(f"shard {scored.number} is done and was never planned")
            self.done[scored.number] = scored
        elif kind == "forget":
            self._forget(event["from"])
        elif kind == "end":
            self.end = End(**event)
        else:
            raise ValueError(f"the event {kind!r}")

    def planned(self, shard: Shard, batch_tokens: int, content: str) -> None:
        """Note that a shard is handed out. InputError if it can't be written."""
        self.plan[shard.number] = Entry(shard, batch_tokens, content)
        self.batch_tokens = min(self.batch_tokens, batch_tokens)
        self._add({"event": "plan", "start": shard.start, "next": shard.next,
                   "batch_tokens": batch_tokens, "content": content}, sync=False)  # fmt: skip

    def is_as_planned(self, shard: Shard, content: str) -> bool:
        """Whether a shard has the records that were planned, or wasn't planned."""
        known = self.plan.get(shard.number)
        return known is None or (known.shard[:3] == shard[:3] and known.content == content)

    def forget_from(self, number: int) -> None:
        """Note that shards from a number on, and the end, are planned anew."""
        self._forget(number)
        self._add({"event": "forget", "from": number}, sync=True)

    def _forget(self, number: int) -> None:
        self.end = None
        for shard in [shard for shard in self.plan if shard >= number]:
            del self.plan[shard]
            self.done.pop(shard, None)

    def finished(self, scored: Scored) -> None:
        """Note that a shard is done, whose files are on the disk."""
        self.done[scored.number] = scored
        self._add({"event": "done", **scored._asdict()}, sync=True)

    def damaged(self, number: int) -> None:
        """Forget that a shard is done. Not noted: it would be found again."""
        del self.done[number]

    def ended(self, end: End) -> None:
        """Note that the corpus has no more."""
        self.end = end
        self._add({"event": "end", "shards": end.shards, "records": end.records,
                   "documents": end.documents}, sync=True)  # fmt: skip

    def is_complete(self) -> bool:
        """Whether all shards of the corpus are done."""
        return self.end is not None and len(self.done) == self.end.shards

    def first_open(self) -> int:
        """The number of the first shard that isn't done."""
        return next(number for number in range(len(self.done) + 1) if number not in self.done)

    def last_open(self, end: End) -> int:
        """The number of the last shard that isn't done, of a corpus that ends there."""
        return max(number for number in range(end.shards) if number not in self.done)

    def start(self, number: int) -> Start:
        """Where a shard begins that is planned, or would be the next."""
        if number in self.plan:
            return self.plan[number].shard.start
        return self.plan[number - 1].shard.next if number else Start()

    def _add(self, event: dict[str, Any], *, sync: bool) -> None:
        text = json.dumps(event, separators=(",", ":")).encode()
        line = b"%08x %b\n" % (zlib.crc32(text), text)
        with writing(self._path, self._path.parent):
            while line:
                line = line[os.write(self._handle, line) :]
            if sync:
                os.fsync(self._handle)


def _lines(data: bytes) -> Iterator[tuple[bytes, int]]:
    """The lines, and how many bytes each takes; an unfinished one isn't one."""
    for line in data.splitlines(keepends=True):
        yield (line[:-1] if line.endswith(b"\n") else b""), len(line)


def _event(line: bytes) -> dict[str, Any] | None:
    """What a line says; None if it is damaged."""
    check, _, text = line.partition(b" ")
    if check != b"%08x" % zlib.crc32(text):
        return None
    try:
        event = json.loads(text)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None
