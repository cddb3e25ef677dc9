"""Writers of rows: what those of all formats have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

from lmfst.ground.columns import Same
from lmfst.ground.errors import UsageError
from lmfst.ground.types import Warn
from lmfst.io.row_files import Sink

PASSED = "input_"
"""What comes before the name of a column that is passed on where lmfst has one of that name."""

PIECE = 1 << 20
"""Characters of a block's rows that are written together, about (a row may have more)."""
_ROW = 1 << 7
"""Those of a row without its long values, about."""


def names_beside(own: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """New names for `names`, where a row has the columns `own` already; all are different."""
    taken = {*own, *names}
    found = {}
    for name in names:
        new = name
        while new in own or (new != name and new in taken):
            new = PASSED + new
        taken.add(new)
        found[name] = new
    return found


class RowWriter(ABC):
    """Writes rows in one format; a context manager that keeps nothing of a failed run.

    In a `with` block, leaving by an exception discards the file, else `close` completes it.
    """

    def __init__(self, sink: Sink, columns: Sequence[str], warn: Warn) -> None:
        self._sink = sink
        self._columns = tuple(columns)
        self._allowed = frozenset(columns)
        self._warn, self._warned = warn, set[str]()

    def write(self, row: Mapping[str, object], passed: Mapping[str, object] | None = None) -> None:
        """Write one row, and what is passed on beside it; columns it lacks are empty. UsageError if
        it has others."""
        if not row.keys() <= self._allowed:
            extra = sorted(row.keys() - self._allowed)
            raise UsageError(f"expected a row of {list(self._columns)}, found {extra} too")
        self._write_block([[row.get(name)] for name in self._columns], passed or {})

    def write_block(
        self, block: Mapping[str, Sequence[object]], passed: Mapping[str, object] | None = None
    ) -> None:
        """Write several rows, given as columns, all as long; the same is passed on beside each."""
        if not block.keys() <= self._allowed:
            extra = sorted(block.keys() - self._allowed)
            raise UsageError(f"expected columns of {list(self._columns)}, found {extra} too")
        size = max(map(len, block.values()), default=0)
        if size:
            nothing = Same(None, size)
            self._write_block([block.get(name, nothing) for name in self._columns], passed or {})

    @abstractmethod
    def _write_block(
        self, columns: Sequence[Sequence[object]], passed: Mapping[str, object]
    ) -> None:
        """Write rows, one at least. columns: all of them, in order."""

    @staticmethod
    def _pieces(
        columns: Sequence[Sequence[object]], beside: int
    ) -> Iterator[Sequence[Sequence[object]]]:
        """The rows of a block, as many at once as `PIECE` allows: what is the same in all of them
        is written out in each. beside: characters of what is passed on."""
        long = beside + _ROW
        for column in columns:
            if isinstance(column, Same) and isinstance(column.value, str):
                long += len(column.value)
        size, most = len(columns[0]), max(1, PIECE // long)
        if size <= most:
            yield columns
            return
        for begin in range(0, size, most):
            yield [column[begin : begin + most] for column in columns]

    @abstractmethod
    def _end(self) -> None:
        """Write what is due when no more rows come."""

    def flush(self) -> None:
        """Hand on what was written so far, where someone may be reading: a pipe or terminal."""
        self._sink.flush()

    def close(self) -> None:
        """Complete the output; a file gets its name now. A second call does nothing."""
        try:
            self._end()
        except BaseException:
            self.discard()
            raise
        self._sink.close()

    def discard(self) -> None:
        """Give the output up: no file appears."""
        self._sink.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def _renamed(self, names: Sequence[str]) -> dict[str, str]:
        """The names of the columns that are passed on; warns of those that aren't the input's."""
        found = names_beside(self._columns, names)
        for name, new in found.items():
            if name != new:
                self._say(f"column {name!r} of the input is called {new!r} in the output")
        return found

    def _leave_out(self, name: str, why: str) -> None:
        self._say(f"column {name!r} is left out: {why} (--format jsonl keeps it)")

    def _say(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            self._warn(message)
