"""What one LM row has to give, for a (lexicon state, offset) pair.

For a known target y, every node in lexicon state s at offset o needs the same numbers of its row:
the mass of the tokens whose output begins with y[o:o+k] (it covers offset o+k), and the probability
of every token whose output is exactly y[o:o+k] (it makes a child node there). A `Plan` holds the
token ranges once; `reduce_rows` applies it to rows. Sums run over disjoint segments of
probabilities in float64: no difference of nearly equal numbers is ever taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lmfst.errors import ModelError
from lmfst.lexicon import Lexicon

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BLOCK = 512
"""float32 terms that are added up in float32."""
_FEW = 64
"""Rows whose intermediate results fit into a processor's cache."""


@dataclass(frozen=True)
class Split:
    """The next-symbol split of a trie node: its children's symbols and where their tokens begin."""

    depth: int
    symbols: Ints
    first: int
    starts: Ints
    last: int


@dataclass(frozen=True)
class Plan:
    """Ranges of one (lexicon state, offset) pair, in places relative to `tokens`.

    tokens: int64 [range]. Tokens whose probabilities are summed: those that begin with y[o], or all
        of them where the distribution at offset o itself is wanted.
    starts, nested: segment starts [segments], and a 0/1 matrix [segments, depth] whose column k - 1
        picks the segments of the tokens that cover offset o + k. segment_end: where the last ends.
    child_token, child_next: int64 [children]. Tokens with output exactly y[o:o+depth], in order of
        depth, and the lexicon states after them.
    levels: (depth, begin, end) of the children of each depth.
    splits: next-symbol splits at the depths where a distribution is wanted.
    """

    tokens: Ints
    depth: int
    starts: Ints
    nested: Floats
    segment_end: int
    child_token: Ints
    child_next: Ints
    levels: tuple[tuple[int, int, int], ...]
    splits: tuple[Split, ...]
    _on_device: dict[Any, torch.Tensor] = field(default_factory=dict, compare=False, repr=False)

    def ids(self, which: Literal["tokens", "child_token"], device: torch.device) -> torch.Tensor:
        """The token ids `tokens` or `child_token` on a device."""
        import torch

        key = (which, device)
        if key not in self._on_device:
            self._on_device[key] = torch.from_numpy(getattr(self, which)).to(device)
        return self._on_device[key]


def make_plan(
    lexicon: Lexicon,
    target: Sequence[int],
    *,
    useful: Callable[[int, int], bool],
    wanted: Sequence[int],
    children_to: int,
) -> Plan:
    """The plan of nodes before `target` (the symbols from the node's offset on).

    useful(next state, depth): False where a child can't contribute any more.
    wanted: depths k at which the distribution of the symbol after target[:k] is asked for.
    children_to: children are made at depths 0 .. children_to.
    """
    path = lexicon.walk(target)
    low, own, high = (
        array[path].astype(np.int64) for array in (lexicon.low, lexicon.own, lexicon.high)
    )
    begin, end = _gathered_range(low, own, high, 0 in wanted)
    starts, nested, segment_end = _segments(low[1:] - begin, high[1:] - begin)
    child_token, child_next, child_depth = _children(lexicon, low, own, useful, children_to)
    return Plan(
        tokens=lexicon.tokens[begin:end].astype(np.int64),
        depth=len(path) - 1,
        starts=starts,
        nested=nested,
        segment_end=segment_end,
        child_token=child_token,
        child_next=child_next,
        levels=_levels(child_depth),
        splits=tuple(_split(lexicon, path[k], k, begin) for k in wanted if k < len(path)),
    )


def _gathered_range(low: Ints, own: Ints, high: Ints, everything: bool) -> tuple[int, int]:
    if everything:
        return int(own[0]), int(high[0])
    return (int(low[1]), int(high[1])) if len(low) > 1 else (0, 0)


def _segments(low: Ints, high: Ints) -> tuple[Ints, Floats, int]:
    """Disjoint segments of nested ranges [low[k], high[k]), and which segments each range has."""
    cuts = np.unique(np.concatenate([low, high]))
    if len(cuts) < 2:
        return np.zeros(0, np.int64), np.zeros((0, len(low))), 0
    inside = (cuts[:-1, None] >= low[None, :]) & (cuts[:-1, None] < high[None, :])
    return cuts[:-1], inside.astype(np.float64), int(cuts[-1])


def _children(
    lexicon: Lexicon,
    low: Ints,
    own: Ints,
    useful: Callable[[int, int], bool],
    children_to: int,
) -> tuple[Ints, Ints, Ints]:
    tokens, after, depths = [], [], []
    for depth in range(min(len(low), children_to + 1)):
        for place in range(int(low[depth]), int(own[depth])):
            state = int(lexicon.next[place])
            if state >= 0 and useful(state, depth):
                tokens.append(int(lexicon.tokens[place]))
                after.append(state)
                depths.append(depth)
    return np.array(tokens, np.int64), np.array(after, np.int64), np.array(depths, np.int64)


def _levels(depths: Ints) -> tuple[tuple[int, int, int], ...]:
    kinds, begins = np.unique(depths, return_index=True)
    ends = [*begins.tolist(), len(depths)][1:]
    return tuple(zip(kinds.tolist(), begins.tolist(), ends, strict=True))


def _split(lexicon: Lexicon, node: int, depth: int, begin: int) -> Split:
    children = slice(int(lexicon.child_ptr[node]), int(lexicon.child_ptr[node + 1]))
    return Split(
        depth=depth,
        symbols=lexicon.symbol[children].astype(np.int64),
        first=int(lexicon.own[node]) - begin,
        starts=lexicon.low[children].astype(np.int64) - int(lexicon.own[node]),
        last=int(lexicon.high[node]) - begin,
    )


@dataclass(frozen=True)
class Reduced:
    """What `reduce_rows` found for n rows.

    mass: float64 [n, depth]. Probability that the next token covers offset o + 1 … o + depth.
    child_logp: float64 [n, children].
    splits: per split of the plan, float64 [n, symbols] probabilities.
    removed: float64 [n]. Nats by which leaving out specials raised the row: -log(1 - their mass).
    """

    mass: Floats
    child_logp: Floats
    splits: tuple[Floats, ...]
    removed: Floats

    def rows(self) -> list[Reduced]:
        """The same for single rows, each with n = 1."""
        return [
            Reduced(
                self.mass[i : i + 1],
                self.child_logp[i : i + 1],
                tuple(split[i : i + 1] for split in self.splits),
                self.removed[i : i + 1],
            )
            for i in range(len(self.removed))
        ]

    @staticmethod
    def stack(parts: Sequence[Reduced]) -> Reduced:
        """The rows of several, which have one plan, together."""
        if len(parts) == 1:
            return parts[0]
        return Reduced(
            np.concatenate([part.mass for part in parts]),
            np.concatenate([part.child_logp for part in parts]),
            tuple(np.concatenate(s) for s in zip(*(p.splits for p in parts), strict=True)),
            np.concatenate([part.removed for part in parts]),
        )


def reduce_rows(rows: torch.Tensor, lse: torch.Tensor, removed: Floats, plan: Plan) -> Reduced:
    """Apply a plan to LM rows. rows: [n, vocabulary]; lse: float64 [n], their log normalisers."""
    device = rows.device
    count = rows.shape[0]
    probs = np.zeros((count, 0))
    if len(plan.tokens):
        chosen = rows.index_select(1, plan.ids("tokens", device)).double()
        probs = chosen.sub_(lse[:, None]).exp_().cpu().numpy()
    mass = np.zeros((count, plan.depth))
    if len(plan.starts):
        mass = np.add.reduceat(probs[:, : plan.segment_end], plan.starts, axis=1) @ plan.nested
    child_logp = np.zeros((count, 0))
    if len(plan.child_token):
        chosen = rows.index_select(1, plan.ids("child_token", device)).double()
        child_logp = chosen.sub_(lse[:, None]).cpu().numpy()
    splits = tuple(
        np.add.reduceat(probs[:, s.first : s.last], s.starts, axis=1)
        if len(s.starts)
        else np.zeros((count, 0))
        for s in plan.splits
    )
    return Reduced(mass, child_logp, splits, removed)


class Normaliser:
    """Takes the tokens outside the support out of LM rows and finds the rows' log normalisers."""

    def __init__(self, outside: Ints) -> None:
        """outside: int64 token ids that are no part of the support."""
        self._outside = outside
        self._on_device: dict[Any, torch.Tensor] = {}

    def __call__(self, rows: torch.Tensor) -> tuple[torch.Tensor, Floats]:
        """(log normalisers float64 [n], nats removed float64 [n]); sets `rows` outside to -inf."""
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
            hint="its weights may be damaged, or too large for --dtype: try float32",
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
    # A few rows at a time: what is computed in between then stays in the processor's cache.
    return torch.cat([_few_logsumexp(part) for part in rows.split(_FEW)])


def _few_logsumexp(rows: torch.Tensor) -> torch.Tensor:
    import torch

    highest = rows.amax(dim=1, keepdim=True)
    shift = torch.where(torch.isfinite(highest), highest, torch.zeros_like(highest))
    terms = (rows.float() - shift.float()).exp_()
    whole = terms.shape[1] // _BLOCK * _BLOCK
    total = terms[:, whole:].sum(dim=1, dtype=torch.float64)
    total += terms[:, :whole].unflatten(1, (-1, _BLOCK)).sum(dim=2).sum(dim=1, dtype=torch.float64)
    return total.log() + shift.squeeze(1).double()
