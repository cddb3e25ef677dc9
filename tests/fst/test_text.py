"""FSTs in text format, drawings, and inverse images."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmfst.fst import EPS, Fst, apply_all, from_openfst, identity_bytes, to_text
from lmfst.fst.draw import to_dot
from lmfst.fst.preimages import preimages
from lmfst.fst.text import compile_text, read_symbol_table
from lmfst.ground.errors import BudgetError, FstError

TEXT = b"0\t1\t97\t98\n1\t0\t99\t0\n1 2 0 120\n\n2\n0\n"


def fsts() -> st.SearchStrategy[Fst]:
    """Small transducers over a, b and the outputs x, y."""
    label = st.sampled_from([EPS, 97, 98])
    output = st.sampled_from([EPS, 120, 121])
    state = st.integers(0, 3)
    arcs = st.lists(st.tuples(state, label, output, state), min_size=1, max_size=8)
    finals = st.sets(state, min_size=1)
    return st.builds(lambda a, f: Fst.from_arcs(a, 0, f, n_states=4), arcs, finals)


def test_text_becomes_an_fst() -> None:
    fst = from_openfst(compile_text(TEXT, "t"))
    assert fst.arcs() == [(0, 97, 98, 1), (1, EPS, 120, 2), (1, 99, EPS, 0)]
    assert fst.final.tolist() == [True, False, True]


@settings(max_examples=60)
@given(fsts())
def test_printed_fsts_come_back(fst: Fst) -> None:
    fst = fst.trim()
    if not fst.final.any():
        return
    again = from_openfst(compile_text(to_text(fst).encode(), "t"))
    assert again.n_states == fst.n_states and again.n_arcs == fst.n_arcs
    for text in map(bytes, itertools.product(b"ab", repeat=2)):
        assert apply_all(again, text, 20) == apply_all(fst, text, 20)


def test_symbol_tables(tmp_path: Path) -> None:
    path = tmp_path / "t.syms"
    path.write_text("<eps>\t0\nein 1\nzwei\t2\n")
    table = read_symbol_table(path)
    assert table == {"<eps>": 0, "ein": 1, "zwei": 2}
    fst = from_openfst(compile_text(b"0 1 ein zwei\n1\n", "t", isymbols=table, osymbols=table))
    assert apply_all(fst, b"ein") == [(2,)]
    assert fst.symbols.name(2) == "zwei"


def test_acceptors_and_weights() -> None:
    warnings: list[str] = []
    fst = from_openfst(compile_text(b"0 1 97 0.5\n1 2\n", "t", acceptor=True), warn=warnings.append)
    assert apply_all(fst, b"a") == [(97,)]
    assert "weights are ignored" in warnings[0]
    dead = from_openfst(compile_text(b"0 1 97 97 Infinity\n1\n", "t"))
    assert apply_all(dead, b"a") == []


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        (b"", 1, "at least one state"),
        (b"0 1 97 97\nx\n", 2, "a state number"),
        (b"0 1 97 97\n\n0 1 -1 97\n", 3, "a label number"),
        (b"0 1 97\n", 1, "`source target input output"),
        (b"0 1 97 97 1 2\n", 1, "`source target input output"),
        (b"0 1 97 97 heavy\n", 1, "a weight"),
        (b"0 1 97 97 nan\n", 1, "a weight"),
        (b"0 1 97 99999999999\n", 1, "a label number"),
        (b"0 1 97 \xff\n", 1, "UTF-8"),
    ],
)
def test_errors_name_the_line(text: bytes, line: int, what: str) -> None:
    with pytest.raises(FstError, match=f"^f.txt, line {line}: expected {what}"):
        compile_text(text, "f.txt")


def test_errors_of_tables_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "t.syms"
    for text, line in (("a 1\nb\n", 2), ("a 1\na 2\n", 2), ("a 1\nb 1\n", 2), ("a x\n", 1)):
        path.write_text(text)
        with pytest.raises(FstError, match=f"t.syms, line {line}: expected"):
            read_symbol_table(path)
    with pytest.raises(FstError, match="symbol of the symbol table, found 'c'"):
        compile_text(b"0 1 c c\n", "f.txt", isymbols={"a": 1}, osymbols={"a": 1})
    with pytest.raises(FstError, match="can't read it"):
        read_symbol_table(tmp_path / "none")


@settings(max_examples=150)
@given(fsts(), st.binary(max_size=0).map(lambda _: ()) | st.lists(st.sampled_from([120, 121])))
def test_inverse_images_are_those_of_enumeration(fst: Fst, target: list[int]) -> None:
    target = target[:4]
    longest = 4
    # Searching by output length ends, because outputs beyond the target's length are cut off.
    expected = [
        bytes(text)
        for size in range(longest + 1)
        for text in itertools.product(b"ab", repeat=size)
        if tuple(target) in _outputs(fst, bytes(text), len(target))
    ]
    found = list(
        itertools.takewhile(lambda text: len(text) <= longest, islice(preimages(fst, target), 400))
    )
    assert sorted(found, key=lambda text: (len(text), text)) == expected
    assert [len(text) for text in found] == sorted(len(text) for text in found)


def _outputs(fst: Fst, text: bytes, longest: int) -> set[tuple[int, ...]]:
    """All outputs of a text up to a length, by closing over configurations."""
    seen = {(fst.start, 0, ())}
    stack: list[tuple[int, int, tuple[int, ...]]] = list(seen)
    while stack:
        state, at, out = stack.pop()
        for src, ilabel, olabel, dst in fst.arcs():
            if src != state or (ilabel != EPS and text[at : at + 1] != bytes([ilabel])):
                continue
            after = (dst, at + (ilabel != EPS), out if olabel == EPS else (*out, olabel))
            if len(after[2]) <= longest and after not in seen:
                seen.add(after)
                stack.append(after)
    return {out for state, at, out in seen if at == len(text) and fst.final[state]}


def test_endless_inverse_images_come_one_by_one() -> None:
    deleting = Fst.from_arcs([(0, 97, EPS, 0), (0, 98, 120, 0)], 0, [0])
    found = list(islice(preimages(deleting, [120]), 6))
    assert found[0] == b"b"
    assert set(found[1:3]) == {b"ab", b"ba"}
    assert set(found[3:]) == {b"aab", b"aba", b"baa"}
    assert list(preimages(deleting, [121])) == []
    with pytest.raises(BudgetError):
        list(preimages(deleting, [120], max_nodes=50))


def test_drawings() -> None:
    fst = Fst.from_arcs([(0, 97, 97, 0), (0, 98, 98, 0), (0, 34, EPS, 1), (1, EPS, 92, 1)], 0, [1])
    dot = to_dot(fst, 'a "name"')
    assert dot.startswith('digraph "a \\"name\\"" {')
    assert '0 -> 0 [label = "[a-b]"];' in dot
    assert '0 -> 1 [label = "\\":ε"];' in dot
    assert "0 [style = bold];" in dot and "1 [shape = doublecircle];" in dot
    assert "[\\\\x00-\\\\xff]" in to_dot(identity_bytes())


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_reads_drawings() -> None:
    done = subprocess.run(["dot", "-Tsvg"], input=to_dot(identity_bytes()).encode(), check=True)
    assert done.returncode == 0


@pytest.mark.parametrize(("mark", "end"), [("\ufeff", "\n"), ("", "\r"), ("\ufeff", "\r")])
def test_marks_and_line_ends_of_editors(mark: str, end: str, tmp_path: Path) -> None:
    """A byte-order mark is no part of the first state, and CR alone ends lines; both are said."""
    told: list[str] = []
    table = tmp_path / "t.syms"
    table.write_bytes((mark + "<eps> 0\na 97\n".replace("\n", end)).encode())
    symbols = read_symbol_table(table, warn=told.append)
    assert symbols == {"<eps>": 0, "a": 97}
    data = (mark + "0 1 a a\n1\n".replace("\n", end)).encode()
    obj = compile_text(data, "x.txt", isymbols=symbols, osymbols=symbols, warn=told.append)
    assert obj.num_states() == 2 and obj.num_arcs(0) == 1
    expected = ["byte-order mark"] * bool(mark) + ["CR alone"] * (end == "\r")
    assert len(told) == 2 * len(expected)
    for name in ("t.syms: ", "x.txt: "):
        for what in expected:
            assert any(name in message and what in message for message in told)


def test_utf16_is_named(tmp_path: Path) -> None:
    with pytest.raises(FstError, match=r"x\.txt: expected UTF-8 text, found .* UTF-16"):
        compile_text("0 1 97 97\n1\n".encode("utf-16"), "x.txt")
