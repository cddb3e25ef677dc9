"""A second oracle: an ARPA model as a weighted acceptor, composed with the FST and summed by
OpenFst.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import pytest

from lmfst.fst import EPS, Fst
from lmfst.fst.sequential import run
from lmfst.ground.resources import resource_dir
from lmfst.inference.policy import Exact
from lmfst.lm.arpa import read_arpa, write_arpa
from lmfst.lm.load import load_lm
from lmfst.lm.ngram import NgramTables
from lmfst.model import TransducedLM
from lmfst.target.load import fst_target, load_target
from tests.support.oracle import random_fst
from tests.support.tiny import letter_bigram

SEEDS = (0, 2, 4, 7, 8)
"""Seeds of FSTs that write at least half a symbol a byte, with bounded lookahead."""
WORDS = ("a", "b", "ab", "ba", "aab")


def bigram(path: Path, seed: int) -> None:
    """A random smoothed bigram model with backoff; every row sums to one."""
    rng = np.random.default_rng(seed)
    names = ["<s>", "</s>", *WORDS]
    p = np.concatenate([[0.0], rng.dirichlet(np.ones(len(names) - 1) * 2)])
    p[1], p[2:] = 0.02, p[2:] / p[2:].sum() * 0.98
    unigrams, bigrams = {}, {}
    for i, name in enumerate(names):
        if name == "</s>":
            unigrams[(name,)] = (math.log10(p[i]), 0.0)
            continue
        listed = [j for j in range(1, len(names)) if rng.random() < 0.5]
        share = rng.uniform(0.3, 0.8)
        weights = rng.dirichlet(np.ones(len(listed))) * share if listed else []
        for j, w in zip(listed, weights, strict=True):
            bigrams[(name, names[j])] = (math.log10(w), 0.0)
        left = 1 - sum(p[j] for j in listed)
        bow = (1 - share) / left if listed else 1.0
        unigrams[(name,)] = (math.log10(p[i]) if p[i] else -99.0, math.log10(bow))
    write_arpa(NgramTables([unigrams, bigrams]), path)


def log64(arcs: list[tuple[int, int, int, float, int]], finals: dict[int, float], start: int):
    """A log64 VectorFst; labels are shifted by one (0 is epsilon)."""
    import pynini

    fst = pynini.Fst("log64")
    states = 1 + max([start, *finals, *(max(a[0], a[4]) for a in arcs)])
    for _ in range(states):
        fst.add_state()
    fst.set_start(start)
    for src, i, o, w, dst in arcs:
        fst.add_arc(src, pynini.Arc(i + 1, o + 1, pynini.Weight("log64", w), dst))
    for state, w in finals.items():
        fst.set_final(state, pynini.Weight("log64", w))
    return fst


def source_acceptor(path: Path):
    """The model over bytes: one state an n-gram state, a chain of byte arcs a word."""
    model = read_arpa(path)
    n = model.n_states
    rows = model.rows(np.arange(n))
    arcs, finals, fresh = [], {}, n
    for state in range(n):
        for token, name in enumerate(model.names):
            weight = -float(rows[state, token])
            if name == "</s>":
                finals[state] = weight
            elif name != "<s>" and weight < math.inf:
                target = int(model.step(np.array([state]), np.array([token]))[0])
                here, data = state, name.encode()
                for k, byte in enumerate(data):
                    there = target if k == len(data) - 1 else fresh
                    fresh += there == fresh
                    arcs.append((here, byte, byte, weight if k == 0 else 0.0, there))
                    here = there
    return log64(arcs, finals, model.start())


def transducer(fst: Fst):
    arcs = [(s, i if i != EPS else -1, o if o != EPS else -1, 0.0, d) for s, i, o, d in fst.arcs()]
    return log64(arcs, {int(q): 0.0 for q in np.flatnonzero(fst.final)}, fst.start)


def sum_of(source, function, y: tuple[int, ...], *, prefix: bool) -> float:
    """log of the total weight of source strings whose output is y (or begins with it)."""
    import pynini

    arcs = [(k, s, s, 0.0, k + 1) for k, s in enumerate(y)]
    if prefix:
        arcs += [(len(y), s, s, 0.0, len(y)) for s in (120, 121, 122)]
    target = log64(arcs, {len(y): 0.0}, 0)
    joint = pynini.compose(
        pynini.compose(source, function.arcsort("ilabel")).arcsort("olabel"), target
    )
    distance = pynini.shortestdistance(joint, reverse=True, delta=1e-10)
    return -float(distance[joint.start()]) if joint.start() >= 0 else -math.inf


@pytest.mark.parametrize("seed", SEEDS)
def test_arpa_bigrams_agree_with_openfst_on_long_strings(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "model.arpa"
    bigram(path, seed)
    fst = random_fst(seed, b"ab")
    lm = load_lm(str(path))
    model = TransducedLM(lm, fst_target(fst, "random"), Exact())
    source, function = source_acceptor(path), transducer(fst)
    rng = np.random.default_rng(seed)
    text = b"".join(WORDS[int(i)].encode() for i in rng.integers(0, len(WORDS), 90))
    y = run(model.target.machine, text)
    assert len(y) >= 50
    for size in (1, 20, 50):
        expected = sum_of(source, function, y[:size], prefix=True)
        assert model.prefix_logp(y[:size]) == pytest.approx(expected, abs=1e-6)
    assert model.logp(y) == pytest.approx(sum_of(source, function, y, prefix=False), abs=1e-6)


def test_exact_scores_of_an_arpa_model_have_equal_bounds(tmp_path: Path) -> None:
    path = tmp_path / "model.arpa"
    bigram(path, 1)
    model = TransducedLM(load_lm(str(path)), load_target("bytes"), Exact())
    row = model.score([b"abbaab"])[0].text_row()
    assert row["lower"] == row["upper"] == row["logp"]
    assert row["dropped"] == 0.0


@pytest.mark.parametrize("order", [2, 6])
def test_long_proteins_agree_with_openfst(tmp_path: Path, order: int) -> None:
    """200 residues, so about 10^100 strings of DNA; in seconds, since their states merge."""
    path = resource_dir("data") / "dna" / "markov5.arpa"
    if order == 2:
        path = tmp_path / "bigram.arpa"
        letter_bigram(path)
    assert read_arpa(path).order == order
    target = load_target("amino")
    model = TransducedLM(load_lm(str(path)), target, Exact())
    rng = np.random.default_rng(7)
    y = model.symbols("".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), 200)))
    begin = time.perf_counter()
    found = model.logp(y)
    assert time.perf_counter() - begin < 20
    assert target.fst is not None
    expected = sum_of(source_acceptor(path), transducer(target.fst), y, prefix=False)
    assert found == pytest.approx(expected, abs=1e-6)
