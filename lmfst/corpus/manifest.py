"""The manifest: what a job is, so that only the same job goes on with its work.

It is written once, when the work begins, in one step, and once more beside the output when that is
there. What is done of the work stands in the ledger (`lmfst.corpus.ledger`): a file that grows by a
line takes as long after a million shards as after one, which writing a manifest anew doesn't.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lmfst.corpus.disk import LOCK, write_whole, writing
from lmfst.corpus.inputs import Input, differences
from lmfst.corpus.shards import Limits
from lmfst.ground.errors import InputError
from lmfst.ground.types import Warn

try:
    import fcntl
except ImportError:  # not a POSIX system: two runs on one output aren't noticed
    fcntl = None  # type: ignore[assignment]

FORMAT = 1
RESTART = "--restart begins again and gives up what is done"

Facts = Mapping[str, Any]
"""JSON-ready."""


@dataclass(frozen=True)
class Done:
    """What came of a job. size, changed: of the output, in bytes, and the time of its last change
    (ns). digest: its SHA-256. lost: the numbers of shards that were left out. facts: what was
    noted of the documents (`lmfst.corpus.Job`)."""

    documents: int
    rejected: int
    rows: int
    symbols: int
    missing: float
    size: int
    changed: int
    digest: str
    lost: list[int]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Manifest:
    """What a job is.

    id: tells the work of one run from that of another on the same output. fingerprint: what decides
    about the rows; another one is another job. machine: what may change their last digits.
    batch_tokens, threads: what the work was begun with, and goes on with. named: what things of the
    fingerprint are called, for readers. done: None while it isn't.
    """

    fingerprint: dict[str, Any]
    machine: dict[str, Any]
    inputs: list[Input]
    batch_tokens: int
    threads: int
    limits: Limits
    named: dict[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: f"{time.time_ns():x}-{os.getpid():x}")
    done: Done | None = None

    def data(self) -> bytes:
        facts = {"format": FORMAT, **asdict(self), "limits": self.limits._asdict()}
        return (
            json.dumps(facts, indent=1, ensure_ascii=False).encode(errors="surrogatepass") + b"\n"
        )

    def completed(self, done: Done) -> Manifest:
        return replace(self, done=done)

    def write(self, path: Path, work: Path) -> None:
        """InputError if it can't be written. work: the folder for the temporary file."""
        with writing(path, work):
            write_whole(work / "manifest.tmp", path, self.data())

    def require_same(self, now: Manifest, out: Path) -> None:
        """InputError, with each difference, if `now` isn't the job whose manifest this is."""
        found = [
            f"{name}: {_shown(self.fingerprint, name)} -> {_shown(now.fingerprint, name)}"
            for name in {**self.fingerprint, **now.fingerprint}
            if _shown(self.fingerprint, name) != _shown(now.fingerprint, name)
        ]
        found += differences(self.inputs, now.inputs)
        if found:
            raise InputError(
                f"{out}: what was begun there is another job:\n  " + "\n  ".join(found),
                hint=f"name another output; {RESTART}",
            )


def _shown(facts: Mapping[str, Any], name: str) -> str:
    return json.dumps(facts[name], ensure_ascii=False) if name in facts else "nothing"


def read_manifest(path: Path) -> Manifest | None:
    """The manifest at a place; None if there is none.

    InputError if it is damaged, of a newer version, or can't be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror or error}") from None
    try:
        facts = json.loads(data.decode(errors="surrogatepass"))
        found = facts.pop("format")
        if isinstance(found, int) and found > FORMAT:
            raise InputError(
                f"{path} was written by a newer lmfst: expected format {FORMAT}, found {found}",
                hint=f"go on with that one; {RESTART}",
            )
        if found != FORMAT:
            raise ValueError(f"format {found!r}")
        return _manifest(facts)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path}: expected the manifest of a job, found something else ({error})",
            hint=f"it is damaged: {RESTART}",
        ) from None


def _manifest(facts: dict[str, Any]) -> Manifest:
    facts["inputs"] = [Input(**found) for found in facts["inputs"]]
    facts["limits"] = Limits(**facts["limits"])
    facts["done"] = None if facts["done"] is None else Done(**facts["done"])
    manifest = Manifest(**facts)
    numbers = (manifest.batch_tokens, manifest.threads, *manifest.limits)
    if not all(isinstance(number, int) and number > 0 for number in numbers):
        raise ValueError("a number that isn't positive")
    if not isinstance(manifest.fingerprint, dict) or not isinstance(manifest.machine, dict):
        raise ValueError("no fingerprint")
    return manifest


@contextmanager
def claimed(work: Path, out: Path, warn: Warn) -> Iterator[None]:
    """Hold the lock of a work folder, which is made if it isn't there.

    The lock is the system's: it ends with the process however that ends. InputError if another run
    holds it, if the folder can't be made, or if it holds something else than a job's work.
    """
    with writing(work):
        handle = _locked(work, out, warn)
    try:
        yield
    finally:
        os.close(handle)


def _locked(work: Path, out: Path, warn: Warn) -> int:
    while True:
        work.mkdir(exist_ok=True)
        try:
            there = os.listdir(work)
            if there and LOCK not in there:
                raise InputError(
                    f"{work}: expected the work of a job on {out}, or nothing, found other files",
                    hint="move that folder away, or name another output",
                )
            handle = os.open(work / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:  # the run that held it has just removed the folder
            continue
        try:
            _lock(handle, out, warn)
            if _is_there(handle, work / LOCK):
                os.ftruncate(handle, 0)
                os.pwrite(handle, str(os.getpid()).encode(), 0)
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _lock(handle: int, out: Path, warn: Warn) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(handle, 20, 0).decode(errors="replace").strip()
        who = f"another run (pid {pid})" if pid else "another run"
        raise InputError(
            f"{who} is writing {out}", hint="wait for it, end it, or name another output"
        ) from None
    except OSError:
        warn(f"{out}: the file system has no locks; a second run with this output isn't noticed")


def _is_there(handle: int, path: Path) -> bool:
    """Whether what was locked is still what its name leads to."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False
