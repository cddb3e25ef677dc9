"""Jobs: corpora scored in shards by several processes, which go on where they were interrupted.

Not here: how a file is read and a row written (`lmfst.io`), how a document is scored
(`lmfst.model`), and what the user sees of it (`lmfst.cli`). Jobs get these as functions.
"""

from __future__ import annotations

from lmfst.corpus.disk import Place
from lmfst.corpus.job import Job, Outcome, run_job
from lmfst.corpus.pool import may_have_gpu, visible_gpus
from lmfst.corpus.progress import JsonLog, Progress, Watch
from lmfst.corpus.records import Corpus, Result, RowSink, Scorer

__all__ = [
    "Corpus",
    "Job",
    "JsonLog",
    "Outcome",
    "Place",
    "Progress",
    "Result",
    "RowSink",
    "Scorer",
    "Watch",
    "may_have_gpu",
    "run_job",
    "visible_gpus",
]
