"""Sections one after the other, each in its own time, and what they gave, in a file from the first
row on.

A section whose time is up ends where it is, and keeps the rows that it has; so does one that fails.
One that would begin without time left is left out.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from benchmark.gpu_sections import Section, Stage

LEAST = 5.0
"""Seconds that must be left for a section to begin."""


class OutOfTime(BaseException):
    """A section's time is up. No `Exception`: what tries something out would take it for its
    failure."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """The block, ended by `OutOfTime` after so many seconds."""

    def end(signal_number: int, frame: FrameType | None) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Results:
    """What a run has found, also in a file if there is one. say: told of each row."""

    def __init__(
        self, facts: dict[str, Any], path: Path | None, say: Callable[[str, dict[str, Any]], None]
    ) -> None:
        self.found: dict[str, Any] = {**facts, "sections": {}}
        self._path, self._say = path, say

    def begin(self, name: str) -> dict[str, Any]:
        section: dict[str, Any] = {"rows": [], "status": "begun", "seconds": None}
        self.found["sections"][name] = section
        return section

    def add(self, name: str, row: dict[str, Any]) -> None:
        self.found["sections"][name]["rows"].append(row)
        self._say(name, row)
        self.write()

    def write(self) -> None:
        """Whole or not at all: a run may be ended at any moment."""
        if self._path is None:
            return
        beside = self._path.with_name(f"{self._path.name}.part")
        beside.write_text(json.dumps(self.found, indent=1, ensure_ascii=False) + "\n")
        os.replace(beside, self._path)

    @property
    def ok(self) -> bool:
        """Whether all sections were done, and no row is wrong."""
        sections = self.found["sections"].values()
        return all(
            one["status"] == "done" and all(row.get("ok", True) for row in one["rows"])
            for one in sections
        )


def run(
    stage: Stage, sections: Mapping[str, tuple[Section, float]], results: Results, deadline: float
) -> None:
    """Run sections. deadline: of all of them, by `time.monotonic`."""
    for name, (section, limit) in sections.items():
        found = results.begin(name)
        left = deadline - time.monotonic()
        if left < LEAST:
            found["status"] = "left out: no time"
        else:
            found["status"] = _run(stage, name, section, min(limit, left), results)
        results.write()


def _run(stage: Stage, name: str, section: Section, limit: float, results: Results) -> str:
    """Run a section; how it ended."""
    begin = time.monotonic()
    try:
        with at_most(limit):
            for row in section(stage):
                results.add(name, row)
        return "done"
    except OutOfTime:
        return f"ended after {limit:.0f} s"
    except (Exception, SystemExit) as error:  # whatever it is, other sections have numbers to give
        print(traceback.format_exc(), file=sys.stderr, flush=True)
        return f"failed: {type(error).__name__}: {error}"
    finally:
        results.found["sections"][name]["seconds"] = time.monotonic() - begin
