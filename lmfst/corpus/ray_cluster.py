"""A cluster of Ray for a job: one that runs, or one on this machine for as long as the job does.

An address is tried first by a process of its own: where nothing answers, Ray goes on asking for
minutes, and can't be interrupted. Ray prints what it thinks of its processes on stdout, which is
for data: as long as it is there, stdout goes nowhere.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmfst.ground.errors import InputError, LmfstError, UsageError
from lmfst.io.extras import extra

STORE = 80 * 2**20
"""Bytes of Ray's store of objects, next to its minimum: calls are small, and pass it by."""
ANSWER = 5.0
"""Seconds within which a machine has to answer."""
PATIENCE = 15.0
"""Seconds within which a cluster has to."""
_NONE = {"include_dashboard": False, "log_to_driver": False, "logging_level": "CRITICAL"}
_REPORTS = "RAY_USAGE_STATS_ENABLED"
# Tried three times, not twenty.
_HASTE = {"RAY_NUM_REDIS_GET_RETRIES": "3"}
_TRY = """
import sys
import ray
from lmfst.corpus.ray_cluster import attach
try:
    attach(ray, sys.argv[1])
except BaseException as error:
    while error.__cause__ is not None:
        error = error.__cause__
    print(f"{error}")
    sys.exit(1)
ray.shutdown()
"""


@dataclass(frozen=True)
class Cluster:
    """Where workers are: a cluster's address (`HOST:PORT`; `auto`: one that runs on this machine);
    None: a cluster of this machine is started, and ended with the job. gpus: of each worker."""

    address: str | None = None
    gpus: float = 0.0

    def require(self) -> None:
        """UsageError for an address or a number that can't be. InputError if Ray isn't installed,
        or if nothing is at the address."""
        gpus = self.gpus
        if not (0 <= gpus < 1 or (1 <= gpus < math.inf and gpus == int(gpus))):
            raise UsageError(
                f"--gpus-per-worker must be a share of a GPU (0.5) or a number of them (2), not "
                f"{gpus:g}"
            )
        if self.address not in (None, "auto"):
            self._require_host(str(self.address))
        extra("ray", "ray", "--engine ray")

    def _require_host(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        if not host or "/" in host or not (port.isascii() and port.isdigit()):
            raise UsageError(
                f"--address must be HOST:PORT or auto, not {address}",
                hint="the address that `ray start --head` has said; ray://… isn't taken: give the "
                "command on a machine of the cluster",
            )
        try:
            socket.create_connection((host.strip("[]"), int(port)), ANSWER).close()
        except (OSError, OverflowError) as error:
            raise _nobody(address, getattr(error, "strerror", None) or str(error)) from None

    @property
    def name(self) -> str:
        """For messages."""
        return "of this machine" if self.address is None else f"at {self.address}"

    @contextmanager
    def connected(self, processors: int) -> Iterator[Any]:
        """The module ray, with a cluster. processors: of one that is started; as many as workers
        need, whatever there are.

        InputError if no cluster answers, or if it won't have this process; LmfstError if none can
        be started.
        """
        self.require()
        ray = extra("ray", "ray", "--engine ray")
        if ray.is_initialized():
            raise LmfstError("this process is connected to a cluster of Ray already")
        with ExitStack() as stack:
            stack.enter_context(redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
            stack.callback(ray.shutdown)
            if self.address is not None:
                _try(self.address)
                attach(ray, self.address)
            else:
                folder = tempfile.mkdtemp(prefix="lmfst-ray-", dir=_short(tempfile.gettempdir()))
                # Ended first.
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
                stack.callback(ray.shutdown)
                self._start(ray, folder, processors)
            yield ray

    def _start(self, ray: Any, folder: str, processors: int) -> None:
        prestarted = {"prestart_worker_first_driver": False, "enable_worker_prestart": False}
        with _same_signals(), _unreported():
            try:
                ray.init(
                    "local",
                    num_cpus=processors,
                    num_gpus=None if self.gpus else 0,
                    object_store_memory=STORE,
                    _temp_dir=folder,
                    _system_config=prestarted,
                    **_NONE,
                )
            except Exception as error:
                raise LmfstError(f"Ray can't be started on this machine: {error}") from error


@contextmanager
def _unreported() -> Iterator[None]:
    """A cluster that is started in the block reports nothing to Ray's makers, which it does else,
    also without its dashboard."""
    before = os.environ.get(_REPORTS)
    os.environ[_REPORTS] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_REPORTS]
        else:
            os.environ[_REPORTS] = before


def attach(ray: Any, address: str) -> None:
    """Connect to a cluster that runs."""
    more = {name: value for name, value in _NONE.items() if name != "include_dashboard"}
    with _same_signals():
        ray.init(address, **more)


def _try(address: str) -> None:
    """InputError if a cluster doesn't take us in in time."""
    command = [sys.executable, "-P", "-c", _TRY, address]
    environment = {**os.environ, **_HASTE, "PYTHONPATH": os.pathsep.join(map(str, sys.path))}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=environment,
            timeout=PATIENCE,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        raise _nobody(address, f"no answer within {PATIENCE:.0f} s") from None
    if done.returncode:
        said = done.stdout.strip() or done.stderr.strip()[-500:]
        if "InvalidAuthToken" in said:
            raise InputError(
                f"the cluster of Ray at {address} wants a token that this process hasn't shown",
                hint="set RAY_AUTH_MODE=token, with the token of the cluster's machines in "
                "~/.ray/auth_token or in RAY_AUTH_TOKEN",
            )
        raise _nobody(address, said)


def _nobody(address: str, why: str) -> InputError:
    where = "on this machine" if address == "auto" else f"at {address}"
    return InputError(
        f"expected a cluster of Ray {where}: {why}",
        hint="`ray start --head` starts one and says its address; this machine must be one of the "
        "cluster's; without --address a cluster of this machine is started for the job",
    )


def _short(folder: str) -> str:
    """Names of sockets may have a hundred letters."""
    return folder if len(folder) <= 24 or not Path("/tmp").is_dir() else "/tmp"


@contextmanager
def _same_signals() -> Iterator[None]:
    """Ray sets a handler of its own for SIGTERM."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        with suppress(TypeError):  # a handler that isn't Python's
            signal.signal(signal.SIGTERM, before)
