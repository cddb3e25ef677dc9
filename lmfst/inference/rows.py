"""The rows of a batch as the session gives them, reduced into a table."""

from __future__ import annotations

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
        self._shared, self._session, self._normalise = layout.shared, session, normalise

    def read(self, states: Ints, lexicon: Ints, position: Ints) -> None:
        """Add the rows [n] of LM states, read in lexicon states at positions of the batch, in this
        order. Rows whose ranges of tokens are equal are read faster side by side: sort them by
        (lexicon state, symbol that comes next, shared position)."""
        self.asked += len(states)
        lexicon, position = np.ascontiguousarray(lexicon), np.ascontiguousarray(position)
        plans, plan = self._plans.make(lexicon, self._shared[position])
        reduce = Reduction(plans, self._normalise)
        for block, rows in self._session.rows(states):
            reduced = reduce(rows, plan[block])
            self.table.read(
                states[block], lexicon[block], position[block], plans, plan[block], reduced
            )
