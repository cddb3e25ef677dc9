"""The FST data class, symbol names, and listing all outputs of an input."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmfst.fst import BYTES, EPS, Fst, Symbols, apply_all, identity_bytes
from lmfst.ground.errors import BudgetError, FstError

XY = Symbols("symbols", {1: "x", 2: "y"})


@st.composite
def fsts(draw: st.DrawFn) -> Fst:
    size = draw(st.integers(1, 4))
    state = st.integers(0, size - 1)
    arc = st.tuples(state, st.sampled_from([97, 98, EPS]), st.sampled_from([1, 2, EPS]), state)
    arcs = draw(st.lists(arc, max_size=8))
    return Fst.from_arcs(arcs, draw(state), draw(st.sets(state)), XY, size)


def enumerate_paths(fst: Fst, length: int) -> set[tuple[bytes, tuple[int, ...]]]:
    """(input, output) of all accepting paths of at most `length` arcs, by plain enumeration."""
    pairs: set[tuple[bytes, tuple[int, ...]]] = set()
    paths: set[tuple[int, bytes, tuple[int, ...]]] = {(fst.start, b"", ())}
    arcs = fst.arcs()
    for _ in range(length + 1):
        pairs |= {(data, output) for state, data, output in paths if fst.final[state]}
        paths = {
            (
                dst,
                data if ilabel == EPS else data + bytes([ilabel]),
                output if olabel == EPS else (*output, olabel),
            )
            for state, data, output in paths
            for src, ilabel, olabel, dst in arcs
            if src == state
        }
    return pairs


def test_arcs_are_sorted_distinct_and_grouped_by_source() -> None:
    fst = Fst.from_arcs([(1, 98, 1, 0), (0, 98, 2, 1), (0, 97, 1, 1), (0, 97, 1, 1)], 0, [1], XY)
    assert fst.arcs() == [(0, 97, 1, 1), (0, 98, 2, 1), (1, 98, 1, 0)]
    assert fst.arc_ptr.tolist() == [0, 2, 3]
    assert (fst.n_states, fst.n_arcs) == (2, 3)
    assert fst.final.tolist() == [False, True]
    assert {array.dtype for array in (fst.arc_ptr, fst.ilabel, fst.olabel, fst.dst)} == {
        np.dtype(np.int32)
    }


def test_arrays_are_read_only_and_independent_of_the_callers() -> None:
    final = np.array([True])
    empty = np.zeros(0, dtype=np.int32)
    fst = Fst(0, np.zeros(2, dtype=np.int32), empty, empty, empty, final)
    final[0] = False
    assert fst.final[0]
    for array in (fst.arc_ptr, fst.ilabel, fst.olabel, fst.dst, fst.final):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


@pytest.mark.parametrize(
    ("arcs", "start", "finals", "n_states"),
    [
        ([(0, 256, 1, 0)], 0, [0], None),
        ([(0, -2, 1, 0)], 0, [0], None),
        ([(0, 97, -2, 0)], 0, [0], None),
        ([(0, 97, 1, 3)], 0, [0], 2),
        ([(-1, 97, 1, 0)], 0, [0], None),
        ([], 2, [0], 2),
        ([], 0, [-1], None),
    ],
)
def test_impossible_arcs_are_refused(
    arcs: list[tuple[int, int, int, int]], start: int, finals: list[int], n_states: int | None
) -> None:
    with pytest.raises(FstError, match="expected"):
        Fst.from_arcs(arcs, start, finals, XY, n_states)


def test_arrays_that_do_not_fit_together_are_refused() -> None:
    one, two = np.zeros(1, dtype=np.int32), np.zeros(2, dtype=np.int32)
    final = np.array([True])
    pointers = np.array([0, 1], dtype=np.int32)
    Fst(0, pointers, one, one, one, final)
    with pytest.raises(FstError, match="one length"):
        Fst(0, pointers, one, two, one, final)
    with pytest.raises(FstError, match="arc_ptr"):
        Fst(0, two, one, one, one, final)
    with pytest.raises(FstError, match="non-decreasing"):
        Fst(0, np.array([0, 2, 1]), one, one, one, np.array([True, True]))


@given(fsts())
def test_digest_depends_on_content_only(fst: Fst) -> None:
    again = Fst.from_arcs(
        reversed(fst.arcs()), fst.start, np.flatnonzero(fst.final), XY, fst.n_states
    )
    assert again.digest == fst.digest
    assert again == fst
    assert hash(again) == hash(fst)
    bigger = Fst.from_arcs(
        [*fst.arcs(), (0, 99, 1, 0)], fst.start, np.flatnonzero(fst.final), XY, fst.n_states
    )
    renamed = Fst.from_arcs(
        fst.arcs(),
        fst.start,
        np.flatnonzero(fst.final),
        Symbols("symbols", {1: "y", 2: "x"}),
        fst.n_states,
    )
    flipped = Fst.from_arcs(fst.arcs(), fst.start, np.flatnonzero(~fst.final), XY, fst.n_states)
    assert len({fst.digest, bigger.digest, renamed.digest, flipped.digest}) == 4


@given(fsts())
def test_trim_keeps_the_relation_and_only_useful_states(fst: Fst) -> None:
    trimmed = fst.trim()
    assert enumerate_paths(trimmed, 4) == enumerate_paths(fst, 4)
    assert trimmed.trim() is trimmed or not trimmed.final.any()
    if not trimmed.final.any():
        assert (trimmed.n_states, trimmed.n_arcs) == (1, 0)
        return
    for state in range(trimmed.n_states):
        finals = np.flatnonzero(trimmed.final)
        onward = Fst.from_arcs(trimmed.arcs(), state, finals, XY, trimmed.n_states)
        assert enumerate_paths(onward, 4), "every state leads to a final one"
        into = Fst.from_arcs(trimmed.arcs(), trimmed.start, [state], XY, trimmed.n_states)
        assert enumerate_paths(into, 4), "every state is reached from the start"


@given(fsts(), st.binary(max_size=3).map(lambda data: bytes(97 + byte % 2 for byte in data)))
def test_apply_all_lists_the_shortest_outputs(fst: Fst, data: bytes) -> None:
    found = apply_all(fst, data, limit=50)
    assert len(set(found)) == len(found)
    assert found == sorted(found, key=lambda output: (len(output), output))
    by_paths = {output for source, output in enumerate_paths(fst, 7) if source == data}
    if len(found) < 50:
        assert by_paths <= set(found)
    short = {output for output in found if len(output) <= 1}
    assert {output for output in by_paths if len(output) <= 1} <= short
    for output in found[:5]:
        assert accepts_pair(fst, data, output)


def accepts_pair(fst: Fst, data: bytes, output: tuple[int, ...]) -> bool:
    """Whether some path reads `data` and writes `output`: reachability over (state, i, j)."""
    seen = {(fst.start, 0, 0)}
    stack = list(seen)
    while stack:
        state, i, j = stack.pop()
        if fst.final[state] and i == len(data) and j == len(output):
            return True
        for src, ilabel, olabel, dst in fst.arcs():
            if src != state:
                continue
            reads = ilabel == EPS or (i < len(data) and ilabel == data[i])
            writes = olabel == EPS or (j < len(output) and olabel == output[j])
            after = (dst, i + (ilabel != EPS), j + (olabel != EPS))
            if reads and writes and after not in seen:
                seen.add(after)
                stack.append(after)
    return False


def test_apply_all_is_not_caught_by_loops_without_outputs() -> None:
    # Writing 1 again and again in state 1 leads nowhere for the input "a": only "b" is read there.
    fst = Fst.from_arcs(
        [(0, 97, 2, 2), (0, EPS, EPS, 1), (1, EPS, 1, 1), (1, 98, 2, 2)], 0, [2], XY
    )
    assert apply_all(fst, b"a") == [(2,)]
    assert apply_all(fst, b"b", limit=3) == [(2,), (1, 2), (1, 1, 2)]
    assert apply_all(fst, b"b", limit=0) == []
    with pytest.raises(BudgetError, match="more than 10 configurations"):
        apply_all(fst, b"b", limit=1000, max_steps=10)


def test_identity_bytes_copies_every_byte() -> None:
    fst = identity_bytes()
    data = bytes(range(256))
    assert apply_all(fst, data) == [tuple(data)]
    assert (fst.n_states, fst.n_arcs, fst.symbols) == (1, 256, BYTES)


def test_byte_names() -> None:
    assert [BYTES.name(byte) for byte in (0, 10, 32, 65, 92, 127, 255)] == [
        "\\x00", "\\x0a", " ", "A", "\\", "\\x7f", "\\xff",
    ]  # fmt: skip
    assert [BYTES.label(BYTES.name(byte)) for byte in range(256)] == list(range(256))
    assert BYTES.label("\\xFF") == 255


def test_code_point_names() -> None:
    symbols = Symbols("unicode", {0x110080: "\\x80"})
    names = {0: "\\x00", 10: "\\x0a", 32: " ", 0x85: "\\u0085", 0xE9: "é", 0x200D: "\\u200d"}
    names |= {0x1F600: "😀", 0xE0001: "\\U000e0001", 0xD800: "\\ud800", 0x110080: "\\x80"}
    assert {label: symbols.name(label) for label in names} == names
    assert {symbols.label(name) for name in names.values()} == set(names)


@given(st.integers(0, 0x10FFFF))
def test_code_point_names_can_be_undone(code_point: int) -> None:
    symbols = Symbols("unicode")
    assert symbols.label(symbols.name(code_point)) == code_point


@pytest.mark.parametrize("kind", ["bytes", "unicode", "symbols"])
def test_unknown_symbols_are_errors(kind: str) -> None:
    symbols = Symbols(kind, {0xF0000: "SEP"})  # type: ignore[arg-type]
    assert (symbols.name(0xF0000), symbols.label("SEP")) == ("SEP", 0xF0000)
    for label in (-1, 0x110001):
        with pytest.raises(FstError, match="unknown output symbol"):
            symbols.name(label)
    for name in ("", "nope", "\\x", "\\U00110000"):
        with pytest.raises(FstError, match="no output symbol is called"):
            symbols.label(name)


def test_explicit_names_come_first() -> None:
    symbols = Symbols("bytes", {97: "alpha", 0xF0000: "b"})
    assert symbols.name(97) == "alpha"
    assert symbols.label("b") == 0xF0000
    for name in ("a", "é"):
        with pytest.raises(FstError):
            symbols.label(name)


def test_symbols_are_immutable_values() -> None:
    symbols = Symbols("symbols", {2: "y", 1: "x"})
    assert symbols == XY
    assert hash(symbols) == hash(XY)
    assert symbols != Symbols("bytes", {1: "x", 2: "y"})
    assert pickle.loads(pickle.dumps(symbols)) == symbols
    with pytest.raises(AttributeError):
        symbols.kind = "bytes"
    with pytest.raises(TypeError):
        symbols.names[1] = "z"  # type: ignore[index]
    with pytest.raises(FstError, match="expected a kind"):
        Symbols("letters")  # type: ignore[arg-type]
    with pytest.raises(FstError, match="≥ 0"):
        Symbols("symbols", {-1: "x"})


def test_the_order_of_every_pair_of_inputs_is_covered() -> None:
    # Two arcs of one label, one of them silent: both outputs, and only these.
    fst = Fst.from_arcs([(0, 97, 1, 1), (0, 97, EPS, 1), (1, 98, 2, 0)], 0, [0], XY)
    for count in range(4):
        outputs = set(apply_all(fst, b"ab" * count))
        parts = itertools.product([(1, 2), (2,)], repeat=count)
        assert outputs == {tuple(itertools.chain(*part)) for part in parts}
