"""How long `lmfst convert` of one sentence takes, beside what nobody can do without.

The least is a process that imports torch and transformers, loads the default model and its
tokenizer with them, and makes one forward call. Both are whole processes, in turn, with a warm
cache: lmfst has run twice before. Reported are the median and the range of the pairs' ratios, of
time on the clock and of processor time.

Then, where lmfst's time goes: the modules that it imports (`python -X importtime`, which slows
imports down a little), and the steps of a second conversion in a process, whose imports are done.

    python scripts/bench_start.py [--pairs N] [--threads N] [--text TEXT]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
MOST = 1.15
"""What lmfst may take for each second of the least."""
LEAST = """
import sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
with torch.no_grad():
    model(torch.tensor([tokenizer.encode(sys.argv[2])]))
"""
COMMAND = "from lmfst.cli import main; main()"
STEPS = {
    "unpacked files": "lmfst.lm.files.default_model_dir",
    "configuration": "lmfst.lm.load_transformers.load_config",
    "tokenizer": "lmfst.lm.load_transformers.load_tokenizer",
    "weights": "lmfst.lm.load_transformers.load_model",
    "what identifies the files": "lmfst.lm.load_transformers.identity",
    "vocabulary": "lmfst.lm.load_transformers._vocabulary",
    "trying the model out": "lmfst.lm.transformers.try_out",
    "other loading": "lmfst.cli.ensemble_options.load_model",
    "target": "lmfst.cli.loading.target_of",
    "checks of target and model": "lmfst.model.TransducedLM.__init__",
    "lexicons": "lmfst.lexicon.lexicons.Lexicons.__getitem__",
    "the model's calls": "lmfst.lm.transformers.TransformersLM.forward",
    "scoring and rows": "lmfst.cli.convert.convert",
}
"""Steps of a conversion, and functions that are that, but for what they call of the others."""
SECOND = """
import functools, importlib, json, os, sys, time

seconds, inner = {}, []

def timed(step, function):
    @functools.wraps(function)
    def call(*args, **options):
        inner.append(0.0)
        began = time.perf_counter()
        try:
            return function(*args, **options)
        finally:
            took = time.perf_counter() - began
            seconds[step] = seconds.get(step, 0.0) + took - inner.pop()
            if inner:
                inner[-1] += took
    return call

from lmfst.cli import app
def run():
    app(["convert", sys.argv[1], "--to", "bytes", "-o", os.devnull], standalone_mode=False)
run()
for step, name in json.loads(sys.argv[2]).items():
    parts = name.split(".")
    depth = next(n for n in range(len(parts) - 1, 0, -1)
                 if ".".join(parts[:n]) in sys.modules)
    owner = importlib.import_module(".".join(parts[:depth]))
    for part in parts[depth:-1]:
        owner = getattr(owner, part)
    if name == "lmfst.cli.convert.convert":
        run = timed(step, run)
    else:
        setattr(owner, parts[-1], timed(step, getattr(owner, parts[-1])))
run()
print(json.dumps(seconds))
"""


class Process:
    """A Python process that is run again and again."""

    def __init__(self, code: str, arguments: Sequence[str], environment: dict[str, str]) -> None:
        self._command, self._environment = [sys.executable, "-c", code, *arguments], environment

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        command = [self._command[0], *options, *self._command[1:]]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"a process failed:\n{done.stderr}")
        return done

    def seconds(self) -> tuple[float, float]:
        """(time on the clock, processor time) of a run, to the end of the process."""
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        self.run()
        took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return took, used


def environment(threads: int) -> dict[str, str]:
    """This environment, with torch's threads, offline and without progress bars."""
    return os.environ | {
        "PYTHONPATH": str(REPOSITORY),
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def in_turn(least: Process, ours: Process, pairs: int) -> list[list[tuple[float, float]]]:
    """Times of pairs: [least, ours] each; which of them is first changes from pair to pair."""
    found = []
    for i in range(pairs):
        order = [least, ours] if i % 2 == 0 else [ours, least]
        times = [process.seconds() for process in order]
        found.append(times if i % 2 == 0 else times[::-1])
    return found


def ratios(pairs: list[list[tuple[float, float]]], kind: int) -> list[float]:
    """Of each pair, sorted. kind: 0 for time on the clock, 1 for processor time."""
    return sorted(ours[kind] / least[kind] for least, ours in pairs)


def report(pairs: list[list[tuple[float, float]]]) -> float:
    """Print the times; the median ratio of time on the clock."""
    print(f"{'':16}{'least':>8}{'lmfst':>8}{'ratio':>8}   of pairs")
    for kind, name in enumerate(("on the clock", "of processor")):
        least, ours = (statistics.median(pair[i][kind] for pair in pairs) for i in (0, 1))
        found = ratios(pairs, kind)
        print(
            f"{name:16}{least:6.2f} s{ours:6.2f} s{statistics.median(found):8.2f}"
            f"   {found[0]:.2f} to {found[-1]:.2f}"
        )
    return statistics.median(ratios(pairs, 0))


def imported(stderr: str) -> Counter[str]:
    """Seconds of imports by top package, out of what `-X importtime` says."""
    found: Counter[str] = Counter()
    for own, name in re.findall(r"^import time: +(\d+) \| +\d+ \| +(\S+)", stderr, re.MULTILINE):
        package, *rest = name.split(".")
        found[".".join([package, *rest[:1]]) if package == "lmfst" else package] += int(own)
    return Counter({name: microseconds / 1e6 for name, microseconds in found.items()})


def table(title: str, seconds: dict[str, float], smallest: float = 0.005) -> None:
    print(f"\n{title}: {sum(seconds.values()):.2f} s")
    for name, took in sorted(seconds.items(), key=lambda item: -item[1]):
        if took >= smallest:
            print(f"  {name:30}{took:7.3f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="of torch, in either process")
    parser.add_argument("--text", default="The cat sat on the mat.")
    given = parser.parse_args()
    env = environment(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "text.txt"
        file.write_text(given.text + "\n", encoding="utf-8")
        ours = Process(COMMAND, ["convert", str(file), "--to", "bytes"], env)
        ours.run()
        ours.run()
        sys.path.insert(0, str(REPOSITORY))
        from lmfst.lm.default import default_model_dir

        home = default_model_dir(lambda note: None)
        least = Process(LEAST, [str(home), given.text], env)
        least.run()
        ratio = report(in_turn(least, ours, given.pairs))
        print(f"at most {MOST}; load of the machine at the end {os.getloadavg()[0]:.1f}")
        both = [imported(process.run("-X", "importtime").stderr) for process in (least, ours)]
        table("imports of lmfst's process that the other has not", dict(both[1] - both[0]))
        second = Process(SECOND, [str(file), json.dumps(STEPS)], env).run()
        table("steps of a second conversion", json.loads(second.stdout))
    sys.exit(ratio > MOST)


if __name__ == "__main__":
    main()
