"""What an expression of a grammar evaluates to, and which alphabets its two sides are over.

OpenFst labels are bare integers: a byte, a code point and an entry of a symbol table look the
same. So every value remembers which kinds of strings went into each side. That is what tells how
a rule's labels are to be read, and what lets mixtures be reported that OpenFst would turn into an
empty FST.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lmfst.grammar.source import RuleError

ASCII, BYTE, UTF8, GENERATED = "ascii", "byte", "utf8", "generated"
"""Labels that mean the same in byte and utf8 mode; bytes 128…256; code points from 128; symbols."""

Alphabets = frozenset[Any]
"""Some of the four above, and the `Table`s that labels were taken from."""

NONE: Alphabets = frozenset()


@dataclass(frozen=True, eq=False)
class Table:
    """A symbol table that the grammar loaded.

    names: by label; bytes that are no UTF-8 are lone surrogates, as in the grammar's text.
    path:  how messages call it.
    """

    names: Mapping[int, str]
    path: str

    @cached_property
    def labels(self) -> Mapping[str, int]:
        """Labels by name; the first one, if a name has several."""
        found: dict[str, int] = {}
        for label, name in self.names.items():
            found.setdefault(name, label)
        return found


@dataclass(eq=False, slots=True)
class Value:
    """An FST. `fst` is shared by all that use the value: operations work on copies.

    inputs, outputs: the alphabets of the two sides.
    what: how a message calls it (a rule's name, or "" for a part of a rule).
    memo: results that depend on `fst` alone and are asked for again and again.
    alphabet: of a rewrite rule the labels of its σ*; of a cascade those of its first rule.
    """

    fst: Any
    inputs: Alphabets = NONE
    outputs: Alphabets = NONE
    what: str = ""
    memo: dict[str, Any] = field(default_factory=dict)
    alphabet: frozenset[int] | None = None

    def named(self, what: str) -> Value:
        """The same FST under a name."""
        return Value(self.fst, self.inputs, self.outputs, what, self.memo, self.alphabet)

    @property
    def empty(self) -> bool:
        """Whether it accepts nothing at all; exact only for connected FSTs."""
        return bool(self.fst.start() == -1)

    @property
    def both(self) -> Alphabets:
        return self.inputs | self.outputs

    def is_acceptor(self) -> bool:
        import pynini

        if "acceptor" not in self.memo:
            self.memo["acceptor"] = bool(
                self.fst.properties(pynini.ACCEPTOR, True) == pynini.ACCEPTOR
            )
        return bool(self.memo["acceptor"])

    def is_unweighted(self) -> bool:
        import pynini

        return bool(self.fst.properties(pynini.UNWEIGHTED, True) == pynini.UNWEIGHTED)

    def input_sorted(self) -> Any:
        """The FST with arcs sorted for being the right side of a composition."""
        if "sorted" not in self.memo:
            self.memo["sorted"] = self.fst.copy().arcsort("ilabel")
        return self.memo["sorted"]

    def written(self) -> frozenset[int]:
        """All labels but epsilon of the output side."""
        if "written" not in self.memo:
            arcs = (arc.olabel for state in self.fst.states() for arc in self.fst.arcs(state))
            self.memo["written"] = frozenset(arcs) - {0}
        labels: frozenset[int] = self.memo["written"]
        return labels

    def labels(self) -> frozenset[int]:
        """All labels but epsilon, of both sides."""
        if "labels" not in self.memo:
            found = set()
            for state in self.fst.states():
                for arc in self.fst.arcs(state):
                    found.add(arc.ilabel)
                    found.add(arc.olabel)
            found.discard(0)
            self.memo["labels"] = frozenset(found)
        labels: frozenset[int] = self.memo["labels"]
        return labels


Thing = Value | Table | str
"""Anything an expression can evaluate to; str is a 'quoted' text."""


def kind_of(thing: Thing) -> str:
    """What a value is, for messages."""
    if isinstance(thing, Value):
        return "an FST"
    return "a symbol table" if isinstance(thing, Table) else f"the text '{thing}'"


def as_fst(thing: Thing, where: str) -> Value:
    """The value as an FST. RuleError if it is none; `where` says which operand it is."""
    if isinstance(thing, Value):
        return thing
    hint = 'strings of an FST stand in "double quotes"' if isinstance(thing, str) else ""
    raise RuleError(f"{where}: expected an FST, got {kind_of(thing)}", hint=hint)


def as_text(thing: Thing, where: str) -> str:
    """The value as text. RuleError if it is none."""
    if isinstance(thing, str):
        return thing
    raise RuleError(
        f"{where}: expected a 'quoted' text, got {kind_of(thing)}", hint="use 'single quotes'"
    )


def alphabets_of(labels: list[int] | frozenset[int], mode: str, generated: Any) -> Alphabets:
    """Which alphabets the labels of a string in mode `byte` or `utf8` are evidence of."""
    found = set()
    for label in labels:
        if label in generated or 0xF8FE <= label <= 0xF8FF:
            found.add(GENERATED)
        elif label < 128:
            found.add(ASCII)
        else:
            found.add(UTF8 if mode == "utf8" or label > 256 else BYTE)
    return frozenset(found)


def flag_of(name: str, arguments: Sequence[Thing], index: int, allowed: tuple[str, ...]) -> str:
    """A 'flag' among the arguments of a function; the first of `allowed` if it isn't there."""
    if len(arguments) <= index:
        return allowed[0]
    text = as_text(arguments[index], f"{name}: argument {index + 1}")
    if text not in allowed:
        quoted = ", ".join(f"'{choice}'" for choice in allowed)
        raise RuleError(f"{name}: argument {index + 1} is '{text}'", hint=f"expected {quoted}")
    return text
