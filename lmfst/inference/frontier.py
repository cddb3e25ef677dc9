"""Hypotheses as arrays: waves of hypotheses that are decided together, and the agenda of those that
wait.

Positions are those of a batch: offset o of document d stands at base[d] + o, so that one number
says where a hypothesis is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmfst.ground.arrays import Floats, Ints

_POSITION, _PARENT, _TOKEN, _LEXICON, _LOGW, _GUIDE = range(6)
NOWHERE = int(np.iinfo(np.int64).max)
"""A position after all."""


@dataclass
class Hypotheses:
    """Hypotheses: where they are, the LM states of their parents, the tokens read there (-1 for a
    root, whose own state `parent` is), their lexicon states, log weights, and the states of a guide
    (`lmfst.inference.guide`) after their tokens; all [hypotheses]."""

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
        """Where those of each position begin, if those of one position follow each other."""
        new = np.ones(len(self), dtype=bool)
        new[1:] = self.position[1:] != self.position[:-1]
        return np.flatnonzero(new)


def sorted_by_position(wave: Hypotheses) -> Hypotheses:
    """The hypotheses of a position side by side, in the order in which they came."""
    return wave.at(np.argsort(wave.position, kind="stable"))


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


class Agenda:
    """Hypotheses that wait for their offset, in the order in which they came."""

    def __init__(self, positions: int) -> None:
        """positions: how many there are in the batch."""
        # One matrix, log weights as bit patterns: hypotheses are added and taken often, a few at a
        # time.
        self._store = np.zeros((6, 256), dtype=np.int64)
        self._size = 0
        self._mark = np.zeros(positions, dtype=bool)

    def __len__(self) -> int:
        return self._size

    def copy(self) -> Agenda:
        other = Agenda(len(self._mark))
        other._store, other._size = self._store.copy(), self._size
        return other

    def add(
        self,
        position: Ints,
        parent: Ints,
        token: Ints,
        lexicon: Ints,
        logw: Floats,
        guide: Ints | int = 0,
    ) -> None:
        """Add hypotheses; see `Hypotheses`."""
        end = self._size + len(position)
        if end > self._store.shape[1]:
            self._store = np.pad(self._store, ((0, 0), (0, max(end, self._size))))
        new = self._store[:, self._size : end]
        new[_POSITION], new[_PARENT] = position, parent
        new[_TOKEN], new[_LEXICON] = token, lexicon
        new[_LOGW] = logw.view(np.int64)
        new[_GUIDE] = guide
        self._size = end

    def put_back(self, wave: Hypotheses) -> None:
        """Put back the hypotheses of a wave."""
        logw = np.ascontiguousarray(wave.logw)
        self.add(wave.position, wave.parent, wave.token, wave.lexicon, logw, wave.guide)

    def hypotheses(self) -> Hypotheses:
        """All hypotheses that wait."""
        return _unpacked(self._store[:, : self._size])

    def first_of(self, document: Ints, documents: int) -> Ints:
        """The least position at which hypotheses wait, of each document; NOWHERE if there are none.
        document: that of each position."""
        waiting = self._store[_POSITION, : self._size]
        if documents == 1:
            return np.array([waiting.min(initial=NOWHERE)])
        found = np.full(documents, NOWHERE)
        np.minimum.at(found, document[waiting], waiting)
        return found

    def _marked(self, marks: Ints, positions: Ints) -> NDArray[np.bool_]:
        """Which positions are among the marks."""
        self._mark[marks] = True
        found = self._mark[positions]
        self._mark[marks] = False
        return found

    def take(self, positions: Ints) -> Hypotheses | None:
        """Remove the hypotheses at some positions; None if there are none."""
        waiting = self._store[:, : self._size]
        if len(positions) == 1:
            here = waiting[_POSITION] == positions[0]
        else:
            here = self._marked(positions, waiting[_POSITION])
        index = here.nonzero()[0]
        if not len(index):
            return None
        taken = waiting[:, index]
        rest = waiting[:, ~here]
        self._size = rest.shape[1]
        self._store[:, : self._size] = rest
        return _unpacked(taken)


def _unpacked(columns: NDArray[np.int64]) -> Hypotheses:
    return Hypotheses(
        columns[_POSITION],
        columns[_PARENT],
        columns[_TOKEN],
        columns[_LEXICON],
        columns[_LOGW].view(np.float64),
        columns[_GUIDE],
    )
