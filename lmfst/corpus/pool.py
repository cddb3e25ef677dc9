"""Workers: processes that score shards, each with its share of threads and of GPUs.

Shards are scored in such processes, also where there is one worker only. So a crash (of the model's
library, or for want of memory) ends no job; reading, in the parent, goes on while a worker scores
and writes; the parent stays small, since it loads no model; and one worker or eight is the same
code. It costs the start of a Python (a tenth of a second) beside that of a model.

The processes are started anew, not forked: torch has threads. They aren't multiprocessing's, which
would run the program's main module once more, and set the threads' number in the parent's own
environment. Ctrl-C doesn't reach them; they end when their parent closes the socket, or is gone.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple, Protocol

from lmfst.corpus.disk import Place
from lmfst.corpus.messages import Begun, Finished, Message, OutOfMemory, Ready, Setup, Task
from lmfst.ground.errors import LmfstError

AHEAD = 2
"""Shards that a worker has: one that it scores, and one that waits for it."""
STARTS = 3
"""Workers in a row that may end before they are ready."""
THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
"""What libraries read when they are loaded."""
_GPUS = Path("/proc/driver/nvidia/gpus")
_NODES = tuple(map(Path, ("/dev/nvidia0", "/dev/dxg", "/dev/kfd", "/dev/nvgpu")))
"""What is there where torch may see a GPU that `_GPUS` doesn't list: in a container, under Windows,
one of AMD's, one beside the processor."""
_BEGIN = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from lmfst.corpus.worker import main; main(int(sys.argv[1]))"
)


class Died(NamedTuple):
    """A worker has ended. tasks: the shards that it was at: one that it scored, and one that it
    finished meanwhile; there may be none. node: where it was, in a cluster."""

    pid: int
    how: str
    tasks: Sequence[Task]
    node: str = ""


class Starved(NamedTuple):
    """A worker had no memory for a shard."""

    task: Task
    message: str


def share_of_threads(workers: int, environment: Mapping[str, str]) -> int:
    """Threads for each worker: what the user has said in OMP_NUM_THREADS, or a share of the
    processors that this process may use."""
    said = environment.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if said.isascii() and said.isdigit() and int(said) > 0:
        return int(said)
    there = getattr(os, "sched_getaffinity", None)
    return max(1, (len(there(0)) if there else os.cpu_count() or 1) // workers)


def visible_gpus(environment: Mapping[str, str], folder: Path = _GPUS) -> list[str]:
    """The names of NVIDIA's GPUs that a worker may be given; found without loading torch."""
    said = environment.get("CUDA_VISIBLE_DEVICES")
    if said is not None:
        names = [name.strip() for name in said.split(",")]
        # CUDA passes over everything from the first invalid one on.
        return names[: next((at for at, name in enumerate(names) if name in ("", "-1")), None)]
    with suppress(OSError):
        return [str(number) for number in range(len(os.listdir(folder)))]
    return []


def may_have_gpu(environment: Mapping[str, str], nodes: Sequence[Path] = _NODES) -> bool:
    """Whether torch may see a GPU here; found without loading it."""
    listed = bool(visible_gpus(environment))
    if "CUDA_VISIBLE_DEVICES" in environment:
        return listed
    return listed or any(node.exists() for node in nodes)


@dataclass(frozen=True)
class Crew:
    """How many workers there are, how many threads each has, and the GPUs that they share."""

    workers: int
    threads: int
    gpus: Sequence[str] = ()

    @classmethod
    def of(cls, workers: int, threads: int | None, gpus: Sequence[str]) -> Crew:
        return cls(workers, threads or share_of_threads(workers, os.environ), gpus)


class Workers(Protocol):
    """What gives shards to workers: processes (`Pool`), or actors of a cluster
    (`lmfst.corpus.ray_pool`)."""

    def has_room(self) -> bool:
        """Whether a shard would be taken now."""
        ...

    def is_busy(self) -> bool:
        """Whether there is a shard that isn't done."""
        ...

    def give(self, task: Task) -> None:
        """Hand out a shard. LmfstError if there can't be a worker for it."""
        ...

    def wait(self, seconds: float) -> Iterator[Message | Died | Starved]:
        """What workers say within some seconds; in the case of `Died`, what else it was given is
        handed out again. LmfstError if there can't be workers any more."""
        ...

    def close(self) -> None:
        """End all workers."""
        ...


MakePool = Callable[[Setup, Crew, Place], Workers]
"""Makes workers, for the work at a place."""


@dataclass(kw_only=True)
class Duties:
    """What a worker has been given and hasn't done yet, and the numbers of those among these that
    it has begun. ready: whether it has its scorer."""

    ready: bool = False
    tasks: list[Task] = field(default_factory=list)
    begun: set[int] = field(default_factory=set)

    def heard(self, message: Message) -> Message | Starved:
        """Note what it says; what the job is told."""
        if isinstance(message, Ready):
            self.ready = True
        elif isinstance(message, Begun):
            self.begun.add(message.number)
        elif isinstance(message, Finished):
            self._pop(message.scored.number)
        elif isinstance(message, OutOfMemory):
            return Starved(self._pop(message.number), message.message)
        return message

    def taken(self) -> list[Task]:
        """Take away what it is at."""
        return [self._pop(number) for number in sorted(self.begun)]

    def _pop(self, number: int) -> Task:
        self.begun.discard(number)
        at = next(at for at, task in enumerate(self.tasks) if task.number == number)
        return self.tasks.pop(at)


class Starts:
    """Counts the workers in a row that end before they are ready."""

    def __init__(self) -> None:
        self._failed = 0

    def heard(self, message: Message | Starved) -> None:
        """Note what one says."""
        if isinstance(message, Ready):
            self._failed = 0

    def failed(self, how: str) -> None:
        """One has ended. LmfstError if it is the last of too many."""
        self._failed += 1
        if self._failed == STARTS:
            raise LmfstError(
                f"{STARTS} workers have ended before they were ready, the last one by {how}",
                hint="is there memory enough for a model in each? Try --workers 1",
            )


def local_workers(setup: Setup, crew: Crew, place: Place) -> Workers:
    """Processes of this machine."""
    return Pool(setup, crew.workers, crew.threads, crew.gpus)


@dataclass(kw_only=True)
class _Worker(Duties):
    """A process, and the socket to it."""

    place: int
    process: subprocess.Popen[bytes]
    connection: Connection


class Pool:
    """Up to `count` workers, started as there is work, until `close` ends them all.

    setup: what they are told first. threads: of each. gpus: of which each gets one, if there are
    several.
    """

    def __init__(self, setup: Setup, count: int, threads: int, gpus: Sequence[str]) -> None:
        self._setup, self._count, self._threads = setup, count, threads
        self._gpus = list(gpus)
        self._workers: list[_Worker] = []
        self._starts = Starts()

    def has_room(self) -> bool:
        """Whether a shard would be taken now."""
        return len(self._workers) < self._count or any(
            len(worker.tasks) < AHEAD for worker in self._workers
        )

    def is_busy(self) -> bool:
        return any(worker.tasks for worker in self._workers)

    def give(self, task: Task) -> None:
        """Hand out a shard, to the one with the least work, or to a new one if all have some.

        LmfstError if no process can be started.
        """
        worker = min(self._workers, key=lambda worker: len(worker.tasks), default=None)
        if worker is None or (worker.tasks and len(self._workers) < self._count):
            worker = self._start()
        worker.tasks.append(task)
        self._send(worker, task)

    def wait(self, seconds: float) -> Iterator[Message | Died | Starved]:
        """What workers say within some seconds; in the case of `Died`, what else it was given is
        handed out again."""
        connections = {worker.connection: worker for worker in self._workers}
        for connection in wait(list(connections), seconds):
            worker = connections[connection]  # type: ignore[index]
            try:
                message: Message = worker.connection.recv()
            except (EOFError, OSError):
                yield self._buried(worker)
                continue
            found = worker.heard(message)
            self._starts.heard(found)
            yield found

    def _buried(self, worker: _Worker) -> Died:
        self._workers.remove(worker)
        _end(worker)
        code = worker.process.returncode
        how = f"exit code {code}" if code >= 0 else f"signal {_name(-code)}"
        at = worker.taken()
        if not worker.ready:
            self._starts.failed(how)
        for task in worker.tasks:
            self.give(task)
        return Died(worker.process.pid, how, at)

    def _start(self) -> _Worker:
        taken = {worker.place for worker in self._workers}
        place = next(number for number in range(self._count) if number not in taken)
        ours, its = socket.socketpair()
        with ours, its:
            there = json.dumps(list(map(str, sys.path)))
            command = [sys.executable, "-P", "-c", _BEGIN, str(its.fileno()), there]
            try:
                with _without_interrupts():
                    process = subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        env=self._environment(place),
                        pass_fds=[its.fileno()],
                    )
            except OSError as error:
                raise LmfstError(
                    f"no worker can be started: {error.strerror or error}", hint="try --workers 1"
                ) from error
            connection = Connection(ours.detach())
            worker = _Worker(place=place, process=process, connection=connection)
        self._workers.append(worker)
        self._send(worker, self._setup)
        return worker

    def _environment(self, place: int) -> dict[str, str]:
        found = dict(os.environ) | dict.fromkeys(THREADS, str(self._threads))
        if len(self._gpus) > 1:
            found["CUDA_VISIBLE_DEVICES"] = self._gpus[place % len(self._gpus)]
        return found

    def _send(self, worker: _Worker, message: Setup | Task) -> None:
        # One that has ended is noticed when it is waited for.
        with suppress(BrokenPipeError, ConnectionResetError):
            worker.connection.send(message)

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            _end(worker)
        self._workers.clear()


def _end(worker: _Worker) -> None:
    """Have a worker's process gone. It keeps nothing that would be lost."""
    worker.connection.close()
    worker.process.kill()
    worker.process.wait()


def _name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return str(number)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """A process that is started in the block never sees Ctrl-C; this one sees it afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
