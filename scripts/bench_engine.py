"""The engine by itself: everything but the model, whose rows are recorded once and replayed.

Each configuration scores some texts in one batch, first with the model, which records its rows,
then from memory; of several such runs the one that took the engine least counts. What a replaying
session and the tokenizer take is taken out ("replay s"). The rest is "engine s", split a kept row
into tensor work (normalisers, and rows reduced to the table) and host work (all the rest).
"evaluated" rows are those that the model was asked for, "kept" those of hypotheses that were.

Sections: bytes, words (SmolLM2-135M, K=8, 1e-3), amino (the packaged model of DNA, sampling),
counts (kernels, and crossings between device and host, a model call and a kept row, with a tiny
transformers model, attention included), decisions (the decision step on the host and in torch).

    python scripts/bench_engine.py [--quick] [--only SECTION …] [--json FILE] [--rows FILE]
    python scripts/bench_engine.py --check FILE [--rows FILE]

--check writes the numbers of a fixed set of texts to FILE, or compares them with what is there: all
sums of a document to 1e-9 nats, and the rows that it keeps. With --rows the model's rows are kept
in a file, so that two versions of the engine read the same ones, and the model runs once (--quick:
3 GB); a row that isn't there is evaluated and added. Another version is measured by
PYTHONPATH=FOLDER. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

SECTIONS = ("bytes", "words", "amino", "counts", "decisions")
CLOCKS = {"wall": time.perf_counter, "process": time.process_time}
Row = dict[str, Any]
ENGINE_COLUMNS: dict[str, Callable[[Row], str]] = {
    "to": lambda row: row["to"],
    "texts": lambda row: f"{row['documents']} {row['texts']}",
    "size": lambda row: f"{row['size']} {row['unit']}",
    "engine s": lambda row: f"{row['engine_s']:.3f}",
    "replay s": lambda row: f"{row['replay_s']:.3f}",
    "a second": lambda row: f"{row['per_s']:.0f}",
    "tensors µs": lambda row: f"{row['tensors_us']:.1f}",
    "host µs": lambda row: f"{row['host_us']:.1f}",
    "kept": lambda row: str(row["kept"]),
    "evaluated": lambda row: str(row["evaluated"]),
    "÷ kept": lambda row: f"{row['evaluated_per_kept']:.2f}",
    "calls": lambda row: str(row["calls"]),
    "rows a call": lambda row: f"{row['rows_per_call']:.1f}",
}


def _each(name: str) -> dict[str, Callable[[Row], str]]:
    """Columns of a count, a call and a kept row."""
    return {
        f"{name} a call": lambda row: f"{row[name.replace(' ', '_')] / row['calls']:.1f}",
        f"{name} a row": lambda row: f"{row[name.replace(' ', '_')] / row['kept']:.2f}",
    }


COUNT_COLUMNS: dict[str, Callable[[Row], str]] = {
    "to": lambda row: row["to"],
    "documents": lambda row: str(row["documents"]),
    "reduced": lambda row: row["reduced"],
    "calls": lambda row: str(row["calls"]),
    "kept": lambda row: str(row["kept"]),
    **_each("engine kernels"),
    **_each("engine crossings"),
    **_each("model kernels"),
    **_each("model crossings"),
}
DECISION_COLUMNS: dict[str, Callable[[Row], str]] = {
    "documents": lambda row: str(row["documents"]),
    "hypotheses": lambda row: str(row["hypotheses"]),
    "host µs": lambda row: f"{row['host_us']:.1f}",
    "torch µs": lambda row: f"{row['torch_us']:.1f}",
    "torch ÷ host": lambda row: f"{row['ratio']:.2f}",
}
CHECK_COLUMNS: dict[str, Callable[[Row], str]] = {
    "case": lambda row: row["case"],
    "documents": lambda row: str(row["documents"]),
    "logp, nats": lambda row: f"{row['logp']:.9f}",
    "rows": lambda row: str(row["rows"]),
    "before": lambda row: str(row["rows_before"]),
    "apart, nats": lambda row: f"{row['apart']:.2g}",
    "missing apart": lambda row: f"{row['missing_apart']:.2g}",
    "": lambda row: "equal" if row["equal"] else "DIFFERENT",
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="few texts and runs: about a minute")
    add("--only", action="append", choices=SECTIONS, help="a section; may be repeated")
    add("--repeats", type=int, help="runs of a configuration (default 5; 2 if --quick)")
    add("--clock", choices=CLOCKS, default="wall", help="process: on a machine that isn't quiet")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)))
    add("--device", default="cpu", help="as of lmfst convert")
    add("--json", type=Path, help="write what was measured to a file")
    add("--check", type=Path, help="numbers to compare with, or a file to write them to")
    add("--rows", type=Path, help="a file where the model's rows are kept")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    import torch

    torch.set_num_threads(options.threads)
    if options.check:
        check(options)
        return
    found = {"threads": options.threads, "clock": options.clock, "device": options.device}
    found |= measure(options)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def loader(device: str) -> Callable[[str], Any]:
    """What loads a model by name, once."""
    from lmfst.lm.load import load_lm

    return cache(lambda name: load_lm(name, device=device, warn=lambda message: None))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All sections, each printed as it is there."""
    from benchmark import counts, decisions
    from benchmark.report import table

    import lmfst

    print(f"lmfst {lmfst.__version__} in {Path(lmfst.__file__).parent}, {options.threads} threads")
    only: Sequence[str] = options.only or SECTIONS
    found: dict[str, Any] = {}
    if engine := engine_rows(options, only):
        found["engine"] = engine
        print(f"\n{table(engine, ENGINE_COLUMNS)}", flush=True)
    if "counts" in only:
        found["counts"] = counts.rows()
        print(f"\n{table(found['counts'], COUNT_COLUMNS)}")
        for row in found["counts"]:
            each = ", ".join(f"{name} {number}" for name, number in row["crossings"].items())
            what = f"{row['to']}, {row['documents']} documents, {row['reduced']}"
            print(f"crossings, {what}: {each}", flush=True)
    if "decisions" in only:
        found["decisions"] = decisions.rows(options.device)
        if found["decisions"]:
            print(f"\n{table(found['decisions'], DECISION_COLUMNS)}", flush=True)
        else:
            print("\nno decisions: this lmfst has no reference of the decision step")
    return found


def engine_rows(options: argparse.Namespace, only: Sequence[str]) -> list[Row]:
    """The rows of configurations with the model's rows replayed."""
    from benchmark.engine import Replayed, cases, measured
    from benchmark.replay import Rows

    from lmfst.ground.defaults import MODEL

    load, found = loader(options.device), []
    rows = Rows(options.rows, options.device) if options.rows else None
    repeats = options.repeats or (2 if options.quick else 5)
    replayed: dict[str, Replayed] = {}
    for case in cases(only, options.quick):
        print(f"{case.to}, {len(case.texts)} documents …", file=sys.stderr, flush=True)
        name = "dna" if case.to == "amino" else MODEL
        if case.to not in replayed:
            clock = CLOCKS[options.clock]
            replayed = {case.to: Replayed.of(load(name), case.to, clock=clock)}
        recording = rows.of(name) if rows else None
        found.append(measured(case, replayed[case.to], repeats, recording))
    if rows:
        rows.save()
    return found


def check(options: argparse.Namespace) -> None:
    """Compare with earlier numbers. Exits with 1 if something differs."""
    from benchmark.engine_check import check
    from benchmark.replay import Rows
    from benchmark.report import table

    fresh = not options.check.is_file()
    rows = check(options.check, loader(options.device), Rows(options.rows, options.device))
    compared = ("before", "apart, nats", "missing apart", "")
    columns = {k: v for k, v in CHECK_COLUMNS.items() if not (fresh and k in compared)}
    print(table(rows, columns))
    print(f"{rows[0]['added']} rows were evaluated by the model")
    if fresh:
        print(f"written to {options.check}")
    elif not all(row["equal"] for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
