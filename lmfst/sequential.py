"""Sequential form of a function from byte strings to symbol strings, determinised lazily.

A sequential machine reads bytes one at a time. Reading byte b in state s emits out_s(b), a tuple of
target symbols, and moves to next_s(b); a state may end the string with the final output rho(s).
`Identity` and `Utf8` are written out by hand; `Determinised` makes any functional `Fst` sequential
on
demand: a state is a set of (FST state, pending output) pairs whose pendings have no common prefix
left (Mohri 1997, "Finite-state transducers in language and speech processing", section 3).

Outputs are first pushed towards the start of the FST, so that a symbol is emitted as soon as the
input
read so far determines it: early emission makes fewer and lighter hypotheses, never other numbers.

What this module does not do: decide whether an FST is functional or total (see `lmfst.fst.check`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol

from lmfst.errors import BudgetError, FstError, InputError
from lmfst.fst import EPS, Fst, Symbols, identity_bytes
from lmfst.fst.shown import show_output

END = -1
"""The target symbol of the end of the string, written as ⊥. It never occurs on an arc."""

Output = tuple[int, ...]
Step = tuple[int, Output]

CODE_POINTS = 0x110000
"""`Utf8` writes a byte b that is no UTF-8 as the symbol CODE_POINTS + b."""

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


def run(machine: Sequential, data: bytes) -> Output:
    """f(data): the symbols that the machine emits for a whole string, its final output included.

    Raises InputError with the position of the first byte that no accepted string has there.
    """
    state, out, read = emit(machine, data)
    if read < len(data):
        nul = data[read] == 0
        shown = "the byte NUL" if nul else f"byte {data[read]:#04x}"
        start = "first byte" if read == 0 else f"first {read + 1} bytes"
        reads = "read NUL (label 256, as label 0 is epsilon)" if nul else "accept this input"
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


class Identity:
    """The identity on byte strings: one state, symbols 0..255."""

    start = 0
    digest = "identity-bytes-1"

    def __init__(self) -> None:
        self.symbols: Symbols = identity_bytes().symbols
        self._steps = [(0, (byte,)) for byte in range(256)]

    def step(self, state: int, byte: int) -> Step | None:
        return self._steps[byte]

    def final(self, state: int) -> Output | None:
        return ()

    def viable(self, state: int, symbol: int) -> bool:
        return True

    def source(self, target: Sequence[int]) -> bytes:
        """The only byte string with this output."""
        return bytes(symbol for symbol in target if symbol != END)


class Utf8:
    """UTF-8 decoding as a total function to code points; CODE_POINTS + b for a byte b that is none.

    The result is that of Python's `bytes.decode("utf-8", "surrogateescape")`. A state is the
    beginning of a character whose end hasn't been read yet (at most three bytes).
    """

    start = 0
    digest = "utf8-code-points-1"

    def __init__(self) -> None:
        names = {CODE_POINTS + byte: f"\\x{byte:02x}" for byte in range(256)}
        self.symbols = Symbols(kind="unicode", names=names)
        self._pending: list[bytes] = [b""]
        self._ids: dict[bytes, int] = {b"": 0}
        self._steps: dict[tuple[int, int], Step] = {}

    def step(self, state: int, byte: int) -> Step | None:
        known = self._steps.get((state, byte))
        if known is None:
            known = self._steps[state, byte] = self._read(self._pending[state] + bytes([byte]))
        return known

    def _read(self, data: bytes) -> Step:
        rest = _incomplete_tail(data)
        out = _decoded(data[: len(data) - len(rest)])
        if rest not in self._ids:
            self._ids[rest] = len(self._pending)
            self._pending.append(rest)
        return self._ids[rest], out

    def final(self, state: int) -> Output | None:
        return _decoded(self._pending[state])

    def viable(self, state: int, symbol: int) -> bool:
        pending = self._pending[state]
        if not pending:
            return True
        if symbol == END or 0xD800 <= symbol < 0xE000:
            return False
        if symbol >= CODE_POINTS:
            return symbol == CODE_POINTS + pending[0]
        return chr(symbol).encode().startswith(pending)

    def source(self, target: Sequence[int]) -> bytes:
        """The only byte string with this output, if there is one."""
        return b"".join(
            bytes([symbol - CODE_POINTS])
            if symbol >= CODE_POINTS
            else chr(symbol).encode("utf-8", "surrogatepass")
            for symbol in target
            if symbol != END
        )


def _incomplete_tail(data: bytes) -> bytes:
    """The longest suffix of `data` that is a proper beginning of a UTF-8 character, at a
    boundary.
    """
    for at in range(len(data)):
        try:
            data[at:].decode("utf-8")
        except UnicodeDecodeError as error:
            if error.start == 0 and error.reason == "unexpected end of data":
                return data[at:]
    return b""


def _decoded(data: bytes) -> Output:
    text = data.decode("utf-8", "surrogateescape")
    return tuple(
        CODE_POINTS + ord(char) - 0xDC00 if 0xDC80 <= ord(char) <= 0xDCFF else ord(char)
        for char in text
    )


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
        self._arcs, self._epsilons, pushed = _pushed_arcs(fst)
        self._first = _first_symbols(self._arcs, self._epsilons, self._final)
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
            (target, pending + out)
            for source, pending in self._states[state]
            for target, out in self._arcs[source].get(byte, ())
        ]
        result: Step | None = None
        if moved:
            pairs = self._closure(moved)
            prefix = _common_prefix([pending for _, pending in pairs])
            cut = len(prefix)
            result = self._intern([(source, pending[cut:]) for source, pending in pairs]), prefix
        self._steps[key] = result
        return result

    def final(self, state: int) -> Output | None:
        outputs = {pending for source, pending in self._states[state] if self._final[source]}
        if len(outputs) > 1:
            raise _not_functional(self.symbols, *sorted(outputs)[:2])
        return outputs.pop() if outputs else None

    def viable(self, state: int, symbol: int) -> bool:
        for source, pending in self._states[state]:
            if pending[0] == symbol if pending else symbol in self._first[source]:
                return True
        return False

    def pairs(self, state: int) -> list[tuple[int, Output]]:
        """The (FST state, pending output) pairs that a state is."""
        return list(self._states[state])

    def resume(self, pairs: Iterable[tuple[int, Output]]) -> int:
        """The state that is these pairs, as `pairs` gave them for an equal machine."""
        return self._intern(pairs)

    def sources(self, state: int) -> frozenset[int]:
        """The FST states in a sequential state: all that decides which continuations are
        accepted.
        """
        return frozenset(source for source, _ in self._states[state])

    def _closure(self, pairs: list[tuple[int, Output]]) -> list[tuple[int, Output]]:
        """Follow input epsilons; keep the pairs that can read a byte or end the string."""
        found: dict[int, Output] = {}
        stack = list(pairs)
        while stack:
            source, pending = stack.pop()
            if source in found:
                if found[source] != pending:
                    raise _not_functional(self.symbols, found[source], pending)
                continue
            found[source] = pending
            stack += [(target, pending + out) for target, out in self._epsilons[source]]
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


def _not_functional(symbols: Symbols, one: Sequence[int], other: Sequence[int]) -> FstError:
    shown = [show_output(out, symbols) for out in (one, other)]
    return FstError(
        f"the transducer is not functional: one input has two outputs, ending in {shown[0]} and "
        f"in {shown[1]}",
        hint="make rewriting obligatory, or remove the ambiguity with priorities",
    )


def _common_prefix(outputs: Sequence[Output]) -> Output:
    low, high = min(outputs), max(outputs)
    size = 0
    for size, (a, b) in enumerate(zip(low, high, strict=False)):
        if a != b:
            return low[:size]
    return low[: min(len(low), len(high))]


Arcs = list[dict[int, list[tuple[int, Output]]]]
Epsilons = list[list[tuple[int, Output]]]


def _pushed_arcs(fst: Fst) -> tuple[Arcs, Epsilons, list[Output]]:
    """Arcs by state and byte, input-epsilon arcs by state, and what is pushed out of each state.

    With lambda(q) the longest common prefix of the outputs of all paths from q to an end, the
    pushed output of an arc q → r is lambda(q)⁻¹ · out · lambda(r) (Mohri 1997, section 3.7).
    """
    size = fst.n_states
    raw: list[list[tuple[int, int, Output]]] = [[] for _ in range(size)]
    columns = (fst.ilabel.tolist(), fst.olabel.tolist(), fst.dst.tolist())
    bounds = fst.arc_ptr.tolist()
    for source in range(size):
        for at in range(bounds[source], bounds[source + 1]):
            label, out, target = (column[at] for column in columns)
            raw[source].append((label, target, () if out == EPS else (out,)))
    pushed = _future_prefixes(raw, fst.final.tolist())
    arcs: Arcs = [{} for _ in range(size)]
    epsilons: Epsilons = [[] for _ in range(size)]
    for source, leaving in enumerate(raw):
        cut = len(pushed[source])
        for label, target, out in leaving:
            moved = (target, (out + pushed[target])[cut:])
            if label == EPS:
                epsilons[source].append(moved)
            else:
                arcs[source].setdefault(label, []).append(moved)
    return arcs, epsilons, pushed


def _future_prefixes(raw: list[list[tuple[int, int, Output]]], final: list[bool]) -> list[Output]:
    """lambda(q) for every state: the greatest fixed point, reached from above by a worklist."""
    into: list[set[int]] = [set() for _ in raw]
    for source, leaving in enumerate(raw):
        for _, target, _ in leaving:
            into[target].add(source)
    value: list[Output | None] = [() if end else None for end in final]
    queue = deque(q for end, sources in zip(final, into, strict=True) if end for q in sources)
    queued = set(queue)
    while queue:
        source = queue.popleft()
        queued.discard(source)
        if value[source] == ():
            continue
        outs = {out + ahead for _, q, out in raw[source] if (ahead := value[q]) is not None}
        new = _common_prefix(list(outs))
        if new != value[source]:
            value[source] = new
            for q in into[source] - queued:
                queue.append(q)
                queued.add(q)
    return [prefix or () for prefix in value]


def _first_symbols(arcs: Arcs, epsilons: Epsilons, final: list[bool]) -> list[frozenset[int]]:
    """Per state, the symbols (or END) that a path from it can emit first: a least fixed point."""
    direct: list[set[int]] = [{END} if end else set() for end in final]
    silent: list[set[int]] = [set() for _ in arcs]
    for source in range(len(arcs)):
        leaving = [move for moves in arcs[source].values() for move in moves]
        for target, out in leaving + epsilons[source]:
            if out:
                direct[source].add(out[0])
            else:
                silent[target].add(source)
    queue = deque(range(len(arcs)))
    while queue:
        target = queue.popleft()
        for source in silent[target]:
            if not direct[target] <= direct[source]:
                direct[source] |= direct[target]
                queue.append(source)
    shared: dict[frozenset[int], frozenset[int]] = {}
    return [shared.setdefault(s, s) for s in map(frozenset, direct)]
