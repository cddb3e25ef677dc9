"""What `lmfst score` costs beside the bare engine, and whether it stands being killed.

Documents of 200 bytes, cut out of data/sample.txt, are scored under an n-gram model in ARPA format
and under a tiny transformers model with random weights, both made here:

memory      the peak of all processes together, for all documents and for a tenth of them
throughput  from the first finished shard to the end of the command, beside `score_documents` of the
            same documents in the memory of a process that has loaded the model, with as many
            threads; one after the other, several times
start       to the first finished shard: of a new job, and of one that was killed half way
kills       the command or one of its workers is killed at a random time, and given again, and so on
            until it is done; the output must be that of a run that nothing interrupts

    python scripts/bench_corpus.py [--quick] [--only PART ...] [--pairs N] [--kills N] [--seed N]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))
BYTES = 200
"""Of a document."""
COMMAND = "from lmfst.cli import main; main()"
PARTS = ("memory", "throughput", "start", "kills")
WAIT = 0.02
"""Seconds from one look at the processes to the next."""
BARE = """
import sys, time
import lmfst
from lmfst.io import read_documents

model = lmfst.load(sys.argv[1], policy=sys.argv[3], warn=lambda message: None)
documents = list(read_documents(sys.argv[2], warn=lambda message: None))
for _ in model.score_documents(documents[:64]):
    pass
began = time.perf_counter()
symbols = sum(len(found.target) for found in model.score_documents(documents))
print(time.perf_counter() - began, symbols)
"""


@dataclass(frozen=True)
class Case:
    """A model, how it is used, and how many documents are scored."""

    name: str
    model: Path
    policy: str
    documents: int


@dataclass(frozen=True)
class Ran:
    """A run of the command: seconds, and the peak of memory of all its processes, bytes."""

    seconds: float
    memory: int
    events: list[dict[str, object]]

    def times(self, event: str) -> list[float]:
        """Seconds to each event of a kind."""
        return [float(str(one["time"])) for one in self.events if one["event"] == event]

    @property
    def first_shard(self) -> float:
        """Seconds to the first shard that it has finished."""
        return self.times("shard")[0]

    @property
    def speed(self) -> float:
        """Symbols a second, from the first finished shard to the end."""
        symbols = [int(str(one["symbols"])) for one in self.events if one["event"] == "shard"]
        return sum(symbols[1:]) / (self.times("end")[0] - self.first_shard)


def texts(count: int, seed: int) -> list[bytes]:
    """Documents, with _ for white space, which is no part of an n-gram model's words."""
    data = "_".join((REPOSITORY / "data/sample.txt").read_text().split()).encode()
    picked = random.Random(seed)
    starts = [picked.randrange(len(data) - BYTES) for _ in range(count)]
    return [data[at : at + BYTES].decode(errors="ignore").encode() for at in starts]


def make_arpa(path: Path) -> Path:
    """A bigram model over the letters of data/sample.txt and its hundred most frequent pairs of
    them, so that a text has many tokenizations."""
    from lmfst.lm.arpa import write_arpa
    from lmfst.lm.ngram import NgramTables
    from tests.support.tiny import normalised

    text = "_".join((REPOSITORY / "data/sample.txt").read_text().split())
    pairs = Counter(a + b for a, b in pairwise(text))
    tokens = {*text} | {pair for pair, _ in pairs.most_common(100)}
    units = Counter(text) + Counter({pair: n for pair, n in pairs.items() if pair in tokens})
    total = sum(units.values())
    first = {(t,): (math.log10(units[t] / total), -0.3) for t in sorted(tokens)}
    first |= {("<s>",): (-99.0, -0.3), ("</s>",): (-2.5, 0.0)}
    follow = Counter(pairwise(text))
    second = {
        (a, b): (math.log10(0.5 * n / units[a]), 0.0)
        for (a, b), n in sorted(follow.items())
        if n > 1
    }
    write_arpa(normalised(NgramTables([first, second])), path)
    return path


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_WAIT_POLICY": "PASSIVE"}


class Running:
    """The command, running. log: where it tells events."""

    def __init__(self, case: Case, corpus: Path, out: Path, *more: str) -> None:
        self._log = out.with_name(out.name + ".log")
        self._log.unlink(missing_ok=True)
        arguments = ["score", corpus, "-o", out, "--model", case.model, "--policy", case.policy]
        arguments += ["--quiet", "--log-json", self._log, *more]
        self.began, self._memory = time.time(), 0
        self.process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *map(str, arguments)], env=environment()
        )

    def workers(self) -> list[int]:
        """The processes that it has started."""
        with suppress(OSError):
            path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
            return [int(pid) for pid in path.read_text().split()]
        return []

    def ended(self) -> bool:
        """Whether it has; a look at its memory."""
        pids = [self.process.pid, *self.workers()]
        self._memory = max(self._memory, sum(map(_memory, pids)))
        return self.process.poll() is not None

    def wait(self, seconds: float = math.inf) -> bool:
        """Wait for its end, for so long at most; whether it has ended."""
        until = time.time() + seconds
        while not self.ended():
            if time.time() > until:
                return False
            time.sleep(WAIT)
        return True

    def result(self, *, watched: bool = True) -> Ran:
        """What came of it, when it has ended well. watched: whether its memory is looked at, which
        takes time from it."""
        if watched:
            self.wait()
        self.process.wait()
        if self.process.returncode:
            raise SystemExit(f"lmfst score ended with {self.process.returncode}")
        events = [json.loads(line) for line in self._log.read_text().splitlines()]
        for event in events:
            event["time"] -= self.began
        return Ran(time.time() - self.began, self._memory, events)


def _memory(pid: int) -> int:
    """The memory of a process that is its own, bytes."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def corpus_of(case: Case, count: int, folder: Path, seed: int) -> Path:
    """A file with so many documents."""
    path = folder / f"{case.name}.{count}.txt"
    path.write_bytes(b"\n".join(texts(count, seed)) + b"\n")
    return path


def measure_memory(case: Case, folder: Path, seed: int) -> None:
    peaks = []
    for count in (case.documents // 10, case.documents):
        corpus = corpus_of(case, count, folder, seed)
        peaks.append(Running(case, corpus, folder / f"{corpus.name}.tsv").result().memory)
    tenth, whole = peaks
    print(
        f"{case.name}: peak {whole / 2**20:.0f} MiB for {case.documents:,} documents, "
        f"{tenth / 2**20:.0f} for a tenth: {whole / tenth:.3f}",
        flush=True,
    )


def measure_throughput(case: Case, folder: Path, seed: int, pairs: int) -> None:
    corpus = corpus_of(case, case.documents, folder, seed)
    out = folder / f"{corpus.name}.speed.tsv"
    bare, whole = [], []
    for _ in range(pairs):
        arguments = [sys.executable, "-c", BARE, str(case.model), str(corpus), case.policy]
        said = subprocess.run(
            arguments, env=environment(), check=True, capture_output=True, text=True
        )
        seconds, symbols = map(float, said.stdout.split())
        bare.append(symbols / seconds)
        whole.append(Running(case, corpus, out, "--restart").result(watched=False).speed)
    ratios = [one / other for one, other in zip(whole, bare, strict=True)]
    print(
        f"{case.name}: {median(whole):,.0f} symbols/s, the engine alone {median(bare):,.0f}: "
        f"{median(ratios):.2f} ({', '.join(f'{ratio:.2f}' for ratio in ratios)})",
        flush=True,
    )


def measure_start(case: Case, folder: Path, seed: int) -> None:
    """How long a new job, and one that goes on, take to their first shard."""
    corpus, out = folder / f"{case.name}.start.txt", folder / f"{case.name}.start.tsv"
    corpus.write_bytes(b"\n".join(texts(case.documents, seed)) + b"\n")
    new = Running(case, corpus, out).result()
    killed = Running(case, corpus, out, "--restart")
    killed.wait((new.first_shard + new.seconds) / 2)
    killed.process.kill()
    killed.wait()
    went_on = Running(case, corpus, out).result()
    done = next(event["shards_done"] for event in went_on.events if event["event"] == "begin")
    print(
        f"{case.name}: the first shard after {new.first_shard:.2f} s; in a job that goes on, of "
        f"which {done} shards are done, after {went_on.first_shard:.2f} s: "
        f"{went_on.first_shard - new.first_shard:+.2f} s",
        flush=True,
    )


def measure_kills(case: Case, folder: Path, seed: int, kills: int) -> None:
    """Kill it so often, and compare."""
    chance = random.Random(seed)
    corpus = folder / f"{case.name}.kills.txt"
    corpus.write_bytes(with_rejects(case.documents // 4, seed))
    whole = folder / f"{case.name}.whole.jsonl"
    seconds = Running(case, corpus, whole, "--workers", "2").result().seconds
    parents = workers = rounds = 0
    while parents + workers < kills:
        rounds += 1
        out = folder / f"{case.name}.kills{rounds}.jsonl"
        while True:
            run = Running(case, corpus, out, "--workers", "2")
            if not run.wait(chance.uniform(0, 1.2 * seconds)) and parents + workers < kills:
                children = run.workers()
                if children and chance.random() < 0.5:
                    os.kill(chance.choice(children), signal.SIGKILL)
                    workers += 1
                else:
                    run.process.kill()
                    parents += 1
                    run.wait()
                    continue
            run.result()
            break
        require_same(whole, out)
    print(
        f"{case.name}: {parents} kills of the command, {workers} of workers in {rounds} rounds: "
        "the same bytes each time",
        flush=True,
    )


def with_rejects(count: int, seed: int) -> bytes:
    """Lines, of which some are rejected: they are no UTF-8."""
    lines = texts(count, seed)
    lines[5::97] = [b"\xff\xfe"] * len(lines[5::97])
    return b"\n".join(lines) + b"\n"


def require_same(whole: Path, out: Path) -> None:
    """End unless two outputs, and what was rejected, are the same bytes."""
    for suffix in ("", ".rejects.jsonl"):
        one, other = (Path(f"{path}{suffix}") for path in (whole, out))
        if _content(one) != _content(other):
            raise SystemExit(f"{other} isn't {one}")


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def main(argv: Sequence[str] | None = None) -> None:
    from tests.support.tiny import make_folder

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the documents")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--pairs", type=int, default=3, help="of runs whose speeds are compared")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(argv)
    share = 10 if given.quick else 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = (
            Case("arpa", make_arpa(folder / "letters.arpa"), "exact", 20_000 // share),
            Case("transformers", make_folder(folder / "tiny"), "beam", 2_000 // share),
        )
        for case in cases:
            if "memory" in given.only:
                measure_memory(case, folder, given.seed)
            if "throughput" in given.only:
                measure_throughput(case, folder, given.seed, given.pairs)
            if "start" in given.only:
                measure_start(case, folder, given.seed)
            if "kills" in given.only:
                measure_kills(case, folder, given.seed, given.kills // len(cases))


if __name__ == "__main__":
    main()
