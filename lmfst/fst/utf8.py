"""Labels that are bytes of no text: a sign that an FST's labels are code points.

An arc is *usable* if it lies on an accepting path whose input and whose output are both valid
UTF-8: reachability in the product of the FST with the UTF-8 automaton (Unicode 15, table 3-7) on
either side. `é` as the code point 0xE9 is followed by no continuation byte, and is unusable; on a
loop that copies all bytes, or deletes them, nearly every byte is usable. An arc that text can reach
by its input, and whose outputs are never valid then, makes bytes that are no text out of text.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmfst.fst.core import Fst, Int32

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

_NEVER = [0xC0, 0xC1, *range(0xF5, 0x100)]
_COPIED = _SILENT + 1

MAX_MOVES = 2_000_000

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

Edge = tuple[int, int, int]
"""Number of the class of arcs, product state before, product state after."""


class Doubts(NamedTuple):
    """What speaks against bytes, each list in order: labels that no text has where they stand,
    outputs that make no text out of text, and bytes that become others in whatever character they
    stand."""

    labels: list[int]
    outputs: list[int]
    changed: list[int]


def unusable_labels(fst: Fst, *, inputs: bool = True, outputs: bool = True) -> list[int]:
    """The bytes from 128 on of all `doubts`, in order."""
    found = doubts(fst, inputs=inputs, outputs=outputs)
    return sorted({label for labels in found for label in labels})


def doubts(fst: Fst, *, inputs: bool = True, outputs: bool = True) -> Doubts:
    """The bytes from 128 on that stand where no UTF-8 text has a use for them.

    inputs, outputs: which sides are taken as bytes, and looked at. Output symbols other than bytes
    count as nothing. Not every unusable arc speaks against bytes: "any byte" holds 0xFF, and a
    continuation byte after a letter. So all count if none is usable in the whole FST, but for whole
    classes of bytes. Else those count

    - that begin characters at a state where others do so usably, if the byte is usable nowhere, or
      rewritten there,
    - that no text has at all, and continuation bytes where none is usable, if most others of that
      kind are written otherwise at the state,
    - that text reaches, and that are rewritten there so that no text comes out, and those that
      become other bytes at a state that is between characters, too; again but for whole classes.

    Empty lists also where it would take more than `MAX_MOVES` steps to know.
    """
    fst = fst.trim()
    outputs = outputs and fst.symbols.kind == "bytes"
    read = np.where((fst.ilabel >= 0) & inputs, fst.ilabel, _SILENT)
    written = np.where((fst.olabel >= 0) & (fst.olabel < 256) & outputs, fst.olabel, _SILENT)
    high_in = (read >= 128) & (read < 256)
    high = high_in | ((written >= 128) & (written < 256))
    product = _Product(fst, read, written) if high.any() else None
    if product is None or not product.explored:
        return Doubts([], [], [])
    src, usable = fst.src, product.usable()
    byte = np.where(high_in, read, written)
    none = np.zeros(fst.n_arcs, dtype=bool)
    if not (high & usable).any():
        labels, no_text, changed = high & ~_in_class(src, byte, high), none, none
    else:
        labels = _beginning(fst, read, written, usable)
        for odd in (np.isin(read, _NEVER), (read >= 128) & (read < 0xC0) & ~usable):
            labels |= _written_otherwise(fst, read, written, odd, high & usable)
        no_text, changed = _out_of_text(fst, read, written, usable) if outputs else (none, none)
    by_output = no_text & (written >= 128) & (written < _SILENT)
    # What is read isn't at fault then, nor what else is read on the way there.
    labels = labels & ~no_text if by_output.any() else labels | no_text
    changed = changed & ~labels & ~by_output
    return Doubts(
        *(_set(*pair) for pair in ((byte, labels), (written, by_output), (byte, changed)))
    )


def _set(values: Ints, where: Bools) -> list[int]:
    return sorted({*values[where].tolist()})


def _in_class(src: Int32, byte: Ints, where: Bools) -> Bools:
    """Whether so many different bytes of those arcs leave an arc's state that they are a class."""
    pairs = np.unique(np.stack([src[where], byte[where]], axis=1), axis=0)
    size = int(src.max()) + 1
    return np.asarray(np.bincount(pairs[:, 0], minlength=size)[src] >= _CLASS)


def _beginning(fst: Fst, read: Ints, written: Ints, usable: Bools) -> Bools:
    """Bytes that would begin a character where others do, but are usable nowhere or rewritten."""
    high_in = (read >= 128) & (read < 256)
    byte = np.where(high_in, read, written)
    high = (byte >= 128) & (byte < 256)
    first = high & (byte >= 0xC2) & (byte <= 0xF4)
    among = np.zeros(fst.n_states, dtype=bool)
    among[fst.src[first & usable]] = True
    nowhere = ~np.isin(byte, byte[high & usable])
    rewritten = high_in & (written < _SILENT) & (written != read)
    return np.asarray(first & ~usable & among[fst.src] & (nowhere | rewritten))


def _written_otherwise(fst: Fst, read: Ints, written: Ints, odd: Bools, sound: Bools) -> Bools:
    """Those of the odd arcs that don't write what half of their bytes or more, or a sound arc, do
    at the state."""
    kind = np.where(written == read, _COPIED, written)
    rows = np.unique(np.stack([fst.src, read, kind], axis=1)[odd], axis=0)
    here = np.zeros(fst.n_states, dtype=np.int64)
    np.add.at(here, np.unique(rows[:, :2], axis=0)[:, 0], 1)
    alike = np.zeros((fst.n_states, _COPIED + 1), dtype=np.int32)
    np.add.at(alike, (rows[:, 0], rows[:, 2]), 1)
    usual = np.asarray(2 * alike >= here[:, None])
    there = np.asarray(usual.any(axis=1))[fst.src]
    usual[fst.src[sound], kind[sound]] = True
    return np.asarray(odd & there & ~usual[fst.src, kind])


def _out_of_text(fst: Fst, read: Ints, written: Ints, usable: Bools) -> tuple[Bools, Bools]:
    """Arcs with a byte from 128 on that text reaches by its input: those that are rewritten so that
    no text comes out, and those that turn it into another such byte at a state that stands between
    characters as well as within them."""
    by_input = _Product(fst, read, np.full_like(written, _SILENT))
    none = np.zeros(fst.n_arcs, dtype=bool)
    if not by_input.explored:
        return none, none
    high_in, high_out = ((side >= 128) & (side < _SILENT) for side in (read, written))
    byte = np.where(high_in, read, written)
    rewritten = (high_in | high_out) & (written != read)
    no_text = rewritten & by_input.usable() & ~usable
    changed = rewritten & high_in & high_out & by_input.astride()
    return (
        no_text & ~_in_class(fst.src, byte, no_text),
        changed & ~_in_class(fst.src, byte, changed),
    )


def show_doubts(found: Doubts) -> str:
    """Doubts as a clause for messages; nothing where there are none."""
    said = (
        "no UTF-8 text goes with its labels ",
        "UTF-8 text becomes what is none by its outputs ",
        "single bytes become others in whatever UTF-8 characters they stand: ",
    )
    parts = zip(said, found, strict=True)
    return ", and ".join(text + _shown(labels) for text, labels in parts if labels)


def _shown(labels: list[int]) -> str:
    """Labels as numbers and as the characters they would be."""
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

    @cached_property
    def _live(self) -> set[int]:
        """The nodes on accepting paths."""
        into: dict[int, list[int]] = {}
        for _, before, after in self._edges:
            into.setdefault(after, []).append(before)
        stack = [state * 64 for state in np.flatnonzero(self._fst.final).tolist()]
        seen = set(stack)
        while stack:
            for before in into.get(stack.pop(), ()):
                if before not in seen:
                    seen.add(before)
                    stack.append(before)
        return seen & self._nodes

    def usable(self) -> Bools:
        """Whether each arc is usable: bool [n_arcs]."""
        live = np.zeros(len(self._moves), dtype=bool)
        live[[at for at, _, after in self._edges if after in self._live]] = True
        return np.asarray(live[self._number])

    def astride(self) -> Bools:
        """Whether each arc has an end within an input character whose state is between characters,
        too: bool [n_arcs]."""
        between = {node // 64 for node in self._live if node // 8 % 8 == 0}
        found = np.zeros(len(self._moves), dtype=bool)
        for at, *ends in self._edges:
            if ends[1] in self._live and any(
                node // 8 % 8 and node // 64 in between for node in ends
            ):
                found[at] = True
        return np.asarray(found[self._number])
