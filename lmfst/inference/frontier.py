"""The frontier: hypotheses that wait for their offset, and waves of them as arrays.

Positions are those of a batch: offset o of document d stands at base[d] + o, so that one number
says where a hypothesis is. Those of one position are chained in the order in which they came.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmfst.ground.arrays import Floats, Ints
from lmfst.ground.kernels import compiled, kernel

NONE = -1
"""No hypothesis, no row, no entry; as a token: that of a root."""
_COUNT, _FREE = 0, 1
_PLACES = 256


Records = Any
"""A structured array. Kernels read and write its fields."""

WAITING = np.dtype(
    [
        ("position", np.int64),
        ("parent", np.int64),
        ("token", np.int64),
        ("lexicon", np.int64),
        ("entry", np.int64),
        ("guide", np.int64),
        ("logw", np.float64),
        ("next", np.int64),
    ]
)
"""A hypothesis that waits.

position: NONE where a place is free. parent: what the parent is known by (its LM state; in a
speculative run also `lmfst.inference.advance.ghost`), token: the one read there, NONE for a root,
whose own state `parent` is; lexicon: state after it; entry: the child of a row that it is, or NONE;
guide: a guide's state after it (`lmfst.inference.guide`). next: the place of the one that came
after it at its position, or the next free place.
"""
ENDS = np.dtype([("first", np.int64), ("last", np.int64)])
"""Of a position: the places of the hypotheses that came first and last."""


def records(dtype: np.dtype[Any], count: int, **fields: Any) -> Records:
    """Records whose fields are 0, but for those given."""
    made = _for_kernels(np.zeros(count, dtype))
    for name, values in fields.items():
        made[name] = values
    return made


def grown(store: Records, size: int) -> Records:
    """A store with places for so many records, twice as many as before at least if it has to
    grow."""
    if size <= len(store):
        return store
    return longer(store, records(store.dtype, max(size - len(store), len(store))))


def longer(store: Records, fresh: Records) -> Records:
    """Records, and fresh ones after them."""
    return _for_kernels(np.concatenate([store, fresh]))


def _for_kernels(array: np.ndarray) -> Records:
    """Structured arrays as kernels take them, which read fields as attributes. (Compiled, they can
    do so with any structured array, and numpy reads fields of such ones faster.)"""
    return array if compiled() else array.view(np.recarray)


@kernel
def push(
    waiting: Records,
    ends: Records,
    used: Ints,
    position: int,
    parent: int,
    token: int,
    lexicon: int,
    entry: int,
    guide: int,
    logw: float,
) -> int:
    """Add a hypothesis, for which there must be room; its place."""
    at = used[_FREE]
    used[_FREE] = waiting.next[at]
    used[_COUNT] += 1
    waiting.position[at] = position
    waiting.parent[at] = parent
    waiting.token[at] = token
    waiting.lexicon[at] = lexicon
    waiting.entry[at] = entry
    waiting.guide[at] = guide
    waiting.logw[at] = logw
    waiting.next[at] = NONE
    if ends.first[position] == NONE:
        ends.first[position] = at
    else:
        waiting.next[ends.last[position]] = at
    ends.last[position] = at
    return at


@kernel
def places_at(waiting: Records, ends: Records, position: int) -> Ints:
    """The places of the hypotheses at a position, in the order in which they came."""
    count = 0
    at = ends.first[position]
    while at != NONE:
        count += 1
        at = waiting.next[at]
    found = np.empty(count, np.int64)
    at = ends.first[position]
    for i in range(count):
        found[i] = at
        at = waiting.next[at]
    return found


@kernel
def release(waiting: Records, ends: Records, used: Ints, position: int) -> None:
    """Remove the hypotheses at a position."""
    at = ends.first[position]
    while at != NONE:
        after = waiting.next[at]
        waiting.position[at] = NONE
        waiting.next[at] = used[_FREE]
        used[_FREE] = at
        used[_COUNT] -= 1
        at = after
    ends.first[position] = NONE


@kernel
def take(
    waiting: Records, ends: Records, used: Ints, positions: Ints, found: Ints, where: Ints
) -> int:
    """Remove the hypotheses at some positions; `found` gets their places and `where` their
    positions, the result is their number."""
    count = 0
    for position in positions:
        for at in places_at(waiting, ends, position):
            found[count] = at
            where[count] = position
            count += 1
        release(waiting, ends, used, position)
    return count


@dataclass
class Hypotheses:
    """Hypotheses: where they are, the LM states of their parents, the tokens read there (-1 for a
    root, whose own state `parent` is), their lexicon states, log weights, and the states of a guide
    (`lmfst.inference.guide`) after their tokens; all [hypotheses]. Those of one position follow
    each other, in the order in which they came."""

    position: Ints
    parent: Ints
    token: Ints
    lexicon: Ints
    logw: Floats
    guide: Ints

    def __len__(self) -> int:
        return len(self.position)

    def at(self, index: Ints | NDArray[np.bool_]) -> Hypotheses:
        """Some of the hypotheses."""
        return Hypotheses(
            self.position[index],
            self.parent[index],
            self.token[index],
            self.lexicon[index],
            self.logw[index],
            self.guide[index],
        )

    def first(self) -> Ints:
        """Where those of each position begin."""
        new = np.ones(len(self), dtype=bool)
        new[1:] = self.position[1:] != self.position[:-1]
        return np.flatnonzero(new)


def merged(states: Ints, wave: Hypotheses) -> tuple[Ints, Hypotheses]:
    """Add up hypotheses with one LM state and one lexicon state at one position."""
    order = np.lexsort((wave.lexicon, states, wave.position))
    columns = (wave.position[order], states[order], wave.lexicon[order])
    new = np.append(True, np.logical_or.reduce([c[1:] != c[:-1] for c in columns]))
    if new.all():
        return states, wave
    group = np.empty(len(order), dtype=np.int64)
    group[order] = np.cumsum(new) - 1
    count = int(group.max()) + 1
    top = np.full(count, -np.inf)
    np.maximum.at(top, group, wave.logw)
    total = np.bincount(group, np.exp(wave.logw - top[group]), minlength=count)
    first = order[new]
    # In order of first arrival, which decides between hypotheses of equal weight.
    arrival = np.argsort(first, kind="stable")
    result = wave.at(first[arrival])
    result.logw = (np.log(total) + top)[arrival]
    return states[first[arrival]], result


class Frontier:
    """Hypotheses that wait for their offset. For kernels: waiting, ends, used (int64 [2]: how many
    wait, and the first free place); `waiting` is another array after each growth."""

    def __init__(self, positions: int) -> None:
        """positions: how many there are in the batch."""
        self.waiting = records(WAITING, 0)
        self.ends = records(ENDS, positions, first=NONE, last=NONE)
        self.used = np.array([0, NONE])

    def __len__(self) -> int:
        return int(self.used[_COUNT])

    def copy(self) -> Frontier:
        """The same hypotheses in other arrays."""
        other = Frontier(0)
        other.waiting, other.ends = self.waiting.copy(), self.ends.copy()
        other.used = self.used.copy()
        return other

    def make_room(self, more: int) -> None:
        """Have places for so many more hypotheses."""
        size = len(self.waiting)
        if size - len(self) >= more:
            return
        added = max(more, size, _PLACES)
        after = np.arange(size + 1, size + added + 1)
        after[-1] = self.used[_FREE]
        fresh = records(WAITING, added, position=NONE, next=after)
        self.waiting = longer(self.waiting, fresh)
        self.used[_FREE] = size

    def add(
        self, position: Ints, parent: Ints, token: Ints, lexicon: Ints, guide: Ints, logw: Floats
    ) -> None:
        """Add hypotheses; see `Hypotheses`."""
        self.make_room(len(position))
        columns = (column.tolist() for column in (position, parent, token, lexicon, guide, logw))
        for at, above, read, state, guided, weight in zip(*columns, strict=True):
            push(self.waiting, self.ends, self.used, at, above, read, state, NONE, guided, weight)

    def take(self, positions: Ints) -> Hypotheses:
        """Remove the hypotheses at some positions."""
        found, where = np.empty((2, len(self)), dtype=np.int64)
        count = take(self.waiting, self.ends, self.used, positions, found, where)
        # The places are free now, but hold what they held until the next addition.
        taken = self.waiting[found[:count]]
        return Hypotheses(
            where[:count],
            taken["parent"].copy(),
            taken["token"].copy(),
            taken["lexicon"].copy(),
            taken["logw"].copy(),
            taken["guide"].copy(),
        )

    def parents(self) -> tuple[Ints, Ints]:
        """Positions of all hypotheses that wait, and what their parents are known by."""
        some = self.waiting[self.waiting["position"] != NONE]
        return some["position"], some["parent"]
