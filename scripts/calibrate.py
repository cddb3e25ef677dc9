"""How good the estimate in column `missing` is, and what a tolerance keeps to.

Scores every paragraph of data/sample.txt and data/bench.txt as bytes with the default model, at
several fixed thresholds and at the default tolerance, and compares with a wide beam (K=64, 1e-6).
Prints a table in Markdown and writes build/calibration.json. A quarter of an hour on two cores.

    python scripts/calibrate.py [--beam K] [--thresholds T ...] [--tolerances T ...]
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import lmfst
from lmfst.inference.policy import Beam, Policy, Tolerance
from lmfst.model import TransducedLM
from lmfst.scored.records import Scored
from lmfst.target.load import load_target

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = Beam(size=64, threshold=1e-6)


@dataclass(frozen=True)
class Compared:
    """A paragraph: what is missing by estimate and in truth, nats; the largest error of a unit's
    logp, nats; model rows kept; symbols."""

    name: str
    estimate: float
    truth: float
    unit: float
    rows: int
    symbols: int


def texts() -> dict[str, bytes]:
    """The paragraphs, by file and line."""
    found = {}
    for name in ("sample", "bench"):
        lines = (ROOT / "data" / f"{name}.txt").read_bytes().splitlines()
        found |= {f"{name} {i}": line for i, line in enumerate(lines, start=1)}
    return found


def scores(lm: lmfst.LM, policy: Policy) -> tuple[dict[str, Scored], dict[str, float]]:
    """Records and seconds of each paragraph, one by one."""
    model = TransducedLM(lm, load_target("bytes"), policy, warn=lambda message: None)
    records, seconds = {}, {}
    for name, text in texts().items():
        begin = time.perf_counter()
        records[name] = model.score([text])[0]
        seconds[name] = time.perf_counter() - begin
    return records, seconds


def compared(found: dict[str, Scored], truth: dict[str, Scored]) -> list[Compared]:
    """Every paragraph against the reference."""
    return [
        Compared(
            name=name,
            estimate=float(scored.missing.sum()),
            truth=truth[name].logp - scored.logp,
            unit=float(np.abs(np.diff(truth[name].log_prefix - scored.log_prefix)).max()),
            rows=scored.nodes,
            symbols=len(scored.target),
        )
        for name, scored in found.items()
        if scored.missing is not None
    ]


def table_row(title: str, rows: list[Compared], seconds: dict[str, float], base: dict) -> str:
    """One line of the table."""
    below = [r for r in rows if r.estimate < r.truth]
    third = [r for r in rows if r.estimate < r.truth / 3]
    worst = max(rows, key=lambda r: r.unit)
    per_hundred = 100 * sum(r.truth for r in rows) / sum(r.symbols for r in rows)
    ratio = np.median([seconds[name] / base[name] for name in seconds])
    names = ", ".join(f"{r.name} ({r.estimate:.2g} for {r.truth:.2g})" for r in third)
    cells = (
        title,
        f"{sum(r.rows for r in rows):,}",
        f"{ratio:.2f}",
        f"{sum(r.estimate for r in rows):.3f}",
        f"{sum(r.truth for r in rows):.3f}",
        f"{per_hundred:.4f}",
        f"{worst.unit:.3f} ({worst.name})",
        f"{len(below)} of {len(rows)}",
        f"{len(third)}{': ' + names if names else ''}",
    )
    return "| " + " | ".join(cells) + " |"


HEAD = (
    "setting",
    "model rows",
    "seconds, median ratio to 1e-3",
    "missing by estimate",
    "in truth",
    "per 100 bytes",
    "largest error of a unit",
    "estimate below truth",
    "below a third of it",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--beam", type=int, default=8)
    parser.add_argument("--thresholds", type=float, nargs="*", default=[1e-1, 1e-2, 1e-3, 1e-4])
    parser.add_argument("--tolerances", type=float, nargs="*", default=[0.1, 0.01])
    options = parser.parse_args()
    settings: dict[str, Policy] = {
        f"K={options.beam}, {t:g}": Beam(size=options.beam, threshold=t) for t in options.thresholds
    }
    settings |= {f"tolerance {t:g}": Tolerance(tolerance=t) for t in options.tolerances}
    lm = lmfst.load().lm
    truth, _ = scores(lm, REFERENCE)
    base = scores(lm, Beam(size=8, threshold=1e-3))[1]
    report = {}
    print("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD), flush=True)
    for title, policy in settings.items():
        found, seconds = scores(lm, policy)
        rows = compared(found, truth)
        report[title] = [asdict(r) | {"seconds": seconds[r.name]} for r in rows]
        print(table_row(title, rows, seconds, base), flush=True)
    folder = ROOT / "build"
    folder.mkdir(exist_ok=True)
    (folder / "calibration.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
