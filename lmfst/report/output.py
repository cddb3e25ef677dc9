"""An output of units, as one pass has found it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from lmfst.ground.errors import InputError
from lmfst.ground.types import Warn
from lmfst.report.columns import require_form
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
    """Each output, looked through once. warn: is told of what a job is about to replace, and as
    `lmfst.report.made.made`. InputError for what can't be read, or isn't complete."""
    names = [os.path.basename(path) for path in paths]
    if len({*names}) < len(names):
        names = list(paths)
    found = []
    for path, name in zip(paths, names, strict=True):
        _require_done(path, warn)
        how = made(path, warn)
        summary = Summary(how.to)
        for part in parts(path):
            summary.add(part)
        sums = totals(summary.documents, summary.source_bytes)
        found.append(Output(path, name, how, summary, sums))
    return found


def _require_done(path: str, warn: Warn) -> None:
    """See that an output is there, and that `lmfst score` isn't still at work on it."""
    out = os.path.realpath(path)
    work = os.path.isdir(f"{out}.work")
    if work and not os.path.exists(out):
        raise InputError(
            f"{path}: expected a complete output, found the work of a job that isn't done, "
            f"{path}.work",
            hint="wait until it is done; if it was interrupted, the same lmfst score goes on",
        )
    require_form(path)
    if work:
        warn(
            f"{path}: a job is at work on it ({path}.work), and will replace it: the page is about "
            "the rows that are there now"
        )
