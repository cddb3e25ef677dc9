"""What of a document's token tree has been evaluated, and how a call attends to it.

An evaluated (node, window) pair is an entry. New entries are cut into chunks, so that those of a
chunk have most of their ancestors in common.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lmfst.ground.arrays import Bools, Ints
from lmfst.lm.attention import CHUNK, GATHER_COST, SIBLINGS

Entry = tuple[int, int]
"""(node, window)"""


class _Growing:
    """A chunk to which entries of a document are added, and their ancestors.

    positions: by number of the entry.
    """

    def __init__(self, positions: Ints) -> None:
        self._positions = positions
        self._finder = np.full(len(positions), -1, dtype=np.int64)
        self._found: list[Ints] = []
        self._size = 0
        self._joints: list[tuple[int, int, int]] = []
        """Of each entry: the ancestor that an earlier entry had found (-1: none), and the stretch
        of what is found that is its own."""

    def takes(self, path: Ints) -> bool:
        """Add an entry and what of its ancestors is new, unless it had better begin a chunk.

        path: see `Document._path`. If an ancestor is found already, so is all that is above it.
        """
        known = int(np.count_nonzero(self._finder[path] >= 0))
        if self._joints and not self._pays(len(path) - known, len(path)):
            return False
        begin = self._size
        self._finder[path[known:]] = len(self._joints)
        self._found.append(path[known:])
        self._size += len(path) - known
        self._joints.append((int(path[known - 1]) if known else -1, begin, self._size))
        return True

    def _pays(self, new: int, all_: int) -> bool:
        """Whether an entry with `all_` ancestors, `new` of them not found yet, and `SIBLINGS` like
        it cost less here than in a chunk of their own, in pairs of a query and a key."""
        count, n = len(self._joints), self._size
        here = SIBLINGS * (n + new) + new * (count + GATHER_COST)
        return count < CHUNK and here <= SIBLINGS * all_ + all_ * GATHER_COST

    def finished(self) -> tuple[int, Ints, Bools]:
        """See `Document.chunks`."""
        found = np.concatenate(self._found)
        position = self._positions[found]
        has = np.zeros((len(self._joints), len(found)), dtype=bool)
        for row, (joint, begin, end) in zip(has, self._joints, strict=True):
            if joint >= 0:
                # What an earlier entry has found of the ancestors up to here, this one has, too.
                near = position[:begin] <= self._positions[joint]
                np.logical_and(has[self._finder[joint], :begin], near, out=row[:begin])
            row[begin:end] = True
        return len(has), found, has


class Document:
    """The entries of one document: their slots, positions and parents, by local number."""

    def __init__(self) -> None:
        self.numbers: dict[Entry, int] = {}
        self.slots: list[int] = []
        self.positions: list[int] = []
        self._parents: list[int] = []
        self._paths: dict[int, Ints] = {}
        """Paths (see `_path`) of the entries of the latest call, below which most of the next
        one's stand."""

    def __len__(self) -> int:
        return len(self.numbers)

    def add(self, entry: Entry, above: Entry | None, slot: int, position: int) -> int:
        """A new entry below the entry `above`. Returns its number."""
        number = self.numbers[entry] = len(self.numbers)
        self._parents.append(-1 if above is None else self.numbers[above])
        self.slots.append(slot)
        self.positions.append(position)
        return number

    def chunks(self, new: Sequence[int], positions: Ints) -> Iterator[tuple[int, Ints, Bools]]:
        """Entries cut into chunks: for each (how many there are, numbers [n] of all ancestors of
        any of them, themselves included, and which of these each entry has, bool [count, n]).

        positions: int64 [entries of the document].
        """
        growing = _Growing(positions)
        for number in new:
            path = self._path(number)
            if not growing.takes(path):
                yield growing.finished()
                growing = _Growing(positions)
                growing.takes(path)
        yield growing.finished()
        self._paths = {number: self._paths[number] for number in new}

    def _path(self, number: int) -> Ints:
        """An entry's ancestors, oldest first, and itself, int64 [n]; this path and its parent's are
        known from then on."""
        below = []
        at = number
        while at >= 0 and at not in self._paths:
            below.append(at)
            at = self._parents[at]
        above = self._paths[at] if at >= 0 else np.zeros(0, np.int64)
        path = np.concatenate([above, np.array(below[::-1], dtype=np.int64)])
        self._paths[number] = path
        if len(path) > 1:
            self._paths.setdefault(int(path[-2]), path[:-1])
        return path

    def take_back(self, count: int) -> list[int]:
        """Drop the last `count` entries. Returns their slots."""
        first = len(self) - count
        freed = self.slots[first:]
        self.numbers = {entry: n for entry, n in self.numbers.items() if n < first}
        self._paths = {n: path for n, path in self._paths.items() if n < first}
        for column in (self.slots, self.positions, self._parents):
            del column[first:]
        return freed

    def keep(self, numbers: Sequence[int]) -> list[int]:
        """Drop all entries but `numbers` (ascending; with all of their ancestors). Returns the
        slots given up."""
        renumbered = np.full(len(self), -1, dtype=np.int64)
        renumbered[list(numbers)] = np.arange(len(numbers))
        now: list[int] = renumbered.tolist()
        freed = [slot for slot, n in zip(self.slots, now, strict=True) if n < 0]
        self._paths = {now[n]: renumbered[path] for n, path in self._paths.items() if now[n] >= 0}
        self.numbers = {e: now[n] for e, n in self.numbers.items() if now[n] >= 0}
        self.slots = [self.slots[n] for n in numbers]
        self.positions = [self.positions[n] for n in numbers]
        parents = [self._parents[n] for n in numbers]
        self._parents = [p if p < 0 else now[p] for p in parents]
        return freed
