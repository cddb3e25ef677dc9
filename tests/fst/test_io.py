"""OpenFst files: round trips, text, damaged files."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pynini
import pytest
import pywrapfst
from hypothesis import given
from hypothesis import strategies as st

from lmfst.fst import (
    EPS,
    Fst,
    Symbols,
    apply_all,
    captured_stderr,
    from_openfst,
    identity_bytes,
    read_fst,
    to_openfst,
    to_text,
    write_openfst,
)
from lmfst.ground.errors import FstError

GENERATED = Symbols("bytes", {0xF0000: "CAP", 0xF0001: "SEP"})
CODE_POINTS = Symbols("unicode", {0x110000: "SEP", 0x110001: "\\x80"})
NAMED = Symbols("symbols", {1: "a", 2: "b", 3: " ", 97: "Wort", 300: "ß"})
KINDS = {
    "plain": (Symbols("bytes"), [0, 1, 10, 32, 97, 128, 255, EPS]),
    "generated": (GENERATED, [0, 32, 97, 255, 0xF0000, 0xF0001, EPS]),
    "unicode": (CODE_POINTS, [0, 10, 32, 97, 0xE9, 256, 0x3000, 0xD800, 0x110000, 0x110001, EPS]),
    "symbols": (NAMED, [1, 2, 3, 97, 300, EPS]),
}


def silent(message: str) -> None:
    raise AssertionError(f"unexpected warning: {message}")


@st.composite
def fsts(draw: st.DrawFn) -> Fst:
    symbols, labels = KINDS[draw(st.sampled_from(sorted(KINDS)))]
    size = draw(st.integers(1, 4))
    state = st.integers(0, size - 1)
    arc = st.tuples(state, st.sampled_from([0, 1, 97, 255, EPS]), st.sampled_from(labels), state)
    # Every label occurs, so that none of the generated names is dropped as unused.
    arcs = [*draw(st.lists(arc, max_size=6)), *((0, 98, label, 0) for label in labels)]
    return Fst.from_arcs(arcs, draw(state), draw(st.sets(state)), symbols, size)


@given(fsts())
def test_files_give_back_the_same_fst(fst: Fst) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "round.fst"
        write_openfst(fst, path)
        assert read_fst(path, mode="byte", warn=silent) == fst
        assert from_openfst(pynini.Fst.read(str(path)), mode="byte", warn=silent) == fst


@given(fsts())
def test_text_compiles_to_the_same_fst(fst: Fst) -> None:
    compiler = pywrapfst.Compiler(keep_state_numbering=True)
    compiler.write(to_text(fst))
    compiled = compiler.compile()
    if fst.symbols.names:
        compiled.set_output_symbols(to_openfst(fst).output_symbols())
    if compiled.start() != fst.start:
        # A start state without a line: nothing can be accepted.
        assert not fst.final[fst.start]
        assert fst.start not in fst.src
        return
    again = from_openfst(compiled, mode="byte", warn=silent)
    assert again.arcs() == fst.arcs()
    assert np.flatnonzero(again.final).tolist() == np.flatnonzero(fst.final).tolist()
    assert again.symbols == fst.symbols


def test_text_format() -> None:
    fst = Fst.from_arcs([(1, 97, 0, 0), (0, EPS, 98, 1), (0, 0, EPS, 0)], 1, [0])
    assert to_text(fst) == "1\t0\t97\t256\n0\t1\t0\t98\n0\t0\t256\t0\n0\n"


def test_symbol_zero_and_names_that_look_like_bytes() -> None:
    fst = Fst.from_arcs(
        [(0, 97, 0, 0), (0, 98, 5, 0)], 0, [0], Symbols("symbols", {0: "zero", 5: "a"})
    )
    again = from_openfst(to_openfst(fst), warn=silent)
    names = [[again.symbols.name(label) for label in out] for out in apply_all(again, b"ab")]
    assert names == [["zero", "a"]]
    taken = Symbols("bytes", {0xF0000: "\\x0a", 0xF0001: "a"})
    fst = Fst.from_arcs([(0, 97, label, 0) for label in (10, 97, *taken.names)], 0, [0], taken)
    assert from_openfst(to_openfst(fst), warn=silent) == fst
    twins = Symbols("bytes", {0xF0000: "x1", 0xF0001: "x1"})
    with pytest.raises(FstError, match="one name for each"):
        to_openfst(Fst.from_arcs([(0, 97, 0xF0000, 0)], 0, [0], twins))


@pytest.mark.parametrize("fst_type", ["vector", "const", "compact_unweighted"])
@pytest.mark.parametrize("arc_type", ["standard", "log", "log64"])
def test_all_types_of_fst(tmp_path: Path, fst_type: str, arc_type: str) -> None:
    obj = pynini.union(pynini.cross("ab", "c"), pynini.cross("é", "[XYZ]")).optimize()
    obj.set_output_symbols(pynini.generated_symbols())
    path = tmp_path / "x.fst"
    mapped = pywrapfst.arcmap(obj, map_type=f"to_{arc_type}")
    pywrapfst.convert(mapped, fst_type).write(str(path))
    assert pywrapfst.Fst.read(str(path)).arc_type() == arc_type
    fst = read_fst(path, warn=silent)
    assert apply_all(fst, b"ab") == [(99,)]
    assert [fst.symbols.name(label) for label in apply_all(fst, "é".encode())[0]] == ["XYZ"]
    assert apply_all(fst, b"a") == []


def sample() -> Fst:
    arcs = [(0, 97, 97, 1), (1, 98, 0xF0000, 0), (1, EPS, 0xF0001, 2)]
    return Fst.from_arcs(arcs, 0, [0, 2], GENERATED)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got an empty file"),
        (b"0 1 97 97\n1\n", "got a text file"),
        (b"\x1f\x8b\x08\x00rest", "got a gzip file"),
        (b"\x7fELF\x02\x01\x01\x00", "begins with b'\\\\x7fELF"),
        (b"\xd6\xfd\xb2\x7e", "damaged or cut-off"),
    ],
)
def test_files_that_are_no_fst(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.fst"
    path.write_bytes(content)
    with pytest.raises(FstError, match=message) as error:
        read_fst(path, warn=silent)
    assert str(path) in str(error.value)
    assert error.value.hint


def test_missing_files_and_archives(tmp_path: Path) -> None:
    with pytest.raises(FstError, match="No such file"):
        read_fst(tmp_path / "missing.fst")
    with pytest.raises(FstError, match="Is a directory"):
        read_fst(tmp_path)
    far = tmp_path / "x.far"
    with pynini.Far(str(far), "w") as archive:
        archive["rule"] = pynini.accep("a")
    with pytest.raises(FstError, match=r"archive of FSTs \(FAR\)"):
        read_fst(far)


@pytest.mark.parametrize("fst_type", ["vector", "const"])
def test_damaged_files_are_errors_and_never_end_the_process(tmp_path: Path, fst_type: str) -> None:
    """Cut off anywhere, or with bytes changed: an FstError, or an FST if it still makes sense."""
    good, bad = tmp_path / "good.fst", tmp_path / "bad.fst"
    pywrapfst.convert(to_openfst(sample()), fst_type).write(str(good))
    data = good.read_bytes()
    assert read_fst(good, warn=silent) == sample()
    for size in [*range(100), *range(100, len(data), 61), *range(len(data) - 90, len(data))]:
        bad.write_bytes(data[:size])
        with pytest.raises(FstError):
            read_fst(bad, warn=silent)
    rng = random.Random(1)
    failed = 0
    for _ in range(200):
        changed = bytearray(data)
        for _ in range(rng.randint(1, 3)):
            changed[rng.randrange(len(data))] = rng.choice(
                [0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)]
            )
        bad.write_bytes(changed)
        try:
            read_fst(bad, warn=lambda message: None)
        except FstError:
            failed += 1
    assert failed > 20


def test_impossible_counts_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.fst"
    write_openfst(sample(), path)
    data = path.read_bytes()
    start = 4 + (4 + len("vector")) + (4 + len("standard")) + 4 + 4 + 8
    for at in (start, start + 8):
        for count in (-2, 1 << 40):
            path.write_bytes(data[:at] + count.to_bytes(8, "little", signed=True) + data[at + 8 :])
            with pytest.raises(FstError, match="damaged or cut-off"):
                read_fst(path, warn=silent)


def test_damaged_compact_file_is_read_apart(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.fst", tmp_path / "bad.fst"
    pywrapfst.convert(pynini.accep("abc"), "compact_string").write(str(good))
    data = good.read_bytes()
    assert apply_all(read_fst(good, warn=silent), b"abc") == [(97, 98, 99)]
    # The last byte of the number of states, after magic, names, version, flags, properties, start.
    at = 4 + (4 + len("compact_string")) + (4 + len("standard")) + 4 + 4 + 8 + 8 + 7
    bad.write_bytes(data[:at] + b"\x7f" + data[at + 1 :])
    with pytest.raises(FstError, match=r"OpenFst can't read it: .") as error:
        read_fst(bad, warn=silent)
    assert str(bad) in str(error.value)


def test_openfsts_own_diagnostic_is_told(tmp_path: Path, capfd: Any) -> None:
    path = tmp_path / "x.fst"
    write_openfst(sample(), path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"standard", b"standarx", 1))
    with pytest.raises(FstError, match=r"ERROR: .*standarx"):
        read_fst(path, warn=silent)
    assert capfd.readouterr().err == ""


def test_stderr_is_caught_and_restored(capfd: Any) -> None:
    with captured_stderr() as caught:
        os.write(2, b"one\n  two\n")
        assert caught() == "one two"
    assert caught() == "one two"
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"
    with pytest.raises(KeyError), captured_stderr() as caught:
        raise KeyError
    os.write(2, b"again")
    assert capfd.readouterr().err == "again"


def test_writing_replaces_whole_files_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.fst"
    write_openfst(identity_bytes(), path)
    write_openfst(sample(), path)
    assert read_fst(path, warn=silent) == sample()
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.fst"]
    blocked = tmp_path / "folder.fst"
    blocked.mkdir()
    with pytest.raises(FstError, match="can't write the FST"):
        write_openfst(sample(), blocked)
    with pytest.raises(FstError, match="can't write the FST"):
        write_openfst(sample(), tmp_path / "nowhere" / "x.fst")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["folder.fst", "x.fst"]


def test_importing_the_package_loads_no_openfst() -> None:
    code = "import sys, lmfst.fst; print({'pynini', 'pywrapfst'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
