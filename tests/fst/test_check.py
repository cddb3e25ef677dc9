"""Checks on transducers, against enumeration of all short inputs."""

from __future__ import annotations

import itertools
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmfst.fst import (
    EPS,
    Fst,
    Symbols,
    any_order,
    apply_all,
    epsilon_output_cycle_witness,
    from_openfst,
    functional_witness,
    identity_bytes,
    is_total,
    rejected_bytes,
    rejected_tokens,
)
from lmfst.ground.errors import BudgetError

XY = Symbols("symbols", {1: "x", 2: "y"})


@st.composite
def fsts(draw: st.DrawFn, outputs: tuple[int, ...] = (1, 2, EPS), complete: bool = False) -> Fst:
    size = draw(st.integers(1, 4))
    state = st.integers(0, size - 1)
    arc = st.tuples(state, st.sampled_from([97, 98, 97, 98, EPS]), st.sampled_from(outputs), state)
    arcs = draw(st.lists(arc, max_size=8))
    if complete:
        arcs += [(src, byte, 1, draw(state)) for src in range(size) for byte in b"ab"]
    finals = draw(st.sets(state, min_size=size if complete and draw(st.booleans()) else 0))
    return Fst.from_arcs(arcs, draw(state), finals, XY, size)


def short_inputs(longest: int) -> list[bytes]:
    lengths = range(longest + 1)
    return [bytes(data) for n in lengths for data in itertools.product(b"ab", repeat=n)]


def check_functional(fst: Fst) -> None:
    witness = functional_witness(fst)
    if witness is None:
        assert all(len(apply_all(fst, data, 2)) <= 1 for data in short_inputs(4))
        return
    data, one, other = witness
    assert one != other
    for output in (one, other):
        assert output in apply_all(fst, data, 500)


@settings(max_examples=400, deadline=None)
@given(fsts())
def test_functional_agrees_with_enumeration(fst: Fst) -> None:
    check_functional(fst)


@settings(max_examples=400, deadline=None)
@given(fsts(outputs=(1, EPS)))
def test_functional_agrees_with_enumeration_over_one_symbol(fst: Fst) -> None:
    """With one output symbol only lengths can differ: long delays, few mismatches."""
    check_functional(fst)


@settings(max_examples=200, deadline=None)
@given(fsts(), st.integers(1, 3))
def test_doubled_functional_fst_stays_functional(fst: Fst, shift: int) -> None:
    """Two copies that write the same, one of them later: ambiguous everywhere, still a function."""
    if functional_witness(fst) is not None:
        return
    size = fst.n_states
    late = [(src + size, i, o, dst + size) for src, i, o, dst in fst.arcs()]
    entry = 2 * size
    arcs = [*fst.arcs(), *late, (entry, EPS, EPS, fst.start), (entry, EPS, EPS, fst.start + size)]
    arcs += [(entry + k, EPS, EPS, entry + k + 1) for k in range(shift)]
    finals = [state for state in range(2 * size) if fst.final[state % size]]
    assert functional_witness(Fst.from_arcs(arcs, entry, finals, XY)) is None


def test_infinitely_ambiguous_function() -> None:
    fst = Fst.from_arcs(
        [(0, EPS, EPS, 1), (1, EPS, EPS, 0), (0, 97, 1, 0), (1, 97, 1, 1)], 0, [1], XY
    )
    assert functional_witness(fst) is None


def test_writing_early_and_late_is_one_function() -> None:
    # a…ab gives x…x on both ways, written at different times.
    early = [(0, 97, 1, 1), (1, 97, 1, 1), (1, 98, EPS, 2)]
    late = [(0, 97, EPS, 3), (3, 97, 1, 3), (3, 98, 1, 2)]
    assert functional_witness(Fst.from_arcs(early + late, 0, [2], XY)) is None
    wrong = [*late[:2], (3, 98, 2, 2)]
    witness = functional_witness(Fst.from_arcs(early + wrong, 0, [2], XY))
    assert witness is not None
    assert set(apply_all(Fst.from_arcs(early + wrong, 0, [2], XY), witness[0])) == set(witness[1:])


def test_growing_delay_is_a_conflict_only_where_it_can_end() -> None:
    grow = [(0, 97, 1, 1), (1, 97, 1, 1), (0, 97, EPS, 2), (2, 97, EPS, 2)]
    ends = [(1, 98, EPS, 3), (2, 99, EPS, 3)]
    assert functional_witness(Fst.from_arcs(grow + ends, 0, [3], XY)) is None
    both = [*grow, (1, 98, EPS, 3), (2, 98, EPS, 3)]
    assert functional_witness(Fst.from_arcs(both, 0, [3], XY)) is not None


def test_delay_as_long_as_a_path() -> None:
    length = 200
    wait = [(n, 97, EPS, n + 1) for n in range(length)]
    pay = [(length + n, EPS, 1, length + n + 1) for n in range(length)]
    prompt = [(1000 + n, 97, 1, 1001 + n) for n in range(length)]
    arcs = [*wait, *pay, (2000, EPS, EPS, 0), (2000, EPS, EPS, 1000), *prompt]
    ends = [2 * length, 1000 + length]
    assert functional_witness(Fst.from_arcs(arcs, 2000, ends, XY)) is None
    witness = functional_witness(Fst.from_arcs(arcs, 2000, [2 * length - 1, 1000 + length], XY))
    assert witness is not None
    assert sorted(map(len, witness[1:])) == [length - 1, length]


def test_functional_refuses_more_than_its_budget() -> None:
    # Two disjoint copies over all bytes: 256 moves from each pair.
    arcs = [(n % 2, byte, 1, n % 2) for n in range(2) for byte in range(256)]
    arcs += [(2, EPS, EPS, 0), (2, EPS, EPS, 1)]
    fst = Fst.from_arcs(arcs, 2, [0, 1], XY)
    assert functional_witness(fst) is None
    with pytest.raises(BudgetError, match="more than 100 moves"):
        functional_witness(fst, max_moves=100)


def test_functional_is_quick_on_a_rewrite_cascade() -> None:
    pynini = pytest.importorskip("pynini")
    sigma = pynini.union(*(f"[{byte}]" for byte in range(1, 256))).closure().optimize()
    words = [f"q{n * 7919 % 99991:05d}" for n in range(60)]
    pairs = pynini.string_map([(word, word[::-1].upper()) for word in words])
    first = pynini.cdrewrite(pairs, "", pynini.union(" ", "no", "1st", "2nd"), sigma)
    second = pynini.cdrewrite(pynini.cross("a", "xx"), "b", pynini.union("c", "da"), sigma)
    fst = from_openfst((first @ second).optimize())
    assert fst.n_arcs > 20_000
    begin = time.process_time()
    assert functional_witness(fst) is None
    assert is_total(fst, bytes(range(1, 256)))
    assert time.process_time() - begin < 2
    optional = pynini.cdrewrite(pynini.cross("a", "x"), "", "", sigma, mode="opt")
    witness = functional_witness(from_openfst((first @ optional).optimize()))
    assert witness is not None


@settings(max_examples=200, deadline=None)
@given(fsts(complete=True))
def test_rejected_bytes_are_the_shortest(fst: Fst) -> None:
    rejected = [data for data in short_inputs(5) if not apply_all(fst, data, 1)]
    witness = rejected_bytes(fst, b"ab")
    assert is_total(fst, b"ab") == (witness is None)
    if witness is None:
        assert not rejected
    else:
        assert not apply_all(fst, witness, 1)
        assert all(len(data) >= len(witness) for data in rejected)


TOKENS = st.sets(
    st.sampled_from([b"a", b"b", b"aa", b"ab", b"bb", b"aba", b"bab", b"bbb", b""]), max_size=4
)


@settings(max_examples=400, deadline=None)
@given(fsts(complete=False) | fsts(complete=True), TOKENS)
def test_rejected_tokens_are_the_shortest(fst: Fst, tokens: set[bytes]) -> None:
    spelled = {b""}
    for _ in range(6):
        spelled |= {head + token for head in spelled for token in tokens if len(head + token) <= 6}
    rejected = [data for data in spelled if not apply_all(fst, data, 1)]
    witness = rejected_tokens(fst, any_order(tokens))
    if witness is None:
        assert not rejected
    else:
        assert not apply_all(fst, witness, 1)
        assert all(len(data) >= len(witness) for data in rejected)
        if len(witness) <= 6:
            assert witness in spelled


@settings(max_examples=300, deadline=None)
@given(fsts(complete=False) | fsts(complete=True), st.tuples(TOKENS, TOKENS), st.randoms())
def test_rejected_tokens_of_two_decoder_states_are_the_shortest(
    fst: Fst, tokens: tuple[set[bytes], set[bytes]], rng: random.Random
) -> None:
    decoder = [{(text, rng.randrange(2)) for text in sorted(own)} for own in tokens]
    reached = {(b"", 0)}
    for _ in range(14):
        reached |= {
            (head + text, after)
            for head, state in reached
            for text, after in decoder[state]
            if len(head + text) <= 6
        }
    rejected = [data for data, _ in reached if not apply_all(fst, data, 1)]
    witness = rejected_tokens(fst, decoder)
    if witness is None:
        assert not rejected
    else:
        assert not apply_all(fst, witness, 1)
        assert all(len(data) >= len(witness) for data in rejected)
        if len(witness) <= 6:
            assert (witness, 0) in reached or (witness, 1) in reached


def test_totality_over_tokens_but_not_over_their_bytes() -> None:
    # Accepts (ab)*: all that the token "ab" can spell, though neither "a" nor "b".
    fst = Fst.from_arcs([(0, 97, 1, 1), (1, 98, 1, 0)], 0, [0], XY)
    assert not is_total(fst, b"ab")
    assert rejected_tokens(fst, any_order([b"ab", b"abab"])) is None
    assert rejected_tokens(fst, any_order([b"ab", b"aba"])) == b"aba"
    assert rejected_tokens(fst, any_order([])) is None
    with pytest.raises(BudgetError, match="more than 2 cases"):
        rejected_tokens(fst, any_order([b"ababab"]), max_states=2)


def test_empty_string_must_be_accepted() -> None:
    fst = Fst.from_arcs([(0, 97, 1, 1), (1, 97, 1, 1)], 0, [1], XY)
    assert rejected_tokens(fst, any_order([b"a"])) == b""
    assert rejected_tokens(Fst.from_arcs([], 0, [], XY), any_order([b"a"])) == b""


def test_subset_construction_has_a_limit() -> None:
    # The n-th byte from the end is an a: 2^n sets of states.
    arcs = [(0, byte, EPS, 0) for byte in b"ab"] + [(0, 97, EPS, 1)]
    arcs += [(n, byte, EPS, n + 1) for n in range(1, 12) for byte in b"ab"]
    fst = Fst.from_arcs([*arcs, (0, EPS, EPS, 13)], 0, [*range(14)], XY)
    with pytest.raises(BudgetError, match="more than 50 state sets"):
        is_total(fst, b"ab", max_states=50)
    assert is_total(fst, b"ab")


def test_identity_passes_every_check() -> None:
    fst = identity_bytes()
    assert functional_witness(fst) is None
    assert is_total(fst, bytes(range(256)))
    assert rejected_tokens(fst, any_order([bytes([byte]) for byte in range(256)])) is None
    assert epsilon_output_cycle_witness(fst) is None


@settings(max_examples=300, deadline=None)
@given(fsts())
def test_writing_cycle_agrees_with_enumeration(fst: Fst) -> None:
    """With a writing cycle some input has outputs without end, and only then."""
    if epsilon_output_cycle_witness(fst) is not None:
        # Three arcs at most lead to the cycle and three from it to the end.
        assert any(len(apply_all(fst, data, 100)) == 100 for data in short_inputs(6))
        return
    # Without such a cycle the at most 4 states allow 3 writing silent arcs around each byte read.
    outputs = [output for data in short_inputs(3) for output in apply_all(fst, data, 300)]
    assert max(map(len, outputs), default=0) <= 3 + 3 * 4


def test_writing_cycle_is_described() -> None:
    arcs = [(0, 97, EPS, 1), (1, EPS, 1, 2), (2, EPS, EPS, 1), (1, 98, 2, 3)]
    witness = epsilon_output_cycle_witness(Fst.from_arcs(arcs, 0, [3], XY))
    assert witness == "after the input 'a' the FST can write 'x' again and again, reading nothing"
    # The same cycle where nothing can follow it is harmless: it is trimmed away.
    assert (
        epsilon_output_cycle_witness(Fst.from_arcs([*arcs[:3], (0, 98, 2, 3)], 0, [3], XY)) is None
    )
    # A cycle that reads, and one that writes nothing, are no matter.
    fine = [(0, 97, 1, 0), (0, EPS, EPS, 1), (1, EPS, EPS, 0)]
    assert epsilon_output_cycle_witness(Fst.from_arcs(fine, 0, [0], XY)) is None
