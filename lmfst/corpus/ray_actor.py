"""An actor of Ray: a worker (`lmfst.corpus.worker`) in another process, perhaps on another machine.

This module is sent to that process as it is, whatever lmfst is there, so it imports none before the
two have been compared (`Actor.meet`). Nothing is asked of Ray but to call an actor's methods: the
job says what is done and what isn't.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import platform
import queue
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

NOTHING = "nothing"
LIBRARIES = ("torch", "transformers", "numpy", "numba")
"""Whose versions may change rows."""


def software() -> dict[str, str]:
    """What must be the same wherever the rows of a job are made."""
    facts = {"Python": platform.python_version(), "lmfst": NOTHING}
    with suppress(ImportError, AttributeError):
        import lmfst

        facts["lmfst"] = lmfst.__version__
    for name in LIBRARIES:
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            facts[name] = NOTHING
    return facts | {"files of lmfst": _sources()}


def _sources() -> str:
    """A digest of lmfst's modules: the same version may have others, in a checkout."""
    found = find_spec("lmfst")
    whole = hashlib.sha256()
    for folder in found.submodule_search_locations or () if found else ():
        for path in sorted(Path(folder).rglob("*.py")):
            whole.update(path.relative_to(folder).as_posix().encode() + b"\0")
            whole.update(path.read_bytes() + b"\0")
    return whole.hexdigest()[:16]


def _sees(file: Path, wanted: str, seconds: float) -> bool:
    """Whether a file can be read and is what it should be, within some seconds: a shared file
    system may take them to show it."""
    until = time.monotonic() + seconds
    while True:
        with suppress(OSError):
            os.listdir(file.parent)
            if hashlib.sha256(file.read_bytes()).hexdigest() == wanted:
                return True
        if time.monotonic() > until:
            return False
        time.sleep(0.2)


class _Inbox:
    """Where calls put what is pickled, and the worker gets it from."""

    def __init__(self) -> None:
        self.calls: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def get(self) -> Any:
        return pickle.loads(self.calls.get())


class _Outbox:
    """What the worker has said, pickled at once, so that it hears of what can't be."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._said: list[bytes] = []
        self._handed = self._received = 0

    def send(self, obj: Any, /) -> None:
        self._put(obj)

    def deliver(self, obj: Any, /) -> None:
        """Send, and wait until it has arrived: what an answer holds is lost with this process."""
        number = self._put(obj)
        with self._change:
            self._change.wait_for(lambda: self._received >= number)

    def _put(self, obj: Any) -> int:
        data = pickle.dumps(obj)
        with self._change:
            self._said.append(data)
            self._change.notify_all()
            return self._handed + len(self._said)

    def taken(self) -> list[bytes]:
        """All there is, as soon as there is something. Who asks has the answers before."""
        with self._change:
            self._received = self._handed
            self._change.notify_all()
            self._change.wait_for(lambda: self._said)
            found, self._said = self._said, []
            self._handed += len(found)
            return found


class Actor:
    """A worker, by calls. Some are made while others last."""

    def __init__(self) -> None:
        self._inbox, self._outbox = _Inbox(), _Outbox()

    def meet(
        self,
        path: Sequence[str] | None,
        not_on_path: Sequence[str],
        folder: str,
        file: str,
        wanted: str,
        seconds: float,
    ) -> dict[str, Any]:
        """What this process is, and what it sees.

        path: of modules; None: this machine's own. not_on_path: what Ray has put in front of that
        (the user's folder, where a file may be called like a module). folder: the current one,
        where there is such. file: of the work folder. wanted: its digest, which may take some
        seconds to be that.
        """
        if path is not None:
            sys.path[:] = path
        else:
            while sys.path and sys.path[0] in not_on_path:
                del sys.path[0]
        with suppress(OSError):
            os.chdir(folder)
        return {
            "pid": os.getpid(),
            "node": platform.node(),
            "software": software(),
            "processor": platform.machine(),
            "sees": _sees(Path(file), wanted, seconds),
        }

    def begin(self, setup: bytes) -> None:
        """Begin to work."""
        from lmfst.corpus.worker import serve

        self.give(setup)
        threading.Thread(target=serve, args=(self._outbox, self._inbox), daemon=True).start()

    def give(self, task: bytes) -> None:
        """Hand it a shard."""
        self._inbox.calls.put(task)

    def listen(self) -> list[bytes]:
        """What it has said since; waits until there is something."""
        return self._outbox.taken()
