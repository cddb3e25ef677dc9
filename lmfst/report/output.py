"""An output of units, as one pass has found it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from lmfst.ground.types import Warn
from lmfst.report.made import Made, made
from lmfst.report.parts import parts
from lmfst.report.summary import Summary, Totals, totals


@dataclass(frozen=True)
class Output:
    """An output. name: by which the page calls it."""

    path: str
    name: str
    made: Made
    summary: Summary
    totals: Totals


def outputs(paths: Sequence[str], warn: Warn) -> list[Output]:
    """Each output, looked through once."""
    names = [os.path.basename(path) for path in paths]
    if len({*names}) < len(names):
        names = list(paths)
    found = []
    for path, name in zip(paths, names, strict=True):
        how = made(path, warn)
        summary = Summary(how.to)
        for part in parts(path):
            summary.add(part)
        sums = totals(summary.documents, summary.source_bytes)
        found.append(Output(path, name, how, summary, sums))
    return found
