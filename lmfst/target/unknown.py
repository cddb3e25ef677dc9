"""Symbols that a model can't produce, and what a letter among them may stand for.

A model over A, C, G and T writes no N, and no codon of these gives the residue X. Such a letter has
probability zero. In a sequence it says that one of several letters stands there, by the codes of
IUPAC (Biopython's tables). Two meanings, both sums over strings of the target
(`lmfst.fst.pattern`):

- In target form a code is the set of the letters that it stands for and the model can produce.
- In source form a text with codes has *readings*, and the sum runs over what the function makes of
  them: P(f(X) ∈ {f(x') : x' a reading of x}). So a codon TTN of DNA is F or L.

Whether letters are bases or residues follows from those that the model does produce.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cached_property

from lmfst.fst import CODE_POINTS, END, EPS, Fst, Identity, Output, Sequential, Symbols, Utf8, run
from lmfst.fst.pattern import OneOf, Pattern, Place
from lmfst.ground.errors import FstError, InputError
from lmfst.target.case import Case, changed
from lmfst.target.load import Target
from lmfst.target.units import parse_target_text

MOST_READINGS = 4096
"""Ways to read a stretch of the source that are followed at once."""
MOST_NAMES = 30
"""Symbols that a message lists."""
_VISIBLE = range(0x21, 0x7F)
_BESIDE = frozenset("*-.")
"""What stands beside letters in sequences: stops and gaps."""


class Alphabet:
    """The symbols that strings over some bytes are made of, and those that other letters stand for.

    alphabet: the bytes that the model's tokens spell.
    """

    def __init__(self, target: Target, alphabet: bytes) -> None:
        self._target, self._bytes = target, frozenset(alphabet)

    def __contains__(self, symbol: int) -> bool:
        """Whether a symbol can be produced: False only if it can't."""
        machine = self._target.machine
        if symbol == END:
            return True
        if isinstance(machine, Identity):
            return symbol in self._bytes
        if isinstance(machine, Utf8):
            known = symbol < CODE_POINTS + 256 and not 0xD800 <= symbol < 0xE000
            return known and self._bytes.issuperset(machine.source((symbol,)))
        return self._outputs is None or symbol in self._outputs

    def writes(self, byte: int) -> bool:
        """Whether the model writes a byte."""
        return byte in self._bytes

    @cached_property
    def _outputs(self) -> frozenset[int] | None:
        """The symbols on the paths of an FST that read these bytes; None if there is no FST."""
        fst: Fst | None = self._target.fst
        return None if fst is None else frozenset(fst.reading(self._bytes).olabel.tolist())

    def names(self) -> str:
        """The names of the symbols that can be produced, or of the first of them."""
        # Without an FST symbols are bytes or characters, the first 128 of them the same.
        ascii_only = max(self._bytes, default=0) < 0x80
        every = range(0x80 if ascii_only else CODE_POINTS)
        shown: list[str] = []
        for symbol in every if self._outputs is None else sorted(self._outputs - {EPS}):
            if symbol in self:
                if len(shown) == MOST_NAMES:
                    return " ".join([*shown, "…"])
                shown.append(self._target.units.name(symbol))
        return " ".join(shown)

    # Letters in the other case.

    @cached_property
    def written(self) -> Case:
        """The case of the letters that the model writes."""
        return Case(chr(byte) for byte in self._bytes if byte < 0x80)

    @cached_property
    def case(self) -> Case:
        """The case of the target's symbols that can be produced."""
        if self._outputs is None:
            return self.written
        symbols = self._target.machine.symbols
        if symbols.kind == "symbols":
            return Case(map(symbols.name, self._outputs - {EPS}))
        letters = (label for label in self._outputs if self._is_character(label))
        return Case(map(chr, letters))

    @cached_property
    def _limit(self) -> int:
        """Beyond the characters of the target whose case is known."""
        unicode = self._target.machine.symbols.kind == "unicode" and self._outputs is not None
        return CODE_POINTS if unicode else 0x80

    def _is_character(self, label: int) -> bool:
        return 0 < label < self._limit and label not in self._target.machine.symbols.names

    def parsed(self, text: bytes) -> tuple[tuple[int, ...], int]:
        """The symbols that a text in target form writes, in the case that they can be produced in,
        and how many of them were in the other. InputError for text that names no symbol."""
        symbols = self._target.machine.symbols
        if symbols.kind == "symbols" and self.case.kind:
            names = text.decode("utf-8", "surrogateescape").split(" ")
            turned = [self._turned_name(name) for name in names]
            joined = " ".join(turned).encode("utf-8", "surrogateescape")
            differ = sum(a != b for a, b in zip(names, turned, strict=True))
            return parse_target_text(joined, symbols), differ
        found = parse_target_text(text, symbols)
        if not self.case.kind:
            return found, 0
        turn = {s: self.case.character(s, self._limit) for s in set(found) if self._is_character(s)}
        folded = tuple(turn.get(symbol, symbol) for symbol in found)
        return folded, changed(found, folded)

    def _turned_name(self, name: str) -> str:
        turned = self.case.name(name)
        return name if _label(self._target.machine.symbols, turned) is None else turned

    # What letters stand for.

    @cached_property
    def codes(self) -> dict[int, OneOf]:
        """Symbols that can't be produced, but stand for some that can → these."""
        symbols = self._target.machine.symbols
        named = {chr(c): _label(symbols, chr(c)) for c in _VISIBLE}
        labels = {name: symbol for name, symbol in named.items() if symbol is not None}
        produced = {name for name, symbol in labels.items() if symbol in self}
        return {
            labels[letter]: OneOf([labels[name] for name in known], labels[letter])
            for letter, meant in codes_beside(produced).items()
            if letter in labels.keys() - produced and (known := produced & {*meant})
        }

    @cached_property
    def _readings(self) -> dict[int, bytes]:
        """Bytes that the model doesn't write → the letters of the source that each stands for."""
        written = [chr(byte) for byte in sorted(self._bytes) if byte in _VISIBLE]
        return {
            ord(letter): meant.encode()
            for letter, meant in codes_beside(written).items()
            if ord(letter) not in self._bytes
        }

    def opened(self, target: Sequence[Place]) -> Pattern:
        """A target with codes as the sets that they stand for."""
        return tuple(
            symbol if isinstance(symbol, OneOf) else self.codes.get(symbol, symbol)
            for symbol in target
        )

    def read(self, text: bytes) -> Pattern:
        """What the function makes of the readings of a text.

        Raises InputError where it rejects the text, and if the outputs of the readings are not all
        strings of some pattern as long as the text's own output: then their sum isn't one of ours.
        """
        written = run(self._target.machine, text)
        if self._readings.keys().isdisjoint(text):
            return written
        places = read_all(self._target.machine, text, self._readings)
        if len(places) != len(written):
            raise InputError(
                f"its readings give {len(places)} symbols, the text as it stands {len(written)}",
                hint=_HINT,
            )
        return tuple(
            OneOf(found, symbol) if len(found) > 1 else next(iter(found))
            for found, symbol in zip(places, written, strict=True)
        )


def _label(symbols: Symbols, name: str) -> int | None:
    try:
        return symbols.label(name)
    except FstError:
        return None


def codes_beside(produced: Iterable[str]) -> dict[str, str]:
    """IUPAC codes that stand for several letters, in either case: letter → letters. None for an
    alphabet, given by the visible characters that it has, that is neither bases nor residues."""
    from Bio.Data import IUPACData

    letters = {name.upper() for name in produced} - _BESIDE
    residues = IUPACData.protein_letters + "UO"
    if letters <= {*IUPACData.ambiguous_dna_values, "U"}:
        as_rna = "U" in letters and "T" not in letters
        table = IUPACData.ambiguous_rna_values if as_rna else IUPACData.ambiguous_dna_values
    elif letters <= {*residues}:
        table = {**IUPACData.extended_protein_values, "X": residues}
    else:
        return {}
    several = {code: meant for code, meant in table.items() if len(meant) > 1}
    return several | {code.lower(): meant.lower() for code, meant in several.items()}


# Readings of a source text.

_HINT = "write the readings that are meant out as documents of their own"


def read_all(machine: Sequential, text: bytes, codes: dict[int, bytes]) -> list[frozenset[int]]:
    """The sets of symbols whose product is what the readings of a text are turned into.

    codes: bytes → the bytes that each stands for; others stand for themselves. Readings that the
    machine rejects have no output. InputError if the outputs are no product of sets, or unless
    the machine comes back to one state before it has `MOST_READINGS` ways to go.
    """
    places: list[frozenset[int]] = []
    begun = 0
    ways: set[tuple[int, Output]] = {(machine.start, ())}
    for at, byte in enumerate(text):
        ways = {
            (step[0], out + step[1])
            for state, out in ways
            for reading in codes.get(byte, (byte,))
            if (step := machine.step(state, reading)) is not None
        }
        if len(ways) > MOST_READINGS:
            raise InputError(
                f"the text has too many readings from offset {begun} on, which hang together",
                hint=_HINT,
            )
        if len({state for state, _ in ways}) == 1:
            places += _product({out for _, out in ways}, begun)
            ways = {(state, ()) for state, _ in ways}
            begun = at + 1
    ends = {out + last for state, out in ways if (last := machine.final(state)) is not None}
    if not ends:
        raise InputError("the transducer rejects all readings of the text", hint=_HINT)
    return places + _product(ends, begun)


def _product(outputs: set[Output], begun: int) -> list[frozenset[int]]:
    """The sets of which `outputs` are the product."""
    sizes = {len(out) for out in outputs}
    places = [frozenset(found) for found in zip(*outputs, strict=False)]
    if len(sizes) > 1 or math.prod(map(len, places)) != len(outputs):
        raise InputError(
            f"the outputs of its readings from offset {begun} on are no product of sets of symbols",
            hint=_HINT,
        )
    return places
