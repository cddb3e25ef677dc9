"""Proteins under models of DNA: exact sums, estimates by sampling, and what the reading frame says.

    python scripts/bench_dna.py [--only SECTION …] [--genome FILE.gbk.gz] [--out FOLDER]

Sections, each of which prints a table; all go to FOLDER/bench_dna.json:

exact      200 residues under n-gram models of DNA, whose states merge: seconds for the exact sum.
rmse       sampling without replacement against multinomial resampling (the bootstrap particle
           filter), with equal particles and random numbers of their own, around exact values.
proteins   held-out proteins of 100 to 300 residues under the neural model, one after the other.
together   ten of 100 to 150 residues in one batch, against the ten one by one.
frames     bits per residue of held-out proteins, of the same residues shuffled, and of what their
           DNA says when it is read one base later.

Held-out proteins are what the annotated genes of the test contig (scripts/dna_data.py) say, with a
* for the stop codon at the end, which is no residue; shuffling leaves it there. Run it on a quiet
machine.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from benchmark.serving import peak_memory
from dna_data import GENBANK, SYMBOLS, read_genome

from lmfst.fst.sequential import END
from lmfst.inference.passes import propagate
from lmfst.inference.policy import Exact, Policy
from lmfst.inference.query import Query
from lmfst.inference.sampling import Sample
from lmfst.lm.arpa import read_arpa, write_arpa
from lmfst.lm.base import LM
from lmfst.lm.load import load_lm
from lmfst.lm.ngram import NgramTables
from lmfst.model import TransducedLM
from lmfst.target.load import Target, load_target

MARKOV = Path(__file__).resolve().parent.parent / "data" / "dna" / "markov5.arpa"
CODE = "amino:TABLE11"
CPG = """
bases = "A" | "C" | "G" | "T";
kinds = (("A" | "G") : "R") | (("C" | "T") : "Y");
export CPG = Optimize[
  CDRewrite["CG" : "Z", "", "", (bases | "Z")*] @ (kinds | "Z")*
];
"""
"""Purines and pyrimidines, but CpG sites by a letter of their own: C waits for what follows."""
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Multinomial(Sample):
    """Multinomial resampling: M draws with replacement, proportional to the weights."""

    random: Any = field(default_factory=lambda: np.random.default_rng(1), compare=False)

    def thin_out(self, logw: Any, first: Any, uniform: Any) -> tuple[Any, Any]:
        kept, raised = logw > -np.inf, logw.copy()
        ends = [*first[1:], len(logw)]
        for at in np.flatnonzero(self.crowded(logw, first)).tolist():
            own = slice(int(first[at]), int(ends[at]))
            top = logw[own].max()
            weights = np.exp(logw[own] - top)
            drawn = self.random.multinomial(self.particles, weights / weights.sum())
            kept[own] = drawn > 0
            with np.errstate(divide="ignore"):
                raised[own] = np.log(drawn / self.particles * weights.sum()) + top
        return kept, np.where(kept, raised, -np.inf)


@dataclass
class Bench:
    """options: as from the command line. genes: DNA of the test contig, start to stop codon."""

    options: argparse.Namespace
    genes: list[str]
    target: Target
    neural: LM

    def protein(self, dna: str) -> str:
        """What the target makes of DNA."""
        return "".join(self.target.units.name(s) for s in self.model(Exact()).transduce(dna))

    def model(self, policy: Policy) -> TransducedLM:
        return TransducedLM(self.neural, self.target, policy)

    def sample(self, **options: Any) -> Sample:
        chosen = self.options
        guide = None if chosen.guide == "none" else chosen.guide
        usual = {"particles": chosen.particles, "replicates": chosen.replicates}
        return Sample(seed=1, **{**usual, "guide": guide, "gap": chosen.gap, **options})

    def held_out(self, count: int, least: int, most: int) -> list[str]:
        """DNA of proteins with so many residues, spread over the contig."""
        fitting = [gene for gene in self.genes if least < len(gene) // 3 <= most + 1]
        if len(fitting) < count:
            raise SystemExit(f"the test contig has only {len(fitting)} such proteins, not {count}")
        return [fitting[i * len(fitting) // count] for i in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=SECTIONS, help="repeatable")
    parser.add_argument("--genome", type=Path, default=GENBANK)
    parser.add_argument("--proteins", type=int, default=20)
    parser.add_argument("--framed", type=int, default=100, help="proteins of the section frames")
    parser.add_argument("--particles", type=int, default=128)
    parser.add_argument("--replicates", type=int, default=2)
    parser.add_argument("--guide", default="dna", help="as of lmfst convert, or none")
    parser.add_argument("--gap", action="store_true", help="find out what beams give, too")
    parser.add_argument("--out", type=Path, default=Path("build/bench-dna"))
    options = parser.parse_args()
    genes = [
        "".join(SYMBOLS[i] for i in gene) for gene in read_genome(options.genome)["test"].genes
    ]
    bench = Bench(options, genes, load_target(CODE), load_lm("dna"))
    options.out.mkdir(parents=True, exist_ok=True)
    place = options.out / "bench_dna.json"
    found = json.loads(place.read_text()) if place.is_file() else {}
    for name in options.only or SECTIONS:
        print(f"== {name}", flush=True)
        found[name] = SECTIONS[name](bench)
        place.write_text(json.dumps(found, indent=1))


def show(row: dict[str, Any]) -> None:
    parts = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
    print("  ".join(parts), flush=True)


def exact(bench: Bench) -> Rows:
    """Exact sums over all DNA of 200 residues."""
    text = bench.protein(bench.held_out(1, 200, 400)[0])[:200]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, path in (("bigram", bigram(Path(folder))), ("order 5", MARKOV)):
            model = TransducedLM(load_lm(str(path)), bench.target, Exact())
            model.score([text[:10]], given="target")
            seconds = []
            for _ in range(3):
                begin = time.perf_counter()
                result = model.score([text], given="target")[0]
                seconds.append(time.perf_counter() - begin)
            rows.append(
                {"model": name, "seconds": float(np.median(seconds)), "logp": result.logp}
                | {"hypotheses": result.nodes}
            )
            show(rows[-1])
    return rows


def bigram(folder: Path) -> Path:
    """A bigram model of DNA: the rows that the order-5 model has after single bases."""
    model = read_arpa(MARKOV)
    unigrams = {(name,): (-99.0 if name == "<s>" else math.log10(0.2), 0.0) for name in SYMBOLS}
    bigrams = {}
    for name in ("<s>", *"ACGT"):
        state = model.step(np.zeros(1, np.int64), np.array([model.names.index(name)]))
        for word, logp in zip(model.names, model.rows(state)[0], strict=True):
            if word != "<s>":
                bigrams[name, word] = (float(logp) / math.log(10), 0.0)
    path = folder / "bigram.arpa"
    write_arpa(NgramTables([unigrams, bigrams]), path)
    return path


def rmse(bench: Bench) -> Rows:
    """Errors of log P under the order-5 model, whose exact values are known."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        grammar = Path(folder) / "cpg.grm"
        grammar.write_text(CPG)
        gene = bench.held_out(1, 60, 100)[0]
        for name, target in (("amino", bench.target), ("CpG lookahead", load_target(str(grammar)))):
            model = TransducedLM(load_lm(str(MARKOV)), target, Exact())
            y = (*model.transduce(gene), END)
            truth = float(model._ask(y).log_prefix[-1])
            for particles in (8, 16, 32):
                for kind in (Sample, Multinomial):
                    policy = kind(particles=particles, replicates=1000, seed=1)
                    begin = time.perf_counter()
                    logs = _estimates(model, policy, y)
                    seconds = time.perf_counter() - begin
                    error = logs - truth
                    rows.append(
                        {"fst": name, "particles": particles, "policy": kind.__name__.lower()}
                        | {"rmse of log P": float(np.sqrt((error**2).mean()))}
                        | {"rmse of P, relative": float(np.sqrt((np.expm1(error) ** 2).mean()))}
                        | {"seconds": seconds}
                    )
                    show(rows[-1])
    return rows


def _estimates(model: TransducedLM, policy: Sample, y: tuple[int, ...]) -> np.ndarray:
    """log P of y by each replicate."""
    jobs = [
        Query(y, lookahead=False, random=policy.generator(0, replicate))
        for replicate in range(policy.replicates)
    ]
    found = propagate(
        model.setting.lexicons, model.lm.session(), policy, model.setting.normalise, jobs
    )
    return np.array([one.log_prefix[-1] for one in found])


def proteins(bench: Bench) -> Rows:
    """Each protein by itself."""
    model = bench.model(bench.sample())
    rows = []
    for dna in bench.held_out(bench.options.proteins, 100, 300):
        text = bench.protein(dna)
        begin = time.perf_counter()
        result = model.score([text], given="target")[0]
        seconds = time.perf_counter() - begin
        found = result.text_row()
        rows.append(
            {"residues": len(text) - 1, "seconds": seconds, "logp": result.logp}
            | {"stderr": found["stderr"], "gap": found["gap"], "hypotheses": result.nodes}
            | {"peak MiB": peak_memory()}
        )
        show(rows[-1])
    show(
        {"median stderr": float(np.median([row["stderr"] for row in rows]))}
        | {"most seconds": max(row["seconds"] for row in rows)}
        | {"peak MiB": peak_memory()}
    )
    return rows


def together(bench: Bench) -> Rows:
    """Ten proteins of 100 to 150 residues, one by one and in one batch."""
    model = bench.model(bench.sample())
    texts = [bench.protein(dna) for dna in bench.held_out(10, 100, 150)]
    begin = time.perf_counter()
    alone = [model.score([text], given="target")[0].logp for text in texts]
    middle = time.perf_counter()
    batched = [result.logp for result in model.score(texts, given="target")]
    end = time.perf_counter()
    row = {
        "residues": sum(map(len, texts)) - len(texts),
        "one by one": middle - begin,
        "together": end - middle,
        "ratio": (end - middle) / (middle - begin),
        "mean logp": float(np.mean(alone)),
        "mean logp together": float(np.mean(batched)),
    }
    show(row)
    return [row]


def frames(bench: Bench) -> Rows:
    """Bits per residue in three readings; few particles, since means of many proteins count."""
    rng = np.random.default_rng(1)
    genes = bench.held_out(bench.options.framed, 100, 200)
    texts = {"in frame": [bench.protein(dna) for dna in genes]}
    texts["shuffled"] = ["".join(rng.permutation(list(t[:-1]))) + "*" for t in texts["in frame"]]
    texts["one base later"] = [bench.protein(dna[1:]) for dna in genes]
    model = bench.model(bench.sample(particles=8, replicates=1))
    rows, own = [], np.zeros(0)
    for name, group in texts.items():
        begin = time.perf_counter()
        scored = model.score(group, given="target")
        bits = np.array(
            [-one.logp / math.log(2) / len(t) for one, t in zip(scored, group, strict=True)]
        )
        own = bits if name == "in frame" else own
        rows.append(
            {"reading": name, "proteins": len(group), "bits per residue": float(bits.mean())}
            | {"standard error": float(bits.std(ddof=1) / math.sqrt(len(bits)))}
            | {"worse than in frame": float((bits > own).mean())}
            | {"seconds": time.perf_counter() - begin}
        )
        show(rows[-1])
    return rows


SECTIONS: dict[str, Callable[[Bench], Rows]] = {
    "exact": exact,
    "rmse": rmse,
    "proteins": proteins,
    "together": together,
    "frames": frames,
}

if __name__ == "__main__":
    main()
