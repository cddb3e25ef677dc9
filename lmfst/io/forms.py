"""Forms of files, told by their names: `.jsonl`, `.csv.gz`, `.txt.zst`."""

from __future__ import annotations

from lmfst.ground.document import Form

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
