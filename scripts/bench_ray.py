"""What workers of Ray cost `lmfst score`, beside local ones, and whether they stand being killed.

The documents are those of scripts/bench_corpus.py, under its n-gram model:

speed     two workers of one thread, of a cluster of this machine and local, one run after the
          other, several times: symbols a second from the first finished shard to the end
overhead  two hundred shards of a short line each, without a model: how long one takes
kills     on a cluster of two nodes of this machine, a worker, the second node or the command is
          killed at a random time; killed, the command is given again, and so on until it is done.
          The output must be that of local workers that nothing interrupts

    python scripts/bench_ray.py [--quick] [--only PART ...] [--pairs N] [--kills N] [--seed N]
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from scripts.bench_corpus import (  # noqa: E402 (found by then)
    Case,
    Running,
    environment,
    make_arpa,
    require_same,
    texts,
    with_rejects,
)
from tests.support.ray_nodes import Nodes  # noqa: E402

PARTS = ("speed", "overhead", "kills")
KINDS = ("worker", "node", "command")
SHARDS = 200
TWO = ("--workers", "2", "--threads", "1")
RAY = ("--engine", "ray")


def compare_speed(case: Case, corpus: Path, pairs: int) -> None:
    """Local workers and those of Ray, one after the other."""
    found: dict[str, list[float]] = {"local": [], "ray": []}
    whole: dict[str, list[float]] = {"local": [], "ray": []}
    rows: dict[str, bytes | None] = {}
    for _ in range(pairs):
        for engine, more in (("local", ()), ("ray", RAY)):
            out = corpus.with_name(f"{engine}.tsv")
            ran = Running(case, corpus, out, "--restart", *TWO, *more).result(watched=False)
            found[engine].append(ran.speed)
            whole[engine].append(ran.seconds)
            rows[engine] = out.read_bytes()
    if rows["local"] != rows["ray"]:
        raise SystemExit("workers of Ray give other rows")
    ratios = [one / other for one, other in zip(found["ray"], found["local"], strict=True)]
    print(
        f"symbols a second: {median(found['ray']):,.0f} with Ray, {median(found['local']):,.0f} "
        f"local: {median(ratios):.2f} ({', '.join(f'{ratio:.2f}' for ratio in ratios)}); the "
        f"command takes {median(whole['ray']):.1f} s and {median(whole['local']):.1f} s",
        flush=True,
    )


def compare_overhead(folder: Path, pairs: int) -> None:
    """The time from a shard to the next, from the first to the last."""
    from lmfst.corpus import Watch, run_job
    from lmfst.corpus.pool import local_workers
    from lmfst.corpus.ray_cluster import Cluster
    from lmfst.corpus.ray_pool import RayPool
    from lmfst.corpus.shards import Limits
    from tests.corpus.fakes import job

    corpus = folder / "lines.txt"
    corpus.write_text("a line\n" * SHARDS)
    pools = {"local": local_workers, "ray": partial(RayPool, Cluster())}
    found: dict[str, list[float]] = {name: [] for name in pools}
    for _ in range(pairs):
        for name, pool in pools.items():
            times: list[float] = []

            def event(kind: str, facts: object, times: list[float] = times) -> None:
                if kind == "shard":
                    times.append(time.perf_counter())

            out = folder / f"{name}.jsonl"
            more = {"workers": 2, "limits": Limits(1), "restart": True, "make_pool": pool}
            run_job(job([corpus], out, **more), Watch(event=event))
            assert len(times) == SHARDS
            found[name].append((times[-1] - times[0]) / (SHARDS - 1) * 1000)
    print(
        f"a shard: {median(found['ray']):.1f} ms with Ray, {median(found['local']):.1f} ms local",
        flush=True,
    )


class Round:
    """A command that is killed, or whose workers and nodes are, and given again."""

    def __init__(self, cluster: Nodes, chance: random.Random, seconds: float) -> None:
        self._cluster, self._chance, self._seconds = cluster, chance, seconds
        self.killed: Counter[str] = Counter()

    def run(self, case: Case, corpus: Path, out: Path, left: int) -> None:
        """Do it. left: how often something is killed, at most."""
        more = (*TWO, *RAY, "--address", self._cluster.address)
        while True:
            run = Running(case, corpus, out, *more)
            while left and not run.wait(self._chance.uniform(0, self._seconds)):
                kind = self._chance.choice(KINDS)
                if not self._kill(kind, run):
                    continue
                self.killed[kind] += 1
                left -= 1
                if kind == "command":
                    break
            else:
                run.result()
                return
            run.wait()

    def _kill(self, kind: str, run: Running) -> bool:
        """Kill one; whether there was one."""
        cluster = self._cluster
        if kind == "command":
            run.process.kill()
            return True
        if kind == "node":
            cluster.kill(cluster.nodes[1])
            cluster.add()
            return True
        actors = [actor for node in cluster.nodes for actor in node.actors()]
        if actors:
            self._chance.choice(actors).kill()
        return bool(actors)


def measure_kills(case: Case, corpus: Path, seed: int, kills: int) -> None:
    whole = corpus.with_name("whole.jsonl")
    seconds = Running(case, corpus, whole, *TWO).result(watched=False).seconds
    cluster = Nodes(environment(), 2, with_token=True)
    try:
        rounds = 0
        one = Round(cluster, random.Random(seed), 1.5 * seconds)
        # The commands show it, whose environment is this one.
        os.environ.update(cluster.token)
        while (done := one.killed.total()) < kills:
            rounds += 1
            out = corpus.with_name(f"kills{rounds}.jsonl")
            one.run(case, corpus, out, min(6, kills - done))
            require_same(whole, out)
    finally:
        cluster.close()
    said = ", ".join(f"{one.killed[kind]} of a {kind}" for kind in KINDS)
    print(f"kills: {said}, in {rounds} rounds: the bytes of local workers each time", flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the documents")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--pairs", type=int, default=3, help="of runs whose speeds are compared")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(argv)
    count = 20_000 // (10 if given.quick else 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        case = Case("arpa", make_arpa(folder / "letters.arpa"), "exact", count)
        corpus = folder / "corpus.txt"
        corpus.write_bytes(b"\n".join(texts(count, given.seed)) + b"\n")
        if "speed" in given.only:
            compare_speed(case, corpus, given.pairs)
        if "overhead" in given.only:
            compare_overhead(folder, given.pairs)
        if "kills" in given.only:
            part = folder / "part.txt"
            part.write_bytes(with_rejects(count // 4, given.seed))
            measure_kills(case, part, given.seed, given.kills)


if __name__ == "__main__":
    main()
