"""An immutable finite-state transducer as arrays.

Arcs read a byte (0..255) or nothing (EPS) and write an output symbol (an int ≥ 0) or nothing (EPS).
They are kept in compressed-row form, sorted by (source, input, output, target), without duplicates.
An FST is a relation here, and the language model gives the probabilities: there are no weights, but
where the reader of a file was told to keep them, for `lmfst.fst.best`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmfst.fst.symbols import BYTES, Symbols
from lmfst.ground.errors import FstError

EPS = -1
"""The empty label on either side of an arc."""

Arc = tuple[int, int, int, int]
"""(source state, input byte or EPS, output symbol or EPS, target state)"""

Int32 = NDArray[np.int32]
Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Fst:
    """A transducer from bytes to symbols. All arrays are read-only.

    start:   start state, 0 ≤ start < n_states
    arc_ptr: int32 [n_states + 1]; the arcs of state q are arc_ptr[q]:arc_ptr[q + 1]
    ilabel:  int32 [n_arcs]; input byte 0..255, or EPS
    olabel:  int32 [n_arcs]; output symbol ≥ 0, or EPS
    dst:     int32 [n_arcs]; target state
    final:   bool [n_states]
    symbols: names of the output symbols
    weight:  float64 [n_arcs]; weights of the arcs, by which the lighter path is the better one (the
             tropical semiring); None: there are none, or they were left out
    final_weight: float64 [n_states]; those of final states, 0 elsewhere; None with `weight`

    Two FSTs are equal if their digests are. FstError if the arrays don't fit together.
    """

    start: int
    arc_ptr: Int32
    ilabel: Int32
    olabel: Int32
    dst: Int32
    final: NDArray[np.bool_]
    symbols: Symbols = field(default=BYTES)
    weight: Float64 | None = None
    final_weight: Float64 | None = None

    def __post_init__(self) -> None:
        for name in ("arc_ptr", "ilabel", "olabel", "dst"):
            self._set(name, np.array(getattr(self, name), dtype=np.int32))
        self._set("final", np.array(self.final, dtype=np.bool_))
        self._set("start", int(self.start))
        for name in ("weight", "final_weight"):
            if getattr(self, name) is not None:
                self._set(name, np.array(getattr(self, name), dtype=np.float64))
        self._check()

    def _set(self, name: str, value: Any) -> None:
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
        object.__setattr__(self, name, value)

    def _check(self) -> None:
        states, arcs = self.n_states, self.n_arcs
        if not 0 <= self.start < states:
            raise FstError(f"expected a start state in 0..{states - 1}, got {self.start}")
        if self.arc_ptr.shape != (states + 1,) or self.arc_ptr[0] != 0 or self.arc_ptr[-1] != arcs:
            raise FstError(f"expected arc_ptr of {states + 1} entries from 0 to {arcs}")
        if (np.diff(self.arc_ptr) < 0).any():
            raise FstError("expected arc_ptr to be non-decreasing")
        if self.olabel.shape != self.ilabel.shape or self.dst.shape != self.ilabel.shape:
            raise FstError("expected ilabel, olabel and dst of one length")
        sizes = [None if w is None else w.shape for w in (self.weight, self.final_weight)]
        if sizes not in ([None, None], [(arcs,), (states,)]):
            raise FstError("expected a weight for each arc and each state, or none at all")
        if arcs == 0:
            return
        if self.ilabel.min() < EPS or self.ilabel.max() > 255:
            raise FstError("expected input labels that are bytes 0..255 or EPS")
        if self.olabel.min() < EPS:
            raise FstError(f"expected output symbols ≥ 0 or EPS, got {self.olabel.min()}")
        if self.dst.min() < 0 or self.dst.max() >= states:
            raise FstError(f"expected target states in 0..{states - 1}")

    @property
    def n_states(self) -> int:
        return len(self.final)

    @property
    def n_arcs(self) -> int:
        return len(self.ilabel)

    @property
    def src(self) -> Int32:
        """Source state of each arc: int32 [n_arcs]."""
        return np.repeat(np.arange(self.n_states, dtype=np.int32), np.diff(self.arc_ptr))

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of start, arcs, final states, symbol names and weights: the FST hash."""
        content = hashlib.sha256(b"lmfst-fst-1\0")
        content.update(np.array([self.n_states, self.n_arcs, self.start], "<i8").tobytes())
        for labels in (self.arc_ptr, self.ilabel, self.olabel, self.dst):
            content.update(labels.astype("<i4").tobytes())
        content.update(np.packbits(self.final).tobytes())
        content.update(self.symbols.kind.encode())
        for label, name in self.symbols.names.items():
            encoded = name.encode("utf-8", "surrogatepass")
            content.update(f"\0{label}\0{len(encoded)}\0".encode() + encoded)
        if self.weight is not None and self.final_weight is not None:
            content.update(self.weight.tobytes() + self.final_weight.tobytes())
        return content.hexdigest()

    def __eq__(self, other: object) -> bool:
        return self.digest == other.digest if isinstance(other, Fst) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"<Fst {self.n_states} states, {self.n_arcs} arcs, {self.digest[:12]}>"

    @classmethod
    def from_arcs(
        cls,
        arcs: Iterable[Arc],
        start: int,
        finals: Iterable[int],
        symbols: Symbols = BYTES,
        n_states: int | None = None,
    ) -> Fst:
        """An FST from (source, input, output, target) arcs in any order; duplicates are dropped.

        n_states: at least one more than the greatest state named, which is also the default.
        """
        rows = np.array(sorted(set(arcs)), dtype=np.int64).reshape(-1, 4)
        final_states = sorted({int(state) for state in finals})
        named = {start, *final_states[:1], *final_states[-1:]}
        if len(rows):
            named |= {int(rows[:, 3].min()), int(rows[:, 3].max()), *rows[[0, -1], 0].tolist()}
        size = max(named) + 1 if n_states is None else n_states
        if min(named) < 0 or max(named) >= size:
            wrong = min(named) if min(named) < 0 else max(named)
            raise FstError(f"expected states in 0..{size - 1}, got {wrong}")
        return cls._from_rows(rows, start, final_states, symbols, size)

    def weighted(self, arcs: Mapping[Arc, float], finals: Mapping[int, float]) -> Fst:
        """The same with weights, of arcs and of final states; 0 for those that have none."""
        final = np.zeros(self.n_states)
        for state, weight in finals.items():
            final[state] = weight
        return replace(
            self,
            weight=np.array([arcs.get(arc, 0.0) for arc in self.arcs()]),
            final_weight=final,
        )

    @classmethod
    def _from_rows(
        cls, rows: NDArray[np.int64], start: int, finals: list[int], symbols: Symbols, size: int
    ) -> Fst:
        """From sorted, distinct rows [n_arcs, 4]."""
        final = np.zeros(size, dtype=np.bool_)
        final[finals] = True
        arc_ptr = np.searchsorted(rows[:, 0], np.arange(size + 1)).astype(np.int32)
        ilabel, olabel, dst = (rows[:, column].astype(np.int32) for column in (1, 2, 3))
        return cls(start, arc_ptr, ilabel, olabel, dst, final, symbols)

    def arcs(self) -> list[Arc]:
        """All arcs as (source, input, output, target), in order."""
        columns = (self.src, self.ilabel, self.olabel, self.dst)
        return list(zip(*(column.tolist() for column in columns), strict=True))

    def trim(self) -> Fst:
        """The accessible and coaccessible part; one state that isn't final if nothing is left.

        States keep their order. Returns `self` if nothing has to go. Found once: whoever needs a
        trimmed FST may ask for it again.
        """
        return self._trimmed

    @cached_property
    def _trimmed(self) -> Fst:
        made = self._trim()
        made.__dict__["_trimmed"] = made
        return made

    def _trim(self) -> Fst:
        finals = np.flatnonzero(self.final).tolist()
        keep = _reached(self, [self.start]) & _reached(self, finals, back=True)
        if keep.all():
            return self
        if not keep[self.start]:
            return Fst.from_arcs([], 0, [], self.symbols)
        number = np.cumsum(keep) - 1
        src = self.src
        live = keep[src] & keep[self.dst]
        columns = (number[src[live]], self.ilabel[live], self.olabel[live], number[self.dst[live]])
        rows = np.stack(columns, axis=1).astype(np.int64)
        kept = number[keep & self.final].tolist()
        made = Fst._from_rows(rows, int(number[self.start]), kept, self.symbols, int(keep.sum()))
        if self.weight is None or self.final_weight is None:
            return made
        # Arcs and states that stay keep their order.
        return replace(made, weight=self.weight[live], final_weight=self.final_weight[keep])

    def reading(self, alphabet: Collection[int]) -> Fst:
        """The part of it that accepts strings over some bytes, trimmed, without weights."""
        read = np.isin(self.ilabel, [EPS, *alphabet])
        columns = (self.src[read], self.ilabel[read], self.olabel[read], self.dst[read])
        rows = np.stack(columns, axis=1).astype(np.int64)
        finals = np.flatnonzero(self.final).tolist()
        return Fst._from_rows(rows, self.start, finals, self.symbols, self.n_states).trim()


def _reached(fst: Fst, seeds: list[int], *, back: bool = False) -> NDArray[np.bool_]:
    """States reachable from `seeds` along the arcs, or against them: bool [n_states]."""
    src, dst = (fst.dst, fst.src) if back else (fst.src, fst.dst)
    order = np.argsort(src, kind="stable")
    bounds = np.searchsorted(src[order], np.arange(fst.n_states + 1)).tolist()
    targets = dst[order].tolist()
    seen = np.zeros(fst.n_states, dtype=np.bool_)
    stack = list(seeds)
    seen[stack] = True
    while stack:
        state = stack.pop()
        for target in targets[bounds[state] : bounds[state + 1]]:
            if not seen[target]:
                seen[target] = True
                stack.append(target)
    return seen


def identity_bytes() -> Fst:
    """The function that copies every byte string: one state, 256 arcs."""
    return Fst.from_arcs(((0, byte, byte, 0) for byte in range(256)), 0, [0])
