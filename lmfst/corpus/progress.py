"""How far a job is, for those who watch it: numbers now and then, and a line for each event."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from lmfst.ground.announce import warn_default
from lmfst.ground.errors import InputError
from lmfst.ground.types import Warn

LOGGED = 10.0
"""Seconds from one line of progress in a log to the next."""
_MATTERS = 1e-9


@dataclass(frozen=True)
class Progress:
    """How far a job is, what earlier runs did of it included.

    documents: done or rejected. rejected: records. symbols: of the target. rate: symbols a second
    in this run. share: of the corpus' bytes, done. seconds_left: None as long as it can't be told.
    missing: nats, by estimate. step: "scoring" or "joining".
    """

    documents: int
    rejected: int
    symbols: int
    rate: float
    share: float
    seconds_left: float | None
    missing: float
    step: str = "scoring"


def _nothing(progress: Progress) -> None:
    """Nobody watches."""


def _nobody(event: str, facts: Mapping[str, Any]) -> None:
    """Nobody keeps a log."""


@dataclass(frozen=True)
class Watch:
    """Who is told what: of progress several times a second, of doubtful things, and of events."""

    progress: Callable[[Progress], None] = _nothing
    warn: Warn = warn_default
    event: Callable[[str, Mapping[str, Any]], None] = _nobody


@dataclass
class Counts:
    """What has been done; a shard's counts so far are taken back where it is begun again."""

    records: int = 0
    rejected: int = 0
    symbols: int = 0
    missing: float = 0.0

    def add(self, records: int, rejected: int, symbols: int, missing: float) -> None:
        self.records += records
        self.rejected += rejected
        self.symbols += symbols
        self.missing += missing


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

    def progress(self, progress: Progress) -> None:
        """Add a line, if the last one is old enough."""
        now = time.monotonic()
        if now - self._last >= LOGGED or not self._last:
            self._last = now
            self.event("progress", asdict(progress))

    def close(self) -> None:
        with suppress(OSError):
            self._stream.close()
