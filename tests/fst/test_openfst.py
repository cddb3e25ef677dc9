"""OpenFst objects read as byte transducers: alphabets, symbol tables, weights."""

from __future__ import annotations

import warnings
from typing import Any

import pynini
import pytest
import pywrapfst
from hypothesis import given
from hypothesis import strategies as st

from lmfst.fst import Fst, apply_all, from_openfst
from lmfst.ground.errors import FstError


def silent(message: str) -> None:
    raise AssertionError(f"unexpected warning: {message}")


def generated() -> dict[int, str]:
    return dict(pynini.generated_symbols())


def table(*names: str, title: str = "", **labels: int) -> pywrapfst.SymbolTable:
    """A symbol table: `names` from 1 on, then the ones given with their labels."""
    symbols = pywrapfst.SymbolTable(title)
    symbols.add_symbol("<eps>", 0)
    for name in names:
        symbols.add_symbol(name)
    for name, label in labels.items():
        symbols.add_symbol(name, label)
    return symbols


def line(*labels: tuple[int, int], arc_type: str = "standard") -> Any:
    """An FST with one path of (input label, output label) arcs."""
    fst = pywrapfst.VectorFst(arc_type)
    one = pywrapfst.Weight.one(fst.weight_type())
    fst.add_states(len(labels) + 1)
    fst.set_start(0)
    fst.set_final(len(labels))
    for state, (ilabel, olabel) in enumerate(labels):
        fst.add_arc(state, pywrapfst.Arc(ilabel, olabel, one, state + 1))
    return fst


def outputs(fst: Fst, text: str | bytes) -> list[list[str]]:
    data = text.encode() if isinstance(text, str) else text
    return [[fst.symbols.name(label) for label in output] for output in apply_all(fst, data)]


def pynini_outputs(fst: Any, data: bytes) -> set[tuple[int, ...]]:
    """The outputs of a byte transducer by composition in OpenFst."""
    text = pynini.accep("".join(f"[{byte or 256}]" for byte in data))
    lattice = pynini.compose(text, fst).project("output").rmepsilon()
    lattice = pynini.determinize(lattice)
    found: set[tuple[int, ...]] = set()
    stack: list[tuple[int, tuple[int, ...]]] = [(lattice.start(), ())] * (lattice.start() >= 0)
    zero = pynini.Weight.zero(lattice.weight_type())
    while stack:
        state, output = stack.pop()
        if lattice.final(state) != zero:
            found.add(output)
        for arc in lattice.arcs(state):
            stack.append((arc.nextstate, (*output, arc.olabel)))
    return found


PIECES = ["a", "b", "ab", "[256]", "[255]", "[MARK]", ""]


@st.composite
def rules(draw: st.DrawFn) -> Any:
    """Finite relations over bytes and one generated symbol on the output, repeated."""
    pair = st.tuples(st.sampled_from(PIECES[:5]), st.sampled_from(PIECES))
    pairs = draw(st.lists(pair, min_size=1, max_size=4))
    return pynini.union(*(pynini.cross(*pair) for pair in pairs)).closure()


@given(rules(), st.lists(st.sampled_from([97, 98, 0, 255]), max_size=4).map(bytes))
def test_outputs_agree_with_composition_in_openfst(rule: Any, data: bytes) -> None:
    fst = from_openfst(rule, names=generated(), mode="byte", warn=silent)
    back = {label: generated_label(fst, label) for label in fst.symbols.names} | {0: 256}
    ours = {tuple(back.get(label, label) for label in output) for output in apply_all(fst, data)}
    assert ours == pynini_outputs(rule, data)


def generated_label(fst: Fst, label: int) -> int:
    return {name: number for number, name in generated().items()}[fst.symbols.name(label)]


def test_epsilon_and_nul() -> None:
    fst = from_openfst(line((97, 0), (0, 98), (256, 256)), warn=silent)
    assert apply_all(fst, b"a\0") == [(98, 0)]
    assert fst.symbols.kind == "bytes"


def test_every_byte_label_is_that_byte() -> None:
    labels = [(label, label) for label in range(1, 257)]
    data = bytes(range(1, 256)) + b"\0"
    fst = from_openfst(line(*labels), mode="byte", warn=silent)
    assert apply_all(fst, data) == [tuple(data)]


def test_generated_symbols_are_renumbered_by_name() -> None:
    first = line((97, 0xF0007), (98, 0xF0003))
    second = line((97, 0xF0001), (98, 0xF0009))
    names_1 = {0: "<epsilon>", 0xF0007: "SEP", 0xF0003: "CAP", 0xF0100: "unused"}
    names_2 = {0xF0001: "SEP", 0xF0009: "CAP"}
    fst_1 = from_openfst(first, names=names_1, warn=silent)
    fst_2 = from_openfst(second, names=names_2, warn=silent)
    assert fst_1.digest == fst_2.digest
    assert dict(fst_1.symbols.names) == {0xF0000: "CAP", 0xF0001: "SEP"}
    assert outputs(fst_1, "ab") == [["SEP", "CAP"]]


@pytest.mark.parametrize(
    ("obj", "label"),
    [(line((97, 300)), 300), (line((97, 0xF0000)), 0xF0000), (line((97, 0x110000)), 0x110000)],
)
def test_unknown_output_labels_are_errors(obj: Any, label: int) -> None:
    with pytest.raises(FstError, match=f"rule: unknown output label {label}:"):
        from_openfst(obj, name="rule", mode="byte", warn=silent)
    named = from_openfst(obj, names={label: "X"}, warn=silent)
    assert outputs(named, "a") == [["X"]]


def test_generated_symbols_on_the_input_are_dropped_with_a_warning() -> None:
    rule = pynini.union("a", pynini.cross("[LOST]", "b"), pynini.cross("[LOST]", "c")).optimize()
    heard: list[str] = []
    fst = from_openfst(rule, name="rule", names=generated(), warn=heard.append)
    assert heard == ["rule: dropped 2 arcs that read symbols no text contains: [LOST]"]
    assert apply_all(fst.trim(), b"a") == [(97,)]
    assert set(fst.ilabel.tolist()) == {97}
    unnamed: list[str] = []
    from_openfst(rule, warn=unnamed.append)
    assert len(unnamed) == 1
    assert "[0xf" in unnamed[0]


def test_markers_of_a_cascade_need_no_warning() -> None:
    sigma = pynini.union("a", "b", "[SEP]").closure().optimize()
    rule = pynini.cdrewrite(pynini.cross("", "[SEP]"), "a", "b", sigma)
    fst = from_openfst(rule, names=generated(), warn=silent)
    assert outputs(fst, "aab") == [["a", "a", "SEP", "b"]]


def test_code_points_when_an_input_label_is_above_256() -> None:
    pairs = [("ł", "l"), ("é", "e"), ("a", "ă"), ("€", "EUR"), ("😀", ":)"), ("Ā", "A")]
    rule = pynini.string_map(pairs, input_token_type="utf8", output_token_type="utf8").closure()
    fst = from_openfst(rule, warn=silent)
    assert fst.symbols.kind == "unicode"
    text = "".join(source for source, _ in pairs)
    assert outputs(fst, text) == [list("".join(target for _, target in pairs))]
    assert apply_all(fst, "é".encode("latin-1")) == []


def test_code_points_can_be_asked_for() -> None:
    rule = pynini.accep("é", token_type="utf8")
    assert apply_all(from_openfst(rule, mode="byte", warn=silent), b"\xe9") == [(0xE9,)]
    fst = from_openfst(rule, mode="utf8", warn=silent)
    assert outputs(fst, "é") == [["é"]]
    with pytest.raises(FstError, match="input label 321 is no byte"):
        from_openfst(line((321, 97)), mode="byte", warn=silent)
    with pytest.raises(FstError, match="expected mode auto, byte or utf8"):
        from_openfst(rule, mode="latin1", warn=silent)  # type: ignore[arg-type]


def test_code_points_beside_generated_symbols() -> None:
    rule = pynini.cross(pynini.accep("ł", token_type="utf8"), "l[MARK]")
    fst = from_openfst(rule, names=generated(), warn=silent)
    assert outputs(fst, "ł") == [["l", "MARK"]]
    assert dict(fst.symbols.names) == {0x110000: "MARK"}


@pytest.mark.parametrize("label", [0xD800, 0x110000])
def test_labels_that_are_no_code_points(label: int) -> None:
    with pytest.raises(FstError, match=f"input label {label} is no Unicode code point"):
        from_openfst(line((0x142, 97), (label, 97)), warn=silent)


def test_symbol_tables_on_both_sides() -> None:
    obj = line((1, 1), (2, 0), (0, 2))
    obj.set_input_symbols(table("Straße", "x"))
    obj.set_output_symbols(table("NOUN", "<end>"))
    fst = from_openfst(obj, warn=silent)
    assert outputs(fst, "Straßex") == [["NOUN", "<end>"]]
    assert apply_all(fst, b"Stra") == []
    assert (fst.symbols.kind, dict(fst.symbols.names)) == ("symbols", {1: "NOUN", 2: "<end>"})


def test_labels_missing_from_their_table() -> None:
    obj = line((1, 1), (7, 1))
    obj.set_input_symbols(table("one"))
    with pytest.raises(FstError, match="input label 7 isn't in the input symbol table"):
        from_openfst(obj, warn=silent)
    obj = line((97, 1), (97, 7))
    obj.set_output_symbols(table("one"))
    with pytest.raises(FstError, match="unknown output label 7"):
        from_openfst(obj, warn=silent)


def byte_table(spelling: str) -> pywrapfst.SymbolTable:
    names = {97: "a", 10: spelling.format(10), 32: spelling.format(32), 200: spelling.format(200)}
    symbols = pywrapfst.SymbolTable()
    for label, name in names.items():
        symbols.add_symbol(name, label)
    symbols.add_symbol("MARK", 0xF0000)
    symbols.add_symbol("LOW", 300)
    return symbols


@pytest.mark.parametrize("spelling", ["0x{:02x}", "<0x{:02X}>", "\\x{:02x}", "[0x{:x}]"])
def test_tables_that_spell_out_the_bytes(spelling: str) -> None:
    obj = line((97, 10), (10, 0xF0000), (200, 300), (32, 255))
    obj.set_input_symbols(byte_table(spelling))
    obj.set_output_symbols(byte_table(spelling))
    fst = from_openfst(obj, warn=silent)
    assert fst.symbols.kind == "bytes"
    assert outputs(fst, b"a\n\xc8 ") == [["\\x0a", "MARK", "LOW", "\\xff"]]


def test_tables_by_title() -> None:
    obj = line((97, 98), (10, 0xF0000))
    thrax = table(title="**Byte symbols", LF=10, MARK=0xF0000)
    obj.set_input_symbols(thrax)
    obj.set_output_symbols(thrax)
    assert outputs(from_openfst(obj, warn=silent), "a\n") == [["b", "MARK"]]
    points = line((0xE9, 0xE9), (97, 0xF0000))
    points.set_input_symbols(table(title="**UTF8 symbols", MARK=0xF0000))
    points.set_output_symbols(table(title="**UTF8 symbols", MARK=0xF0000))
    assert outputs(from_openfst(points, warn=silent), "éa") == [["é", "MARK"]]


def test_table_of_generated_symbols_only() -> None:
    rule = pynini.cross("a", "b[GEN]")
    rule.set_output_symbols(pynini.generated_symbols())
    fst = from_openfst(rule, warn=silent)
    assert fst.symbols.kind == "bytes"
    assert outputs(fst, "a") == [["b", "GEN"]]


def test_table_of_characters_is_an_alphabet_of_its_own() -> None:
    obj = line((97, 97), (233, 233), (0x142, 0x142))
    characters = pywrapfst.SymbolTable()
    for character in "aéł":
        characters.add_symbol(character, ord(character))
    obj.set_input_symbols(characters)
    obj.set_output_symbols(characters)
    fst = from_openfst(obj, warn=silent)
    assert fst.symbols.kind == "symbols"
    assert outputs(fst, "aéł") == [["a", "é", "ł"]]


def test_table_names_that_are_not_utf8(tmp_path: Any) -> None:
    path = tmp_path / "latin.syms"
    path.write_bytes(b"<eps>\t0\nsm\xf6rg\t1\n")
    obj = line((1, 97))
    obj.set_input_symbols(pywrapfst.SymbolTable.read_text(str(path)))
    assert apply_all(from_openfst(obj, warn=silent), b"sm\xf6rg") == [(97,)]


@pytest.mark.parametrize("arc_type", ["standard", "log", "log64"])
def test_weights_are_ignored_with_one_warning(arc_type: str) -> None:
    obj = line((97, 97), (98, 98), arc_type=arc_type)
    kind = obj.weight_type()
    obj.add_arc(0, pywrapfst.Arc(98, 99, pywrapfst.Weight(kind, 0.5), 2))
    obj.add_arc(0, pywrapfst.Arc(99, 99, pywrapfst.Weight.zero(kind), 2))
    obj.set_final(1, pywrapfst.Weight(kind, 2))
    heard: list[str] = []
    fst = from_openfst(obj, name="w.fst", warn=heard.append)
    assert len(heard) == 1
    assert "w.fst: weights are ignored (1 arcs and 1 final states have one)" in heard[0]
    assert "`lmfst apply --best`" in heard[0] and "`--all`" in heard[0]
    assert [len(apply_all(fst, data)) for data in (b"a", b"ab", b"b", b"c")] == [1, 1, 1, 0]


def test_the_default_warning_is_pythons() -> None:
    obj = line((97, 97))
    obj.set_final(1, pywrapfst.Weight("tropical", 2))
    with pytest.warns(UserWarning, match="weights are ignored"):
        from_openfst(obj)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_openfst(line((97, 97)))


def test_empty_and_startless_fsts() -> None:
    for obj in (pywrapfst.VectorFst(), pynini.Fst()):
        fst = from_openfst(obj, warn=silent)
        assert (fst.n_states, fst.n_arcs, fst.final.any()) == (1, 0, False)


def test_arcs_to_nowhere_are_refused() -> None:
    obj = line((97, 97))
    obj.add_arc(0, pywrapfst.Arc(97, 97, pywrapfst.Weight.one("tropical"), 9))
    with pytest.raises(FstError, match="goes to a state that doesn't exist"):
        from_openfst(obj, warn=silent)
