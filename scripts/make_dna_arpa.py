"""Markov models of DNA as ARPA files, from the data that the model of data/dna is trained on.

python scripts/make_dna_arpa.py -o dna5.arpa --order 5 [--genome FILE.gbk.gz]

An order-k model is interpolated with the orders below it: with c(h) the count of a context h of k
symbols and h' the context without its oldest symbol,

    p(a | h) = (c(ha) + w_k p(a | h')) / (c(h) + w_k)

that is, a Dirichlet prior centred on the lower order (MacKay and Peto 1995). The weight w_k of each
order is the one that gives the validation contig the fewest bits. In ARPA terms, seen n-grams hold
p and the backoff weight of h is w_k / (c(h) + w_k).

Counted are all contigs of the training part, both strands, and its genes as documents: <s>, start
codon … stop codon, </s>. Files grow fourfold with each order: about 140 kB at 5, 10 MB at 8.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from dna_data import BOS, GENBANK, SYMBOLS, Part, document, other_strand, read_genome

from lmfst.lm.arpa import write_arpa
from lmfst.lm.ngram import Entry, Gram, NgramTables

SIZE = len(SYMBOLS)
WEIGHTS = tuple(2.0**i for i in range(13))


@dataclass
class Counts:
    """N-grams of one order: codes int64 [n], ascending, the symbols as digits in base SIZE with the
    newest last; their counts int64 [n]; and the same of the contexts [m]."""

    grams: np.ndarray
    counts: np.ndarray
    contexts: np.ndarray
    totals: np.ndarray


def codes(text: np.ndarray, length: int) -> np.ndarray:
    """The codes int64 [symbols - length + 1] of all n-grams of a text."""
    found = np.zeros(max(0, len(text) - length + 1), dtype=np.int64)
    for i in range(length):
        found = found * SIZE + text[i : i + len(found)]
    return found


def count(texts: Sequence[np.ndarray], order: int) -> Counts:
    """The n-grams of contexts of `order` symbols that predict something: all that don't end in
    BOS."""
    every = np.concatenate([codes(text, order + 1) for text in texts])
    grams, counts = np.unique(every[every % SIZE != BOS], return_counts=True)
    contexts, first = np.unique(grams // SIZE, return_index=True)
    return Counts(grams, counts, contexts, np.add.reduceat(counts, first))


def looked_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """values[i] where keys[i] == wanted, else 0; keys ascend."""
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)


def training_texts(part: Part) -> list[np.ndarray]:
    """Both strands of all contigs, and the genes as documents."""
    strands = [strand for contig in part.contigs for strand in (contig, other_strand(contig))]
    return strands + [document(gene) for gene in part.genes]


class Texts:
    """Texts whose symbols get their probabilities order by order.

    The first symbol of a text is not predicted: BOS, or the first base of a contig.
    """

    def __init__(self, texts: Sequence[np.ndarray]) -> None:
        self.texts = texts
        self.p = [np.ones(len(text) - 1) for text in texts]

    def raised(self, counts: Counts, order: int, weight: float) -> list[np.ndarray]:
        """Probabilities [symbols - 1] of each text at this order, from those of the order below.

        Symbols with fewer than `order` symbols before them keep what they have.
        """
        kept = max(0, order - 1)
        return [
            np.concatenate([below[:kept], self._new(text, below, counts, order, weight)])
            for text, below in zip(self.texts, self.p, strict=True)
        ]

    @staticmethod
    def _new(
        text: np.ndarray, below: np.ndarray, counts: Counts, order: int, weight: float
    ) -> np.ndarray:
        wanted = codes(text, order + 1)[1 if order == 0 else 0 :]
        joint = looked_up(counts.grams, counts.counts, wanted)
        total = looked_up(counts.contexts, counts.totals, wanted // SIZE)
        return (joint + weight * below[max(0, order - 1) :]) / (total + weight)

    def bits(self, p: list[np.ndarray] | None = None) -> float:
        """Bits per predicted symbol."""
        found = np.concatenate(self.p if p is None else p)
        return float(-np.log2(found).mean())


def validation_texts(part: Part) -> list[np.ndarray]:
    """The contig and its genes, as documents."""
    return [*part.contigs, *map(document, part.genes)]


class Markov:
    """Orders 0 .. k, one after the other. weights: of each order so far."""

    def __init__(self, train: Sequence[np.ndarray], validation: Sequence[np.ndarray]) -> None:
        self._train = train
        self._validation = Texts(validation)
        self.weights: list[float] = []

    def grow(self) -> tuple[Counts, float]:
        """The counts and the weight of the next order."""
        order = len(self.weights)
        counts = count(self._train, order)
        held = self._validation
        # Below order 0 there is nothing to interpolate with.
        tried = {w: held.raised(counts, order, w) for w in (WEIGHTS if order else (0.0,))}
        weight = min(tried, key=lambda w: held.bits(tried[w]))
        held.p = tried[weight]
        self.weights.append(weight)
        return counts, weight


def tables(markov: Markov, order: int) -> NgramTables:
    """The ARPA tables of the order-`order` model."""
    grams: list[dict[Gram, Entry]] = []
    below: dict[Gram, float] = {}
    for length in range(1, order + 2):
        counts, weight = markov.grow()
        totals = dict(zip(counts.contexts.tolist(), counts.totals.tolist(), strict=True))
        here: dict[Gram, float] = {}
        for code, seen in zip(counts.grams.tolist(), counts.counts.tolist(), strict=True):
            gram = spelled(code, length)
            lower = below[gram[1:]] if length > 1 else 0.0
            here[gram] = (seen + weight * lower) / (totals[code // SIZE] + weight)
        if length > 1:
            _set_backoffs(grams[-1], totals, weight, length - 1)
        grams.append({gram: (rounded(p), 0.0) for gram, p in here.items()})
        if length == 1:
            grams[0][(SYMBOLS[BOS],)] = (-99.0, 0.0)
        below = here
    return NgramTables(tuple(grams))


def _set_backoffs(
    grams: dict[Gram, Entry], totals: dict[int, int], weight: float, length: int
) -> None:
    for code, total in totals.items():
        gram = spelled(code, length)
        # A context with BOS at its end is no n-gram that predicts anything, but it backs off.
        logp = grams[gram][0] if gram in grams else -99.0
        grams[gram] = (logp, rounded(weight / (total + weight)))


def rounded(p: float) -> float:
    """The log10 of p, short enough for a small file; 1e-7 is far below what the counts tell."""
    return round(math.log10(p), 7)


def spelled(code: int, length: int) -> Gram:
    """The symbols of an n-gram's code."""
    digits = [code // SIZE**i % SIZE for i in reversed(range(length))]
    return tuple(SYMBOLS[d] for d in digits)


def main() -> None:
    """Read the options and write one file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--genome", type=Path, default=GENBANK, help="the GenBank file")
    parser.add_argument("--order", type=int, default=5, help="symbols of context")
    parser.add_argument("-o", "--output", type=Path, required=True, help="FILE.arpa or .arpa.gz")
    args = parser.parse_args()
    if not 0 <= args.order <= 12:
        raise SystemExit(f"--order must be from 0 to 12, not {args.order}")
    parts = read_genome(args.genome)
    markov = Markov(training_texts(parts["train"]), validation_texts(parts["validation"]))
    write_arpa(tables(markov, args.order), args.output)
    print(f"{args.output}: order {args.order}, weights {markov.weights}")


if __name__ == "__main__":
    main()
