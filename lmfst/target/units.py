"""Units: how target symbols are grouped and shown in records.

Most targets have one unit a symbol. Where the output alphabet has generated symbols of the names in
`MARKS`, units are what they separate (words). A mark that ends a unit belongs to it, so that the
unit's probability includes the event that it is complete; the last unit of a string has none, and ⊥
completes it. A mark that begins a unit belongs to that unit: whether the unit before is complete is
then part of the next one's probability, or of ⊥'s.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from lmfst.fst import Symbols
from lmfst.fst.sequential import END
from lmfst.ground.errors import InputError

END_NAME = "⊥"

MARKS = {"SEP": "ends", "NOSEP": "ends", "NEWUNIT": "begins"}
"""What a generated symbol does to the unit that it belongs to, by its name. The shipped grammars
write [SEP] for something that the text has between two units, and is shown in neither, and the
others where it has nothing."""


@dataclass(frozen=True)
class Units:
    """The grouping of a target alphabet. ends, begins: the labels that end or begin a unit."""

    symbols: Symbols
    ends: frozenset[int] = frozenset()
    begins: frozenset[int] = frozenset()
    _known: dict[int, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    @staticmethod
    def of(symbols: Symbols) -> Units:
        """The units of an alphabet, by the marks that it names.

        In a table of symbols only SEP is a mark, since the other names are words.
        """
        known = {"SEP"} if symbols.kind == "symbols" else set(MARKS)
        labels: dict[str, set[int]] = {"ends": set(), "begins": set()}
        for label, name in symbols.names.items():
            if name in known:
                labels[MARKS[name]].add(label)
        return Units(symbols, frozenset(labels["ends"]), frozenset(labels["begins"]))

    @property
    def marks(self) -> frozenset[int]:
        """The labels that end or begin a unit. None: every symbol is a unit."""
        return self.ends | self.begins

    def spans(self, target: Sequence[int]) -> list[tuple[int, int]]:
        """Begin and end of every unit, in symbols, without the final ⊥."""
        if not self.marks:
            return [(i, i + 1) for i in range(len(target))]
        cuts = {at + 1 for at, symbol in enumerate(target) if symbol in self.ends}
        cuts |= {at for at, symbol in enumerate(target) if symbol in self.begins}
        borders = sorted(cuts | {0, len(target)})
        return list(pairwise(borders))

    def goes_on(self, before: Sequence[int], after: Sequence[int]) -> bool:
        """Whether a string goes on with a unit that it has begun: units are separated, and neither
        ends the string with one nor begins what follows another."""
        if not self.marks or not before or not after:
            return False
        return before[-1] not in self.ends and after[0] not in self.begins

    def text(self, unit: Sequence[int]) -> str:
        """The unit as one line of text, without its marks; but for those, distinct units have
        distinct texts.

        Runs of bytes are decoded as UTF-8. A backslash is doubled; control characters, and bytes
        that are no UTF-8, are written \\t \\n \\r \\xNN \\uNNNN; generated symbols in brackets
        where they aren't the whole unit.
        """
        kept = [symbol for symbol in unit if symbol not in self.marks]
        if self.symbols.kind != "bytes":
            joint = " " if self.symbols.kind == "symbols" else ""
            return joint.join(map(self._escaped_name, kept))
        out: list[str] = []
        run = bytearray()
        for symbol in [*kept, END]:
            if 0 <= symbol < 256:
                run.append(symbol)
                continue
            out.append(_escaped(bytes(run)))
            run.clear()
            if symbol != END:
                name = self._escaped_name(symbol)
                out.append(name if len(kept) == 1 else f"[{name}]")
        return "".join(out)

    def texts(self, symbols: Sequence[int]) -> list[str]:
        """The texts of units of one symbol each; those of an alphabet are remembered."""
        known = self._known
        for symbol in {*symbols}.difference(known):
            known[symbol] = self.text((symbol,))
        return [known[symbol] for symbol in symbols]

    def _escaped_name(self, symbol: int) -> str:
        symbols = self.symbols
        if symbol in symbols.names:
            return "".join(_CONTROLS.get(char, char) for char in symbols.names[symbol])
        if symbols.kind == "unicode" and not 0xD800 <= symbol < 0xE000:
            return _escaped(chr(symbol).encode())
        return symbols.name(symbol)

    def name(self, symbol: int) -> str:
        """The name of one symbol; ⊥ for the end."""
        return END_NAME if symbol == END else self.symbols.name(symbol)


_CONTROLS = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}
_ESCAPES = {**_CONTROLS, "\\": "\\\\"}


def _escaped(data: bytes) -> str:
    """UTF-8 text with backslashes, control characters and undecodable bytes escaped."""
    out = []
    for char in data.decode("utf-8", "surrogateescape"):
        code = ord(char)
        if char in _ESCAPES:
            out.append(_ESCAPES[char])
        elif 0xDC80 <= code <= 0xDCFF:
            out.append(f"\\x{code - 0xDC00:02x}")
        elif code < 0x20 or 0x7F <= code < 0xA0:
            out.append(f"\\x{code:02x}")
        elif code in (0x2028, 0x2029):
            out.append(f"\\u{code:04x}")
        else:
            out.append(char)
    return "".join(out)


_BYTE_NAME = re.compile(r"\\x[0-9a-f]{2}")


def target_text(target: Sequence[int], symbols: Symbols, *, shown: bool = True) -> bytes:
    """A target string as bytes: bytes and characters as they are, generated symbols as [NAME], the
    symbols of a table by name, separated by spaces. shown: bytes that are no UTF-8 appear as \\xNN
    among characters; else they are as they are, which `parse_target_text` reads."""
    if symbols.kind == "symbols":
        return _raw(" ".join(map(symbols.name, target)))
    pieces = []
    for symbol in target:
        name = symbols.names.get(symbol)
        if name is not None and _is_byte(name, symbols):
            pieces.append(_raw(name) if shown else bytes([int(name[2:], 16)]))
        elif name is not None:
            pieces.append(_raw(f"[{name}]"))
        elif symbols.kind == "bytes":
            pieces.append(bytes([symbol]))
        else:
            pieces.append(chr(symbol).encode("utf-8", "surrogatepass"))
    return b"".join(pieces)


def parse_target_text(data: bytes, symbols: Symbols) -> tuple[int, ...]:
    """The target string that `data` writes; the inverse of `target_text` (not shown).

    [NAME] is a generated symbol where the alphabet has one of that name, otherwise it is itself.
    Among characters a byte that is no UTF-8 is that symbol, if there is one; \\xNN is four
    characters.

    Raises InputError for a name, or a byte, that is no symbol of the alphabet.
    """
    labels = {name: label for label, name in reversed(list(symbols.names.items()))}
    if symbols.kind == "symbols":
        return tuple(_named(name, labels) for name in _text(data).split(" ") if name)
    generated = [name for name in labels if not _is_byte(name, symbols)]
    if not generated:
        return _plain(data, symbols, labels)
    # Longer names first: one may begin another where names hold brackets.
    ordered = sorted(map(re.escape, map(_raw, generated)), key=len, reverse=True)
    found: list[int] = []
    # Every second piece is a name, because the pattern has one group.
    for at, piece in enumerate(re.split(rb"\[(%s)\]" % b"|".join(ordered), data)):
        found += [labels[_text(piece)]] if at % 2 else _plain(piece, symbols, labels)
    return tuple(found)


def _is_byte(name: str, symbols: Symbols) -> bool:
    """Whether a named symbol is a byte that is no UTF-8, among characters."""
    return symbols.kind == "unicode" and _BYTE_NAME.fullmatch(name) is not None


def _plain(data: bytes, symbols: Symbols, labels: dict[str, int]) -> tuple[int, ...]:
    """Bytes or characters without generated symbols."""
    if symbols.kind == "bytes":
        return tuple(data)
    return tuple(
        _named(f"\\x{ord(char) - 0xDC00:02x}", labels)
        if 0xDC80 <= ord(char) <= 0xDCFF
        else ord(char)
        for char in _text(data)
    )


def _named(name: str, labels: dict[str, int]) -> int:
    if name not in labels:
        shown = ", ".join(list(labels)[:8]) or "characters"
        raise InputError(
            f"{name!r} is no symbol of the target", hint=f"the target's symbols are {shown}"
        )
    return labels[name]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
