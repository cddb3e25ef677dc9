"""Labels that are bytes of no text: a sign that an FST's labels are code points.

An arc is *usable* if it lies on an accepting path whose input and whose output are both valid
UTF-8: reachability in the product of the FST with the UTF-8 automaton (Unicode 15, table 3-7) on
either side. `é` as the code point 0xE9 is followed by no continuation byte, and is unusable; on a
loop that copies all bytes, or deletes them, nearly every byte is usable.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lmfst.fst.core import Fst

_STATES = 8
_SILENT = 256
"""The column of what isn't a byte: it leaves the automaton where it is."""

_RANGES = {
    0: [
        *[(0x00, 0x7F, 0), (0xC2, 0xDF, 1), (0xE0, 0xE0, 4), (0xE1, 0xEC, 2), (0xED, 0xED, 5)],
        *[(0xEE, 0xEF, 2), (0xF0, 0xF0, 6), (0xF1, 0xF3, 3), (0xF4, 0xF4, 7)],
    ],
    1: [(0x80, 0xBF, 0)],
    2: [(0x80, 0xBF, 1)],
    3: [(0x80, 0xBF, 2)],
    4: [(0xA0, 0xBF, 1)],
    5: [(0x80, 0x9F, 1)],
    6: [(0x90, 0xBF, 2)],
    7: [(0x80, 0x8F, 2)],
}
"""State → (first byte, last byte, next state). State 0 is between two characters."""

_CLASS = 64
"""So many different bytes from 128 on that leave a state are a class, such as "any byte"."""

MAX_MOVES = 2_000_000

Edge = tuple[int, int, int]
"""Number of the class of arcs, product state before, product state after."""


def unusable_labels(fst: Fst, *, inputs: bool = True, outputs: bool = True) -> list[int]:
    """The bytes from 128 on that stand where no UTF-8 text has a use for them, in order.

    inputs, outputs: which sides are taken as bytes, and looked at. Output symbols other than bytes
    count as nothing. Not every unusable arc speaks against bytes: "any byte" holds 0xFF, and a
    continuation byte after a letter. So all count if none is usable in the whole FST, but for whole
    classes of bytes. Else those count that begin characters at a state where others do so usably,
    if the byte is usable nowhere, or rewritten there. An empty list also where it would take more
    than `MAX_MOVES` steps to know.
    """
    fst = fst.trim()
    outputs = outputs and fst.symbols.kind == "bytes"
    read = np.where((fst.ilabel >= 0) & inputs, fst.ilabel, _SILENT)
    written = np.where((fst.olabel >= 0) & (fst.olabel < 256) & outputs, fst.olabel, _SILENT)
    high_in = (read >= 128) & (read < 256)
    high = high_in | ((written >= 128) & (written < 256))
    if not high.any():
        return []
    product = _Product(fst, read, written)
    if not product.explored:
        return []
    src, usable = fst.src, product.usable()
    byte = np.where(high_in, read, written)
    first = high & (byte >= 0xC2) & (byte <= 0xF4)
    if (high & usable).any():
        among = np.zeros(fst.n_states, dtype=bool)
        among[src[first & usable]] = True
        nowhere = ~np.isin(byte, byte[high & usable])
        rewritten = high_in & (written < _SILENT) & (written != read)
        doubtful = first & ~usable & among[src] & (nowhere | rewritten)
    else:
        pairs = np.unique(np.stack([src[high], byte[high]], axis=1), axis=0)
        doubtful = high & (np.bincount(pairs[:, 0], minlength=fst.n_states)[src] < _CLASS)
    return sorted({*byte[doubtful].tolist()})


def show_labels(labels: list[int]) -> str:
    """Labels for messages, as numbers and as the characters they would be."""
    shown = ", ".join(f"0x{label:02X} ({chr(label)!r})" for label in labels[:6])
    return shown + (", …" if len(labels) > 6 else "")


def _table() -> NDArray[np.int64]:
    """The automaton: next state by [state, byte or _SILENT], -1 for none."""
    table = np.full((_STATES, 257), -1)
    table[:, _SILENT] = np.arange(_STATES)
    for state, ranges in _RANGES.items():
        for first, last, after in ranges:
            table[state, first : last + 1] = after
    return table


class _Product:
    """The part of an FST × UTF-8 automaton × UTF-8 automaton that can be reached.

    A node is state · 64 + automaton state of the input · 8 + that of the output. Arcs that differ
    only in bytes of one kind are one class.
    """

    def __init__(self, fst: Fst, read: NDArray[np.int64], written: NDArray[np.int64]) -> None:
        """read, written: int64 [n_arcs], a byte or _SILENT. fst: trimmed."""
        columns, kind = np.unique(_table(), axis=1, return_inverse=True)
        rows = np.stack([fst.src, kind.ravel()[read], kind.ravel()[written], fst.dst], axis=1)
        classes, number = np.unique(rows, axis=0, return_inverse=True)
        self._fst, self._step, self._number = fst, columns.tolist(), number.ravel()
        self._bounds = np.searchsorted(classes[:, 0], np.arange(fst.n_states + 1)).tolist()
        self._moves = classes.tolist()
        self._edges: list[Edge] = []
        self._nodes = {fst.start * 64}
        self.explored = self._explore()

    def _explore(self) -> bool:
        """Find nodes and edges; False if they are too many."""
        stack = list(self._nodes)
        while stack:
            for edge in self._from(stack.pop()):
                self._edges.append(edge)
                if edge[2] not in self._nodes:
                    self._nodes.add(edge[2])
                    stack.append(edge[2])
            if len(self._edges) > MAX_MOVES:
                return False
        return True

    def _from(self, node: int) -> Iterator[Edge]:
        state, left, right = node // 64, self._step[node // 8 % 8], self._step[node % 8]
        for at in range(self._bounds[state], self._bounds[state + 1]):
            _, read, written, dst = self._moves[at]
            if left[read] >= 0 and right[written] >= 0:
                yield at, node, dst * 64 + left[read] * 8 + right[written]

    def usable(self) -> NDArray[np.bool_]:
        """Whether each arc is usable: bool [n_arcs]."""
        into: dict[int, list[tuple[int, int]]] = {}
        for at, before, after in self._edges:
            into.setdefault(after, []).append((at, before))
        stack = [state * 64 for state in np.flatnonzero(self._fst.final).tolist()]
        seen = set(stack)
        live = np.zeros(len(self._moves), dtype=bool)
        while stack:
            for at, before in into.get(stack.pop(), ()):
                live[at] = True
                if before not in seen:
                    seen.add(before)
                    stack.append(before)
        return live[self._number]
