"""Acceptors over target symbols: the strings that `--within` keeps strings to.

A grammar or FST file names a set of strings in target form, as prompts are written: bytes or
characters, generated symbols such as [SEP], or the symbols of a table. Here it is made
deterministic over the target's own symbols, as far as it is asked: a state is the set of states of
the FST, without those that lead nowhere. A character is read as the bytes of its UTF-8 where the
grammar is one of bytes.

Not here: which of the strings a model can produce (`lmfst.generate.moves`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lmfst.fst import EPS, Fst, read_acceptor
from lmfst.fst.core import Arc
from lmfst.fst.symbols import END, Symbols
from lmfst.ground.errors import UsageError
from lmfst.ground.types import InputMode, Warn
from lmfst.target.load import GRAMMAR, OPENFST, Target, grammar_of


def load_acceptor(
    name: str,
    *,
    include: Sequence[str | Path] = (),
    max_states: int | None = None,
    timeout: float | None = None,
    input_mode: InputMode = "auto",
    warn: Warn = lambda message: None,
) -> Fst:
    """The acceptor that `FILE.grm`, `FILE.grm:RULE` or `FILE.fst` names, as what its arcs write.
    Arguments as in `lmfst.load_target`.

    UsageError for another name; GrammarError, FstError as there, and for a transducer.
    """
    if name.endswith(OPENFST):
        return read_acceptor(name, mode=input_mode, warn=warn)
    if GRAMMAR not in name:
        raise UsageError(
            f"--within {name!r}: expected FILE.grm, FILE.grm:RULE or FILE.fst",
            hint="a grammar's rule that accepts strings in target form, such as "
            '`export MAIN = "M" ("A" | "C")* "*";`',
        )
    from lmfst.grammar import compile_file

    path, rule = grammar_of(name)
    given = {"max_states": max_states, "timeout": timeout}
    limits = {option: value for option, value in given.items() if value is not None}
    module = compile_file(path, rule=rule, include=include, warn=warn, **limits)  # type: ignore[arg-type]
    return module.rule(rule).to_acceptor(warn)


class Acceptor:
    """An acceptor over the symbols of a target; states are ints, interned, and none leads nowhere.

    start: its first state. name: what messages call it.

    UsageError for one that accepts nothing, or with symbols that the target lacks.
    """

    start = 0

    def __init__(self, fst: Fst, symbols: Symbols, name: str) -> None:
        self.name = name
        fst = fst.trim()
        if not fst.final.any():
            raise UsageError(
                f"{name} accepts no string at all",
                hint="an empty intersection or difference is the usual cause",
            )
        arcs, self._labels = _labelled(fst, symbols, name)
        self._symbols = symbols
        self._final = frozenset(fst.final.nonzero()[0].tolist())
        self._arcs: dict[tuple[int, int], list[int]] = {}
        for source, _, label, target in arcs:
            self._arcs.setdefault((source, label), []).append(target)
        self._states: list[frozenset[int]] = []
        self._ids: dict[frozenset[int], int] = {}
        self._steps: dict[tuple[int, int], int] = {}
        self._intern(self._closure({fst.start}))

    def step(self, state: int, symbol: int) -> int:
        """The state after a symbol, -1 if no accepted string goes on with it. ⊥: the state itself
        if the string may end there."""
        key = state, symbol
        found = self._steps.get(key)
        if found is None:
            found = self._steps[key] = self._step(state, symbol)
        return found

    def reads(self, state: int, begun: bytes) -> bool:
        """False only if `step` reads no character in a state that begins with some bytes, nor these
        as bytes that are no characters."""
        held = self._states[state]
        for byte in begun:
            held = self._closure({t for q in held for t in self._arcs.get((q, byte), ())})
        return bool(held) or any(_byte(name) is not None for name in self._labels)

    def _step(self, state: int, symbol: int) -> int:
        held = self._states[state]
        if symbol == END:
            return state if held & self._final else -1
        for label in self._spelled(symbol):
            moved = {target for q in held for target in self._arcs.get((q, label), ())}
            held = self._closure(moved)
        return self._intern(held) if held else -1

    def _spelled(self, symbol: int) -> Sequence[int]:
        """A symbol in labels of the FST; one that no arc has where it has none."""
        name = self._symbols.names.get(symbol)
        if name is not None and name in self._labels:
            return (self._labels[name],)
        if self._symbols.kind == "unicode" and symbol < 0x110000 and name is None:
            return tuple(chr(symbol).encode("utf-8", "surrogatepass"))
        if self._symbols.kind == "unicode" and name is not None and _byte(name) is not None:
            return (_byte(name) or 0,)
        return (symbol,) if self._symbols.kind == "bytes" and name is None else (-2,)

    def _closure(self, states: set[int]) -> frozenset[int]:
        """With the states that arcs without a label lead to."""
        found, stack = set(states), list(states)
        while stack:
            new = set(self._arcs.get((stack.pop(), EPS), ())) - found
            found |= new
            stack += new
        return frozenset(found)

    def _intern(self, states: frozenset[int]) -> int:
        if states not in self._ids:
            self._ids[states] = len(self._states)
            self._states.append(states)
        return self._ids[states]


def load_within(
    name: str,
    target: Target,
    *,
    include: Sequence[str | Path] = (),
    max_states: int | None = None,
    timeout: float | None = None,
    input_mode: InputMode = "auto",
    warn: Warn = lambda message: None,
) -> Acceptor:
    """The acceptor that `FILE.grm`, `FILE.grm:RULE` or `FILE.fst` names, over the symbols of a
    target (`model.target`). Other arguments as in `lmfst.load_target`.

    UsageError for another name, an acceptor that accepts nothing, and symbols that the target
    lacks; GrammarError, FstError for what can't be read, and for a transducer.
    """
    fst = load_acceptor(
        name,
        include=include,
        max_states=max_states,
        timeout=timeout,
        input_mode=input_mode,
        warn=warn,
    )
    return Acceptor(fst, target.machine.symbols, name)


def _labelled(fst: Fst, symbols: Symbols, name: str) -> tuple[list[Arc], dict[str, int]]:
    """The arcs with bytes for characters, and the labels of named symbols, by name.

    UsageError for symbols that the target lacks.
    """
    own, used = fst.symbols, {*fst.olabel.tolist()} - {EPS}
    if (own.kind == "symbols") != (symbols.kind == "symbols") and any(
        label not in own.names for label in used
    ):
        raise UsageError(
            f"{name} is an acceptor of {_KINDS[own.kind]}, and the target writes "
            f"{_KINDS[symbols.kind]}",
            hint="write its strings in the target's alphabet",
        )
    labels = {own.names[label]: label for label in used if label in own.names}
    lacking = sorted(set(labels) - set(symbols.names.values()))
    if lacking:
        known = ", ".join(f"[{text}]" for text in list(symbols.names.values())[:8])
        raise UsageError(
            f"{name} has the symbol [{lacking[0]}], which the target lacks",
            hint=f"the target's own are {known}" if known else "the target has no named symbols",
        )
    arcs, size = [], fst.n_states
    for source, _, label, target in fst.arcs():
        if own.kind != "unicode" or label == EPS or label in own.names:
            arcs.append((source, EPS, label, target))
            continue
        spelled = chr(label).encode("utf-8", "surrogatepass")
        chain = [source, *range(size, size + len(spelled) - 1), target]
        size += len(spelled) - 1
        arcs += [(chain[i], EPS, byte, chain[i + 1]) for i, byte in enumerate(spelled)]
    return arcs, labels


_KINDS = {"bytes": "bytes", "unicode": "characters", "symbols": "a table's symbols"}


def _byte(name: str) -> int | None:
    """The byte that a symbol's name says, among characters."""
    escaped = len(name) == 4 and name.startswith("\\x")
    return int(name[2:], 16) if escaped else None
