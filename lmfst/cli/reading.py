"""The documents that a command line names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

from lmfst.cli.mistakes import not_a_document
from lmfst.cli.terminal import Terminal
from lmfst.io import Document, read_documents


def documents(paths: Sequence[str], doc: str, terminal: Terminal) -> Iterator[Document]:
    """The documents of several files; ids carry the file's name where there are several."""
    for path in paths:
        if said := not_a_document(path):
            terminal.warn(said)
        for document in read_documents(path, doc=cast(Any, doc), warn=terminal.warn):
            if len(paths) > 1:
                yield replace(document, id=f"{path}:{document.id}")
            else:
                yield document
