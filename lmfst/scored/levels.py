"""From records to rows: a row a unit, a replicate or a text, or one for all."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from lmfst.ground.errors import InputError, UsageError
from lmfst.ground.types import Level, require_choice
from lmfst.inference.policy import Policy
from lmfst.scored.records import (
    BOUNDS_COLUMNS,
    REPLICATE_COLUMNS,
    SUMMARY_COLUMNS,
    TEXT_COLUMNS,
    UNIT_COLUMNS,
    VERSUS_COLUMNS,
    Block,
    Row,
    Scored,
    summary_row,
)

COLUMNS: dict[Level, tuple[str, ...]] = {
    "unit": UNIT_COLUMNS,
    "replicate": REPLICATE_COLUMNS,
    "text": TEXT_COLUMNS,
    "summary": SUMMARY_COLUMNS,
}
MOST_NAMES = 5
"""Ids that a message lists."""


@dataclass(frozen=True)
class Levels:
    """The rows of a run.

    level: "unit", "replicate", "text" or "summary". bounds: whether texts and summaries have
    `BOUNDS_COLUMNS`. versus: the id of a document (or its first word) that texts are compared with,
    in `VERSUS_COLUMNS`. Raises UsageError where these don't go together.
    """

    level: Level
    bounds: bool = False
    versus: str | None = None

    def __post_init__(self) -> None:
        require_choice("--level", self.level, Level)
        if self.bounds and self.level not in ("text", "summary"):
            raise UsageError("--bounds are those of texts", hint="add --level text or summary")
        if self.versus is not None and self.level != "text":
            raise UsageError("--versus compares whole texts", hint="add --level text")

    def require(self, policy: Policy) -> None:
        """UsageError if a policy can't give these rows."""
        if self.level == "replicate" and not policy.estimates:
            raise UsageError(
                "only estimates have replicates", hint="add --policy sample, or use --level text"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the rows."""
        more = BOUNDS_COLUMNS if self.bounds else ()
        return COLUMNS[self.level] + more + (VERSUS_COLUMNS if self.versus is not None else ())

    def blocks(
        self, records: Iterable[Scored], warn: Callable[[str], None] = warnings.warn
    ) -> Iterator[tuple[Block, Mapping[str, object]]]:
        """The rows of each record together, as columns, and what is passed on beside each of them;
        those of a summary at the end, with nothing.

        Records wait for the one that they are compared with. InputError if there is none. warn: is
        told if there is another one of its id.
        """
        if self.level == "summary":
            found = summary_row(record.text_row() for record in records)
            yield self._block([found]), {}
        elif self.versus is not None:
            yield from self._compared(self.versus, records, warn)
        else:
            for record in records:
                yield self._of(record), record.extra

    def _of(self, record: Scored) -> Block:
        if self.level == "unit":
            return record.unit_block()
        if self.level == "replicate":
            return self._block(list(record.replicate_rows()))
        return self._block([record.text_row()])

    def _block(self, rows: list[Row]) -> Block:
        return {name: [row[name] for row in rows] for name in self.columns}

    def _compared(
        self, versus: str, records: Iterable[Scored], warn: Callable[[str], None]
    ) -> Iterator[tuple[Block, Mapping[str, object]]]:
        records = iter(records)
        waiting: list[Scored] = []
        for record in records:
            waiting.append(record)
            if versus == record.id:
                break
        reference = waiting[-1] if waiting and waiting[-1].id == versus else None
        if reference is None:
            reference = _only_one(versus, waiting)
        first = next(at for at, record in enumerate(waiting, start=1) if record is reference)
        for number, record in enumerate(chain(waiting, records), start=1):
            if record.id == reference.id and record is not reference:
                warn(
                    f"--versus {versus!r}: documents {first} and {number} both have the id "
                    f"{record.id!r}; texts are compared with document {first}"
                )
            row = {**record.text_row(), **record.versus(reference)}
            yield self._block([row]), record.extra


def _only_one(versus: str, records: list[Scored]) -> Scored:
    """The record whose id begins with a word. InputError if there are none or several."""
    found = [record for record in records if record.id.split()[:1] == [versus]]
    if len(found) == 1:
        return found[0]
    shown = found or records
    ids = ", ".join(repr(record.id) for record in shown[:MOST_NAMES])
    more = ", …" if len(shown) > MOST_NAMES else ""
    said = f"it is that of {len(found)} documents" if found else "no document has it"
    raise InputError(
        f"--versus {versus!r}: expected the id of a document, or its first word: {said}",
        hint=f"the ids are {ids}{more}" if ids else "there are no documents",
    )
