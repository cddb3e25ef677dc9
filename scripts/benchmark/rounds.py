"""Runs of several settings in turn, so that a change of the machine's pace meets all alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Answer = dict[str, Any]


@dataclass
class Setting:
    """One row of a table.

    parts: what is run at a time, in order: usually one text each, or one part with all of them.
    run: runs one part (its index and its texts). warm: texts to run before the clock starts.
    """

    name: str
    parts: Sequence[Sequence[str]]
    run: Callable[[int, Sequence[str]], Answer]
    warm: Sequence[str] = ()
    rounds: list[list[Answer]] = field(default_factory=list)

    @property
    def seconds(self) -> list[float]:
        """The time of each round over all parts."""
        return [sum(answer["seconds"] for answer in answers) for answers in self.rounds]


def take_turns(settings: Sequence[Setting], repeats: int, budget: float) -> None:
    """Run all settings part by part in turn, for `repeats` rounds. After the first round a setting
    takes part only while its total stays within `budget` seconds."""
    for setting in settings:
        if setting.warm:
            setting.run(-1, setting.warm)
    for number in range(repeats):
        chosen = [s for s in settings if not number or _affordable(s, budget)]
        for setting in chosen:
            setting.rounds.append([])
        for at in range(max((len(s.parts) for s in chosen), default=0)):
            # Every other round goes backwards: none is always the one after a heavy one.
            for setting in chosen[:: -1 if number % 2 else 1]:
                if at < len(setting.parts):
                    setting.rounds[-1].append(setting.run(at, setting.parts[at]))


def _affordable(setting: Setting, budget: float) -> bool:
    return sum(setting.seconds) + setting.seconds[-1] <= budget


def summary(setting: Setting, size: int) -> dict[str, Any]:
    """A row: medians over the rounds, with the range of the time. size: bytes of all parts."""
    seconds = setting.seconds
    first = setting.rounds[0]
    metered = all(answer["calls"] is not None for answer in first)
    outside = [
        1 - sum(a["forward"] for a in answers) / total
        for answers, total in zip(setting.rounds, seconds, strict=True)
        if metered
    ]
    softmax = [
        sum(a["softmax"] for a in answers) / total
        for answers, total in zip(setting.rounds, seconds, strict=True)
        if all("softmax" in a for a in answers)
    ]
    peaks = [a["memory"] for answers in setting.rounds for a in answers]
    return {
        "setting": setting.name,
        "rounds": len(seconds),
        "seconds": seconds,
        "median": statistics.median(seconds),
        "bytes_per_s": size / statistics.median(seconds),
        "calls": sum(a["calls"] for a in first) if metered else None,
        "positions": sum(a["positions"] for a in first) if metered else None,
        "outside": statistics.median(outside) if outside else None,
        "softmax": statistics.median(softmax) if softmax else None,
        "memory": max(peaks) if None not in peaks else None,
        "logp": sum(a["logp"] for a in first),
    }


def ratio(one: Sequence[float], other: Sequence[float]) -> tuple[float, float, float]:
    """How many times as long `one` takes as `other`: median, least and most over common rounds."""
    found = [a / b for a, b in zip(one, other, strict=False)]
    return statistics.median(found), min(found), max(found)
