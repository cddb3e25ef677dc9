"""Documents in, rows out: text, JSONL, tables, FASTA and Parquet, plain or packed.

Not here: what the columns of rows mean (`lmfst.scored`), FST files (`lmfst.fst`), and models' files
(`lmfst.lm`).
"""

from __future__ import annotations

from lmfst.ground.document import Document, Rejected
from lmfst.io.apart import require_apart
from lmfst.io.arrivals import Arrivals
from lmfst.io.corpus_files import corpus_files, require_different
from lmfst.io.documents import MAX_BYTES, read_corpus, read_documents
from lmfst.io.forms import row_format
from lmfst.io.outputs import Output, OutputWriter
from lmfst.io.rows import RowWriter, open_rows, rows_to
from lmfst.io.stdout import Stdout

__all__ = [
    "MAX_BYTES",
    "Arrivals",
    "Document",
    "Output",
    "OutputWriter",
    "Rejected",
    "RowWriter",
    "Stdout",
    "corpus_files",
    "open_rows",
    "read_corpus",
    "read_documents",
    "require_apart",
    "require_different",
    "row_format",
    "rows_to",
]
