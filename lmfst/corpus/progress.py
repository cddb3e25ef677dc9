"""How far a job is, for those who watch it: numbers now and then, and a line for each event."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from lmfst.corpus.ledger import Ledger, Scored
from lmfst.corpus.messages import Counted
from lmfst.corpus.shards import Shard
from lmfst.ground.announce import LOGGER, warn_default
from lmfst.ground.errors import InputError
from lmfst.ground.types import Warn

LOGGED = 10.0
"""Seconds from one line of progress in a log to the next."""
_MATTERS = 1e-9


@dataclass(frozen=True)
class Progress:
    """How far a job is, what earlier runs did of it included.

    documents: records that are done or rejected. rejected: the latter. symbols: of the target.
    rate: symbols a second in this run. share: of the corpus' bytes, done. seconds_left: None as
    long as it can't be told. missing: nats, by estimate.
    """

    documents: int
    rejected: int
    symbols: int
    rate: float
    share: float
    seconds_left: float | None
    missing: float


def _nothing(progress: Progress) -> None:
    """Nobody watches."""


def _nobody(event: str, facts: Mapping[str, Any]) -> None:
    """Nobody keeps a log."""


@dataclass(frozen=True)
class Watch:
    """Who is told what: of progress several times a second, of doubtful things, of events, and of
    what takes long or has been chosen."""

    progress: Callable[[Progress], None] = _nothing
    warn: Warn = warn_default
    event: Callable[[str, Mapping[str, Any]], None] = _nobody
    note: Callable[[str], None] = LOGGER.info


class Clock:
    """Rates and the time left, from what was there when the run began."""

    def __init__(self, symbols: int, share: float) -> None:
        self._symbols, self._share = symbols, share
        self._began = time.monotonic()

    def rate(self, symbols: int) -> float:
        """Symbols a second."""
        return (symbols - self._symbols) / max(time.monotonic() - self._began, _MATTERS)

    def left(self, share: float) -> float | None:
        """Seconds; None as long as nothing is done."""
        done = share - self._share
        if done <= _MATTERS:
            return None
        return (time.monotonic() - self._began) * max(0.0, 1.0 - share) / done


class Tally:
    """What is done of a job, shard by shard.

    size: bytes of the corpus. ledger: what earlier runs have done.
    """

    def __init__(self, size: int, ledger: Ledger) -> None:
        self._size, self._bytes = size, 0
        self._documents = self._rejected = self._symbols = 0
        self._missing = 0.0
        self._partial: dict[int, tuple[Shard, Counted]] = {}
        for scored in ledger.done.values():
            self.add(ledger.plan[scored.number].shard, scored)
        self._clock = Clock(self._symbols, self._share())

    def add(self, shard: Shard, scored: Scored) -> None:
        """A shard is done."""
        self.forget(shard.number)
        self._documents += shard.records
        self._rejected += scored.rejects
        self._symbols += scored.symbols
        self._missing += scored.missing
        self._bytes += shard.size

    def see(self, shard: Shard, counted: Counted) -> None:
        """So much of a shard is done."""
        self._partial[shard.number] = shard, counted

    def forget(self, number: int) -> None:
        """What was done of a shard doesn't count: it is begun again."""
        self._partial.pop(number, None)

    def _share(self) -> float:
        parts = (
            shard.size * counted.documents / shard.records
            for shard, counted in self._partial.values()
        )
        return min(1.0, (self._bytes + sum(parts)) / max(1, self._size))

    def progress(self) -> Progress:
        parts = [counted for _, counted in self._partial.values()]
        symbols = self._symbols + sum(part.symbols for part in parts)
        share = self._share()
        return Progress(
            documents=self._documents + sum(part.documents for part in parts),
            rejected=self._rejected + sum(part.rejected for part in parts),
            symbols=symbols,
            rate=self._clock.rate(symbols),
            share=share,
            seconds_left=self._clock.left(share),
            missing=self._missing + sum(part.missing for part in parts),
        )


class JsonLog:
    """A file of events, a JSON object a line with the `time` (seconds since 1970) and the `event`.

    A later run adds to it. If it can't be written any more, that is a warning, once: a job doesn't
    end for its log. InputError if it can't be opened.
    """

    def __init__(self, path: str, warn: Warn) -> None:
        self._path, self._warn = path, warn
        self._last = 0.0
        self._broken = False
        try:
            self._stream = open(path, "ab", buffering=0)  # noqa: SIM115 (closed by `close`)
        except OSError as error:
            raise InputError(
                f"{path}: expected a place for a log: {error.strerror or error}",
                hint="name a file in a folder you own",
            ) from None

    def event(self, event: str, facts: Mapping[str, Any]) -> None:
        """Add a line."""
        if self._broken:
            return
        line = json.dumps({"time": round(time.time(), 3), "event": event, **facts})
        try:
            self._stream.write(line.encode() + b"\n")
        except OSError as error:
            self._broken = True
            self._warn(f"{self._path}: can't be written any more: {error.strerror or error}")

    def beside(self, watch: Watch) -> Watch:
        """A watch that tells `watch` and this log."""

        def progress(found: Progress) -> None:
            watch.progress(found)
            self.progress(found)

        def warn(message: str) -> None:
            watch.warn(message)
            self.event("warning", {"message": message})

        def event(event: str, facts: Mapping[str, Any]) -> None:
            watch.event(event, facts)
            self.event(event, facts)

        return Watch(progress, warn, event, watch.note)

    def progress(self, progress: Progress) -> None:
        """Add a line, if the last one is old enough."""
        now = time.monotonic()
        if now - self._last >= LOGGED or not self._last:
            self._last = now
            self.event("progress", asdict(progress))

    def close(self) -> None:
        with suppress(OSError):
            self._stream.close()
