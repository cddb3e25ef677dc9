"""The rows of a batch as the session gives them, reduced into a table."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lmfst.ground.arrays import Ints
from lmfst.inference.normaliser import Normaliser
from lmfst.inference.plans import Plans
from lmfst.inference.query import Layout
from lmfst.inference.reduction import Reduction
from lmfst.inference.row_table import RowTable
from lmfst.lexicon import Lexicons
from lmfst.lm.base import Session


class Rows:
    """Asks the session for rows and keeps what they have to give. asked: how many there were."""

    def __init__(
        self, layout: Layout, lexicons: Lexicons, session: Session, normalise: Normaliser
    ) -> None:
        self.table = RowTable()
        self.asked = 0
        self._plans = Plans(layout, lexicons)
        self._alone = any(query.alone for query in layout.queries)
        self._shared, self._session, self._normalise = layout.shared, session, normalise

    def read(self, states: Ints, lexicon: Ints, position: Ints) -> None:
        """Add the rows [n] of LM states, read in lexicon states at positions of the batch, to the
        table, in this order."""
        self.ask(states, lexicon, position)()

    def ask(self, states: Ints, lexicon: Ints, position: Ints) -> Callable[[], None]:
        """Ask for rows, as `read` does; what is returned adds them to the table, before the next
        ones are asked for. Until then a device goes on by itself. The session is asked for those
        with a range of tokens in common one after the other."""
        self.asked += len(states)
        # Where hypotheses with equal futures add up, what is cut off would add up others, too.
        whole = self._alone and self._session.merges
        cut = lexicon if whole else self._plans.cut(lexicon, position)
        plans, plan = self._plans.make(cut, self._shared[position])
        order = np.lexsort((plan, plans.range[plan]))
        reduction = Reduction(plans, plan[order], self._normalise, self._session.outbox)
        for block, rows in self._session.rows(states[order]):
            reduction.add(rows, block)
        if not len(states):
            return lambda: None
        reduced = reduction.end()

        def add() -> None:
            self.table.read(states, lexicon, position, plans, plan, reduced(), order)

        return add
