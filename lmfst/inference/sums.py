"""How far the propagation of a batch has come."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmfst.ground.arrays import Floats, Ints
from lmfst.inference.account import Account
from lmfst.inference.canonical import ENDED
from lmfst.inference.frontier import Frontier, Records, records
from lmfst.inference.query import Layout
from lmfst.inference.record_types import DOCUMENTS, POSITIONS


class Sums:
    """How far a batch has come: the sums, and the hypotheses that wait.

    documents: `DOCUMENTS`, one a query: offset, whose hypotheses are next; wave: waves taken there;
    log_threshold; survives: log weight of the next hypothesis of the source's own tokens, where
    output may wait for more input, inf where there is none; top: the LM state that the *trunk* has
    come to, the hypothesis that reads the source's own tokens, and at: where its next one is in
    `tokens`, int64. What is noted: rows, removed, canonical (see `Propagated`), which is NaN while
    it isn't known; has_canonical: whether it can be. prompt: see `lmfst.inference.query.Query`.

    positions: `POSITIONS`: log_prefix, log_dropped, log_crowded (what was dropped because of the
    number of hypotheses alone), best (the heaviest that arrived).

    frontier: hypotheses that have arrived at offsets to come. account: what else is noted.
    """

    documents: Records
    positions: Records
    tokens: Ints
    frontier: Frontier
    account: Account

    @classmethod
    def begin(cls, layout: Layout, roots: Sequence[int], trunks: Sequence[Sequence[int]]) -> Sums:
        """At the beginning. roots: LM states; trunks: the tokens of each source, none where there
        is none."""
        sums = cls()
        sizes = np.array([len(own) + 1 for own in trunks], dtype=np.int64)
        sums.tokens = np.array([t for own in trunks for t in (*own, ENDED)], dtype=np.int64)
        sums.documents = records(
            DOCUMENTS,
            len(layout),
            begin=layout.base,
            symbols=layout.sizes,
            last=layout.last,
            prompt=[query.prompt for query in layout.queries],
            log_threshold=-np.inf,
            survives=np.inf,
            top=roots,
            at=np.cumsum(sizes) - sizes,
            canonical=np.nan,
            alone=[query.alone for query in layout.queries],
        )
        nothing = dict.fromkeys(("log_prefix", "log_dropped", "log_crowded", "best"), -np.inf)
        count = len(layout.document)
        sums.positions = records(
            POSITIONS, count, document=layout.document, ahead=layout.ahead, **nothing
        )
        sums.frontier = Frontier(count)
        sums.account = Account(any(query.ends for query in layout.queries))
        return sums

    @property
    def offset(self) -> Ints:
        """int64 [queries]"""
        found: Ints = self.documents["offset"]
        return found

    @property
    def log_prefix(self) -> Floats:
        """float64 [positions]"""
        found: Floats = self.positions["log_prefix"]
        return found

    @property
    def log_dropped(self) -> Floats:
        """float64 [positions]"""
        found: Floats = self.positions["log_dropped"]
        return found

    @property
    def log_crowded(self) -> Floats:
        """float64 [positions]"""
        found: Floats = self.positions["log_crowded"]
        return found

    def copy(self) -> Sums:
        """The same for a speculative run, which changes none of this and notes nothing."""
        other = Sums()
        other.documents, other.positions = self.documents.copy(), self.positions.copy()
        other.tokens, other.account = self.tokens, self.account
        other.frontier = self.frontier.copy()
        return other
