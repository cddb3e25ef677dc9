"""Compares amino.grm with Biopython: all codons of all genetic codes, and annotated genes.

    python scripts/check_amino.py [FILE.gbk[.gz]]

FILE is a GenBank file; by default that of Debian's package any2fasta-examples, if it is
installed. Each coding sequence with a translation is translated by the rule of its table.
Compared with the annotation, the stop at the end is left out, and a start codon counts as M,
whatever else it means inside a gene. Every difference is printed; there must be none that
Biopython doesn't make as well.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import sys
import warnings
from pathlib import Path
from typing import Any

from Bio import SeqIO
from Bio.Data import CodonTable
from Bio.Seq import translate

from lmfst.fst.sequential import Determinised, run
from lmfst.grammar import compile_file
from lmfst.ground.resources import resource_dir

EXAMPLE = Path("/usr/share/doc/any2fasta/examples/test.gbk.gz")
LETTERS = "ACGTRYSWKMBDHVN"


def machines() -> dict[int, Determinised]:
    """The rule of each table, made sequential."""
    module = compile_file(resource_dir("grammars") / "amino.grm")
    return {
        table: Determinised(module.rule(f"TABLE{table}").fst)
        for table in CodonTable.unambiguous_dna_by_id
    }


def apply(machine: Determinised, text: str) -> str:
    """The residues of a sequence."""
    return bytes(run(machine, text.encode())).decode()


def check_codons(tables: dict[int, Determinised]) -> int:
    """Compare all codons, with codes for several bases; the number of differences."""
    wrong = count = 0
    for number, machine in tables.items():
        for codon in map("".join, itertools.product(LETTERS, repeat=3)):
            found, expected = apply(machine, codon), str(translate(codon, table=number))
            count += 1
            wrong += found != expected
            if found != expected:
                print(f"table {number}: {codon} is {found}, in Biopython {expected}")
    states = max(machine.n_states for machine in tables.values())
    print(f"{count} codons of {len(tables)} tables: {wrong} differ; at most {states} states")
    return wrong


def check_genes(path: Path, tables: dict[int, Determinised]) -> int:
    """Compare the coding sequences of a GenBank file; the number that Biopython reads otherwise."""
    total = equal = wrong = 0
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        for record in SeqIO.parse(file, "genbank"):
            for feature in record.features:
                if feature.type != "CDS" or "translation" not in feature.qualifiers:
                    continue
                number = int(feature.qualifiers.get("transl_table", ["1"])[0])
                gene = str(feature.extract(record.seq))[codon_start(feature) :]
                found = apply(tables[number], gene)
                total += 1
                wrong += found != str(translate(gene, table=number))
                annotated = feature.qualifiers["translation"][0]
                as_annotated = found.removesuffix("*")
                starts = CodonTable.unambiguous_dna_by_id[number].start_codons
                if gene[:3].upper() in starts and not starts_before(feature):
                    as_annotated = "M" + as_annotated[1:]
                equal += as_annotated == annotated
                if as_annotated != annotated:
                    name = feature.qualifiers.get("locus_tag", ["?"])[0]
                    print(f"{name}: differs from the annotation\n  {as_annotated}\n  {annotated}")
    print(f"{total} genes: {equal} as annotated, {wrong} other than in Biopython")
    return wrong + (total == 0)


def codon_start(feature: Any) -> int:
    """Letters before the first whole codon."""
    return int(feature.qualifiers.get("codon_start", ["1"])[0]) - 1


def starts_before(feature: Any) -> bool:
    """Whether the gene begins before the sequence that is known."""
    location = feature.location
    end = location.end if location.strand == -1 else location.start
    return type(end).__name__ in ("BeforePosition", "AfterPosition")


def main() -> int:
    """Compare, and print the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("genbank", type=Path, nargs="?", help="a GenBank file")
    path = parser.parse_args().genbank or (EXAMPLE if EXAMPLE.is_file() else None)
    warnings.simplefilter("ignore")
    tables = machines()
    wrong = check_codons(tables)
    if path is None:
        print("no GenBank file given, and Debian's any2fasta-examples isn't installed")
    else:
        wrong += check_genes(path, tables)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
