"""Compares words.grm with NLTK's TreebankWordTokenizer on paragraphs of English Wikipedia.

    python scripts/check_words.py [DUMP.xml.bz2]

DUMP is a MediaWiki dump; by default the one in the installed package gensim
(enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2). mwparserfromhell removes
the markup; a paragraph is a line of at least 40 characters. Compared are the words of the rule ANY,
and those of WORDS without its units of white space. Every difference is printed. Fails if under
either rule fewer than 99.9% of the paragraphs are equal, or if its sequential form met 2,000 states
or more.
"""

from __future__ import annotations

import argparse
import bz2
import html
import importlib.util
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from nltk.tokenize.treebank import TreebankWordTokenizer

from lmfst.fst.sequential import Determinised, run
from lmfst.grammar import compile_file
from lmfst.ground.resources import resource_dir
from lmfst.target.units import Units

DUMP = "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
SHORTEST = 40
LEAST_RATE = 0.999
MOST_STATES = 2000


def find_dump() -> Path:
    """The dump inside gensim's test data, without importing gensim."""
    spec = importlib.util.find_spec("gensim")
    if spec is None or spec.origin is None:
        sys.exit("expected the path of a dump, or the package gensim with its test data")
    return Path(spec.origin).parent / "test" / "test_data" / DUMP


def paragraphs(dump: Path) -> Iterator[str]:
    """The paragraphs of all pages, without markup."""
    import mwparserfromhell

    with bz2.open(dump, "rt", encoding="utf-8") as file:
        pages = re.findall(r"<text[^>]*>(.*?)</text>", file.read(), re.DOTALL)
    for page in pages:
        plain = mwparserfromhell.parse(html.unescape(page)).strip_code()
        for line in plain.split("\n"):
            if len(line.strip()) >= SHORTEST:
                yield line.strip()


class Words:
    """A rule of words.grm as a function from text to a list of words."""

    def __init__(self, name: str) -> None:
        begin = time.perf_counter()
        file = resource_dir("grammars") / "words.grm"
        fst = compile_file(file, rule=name, cache=False).rule(name).fst
        self.name = name
        self.seconds = time.perf_counter() - begin
        self.machine = Determinised(fst)
        self.marks = Units.of(fst.symbols).marks
        self.equal = 0

    def __call__(self, text: str) -> list[str]:
        """The words of the text, without units of white space."""
        words = [bytearray()]
        for symbol in run(self.machine, text.encode()):
            if symbol in self.marks:
                words.append(bytearray())
            else:
                words[-1].append(symbol)
        return [text for word in words if (text := word.decode()).strip()]


def show(name: str, text: str, ours: list[str], theirs: list[str]) -> None:
    """Print where two lists of words part."""
    at = sum(1 for _ in _equal_head(ours, theirs))
    around = slice(max(0, at - 2), at + 3)
    print(f"{name} differs: {text[:60]!r}…\n  here {ours[around]}\n  NLTK {theirs[around]}")


def _equal_head(ours: list[str], theirs: list[str]) -> Iterator[str]:
    for one, other in zip(ours, theirs, strict=False):
        if one != other:
            return
        yield one


def main() -> int:
    """Compare, and print the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("dump", type=Path, nargs="?", help="a MediaWiki dump, .xml.bz2")
    dump = parser.parse_args().dump or find_dump()
    rules, theirs = [Words("ANY"), Words("WORDS")], TreebankWordTokenizer()
    total = characters = 0
    for text in paragraphs(dump):
        expected = theirs.tokenize(text)
        total += 1
        characters += len(text)
        for ours in rules:
            found = ours(text)
            ours.equal += expected == found
            if expected != found:
                show(ours.name, text, found, expected)
    print(f"{total} paragraphs, {characters} characters")
    good = total > 0
    for ours in rules:
        states = ours.machine.n_states
        print(
            f"{ours.name}: {ours.equal} equal ({ours.equal / max(1, total):.4%}); compiled in "
            f"{ours.seconds:.1f} s; {states} sequential states met"
        )
        good = good and ours.equal / total >= LEAST_RATE and states < MOST_STATES
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
