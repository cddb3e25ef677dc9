"""The compiling process: started, its events followed, and stopped when it hangs.

The limit on a statement's processor time is the process's own affair (`lmfst.grammar.worker`). What
is seen from here is a process that does nothing at all, such as one that reads a pipe that nobody
writes to.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lmfst.ground import errors
from lmfst.ground.errors import BudgetError, GrammarError, LmfstError

# The current directory must not be on the path: a file beside a grammar could replace a module.
_START = (
    "import sys; sys.path = [p for p in sys.path if p]; import lmfst.grammar.worker as w; w.main()"
)

_LATE = getattr(signal, "SIGPROF", 0)
"""What ends a process whose statement has used up its time."""
IDLE = 60.0
"""Seconds in which a process that does nothing is given up."""
_LOOK = 2.0
"""Seconds between two looks at a silent process."""


def run_job(job: Mapping[str, Any], *, timeout: float, warn: Callable[[str], None]) -> bytes:
    """The worker's result for a job (see `lmfst.grammar.worker`).

    timeout: seconds of processor time for each statement; 0: no limit.
    GrammarError or BudgetError as the worker says, or when it is stopped or dies.
    """
    # Files without a name: nothing of them stays if this process is killed.
    with tempfile.TemporaryFile() as noise, tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=noise,
            pass_fds=[output.fileno()],
            env=_environment(),
        )
        follower = _Follower(process, job, timeout, warn)
        try:
            facts = {"timeout": timeout, "output": output.fileno(), "parent": os.getpid()}
            follower.run({**job, **facts})
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        if not follower.done:
            noise.seek(0)
            raise follower.death(noise.read()[-2000:].decode("utf-8", "replace"))
        output.seek(0)
        return output.read()


def _environment() -> dict[str, str]:
    """The environment of the worker: it has to find the same lmfst."""
    home = str(Path(__file__).resolve().parents[2])
    paths = [home, os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONIOENCODING": "utf-8:surrogateescape",
    }


class _Follower:
    """Reads a worker's events."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        job: Mapping[str, Any],
        timeout: float,
        warn: Callable[[str], None],
    ) -> None:
        self._process, self._job, self._timeout, self._warn = process, job, timeout, warn
        self._where = str(job["shown"])
        self._excerpt = ""
        self.done = False

    def run(self, job: Mapping[str, Any]) -> None:
        """Send the job and handle events until the worker is done or dead."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise GrammarError("the compiling process has no pipes")
        try:
            stdin.write(json.dumps(job).encode())
            stdin.close()
        except BrokenPipeError:
            return
        pending = b""
        idle, used = 0.0, 0.0
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while True:
                if not selector.select(_LOOK):
                    # Counted in looks: this process may have been stopped for a while, too.
                    before, used = used, self._processor_time()
                    idle = 0.0 if used > before else idle + _LOOK
                    if idle >= IDLE:
                        raise self._hanging()
                    continue
                idle = 0.0
                data = os.read(stdout.fileno(), 1 << 16)
                if not data:
                    return
                *lines, pending = (pending + data).split(b"\n")
                for line in lines:
                    self._event(json.loads(line))

    def _processor_time(self) -> float:
        """Seconds of processor time that the process has used so far."""
        import psutil

        with suppress(psutil.Error):
            times = psutil.Process(self._process.pid).cpu_times()
            return float(times.user + times.system)
        return 0.0

    def _event(self, event: Mapping[str, Any]) -> None:
        kind = event["event"]
        if kind == "at":
            self._where, self._excerpt = event["where"], event["excerpt"]
        elif kind == "warning":
            self._warn(event["message"])
        elif kind == "error":
            raise getattr(errors, event["kind"])(event["message"], hint=event["hint"])
        elif kind == "memory":
            raise self._too_big()
        else:
            self.done = True

    def death(self, noise: str) -> LmfstError:
        """The error for a worker that ended without a result."""
        code = self._process.returncode
        if code == -_LATE:
            return self._late()
        # OpenFst ends the process when an allocation fails; the system's own killer sends SIGKILL.
        if code in (-signal.SIGABRT, -signal.SIGKILL):
            return self._too_big()
        last = noise.strip().split("\n")[-1]
        return GrammarError(
            self._placed(f"the compiler ended with status {code}" + (f": {last}" if last else "")),
            hint="split the rule into smaller ones to see which part does it",
        )

    def _late(self) -> LmfstError:
        return BudgetError(
            self._placed(
                f"not finished after {self._timeout:g} s of processor time, so it was stopped"
            ),
            hint="Determinize never ends on some weighted or ambiguous FSTs; simplify the rule, or "
            "allow more time with --timeout",
        )

    def _hanging(self) -> LmfstError:
        return BudgetError(
            self._placed(f"the compiler did nothing for {IDLE:g} s, so it was stopped"),
            hint="it may be waiting for a file: a pipe that nobody writes to, or a slow disk",
        )

    def _too_big(self) -> LmfstError:
        limit = self._job["max_memory"] >> 20
        return BudgetError(
            self._placed(f"needs more than the {limit} MiB of memory allowed"),
            hint="use Optimize[…] on its parts, or make the rule smaller",
        )

    def _placed(self, message: str) -> str:
        text = f"{self._where}: {message}"
        return f"{text}\n{self._excerpt}" if self._excerpt else text
