"""Sets of symbols in targets, and symbols that a model can't produce but that mean a set."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from Bio.Data import IUPACData
from typer.testing import CliRunner

from lmfst.cli import app
from lmfst.fst import Fst
from lmfst.fst.sequential import END
from lmfst.ground.errors import InputError, UsageError
from lmfst.ground.types import Unknown
from lmfst.inference.policy import Beam, Exact, Policy
from lmfst.inference.query import Query
from lmfst.inference.sampling import Sample
from lmfst.io import Document
from lmfst.model import TransducedLM
from lmfst.scored.records import Scored
from lmfst.target.load import Target, fst_target, load_target
from tests.support.oracle import Oracle, TableLM, fst_function, make_vocab, random_fst
from tests.support.tiny import letter_bigram

RESIDUES = IUPACData.protein_letters
SETS = {"X": RESIDUES, "B": "DN", "Z": "EQ", "J": "IL"}
BASES = IUPACData.ambiguous_rna_values


@cache
def target(to: str) -> Target:
    return load_target(to)


def bases(
    to: str,
    policy: Policy,
    warnings: list[str] | None = None,
    *,
    tokens: Sequence[bytes] = (b"A", b"C", b"G", b"T", b"AT", b"GCA"),
    merges: bool = True,
    seed: int = 1,
    partial: str = "error",
) -> TransducedLM:
    lm = TableLM(make_vocab(tokens), order=2, depth=13, seed=seed, merges=merges)
    found: list[str] = [] if warnings is None else warnings
    return TransducedLM(lm, target(to), policy, warn=found.append, partial=partial)


def document(text: str, *, sequence: bool = True) -> Document:
    return Document("a", text.encode(), "p.fa:1: record 'a'", is_sequence=sequence)


def scored(
    lm: TransducedLM, text: str, unknown: Unknown = "any", *, given: str = "target"
) -> Scored:
    (found,) = lm.score_documents([document(text)], given=given, unknown=unknown)  # type: ignore[arg-type]
    return found


def log_sum(values: Iterable[float]) -> float:
    return float(np.logaddexp.reduce(list(values)))


def readings(text: str, sets: dict[str, str]) -> list[str]:
    return ["".join(way) for way in itertools.product(*(sets.get(c, c) for c in text))]


def log_prefixes(lm: TransducedLM, ways: Iterable[str | tuple[int, ...]]) -> np.ndarray:
    """log P of every prefix and of the whole of strings of one length, which share their model
    calls: float64 [strings, symbols + 2]."""
    targets = [lm.symbols(way) for way in ways]
    found = lm._engine.run([Query((*y, END)) for y in targets])
    return np.stack([one.log_prefix for one in found])


# Sets of symbols, against sums over strings.


@pytest.mark.parametrize("seed", range(10))
def test_sets_of_symbols_against_enumeration(seed: int) -> None:
    fst = random_fst(seed)
    tokens = [b"a", b"b", b"ab", b"ba", b"aab"]
    # FSTs 4 and 6 read ahead without end, so that every token string has a state of its own.
    depth = 3 if seed in (4, 6) else 4
    lm = TableLM(make_vocab(tokens), order=2, depth=depth, seed=seed, merges=seed % 2 == 0)
    oracle = Oracle(lm, fst_function(fst))
    exact = TransducedLM(lm, fst_target(fst, "random"), Exact())
    for policy in (exact.policy, Beam(size=10**6, threshold=0.0)):
        check_sets(exact.with_policy(policy), oracle, seed)


def check_sets(model: TransducedLM, oracle: Oracle, seed: int) -> None:
    """Sets of symbols at some places of the longest string, and what follows them."""
    rng = np.random.default_rng(seed)
    longest = max(oracle.mass, key=lambda y: (len(y), y))
    for _ in range(4):
        size = int(rng.integers(1, len(longest) + 1))
        y: list[int | frozenset[int]] = [
            frozenset(rng.choice([120, 121, 122], rng.integers(1, 4)).tolist())
            if rng.random() < 0.6
            else symbol
            for symbol in longest[:size]
        ]
        ways = list(itertools.product(*(s if isinstance(s, frozenset) else {s} for s in y)))
        expected = math.fsum(oracle.prefix(way) for way in ways)
        assert math.exp(model.prefix_logp(y)) == pytest.approx(expected, abs=1e-12)
        whole = math.fsum(oracle.string(way) for way in ways)
        assert math.exp(model.logp(y)) == pytest.approx(whole, abs=1e-12)
        if expected:
            after = {symbol: 0.0 for symbol in (-1, 120, 121, 122)}
            for way in ways:
                for symbol, p in oracle.next(way).items() if oracle.prefix(way) else ():
                    after[symbol] += p * oracle.prefix(way) / expected
            symbols, logp = model.next_symbols(y)
            found = dict(zip(symbols.tolist(), np.exp(logp).tolist(), strict=True))
            assert found == pytest.approx({s: p for s, p in after.items() if p}, abs=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_sets_where_some_strings_are_rejected(seed: int) -> None:
    fst = random_fst(seed, partial=True)
    lm = TableLM(make_vocab([b"a", b"b", b"ab"]), order=1, depth=5, seed=seed, merges=True)
    oracle = Oracle(lm, fst_function(fst))
    if not oracle.accepted:
        pytest.skip("this transducer rejects all")
    model = TransducedLM(lm, fst_target(fst, "random"), Exact(), partial="condition")
    longest = max(oracle.mass, key=lambda y: (len(y), y))
    y = [frozenset({120, 122}) if at % 2 else symbol for at, symbol in enumerate(longest)]
    ways = list(itertools.product(*(s if isinstance(s, frozenset) else {s} for s in y)))
    expected = math.fsum(map(oracle.string, ways)) / oracle.accepted
    assert math.exp(model.logp(y)) == pytest.approx(expected, abs=1e-10)
    if oracle.accepted < 1 and len(y) > 1:
        with pytest.raises(UsageError, match="at a set of symbols"):
            model.next_at_all(y)


def test_names_in_sets() -> None:
    lm = bases("amino", Exact())
    expected = log_sum([lm.prefix_logp("MD"), lm.prefix_logp("MN")])
    assert lm.prefix_logp(["M", {"D", "N"}]) == pytest.approx(expected, abs=1e-12)
    assert lm.prefix_logp(["M", {"N"}]) == lm.prefix_logp("MN")
    with pytest.raises(InputError, match="a set of symbols is empty"):
        lm.prefix_logp(["M", set()])


# Codes of amino acids and bases.

PROTEINS = ["MXK", "XM", "MKX", "BZJ", "X", "BX*", "XZ"]


@pytest.mark.parametrize("text", PROTEINS)
@pytest.mark.parametrize(
    ("policy", "merges"),
    [
        (Exact(), True),
        (Beam(size=10**6, threshold=0.0), True),
        (Beam(size=10**6, threshold=0.0), False),
    ],
)
def test_residues_that_are_not_known(text: str, policy: Policy, merges: bool) -> None:
    if not merges and len(text) > 2:
        pytest.skip("too many hypotheses")
    lm = bases("amino", policy, merges=merges)
    found = scored(lm, text)
    ways = readings(text, SETS)
    logp = log_prefixes(lm, ways)
    assert logp[-1, -1] == lm.logp(ways[-1])
    assert found.logp == pytest.approx(log_sum(logp[:, -1]), abs=1e-9)
    for size in range(1, len(text) + 1):
        first = {way[:size]: at for at, way in enumerate(ways)}
        part = log_sum(logp[[*first.values()], size])
        assert found.log_prefix[size] == pytest.approx(part, abs=1e-9)
    rows = list(found.unit_rows())
    assert [row["unit"] for row in rows] == [*text, "⊥"]
    assert math.fsum(row["logp"] for row in rows) == pytest.approx(found.logp, abs=1e-9)
    assert found.target == lm.symbols(text)


@pytest.mark.parametrize("text", ["XX", "XXK", "TXX"])
def test_residues_that_are_not_known_in_a_row(text: str) -> None:
    lm = bases("amino", Exact(), tokens=[b"A", b"C", b"ACC"])
    expected = log_sum(log_prefixes(lm, readings(text, {"X": "HKNPQT"}))[:, -1])
    assert scored(lm, text).logp == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("text", ["ANC", "NN", "RYSWKM", "BDHVN", "ACG"])
@pytest.mark.parametrize("to", ["rna", "bytes", "chars"])
def test_bases_that_are_not_known(text: str, to: str) -> None:
    sets = BASES if to == "rna" else IUPACData.ambiguous_dna_values
    lm = bases(to, Exact(), tokens=[b"A", b"C", b"G", b"T", b"AC", b"GTA"])
    expected = log_sum(log_prefixes(lm, readings(text, sets))[:, -1])
    assert scored(lm, text).logp == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("lookahead", [True, False])
def test_a_beam_with_lookahead(lookahead: bool) -> None:
    tokens = [b"A", b"C", b"G", b"T", b"AC", b"GTA"]
    lm = TableLM(make_vocab(tokens), order=3, depth=9, seed=4, merges=False)
    lm.encode = lambda data: [b"ACGT".index(byte) for byte in data]  # type: ignore[method-assign]
    beam = Beam(size=10**6, threshold=0.0)
    model = TransducedLM(lm, target("bytes"), beam, lookahead=lookahead)
    expected = log_sum(model.logp(way) for way in readings("ANCY", IUPACData.ambiguous_dna_values))
    assert scored(model, "ANCY").logp == pytest.approx(expected, abs=1e-9)
    found = scored(model, "ANCY", given="source")
    assert found.logp == pytest.approx(expected, abs=1e-9)
    small = scored(TransducedLM(lm, target("bytes"), Beam(size=2), lookahead=lookahead), "ANCY")
    assert small.logp < expected
    assert np.logaddexp(small.logp, small.log_dropped) >= expected


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("merges", [False, True])
def test_estimates_are_unbiased(tmp_path: Path, guided: bool, merges: bool) -> None:
    letter_bigram(tmp_path / "g.arpa")
    policy = Sample(
        particles=3,
        replicates=2000,
        seed=5,
        guide=str(tmp_path / "g.arpa") if guided else None,
        gap=False,
    )
    tokens, depth, text = [b"A", b"C", b"G", b"T"], 13, "MXBL"
    if not merges:
        tokens, depth, text = [*tokens, b"AC", b"GT", b"CA"], 7, "XL"
    lm = TableLM(make_vocab(tokens), order=2, depth=depth, seed=1, merges=merges)
    exact = scored(TransducedLM(lm, target("amino"), Exact()), text)
    found = scored(TransducedLM(lm, target("amino"), policy), text)
    assert found.stderr is not None and found.stderr > 1e-6
    assert abs(math.expm1(found.logp - exact.logp)) <= 4 * found.stderr


def test_with_its_own_model_as_a_guide_every_replicate_is_exact(tmp_path: Path) -> None:
    from lmfst.lm.load import load_lm

    path = tmp_path / "g.arpa"
    letter_bigram(path)
    lm = load_lm(str(path))
    exact = scored(TransducedLM(lm, target("amino"), Exact()), "LXSBXG")
    policy = Sample(particles=2, replicates=5, guide=str(path))
    found = scored(TransducedLM(lm, target("amino"), policy), "LXSBXG")
    assert found.logp == pytest.approx(exact.logp, abs=1e-5)
    assert found.stderr == pytest.approx(0, abs=1e-5)


def test_symbols_that_the_model_writes_stand_for_themselves() -> None:
    lm = bases("amino", Exact(), tokens=[b"A", b"C", b"G", b"T", b"N"])
    assert scored(lm, "MX").logp == lm.logp("MX")
    assert scored(lm, "atgNNN", given="source").logp == lm.logp("MX")


def test_lower_case_proteins() -> None:
    lm = bases("amino", Exact())
    assert scored(lm, "mxk").logp == scored(lm, "MXK").logp
    with pytest.raises(InputError, match=r"position 2 is 'X' .*, which the model can't produce"):
        scored(lm, "mxk", "auto")


# Sources.


@pytest.mark.parametrize("text", ["ATGTTN", "ATGNNNGC", "nnnATG", "RAYATGSAR", "ATGGCN"])
def test_dna_that_is_not_known(text: str) -> None:
    lm = bases("amino", Exact())
    dna = {**IUPACData.ambiguous_dna_values, "n": "acgt"}
    outputs = {lm.transduce(way) for way in readings(text, dna)}
    found = scored(lm, text, given="source")
    assert found.logp == pytest.approx(log_sum(map(lm.logp, outputs)), abs=1e-9)
    assert found.target == lm.transduce(text)
    for to in ("rna", "bytes"):
        lm = bases(to, Exact())
        if text.isupper():
            outputs = {lm.transduce(way) for way in readings(text, dna)}
            expected = log_sum(log_prefixes(lm, outputs)[:, -1])
            assert scored(lm, text, given="source").logp == pytest.approx(expected, abs=1e-9)


def test_readings_whose_outputs_depend_on_each_other() -> None:
    """A is written a, C is written cc: the outputs of N are no product of sets."""
    out = {"A": (97,), "C": (99, 99), "G": (103,), "T": (116,)}
    arcs = []
    for at, (base, symbols) in enumerate(out.items(), start=1):
        arcs.append((0, ord(base), symbols[0], at if len(symbols) > 1 else 0))
        if len(symbols) > 1:
            arcs.append((at, -1, symbols[1], 0))
    arcs.append((0, ord("N"), 110, 0))
    lm = TableLM(make_vocab([b"A", b"C", b"G", b"T"]), order=1, depth=9, seed=1, merges=True)
    model = TransducedLM(lm, fst_target(Fst.from_arcs(arcs, 0, [0]), "twice"), Exact())
    with pytest.raises(InputError, match=r"record 'a': .*readings from offset 1 on"):
        scored(model, "ANG", given="source")


# Messages.


@pytest.mark.parametrize("letter", ["-", "O", "U"])
def test_symbols_that_stand_for_nothing_known(letter: str) -> None:
    warnings: list[str] = []
    lm = bases("amino", Exact(), warnings)
    with pytest.raises(InputError, match=f"record 'a': position 2 is '{letter}', which") as error:
        scored(lm, f"M{letter}")
    assert "--unknown any" not in error.value.hint and "--unknown skip" in error.value.hint
    with pytest.raises(InputError) as error:
        scored(lm, f"M{letter}", "auto")
    assert "--unknown any" not in error.value.hint


def test_errors_name_what_would_sum() -> None:
    lm = bases("amino", Exact())
    with pytest.raises(InputError, match="position 2 is 'X'") as error:
        scored(lm, "MX", "auto")
    assert "--unknown any sums over what 'X' may be" in error.value.hint


@pytest.mark.parametrize("policy", [Exact(), Beam(size=2), Sample(particles=2, replicates=2)])
@pytest.mark.parametrize(("text", "given"), [("MX", "target"), ("ATGNNN", "source")])
def test_zeros_are_explained(policy: Policy, text: str, given: str) -> None:
    warnings: list[str] = []
    lm = bases("amino", policy, warnings)
    found = scored(lm, text, "report", given=given)
    assert found.logp == -math.inf
    (message,) = warnings
    assert "logp is -inf from symbol 1 (X) on: the model can't produce 'X'" in message
    assert "--unknown any sums over what it may be" in message
    assert "raise" not in message


def test_zeros_of_pruning_are_explained_as_before() -> None:
    warnings: list[str] = []
    tokens = [b"a", b"b", b"ab", b"ba", b"aab"]
    lm = TableLM(make_vocab(tokens), order=2, depth=9, seed=6, merges=False)
    fst = fst_target(random_fst(6), "random")
    beam = TransducedLM(lm, fst, Beam(size=1, threshold=0.5), warn=warnings.append)
    # Any text of so few tokens has some probability.
    texts = map("".join, itertools.product("ab", repeat=5))
    found = beam.score([bytes(beam.transduce(text)) for text in texts], given="target")
    lost = sum(one.logp == -math.inf for one in found)
    zeros = [said for said in warnings if "logp is -inf" in said]
    assert len(zeros) == lost > 0 and all("(raise --beam or lower" in w for w in zeros)
    assert len(warnings) == lost + 1 and "lack more than 0.1 nats" in warnings[-1]


def test_the_next_symbol_after_one_that_can_not_be() -> None:
    lm = bases("amino", Beam(size=2))
    with pytest.raises(InputError, match="the model can't produce 'X'") as error:
        lm.next_logp("MX")
    assert "--" not in str(error.value)


def test_skip_and_error_look_at_sources_too() -> None:
    warnings: list[str] = []
    lm = bases("amino", Exact(), warnings)
    documents = [document("ATGNNN"), document("ATGGCN")]
    (found,) = lm.score_documents(documents, unknown="skip")
    assert found.logp == lm.logp("MA")
    assert len(warnings) == 1 and "skipped: position 2 is 'X'" in warnings[0]
    with pytest.raises(InputError, match="position 2 is 'X'"):
        list(lm.score_documents(documents, unknown="error"))


def test_alphabets_that_are_neither() -> None:
    lm = TableLM(make_vocab([b"b", b"z", b"o"]), order=1, depth=9, seed=1, merges=True)
    model = TransducedLM(lm, target("bytes"), Exact())
    with pytest.raises(InputError, match="position 3 is 'x', which the model can't produce"):
        scored(model, "box")


def test_the_command_line(tmp_path: Path) -> None:
    letter_bigram(tmp_path / "g.arpa")
    (tmp_path / "p.fa").write_text(">one\nLX\n>two\nLR\n")
    command = ["convert", "--model", str(tmp_path / "g.arpa"), "--exact", "--to", "amino"]
    command += ["--given", "target", str(tmp_path / "p.fa")]
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 1 and "--unknown any" in refused.stderr
    done = CliRunner().invoke(app, [*command, "--unknown", "any"])
    assert done.exit_code == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()[1:]]
    assert [row[2] for row in rows] == ["L", "X", "⊥", "L", "R", "⊥"]
    assert float(rows[0][5]) == float(rows[3][5]) and float(rows[1][5]) > float(rows[4][5])
    assert done.stderr == ""
