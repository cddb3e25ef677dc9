"""Sequential form of a function from byte strings to symbol strings, determinised lazily.

A sequential machine reads bytes one at a time. Reading byte b in state s emits out_s(b), a tuple of
target symbols, and moves to next_s(b); a state may end the string with the final output rho(s).
`Determinised` makes any functional `Fst` sequential on demand: a state is a set of (FST state,
pending output) pairs whose pendings have no common prefix left (Mohri 1997, "Finite-state
transducers in language and speech processing", section 3). Machines written out by hand are in
`lmfst.fst.built_in`.

Outputs are first pushed towards the start of the FST (`lmfst.fst.pushing`), so that a symbol is
emitted as soon as the input read so far determines it: early emission makes fewer and lighter
hypotheses, never other numbers.

What this module does not do: decide whether an FST is functional (`lmfst.fst.functional`) or total
(`lmfst.fst.totality`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from functools import partial, reduce
from typing import Protocol, TypeVar

from lmfst.fst.core import Fst
from lmfst.fst.pattern import Place, admits
from lmfst.fst.pushing import common_prefix, first_symbols, pushed_arcs
from lmfst.fst.shown import show_output
from lmfst.fst.symbols import END, Output, Symbols
from lmfst.ground.errors import BudgetError, FstError, InputError

__all__ = ["END", "Determinised", "Output", "Sequential", "Step", "emit", "run"]

Step = tuple[int, Output]
"""(next state, emitted symbols)"""

LOST = -2
"""Stands in a pending output for all that comes from there on, where it isn't of interest."""
SHORT = 4
"""Pending outputs of so many symbols at most aren't worth cutting."""

DEFAULT_STATE_MEMORY = 512 * 1024 * 1024


class Sequential(Protocol):
    """What the lexicon and the propagation need of a sequential machine. States are ints ≥ 0."""

    start: int
    symbols: Symbols
    digest: str

    def step(self, state: int, byte: int) -> Step | None:
        """(next state, emitted symbols), or None if no accepted string goes on with `byte`."""
        ...

    def final(self, state: int) -> Output | None:
        """The final output rho(state), or None if the string can't end here."""
        ...

    def viable(self, state: int, symbol: int) -> bool:
        """False only if the next symbol emitted after `state` can never be `symbol` (or END)."""
        ...


Machine = TypeVar("Machine", bound=Sequential)


def emit(machine: Sequential, data: bytes) -> tuple[int, list[int], int]:
    """Read `data` as far as some accepted string goes on so.

    Returns the state reached, the symbols emitted, and the number of bytes read: len(data), unless
    no accepted string goes on with the byte there.
    """
    state = machine.start
    out: list[int] = []
    for at, byte in enumerate(data):
        step = machine.step(state, byte)
        if step is None:
            return state, out, at
        state = step[0]
        out += step[1]
    return state, out, len(data)


def begun_at(machine: Machine, state: int) -> Machine:
    """The same machine with another state to begin in; states keep their numbers."""
    other = copy(machine)
    other.start = state
    return other


def run(machine: Sequential, data: bytes) -> Output:
    """f(data): the symbols that the machine emits for a whole string, its final output included.

    Raises InputError with the position of the first byte that no accepted string has there.
    """
    state, out, read = emit(machine, data)
    if read < len(data):
        nul = data[read] == 0
        shown = "the byte NUL" if nul else f"byte {data[read]:#04x}"
        reads = "read NUL (label 256, as label 0 is epsilon)" if nul else "accept this input"
        start = "first byte" if read == 0 else f"first {read + 1} bytes"
        raise InputError(
            f"the transducer accepts no string that begins with the {start} of "
            f"the text ({shown} at offset {read})",
            hint=f"extend the transducer to {reads}, or remove it from the text",
        )
    last = machine.final(state)
    if last is None:
        raise InputError(
            "the transducer accepts the text only as the beginning of a longer string",
            hint="complete the text, or extend the transducer to accept it as it is",
        )
    return (*out, *last)


class Determinised:
    """Lazy determinisation of a functional FST. States are interned; their memory is capped.

    Raises FstError for an FST that accepts nothing, or whose non-functionality comes to light, and
    BudgetError when the interned states take more than `max_bytes`.
    """

    start = 0

    def __init__(self, fst: Fst, *, max_bytes: int = DEFAULT_STATE_MEMORY) -> None:
        fst = fst.trim()
        if not fst.final.any():
            raise FstError(
                "the transducer accepts no string at all",
                hint="an empty composition is the usual cause; `lmfst print` shows the transducer",
            )
        self.symbols = fst.symbols
        self.digest = fst.digest
        self._final = fst.final.tolist()
        self._arcs, self._epsilons, pushed = pushed_arcs(fst)
        self._first = first_symbols(self._arcs, self._epsilons, self._final)
        self._max_bytes, self._bytes = max_bytes, 0
        self._states: list[tuple[tuple[int, Output], ...]] = []
        self._ids: dict[tuple[tuple[int, Output], ...], int] = {}
        self._steps: dict[tuple[int, int], Step | None] = {}
        # What is pushed to the very start stays pending there: nothing is emitted before a byte is
        # read.
        self._intern(self._closure([(fst.start, pushed[fst.start])]))

    @property
    def n_states(self) -> int:
        """The number of sequential states met so far."""
        return len(self._states)

    def step(self, state: int, byte: int) -> Step | None:
        key = (state, byte)
        if key in self._steps:
            return self._steps[key]
        moved = [
            (target, _longer(pending, out))
            for source, pending in self._states[state]
            for target, out in self._arcs[source].get(byte, ())
        ]
        result: Step | None = None
        if moved:
            pairs = self._closure(moved)
            prefix = common_prefix([pending for _, pending in pairs])
            if prefix[-1:] == (LOST,):  # never emitted: it takes in all that comes
                prefix = prefix[:-1]
            cut = len(prefix)
            result = self._intern([(source, pending[cut:]) for source, pending in pairs]), prefix
        self._steps[key] = result
        return result

    def final(self, state: int) -> Output | None:
        outputs = [pending for source, pending in self._states[state] if self._final[source]]
        return reduce(partial(_less_known, self.symbols), outputs) if outputs else None

    def viable(self, state: int, symbol: int) -> bool:
        for source, pending in self._states[state]:
            if pending[0] == symbol if pending else symbol in self._first[source]:
                return True
        return False

    def is_pending(self, state: int) -> bool:
        """Whether so much output is pending that it may be worth cutting."""
        return any(len(pending) > SHORT for _, pending in self._states[state])

    def cut(
        self, state: int, target: Sequence[Place], offset: int, *, goes_on: bool = False
    ) -> int:
        """The state that is like another one as far as a target can tell of which target[offset:]
        is still to come: what is pending after a symbol that doesn't go on with it, or after its
        end, is `LOST`. goes_on: unless something may follow the target.

        Without this there are as many states as there are strings that leave the target while
        output waits, such as the white space after a period, whose output depends on whether more
        follows it.
        """
        return self._intern(
            [(source, _cut(out, target, offset, goes_on)) for source, out in self._states[state]]
        )

    def pairs(self, state: int) -> list[tuple[int, Output]]:
        """The (FST state, pending output) pairs that a state is."""
        return list(self._states[state])

    def resume(self, pairs: Iterable[tuple[int, Output]]) -> int:
        """The state that is these pairs, as `pairs` gave them for an equal machine."""
        return self._intern(pairs)

    def sources(self, state: int) -> frozenset[int]:
        """The FST states in a sequential state: they alone decide how accepted strings go on."""
        return frozenset(source for source, _ in self._states[state])

    def _closure(self, pairs: list[tuple[int, Output]]) -> list[tuple[int, Output]]:
        """Follow input epsilons; keep the pairs that can read a byte or end the string."""
        found: dict[int, Output] = {}
        stack = list(pairs)
        while stack:
            source, pending = stack.pop()
            if source in found:
                known, pending = found[source], _less_known(self.symbols, found[source], pending)
                if pending == known:
                    continue
            found[source] = pending
            stack += [(target, _longer(pending, out)) for target, out in self._epsilons[source]]
        return [(q, out) for q, out in found.items() if self._arcs[q] or self._final[q]]

    def _intern(self, pairs: Iterable[tuple[int, Output]]) -> int:
        key = tuple(sorted(pairs))
        known = self._ids.get(key)
        if known is not None:
            return known
        self._bytes += 200 + sum(120 + 8 * len(pending) for _, pending in key)
        if self._bytes > self._max_bytes:
            raise BudgetError(
                f"the sequential form of the transducer has more than {len(self._states)} states "
                f"({self._max_bytes >> 20} MiB): its output may depend on input far ahead",
                hint="bound the lookahead of the transducer, or raise the state memory limit",
            )
        self._ids[key] = len(self._states)
        self._states.append(key)
        return self._ids[key]


def _longer(pending: Output, out: Output) -> Output:
    """More output after what is pending."""
    return pending if pending[-1:] == (LOST,) else pending + out


def _cut(pending: Output, target: Sequence[Place], offset: int, goes_on: bool) -> Output:
    """What a target can tell of what is pending at an offset."""
    for at, symbol in enumerate(pending):
        if symbol == LOST:
            return pending
        place = offset + at
        if goes_on and place == len(target):
            return pending
        if place == len(target) or not admits(target[place], symbol):
            return (*pending[: at + 1], LOST)
    return pending


def _less_known(symbols: Symbols, one: Output, other: Output) -> Output:
    """Of two outputs of one input, which must be equal as far as they aren't lost, the one of which
    less is known. FstError if they aren't equal."""
    if one == other:
        return one
    lost = [out for out in (one, other) if out[-1:] == (LOST,)]
    less = min(lost, key=len, default=())
    known = less[:-1]
    for out in (one, other):
        if not lost or out[: len(known)] != known:
            raise _not_functional(symbols, one, other)
    return less


def _not_functional(symbols: Symbols, one: Sequence[int], other: Sequence[int]) -> FstError:
    shown = [show_output([s for s in out if s != LOST], symbols) for out in (one, other)]
    return FstError(
        f"the transducer is not functional: one input has two outputs, ending in {shown[0]} and "
        f"in {shown[1]}",
        hint="make rewriting obligatory, or remove the ambiguity with priorities",
    )
