"""The genome that the DNA model and its baselines are trained on, as arrays of token ids.

Leptospira kirschneri str. H1 in 75 contigs, with its annotated genes, from the GenBank file in the
Debian package any2fasta-examples. One contig is kept for validation and one for the test.

Letters other than A, C, G and T divide a contig: the pieces on both sides are contigs of their
own, and a gene that holds one is left out.
"""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

GENBANK = Path("/usr/share/doc/any2fasta/examples/test.gbk.gz")
PACKAGE = "any2fasta-examples"
VALIDATION, TEST = "NZ_AHMY02000040", "NZ_AHMY02000051"
SYMBOLS = ("A", "C", "G", "T", "<s>", "</s>")
BOS, EOS = 4, 5
BASES = 4

# NCBI genetic code 11, to which the annotation refers.
STARTS = frozenset(("ATG", "GTG", "TTG", "CTG", "ATT", "ATC", "ATA"))
STOPS = frozenset(("TAA", "TAG", "TGA"))

_IDS = np.full(256, 255, dtype=np.uint8)
_IDS[[ord(letter) for letter in "ACGT"]] = np.arange(BASES)


@dataclass
class Part:
    """One part of the genome: pieces of contigs, forward strand, and genes, start to stop codon.

    All are uint8 arrays of ids 0 .. 3.
    """

    contigs: list[np.ndarray] = field(default_factory=list)
    genes: list[np.ndarray] = field(default_factory=list)


def encode(text: str) -> np.ndarray:
    """Ids uint8 [bases] of a string of A, C, G and T; ValueError for another letter."""
    ids = _IDS[np.frombuffer(text.encode("ascii"), dtype=np.uint8)]
    if (ids >= BASES).any():
        raise ValueError(f"expected the letters A, C, G and T only, got {sorted(set(text))}")
    return ids


def other_strand(ids: np.ndarray) -> np.ndarray:
    """The reverse complement: A with T, C with G, read backwards."""
    return (BASES - 1 - ids)[::-1]


def document(gene: np.ndarray) -> np.ndarray:
    """A gene as a document: BOS, its bases, EOS."""
    return np.concatenate([[BOS], gene, [EOS]]).astype(np.uint8)


def read_genome(path: Path) -> dict[str, Part]:
    """The parts "train", "validation" and "test" of the GenBank file at `path`."""
    from Bio import SeqIO

    if not path.is_file():
        raise SystemExit(
            f"there is no GenBank file {path}. It comes with the Debian package {PACKAGE}:\n"
            f"    apt-get install {PACKAGE}\n"
            f"or: apt-get download {PACKAGE} && dpkg -x {PACKAGE}_*.deb FOLDER\n"
            f"and name FOLDER{GENBANK} with --genome"
        )
    parts = {name: Part() for name in ("train", "validation", "test")}
    names = {VALIDATION: "validation", TEST: "test"}
    found = set()
    with gzip.open(path, "rt") as stream:
        for record in SeqIO.parse(stream, "genbank"):
            accession = record.id.split(".")[0]
            found.add(accession)
            part = parts[names.get(accession, "train")]
            text = str(record.seq).upper()
            part.contigs += [encode(piece) for piece in re.findall("[ACGT]{2,}", text)]
            part.genes += [encode(gene) for gene in _genes(record)]
    missing = set(names) - found
    if missing:
        raise SystemExit(f"{path} lacks the contig {min(missing)}: it is not the file of {PACKAGE}")
    return parts


def _genes(record: Any) -> list[str]:
    """The intact protein-coding genes of a record: in one piece, of whole codons, from a start to
    the only stop codon."""
    genes = []
    for feature in record.features:
        if feature.type != "CDS" or "pseudo" in feature.qualifiers:
            continue
        text = str(feature.extract(record.seq)).upper()
        codons = [text[i : i + 3] for i in range(0, len(text), 3)]
        whole = len(feature.location.parts) == 1 and len(text) % 3 == 0
        ends = codons[0] in STARTS and codons[-1] in STOPS and STOPS.isdisjoint(codons[:-1])
        if whole and ends and re.fullmatch("[ACGT]+", text):
            genes.append(text)
    return genes
