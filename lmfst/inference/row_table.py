"""The table of reduced rows: the few numbers of each that propagation needs.

A row has the vocabulary's size; what is kept of it is the log mass of every prefix of the target
that its next token covers, the log-probabilities of the tokens that make child hypotheses, and
those of next symbols where a distribution is asked for (`lmfst.inference.row_plan`). Prefixes are
nested: their masses are added up from the longest to the shortest. Segments are sums of
non-negative terms: |Δ log| stays below 1e-6 however improbable they are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lmfst.ground.arrays import Floats, Ints
from lmfst.ground.kernels import kernel
from lmfst.inference.plans import PlanTable
from lmfst.inference.reduction import Reduced

_ROW = ("state", "lexicon", "position")
_LISTS = {
    "cover": ("cover_logp",),
    "child": ("child_token", "child_next", "child_position", "child_logp"),
    "symbol": ("symbol", "symbol_position", "symbol_logp"),
}
_FLOATS = ("removed", "cover_logp", "child_logp", "symbol_logp")


class Lists(NamedTuple):
    """What `fill_lists` fills: the lists of a block's rows, one after the other. Masses are not
    logarithms yet."""

    cover_logp: Floats
    child_token: Ints
    child_next: Ints
    child_position: Ints
    child_logp: Floats
    symbol: Ints
    symbol_position: Ints
    symbol_logp: Floats


class RowTable:
    """Reduced rows, numbered as they come. Positions are those of the batch, see
    `lmfst.inference.query`.

    Per row: `state` (LM state), `lexicon`, `position`, `removed` (nats by which leaving out the
    specials raised the row), and three lists, row i having entries first[i] … first[i] + count[i]:
    covers: log mass of the next token covering position + 1, position + 2, …
    children: `child_logp` of a token that is read up to `child_position`, `child_token`,
    `child_next` the lexicon state after it.
    symbols: `symbol_logp` of the `symbol` that is next at `symbol_position`.
    """

    state: Ints
    lexicon: Ints
    position: Ints
    removed: Floats
    cover_first: Ints
    cover_count: Ints
    cover_logp: Floats
    child_first: Ints
    child_count: Ints
    child_token: Ints
    child_next: Ints
    child_position: Ints
    child_logp: Floats
    symbol_first: Ints
    symbol_count: Ints
    symbol: Ints
    symbol_position: Ints
    symbol_logp: Floats

    def __init__(self) -> None:
        self._store: dict[str, Any] = {
            name: np.zeros(256, np.float64 if name in _FLOATS else np.int64)
            for name in _names(RowTable)
        }
        self.clear()

    def clear(self) -> None:
        """Forget all rows."""
        for name, array in self._store.items():
            setattr(self, name, array[:0])

    def __len__(self) -> int:
        return len(self.state)

    def read(
        self,
        states: Ints,
        lexicon: Ints,
        position: Ints,
        plans: PlanTable,
        plan: Ints,
        reduced: Reduced,
        order: Ints,
    ) -> None:
        """Add rows: LM states, lexicon states, positions and plans, int64 [n]. order: int64 [n];
        what was reduced is that of rows order[0], order[1], …"""
        for name, values in zip(_ROW, (states, lexicon, position), strict=True):
            self._more(name, len(plan))[:] = values
        self._more("removed", len(plan))[order] = reduced.removed
        places = (_places(plans.piece_count, plan, order), _places(plans.child_count, plan, order))
        new: dict[str, np.ndarray] = {}
        counts = (plans.depth[plan], plans.child_count[plan], plans.slot_count[plan])
        for (kind, names), count in zip(_LISTS.items(), counts, strict=True):
            ends = np.cumsum(count)
            begin = len(getattr(self, f"{kind}_logp"))
            self._more(f"{kind}_first", len(plan))[:] = begin + ends - count
            self._more(f"{kind}_count", len(plan))[:] = count
            for name in names:
                new[name] = self._more(name, int(ends[-1]) if len(ends) else 0)
        fill_lists(plans, plan, position, reduced, *places, Lists(**new))
        with np.errstate(divide="ignore"):
            for name in ("cover_logp", "symbol_logp"):
                np.log(new[name], out=new[name])

    def _more(self, name: str, count: int) -> Any:
        """The next entries of a column, to be filled."""
        size, store = len(getattr(self, name)), self._store[name]
        end = size + count
        if end > len(store):
            self._store[name] = np.zeros(2 * end, store.dtype)
            self._store[name][:size] = store[:size]
            store = self._store[name]
        setattr(self, name, store[:end])
        return store[size:end]


def _names(table: type) -> list[str]:
    return list(table.__annotations__)


def _places(counts: Ints, plan: Ints, order: Ints) -> Ints:
    """Where the lists of rows begin, which follow each other in some order. counts: of plans."""
    sizes = counts[plan[order]]
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.cumsum(sizes) - sizes
    return places


@kernel
def fill_lists(
    plans: PlanTable,
    plan: Ints,
    position: Ints,
    reduced: Reduced,
    sum_first: Ints,
    logp_first: Ints,
    lists: Lists,
) -> None:
    """Fill in the lists of rows from the sums over their plans' pieces and the log-probabilities of
    their children, which begin at sum_first and logp_first, int64 [n]."""
    cover, child, symbol = 0, 0, 0
    for row in range(len(plan)):
        own, here, piece = plan[row], position[row], sum_first[row]
        first, depth = plans.piece_first[own], plans.depth[own]
        masses = lists.cover_logp[cover : cover + depth]
        masses[:] = 0.0
        for i in range(plans.piece_count[own]):
            if plans.piece_depth[first + i]:
                masses[plans.piece_depth[first + i] - 1] += reduced.sums[piece + i]
        for i in range(depth - 2, -1, -1):
            masses[i] += masses[i + 1]
        begin = plans.slot_first[own]
        for slot in range(begin, begin + plans.slot_count[own]):
            mass, at = 0.0, piece + plans.slot_piece[slot] - first
            for i in range(at, at + plans.slot_pieces[slot]):
                mass += reduced.sums[i]
            lists.symbol[symbol], lists.symbol_logp[symbol] = plans.slot_symbol[slot], mass
            lists.symbol_position[symbol] = here + plans.slot_depth[slot]
            symbol += 1
        begin = plans.child_first[own]
        for i in range(plans.child_count[own]):
            lists.child_token[child] = plans.child_token[begin + i]
            lists.child_next[child] = plans.child_next[begin + i]
            lists.child_position[child] = here + plans.child_depth[begin + i]
            lists.child_logp[child] = reduced.child_logp[logp_first[row] + i]
            child += 1
        cover += depth
