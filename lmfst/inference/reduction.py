"""Blocks of LM rows reduced to sums of probabilities over pieces (`lmfst.inference.plans`).

For each row: the sum, in float64, of the probabilities of the tokens of each piece of its plan, and
the log-probabilities of its children. On a CPU a kernel reads what is needed of the block's memory;
elsewhere torch gathers the tokens of all rows and pieces at once, in the order of the lexicons, and
what comes of it crosses to the host in one transfer. Both add up the same terms and differ by
rounding only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lmfst.ground.arrays import Floats, Int, Ints, ragged
from lmfst.ground.kernels import compiled, kernel
from lmfst.ground.threads import in_parts
from lmfst.inference.exponential import add_up, exponentiate
from lmfst.inference.normaliser import Normaliser, check, transposed
from lmfst.inference.plans import PlanTable
from lmfst.inference.row_plan import PIECE

if TYPE_CHECKING:
    import torch

_STRIP = 64
"""Rows whose pieces are added up together: their probabilities stay in a processor's cache."""
_PIECES = 1 << 16
"""Pieces that a device adds up at a time."""


class Reduced(NamedTuple):
    """What a block of n rows gives, float64, row by row: sums over all pieces of each one's plan;
    child_logp of all children; removed [n], the nats by which leaving out the specials raised
    it."""

    sums: Floats
    child_logp: Floats
    removed: Floats


class Reduction:
    """Reduces the rows of a request, a block at a time.

    table: its plans. on_host: whether a kernel does it; default: where the rows lie on the host.
    """

    def __init__(
        self, table: PlanTable, normalise: Normaliser, on_host: bool | None = None
    ) -> None:
        self._table, self._normalise, self._on_host = table, normalise, on_host
        self._tokens: torch.Tensor | None = None

    def __call__(self, rows: torch.Tensor, plan: Ints) -> Reduced:
        """rows: [n, vocabulary] logits or log-probabilities, which are overwritten outside the
        support. plan: int64 [n]. ModelError for rows that are no distributions."""
        lse, removed = self._normalise.unchecked(rows)
        on_host = self._on_host
        if on_host is None:
            on_host = rows.device.type == "cpu" and compiled()
        if on_host:
            logs = lse.numpy()
            lost = removed.numpy()
            check(logs, lost)
            sums, child_logp = self._by_kernel(rows, logs, plan)
            return Reduced(sums, child_logp, lost)
        return self._by_torch(rows, lse, removed, plan)

    def _by_kernel(self, rows: torch.Tensor, lse: Floats, plan: Ints) -> tuple[Floats, Floats]:
        table = self._table
        pieces = np.append(0, np.cumsum(table.piece_count[plan]))
        children = np.append(0, np.cumsum(table.child_count[plan]))
        sums, child_logp, columns = np.empty(pieces[-1]), np.empty(children[-1]), transposed(rows)

        def reduce(first: int, last: int) -> None:
            own = sums[pieces[first] : pieces[last]]
            of_children = child_logp[children[first] : children[last]]
            reduce_block(columns, lse, table, plan, first, last, own, of_children)

        in_parts(len(plan), rows.shape[1], reduce)
        return sums, child_logp

    def _by_torch(
        self, rows: torch.Tensor, lse: torch.Tensor, removed: torch.Tensor, plan: Ints
    ) -> Reduced:
        import torch

        table, device = self._table, rows.device
        if self._tokens is None:
            self._tokens = _sent(table.tokens, device)
        piece, owner = ragged(table.piece_first[plan], table.piece_count[plan])
        child, parent = ragged(table.child_first[plan], table.child_count[plan])
        begin = table.range_first[table.range[plan]][owner] + table.piece_begin[piece]
        parts = (begin, table.piece_size[piece], owner, table.child_token[child], parent)
        index = _sent(np.concatenate(parts), device)
        starts, sizes, owners, tokens, parents = index.split([len(part) for part in parts])
        sums = [
            self._piece_sums(rows, lse, *some)
            for some in zip(*(x.split(_PIECES) for x in (starts, sizes, owners)), strict=True)
        ]
        child_logp = rows[parents, tokens].double() - lse[parents]
        found = torch.cat([*sums, child_logp, removed, lse]).cpu().numpy()
        ends = np.cumsum([len(piece), len(child), len(removed)])
        sum_part, child_part, removed_part, logs = np.split(found, ends)
        check(logs, removed_part)
        return Reduced(sum_part, child_part, removed_part)

    def _piece_sums(
        self,
        rows: torch.Tensor,
        lse: torch.Tensor,
        starts: torch.Tensor,
        sizes: torch.Tensor,
        owners: torch.Tensor,
    ) -> torch.Tensor:
        """Sums over pieces, each of which is laid out as if it had `PIECE` tokens."""
        import torch

        assert self._tokens is not None
        if not len(starts):
            return lse.new_zeros(0)
        step = torch.arange(PIECE, device=rows.device)
        last = len(self._tokens) - 1
        tokens = self._tokens[(starts[:, None] + step).clamp_(max=last)].long()
        terms = rows[owners[:, None], tokens].double().sub_(lse[owners][:, None]).exp_()
        return terms.masked_fill_(step >= sizes[:, None], 0.0).sum(dim=1)


def _sent(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """An array on a device, without waiting for what the device is doing."""
    import torch

    if device.type == "cuda":
        return torch.from_numpy(array).pin_memory().to(device, non_blocking=True)
    return torch.from_numpy(array).to(device)


@kernel
def piece_sum(terms: Floats, first: Int, end: Int, step: Int) -> Any:
    """The sum of terms[first:end:step], in four parts, which a processor adds up side by side."""
    a: Any = 0.0
    b: Any = 0.0
    c: Any = 0.0
    d: Any = 0.0
    i = first
    while i + 3 * step < end:
        a += terms[i]
        b += terms[i + step]
        c += terms[i + 2 * step]
        d += terms[i + 3 * step]
        i += 4 * step
    while i < end:
        a += terms[i]
        i += step
    return (a + b) + (c + d)


@kernel
def reduce_strip(
    rows: Floats,
    lse: Floats,
    table: PlanTable,
    plan: Ints,
    first: Int,
    last: Int,
    at: Int,
    sums: Floats,
    terms: Floats,
) -> Int:
    """Fill in the sums over pieces of the rows first … last - 1, whose plans have one range of
    tokens, from sums[at] on. Returns where the sums of the next row begin."""
    here = table.range[plan[first]]
    width: Int = last - first
    count: Int = table.range_count[here]
    # Of each row: its piece that comes next, where its pieces end, and what to add for its place.
    piece, end, shift = np.empty((3, width), np.int64)
    totals, own = np.empty(width, np.float64), lse[first:last]
    for i in range(width):
        begin = table.piece_first[plan[first + i]]
        piece[i], shift[i] = begin, at - begin
        end[i] = begin + table.piece_count[plan[first + i]]
        at += end[i] - begin
    for low in range(0, count, PIECE):
        size: Int = min(PIECE, count - low)
        for j in range(size):
            token = table.tokens[table.range_first[here] + low + j]
            row, to = rows[token, first:last], terms[j * width : (j + 1) * width]
            for i in range(width):
                to[i] = row[i] - own[i]
        exponentiate(terms, size * width)
        add_up(terms, size, totals)
        for i in range(width):
            while piece[i] < end[i] and table.piece_begin[piece[i]] < low + size:
                if table.piece_size[piece[i]] == size:
                    mass = totals[i]
                else:
                    begin = (table.piece_begin[piece[i]] - low) * width + i
                    stop = begin + table.piece_size[piece[i]] * width
                    mass = piece_sum(terms, begin, stop, width)
                sums[shift[i] + piece[i]] = mass
                piece[i] += 1
    return at


@kernel
def reduce_block(
    rows: Floats,
    lse: Floats,
    table: PlanTable,
    plan: Ints,
    begin: Int,
    end: Int,
    sums: Floats,
    child_logp: Floats,
) -> None:
    """Fill in the sums over pieces and the children's log-probabilities of the rows begin … end -
    1, row by row. rows: [vocabulary, n], contiguous. lse: float64 [n]. plan: int64 [n]."""
    terms = np.empty(min(_STRIP, end - begin) * PIECE, np.float64)
    first: Int = begin
    at: Int = np.int64(0)
    child = 0
    while first < end:
        most: Int = min(first + _STRIP, end)
        last = first + 1
        while last < most and table.range[plan[last]] == table.range[plan[first]]:
            last += 1
        at = reduce_strip(rows, lse, table, plan, first, last, at, sums, terms)
        first = last
    for row in range(begin, end):
        own = table.child_first[plan[row]]
        for i in range(own, own + table.child_count[plan[row]]):
            child_logp[child] = rows[table.child_token[i], row] - lse[row]
            child += 1
