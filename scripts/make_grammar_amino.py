"""Writes grammars/amino.grm from Biopython's tables of the NCBI genetic codes.

    python scripts/make_grammar_amino.py [--check]

`--check` writes nothing and fails if the file differs. The standard code is written in full,
every other one as its differences from it; how codes become translations is in
grammars/lib/codons.grm.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path
from typing import Any

from Bio.Data import CodonTable

TARGET = Path(__file__).resolve().parent.parent / "grammars" / "amino.grm"

HEADER = """\
# DNA or RNA to amino acids, in one-letter codes; a stop codon is "*".
#
# Written by scripts/make_grammar_amino.py from Biopython's NCBI genetic codes; change
# that. AMINO is the standard code; TABLE2, TABLE3, … are the codes by their NCBI number:
# amino.grm:TABLE11 is that of bacteria.
#
# Reads A C G T U and the IUPAC codes R Y S W K M B D H V N X, in either case, and no other byte.
# Translation begins at the first letter and goes on through stops. A codon whose readings differ
# is B (Asn or Asp), Z (Gln or Glu), J (Leu or Ile), else X; an incomplete codon at the end is
# dropped. Codons that can be stop or residue (tables 27, 28 and 31) are read as the residue.
#
# That is what Biopython's Seq.translate does, but for these: a codon with an X in it of whose
# readings some are stops and some are residues (TXA, XXX) is X here and an error there (with N,
# TNA, it is X in both); three gaps (---) are an error here and a gap there; and a byte that is
# none of the above letters is an error here in an incomplete codon at the end, too (ATG-), which
# Biopython drops unread, with a warning.

import 'lib/codons.grm' as c;
"""

BASES = "TCAG"


def residues(table: Any) -> dict[str, str]:
    """Residue, or `*`, of every codon of plain bases."""
    codons = map("".join, itertools.product(BASES, repeat=3))
    return {codon: table.forward_table.get(codon, "*") for codon in codons}


def mapping(code: dict[str, str]) -> list[str]:
    """Codons grouped by residue, as expressions."""
    groups: dict[str, list[str]] = {}
    for codon, residue in code.items():
        groups.setdefault(residue, []).append(codon)
    return [f'({_union(group)} : "{residue}")' for residue, group in sorted(groups.items())]


def _union(codons: list[str]) -> str:
    text = " | ".join(f'"{codon}"' for codon in codons)
    return text if len(codons) == 1 else f"({text})"


def grammar() -> str:
    """The text of grammars/amino.grm."""
    tables = CodonTable.unambiguous_dna_by_id
    standard = residues(tables[1])
    parts = [HEADER]
    parts.append("standard = Optimize[\n    " + " |\n    ".join(mapping(standard)) + "];\n")
    parts.append("# 1. Standard\nexport TABLE1 = c.Translate[standard];\nexport AMINO = TABLE1;\n")
    for number, table in sorted(tables.items()):
        if number == 1:
            continue
        names = "; ".join(name for name in table.names if name and not name.startswith("SGC"))
        code = residues(table)
        changes = {codon: code[codon] for codon in code if code[codon] != standard[codon]}
        if changes:
            lines = " |\n    ".join(mapping(changes))
            body = f"c.Translate[c.Change[standard,\n    {lines}]]"
        else:
            body = "TABLE1"
        parts.append(f"# {number}. {names}\nexport TABLE{number} = {body};\n")
    return "\n".join(parts)


def main() -> int:
    """Write the file, or compare it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare only")
    text = grammar()
    if parser.parse_args().check:
        if TARGET.read_text(encoding="utf-8") != text:
            sys.stderr.write(f"{TARGET.name} is not what this script writes\n")
            return 1
        return 0
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
