"""How long it takes to find the next words after a prompt, and states of the model.

Prompts are cut from lines of a file before a word (seed 0). For each: the time to read the prompt,
to find ten words, the rows that the model evaluated, the mass of the words, and that of all words
found within 4 and 10 seconds. Times are of a process that has answered one prompt before.

Sections: next (the above), command (`lmfst next` after a few words beside `lmfst convert` of a
sentence, whole processes in turn), accuracy (log-probabilities of ten words beside those of a
search with a tenth of the thresholds), states (what states of bytes lack of texts scored with a
beam of 64 at 1e-6; rows and seconds a byte; many together beside one by one; late symbols beside
early ones).

    python scripts/bench_next.py [--only SECTION …] [--file FILE] [--prompts N] [--threads N]

Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import lmfst
from lmfst.generate.best_first import Limits, Search
from lmfst.inference.states import begin_search
from lmfst.lm.base import LM, Session, States
from lmfst.vocab import Vocab

REPOSITORY = Path(__file__).resolve().parent.parent
SECTIONS = ("next", "command", "accuracy", "states")
SENTENCE = "The harbour had been quiet since the herring left."
SHORT = "The[SEP]cat[SEP]sat[SEP]on[SEP]the[SEP]"
PAIRS = 5


def prompts(model: Any, path: Path, count: int) -> list[tuple[int, ...]]:
    """Beginnings of lines, in words, that end before a word."""
    chance = random.Random(0)
    (mark,) = model.symbols(["SEP"])
    lines = [model.transduce(line) for line in path.read_text().splitlines() if line]
    found = []
    for _ in range(count):
        line = chance.choice(lines)
        found.append(line[: chance.choice([i + 1 for i, s in enumerate(line) if s == mark])])
    return found


def search(model: Any, prompt: Sequence[int], **limits: Any) -> dict[str, Any]:
    """What a search found, and what it took."""
    usage = model.lm.usage
    before, begin = usage.positions, time.perf_counter()
    start = begin_search(model.setting, model.policy, model.scorer.zeros, prompt)
    read, middle = usage.positions, time.perf_counter()
    found = Search(model.target.units, start).run(Limits(**limits))
    return {
        "symbols": len(prompt),
        "read s": middle - begin,
        "find s": time.perf_counter() - middle,
        "both s": time.perf_counter() - begin,
        "rows read": read - before,
        "rows found": usage.positions - read,
        "mass": found.mass,
        "units": found.units,
    }


def measure_next(model: Any, given: list[tuple[int, ...]]) -> None:
    """Print time, rows and mass of ten words."""
    search(model, given[0], top=10)
    rows = [search(model, prompt, top=10) for prompt in given]
    columns = ("symbols", "read s", "find s", "both s", "rows read", "rows found", "mass")
    print("\t".join(("prompt", *columns)))
    for number, row in enumerate(rows, start=1):
        print("\t".join((str(number), *(f"{row[name]:.4g}" for name in columns))))
    middle = {name: statistics.median(row[name] for row in rows) for name in columns}
    print("\t".join(("median", *(f"{middle[name]:.4g}" for name in columns))))
    for seconds in (4.0, 10.0):
        found = [search(model, prompt, seconds=seconds) for prompt in given]
        mass = statistics.median(row["mass"] for row in found)
        units = statistics.median(len(row["units"]) for row in found)
        print(f"found within {seconds:g} s, median: {units:g} words, {mass:.3f} of the probability")


def measure_accuracy(model: Any, given: list[tuple[int, ...]]) -> None:
    """Print by how much log-probabilities of words differ from those of a finer search."""
    first, _ = model.policy.of_search
    fine = model.with_policy(lmfst.Tolerance(size=first.size, threshold=first.threshold / 10))
    worst, best, same = [], [], 0
    for prompt in given:
        own = search(model, prompt, top=10)["units"]
        other = dict(search(fine, prompt, top=12)["units"])
        apart = [abs(logp - other[unit]) for unit, logp in own if unit in other]
        worst.append(max(apart))
        best.append(apart[0])
        same += own[0][0] == max(other, key=lambda unit: other[unit])
    print(
        f"ten words, nats from a finer search: median of the largest {statistics.median(worst):.4f}"
        f", at worst {max(worst):.3f}; the first word {max(best):.3f} at worst, the same in {same} "
        f"of {len(given)}"
    )


def run(*arguments: str) -> float:
    """Seconds that a command takes."""
    command = [sys.executable, "-c", "from lmfst.cli import main; main()", *arguments]
    begin = time.perf_counter()
    subprocess.run(
        command, input=SENTENCE.encode(), stdout=subprocess.DEVNULL, check=True, cwd=REPOSITORY
    )
    return time.perf_counter() - begin


def measure_command() -> None:
    """Print how long `next` takes beside `convert`."""
    pairs = []
    for number in range(PAIRS + 1):
        one = run("next", "--quiet", "--to", "words", "--top", "10", SHORT)
        other = run("convert", "--quiet", "--to", "words")
        if number:
            pairs.append((one, other))
    ratios = sorted(one / other for one, other in pairs)
    one, other = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"lmfst next {one:.2f} s, lmfst convert {other:.2f} s, ratio "
        f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


def measure_states(path: Path) -> None:
    """Print what states lack, and how fast they are."""
    model = lmfst.load(to="bytes")
    lines = [line[:120] for line in path.read_bytes().splitlines() if line][:8]
    size = sum(map(len, lines))
    best = model.with_policy(lmfst.Beam(size=64, threshold=1e-6))
    expected = [best.prefix_logp(line) for line in lines]
    model.states(lines[:1])
    begin = time.perf_counter()
    states = model.states(lines)
    taken = time.perf_counter() - begin
    lacking = sum(logp - state.logp for logp, state in zip(expected, states, strict=True))
    rows = sum(state._node.rows for state in states)
    said = sum(state.missing for state in states)
    print(
        f"states after {len(lines)} texts of {size} bytes: {lacking / size * 100:.4f} nats lacking "
        f"per 100 bytes ({said / size * 100:.4f} said), {rows / size:.2f} rows a byte, "
        f"{taken / size * 1000:.1f} ms a byte"
    )
    begun = model.states([b"The capital of "] * 1)[0]
    names = [bytes([symbol]) for symbol in range(97, 123)]
    texts = [a + b for a in names for b in names][::10][:64]
    begin = time.perf_counter()
    lmfst.advance_all([begun] * len(texts), texts)
    together = time.perf_counter() - begin
    fresh = model.states([b"The capital of "])[0]
    begin = time.perf_counter()
    for text in texts:
        lmfst.advance_all([fresh], [text])
    alone = time.perf_counter() - begin
    print(f"{len(texts)} states together: {alone / together:.1f} times as fast as one by one")
    measure_late()


class Replayed(Session):
    """Rows of a table, which take no time however long a text is."""

    def __init__(self, rows: torch.Tensor) -> None:
        self._rows = rows

    def open(self) -> int:
        return 1

    def step(self, states: States, tokens: States) -> States:
        return (states * 1_000_003 + tokens * 8_191 + 7) % (1 << 40)

    def rows(self, states: States) -> Iterator[tuple[slice, torch.Tensor]]:
        for at, state in enumerate(states.tolist()):
            row = state % len(self._rows)
            yield slice(at, at + 1), self._rows[row : row + 1].clone()


class ReplayedLM(LM):
    """A model with the default model's tokens and rows of a table."""

    def __init__(self, vocab: Vocab, rows: torch.Tensor) -> None:
        self.vocab, self._rows = vocab, rows

    def next_logp(self, contexts: Sequence[Sequence[int]]) -> Any:
        raise NotImplementedError

    def session(self) -> Session:
        return Replayed(self._rows)


def measure_late() -> None:
    """Print the time that a symbol takes after few and after many."""
    model = lmfst.load(to="bytes")
    session = model.lm.session()
    at = np.array([session.open()])
    rows = []
    for token in (model.lm.encode(SENTENCE.encode()) or ())[:8]:
        rows += [block.clone() for _, block in session.rows(at)]
        at = session.step(at, np.array([token]))
    replayed = lmfst.TransducedLM(ReplayedLM(model.lm.vocab, torch.cat(rows)), model.target)
    chance = random.Random(0)
    for kind in ("warm", "measured"):
        state, taken = replayed.state(), []
        for _ in range(1_020):
            begin = time.process_time()
            symbols, logp = state.next_symbols()
            going = [(a, p) for a, p in zip(symbols.tolist(), logp.tolist(), strict=True) if a >= 0]
            weights = [math.exp(p) for _, p in going]
            (symbol,) = chance.choices([a for a, _ in going], weights)
            state = state.advance(symbol)
            taken.append(time.process_time() - begin)
        if kind == "measured":
            early, late = (
                1000 * statistics.mean(taken[begin : begin + 20]) for begin in (0, 1_000)
            )
            print(
                f"a symbol, rows replayed: {early:.2f} ms (1 to 20), {late:.2f} ms (1,001 to 1,020)"
                f", ratio {late / early:.2f}"
            )


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--file", type=Path, default=REPOSITORY / "data" / "bench.txt")
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    print(f"{asked.threads} threads, load {os.getloadavg()[0]:.2f}")
    if "command" in asked.only:
        measure_command()
    if "states" in asked.only:
        measure_states(asked.file)
    if {"next", "accuracy"} & {*asked.only}:
        model = lmfst.load(to="words")
        given = prompts(model, asked.file, asked.prompts)
        if "next" in asked.only:
            measure_next(model, given)
        if "accuracy" in asked.only:
            measure_accuracy(model, given)


if __name__ == "__main__":
    main()
