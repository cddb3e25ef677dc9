"""Units: how target symbols are grouped and shown in records.

Most targets have one unit a symbol. Where the output alphabet has a generated symbol named SEP, units are
what it separates (words): a unit then ends with its separator, so that its probability includes the
event that the word is complete; the last unit of a string has none, and ⊥ completes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lmfst.fst import Symbols
from lmfst.sequential import END

END_NAME = "⊥"
SEPARATOR = "SEP"


@dataclass(frozen=True)
class Units:
    """The grouping of a target alphabet. separator: the label that ends a unit, or None."""

    symbols: Symbols
    separator: int | None = None

    @staticmethod
    def of(symbols: Symbols) -> Units:
        """The units of an alphabet, by whether it names a separator."""
        found = [label for label, name in symbols.names.items() if name == SEPARATOR]
        return Units(symbols, found[0] if found else None)

    def spans(self, target: Sequence[int]) -> list[tuple[int, int]]:
        """Begin and end of every unit, in symbols, without the final ⊥."""
        if self.separator is None:
            return [(i, i + 1) for i in range(len(target))]
        cuts = [i + 1 for i, symbol in enumerate(target) if symbol == self.separator]
        if len(target) and (not cuts or cuts[-1] < len(target)):
            cuts.append(len(target))
        return list(zip([0, *cuts[:-1]], cuts, strict=True))

    def text(self, unit: Sequence[int]) -> str:
        """The unit as text: names of its symbols, without the separator; UTF-8 bytes as characters."""
        kept = [symbol for symbol in unit if symbol != self.separator]
        if self.symbols.kind != "bytes" or len(kept) < 2:
            return "".join(map(self.name, kept))
        return self._bytes_text(kept)

    def _bytes_text(self, unit: Sequence[int]) -> str:
        """Runs of bytes decoded as UTF-8 where they are UTF-8, other symbols by name."""
        out: list[str] = []
        run = bytearray()

        def flush() -> None:
            for char in bytes(run).decode("utf-8", "surrogateescape"):
                lone = 0xDC80 <= ord(char) <= 0xDCFF
                out.append(f"\\x{ord(char) - 0xDC00:02X}" if lone else char)
            run.clear()

        for symbol in unit:
            if symbol < 256:
                run.append(symbol)
            else:
                flush()
                out.append(self.name(symbol))
        flush()
        return "".join(out)

    def name(self, symbol: int) -> str:
        """The name of one symbol; ⊥ for the end."""
        return END_NAME if symbol == END else self.symbols.name(symbol)
