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

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lmfst.lm.attention import Inputs, KeyValueStore, make_inputs
from lmfst.lm.base import Session, States
from lmfst.lm.entries import release, retain
from lmfst.lm.nodes import DEPTH, HELD, ROOT, TOKEN, USED, TokenTrees
from lmfst.lm.packing import pack
from lmfst.lm.sizes import Sizes
from lmfst.lm.transfers import Outbox, exact_place
from lmfst.lm.window import Windows

if TYPE_CHECKING:
    import torch


class TreeModel(Protocol):
    """What a session of token trees needs of a model.

    bos: the token that documents begin with, None: the first one is uniform. batch_tokens: new
    entries in a call, at most. device, dtype: of the model's numbers. sizes: of the parts of a
    call.
    """

    bos: int | None
    batch_tokens: int
    windows: Windows
    device: Any
    dtype: Any
    sizes: Sizes

    @property
    def place(self) -> Any:
        """The device that rows are on."""

    def uniform_row(self) -> torch.Tensor:
        """The row [1, vocabulary] before the first token where there is no BOS."""

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """What `logits` makes rows of, [len(inputs.asked), …], for the asked ones of new
        entries."""

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
        self._inbox = Outbox(lm.device)
        to = exact_place(lm.place)
        self.outbox = self._inbox if to == lm.device else Outbox(to)
        self.halves = lm.sizes.halves
        self.store = KeyValueStore()
        self.trees = TokenTrees(lm.windows.length)
        self._long: set[int] = set()

    def open(self) -> int:
        return self.trees.plant(self._lm.bos)

    def step(self, states: States, tokens: States) -> States:
        return self.trees.step(states, tokens)

    def rows(self, states: States) -> Iterator[tuple[slice, torch.Tensor]]:
        begin, states = 0, np.ascontiguousarray(states, np.int64)
        self._warn_of_length(states)
        while begin < len(states):
            if self.trees.arrays.nodes[states[begin], TOKEN] < 0:
                yield slice(begin, begin + 1), self._lm.uniform_row()
                begin += 1
                continue
            found = self._evaluate(states[begin:])
            if found is not None:
                for rows in self._lm.logits(found):
                    yield slice(begin, begin + len(rows)), rows
                    begin += len(rows)

    def _warn_of_length(self, states: States) -> None:
        nodes, length = self.trees.arrays.nodes, self._lm.windows.length
        long = set(nodes[states[nodes[states, DEPTH] >= length], ROOT].tolist())
        for _ in long - self._long:
            self._lm.warn_of_length()
        self._long |= long

    def _evaluate(self, states: States) -> torch.Tensor | None:
        """Run the model over the next call; what it has, see `forward`, for the first states.

        None if the call had ancestors only, or if it didn't fit into memory: then nothing has
        changed but the size of a call.
        """
        budget = self._lm.batch_tokens
        self.trees.have_slots(budget)
        sizes = self._lm.sizes
        packed = pack(self.trees.arrays, states, budget, sizes.product, sizes.step)
        try:
            self.store.reserve(int(self.trees.arrays.counts[USED]))
            inputs = make_inputs(self.store, packed, self._inbox, self._lm.dtype)
            found = self._lm.forward(inputs)
        except BaseException as error:
            # What was not evaluated must not count as such, whoever may go on with this session.
            release(self.trees.arrays, packed.fresh)
            self.store.grow_sparingly()
            if not isinstance(error, RuntimeError | MemoryError):
                raise
            self._lm.shrink(packed.entries.shape[1], error)
            return None
        return found if packed.answered else None

    def retain(self, root: int, live: States) -> None:
        if self.trees.arrays.nodes[root, HELD] > self.compact_above:
            retain(self.trees.arrays, root, np.ascontiguousarray(live, np.int64))

    def close(self, root: int) -> None:
        retain(self.trees.arrays, root, np.zeros(0, np.int64))


def rows_after(session: TreeSession, contexts: Sequence[Sequence[int]]) -> np.ndarray:
    """The rows [n, vocabulary] float32 after contexts of a new document."""
    root = np.array([session.open()])
    states = []
    for context in contexts:
        state = root
        for token in context:
            state = session.step(state, np.array([token]))
        states.append(int(state[0]))
    blocks = [rows.float().cpu().numpy().copy() for _, rows in session.rows(np.array(states))]
    return np.concatenate(blocks)
