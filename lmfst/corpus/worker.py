"""A worker: a process that scores shards and writes their files.

It is told what to do over a socket, in messages that are pickled by its parent and by nobody else.
A thread takes them in, so that the next shard is here when one is done; when the other end of the
socket closes, however the parent has ended, the process ends at once. The files of a shard are
written under temporary names, and are on the disk when it is reported: the parent names them.
Another thread has them on the disk, and finds their checksums, while the next shard is scored. An
actor of Ray does the same, and is told by calls (`lmfst.corpus.ray_actor`).
"""

from __future__ import annotations

import logging
import os
import pickle
import queue
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from lmfst.corpus.disk import temporary, writing
from lmfst.corpus.ledger import Scored
from lmfst.corpus.messages import (
    Begun,
    Counted,
    Failed,
    Finished,
    Inbox,
    Outbox,
    OutOfMemory,
    Ready,
    Said,
    Setup,
    Task,
)
from lmfst.corpus.records import MakeWriter, Result, Scorer, rejected
from lmfst.ground.announce import LOGGER
from lmfst.ground.digests import digest
from lmfst.ground.document import Document, Rejected
from lmfst.ground.errors import LmfstError
from lmfst.ground.types import Warn
from lmfst.io.json_text import dumps

EVERY = 0.2
"""Seconds from one word of progress to the next."""


Found = Iterator[tuple[int, Result | Rejected]]


def main(handle: int) -> None:
    """The whole life of a worker, which talks over the socket `handle`."""
    connection = _Shared(handle)
    tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, tasks), daemon=True).start()
    serve(connection, tasks)
    # The parent ends it: what it has reported isn't lost then.
    threading.Event().wait()


def serve(outbox: Outbox, inbox: Inbox) -> None:
    """Do what there is to do, until something fails; that is reported, too."""
    try:
        _work(outbox, inbox)
    except (BrokenPipeError, ConnectionResetError):
        os._exit(1)
    except BaseException as error:
        with suppress(OSError):
            _fail(outbox, error)


def _receive(connection: _Shared, tasks: queue.SimpleQueue[Any]) -> None:
    """Take in messages until the parent is gone; then nobody waits for this process."""
    try:
        while True:
            tasks.put(connection.recv())
    except (EOFError, OSError):
        os._exit(1)
    except BaseException as error:
        with suppress(OSError):
            _fail(connection, error)


def _fail(outbox: Outbox, error: BaseException) -> None:
    trace = "" if isinstance(error, LmfstError) else traceback.format_exc()
    try:
        # Some can be pickled, and not be had back.
        pickle.loads(pickle.dumps(error))
        outbox.send(Failed(error, trace))
    except OSError:
        raise
    except Exception:  # an error that can't be pickled
        outbox.send(Failed(RuntimeError(f"{type(error).__name__}: {error}"), trace))


def _work(outbox: Outbox, inbox: Inbox) -> None:
    setup: Setup = inbox.get()

    def warn(message: str) -> None:
        outbox.send(Said(message, is_warning=True))

    LOGGER.handlers = [_Notes(outbox)]
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    scorer = setup.make_scorer(warn)
    outbox.send(Ready())
    finisher = _Finisher(outbox)
    while True:
        task: Task = inbox.get()
        if task.alone:
            finisher.wait()
        outbox.deliver(Begun(task.number))
        try:
            shard = _Shard(outbox, task, setup.make_writer, warn)
            shard.score(scorer)
        except Exception as error:
            if not _is_memory(error):
                # What is scored is reported first, or it would be lost.
                finisher.wait()
                raise
            outbox.send(OutOfMemory(task.number, str(error)))
        else:
            finisher.finish(shard)
            if task.alone:
                finisher.wait()


class _Finisher:
    """Finishes a shard while the next one is scored, and reports it; one at a time."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._thread = ThreadPoolExecutor(1)
        self._last: Future[None] | None = None

    def finish(self, shard: _Shard) -> None:
        """Begin with that when the one before is finished."""
        self.wait()
        self._last = self._thread.submit(self._finish, shard)

    def wait(self) -> None:
        """Until it has nothing to do."""
        if self._last is not None:
            self._last.result()

    def _finish(self, shard: _Shard) -> None:
        try:
            self._outbox.send(shard.finish())
        except Exception as error:
            # A parent that is gone needs no answer.
            with suppress(OSError):
                if _is_memory(error):
                    self._outbox.send(OutOfMemory(shard.number, str(error)))
                else:
                    _fail(self._outbox, error)


class _Shared(Connection):
    """A connection that several threads write to."""

    def __init__(self, handle: int) -> None:
        super().__init__(handle)
        self._writing = threading.Lock()

    def send(self, obj: Any) -> None:
        with self._writing:
            super().send(obj)

    # A socket keeps what was written to it.
    deliver = send


class _Notes(logging.Handler):
    """Hands on what `lmfst.ground.announce` says."""

    def __init__(self, outbox: Outbox) -> None:
        super().__init__()
        self._outbox = outbox

    def emit(self, record: logging.LogRecord) -> None:
        # When the parent is gone, the process ends by itself.
        with suppress(OSError):
            self._outbox.send(Said(record.getMessage(), is_warning=False))


def _is_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


class _Shard:
    """A shard while it is being scored, and until it is finished."""

    def __init__(self, outbox: Outbox, task: Task, make_writer: MakeWriter, warn: Warn) -> None:
        self._outbox, self._task = outbox, task
        self.number = task.number
        self._files = ShardFiles(task, make_writer, warn)
        self._open = ExitStack()
        self._facts: dict[str, Any] = {}
        self._documents = self._rejected = self._symbols = 0
        self._missing = 0.0
        self._told = time.monotonic()

    def score(self, scorer: Scorer) -> None:
        """Score it, and write its rows. Passes on the scorer's errors; InputError if its files
        can't be written. After an exception nothing is left of them."""
        with ExitStack() as stack:
            files = stack.enter_context(self._files)
            documents = [item for item in self._task.items if isinstance(item, Document)]
            results: Found = iter(())
            if documents:
                results = iter(scorer.score(documents, self._task.first, self._task.batch_tokens))
            for item in self._in_order(results, len(documents)):
                if isinstance(item, Result):
                    files.write(item)
                else:
                    files.reject(item)
            if documents:
                self._facts = scorer.facts()
            self._open = stack.pop_all()

    def finish(self) -> Finished:
        """Have its files on the disk. InputError, and nothing is left, if that can't be."""
        with self._open:
            return self._files.finish(self._symbols, self._missing, self._facts)

    def _in_order(self, results: Found, documents: int) -> Iterator[Result | Rejected]:
        """One result for each record: what reading has rejected stands in its place. They are
        counted as they come."""
        waiting: dict[int, Result | Rejected] = {}
        number = 0
        for item in self._task.items:
            if not isinstance(item, Document):
                self._count(item)
                yield item
                continue
            while number not in waiting:
                found = next(results, None)
                if found is None:
                    raise RuntimeError(f"the scorer gave fewer results than {documents} documents")
                at, result = found
                if at in waiting or not number <= at < documents:
                    raise RuntimeError(f"the scorer gave a second result of document {at}")
                self._count(result)
                waiting[at] = result
            yield waiting.pop(number)
            number += 1
        if next(results, None) is not None:
            raise RuntimeError(f"the scorer gave more results than {documents} documents")

    def _count(self, found: Result | Rejected) -> None:
        """One more is done; say so now and then."""
        self._documents += 1
        if isinstance(found, Result):
            self._symbols += found.symbols
            self._missing += found.missing
        else:
            self._rejected += 1
        now = time.monotonic()
        if now - self._told >= EVERY:
            self._told = now
            counted = Counted(
                self._task.number, self._documents, self._rejected, self._symbols, self._missing
            )
            self._outbox.send(counted)


class ShardFiles:
    """The files of a shard, under temporary names; none is left after an exception."""

    def __init__(self, task: Task, make_writer: MakeWriter, warn: Warn) -> None:
        self._task, self._make_writer, self._warn = task, make_writer, warn
        self._paths = temporary(task.rows), temporary(task.rejects)
        self._rows = self._rejects = 0

    def __enter__(self) -> Self:
        with self._named():
            self._to_rows = self._paths[0].open("wb")
            self._to_rejects = self._paths[1].open("wb")
            self._sink = self._make_writer(self._to_rows, self._warn)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for stream, path in zip((self._to_rows, self._to_rejects), self._paths, strict=True):
            with suppress(OSError):
                stream.close()
            if kind is not None:
                with suppress(OSError):
                    path.unlink()

    def write(self, found: Result) -> None:
        with self._named():
            for row in found.rows:
                self._sink.write(row)
        self._rows += len(found.rows) if found.count is None else found.count

    def reject(self, item: Rejected) -> None:
        with self._named():
            self._to_rejects.write(reject_line(item))
        self._rejects += 1

    def finish(
        self, symbols: int, missing: float, facts: dict[str, Any], *, lost: bool = False
    ) -> Finished:
        """Have them on the disk. The rest is what is noted of the shard (`Scored`)."""
        with self._named():
            self._sink.close()
            rows, rejects = (
                self._complete(stream, path, count)
                for stream, path, count in (
                    (self._to_rows, self._paths[0], self._rows),
                    (self._to_rejects, self._paths[1], self._rejects),
                )
            )
        scored = Scored(
            self._task.number,
            self._rows,
            *rows,
            self._rejects,
            *rejects,
            symbols,
            missing,
            facts,
            lost,
        )
        return Finished(
            scored,
            self._paths[0] if self._rows else None,
            self._paths[1] if self._rejects else None,
        )

    def _complete(self, stream: IO[bytes], path: Path, count: int) -> tuple[int, str]:
        """Size and checksum of a file; nothing is kept of one without rows."""
        if not count:
            stream.close()
            path.unlink()
            return 0, ""
        stream.flush()
        os.fsync(stream.fileno())
        stream.close()
        return path.stat().st_size, digest(path)

    def _named(self) -> AbstractContextManager[None]:
        return writing(self._task.rows, self._task.rows.parent)


def reject_line(item: Rejected) -> bytes:
    """What is said of a rejected record: a line of JSON."""
    names = ("file", "line", "id", "reason", "message", "hint")
    facts = {name: getattr(item, name) for name in names}
    # Lone surrogates stand for undecodable bytes of file names.
    return dumps(facts).encode("utf-8", "backslashreplace") + b"\n"


def leave_out(task: Task, make_writer: MakeWriter, reason: str, message: str) -> Finished:
    """A shard without rows, all of whose documents are rejected."""
    with ShardFiles(task, make_writer, lambda message: None) as files:
        for item in task.items:
            if isinstance(item, Document):
                item = rejected(item, reason, message)
            files.reject(item)
        return files.finish(0, 0.0, {}, lost=True)
