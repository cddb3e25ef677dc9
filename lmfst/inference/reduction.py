"""Blocks of LM rows reduced to sums of probabilities over pieces (`lmfst.inference.plans`).

For each row: the sum, in float64, of the probabilities of the tokens of each piece of its plan, and
the log-probabilities of its children. On a CPU a kernel reads what is needed of the block's memory;
elsewhere torch gathers the tokens of all rows and pieces at once, in the order of the lexicons.
What it needs goes there with the tokens of the model call, and what comes of all blocks crosses to
the host in one transfer, which nothing waits for until it is read. Both add up the same terms and
differ by rounding only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lmfst.ground.arrays import Floats, Int, Ints, ragged
from lmfst.ground.kernels import compiled, kernel
from lmfst.ground.threads import in_parts
from lmfst.inference.exponential import add_up, exponentiate
from lmfst.inference.normaliser import Normaliser, check, transposed
from lmfst.inference.plans import PlanTable
from lmfst.inference.row_plan import PIECE
from lmfst.lm.transfers import Arriving, Outbox, Sent, exactly_placed

if TYPE_CHECKING:
    import torch

_STRIP = 64
"""Rows whose pieces are added up together: their probabilities stay in a processor's cache."""
_PIECES = 1 << 16
"""Pieces that a device adds up at a time."""


class Reduced(NamedTuple):
    """What n rows give, float64, row by row: sums over all pieces of each one's plan;
    child_logp of all children; removed [n], the nats by which leaving out the specials raised
    it."""

    sums: Floats
    child_logp: Floats
    removed: Floats


class Reduction:
    """Reduces the rows of a request, a block at a time.

    table: its plans. plan: int64 [n], that of each row, in the order in which they come. outbox: of
    their device, None for the host. on_host: whether a kernel does it; default: on the host.
    """

    def __init__(
        self,
        table: PlanTable,
        plan: Ints,
        normalise: Normaliser,
        outbox: Outbox | None = None,
        on_host: bool | None = None,
    ) -> None:
        self._table, self._plan, self._normalise = table, plan, normalise
        outbox = outbox or Outbox()
        self._on_host = outbox.device.type == "cpu" and compiled() if on_host is None else on_host
        self._pieces = np.append(0, np.cumsum(table.piece_count[plan]))
        self._children = np.append(0, np.cumsum(table.child_count[plan]))
        self._found: list[Reduced] = []
        self._index = None if self._on_host else _Index.sent(table, plan, outbox)
        self._there: list[_There] = []

    def add(self, rows: torch.Tensor, block: slice) -> None:
        """rows: [n, vocabulary] logits or log-probabilities of the rows of a block, which are
        overwritten outside the support. ModelError for rows that are no distributions, now or in
        `end`."""
        rows = exactly_placed(rows)
        if self._on_host:
            lse, removed = self._normalise.unchecked(rows)
            logs, lost = lse.numpy(), removed.numpy()
            check(logs, lost)
            self._found.append(self._by_kernel(rows, logs, lost, block))
        else:
            self._there.append(self._by_torch(rows, block))

    def end(self) -> Callable[[], Reduced]:
        """What gives the numbers of all rows, once all blocks are there; those of a device are on
        their way."""
        import torch

        if self._on_host:
            found = Reduced(*map(np.concatenate, zip(*self._found, strict=True)))
            return lambda: found
        columns = [torch.cat(column) for column in zip(*self._there, strict=True)]
        sizes = [len(column) for column in columns[:-1]]
        arriving = Arriving(torch.cat(columns))

        def arrived() -> Reduced:
            sums, child_logp, removed, logs = np.split(arriving.get(), np.cumsum(sizes))
            check(logs, removed)
            return Reduced(sums, child_logp, removed)

        return arrived

    def _by_kernel(self, rows: torch.Tensor, lse: Floats, removed: Floats, block: slice) -> Reduced:
        table, plan = self._table, self._plan[block]
        ends = slice(block.start, block.stop + 1)
        pieces = self._pieces[ends] - self._pieces[block.start]
        children = self._children[ends] - self._children[block.start]
        sums, child_logp, columns = np.empty(pieces[-1]), np.empty(children[-1]), transposed(rows)

        def reduce(first: int, last: int) -> None:
            own = sums[pieces[first] : pieces[last]]
            of_children = child_logp[children[first] : children[last]]
            reduce_block(columns, lse, table, plan, first, last, own, of_children)

        in_parts(len(plan), rows.shape[1], reduce)
        return Reduced(sums, child_logp, removed)

    def _by_torch(self, rows: torch.Tensor, block: slice) -> _There:
        import torch

        assert self._index is not None
        lse, removed = self._normalise.unchecked(rows)
        index = self._index.of(block, self._pieces, self._children)
        some = (x.split(_PIECES) for x in (index.starts, index.sizes, index.owners))
        sums = [
            _piece_sums(rows, lse, self._index.tokens.get(), *part)
            for part in zip(*some, strict=True)
        ]
        child_logp = rows[index.parents, index.children].double() - lse[index.parents]
        return _There(torch.cat(sums), child_logp, removed, lse)


class _There(NamedTuple):
    """What a block gives, float64 on its device; `Reduced`, and normalisers [n]."""

    sums: torch.Tensor
    child_logp: torch.Tensor
    removed: torch.Tensor
    lse: torch.Tensor


class _Block(NamedTuple):
    """What the rows of a block are asked for: of pieces, where in the tokens they begin, how many
    they are and which row's; of children, their tokens and whose they are; int64."""

    starts: torch.Tensor
    sizes: torch.Tensor
    owners: torch.Tensor
    children: torch.Tensor
    parents: torch.Tensor


class _Index(NamedTuple):
    """`_Block` of all rows of a request, and the tokens int32 of the plans' ranges."""

    tokens: Sent
    pieces: Sent
    children: Sent

    @classmethod
    def sent(cls, table: PlanTable, plan: Ints, outbox: Outbox) -> _Index:
        """That of a request, on its way to a device."""
        piece, owner = ragged(table.piece_first[plan], table.piece_count[plan])
        child, parent = ragged(table.child_first[plan], table.child_count[plan])
        begin = table.range_first[table.range[plan]][owner] + table.piece_begin[piece]
        return cls(
            # The plans' own memory is used again.
            outbox.put(table.tokens.copy()),
            outbox.put(np.stack((begin, table.piece_size[piece], owner))),
            outbox.put(np.stack((table.child_token[child], parent))),
        )

    def of(self, block: slice, pieces: Ints, children: Ints) -> _Block:
        """That of a block. pieces, children: where those of each row begin."""
        first, last = pieces[block.start], pieces[block.stop]
        starts, sizes, owners = self.pieces.get()[:, first:last].unbind()
        first, last = children[block.start], children[block.stop]
        tokens, parents = self.children.get()[:, first:last].unbind()
        return _Block(starts, sizes, owners - block.start, tokens, parents - block.start)


def _piece_sums(
    rows: torch.Tensor,
    lse: torch.Tensor,
    tokens: torch.Tensor,
    starts: torch.Tensor,
    sizes: torch.Tensor,
    owners: torch.Tensor,
) -> torch.Tensor:
    """Sums over pieces, each of which is laid out as if it had `PIECE` tokens."""
    import torch

    if not len(starts):
        return lse.new_zeros(0)
    step = torch.arange(PIECE, device=rows.device)
    last = len(tokens) - 1
    taken = tokens[(starts[:, None] + step).clamp_(max=last)].long()
    terms = rows[owners[:, None], taken].double().sub_(lse[owners][:, None]).exp_()
    return terms.masked_fill_(step >= sizes[:, None], 0.0).sum(dim=1)


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
