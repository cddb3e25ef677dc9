"""Bits per base of the DNA model and of Markov models on the test contig, as a Markdown table.

python scripts/score_dna.py [--model data/dna] [--order 12] [--genome FILE.gbk.gz]

The contig is read as it is, forward strand, without BOS; its genes as documents: BOS, start codon …
stop codon, EOS, where EOS counts as one more symbol. The neural model reads windows of its context
length, each half of which is new. The Markov models are those of scripts/make_dna_arpa.py, counted
over the same text as the model is trained on (contigs and genes), and, as the best case for each
column, over contigs alone and over genes alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from dna_data import GENBANK, Part, document, other_strand, read_genome
from make_dna_arpa import Markov, Texts, training_texts, validation_texts
from train_dna import bits

MODEL = Path(__file__).resolve().parent.parent / "data" / "dna"


def markov_columns(
    train: Sequence[np.ndarray],
    validation: Sequence[np.ndarray],
    tests: Sequence[Sequence[np.ndarray]],
    top: int,
) -> list[list[float]]:
    """Bits per symbol on each of `tests`, for orders 0 .. top."""
    markov = Markov(train, validation)
    scored = [Texts(texts) for texts in tests]
    found: list[list[float]] = [[] for _ in tests]
    for order in range(top + 1):
        counts, weight = markov.grow()
        for column, texts in zip(found, scored, strict=True):
            texts.p = texts.raised(counts, order, weight)
            column.append(texts.bits())
    return found


def markov_rows(parts: dict[str, Part], top: int) -> list[str]:
    """One line of the table for each order."""
    train, validation, test = parts["train"], parts["validation"], parts["test"]
    contigs = [s for c in train.contigs for s in (c, other_strand(c))]
    genes, held, asked = ([document(g) for g in part.genes] for part in (train, validation, test))
    columns = [
        *markov_columns(
            training_texts(train), validation_texts(validation), [test.contigs, asked], top
        ),
        *markov_columns(contigs, validation.contigs, [test.contigs], top),
        *markov_columns(genes, held, [asked], top),
    ]
    return [
        f"| order {k} | " + " | ".join(f"{x:.4f}" for x in row) + " |"
        for k, row in enumerate(zip(*columns, strict=True))
    ]


def neural_row(folder: Path, test: Part) -> str:
    """The line of the neural model."""
    from transformers import AutoModelForCausalLM

    model = (
        AutoModelForCausalLM.from_pretrained(str(folder), trust_remote_code=False).float().eval()
    )
    window = model.config.max_position_embeddings
    shown = []
    for texts in (test.contigs, [document(gene) for gene in test.genes]):
        total, count = bits(model, texts, window, window // 2)
        shown.append(f"**{total / count:.4f}**")
    return f"| neural | {shown[0]} | {shown[1]} | | |"


def main() -> None:
    """Read the options and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--genome", type=Path, default=GENBANK, help="the GenBank file")
    parser.add_argument("--model", type=Path, default=MODEL, help="the model folder")
    parser.add_argument("--order", type=int, default=12, help="the highest Markov order; -1: none")
    args = parser.parse_args()
    parts = read_genome(args.genome)
    print("| model | contig | genes | contig, counts of contigs | genes, counts of genes |")
    print("|---|---|---|---|---|")
    for row in markov_rows(parts, args.order) if args.order >= 0 else ():
        print(row)
    print(neural_row(args.model, parts["test"]), flush=True)


if __name__ == "__main__":
    main()
