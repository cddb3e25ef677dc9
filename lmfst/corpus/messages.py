"""What a job and its workers tell each other, and what they talk over."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from lmfst.corpus.ledger import Scored
from lmfst.corpus.records import MakeScorer, MakeWriter
from lmfst.ground.document import Document, Rejected


class Setup(NamedTuple):
    """What a worker is told first. rows, rejects: see `Task`."""

    make_scorer: MakeScorer
    make_writer: MakeWriter


class Task(NamedTuple):
    """A shard to be scored: its records, the number of its first document, where its files go
    (`rows`, `rejects`: their final names) and the batch tokens. alone: whether nothing else may be
    going on in the worker, so that it is known what has ended it."""

    number: int
    first: int
    items: Sequence[Document | Rejected]
    batch_tokens: int
    rows: Path
    rejects: Path
    alone: bool = False


class Ready(NamedTuple):
    """The scorer is there."""


class Said(NamedTuple):
    """A warning, or a note."""

    message: str
    is_warning: bool


class Begun(NamedTuple):
    """A shard is being scored."""

    number: int


class Counted(NamedTuple):
    """How far the shard is that is being scored."""

    number: int
    documents: int
    rejected: int
    symbols: int
    missing: float


class Finished(NamedTuple):
    """A shard is done. rows, rejects: its files, under temporary names; None where there is
    nothing."""

    scored: Scored
    rows: Path | None
    rejects: Path | None


class OutOfMemory(NamedTuple):
    """A shard has to be begun again with less."""

    number: int
    message: str


class Failed(NamedTuple):
    """The job can't go on. trace: for errors that weren't foreseen."""

    error: BaseException
    trace: str


Message = Ready | Said | Begun | Counted | Finished | OutOfMemory | Failed


class Inbox(Protocol):
    """Where a worker gets its `Setup` from, and then a `Task` after the other."""

    def get(self) -> Any:
        """Wait for the next one."""
        ...


class Outbox(Protocol):
    """Where it puts each `Message`; several threads do."""

    def send(self, obj: Any, /) -> None: ...

    def deliver(self, obj: Any, /) -> None:
        """Send what isn't lost if this process ends a moment later."""
        ...
