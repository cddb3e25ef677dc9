"""Forms of files, told by their names: `.jsonl`, `.csv.gz`, `.txt.zst`; and formats of rows."""

from __future__ import annotations

from lmfst.ground.document import Form
from lmfst.ground.errors import UsageError
from lmfst.ground.types import RowFormat

SUFFIXES: dict[Form, tuple[str, ...]] = {
    "line": (".txt",),
    "jsonl": (".jsonl", ".ndjson"),
    "csv": (".csv",),
    "tsv": (".tsv",),
    "fasta": (".fa", ".fasta", ".fna", ".ffn", ".faa", ".frn"),
    "parquet": (".parquet",),
}
"""What the names of files of each form end in. Any other name is that of lines of text."""
PACKED = (".gz", ".zst")
"""What may come after that."""
_ROWS: dict[Form, RowFormat] = {"tsv": "tsv", "jsonl": "jsonl", "parquet": "parquet"}
ROW_SUFFIXES = {suffix: rows for form, rows in _ROWS.items() for suffix in SUFFIXES[form]}
"""The format of rows in a file that isn't packed, by the end of its name."""


def known_form(path: str) -> Form | None:
    """The form that the name of a file says; None if it says nothing."""
    inner = path.lower()
    for packed in PACKED:
        inner = inner.removesuffix(packed)
    for form, suffixes in SUFFIXES.items():
        if inner.endswith(suffixes):
            return form
    return None


def form_of(path: str) -> Form:
    """The form of a file by its name; lines of text where it says nothing."""
    return known_form(path) or "line"


def row_format(path: str | None, said: RowFormat | None = None) -> RowFormat:
    """The format of the rows in a file: what was said, or its suffix (`.tsv`, `.jsonl` or
    `.ndjson`, `.parquet`) says, else TSV. path: None for the standard output.

    UsageError where the two contradict each other, for a suffix of files that rows can't be (CSV,
    FASTA) if nothing was said, and for a name that ends in .zst.
    """
    if path is None or path == "-":
        return said or "tsv"
    if path.lower().endswith(".zst"):
        raise UsageError(
            f"-o {path}: expected a name that rows are written under, which are not packed by zstd",
            hint="name the file without .zst, or with .gz in its place",
        )
    form = known_form(path)
    by_name = None if form is None else _ROWS.get(form)
    if said is not None and by_name not in (None, said):
        raise UsageError(
            f"-o {path}: the name is that of {by_name}, and --format says {said}",
            hint="leave --format out, or give the file another name",
        )
    if said is None and by_name is None and form in ("csv", "fasta"):
        raise UsageError(
            f"-o {path}: rows are written as TSV, JSON lines or Parquet, and the name is that of "
            f"{form}",
            hint="name the file .tsv, .jsonl or .parquet, or say what is meant with --format",
        )
    return said or by_name or "tsv"
