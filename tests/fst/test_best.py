"""Best paths by weights, against OpenFst's shortestpath and against lists of all outputs."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pynini
import pytest
import pywrapfst

from lmfst.fst import EPS, Fst, apply_all, from_openfst, read_fst
from lmfst.fst.best import Best, BestPaths, PairWeights
from lmfst.fst.text import compile_text
from lmfst.grammar import compile_file
from lmfst.ground.errors import FstError


def silent(message: str) -> None:
    raise AssertionError(f"unexpected warning: {message}")


def from_text(lines: str) -> Fst:
    return from_openfst(compile_text(lines.encode(), "t"), weights=True, warn=silent)


def pair_weight(fst: Fst, given: bytes, written: Sequence[int]) -> float:
    return PairWeights(fst).of(given, written)


def random_openfst(seed: int, *, arc_type: str = "standard", least: float = -0.25) -> Any:
    """A small ambiguous FST over a and b with equal weights among its paths; arcs that read nothing
    go to later states only, so that all outputs can be listed."""
    rng = random.Random(seed)
    size = rng.randint(2, 5)
    fst = pywrapfst.VectorFst(arc_type)
    fst.add_states(size)
    fst.set_start(0)
    kind = fst.weight_type()
    for _ in range(rng.randint(6, 16)):
        state, target = rng.randrange(size), rng.randrange(size)
        read = rng.choice([97, 98, 97, 98, 0])
        if read == 0 and target <= state:
            continue
        write = rng.choice([97, 98, 99, 0])
        weight = pywrapfst.Weight(kind, rng.choice([0, 0, 0.25, 0.5, 0.5, 1.5, least]))
        fst.add_arc(state, pywrapfst.Arc(read, write, weight, target))
    for state in {size - 1, rng.randrange(size)}:
        fst.set_final(state, pywrapfst.Weight(kind, rng.choice([0, 0.25, 1])))
    return fst


def by_openfst(fst: Any, text: str) -> tuple[float, list[int]] | None:
    """Weight and output of OpenFst's shortest path for a text; None if it is rejected."""
    given = pynini.accep(text) if text else pynini.accep("")
    lattice = pynini.compose(given, pynini.Fst.from_pywrapfst(fst), connect=True)
    if lattice.start() < 0:
        return None
    path = pynini.shortestpath(lattice)
    weight, labels, state = 0.0, [], path.start()
    while path.num_arcs(state):
        (arc,) = path.arcs(state)
        weight += float(arc.weight)
        labels += [arc.olabel] if arc.olabel else []
        state = arc.nextstate
    return weight + float(path.final(state)), labels


TEXTS = ["".join(letters) for size in range(5) for letters in product("ab", repeat=size)]


@pytest.mark.parametrize("seed", range(40))
def test_the_best_is_openfsts_and_the_first_of_all(seed: int) -> None:
    raw = random_openfst(seed)
    fst = from_openfst(raw, weights=True, warn=silent).trim()
    paths = BestPaths(fst)
    for text in TEXTS:
        best, expected = paths.of(text.encode()), by_openfst(raw, text)
        if expected is None:
            assert best is None
            continue
        assert best is not None and best.weight == pytest.approx(expected[0], abs=1e-9)
        outputs = {
            out: pair_weight(fst, text.encode(), out)
            for out in apply_all(fst, text.encode(), 10_000)
        }
        assert outputs[tuple(expected[1])] == best.weight
        assert min(outputs, key=lambda out: (outputs[out], len(out), out)) == best.written


@pytest.mark.parametrize("seed", range(12))
def test_the_best_input_is_that_of_the_inverted_fst(seed: int) -> None:
    raw = random_openfst(seed, least=0.25)
    fst = from_openfst(raw, weights=True, warn=silent).trim()
    turned = pynini.invert(pynini.Fst.from_pywrapfst(raw))
    paths = BestPaths(fst, inverse=True)
    for text in TEXTS[:20]:
        best = paths.of(text.encode())
        expected = by_openfst(turned, text)
        assert (best is None) == (expected is None)
        if best is not None and expected is not None:
            assert best.weight == pytest.approx(expected[0], abs=1e-9)
            assert pair_weight(fst, bytes(best.written), list(text.encode())) == best.weight


def test_weights_of_characters_symbols_and_equal_arcs(tmp_path: Path) -> None:
    """Labels that become several bytes, that are dropped, and arcs that become the same one."""
    fst = from_text("0 1 233 98 2\n0 1 8364 99 0.5\n0 1 233 98 1\n1 0.25\n0 0.75\n")
    for text, out, weight in [("é", "b", 1.25), ("€", "c", 0.75), ("", "", 0.75)]:
        best = BestPaths(fst).of(text.encode())
        assert best == Best(tuple(map(ord, out)), weight), text
    assert fst.trim().weight is not None and math.isinf(pair_weight(fst, b"q", [98]))
    grammar = tmp_path / "g.grm"
    grammar.write_text(
        'export R = ("a" : "x[Y]" <2>) | ("a" : "[Z]" <1.5>) | ("[Q]" : "" <0>) | ("b" : "" <3>);\n'
    )
    rule = compile_file(grammar).rule("R")
    fst = rule.to_fst(lambda message: None, weights=True).trim()
    best = BestPaths(fst).of(b"a")
    assert best is not None and (best.weight, fst.symbols.name(best.written[0])) == (1.5, "Z")
    assert BestPaths(fst).of(b"b") == Best((), 3.0)
    path = tmp_path / "r.fst"
    path.write_bytes(rule.openfst_bytes)
    assert read_fst(path, weights=True, warn=lambda message: None).trim() == fst


@pytest.mark.parametrize("least", [0.1, -0.3])
def test_paths_are_equally_light_whose_decimal_weights_are(least: float) -> None:
    """In single precision 0.1 + 0.2 is 0.3; in double precision it isn't."""
    for one, two, both in [(0.1, 0.2, 0.3), (0.1, 0.7, 0.8), (1.1, 2.2, 3.3), (0.3, -0.1, 0.2)]:
        lines = f"0 1 97 120 {one}\n1 2 98 121 {two}\n0 3 97 0 {both}\n3 2 98 122 0\n2 {least}\n"
        fst = from_text(lines)
        assert BestPaths(fst).of(b"ab") == Best((122,), pytest.approx(both + least, abs=1e-15))
        assert pair_weight(fst, b"ab", b"xy") == pair_weight(fst, b"ab", b"z")
    # Small differences count beside large sums.
    lines = "0 1 97 120 10000000\n1 2 98 121 0.0002\n1 2 98 122 0.0001\n2\n"
    found = BestPaths(from_text(lines)).of(b"ab")
    assert found is not None and found.written == (120, 122)


def test_weights_of_outputs_of_a_large_fst() -> None:
    """Its arcs are gone through once, not for every output."""
    arcs = {(0, 97, out, state): 0.5 for out in (120, 121) for state in (0, 1)}
    arcs |= {(state, 99, 99, state + 1): 0.25 for state in range(1, 150_000)}
    fst = Fst.from_arcs(arcs, 0, [0], n_states=150_001).weighted(arcs, {0: 0.25})
    pairs = PairWeights(fst)
    assert pairs.of(b"a", b"x") == 0.75
    begin = time.process_time()
    for _ in range(100):
        assert pairs.of(b"aa", b"xy") == 1.25 and apply_all(fst, b"a") == [(120,), (121,)]
    assert time.process_time() - begin < 10


def test_weights_that_are_not_asked_for_are_dropped() -> None:
    raw = compile_text(b"0 0 97 98 0.5\n0 0.5\n", "t")
    warned: list[str] = []
    plain = from_openfst(raw, warn=warned.append)
    assert plain.weight is None and len(warned) == 1
    kept = from_openfst(raw, weights=True, warn=silent)
    assert kept != plain and kept.digest != plain.digest
    unweighted = from_openfst(compile_text(b"0 0 97 98\n0\n", "t"), weights=True, warn=silent)
    assert unweighted == plain and unweighted.weight is None


def test_log_weights_are_those_of_paths() -> None:
    raw = random_openfst(3, arc_type="log")
    fst = from_openfst(raw, weights=True, warn=silent)
    assert fst == from_openfst(random_openfst(3), weights=True, warn=silent)


def test_cycles_that_read_nothing() -> None:
    harmless = from_text("0 0 0 120 0.5\n0 0 0 0\n0 1 97 98 1\n0 1 97 99 1\n1\n")
    assert BestPaths(harmless).of(b"a") == Best((98,), 1.0)
    free = Fst.from_arcs([(0, EPS, 120, 0), (0, 97, 121, 1), (0, EPS, EPS, 0)], 0, [1])
    assert BestPaths(free).of(b"a") == Best((121,), 0.0)
    endless = from_text("0 1 0 120 -0.5\n1 0 0 0 0.25\n0 2 97 98 1\n2\n")
    with pytest.raises(FstError, match="negative weight"):
        BestPaths(endless).of(b"a")
    # Weights below zero that add up to no less than nothing are in order.
    fine = from_text("0 1 0 120 -0.5\n1 0 0 0 0.75\n0 2 97 98 1\n1 2 97 99 1\n2\n")
    assert BestPaths(fine).of(b"a") == Best((120, 99), 0.5)


def test_weights_must_fit() -> None:
    with pytest.raises(FstError, match="a weight for each arc"):
        Fst(0, [0, 1], [97], [97], [0], [True], weight=[0.5])  # type: ignore[arg-type]
