"""Token trees of a batch of documents, any set of whose nodes is evaluated in one model call.

Every document of a session is a tree of tokens below its BOS. A call of the model takes the new
nodes of any set of documents, packed into one sequence [1, T]; a node's position is its depth, and
its attention is restricted to its ancestors (`lmfst.lm.attention`). The keys and values of all
evaluated nodes are kept once, in slots shared by the documents. New nodes are packed depth first
and attended to in chunks, so that the nodes of a chunk have most of their ancestors in common.

Contexts longer than the model's are read in windows (`lmfst.lm.window`). A node can therefore be
evaluated in two windows; an evaluated (node, window) pair is called an entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lmfst.lm.attention import Call, Chunk, KeyValueStore, make_call
from lmfst.lm.base import Session, States
from lmfst.lm.entries import Document, Entry
from lmfst.lm.nodes import TokenTrees
from lmfst.lm.window import Windows

if TYPE_CHECKING:
    import torch


class TreeModel(Protocol):
    """What a session of token trees needs of a model.

    bos: the token that documents begin with, None: the first one is uniform. batch_tokens: new
    entries in a call, at most. device, dtype: of the model's numbers.
    """

    bos: int | None
    batch_tokens: int
    windows: Windows
    device: Any
    dtype: Any

    def uniform_row(self) -> torch.Tensor:
        """The row [1, vocabulary] before the first token where there is no BOS."""

    def forward(
        self, tokens: list[int], positions: list[int], call: Call, asked: list[int]
    ) -> torch.Tensor:
        """What `logits` makes rows of, [len(asked), …], for the asked ones of new entries."""

    def logits(self, found: torch.Tensor) -> Iterator[torch.Tensor]:
        """Rows [n, vocabulary], a block at a time, of what `forward` gave."""

    def shrink(self, tokens: int, error: BaseException) -> None:
        """Halve the size of calls after one of `tokens` entries ran out of memory, or raise."""

    def warn_of_length(self) -> None:
        """Say that a text is longer than the model's context."""


class TreeSession(Session):
    """Token trees of a batch of documents over one transformers model. States are tree nodes.

    compact_above: entries that a document may have before dead ones are dropped.
    """

    compact_above = 1024

    def __init__(self, lm: TreeModel) -> None:
        self._lm = lm
        self.store = KeyValueStore()
        self._trees = TokenTrees(lm.windows)
        self._documents: dict[int, Document] = {}
        self._long: set[int] = set()

    def open(self) -> int:
        root = self._trees.plant(self._lm.bos)
        self._documents[root] = Document()
        return root

    def step(self, states: States, tokens: States) -> States:
        pairs = zip(states.tolist(), tokens.tolist(), strict=True)
        return np.array([self._trees.child(*pair) for pair in pairs], dtype=np.int64)

    def rows(self, states: States) -> Iterator[tuple[slice, torch.Tensor]]:
        begin, nodes = 0, states.tolist()
        while begin < len(nodes):
            if self._trees.token[nodes[begin]] < 0:
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
        entry = self._trees.entry(node)
        root = self._trees.root[node]
        if entry[1] and root not in self._long:
            self._long.add(root)
            self._lm.warn_of_length()
        return entry

    def _next_call(self, nodes: list[int], begin: int) -> tuple[int, dict[Entry, None]]:
        """The entries of one call: as many of nodes[begin:] as the budget allows, at least one."""
        entries: dict[Entry, None] = {}
        end = begin
        while end < len(nodes) and self._trees.token[nodes[end]] >= 0:
            missing = self._missing(self._entry(nodes[end]), entries)
            if end > begin and len(entries) + len(missing) > self._lm.batch_tokens:
                break
            entries.update(dict.fromkeys(missing))
            end += 1
        return end, entries

    def _missing(self, entry: Entry, planned: dict[Entry, None]) -> list[Entry]:
        """`entry` and those ancestors of it that have never been evaluated, oldest first."""
        numbers = self._documents[self._trees.root[entry[0]]].numbers
        found = [entry] if entry not in planned else []
        above = self._trees.above(entry)
        while above is not None and above not in numbers and above not in planned:
            found.append(above)
            above = self._trees.above(above)
        return found[::-1]

    def _evaluate(self, entries: Iterable[Entry], asked: Sequence[Entry]) -> torch.Tensor | None:
        """Run the model over entries; what it has for the asked ones, see `forward`, in order.

        None if that didn't fit into memory: then nothing has changed but the size of a call.
        """
        by_document: dict[int, list[Entry]] = {}
        for entry in entries:
            by_document.setdefault(self._trees.root[entry[0]], []).append(entry)
        before = {root: len(self._documents[root]) for root in by_document}
        packed = [e for group in by_document.values() for e in self._trees.depth_first(group)]
        place = {entry: i for i, entry in enumerate(packed)}
        numbers = self._place(packed)
        documents = [self._documents[self._trees.root[node]] for node, _ in packed]
        found = zip(documents, numbers, strict=True)
        try:
            return self._lm.forward(
                tokens=[self._trees.token[node] for node, _ in packed],
                positions=[document.positions[n] for document, n in found],
                call=self._call(documents, numbers),
                asked=[place[entry] for entry in asked],
            )
        except BaseException as error:
            # What was not evaluated must not count as such, whoever may go on with this session.
            for root, count in before.items():
                document = self._documents[root]
                self.store.free(document.take_back(len(document) - count))
            self.store.grow_sparingly()
            if not isinstance(error, RuntimeError | MemoryError):
                raise
            self._lm.shrink(len(packed), error)
            return None

    def _place(self, entries: Sequence[Entry]) -> list[int]:
        """Local numbers of entries, new ones for those that have none."""
        found = [(entry, self._documents[self._trees.root[entry[0]]]) for entry in entries]
        slots = iter(self.store.allocate(sum(e not in d.numbers for e, d in found)))
        for entry, document in found:
            if entry not in document.numbers:
                above, position = self._trees.above(entry), self._trees.position(entry)
                document.add(entry, above, next(slots), position)
        return [document.numbers[entry] for entry, document in found]

    def _call(self, documents: Sequence[Document], numbers: Sequence[int]) -> Call:
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
        return make_call(self.store, np.array(slots), chunks, device, dtype)

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
                entry = self._trees.above(entry)
        if len(keep) < len(document):
            self.store.free(document.keep(sorted(keep)))

    def close(self, root: int) -> None:
        document = self._documents.pop(root)
        self.store.free(document.slots)
