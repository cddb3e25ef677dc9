"""Numbers of LM rows in the order of some tokens, a block at a time.

On a CPU a kernel reads them of the block's memory. Elsewhere torch gathers them: what is wanted
goes there with the tokens of the model call, and what comes of a block crosses to the host in one
transfer, which nothing waits for until it is read. The numbers are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lmfst.ground.arrays import Floats, Ints
from lmfst.ground.kernels import compiled, kernel
from lmfst.inference.normaliser import Normaliser, check, transposed
from lmfst.lexicon.lexicon import IntArray
from lmfst.lm.transfers import Arriving, Outbox, exactly_placed

if TYPE_CHECKING:
    import torch


class Wanted(NamedTuple):
    """Some of the rows that come, int64 [n], and tokens whose numbers are wanted of each."""

    rows: Ints
    tokens: IntArray


class Gathered(NamedTuple):
    """What a block has of `Wanted`: of which of its rows, int64 [m], their log normalisers, float64
    [m], and their numbers [m, tokens], float64 if the rows are, else float32."""

    which: Ints
    lse: Floats
    terms: np.ndarray


class Gathering:
    """Gathers what is wanted of rows, block by block.

    outbox: of their device, None for the host. on_host: whether a kernel does it; default: there.
    """

    def __init__(
        self,
        wanted: Sequence[Wanted],
        normalise: Normaliser,
        outbox: Outbox | None,
        on_host: bool | None = None,
    ) -> None:
        self._normalise = normalise
        self._tokens = [one.tokens for one in wanted]
        # So those of a block follow each other.
        self._order = [np.argsort(one.rows, kind="stable") for one in wanted]
        self._rows = [one.rows[order] for one, order in zip(wanted, self._order, strict=True)]
        outbox = outbox or Outbox()
        self._on_host = outbox.device.type == "cpu" and compiled() if on_host is None else on_host
        if not self._on_host:
            orders = {id(tokens): outbox.put(tokens) for tokens in self._tokens}
            self._sent = [
                (outbox.put(rows), orders[id(tokens)])
                for rows, tokens in zip(self._rows, self._tokens, strict=True)
            ]

    def add(self, rows: torch.Tensor, block: slice) -> Callable[[], list[Gathered]]:
        """What gives the numbers of a block of rows [n, vocabulary], which are overwritten outside
        the support. ModelError for rows that are no distributions, now or when it is called."""
        rows = exactly_placed(rows)
        ends = (block.start, block.start + len(rows))
        parts = [slice(*np.searchsorted(own, ends).tolist()) for own in self._rows]
        which = [order[part] for order, part in zip(self._order, parts, strict=True)]
        at = [own[part] - block.start for own, part in zip(self._rows, parts, strict=True)]
        lse, removed = self._normalise.unchecked(rows)
        if self._on_host:
            logs = lse.numpy()
            check(logs, removed.numpy())
            found = self._by_kernel(rows, at)
            return lambda: _joined(which, logs, at, found)
        arriving = self._by_torch(rows, lse, removed, block.start, parts)
        kind = np.float64 if rows.dtype.itemsize == 8 else np.float32
        shapes = [(len(own), len(tokens)) for own, tokens in zip(at, self._tokens, strict=True)]

        def arrived() -> list[Gathered]:
            exact, rest = np.split(arriving.get(), [16 * (ends[1] - ends[0])])
            logs, lost = np.split(exact.view(np.float64), 2)
            check(logs, lost)
            places = np.cumsum([size * width for size, width in shapes])[:-1]
            each = zip(np.split(rest.view(kind), places), shapes, strict=True)
            # What arrives is in memory that can't be paged, and goes back when it is read.
            return _joined(which, logs, at, [part.reshape(shape).copy() for part, shape in each])

        return arrived

    def _by_kernel(self, rows: torch.Tensor, at: Sequence[Ints]) -> list[np.ndarray]:
        columns, found = transposed(rows), []
        for own, tokens in zip(at, self._tokens, strict=True):
            found.append(np.empty((len(own), len(tokens)), columns.dtype))
            gather(columns, own, tokens, found[-1])
        return found

    def _by_torch(
        self,
        rows: torch.Tensor,
        lse: torch.Tensor,
        removed: torch.Tensor,
        begin: int,
        parts: Sequence[slice],
    ) -> Arriving:
        import torch

        taken = [
            rows.index_select(0, own.get()[part] - begin).index_select(1, tokens.get()).reshape(-1)
            for (own, tokens), part in zip(self._sent, parts, strict=True)
        ]
        exact = [one if one.dtype == torch.float64 else one.float() for one in taken]
        # As bytes: numbers of two kinds cross.
        columns = [column.view(torch.uint8) for column in (lse, removed, *exact)]
        return Arriving(torch.cat(columns))


def _joined(
    which: Sequence[Ints], lse: Floats, at: Sequence[Ints], terms: Sequence[np.ndarray]
) -> list[Gathered]:
    each = zip(which, at, terms, strict=True)
    return [Gathered(some, lse[own], found) for some, own, found in each]


@kernel
def gather(columns: np.ndarray, rows: Ints, tokens: np.ndarray, found: np.ndarray) -> None:
    """found [n, tokens]: the numbers of some tokens in the rows [n] of columns [vocabulary, …]."""
    for j in range(len(tokens)):
        token = tokens[j]
        for i in range(len(rows)):
            found[i, j] = columns[token, rows[i]]
