"""Nodes of Ray on this machine, each as another machine would be one; they can be killed."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

STORE = "80000000"
"""Bytes of a node's store of objects."""
SECONDS = 30.0
"""Within which a node is there."""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Node:
    """A node: of a new cluster, or of the one at `address`."""

    def __init__(self, environment: dict[str, str], port: int, *, head: bool, more: list[str]):
        self.folder = tempfile.mkdtemp(prefix="lmfst-node-", dir="/tmp") if head else ""
        address = f"127.0.0.1:{port}"
        where = ["--head", f"--port={port}", "--include-dashboard=false"]
        where += ["--temp-dir", self.folder, "--disable-usage-stats"]
        # As the console script does, with the interpreter that runs.
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
        command += where if head else [f"--address={address}"]
        command += ["--node-ip-address=127.0.0.1", "--object-store-memory", STORE]
        command += ["--num-cpus=1", *more]
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        until = time.monotonic() + SECONDS
        while not self._processes("raylet/raylet"):
            if time.monotonic() > until or self.process.poll() is not None:
                raise RuntimeError("no node of Ray has started")
            time.sleep(0.1)

    def _processes(self, name: str) -> list[psutil.Process]:
        found = []
        with suppress(psutil.Error):
            for process in psutil.Process(self.process.pid).children(recursive=True):
                with suppress(psutil.Error):
                    if any(name in word for word in process.cmdline()[:1]):
                        found.append(process)
        return found

    def actors(self) -> list[psutil.Process]:
        """The workers of jobs."""
        return self._processes("ray::Actor")

    def kill(self) -> None:
        """As if the plug were pulled: everything at once."""
        doomed = [*self._processes(""), psutil.Process(self.process.pid)]
        for process in doomed:
            with suppress(psutil.Error):
                process.kill()
        self.process.wait()
        psutil.wait_procs(doomed, timeout=5)


class Nodes:
    """A cluster of some nodes, each with one processor.

    environment: of their processes. with_token: whether those that connect have to show the token
    that `token` says; a process that has loaded Ray can't any more.
    """

    def __init__(
        self,
        environment: dict[str, str],
        count: int = 1,
        more: list[str] | None = None,
        *,
        with_token: bool = False,
    ) -> None:
        self.token = {"RAY_AUTH_MODE": "disabled"}
        if with_token:
            self.token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self.environment = {**environment, **self.token, "RAY_USAGE_STATS_ENABLED": "0"}
        self._port, self._more = free_port(), more or []
        self.address = f"127.0.0.1:{self._port}"
        self.nodes = [Node(self.environment, self._port, head=True, more=self._more)]
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1):
                break
            time.sleep(0.1)
        for _ in range(count - 1):
            self.add()

    def add(self) -> Node:
        """One more."""
        node = Node(self.environment, self._port, head=False, more=self._more)
        self.nodes.append(node)
        return node

    def kill(self, node: Node) -> None:
        self.nodes.remove(node)
        node.kill()

    def close(self) -> None:
        for node in reversed(self.nodes):
            node.kill()
        shutil.rmtree(self.nodes[0].folder, ignore_errors=True)


def environment(**more: str) -> dict[str, str]:
    """That of this process, with this checkout's modules. Whether there are GPUs is left to Ray,
    which must be free to be told of some that are none."""
    root = str(Path(__file__).resolve().parent.parent.parent)
    kept = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    return {**kept, "PYTHONPATH": root, **more}
