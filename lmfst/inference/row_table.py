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

_ROW = ("state", "lexicon", "position", "removed")
_LISTS = {
    "cover": ("cover_logp",),
    "child": ("child_token", "child_next", "child_position", "child_logp"),
    "symbol": ("symbol", "symbol_position", "symbol_logp"),
}
_FLOATS = ("removed", "cover_logp", "child_logp", "symbol_logp")


class Lists(NamedTuple):
    """What `fill_lists` fills: the lists of a block's rows, one after the other. Masses are not
    logarithms yet."""

    cover: Floats
    child_token: Ints
    child_next: Ints
    child_position: Ints
    symbol: Ints
    symbol_position: Ints
    symbol_mass: Floats


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
    ) -> None:
        """Add a block of rows: LM states, lexicon states, positions and plans, int64 [n]."""
        for name, values in zip(_ROW, (states, lexicon, position, reduced.removed), strict=True):
            self._more(name, len(plan))[:] = values
        new: dict[str, np.ndarray] = {}
        counts = (plans.depth[plan], plans.child_count[plan], plans.slot_count[plan])
        for (kind, names), count in zip(_LISTS.items(), counts, strict=True):
            ends = np.cumsum(count)
            begin = len(getattr(self, f"{kind}_logp"))
            self._more(f"{kind}_first", len(plan))[:] = begin + ends - count
            self._more(f"{kind}_count", len(plan))[:] = count
            for name in names:
                new[name] = self._more(name, int(ends[-1]) if len(ends) else 0)
        new["child_logp"][:] = reduced.child_logp
        masses = [name for name in new if name != "child_logp"]
        fill_lists(plans, plan, position, reduced.sums, Lists(*(new[name] for name in masses)))
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


@kernel
def fill_lists(plans: PlanTable, plan: Ints, position: Ints, sums: Floats, lists: Lists) -> None:
    """Fill in the lists of rows from the sums over their plans' pieces, row by row."""
    piece, cover, child, symbol = 0, 0, 0, 0
    for row in range(len(plan)):
        own, here = plan[row], position[row]
        first, count, depth = plans.piece_first[own], plans.piece_count[own], plans.depth[own]
        lists.cover[cover : cover + depth] = 0.0
        for i in range(count):
            if plans.piece_depth[first + i]:
                lists.cover[cover + plans.piece_depth[first + i] - 1] += sums[piece + i]
        for i in range(cover + depth - 2, cover - 1, -1):
            lists.cover[i] += lists.cover[i + 1]
        begin = plans.slot_first[own]
        for slot in range(begin, begin + plans.slot_count[own]):
            mass, at = 0.0, piece + plans.slot_piece[slot] - first
            for i in range(at, at + plans.slot_pieces[slot]):
                mass += sums[i]
            lists.symbol[symbol], lists.symbol_mass[symbol] = plans.slot_symbol[slot], mass
            lists.symbol_position[symbol] = here + plans.slot_depth[slot]
            symbol += 1
        begin = plans.child_first[own]
        for i in range(begin, begin + plans.child_count[own]):
            lists.child_token[child], lists.child_next[child] = (
                plans.child_token[i],
                plans.child_next[i],
            )
            lists.child_position[child] = here + plans.child_depth[i]
            child += 1
        piece += count
        cover += depth
