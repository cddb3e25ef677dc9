"""The documents that a command line names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from lmfst.cli.mistakes import not_a_document
from lmfst.cli.options import ReadingOptions
from lmfst.cli.terminal import Terminal
from lmfst.io import Arrivals, Document, read_documents
from lmfst.io.documents import Header
from lmfst.io.streams import is_regular


def documents(
    paths: Sequence[str],
    reading: ReadingOptions,
    terminal: Terminal,
    header: Header | None = None,
    arrivals: Arrivals | None = None,
) -> Iterator[Document]:
    """The documents of several files; ids carry the file's name where there are several.

    header: is told the columns of each table. arrivals: is told what is being read.
    """
    for number, path in enumerate(paths, start=1):
        if arrivals is not None:
            arrivals.then_waits = number < len(paths) and not is_regular(paths[number])
        if said := not_a_document(path):
            terminal.warn(said)
        for document in read_documents(
            path,
            doc=reading.doc,
            text_column=reading.text_column,
            id_column=reading.id_column,
            header=header,
            arrivals=arrivals,
            warn=terminal.warn,
        ):
            if len(paths) > 1:
                yield replace(document, id=f"{path}:{document.id}")
            else:
                yield document
