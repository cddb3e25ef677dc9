"""The documents that a command line names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from lmfst.cli.terminal import Terminal
from lmfst.errors import InputError
from lmfst.io import Document, read_documents
from lmfst.io.documents import Header


@dataclass(frozen=True)
class Reading:
    """How files are read: see `lmfst.io.read_documents`."""

    doc: str = "auto"
    text_column: str | None = None
    id_column: str | None = None


def documents(
    paths: Sequence[str], reading: Reading, terminal: Terminal, header: Header | None = None
) -> Iterator[Document]:
    """The documents of several files; ids carry the file's name where there are several.

    header: is told the columns of each table.
    """
    for path in paths:
        for document in read_documents(
            path,
            doc=cast(Any, reading.doc),
            text_column=reading.text_column,
            id_column=reading.id_column,
            header=header,
            warn=terminal.warn,
        ):
            if len(paths) > 1:
                yield replace(document, id=f"{path}:{document.id}")
            else:
                yield document


def require_files(paths: Sequence[str]) -> None:
    """Say that a file is missing before anything large is loaded for it."""
    for path in paths:
        if path != "-" and not Path(path).exists():
            raise InputError(
                f"there is no file {path}", hint="give an existing file, or - for stdin"
            )
