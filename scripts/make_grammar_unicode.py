"""Writes grammars/lib/unicode.grm and grammars/data/lower.tsv from Python's Unicode tables.

    python scripts/make_grammar_unicode.py [--check]

`--check` writes nothing and fails if the files differ from what this Python would write. Classes
of characters become minimal deterministic automata over UTF-8 bytes, one named rule a state.
Digits come
from the `regex` package, whose \\d the tokenizers that `words.grm` follows use.
"""

from __future__ import annotations

import argparse
import re
import sys
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import regex  # type: ignore[import-untyped]

GRAMMARS = Path(__file__).resolve().parent.parent / "grammars"

CODE_POINTS = [point for point in range(0x80, 0x110000) if not 0xD800 <= point < 0xE000]

# Where \w is exact; elsewhere every character beyond ASCII counts as a word character. Exactness
# everywhere would make words.grm four times as large, for the sake of contractions such as
# "cannot" next to, say, a Devanagari vowel sign.
EXACT = ((0x80, 0x800), (0x2000, 0x2C00), (0x3000, 0x3040), (0x1F300, 0x1FB00))

HEADER = """\
# Classes of characters beyond ASCII, as UTF-8. Written by scripts/make_grammar_unicode.py; change
# that.

import 'bytes.grm' as b;
"""

DIGIT_NOTE = """\
# Decimal digits of every script (Unicode category Nd), 0 to 9 among them.
"""

WORD_NOTE = """\
# Word characters, \\w of Python's regular expressions (Unicode {version}): exact below U+0800, in
# U+2000 to U+2BFF, U+3000 to U+303F and U+1F300 to U+1FAFF. Any other character counts as a word
# character.
"""

Node = dict[int, "Node | None"]


def is_word(point: int) -> bool:
    """Whether the class WORD has the character."""
    if any(low <= point < high for low, high in EXACT):
        return re.match(r"\w", chr(point)) is not None
    return True


def trie(points: Iterable[int]) -> Node:
    """The UTF-8 bytes of the characters as a trie; None marks the end of a character."""
    root: Node = {}
    for point in points:
        node = root
        *first, last = chr(point).encode()
        for byte in first:
            child = node.setdefault(byte, {})
            if child is None:
                raise ValueError("UTF-8 is a prefix code")
            node = child
        node[last] = None
    return root


class Automaton:
    """Rules for the states of a trie with equal subtries merged, in the order of use."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.lines: list[str] = []
        self._names: dict[str, str] = {}

    def rule(self, node: Node) -> str:
        """An expression for the strings from a node; its inner nodes become rules."""
        groups: dict[str, list[int]] = {}
        for byte, child in sorted(node.items()):
            groups.setdefault("" if child is None else self._named(child), []).append(byte)
        return " |\n    ".join(
            f"{byte_set(group)} {name}".rstrip() for name, group in groups.items()
        )

    def _named(self, node: Node) -> str:
        text = self.rule(node)
        if text not in self._names:
            if text == "b.TRAIL":
                return text
            self._names[text] = f"{self.prefix}{len(self._names)}"
            self.lines.append(f"{self._names[text]} = Optimize[\n    {text}];")
        return self._names[text]


def byte_set(group: list[int]) -> str:
    """A union of bytes; all the trailing bytes of UTF-8 by their name."""
    if group == list(range(0x80, 0xC0)):
        return "b.TRAIL"
    cells = [f'"[0x{byte:02X}]"' for byte in group]
    rows = [" | ".join(cells[at : at + 8]) for at in range(0, len(cells), 8)]
    text = " |\n     ".join(rows)
    return text if len(group) == 1 else f"({text})"


def unicode_grammar() -> str:
    """The text of grammars/lib/unicode.grm."""
    digits = Automaton("d")
    digit = digits.rule(trie(p for p in CODE_POINTS if regex.match(r"\d", chr(p))))
    words = Automaton("w")
    word = words.rule(trie(p for p in CODE_POINTS if is_word(p)))
    parts = [
        HEADER,
        *digits.lines,
        f"\n{DIGIT_NOTE}export DIGIT = Optimize[\n    b.DIGIT |\n    {digit}];\n",
        *words.lines,
        "\n"
        + WORD_NOTE.format(version=unicodedata.unidata_version)
        + f'export WORD = Optimize[\n    b.LETTER | b.DIGIT | "_" |\n    {word}];',
    ]
    return "\n".join(parts) + "\n"


def lower_table() -> str:
    """The text of grammars/data/lower.tsv: characters that change, and their lower case."""
    lines = [
        f"{chr(point)}\t{chr(point).lower()}"
        for point in [*range(0x80), *CODE_POINTS]
        if chr(point).lower() != chr(point)
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the files, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare only")
    check = parser.parse_args().check
    stale = []
    files = {"lib/unicode.grm": unicode_grammar(), "data/lower.tsv": lower_table()}
    for name, text in files.items():
        path = GRAMMARS / name
        if check and path.read_text(encoding="utf-8") != text:
            stale.append(name)
        if not check:
            path.write_text(text, encoding="utf-8")
    for name in stale:
        sys.stderr.write(f"{name} is not what this script writes\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
