"""LM rows reduced to the few numbers that propagation needs, and the table that keeps them.

A row has the vocabulary's size; what is kept of it is the log mass of every prefix of the target
that its next token covers, and the log-probabilities of the tokens that make child hypotheses
(`lmfst.inference.row_plan`). All rows of a block are gathered, exponentiated in float64 and summed
together, on the device that they lie on. Segments are sums of non-negative terms: |Δ log| stays
below 1e-6 however improbable they are.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from lmfst.ground.arrays import Floats, Ints
from lmfst.ground.errors import ModelError
from lmfst.inference.row_plan import Plan

if TYPE_CHECKING:
    import torch

_BLOCK = 2048
"""float32 terms that are added up in float32."""
_FEW = 64
"""Rows that are read together."""
_LEAST = 1e-30
"""Sums of float32 exponentials below this, or above its inverse, may have lost something."""


class Growing:
    """A numpy array to whose end others are added."""

    def __init__(self, dtype: Any) -> None:
        self._store = np.zeros(64, dtype)
        self.size = 0

    def extend(self, values: np.ndarray) -> None:
        end = self.size + len(values)
        if end > len(self._store):
            self._store = np.concatenate([self._store, np.zeros(max(end, self.size), self.dtype)])
        self._store[self.size : end] = values
        self.size = end

    @property
    def dtype(self) -> Any:
        return self._store.dtype

    @property
    def array(self) -> np.ndarray:
        """What has been added so far: a view, valid until the next addition."""
        return self._store[: self.size]


@dataclass
class Group:
    """Rows that share a plan: hypotheses in one lexicon state, each at a position of the batch."""

    lexicon: int
    positions: list[int]
    plan: Plan

    @property
    def count(self) -> int:
        return len(self.positions)


class Column:
    """A column of a `RowTable`: reading the attribute gives the array of what is there so far."""

    def __init__(self, dtype: type) -> None:
        self.dtype = dtype

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, table: RowTable, owner: type | None = None) -> np.ndarray:
        return table.columns[self._name].array


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

    state = Column(np.int64)
    lexicon = Column(np.int64)
    position = Column(np.int64)
    removed = Column(np.float64)
    cover_first = Column(np.int64)
    cover_count = Column(np.int64)
    cover_logp = Column(np.float64)
    child_first = Column(np.int64)
    child_count = Column(np.int64)
    child_token = Column(np.int64)
    child_next = Column(np.int64)
    child_position = Column(np.int64)
    child_logp = Column(np.float64)
    symbol_first = Column(np.int64)
    symbol_count = Column(np.int64)
    symbol = Column(np.int64)
    symbol_position = Column(np.int64)
    symbol_logp = Column(np.float64)

    def __init__(self) -> None:
        self.columns: dict[str, Growing] = {}
        self.clear()

    def clear(self) -> None:
        """Forget all rows."""
        self.columns = {name: Growing(dtype) for name, dtype in _DTYPES.items()}

    def __len__(self) -> int:
        return self.columns["state"].size

    def read(
        self,
        rows: torch.Tensor,
        lse: torch.Tensor,
        removed: Floats,
        states: Ints,
        groups: Sequence[Group],
    ) -> None:
        """Add a block of rows [n, vocabulary], normalisers float64 [n], LM states int64 [n]."""
        sums, child_logp = _gather(rows, lse, groups)
        self._extend("state", [states])
        self._extend("removed", [removed])
        sizes = [group.count for group in groups]
        self._extend("lexicon", [np.repeat([g.lexicon for g in groups], sizes)])
        self._extend("position", [np.array([p for g in groups for p in g.positions])])
        covers, symbols = _masses(sums, groups)
        self._lists("cover", [(g.count, g.plan.depth) for g in groups])
        self._extend("cover_logp", covers)
        self._lists("child", [(g.count, len(g.plan.child_token)) for g in groups])
        self._extend("child_logp", [child_logp])
        self._extend("child_token", (np.tile(g.plan.child_token, g.count) for g in groups))
        self._extend("child_next", (np.tile(g.plan.child_next, g.count) for g in groups))
        self._extend(
            "child_position",
            (np.add.outer(g.positions, g.plan.child_depth).ravel() for g in groups),
        )
        splits = [[(g, split) for split in g.plan.splits] for g in groups]
        lengths = [sum(len(split.symbols) for _, split in found) for found in splits]
        self._lists("symbol", list(zip(sizes, lengths, strict=True)))
        self._extend("symbol_logp", symbols)
        for found in filter(None, splits):
            count = found[0][0].count
            names = [split.symbols for _, split in found]
            depths = np.concatenate([np.full(len(s.symbols), s.depth) for _, s in found])
            self._extend("symbol", [np.tile(np.concatenate(names), count)])
            places = np.add.outer(found[0][0].positions, depths)
            self._extend("symbol_position", [places.ravel()])

    def _extend(self, name: str, parts: Iterable[np.ndarray]) -> None:
        found = list(parts)
        if found:
            self.columns[name].extend(np.concatenate(found) if len(found) > 1 else found[0])

    def _lists(self, kind: str, sizes: Sequence[tuple[int, int]]) -> None:
        """Note where the lists of (count, length) rows begin."""
        count = np.repeat([length for _, length in sizes], [rows for rows, _ in sizes])
        begin = self.columns[f"{kind}_logp"].size
        self.columns[f"{kind}_first"].extend(begin + np.cumsum(count) - count)
        self.columns[f"{kind}_count"].extend(count)


_DTYPES = {k: v.dtype for k, v in vars(RowTable).items() if isinstance(v, Column)}


def _gather(
    rows: torch.Tensor, lse: torch.Tensor, groups: Sequence[Group]
) -> tuple[list[Floats], Floats]:
    """(segment sums of probabilities [cuts, count] of each group, log-probabilities of children,
    row by row)."""
    import torch

    alike = [list(run) for _, run in groupby(groups, key=lambda g: (g.lexicon, g.plan.range))]
    widths = [sum(group.count for group in run) for run in alike]
    probs, first = [], 0
    for run, width in zip(alike, widths, strict=True):
        here = slice(first, first + width)
        first = here.stop
        ids = torch.from_numpy(run[0].plan.tokens).to(rows.device)
        if width == 1:
            chosen = rows[here.start].index_select(0, ids)[:, None].double()
        else:
            # Of transposed rows, what one token has in neighbouring rows is in one place.
            chosen = rows.t()[:, here].index_select(0, ids).double()
        probs.append(chosen.sub_(lse[here]).exp_().view(-1))
    values = torch.cat(probs).cpu().numpy()
    sums, first = [], 0
    for run, width in zip(alike, widths, strict=True):
        size = len(run[0].plan.tokens)
        part = values[first : first + size * width].reshape(size, width)
        first += part.size
        column = 0
        for group in run:
            own = part[:, column : column + group.count]
            column += group.count
            sums.append(np.add.reduceat(own, group.plan.cuts, axis=0) if size else own)
    counts = [len(group.plan.child_token) for group in groups for _ in group.positions]
    tokens = np.concatenate([np.tile(group.plan.child_token, group.count) for group in groups])
    owners = np.repeat(np.arange(len(counts)), counts)
    token, row = (torch.from_numpy(part).to(rows.device) for part in (tokens, owners))
    child_logp = rows[row, token].double().sub_(lse[row])
    return sums, child_logp.cpu().numpy()


def _masses(sums: Sequence[Floats], groups: Sequence[Group]) -> tuple[list[Floats], list[Floats]]:
    """Log masses of what the next token covers, and of the next symbols, row by row."""
    covers, symbols = [], []
    for part, group in zip(sums, groups, strict=True):
        plan = group.plan
        covers.append((part.T @ plan.nested).ravel())
        if plan.splits:
            places = [np.arange(s.first, s.first + len(s.symbols)) for s in plan.splits]
            symbols.append(part.T[:, np.concatenate(places)].ravel())
    with np.errstate(divide="ignore"):
        return [np.log(mass) for mass in covers], [np.log(mass) for mass in symbols]


class Normaliser:
    """Takes the tokens outside the support out of LM rows and finds the rows' log normalisers.

    seconds: the time that this has taken so far.
    """

    def __init__(self, outside: Ints) -> None:
        """outside: int64 token ids that are no part of the support."""
        self.seconds = 0.0
        self._outside = outside
        self._on_device: dict[Any, torch.Tensor] = {}

    def __call__(self, rows: torch.Tensor) -> tuple[torch.Tensor, Floats]:
        """(log normalisers float64 [n], nats removed float64 [n]); sets `rows` outside to -inf."""
        begin = time.perf_counter()
        found = self._normalised(rows)
        self.seconds += time.perf_counter() - begin
        return found

    def _normalised(self, rows: torch.Tensor) -> tuple[torch.Tensor, Floats]:
        import torch

        if not len(self._outside):
            return _checked(_logsumexp(rows)), np.zeros(rows.shape[0])
        if rows.device not in self._on_device:
            self._on_device[rows.device] = torch.from_numpy(self._outside).to(rows.device)
        ids = self._on_device[rows.device]
        left_out = _logsumexp(rows.index_select(1, ids))
        rows.index_fill_(1, ids, float("-inf"))
        lse = _checked(_logsumexp(rows))
        removed = torch.logaddexp(lse, left_out) - lse
        return lse, removed.cpu().numpy()


def _checked(lse: torch.Tensor) -> torch.Tensor:
    """Normalisers that are numbers. ModelError otherwise: nothing true could follow from them."""
    if lse.isnan().any() or lse.isposinf().any():
        raise ModelError(
            "the model's output is not a number (NaN or infinite)",
            hint="its numbers may be too large for --dtype: try float32",
        )
    if lse.isneginf().any():
        raise ModelError(
            "after some context the model gives probability zero to every token in its support",
            hint="its mass may lie on special or unknown tokens; try --specials text",
        )
    return lse


def _logsumexp(rows: torch.Tensor) -> torch.Tensor:
    """Log-sum-exp of rows, float64 [n]. float32 rows are exponentiated and added up in float32 in
    blocks, the blocks in float64: a relative error of about 1e-7."""
    import torch

    if rows.dtype == torch.float64:
        return torch.logsumexp(rows, dim=1)
    # Any number near the highest will do as the origin, and most rows have one in a small part.
    total, shift = _shifted_sum(rows, rows[:, :_BLOCK].amax(dim=1, keepdim=True))
    if not bool(((total > _LEAST) & (total < 1 / _LEAST)).all()):
        total, shift = _shifted_sum(rows, rows.amax(dim=1, keepdim=True))
    return total.log() + shift


def _shifted_sum(rows: torch.Tensor, origin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(Σ exp(row - shift) float64 [n], shift float64 [n]); shift is `origin` [n, 1], or 0 where
    that is infinite."""
    import torch

    shift = torch.where(torch.isfinite(origin), origin, torch.zeros_like(origin)).float()
    total = torch.zeros(rows.shape[0], dtype=torch.float64, device=rows.device)
    # A few rows and tokens at a time: what is computed in between stays in the processor's cache.
    for begin in range(0, rows.shape[0], _FEW):
        part = slice(begin, begin + _FEW)
        for block in rows[part].split(_BLOCK, dim=1):
            total[part] += (block.float() - shift[part]).exp_().sum(dim=1)
    return total, shift.squeeze(1).double()
