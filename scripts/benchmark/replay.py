"""A model's rows, recorded by context and replayed, so that everything but the model is measured.

`ReplayLM` stands for a model. The first time that a context's row is asked for, the model says what
it is, and it is kept; from then on it comes from memory. Rows are handed out as a session of token
trees does (`lmfst.lm.tree`, `lmfst.lm.head`): 64 at a time, as the transpose of [vocabulary, rows],
in memory that the next block overwrites.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from lmfst.lm.base import LM, Session, States

BLOCK = 64
"""Rows in a block, and in a chunk of what is recorded."""
MOST_BYTES = 6 << 30
"""Of recorded rows."""
MOST_KEPT = 12 << 30
"""The same of those that a file keeps, which are in memory as far as they are read."""


class Recording:
    """Rows by context. Contexts are nodes of a trie of tokens, node 0 the empty one.

    rows: how many are held. misses: how many of them have been added since it was made, read or
    written.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.rows = self.misses = 0
        self._most = most_bytes
        self._parent, self._token = [-1], [-1]
        self._row = [-1]
        self._nodes: dict[tuple[int, int], int] = {}
        self._chunks: list[torch.Tensor] = []
        self._buffer: torch.Tensor | None = None

    def child(self, node: int, token: int) -> int:
        """The context one token longer."""
        found = self._nodes.get((node, token))
        if found is None:
            found = self._nodes[node, token] = len(self._row)
            self._parent.append(node)
            self._token.append(token)
            self._row.append(-1)
        return found

    def has(self, node: int) -> bool:
        """Whether the row of a context is held."""
        return self._row[node] >= 0

    def context(self, node: int) -> list[int]:
        """The tokens of a context."""
        found = []
        while node:
            found.append(self._token[node])
            node = self._parent[node]
        return found[::-1]

    def add(self, node: int, row: torch.Tensor) -> None:
        """Keep the row [vocabulary] of a context. SystemExit where that would be too much."""
        if self.has(node):
            return
        at = self.rows % BLOCK
        if at == 0:
            chunk = row.new_empty((BLOCK, len(row)))
            if (len(self._chunks) + 1) * chunk.nbytes > self._most:
                raise SystemExit(f"more than {self._most >> 20} MiB of rows: choose fewer texts")
            self._chunks.append(chunk)
        self._chunks[-1][at] = row
        self._row[node] = self.rows
        self.rows += 1
        self.misses += 1

    def block(self, nodes: Sequence[int]) -> torch.Tensor:
        """The rows [n, vocabulary] of contexts, valid until the next call."""
        rows = [self._chunks[r // BLOCK][r % BLOCK] for r in (self._row[node] for node in nodes)]
        size, count = len(rows[0]), len(rows)
        if self._buffer is None or self._buffer.numel() < size * count:
            self._buffer = rows[0].new_empty(size * count)
        product = self._buffer[: size * count].view(size, count)
        torch.stack(rows, dim=1, out=product)
        return product.t()

    def state(self) -> dict[str, Any]:
        """What `torch.save` can write and `of` read."""
        trie = {"parent": self._parent, "token": self._token, "row": self._row}
        kept = {name: torch.tensor(values) for name, values in trie.items()}
        return {**kept, "rows": self.rows, "chunks": [chunk.cpu() for chunk in self._chunks]}

    @classmethod
    def of(cls, state: dict[str, Any], device: str = "cpu") -> Recording:
        """The recording that had such a state, on a device."""
        self = cls(MOST_KEPT)
        self._parent, self._token, self._row = (
            state[name].tolist() for name in ("parent", "token", "row")
        )
        pairs = zip(self._parent[1:], self._token[1:], strict=True)
        self._nodes = {pair: node for node, pair in enumerate(pairs, start=1)}
        self.rows = state["rows"]
        self._chunks = [chunk.to(device) for chunk in state["chunks"]]
        return self


class Rows:
    """Recordings by model, kept in a file if there is one, and read onto a device."""

    def __init__(self, path: Path | None, device: str = "cpu") -> None:
        self._path = path
        kept: dict[str, Any] = {}
        if path is not None and path.is_file():
            kept = torch.load(path, mmap=True, weights_only=True)
        self._recordings = {name: Recording.of(state, device) for name, state in kept.items()}

    def of(self, model: str) -> Recording:
        """The recording of a model by this name."""
        return self._recordings.setdefault(model, Recording(MOST_KEPT))

    def save(self) -> int:
        """Write what was added since this was read or written, and say how much that was."""
        added = sum(one.misses for one in self._recordings.values())
        if self._path is not None and added:
            temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}")
            torch.save({name: one.state() for name, one in self._recordings.items()}, temporary)
            os.replace(temporary, self._path)
        for one in self._recordings.values():
            one.misses = 0
        return added


class ReplayLM(LM):
    """A model whose rows come from a recording, to which those that it lacks are added.

    lm: one whose contexts don't merge.
    """

    def __init__(self, lm: LM, recording: Recording | None = None) -> None:
        if lm.merges:
            raise ValueError(f"{lm.describe()['model']} merges contexts: it has no rows by context")
        self._lm = lm
        self.vocab = lm.vocab
        self.recording = Recording() if recording is None else recording

    def next_logp(self, contexts: Sequence[Sequence[int]]) -> ArrayLike:
        session = self.session()
        states = []
        for context in contexts:
            state = np.array([session.open()])
            for token in context:
                state = session.step(state, np.array([token]))
            states.append(int(state[0]))
        blocks = [rows.float().cpu().numpy().copy() for _, rows in session.rows(np.array(states))]
        return np.concatenate(blocks)

    def canonical(self, data: bytes) -> Sequence[int] | None:
        return self._lm.canonical(data)

    def encode(self, data: bytes) -> Sequence[int] | None:
        return self._lm.encode(data)

    def session(self) -> Session:
        return ReplaySession(self._lm, self.recording)

    def describe(self) -> dict[str, Any]:
        return self._lm.describe()


class ReplaySession(Session):
    """Token trees of a batch of documents, whose rows are replayed. States are tree nodes; those of
    two documents differ, though their contexts may be one."""

    def __init__(self, lm: LM, recording: Recording) -> None:
        self._lm, self._recording = lm, recording
        self._context: list[int] = []
        self._states: dict[tuple[int, int], int] = {}
        self._live: tuple[Session, dict[int, int]] | None = None

    def open(self) -> int:
        self._context.append(0)
        return len(self._context) - 1

    def step(self, states: States, tokens: States) -> States:
        moved = []
        for pair in zip(states.tolist(), tokens.tolist(), strict=True):
            state = self._states.get(pair)
            if state is None:
                state = self._states[pair] = len(self._context)
                self._context.append(self._recording.child(self._context[pair[0]], pair[1]))
            moved.append(state)
        return np.array(moved, dtype=np.int64)

    def rows(self, states: States) -> Iterator[tuple[slice, torch.Tensor]]:
        nodes = [self._context[state] for state in states.tolist()]
        self._record([n for n in dict.fromkeys(nodes) if not self._recording.has(n)])
        for begin in range(0, len(nodes), BLOCK):
            part = nodes[begin : begin + BLOCK]
            rows = self._recording.block(part)
            if rows.is_cuda:
                # What the device still has to do for this is no work of those who read it.
                torch.cuda.synchronize()
            yield slice(begin, begin + len(part)), rows

    def _record(self, nodes: list[int]) -> None:
        """Have the model evaluate contexts, together."""
        if not nodes:
            return
        if self._live is None:
            session = self._lm.session()
            self._live = session, {0: session.open()}
        session, known = self._live
        for node in nodes:
            state, at = known[0], 0
            for token in self._recording.context(node):
                at = self._recording.child(at, token)
                if at not in known:
                    known[at] = int(session.step(np.array([state]), np.array([token]))[0])
                state = known[at]
        states = np.array([known[node] for node in nodes], dtype=np.int64)
        for part, rows in session.rows(states):
            for node, row in zip(nodes[part], rows, strict=True):
                self._recording.add(node, row)
