"""What `lmfst apply` writes: outputs in the form of the file that their inputs are from.

Lines give lines, tables the same table with a column `output`, JSON lines the same objects with
that key, FASTA records with the same headers; rows of Parquet give JSON lines. With all outputs
(`every`) there is a row or object for each, and lines, as FASTA, give lines `id TAB output`, both
with the escapes of TSV; where weights are known they follow.

A document without a result (`reject`) gives an empty line, an empty field or null, so that what
stands beside it keeps its place; in FASTA, and with all outputs, it gives nothing.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lmfst.ground.document import Document, Form
from lmfst.ground.errors import InputError, UsageError
from lmfst.ground.types import Warn
from lmfst.io.json_text import dumps
from lmfst.io.row_values import ESCAPES, exact
from lmfst.io.row_writer import names_beside
from lmfst.io.stdout import Stdout
from lmfst.io.tables import shown

OUTPUT, WEIGHT = "output", "weight"
"""Columns and keys of an output and of its weight."""
WRAP = 60
"""Letters on a line of a FASTA record."""


class Output(NamedTuple):
    """An output, and the weight of its lightest path; None where there are no weights."""

    text: bytes
    weight: float | None = None


class OutputWriter:
    """Writes to the standard output, in the form of the first document.

    every: whether a document has any number of outputs. weighted: whether they have weights. warn:
    takes a message for each column that gets another name, for FASTA records that are empty, and
    for the first output with a line end in it that is to be a line.
    """

    def __init__(self, *, every: bool, weighted: bool, warn: Warn) -> None:
        self._out = Stdout()
        self._every, self._warn = every, warn
        self._own = (OUTPUT, WEIGHT) if every and weighted else (OUTPUT,)
        self._ended = False
        self._form: Form | None = None
        self._columns: list[str] | None = None
        self._names: dict[str, str] = {}

    def header(self, form: Form, columns: Sequence[str]) -> None:
        """Write the header of a table. UsageError for a second table with other columns."""
        self._check(form)
        if self._columns is not None:
            if list(columns) != self._columns:
                raise UsageError(
                    f"files with different columns can't be one table: {_listed(columns)} after "
                    f"{_listed(self._columns)}",
                    hint="apply them one by one",
                )
            return
        self._columns = list(columns)
        self._rename(columns)
        self._row([*self._names.values(), *self._own])
        self._out.flush()

    def write(self, document: Document, outputs: Sequence[Output]) -> None:
        """Write the outputs of a document: one, but under `every`.

        Raises InputError for an output that FASTA can't hold; then nothing is written.
        """
        self._check(document.form)
        for output in outputs:
            self._write(document, output)
        self._out.flush()

    def reject(self, document: Document) -> None:
        """Write what keeps the place of a document without a result."""
        self._check(document.form)
        if not self._every and document.form != "fasta":
            self._write(document, None)
        self._out.flush()

    def _check(self, form: Form) -> None:
        form = "line" if form == "file" else form
        if self._form not in (None, form):
            raise UsageError(
                f"files of different kinds can't be one output: {form} after {self._form}",
                hint="apply them one by one",
            )
        self._form = form

    def _write(self, document: Document, output: Output | None) -> None:
        if document.form in ("csv", "tsv"):
            self._row([*map(str, document.row.values()), *self._fields(output)])
        elif document.form in ("jsonl", "parquet"):
            self._object(document.row, output)
        elif self._every and output is not None:
            line = "\t".join(
                part.translate(ESCAPES) for part in (document.id, *self._fields(output))
            )
            self._out.write((line + "\n").encode("utf-8", "surrogateescape"))
        elif document.form == "fasta" and output is not None:
            self._record(document, output.text)
        else:
            text = b"" if output is None else output.text
            if document.form == "line" and b"\n" in text and not self._ended:
                self._ended = True
                self._warn(
                    f"{document.origin}: the output has line ends in it, so that line n of the "
                    "output is not that of line n of the input from here on (--all escapes them)"
                )
            self._out.write(text + b"\n")

    def _fields(self, output: Output | None) -> list[str]:
        """The fields of lmfst's own columns."""
        if output is None:
            return [""] * len(self._own)
        weight = "" if output.weight is None else f"{_single(output.weight):.10g}"
        text = output.text.decode("utf-8", "surrogateescape")
        return [text, weight][: len(self._own)]

    def _row(self, fields: Sequence[str]) -> None:
        if self._form == "tsv":
            line = "\t".join(field.translate(ESCAPES) for field in fields) + "\n"
        else:
            # The writer puts quotes around those line ends only that are its own.
            held = io.StringIO()
            csv.writer(held, lineterminator="\r\n").writerow(fields)
            line = held.getvalue().removesuffix("\r\n") + "\n"
        self._out.write(line.encode("utf-8", "surrogateescape"))

    def _object(self, row: Mapping[str, object], output: Output | None) -> None:
        self._rename(list(row))
        found: dict[str, object] = {self._names[key]: exact(value) for key, value in row.items()}
        found[OUTPUT] = None if output is None else shown(self._fields(output)[0])
        if WEIGHT in self._own:
            weight = None if output is None else output.weight
            found[WEIGHT] = None if weight is None else exact(_single(weight))
        # Lone surrogates in other keys came as escapes, and go as such.
        line = dumps(found)
        self._out.write(line.encode("utf-8", "backslashreplace") + b"\n")

    def _record(self, document: Document, text: bytes) -> None:
        if text.split() not in ([], [text]) or b">" in text:
            raise InputError(
                "the output has white space or >, which FASTA can't hold in a sequence",
                hint="--all writes lines `id TAB output`",
            )
        if not text:
            self._warn(f"{document.origin}: the output is empty: a record without a sequence")
        header = str(document.row["header"]).encode("utf-8", "surrogateescape")
        lines = [text[at : at + WRAP] for at in range(0, len(text), WRAP)]
        self._out.write(b"\n".join([b">" + header, *lines]) + b"\n")

    def _rename(self, names: Sequence[str]) -> None:
        if list(names) == list(self._names):
            return
        self._names = names_beside(self._own, names)
        for name, new in self._names.items():
            if name != new:
                self._warn(f"column {name!r} of the input is called {new!r} in the output")


def _single(weight: float) -> float:
    """The shortest number that has this one's single precision, which is that of OpenFst; no -0."""
    import numpy as np

    return float(str(np.float32(weight))) + 0.0


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
