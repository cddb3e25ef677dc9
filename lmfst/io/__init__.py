"""Documents in, rows out: text, JSONL, tables and FASTA, plain or gzip, files or pipes.

Not here: what the columns of rows mean (`lmfst.scored`), FST files (`lmfst.fst`), and models' files
(`lmfst.lm`).
"""

from __future__ import annotations

from lmfst.ground.document import Document
from lmfst.io.documents import read_documents
from lmfst.io.outputs import Output, OutputWriter
from lmfst.io.rows import RowWriter, open_rows
from lmfst.io.stdout import Stdout

__all__ = [
    "Document",
    "Output",
    "OutputWriter",
    "RowWriter",
    "Stdout",
    "open_rows",
    "read_documents",
]
