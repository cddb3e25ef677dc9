"""What is noted of the hypotheses that are kept, besides the sums over them."""

from __future__ import annotations

import numpy as np

from lmfst.fst.sequential import END
from lmfst.ground.arrays import Floats, Ints, ragged
from lmfst.inference.frontier import Hypotheses
from lmfst.inference.query import Layout
from lmfst.inference.row_table import RowTable


class Account:
    """What is noted of the hypotheses that were kept.

    rows: int64 [queries], removed: float64 [queries], see `Propagated`. canonical: float64
    [queries], NaN while it isn't known. splits: (position, symbol, logp) of next symbols.
    """

    def __init__(self, layout: Layout, merges: bool) -> None:
        """merges: whether hypotheses add up, so that none is that of a source's own tokens."""
        self._layout = layout
        self.rows = np.zeros(len(layout), dtype=np.int64)
        self.removed = np.zeros(len(layout))
        self.canonical = np.full(len(layout), np.nan)
        self.splits: list[tuple[Ints, Ints, Floats]] = []
        # Where all of the source's own tokens are known, and the end is asked for.
        self._canonical = np.array(
            [
                query.source is not None
                and query.source.is_canonical
                and query.target[-1:] == (END,)
                and not merges
                for query in layout.queries
            ]
        )

    def count(
        self, chosen: Hypotheses, log_prefix: Floats, ended: Ints, table: RowTable, rows: Ints
    ) -> None:
        """Note what hypotheses cost, what leaving out the specials did to them, and where the own
        tokens of a source have come to the end.

        log_prefix: float64 [hypotheses], of what each has emitted. ended: which have read all of
        their source's own tokens, int64. rows: theirs in the table.
        """
        layout = self._layout
        documents = layout.document[chosen.position]
        np.add.at(self.rows, documents, 1)
        share = np.exp(np.minimum(0.0, chosen.logw - log_prefix))
        np.add.at(self.removed, documents, share * table.removed[rows])
        for i in ended[self._canonical[documents[ended]]].tolist():
            # The hypothesis covers the whole target where its next token is an end.
            count = table.cover_count[rows[i]]
            document = documents[i]
            if chosen.position[i] + count == layout.base[document] + layout.sizes[document]:
                last = table.cover_first[rows[i]] + count - 1
                self.canonical[document] = chosen.logw[i] + table.cover_logp[last]
        if table.symbol_count[rows].any():
            flat, owner = ragged(table.symbol_first[rows], table.symbol_count[rows])
            self.splits.append(
                (
                    table.symbol_position[flat],
                    table.symbol[flat],
                    chosen.logw[owner] + table.symbol_logp[flat],
                )
            )
