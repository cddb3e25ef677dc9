"""The speed benchmark: lmfst against genlm-bytes, a teacher-forced pass and a plain decoding loop.

    python scripts/bench.py [--quick] [--only SECTION …] [--no-genlm] [--out FOLDER]

All settings read the same texts (data/bench.txt) with the same model in float32 and the same number
of threads. Settings of a section take turns, text by text; times are medians over the rounds, and
what took long is run once. "outside" is the share of the time that is not spent in the model's
forward calls, "softmax" the part of it that turns logits into log-probabilities; "positions" are
the token positions of those calls, padding included; "MiB" is the peak memory of the engine's
process. "logp" is the total log-probability: of the whole texts (with their end) in scoring, of the
texts as prefixes where distributions are asked for. The reference is lmfst with K=64 and the
threshold 1e-5: "below ref." says by how many nats the total logp is below it, "JSD" is the mean
Jensen-Shannon divergence of the next-byte distributions (256 bytes and the end), each normalised to
sum to 1, over all positions, in bits. The teacher-forced pass and the decoding loop see the
canonical tokens only: yardsticks of cost, not of the same quantity.

The first run installs genlm-bytes in an environment under build/bench-cache, where the reference
distributions are kept too. Sections run separately with --only are put together in
FOLDER/bench.json if model, texts and threads are the same. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmark.common import REFERENCE, Bench, begin_and_ends, model_folder
from benchmark.report import plot, ratios, section_text
from benchmark.sections import NEED_GENLM, SECTIONS
from benchmark.texts import beginning, digest, read_texts, short_lines, size, spread
from benchmark.workers import ROOT, genlm_python

DOCUMENTS, QUICK_DOCUMENTS = 0, 3
COMPARED, QUICK_COMPARED = 3, 1
COMPARED_BYTES = 256
"""genlm-bytes takes minutes for a long text, so it reads the beginnings of a few."""
LINES, QUICK_LINES = 64, 16
SIZES, QUICK_SIZES = (256, 512, 1024, 2048, 4096), (256, 1024)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", default="smollm2-135m", help="the default model or a folder")
    add("--texts", type=Path, default=ROOT / "data" / "bench.txt", help="one text to a line")
    add("--documents", type=int, default=0, help="read only the first N texts")
    add(
        "--compared",
        type=int,
        help="texts whose beginnings are used to compare distributions (0: all)",
    )
    add("--quick", action="store_true", help="few texts, one round")
    add("--only", action="append", choices=list(SECTIONS), help="a section; may be repeated")
    add("--no-genlm", action="store_true", help="leave genlm-bytes out")
    add("--repeats", type=int, default=3, help="rounds of settings that are quick")
    add("--budget", type=float, default=60.0, help="seconds that rounds of one setting may take")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)))
    add("--pip-flags", default="", help="options of pip for the environment of genlm-bytes")
    add("--out", type=Path, default=ROOT / "build" / "bench", help="folder of the results")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if importlib.util.find_spec("matplotlib") is None:
        raise SystemExit("the plot needs matplotlib: pip install -c constraints.txt -e '.[dev]'")
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        bench = prepared(options, Path(scratch))
        facts = {
            "model": options.model,
            "weights_sha256": bench.weights,
            "texts_sha256": digest(bench.texts),
            "documents": len(bench.texts),
            "bytes": size(bench.texts),
            "compared_bytes": size(bench.compared),
            "threads": bench.threads,
            "processor": processor(),
            "reference": REFERENCE,
        }
        print(json.dumps(facts), flush=True)
        found = earlier(options.out / "bench.json", facts)
        for name in chosen(options):
            print(f"running {name} …", file=sys.stderr, flush=True)
            before = os.getloadavg()[0]
            section = SECTIONS[name](bench)
            about = str(SECTIONS[name].__doc__).splitlines()[0].rstrip(".")
            section |= {"about": about, "load": [before, os.getloadavg()[0]]}
            found[name] = section
            print(section_text(name, section), flush=True)
            save(options.out, facts, found)
    print("\n".join(["Ratios (median over the rounds, least–most):", *ratios(found)]))
    if plot(found, options.out / "bench.svg"):
        print(f"plot: {options.out / 'bench.svg'}")


def chosen(options: argparse.Namespace) -> list[str]:
    """The sections to run. SystemExit if one needs genlm-bytes, which is left out."""
    if not options.only:
        return [name for name in SECTIONS if not (options.no_genlm and name in NEED_GENLM)]
    refused = NEED_GENLM & set(options.only) if options.no_genlm else set()
    if refused:
        raise SystemExit(f"--only {min(refused)} compares with genlm-bytes: drop --no-genlm")
    return list(dict.fromkeys(options.only))


def prepared(options: argparse.Namespace, scratch: Path) -> Bench:
    every = read_texts(options.texts, 0)
    quick = options.quick
    documents = options.documents or (QUICK_DOCUMENTS if quick else DOCUMENTS)
    texts = every[: documents or None]
    compared = options.compared
    if compared is None:
        compared = QUICK_COMPARED if quick else COMPARED
    folder, weights = model_folder(options.model)
    wanted = not options.no_genlm and {*NEED_GENLM, "full"} & set(chosen(options))
    begin, ends = begin_and_ends(options.model, folder)
    return Bench(
        model=options.model,
        begin=begin,
        ends=ends,
        folder=folder,
        weights=weights,
        texts=texts,
        compared=[beginning(text, COMPARED_BYTES) for text in spread(texts, compared)],
        lines=short_lines(every, QUICK_LINES if quick else LINES),
        sizes=QUICK_SIZES if quick else SIZES,
        threads=options.threads,
        repeats=1 if quick else options.repeats,
        budget=options.budget,
        genlm=genlm_python(options.pip_flags) if wanted else None,
        scratch=scratch,
    )


def processor() -> str:
    """The processor's name, as the system gives it."""
    place = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", place.read_text()) if place.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def earlier(path: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """The sections of an earlier run with the same facts."""
    if not path.is_file():
        return {}
    kept = json.loads(path.read_text())
    if any(kept[key] != value for key, value in facts.items()):
        print(f"{path} is of another setting and will be replaced", file=sys.stderr)
        return {}
    return dict(kept["sections"])


def save(out: Path, facts: dict[str, Any], found: dict[str, Any]) -> None:
    kept = {**facts, "sections": {name: found[name] for name in SECTIONS if name in found}}
    (out / "bench.json").write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
