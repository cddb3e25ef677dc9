"""Rows as lines of text: TSV and JSON lines."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence

from lmfst.ground.columns import Same
from lmfst.ground.types import Warn
from lmfst.io.json_text import dumps, dumps_plain
from lmfst.io.row_files import Sink
from lmfst.io.row_values import (
    ESCAPES,
    Cells,
    escaped_field,
    escaped_fields,
    exact,
    field,
    fields,
    json_value,
    json_values,
    passed_field,
)
from lmfst.io.row_writer import RowWriter

One = Callable[[object], str]
Many = Callable[[Sequence[object]], Cells]


def _bytes(lines: str) -> bytes:
    # Lone surrogates stand for undecodable bytes of file names; they must not end a run.
    return lines.encode("utf-8", "backslashreplace")


class _LineWriter(RowWriter):
    """Writes rows of a block as one text, made of a line's template."""

    _begins, _joint, _ends = "", "\t", "\n"

    def __init__(
        self,
        sink: Sink,
        columns: Sequence[str],
        warn: Warn,
        forms: Sequence[tuple[str, One, Many]],
    ) -> None:
        """forms: for each column, what stands before its values, and how one of them and how all
        of them are written."""
        super().__init__(sink, columns, warn)
        self._forms = list(forms)

    def _write_block(
        self, columns: Sequence[Sequence[object]], passed: Mapping[str, object]
    ) -> None:
        beside = self._beside(passed)
        if len(columns[0]) == 1:
            texts = [
                name + one(column[0])
                for (name, one, _), column in zip(self._forms, columns, strict=True)
            ]
            line = self._joint.join([*texts, *beside])
            self._sink.write(_bytes(f"{self._begins}{line}{self._ends}"))
            return
        beside = [text.replace("%", "%%") for text in beside]
        same = [
            (name + one(column.value)).replace("%", "%%") if isinstance(column, Same) else None
            for (name, one, _), column in zip(self._forms, columns, strict=True)
        ]
        for some in self._pieces(columns, sum(map(len, beside))):
            self._write_piece(some, same, beside)

    def _write_piece(
        self,
        columns: Sequence[Sequence[object]],
        same: Sequence[str | None],
        beside: Sequence[str],
    ) -> None:
        """Write some rows. One formatting of all is quicker than one of each.

        same, beside: parts of a template; None for columns whose values differ.
        """
        parts, varying = [], []
        for (name, _, many), text, column in zip(self._forms, same, columns, strict=True):
            if text is None:
                form, values = many(column)
                text = name.replace("%", "%%") + form
                varying.append(values)
            parts.append(text)
        line = f"{self._begins}{self._joint.join([*parts, *beside])}{self._ends}"
        size, width = len(columns[0]), len(varying)
        flat: list[object] = [None] * (size * width)
        for at, values in enumerate(varying):
            flat[at::width] = values
        self._sink.write(_bytes(line * size % tuple(flat)))

    @abstractmethod
    def _beside(self, passed: Mapping[str, object]) -> Sequence[str]:
        """What is passed on, as text at the end of each line."""


class TsvWriter(_LineWriter):
    """A header line, which comes with the first row, and a line a row.

    escaped: columns whose text is one line with escapes of its own already.
    """

    def __init__(
        self, sink: Sink, columns: Sequence[str], warn: Warn, escaped: Sequence[str] = ()
    ) -> None:
        own: tuple[str, One, Many] = ("", field, fields)
        as_it_is: tuple[str, One, Many] = ("", escaped_field, escaped_fields)
        forms = [as_it_is if name in escaped else own for name in columns]
        super().__init__(sink, columns, warn, forms)
        self._begun = False
        self._passed: dict[str, str] = {}

    def _beside(self, passed: Mapping[str, object]) -> Sequence[str]:
        self._begin(passed)
        return [passed_field(passed.get(name)) for name in self._passed]

    def _begin(self, passed: Mapping[str, object]) -> None:
        """The header, before the first row or at the end of none."""
        if not self._begun:
            self._begun = True
            self._passed = self._renamed(list(passed))
            names = [*self._columns, *self._passed.values()]
            self._sink.write(_bytes("\t".join(name.translate(ESCAPES) for name in names) + "\n"))
        elif passed.keys() != self._passed.keys():
            for name in passed.keys() - self._passed.keys():
                why = "the first row, which decides on the columns of TSV, has none of that name"
                self._leave_out(name, why)

    def _end(self) -> None:
        self._begin({})

    def discard(self) -> None:
        self._begun = True
        super().discard()


class JsonWriter(_LineWriter):
    """An object a row."""

    _begins, _joint, _ends = "{", ", ", "}\n"

    def __init__(self, sink: Sink, columns: Sequence[str], warn: Warn) -> None:
        names = [f"{dumps_plain(name)}: " for name in columns]
        super().__init__(sink, columns, warn, [(name, json_value, json_values) for name in names])
        self._passed: dict[str, str] = {}

    def _beside(self, passed: Mapping[str, object]) -> Sequence[str]:
        if not passed:
            return []
        if passed.keys() != self._passed.keys():
            self._passed = self._renamed(list(passed))
        whole = dumps({self._passed[name]: exact(value) for name, value in passed.items()})
        return [whole[1:-1]]

    def _end(self) -> None:
        """Nothing."""
