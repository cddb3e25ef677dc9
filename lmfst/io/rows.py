r"""Writing rows as TSV or JSON lines, to the standard output or atomically to a file.

TSV has a header line, which comes with the first row so that an error before it leaves nothing, LF
line ends, and the escapes \t \n \r \\ inside fields; None is an empty field. JSONL is strict JSON:
numbers that JSON lacks are the strings "inf", "-inf" and "nan". In both, a float has its shortest
form of at most 10 significant digits.

What is passed on beside a row (the other columns of a table that was read) stands after its own
columns, as it is. A name that is one of these already gets `input_` before it. In TSV the first row
decides which columns there are.

A file appears under its name when it is complete; before that, and after an error, there is
nothing but what was there already. Pipes and devices are written to directly.
"""

from __future__ import annotations

import gzip
import math
import numbers
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import IO, Self, cast, get_args

from lmfst.ground.atomic import AtomicFile, write_hint
from lmfst.ground.errors import InputError, UsageError
from lmfst.ground.types import RowFormat
from lmfst.io.json_text import Number, dumps
from lmfst.io.stdout import Stdout

PASSED = "input_"
"""What comes before the name of a column that is passed on where lmfst has one of that name."""

ESCAPED = {"\\t": "\t", "\\n": "\n", "\\r": "\r", "\\\\": "\\"}
"""The escapes of TSV, and what each stands for."""
ESCAPES = str.maketrans({plain: escape for escape, plain in ESCAPED.items()})


def open_rows(
    path: str | None,
    fmt: RowFormat,
    columns: Sequence[str],
    *,
    escaped: Sequence[str] = (),
    warn: Callable[[str], None] = warnings.warn,
) -> RowWriter:
    """A writer of rows with the given `columns` to `path`; None or `-` is the standard output.

    escaped: columns whose text is one line with escapes of its own already. warn: takes one message
    for each column passed on that gets another name, or none.
    A path that ends in .gz is compressed. Raises UsageError for an unknown format, InputError for a
    place that can't be written to, there and then or later (a full disk).
    """
    if fmt not in (known := get_args(RowFormat)):
        raise UsageError(f"expected the format {' or '.join(known)}, found {fmt!r}")
    sink = Stdout() if path is None or path == "-" else _place(path)
    return RowWriter(sink, fmt, columns, escaped, warn)


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


class RowWriter:
    """Writes rows in one format; a context manager that keeps nothing of a failed run.

    In a `with` block, leaving by an exception discards the file, else `close` completes it.
    """

    def __init__(
        self,
        sink: Stdout | _File,
        fmt: RowFormat,
        columns: Sequence[str],
        escaped: Sequence[str] = (),
        warn: Callable[[str], None] = warnings.warn,
    ) -> None:
        self._sink = sink
        self._columns = tuple(columns)
        self._allowed = frozenset(columns)
        self._escaped = frozenset(escaped)
        self._tsv = fmt == "tsv"
        self._begun = not self._tsv
        self._warn, self._warned = warn, set[str]()
        self._passed: dict[str, str] = {}

    def write(self, row: Mapping[str, object], passed: Mapping[str, object] | None = None) -> None:
        """Write one row, and what is passed on beside it; columns it lacks are empty. UsageError if
        it has others."""
        passed = passed or {}
        if not row.keys() <= self._allowed:
            extra = sorted(row.keys() - self._allowed)
            raise UsageError(f"expected a row of {list(self._columns)}, found {extra} too")
        values = [row.get(name) for name in self._columns]
        if passed.keys() != self._passed.keys():
            self._pass(passed)
        self._begin()
        if self._tsv:
            beside = [_passed_field(passed.get(name)) for name in self._passed]
            self._put("\t".join([*map(self._text, self._columns, values), *beside]))
        else:
            record = {name: _json(v) for name, v in zip(self._columns, values, strict=True)}
            beside_it = {self._passed[name]: exact(value) for name, value in passed.items()}
            self._put(dumps(record | beside_it))

    def _pass(self, passed: Mapping[str, object]) -> None:
        """Decide on the columns for what is passed on, as far as that is open."""
        if self._tsv and self._begun:
            for name in passed.keys() - self._passed.keys():
                self._say(
                    f"column {name!r} is left out: the first row, which decides on the columns of "
                    "TSV, has none of that name (--format jsonl keeps it)"
                )
            return
        self._passed = names_beside(self._columns, list(passed))
        for name, new in self._passed.items():
            if name != new:
                self._say(f"column {name!r} of the input is called {new!r} in the output")

    def _say(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            self._warn(message)

    def _begin(self) -> None:
        """The header, before the first row or at the end of none."""
        if not self._begun:
            self._begun = True
            names = [*self._columns, *self._passed.values()]
            self._put("\t".join(name.translate(ESCAPES) for name in names))

    def _text(self, column: str, value: object) -> str:
        if column in self._escaped and isinstance(value, str):
            return value
        return _field(value)

    def flush(self) -> None:
        """Hand on what was written so far, where someone may be reading: a pipe or terminal."""
        self._sink.flush()

    def close(self) -> None:
        """Complete the output; a file gets its name now. A second call does nothing."""
        try:
            self._begin()
        except BaseException:
            self.discard()
            raise
        self._sink.close()

    def discard(self) -> None:
        """Give the output up: no file appears."""
        self._begun = True
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

    def _put(self, line: str) -> None:
        # Lone surrogates stand for undecodable bytes of file names; they must not end a run.
        self._sink.write(line.encode("utf-8", "backslashreplace") + b"\n")


class _File:
    """Rows in a file, perhaps compressed, that appears when it is complete."""

    def __init__(self, file: AtomicFile, packed: bool) -> None:
        self._file = file
        self._packer: gzip.GzipFile | None = None
        if packed:
            # No name and time inside: the same rows give the same file.
            self._packer = gzip.GzipFile("", "wb", fileobj=file.raw, mtime=0)
        self._stream = file.raw if self._packer is None else cast(IO[bytes], self._packer)

    def write(self, line: bytes) -> None:
        with self._named():
            self._stream.write(line)

    def flush(self) -> None:
        # Nobody reads a temporary file, and flushing spoils compression.
        if self._file.direct:
            with self._named():
                self._stream.flush()

    @contextmanager
    def _named(self) -> Iterator[None]:
        """An error of the system, but for a reader that has gone, says which file it is about."""
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            raise InputError(
                f"{self._file.path}: can't be written: {error.strerror or error}",
                hint=write_hint(error),
            ) from error

    def close(self) -> None:
        if self._file.raw.closed:
            return
        try:
            with self._named():
                if self._packer is not None:
                    self._packer.close()
                self._file.complete()
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        self._file.discard()


def _place(path: str) -> _File:
    """Open `path` for writing: a temporary file beside it, or itself if it is a pipe or device."""
    try:
        if os.path.isdir(os.path.realpath(path)):
            raise IsADirectoryError(None, "it is a directory")
        return _File(AtomicFile(path), path.endswith(".gz"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{path}: expected a place to write to: {reason}",
            hint=write_hint(error),
        ) from None


def _field(value: object) -> str:
    """One TSV field."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.translate(ESCAPES)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, numbers.Integral):
        return str(int(value))
    if isinstance(value, numbers.Real):
        return _float(float(value))
    return dumps(_json(value)).translate(ESCAPES)


def _float(value: float) -> str:
    # Adding 0.0 turns -0.0 into 0.0.
    return f"{value + 0.0:.10g}"


def _json(value: object) -> object:
    """`value` made of what strict JSON has; TypeError for what is no number, text or container."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        text = _float(float(value))
        return float(text) if math.isfinite(value) else text
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_json(item) for item in value]
    raise TypeError(f"expected text, a number, a list or a mapping, found {type(value).__name__}")


def exact(value: object) -> object:
    """A value as it was read, of JSON or of a table: no digit of a number goes."""
    if isinstance(value, float):
        return value if math.isfinite(value) or isinstance(value, Number) else _float(value)
    if isinstance(value, dict):
        return {key: exact(item) for key, item in value.items()}
    return [exact(item) for item in value] if isinstance(value, list) else value


def _passed_field(value: object) -> str:
    """One TSV field of what is passed on."""
    value = exact(value)
    if value is None:
        return ""
    return (value if isinstance(value, str) else dumps(value)).translate(ESCAPES)
