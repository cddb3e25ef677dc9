"""Workers in a cluster of Ray: actors that score shards and write their files in a shared folder.

Ray starts processes where there is room for them, and calls them. It restarts none, does no call
again and keeps no state: the job does that, by the rules for processes of its own
(`lmfst.corpus.pool`). That a worker has ended is seen by the call that fails; one that can't be
reached counts as ended, and is ended. The death of a node is that of each of its workers.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import platform
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmfst.corpus import ray_actor
from lmfst.corpus.disk import Place
from lmfst.corpus.messages import Failed, Message, Said, Setup, Task
from lmfst.corpus.pool import AHEAD, THREADS, Crew, Died, Duties, Starts, Starved
from lmfst.corpus.ray_actor import software
from lmfst.corpus.ray_cluster import Cluster
from lmfst.ground.errors import InputError, LmfstError

PENDING = 15.0
"""Seconds after which it is said that there is no room for a worker."""
SHARED = 10.0
"""Seconds that a file takes at most to be seen on another machine."""
_CALLS = 4
"""That an actor answers at the same time."""


@dataclass(kw_only=True)
class _Worker(Duties):
    """An actor, the call that it hasn't answered yet (`answer`), and when it was asked for. As soon
    as it runs: its process and, in a cluster of several machines, where that is; then, whether it
    takes shards."""

    actor: Any
    answer: Any
    since: float
    pid: int = 0
    node: str = ""
    works: bool = False


class _Fleet:
    """Actors: what they are, how many there is room for, and how they end."""

    def __init__(self, ray: Any, cluster: Cluster, crew: Crew, manifest: Path) -> None:
        self._ray, self._cluster, self._crew, self._manifest = ray, cluster, crew, manifest
        self._class = self._made()

    def _made(self) -> Any:
        """The class of actors."""
        self._ray.cloudpickle.register_pickle_by_value(ray_actor)
        gpus, environment = self._cluster.gpus, dict.fromkeys(THREADS, str(self._crew.threads))
        if not gpus:
            # Or they would all take the first one, if there are any.
            environment["CUDA_VISIBLE_DEVICES"] = ""
        return self._ray.remote(
            num_cpus=self._crew.threads,
            num_gpus=gpus,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=_CALLS,
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": environment},
        )(ray_actor.Actor)

    def size(self) -> str:
        """What a worker takes of a node."""
        threads, gpus = self._crew.threads, self._cluster.gpus
        found = f"{threads} processor{'s' if threads > 1 else ''}"
        return found + (f" and {gpus:g} GPUs" if gpus else "")

    def require_room(self) -> int:
        """How many workers the nodes have room for, whatever else they do. LmfstError if for
        none."""
        threads, gpus = self._crew.threads, self._cluster.gpus
        room = 0
        for node in self._ray.nodes():
            if node["Alive"]:
                has = node["Resources"]
                there = int(has.get("CPU", 0) // threads)
                room += min(there, int(has.get("GPU", 0) / gpus + 1e-9)) if gpus else there
        if not room:
            raise LmfstError(
                f"no node of the cluster {self._cluster.name} has {self.size()} for a worker",
                hint="take fewer --threads or --gpus-per-worker, or add nodes",
            )
        return room

    def started(self) -> _Worker:
        """One more, which is asked what it is."""
        own = self._cluster.address is None
        # Ray puts both in front of the path of modules.
        not_on_path = [os.path.dirname(os.path.realpath(sys.argv[0])), os.getcwd()]
        actor = self._class.remote()
        answer = actor.meet.remote(
            list(map(str, sys.path)) if own else None,
            not_on_path,
            os.getcwd(),
            str(self._manifest),
            hashlib.sha256(self._manifest.read_bytes()).hexdigest(),
            SHARED,
        )
        return _Worker(actor=actor, answer=answer, since=time.monotonic())

    def how(self, error: Exception) -> tuple[str, bool]:
        """What has ended a worker, and whether it was the loss of its node."""
        errors = self._ray.exceptions
        if isinstance(error, errors.ActorUnavailableError) or "node has died" in str(error):
            return "the loss of its node", True
        if isinstance(error, errors.OutOfMemoryError):
            return "Ray, for want of memory", False
        if isinstance(error, errors.ActorDiedError):
            return "the end of its process", False
        said = next(iter(str(error).splitlines()), "")
        return f"an error of Ray ({type(error).__name__}: {said})", False

    def end(self, worker: _Worker) -> None:
        """Have it gone. It keeps nothing that would be lost."""
        with suppress(Exception):
            self._ray.kill(worker.actor)


class RayPool:
    """Up to as many workers as there are to be, started as there is work, until `close` ends them
    and leaves the cluster (ends it, where it is the job's own).

    InputError and LmfstError as `Cluster.connected`, and if no node of it is large enough for a
    worker.
    """

    def __init__(self, cluster: Cluster, setup: Setup, crew: Crew, place: Place) -> None:
        self._cluster, self._manifest = cluster, place.manifest
        self._setup = pickle.dumps(setup)
        self._software = software()
        self._waiting: deque[Task] = deque()
        self._workers: list[_Worker] = []
        self._starts = Starts()
        self._to_say: list[str] = []
        self._said_pending = False
        with ExitStack() as stack:
            self._ray = stack.enter_context(cluster.connected(crew.workers * crew.threads))
            self._fleet = _Fleet(self._ray, cluster, crew, place.manifest)
            self._count = min(crew.workers, self._fleet.require_room())
            self._close = stack.pop_all()
        if self._count < crew.workers:
            self._to_say.append(
                f"the cluster {cluster.name} has room for {self._count} of {crew.workers} workers "
                f"with {self._fleet.size()}: they do it"
            )

    def has_room(self) -> bool:
        """As `lmfst.corpus.pool.Workers`."""
        return self._open() < AHEAD * self._count

    def _open(self) -> int:
        return len(self._waiting) + sum(len(worker.tasks) for worker in self._workers)

    def is_busy(self) -> bool:
        """As `lmfst.corpus.pool.Workers`."""
        return self._open() > 0

    def give(self, task: Task) -> None:
        """As `lmfst.corpus.pool.Workers`. It waits here until there is a worker that runs."""
        self._waiting.append(task)
        self._hand_out()

    def _hand_out(self) -> None:
        at_work = [worker for worker in self._workers if worker.works]
        while self._waiting and at_work:
            worker = min(at_work, key=lambda worker: len(worker.tasks))
            if len(worker.tasks) == AHEAD:
                break
            task = self._waiting.popleft()
            worker.tasks.append(task)
            worker.actor.give.remote(pickle.dumps(task))
        while len(self._workers) < min(self._count, self._open()):
            self._workers.append(self._fleet.started())

    def wait(self, seconds: float) -> Iterator[Message | Died | Starved]:
        """As `lmfst.corpus.pool.Workers`."""
        self._look_at_starts()
        while self._to_say:
            yield Said(self._to_say.pop(), is_warning=True)
        wait, answers = self._ray.wait, {worker.answer: worker for worker in self._workers}
        done, _ = wait(list(answers), num_returns=1, timeout=seconds)
        if done:
            done, _ = wait(list(answers), num_returns=len(answers), timeout=0)
        for answer in done:
            worker = answers[answer]
            try:
                found = self._ray.get(answer)
            except self._ray.exceptions.RayTaskError as error:
                raise LmfstError(f"a worker{_on(worker)} can't begin: {error.cause!r}") from error
            except self._ray.exceptions.RayError as error:
                yield self._buried(worker, error)
            else:
                yield from self._heard(worker, found)

    def _heard(self, worker: _Worker, found: Any) -> Iterator[Message | Starved]:
        """Go on with what a call has answered."""
        if not worker.pid:
            self._require_alike(worker, found)
            worker.answer = worker.actor.begin.remote(self._setup)
            return
        worker.answer = worker.actor.listen.remote()
        if not worker.works:
            worker.works = True
            self._hand_out()
            return
        for message in map(pickle.loads, found):
            said = worker.heard(message)
            self._starts.heard(said)
            if isinstance(said, Failed) and isinstance(said.error, LmfstError):
                said.error.message = f"a worker{_on(worker)}: {said.error.message}"
            yield said
        self._hand_out()

    def _require_alike(self, worker: _Worker, found: dict[str, Any]) -> None:
        """InputError if a worker is made of something else, or doesn't see the work folder."""
        worker.pid = found["pid"]
        if self._cluster.address is not None:
            worker.node = found["node"]
        other = [
            f"{name}: {value} -> {found['software'].get(name, ray_actor.NOTHING)}"
            for name, value in self._software.items()
            if value != found["software"].get(name)
        ]
        if other:
            raise InputError(
                f"a worker{_on(worker)} isn't made of what the job is made of:\n  "
                + "\n  ".join(other),
                hint="have the same Python environment on each node of the cluster",
            )
        if not found["sees"]:
            raise InputError(
                f"a worker{_on(worker)} doesn't see {self._manifest.parent}",
                hint="outputs must be in a folder that all nodes of the cluster share, under the "
                "same name",
            )
        if found["processor"] != platform.machine():
            self._to_say.append(
                f"workers on {worker.node} have another kind of processor ({found['processor']}, "
                f"not {platform.machine()}): their rows may differ in their last digits"
            )

    def _look_at_starts(self) -> None:
        """Say, once, that there is no room for a worker now. LmfstError if there won't be."""
        late = time.monotonic() - PENDING
        pending = [worker for worker in self._workers if not worker.pid and worker.since < late]
        if not pending:
            return
        if len(pending) == len(self._workers):
            self._fleet.require_room()
        if not self._said_pending:
            self._said_pending = True
            there = sum(worker.works for worker in self._workers)
            self._to_say.append(
                f"{len(pending)} workers aren't there after {PENDING:.0f} s: perhaps others use "
                f"the cluster {self._cluster.name}. "
                + (f"It goes on with {there} meanwhile" if there else "They are waited for")
            )

    def _buried(self, worker: _Worker, error: Exception) -> Died:
        self._workers.remove(worker)
        self._fleet.end(worker)
        how, of_node = self._fleet.how(error)
        at = worker.taken()
        # One that has never answered may be behind a wall: the loss of its node is no excuse.
        if not worker.ready and not (of_node and worker.pid):
            self._starts.failed(how)
        self._waiting.extend(worker.tasks)
        self._hand_out()
        return Died(worker.pid, how, at, worker.node)

    def close(self) -> None:
        """As `lmfst.corpus.pool.Workers`."""
        for worker in self._workers:
            self._fleet.end(worker)
        self._workers.clear()
        self._close.close()


def _on(worker: _Worker) -> str:
    return f" on {worker.node}" if worker.node else ""
