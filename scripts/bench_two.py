"""How much two lmfst processes on one machine slow each other down.

A text is scored by one process alone and by two at the same time, in turn, and the smallest times
are compared. If the processes share the processors well, two take twice as long as one that had
them all to itself. The time for loading the model isn't counted: the two begin together.

    python scripts/bench_two.py [--rounds N] [--threshold T] [--env NAME=VALUE ...] [FILE]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
MOST = 2.5
"""What two together may take for each second of one alone."""
SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS")
WORKER = """
import sys, time
import lmfst
from lmfst.io import read_documents
from lmfst.inference.policy import Beam

path, threshold = sys.argv[1], float(sys.argv[2])
model = lmfst.load(policy=Beam(threshold=threshold), warn=lambda message: None)
documents = list(read_documents(path, warn=lambda message: None))
model.score([documents[0].text[:20]])
print("ready", flush=True)
for line in sys.stdin:
    began = time.perf_counter()
    list(model.score_documents(documents))
    print(time.perf_counter() - began, flush=True)
"""


class Workers:
    """Processes that score the same text at the same time."""

    def __init__(self, count: int, file: str, threshold: float, env: dict[str, str]) -> None:
        command = [sys.executable, "-c", WORKER, file, str(threshold)]
        self._processes = [
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
            )
            for _ in range(count)
        ]
        for process in self._processes:
            self._line(process)

    @staticmethod
    def _line(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"a worker ended with status {process.wait()}")
        return line

    def seconds(self, count: int) -> float:
        """The mean time of the first `count` workers, which begin together."""
        chosen = self._processes[:count]
        for process in chosen:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return sum(float(self._line(process)) for process in chosen) / count

    def close(self) -> None:
        for process in self._processes:
            process.communicate()


def environment(settings: Sequence[str]) -> dict[str, str]:
    """This environment with lmfst's own choice of the settings, but for those that are given."""
    env = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    env["PYTHONPATH"] = str(REPOSITORY)
    return env | dict(setting.split("=", 1) for setting in settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", nargs="?", default=str(REPOSITORY / "data" / "sample.txt"))
    parser.add_argument("--rounds", type=int, default=3, help="of one alone and two together")
    parser.add_argument("--threshold", type=float, default=1e-3)
    parser.add_argument("--env", nargs="*", default=[], metavar="NAME=VALUE")
    given = parser.parse_args()
    workers = Workers(2, given.file, given.threshold, environment(given.env))
    alone, together = [], []
    for _ in range(given.rounds):
        # An idle worker waits for its next line and takes no time.
        alone.append(workers.seconds(1))
        together.append(workers.seconds(2))
    workers.close()
    load = os.getloadavg()[0]
    print(f"alone     {min(alone):8.2f} s   ({' '.join(f'{s:.2f}' for s in alone)})")
    print(f"together  {min(together):8.2f} s   ({' '.join(f'{s:.2f}' for s in together)})")
    ratio = min(together) / min(alone)
    print(
        f"together / alone {ratio:.2f} (at most {MOST}); load of the machine at the end {load:.1f}"
    )
    sys.exit(ratio > MOST)


if __name__ == "__main__":
    main()
