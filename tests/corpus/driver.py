"""The command that tests kill: python -m tests.corpus.driver OUT CORPUS STEP, once or again.

It scores slowly enough to be killed anywhere. STEP: the number of the change to the disk (a name
given or removed, a line of the ledger, a file written through) before which it kills itself; 0:
none. It says whether all was done already, and how many changes it has made.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lmfst.corpus import Watch, run_job
from lmfst.ground.errors import LmfstError
from tests.corpus.fakes import job, slowly

CHANGES = ("replace", "fsync", "unlink", "rmdir", "write", "ftruncate", "mkdir")


class Changes:
    """Counts changes to the disk, and dies before the one of a given number."""

    def __init__(self, step: int) -> None:
        self.count, self._step = 0, step
        for name in CHANGES:
            setattr(os, name, self._counted(getattr(os, name)))

    def _counted(self, change: Callable[..., Any]) -> Callable[..., Any]:
        def instead(*args: Any, **more: Any) -> Any:
            self.count += 1
            if self.count == self._step:
                os.kill(os.getpid(), signal.SIGKILL)
            return change(*args, **more)

        return instead


def main() -> None:
    out, corpus, step = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    changes = Changes(step)
    watch = Watch(warn=lambda message: print(message, file=sys.stderr))
    try:
        outcome = run_job(job([corpus], out, workers=2, make_scorer=slowly), watch)
    except LmfstError as error:
        sys.exit(f"{error}")
    print("already" if outcome.already else "done", changes.count)


if __name__ == "__main__":
    main()
