"""Rows as lines of text: TSV and JSON lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lmfst.ground.types import Warn
from lmfst.io.json_text import dumps, dumps_plain
from lmfst.io.row_files import Sink
from lmfst.io.row_values import ESCAPES, exact, field, fields, json_texts, passed_field
from lmfst.io.row_writer import RowWriter


def _bytes(line: str) -> bytes:
    # Lone surrogates stand for undecodable bytes of file names; they must not end a run.
    return line.encode("utf-8", "backslashreplace") + b"\n"


class TsvWriter(RowWriter):
    """A header line, which comes with the first row, and a line a row.

    escaped: columns whose text is one line with escapes of its own already.
    """

    def __init__(
        self, sink: Sink, columns: Sequence[str], warn: Warn, escaped: Sequence[str] = ()
    ) -> None:
        super().__init__(sink, columns, warn)
        self._escaped = frozenset(escaped)
        self._begun = False
        self._passed: dict[str, str] = {}

    def _write_block(
        self, columns: Sequence[Sequence[object]], passed: Mapping[str, object]
    ) -> None:
        self._begin(passed)
        own = [
            self._texts(column) if name in self._escaped else fields(column)
            for name, column in zip(self._columns, columns, strict=True)
        ]
        beside = [[passed_field(passed.get(name))] * len(columns[0]) for name in self._passed]
        lines = map("\t".join, zip(*own, *beside, strict=True))
        self._sink.write(_bytes("\n".join(lines)))

    def _begin(self, passed: Mapping[str, object]) -> None:
        """The header, before the first row or at the end of none."""
        if not self._begun:
            self._begun = True
            self._passed = self._renamed(list(passed))
            names = [*self._columns, *self._passed.values()]
            self._sink.write(_bytes("\t".join(name.translate(ESCAPES) for name in names)))
        elif passed.keys() != self._passed.keys():
            for name in passed.keys() - self._passed.keys():
                why = "the first row, which decides on the columns of TSV, has none of that name"
                self._leave_out(name, why)

    @staticmethod
    def _texts(column: Sequence[object]) -> list[str]:
        """Fields whose text has been escaped."""
        return [value if isinstance(value, str) else field(value) for value in column]

    def _end(self) -> None:
        self._begin({})

    def discard(self) -> None:
        self._begun = True
        super().discard()


class JsonWriter(RowWriter):
    """An object a row."""

    def __init__(self, sink: Sink, columns: Sequence[str], warn: Warn) -> None:
        super().__init__(sink, columns, warn)
        self._passed: dict[str, str] = {}

    def _write_block(
        self, columns: Sequence[Sequence[object]], passed: Mapping[str, object]
    ) -> None:
        named = [
            list(map(f"{dumps_plain(name)}: ".__add__, json_texts(column)))
            for name, column in zip(self._columns, columns, strict=True)
        ]
        beside = [[self._beside(passed)[1:-1]] * len(columns[0])] if passed else []
        lines = map(", ".join, zip(*named, *beside, strict=True))
        self._sink.write(_bytes("\n".join(f"{{{line}}}" for line in lines)))

    def _beside(self, passed: Mapping[str, object]) -> str:
        """What is passed on, as an object."""
        if passed.keys() != self._passed.keys():
            self._passed = self._renamed(list(passed))
        return dumps({self._passed[name]: exact(value) for name, value in passed.items()})

    def _end(self) -> None:
        """Nothing."""
