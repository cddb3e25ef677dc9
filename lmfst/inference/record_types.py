"""The records that kernels work on: documents, positions, rows, their children."""

from __future__ import annotations

import numpy as np

DOCUMENTS = np.dtype(
    [
        ("begin", np.int64),
        ("symbols", np.int64),
        ("last", np.int64),
        ("prompt", np.int64),
        ("offset", np.int64),
        ("wave", np.int64),
        ("log_threshold", np.float64),
        ("survives", np.float64),
        ("top", np.int64),
        ("at", np.int64),
        ("rows", np.int64),
        ("removed", np.float64),
        ("canonical", np.float64),
        ("has_canonical", np.bool_),
        ("waits", np.bool_),
        ("alone", np.bool_),
    ]
)
"""A document: where it lies and ends (`lmfst.inference.query.Layout`), how far it has come
(`lmfst.inference.sums.Sums`), its trunk, what is noted of it, and whether its hypotheses are
decided by the symbols before them alone (`lmfst.inference.wave.decide`)."""
POSITIONS = np.dtype(
    [
        ("document", np.int64),
        ("ahead", np.int64),
        ("log_prefix", np.float64),
        ("log_dropped", np.float64),
        ("log_crowded", np.float64),
        ("best", np.float64),
    ]
)
"""A position: where it is (`lmfst.inference.query.Layout`), and the sums there
(`lmfst.inference.sums.Sums`)."""
ROWS = np.dtype(
    [
        ("state", np.int64),
        ("lexicon", np.int64),
        ("token", np.int64),
        ("removed", np.float64),
        ("cover_first", np.int64),
        ("cover_count", np.int64),
        ("child_first", np.int64),
        ("child_count", np.int64),
        ("symbol_count", np.int64),
        ("age", np.int64),
        ("next", np.int64),
        ("source", np.int64),
    ]
)
"""A reduced row (`lmfst.inference.row_table.RowTable`), and what is known of its hypothesis
(`lmfst.inference.evaluated.Evaluated`)."""
ENTRIES = np.dtype(
    [
        ("token", np.int64),
        ("lexicon", np.int64),
        ("position", np.int64),
        ("logp", np.float64),
        ("row", np.int64),
        ("owner", np.int64),
        ("lacking", np.int64),
    ]
)
"""A child of a row: its token, lexicon state and position after it, and log-probability there; its
own row, the row that it is a child of, and its number among the lacking."""
KEPT = np.dtype([("row", np.int64), ("logw", np.float64)])
"""A kept hypothesis whose next symbols are asked for."""
