"""How far the propagation of a batch has come."""

from __future__ import annotations

import numpy as np

from lmfst.inference.account import Account
from lmfst.inference.canonical import Trunk
from lmfst.inference.frontier import Agenda


class Sums:
    """How far a batch has come: the sums, and the hypotheses that wait.

    offset: int64 [queries], the offset whose hypotheses are next. wave: int64 [queries], waves
    taken there. log_threshold: float64 [queries]. survives: float64 [queries], log weight of the
    next hypothesis of the source's own tokens, where output may wait for more input; inf where
    there is none. log_prefix, log_dropped, log_crowded (what was dropped because of the number of
    hypotheses alone), best (the heaviest that arrived): float64 [positions]. agenda: hypotheses
    that have arrived at offsets to come. trunk: the sources' own tokens. account: what else is
    noted; None in a speculative run.
    """

    def __init__(self, queries: int, positions: int, trunk: Trunk) -> None:
        self.offset = np.zeros(queries, dtype=np.int64)
        self.wave = np.zeros(queries, dtype=np.int64)
        self.log_threshold = np.full(queries, -np.inf)
        self.log_prefix = np.full(positions, -np.inf)
        self.log_dropped = np.full(positions, -np.inf)
        self.log_crowded = np.full(positions, -np.inf)
        self.best = np.full(positions, -np.inf)
        self.survives = np.full(queries, np.inf)
        self.agenda = Agenda(positions)
        self.trunk = trunk
        self.account: Account | None = None

    @property
    def account_kept(self) -> Account:
        """The account of a run that has one."""
        if self.account is None:
            raise ValueError("a speculative run has no account")
        return self.account

    def copy(self) -> Sums:
        """The same for a speculative run, which changes none of this."""
        other = Sums(0, 0, self.trunk.copy())
        other.offset, other.wave = self.offset.copy(), self.wave.copy()
        other.log_threshold = self.log_threshold
        other.survives = self.survives.copy()
        other.log_prefix, other.log_dropped = self.log_prefix.copy(), self.log_dropped.copy()
        other.best, other.agenda = self.best.copy(), self.agenda.copy()
        return other
