"""Evaluating any set of nodes of token trees in one call of a transformers model.

Every document of a session is a tree of tokens below its BOS. A call of the model takes the new
nodes of any set of documents, packed into one sequence [1, T]; a node's position is its depth, and
its attention is restricted to its ancestors (`lmfst.lm.attention`). The keys and values of all
evaluated nodes are kept once, in slots shared by the documents. New nodes are packed depth first
and attended to in chunks, so that the nodes of a chunk have most of their ancestors in common.

Contexts longer than the model's are cut by a rule that depends on depth alone. With context length
L and stride H = L // 2, a node of depth d ≥ L is read in window w = ceil((d - L + 1) / H): BOS,
then the tokens of depth w·H + 1 … d, so between L/2 and L of the last tokens. A node can therefore
be evaluated in two windows; an evaluated (node, window) pair is called an entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from lmfst.ground.arrays import Bools, Ints
from lmfst.lm.attention import CHUNK, GATHER_COST, SIBLINGS, Call, Chunk, KeyValueStore, make_call
from lmfst.lm.base import Session, States

if TYPE_CHECKING:
    import torch

    from lmfst.lm.transformers import TransformersLM

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

        path: see `_Document._path`. If an ancestor is found already, so is all that is above it.
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
        """See `_Document.chunks`."""
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


class _Document:
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


class TreeSession(Session):
    """Token trees of a batch of documents over one transformers model. States are tree nodes.

    compact_above: entries that a document may have before dead ones are dropped.
    """

    compact_above = 1024

    def __init__(self, lm: TransformersLM) -> None:
        self._lm = lm
        self._store = KeyValueStore()
        self._parent: list[int] = []
        self._token: list[int] = []
        self._depth: list[int] = []
        self._root: list[int] = []
        self._ids: dict[tuple[int, int], int] = {}
        self._documents: dict[int, _Document] = {}
        self._long: set[int] = set()

    def _node(self, parent: int, token: int, depth: int, root: int) -> int:
        node = len(self._parent)
        self._parent.append(parent)
        self._token.append(token)
        self._depth.append(depth)
        self._root.append(node if root < 0 else root)
        return node

    def open(self) -> int:
        root = self._node(-1, -1 if self._lm.bos is None else self._lm.bos, 0, -1)
        self._documents[root] = _Document()
        return root

    def step(self, states: States, tokens: States) -> States:
        moved = []
        for pair in zip(states.tolist(), tokens.tolist(), strict=True):
            node = self._ids.get(pair)
            if node is None:
                state, token = pair
                node = self._node(state, token, self._depth[state] + 1, self._root[state])
                self._ids[pair] = node
            moved.append(node)
        return np.array(moved, dtype=np.int64)

    def rows(self, states: States) -> Iterator[tuple[slice, torch.Tensor]]:
        begin, nodes = 0, states.tolist()
        while begin < len(nodes):
            if self._token[nodes[begin]] < 0:
                yield slice(begin, begin + 1), self._lm.uniform_row()
                begin += 1
                continue
            end, entries = self._next_call(nodes, begin)
            asked = [self._entry(node) for node in nodes[begin:end]]
            if len(entries) > self._lm.batch_tokens:
                # A single node with so many ancestors, which come first.
                part = list(entries)[: self._lm.batch_tokens]
                self._evaluate(part, part[-1:])
                continue
            found = self._evaluate(entries, asked)
            if found is None:
                continue
            for rows in self._lm.logits(found):
                yield slice(begin, begin + len(rows)), rows
                begin += len(rows)

    def _entry(self, node: int) -> Entry:
        window = self._lm.window(self._depth[node])
        root = self._root[node]
        if window and root not in self._long:
            self._long.add(root)
            self._lm.warn_of_length()
        return node, window

    def _next_call(self, nodes: list[int], begin: int) -> tuple[int, dict[Entry, None]]:
        """The entries of one call: as many of nodes[begin:] as the budget allows, at least one."""
        entries: dict[Entry, None] = {}
        end = begin
        while end < len(nodes) and self._token[nodes[end]] >= 0:
            missing = self._missing(self._entry(nodes[end]), entries)
            if end > begin and len(entries) + len(missing) > self._lm.batch_tokens:
                break
            entries.update(dict.fromkeys(missing))
            end += 1
        return end, entries

    def _missing(self, entry: Entry, planned: dict[Entry, None]) -> list[Entry]:
        """`entry` and those ancestors of it that have never been evaluated, oldest first."""
        numbers = self._documents[self._root[entry[0]]].numbers
        found = [entry] if entry not in planned else []
        above = self._above(entry)
        while above is not None and above not in numbers and above not in planned:
            found.append(above)
            above = self._above(above)
        return found[::-1]

    def _above(self, entry: Entry) -> Entry | None:
        """What `entry` follows: its parent in the same window, BOS at the window's start."""
        node, window = entry
        parent = self._parent[node]
        if parent < 0:
            return None
        root = self._root[node]
        if parent != root and self._depth[parent] > window * self._lm.stride:
            return parent, window
        return (root, 0) if self._token[root] >= 0 else None

    def _evaluate(self, entries: Iterable[Entry], asked: Sequence[Entry]) -> torch.Tensor | None:
        """Run the model over entries; what it has for the asked ones, see `forward`, in order.

        None if that didn't fit into memory: then nothing has changed but the size of a call.
        """
        by_document: dict[int, list[Entry]] = {}
        for entry in entries:
            by_document.setdefault(self._root[entry[0]], []).append(entry)
        before = {root: len(self._documents[root]) for root in by_document}
        packed = [e for group in by_document.values() for e in self._depth_first(group)]
        place = {entry: i for i, entry in enumerate(packed)}
        numbers = self._place(packed)
        documents = [self._documents[self._root[node]] for node, _ in packed]
        found = zip(documents, numbers, strict=True)
        try:
            return self._lm.forward(
                tokens=[self._token[node] for node, _ in packed],
                positions=[document.positions[n] for document, n in found],
                call=self._call(documents, numbers),
                asked=[place[entry] for entry in asked],
            )
        except BaseException as error:
            # What was not evaluated must not count as such, whoever may go on with this session.
            for root, count in before.items():
                document = self._documents[root]
                self._store.free(document.take_back(len(document) - count))
            self._store.grow_sparingly()
            if not isinstance(error, RuntimeError | MemoryError):
                raise
            self._lm.shrink(len(packed), error)
            return None

    def _depth_first(self, entries: Sequence[Entry]) -> list[Entry]:
        """Entries of a document so that each follows what it stands below, as closely as it can;
        those that stand below none of them in order of depth."""
        new = set(entries)
        below: dict[Entry | None, list[Entry]] = {}
        for entry in entries:
            above = self._above(entry)
            below.setdefault(above if above in new else None, []).append(entry)
        order: list[Entry] = []
        waiting = sorted(below[None], key=lambda entry: self._depth[entry[0]])[::-1]
        while waiting:
            order.append(waiting.pop())
            waiting += below.get(order[-1], [])[::-1]
        return order

    def _place(self, entries: Sequence[Entry]) -> list[int]:
        """Local numbers of entries, new ones for those that have none."""
        found = [(entry, self._documents[self._root[entry[0]]]) for entry in entries]
        slots = iter(self._store.allocate(sum(e not in d.numbers for e, d in found)))
        for entry, document in found:
            if entry not in document.numbers:
                position = self._lm.position(self._depth[entry[0]], entry[1])
                document.add(entry, self._above(entry), next(slots), position)
        return [document.numbers[entry] for entry, document in found]

    def _call(self, documents: Sequence[_Document], numbers: Sequence[int]) -> Call:
        """The call for entries packed document by document."""
        chunks: list[Chunk] = []
        slots = [document.slots[n] for document, n in zip(documents, numbers, strict=True)]
        begin = 0
        for document, group in groupby(documents):
            new = numbers[begin : begin + len(list(group))]
            slot_of, position_of = np.array(document.slots), np.array(document.positions)
            for count, keys, has in document.chunks(new, position_of):
                chunks.append(
                    Chunk(
                        entries=np.arange(begin, begin + count),
                        slots=slot_of[keys],
                        seen=has,
                        query_at=position_of[new[:count]],
                        key_at=position_of[keys],
                    )
                )
                begin, new = begin + count, new[count:]
        device, dtype = self._lm.device, self._lm.dtype
        return make_call(self._store, np.array(slots), chunks, device, dtype)

    def retain(self, root: int, live: States) -> None:
        document = self._documents[root]
        if len(document) <= self.compact_above:
            return
        keep: set[int] = set()
        seen: set[Entry] = set()
        for node in live.tolist():
            entry: Entry | None = self._entry(node)
            # A state may be asked for in this window or, by its descendants, in the next one.
            while entry is not None and entry not in seen:
                seen.add(entry)
                if entry in document.numbers:
                    keep.add(document.numbers[entry])
                entry = self._above(entry)
        if len(keep) < len(document):
            self._store.free(document.keep(sorted(keep)))

    def close(self, root: int) -> None:
        document = self._documents.pop(root)
        self._store.free(document.slots)
