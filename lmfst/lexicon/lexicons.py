"""The lexicons of a vocabulary and a machine, built on demand.

The state of a lexicon is a pair (decoder state of the vocabulary, state of the machine), interned
here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lmfst.fst import Determinised, Sequential
from lmfst.fst.pattern import Place
from lmfst.ground.announce import Announced
from lmfst.ground.arrays import Bools, Ints
from lmfst.lexicon.build import Builder
from lmfst.lexicon.lexicon import Lexicon
from lmfst.lexicon.store import open_store
from lmfst.vocab import Vocab

_MOST_READINGS = 1 << 18
"""Tokens in lexicon states whose output is kept."""


class Lexicons:
    """All lexicons of a (vocabulary, machine) pair, built on demand and kept in an LRU by memory.

    support: bool [vocabulary]. Tokens outside it are never read (EOS tokens always are).
    max_bytes: of the lexicons that are kept in memory. name: what the announcement of a long first
    use calls them.
    """

    def __init__(
        self,
        vocab: Vocab,
        machine: Sequential,
        *,
        support: NDArray[np.bool_] | None = None,
        max_bytes: int = 1 << 30,
        name: str = "the target",
    ) -> None:
        self.vocab, self.machine, self._support = vocab, machine, support
        self._name, self._max_bytes = name, max_bytes
        keep = np.ones(vocab.size, dtype=bool) if support is None else support
        self._builder = Builder(vocab, machine, keep, self.intern)
        self.alphabet = self._builder.alphabet
        self._states: list[tuple[int, int]] = []
        self._ids: dict[tuple[int, int], int] = {}
        self._pending = bytearray()
        self._readings: dict[tuple[int, int], tuple[tuple[int, ...], int] | None] = {}
        self._built: OrderedDict[int, Lexicon] = OrderedDict()
        self._bytes = 0
        self.start = self.intern(0, machine.start)
        self._store = open_store(vocab, machine, keep)
        kept = "once" if self._store is None else f"once; kept in {self._store.folder}"
        self._announced = Announced(f"building the lexicons of {name} ({kept})")

    def after(self, vocab: Vocab, machine: Sequential) -> Lexicons:
        """The lexicons of the same tokens and function where both begin in another state."""
        return Lexicons(
            vocab, machine, support=self._support, max_bytes=self._max_bytes, name=self._name
        )

    def intern(self, decoder: int, state: int) -> int:
        """The lexicon state of a (decoder state, machine state) pair."""
        key = (decoder, state)
        if key not in self._ids:
            self._ids[key] = len(self._states)
            self._states.append(key)
            machine = self.machine
            waits = isinstance(machine, Determinised) and machine.is_pending(state)
            self._pending.append(waits)
        return self._ids[key]

    def are_pending(self, states: Ints) -> Bools:
        """Of which lexicon states [n] much output is pending, so that `cut` may be worth it."""
        return np.frombuffer(self._pending, dtype=np.bool_)[states]

    def cut(
        self, state: int, target: Sequence[Place], offset: int, *, goes_on: bool = False
    ) -> int:
        """The lexicon state that is like another one as far as a target can tell of which
        target[offset:] is still to come (`lmfst.fst.sequential.Determinised.cut`)."""
        decoder, at = self._states[state]
        if not isinstance(self.machine, Determinised):
            return state
        return self.intern(decoder, self.machine.cut(at, target, offset, goes_on=goes_on))

    def pair(self, state: int) -> tuple[int, int]:
        """(decoder state, machine state) of a lexicon state."""
        return self._states[state]

    def reading(self, state: int, token: int) -> tuple[tuple[int, ...], int] | None:
        """What a token emits in a lexicon state, and the lexicon state after it; None if it can't
        be read there, or ends the string."""
        key = (state, token)
        if key not in self._readings:
            if len(self._readings) >= _MOST_READINGS:
                self._readings.clear()
            self._readings[key] = self._read(state, token)
        return self._readings[key]

    def _read(self, state: int, token: int) -> tuple[tuple[int, ...], int] | None:
        decoder, at = self._states[state]
        spelled = self.vocab.token_bytes[decoder][token]
        if spelled is None:
            return None
        emitted: list[int] = []
        for byte in spelled:
            step = self.machine.step(at, byte)
            if step is None:
                return None
            at, out = step
            emitted += out
        return tuple(emitted), self.intern(self.vocab.next_state[decoder][token], at)

    @property
    def size(self) -> int:
        """How many lexicon states there are so far."""
        return len(self._states)

    def viable(self, state: int, symbol: int) -> bool:
        """False only if nothing that follows in lexicon state `state` can begin with `symbol`."""
        return self.machine.viable(self._states[state][1], symbol)

    def __getitem__(self, state: int) -> Lexicon:
        known = self._built.get(state)
        if known is not None:
            self._built.move_to_end(state)
            return known
        pair = self._states[state]
        built = self._store.load(self, *pair) if self._store else None
        if built is None:
            with self._announced:
                built = self._build(*pair)
                if self._store:
                    self._store.keep(self, *pair, built)
        self._built[state] = built
        self._bytes += built.nbytes
        while self._bytes > self._max_bytes and len(self._built) > 1:
            self._bytes -= self._built.popitem(last=False)[1].nbytes
        return built

    def _build(self, decoder: int, state: int) -> Lexicon:
        return self._builder.build(decoder, state)
