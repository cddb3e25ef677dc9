"""What the labels of an FST without symbol tables are: bytes or code points, given or guessed."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pynini
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import lmfst
from lmfst.fst import EPS, Fst, Symbols, apply_all, from_openfst, identity_bytes, read_far, read_fst
from lmfst.fst.sequential import run
from lmfst.fst.symbols import BYTES
from lmfst.fst.utf8 import doubts, unusable_labels
from lmfst.ground.errors import FstError, UsageError
from lmfst.target.load import load_fst, load_target, shipped_grammars
from tests.support.cli import ARPA, call
from tests.support.grammars import compile_text as compile_grammar
from tests.support.grammars import translate

BYTE = pynini.union(*(f"[{byte}]" for byte in range(1, 256))).optimize()
ANY = BYTE.closure().optimize()


def points(text: str) -> Any:
    """A string of code points."""
    return pynini.accep(text, token_type="utf8")


def heard(obj: Any, **options: Any) -> tuple[Fst, list[str]]:
    said: list[str] = []
    return from_openfst(obj, warn=said.append, **options), said


def plain(obj: Any) -> Any:
    """The FST without symbol tables."""
    obj = obj.copy()
    obj.set_input_symbols(None)
    obj.set_output_symbols(None)
    return obj


@pytest.fixture
def latin(tmp_path: Path) -> Path:
    """In code points: é becomes e, other Latin-1 characters are copied."""
    path = tmp_path / "latin.fst"
    pynini.cdrewrite(pynini.cross(points("é"), "e"), "", "", ANY).optimize().write(str(path))
    return path


# The option, wherever FSTs are read.


@pytest.mark.parametrize("kind", ["fst", "far"])
def test_every_command_takes_the_mode(latin: Path, kind: str, tmp_path: Path) -> None:
    file = str(latin)
    if kind == "far":
        file = str(tmp_path / "latin.far")
        far = pynini.Far(file, "w")
        far.add("E", pynini.Fst.read(str(latin)))
        del far
    done = call("apply", "--to", file, "--input-mode", "utf8", input="caféà\n")
    assert (done.out.decode(), done.err) == ("cafeà\n", "")
    done = call("apply", "--to", file, "--input-mode", "byte", input="caféà\n")
    assert (done.out.decode(), done.err) == ("caféà\n", "")
    done = call("apply", "--to", file, input="caféà\n")
    assert done.out.decode() == "caféà\n" and "labels 0xE9 ('é'); if its labels are" in done.err
    assert "--input-mode utf8" in done.err and "--input-mode byte" in done.err
    done = call("info", file, "--input-mode", "utf8")
    assert "output alphabet\tunicode" in done.lines and done.err == ""
    for command in ("print", "draw"):
        done = call(command, file, "--input-mode", "utf8")
        assert done.code == 0 and done.err == ""
    model = tmp_path / "m.arpa"
    model.write_text(ARPA)
    options = ("--model", model, "--to", file, "--input-mode", "utf8", "--partial", "condition")
    done = call("convert", *options, "--exact", "--given", "target", input="abe\n")
    assert [row["unit"] for row in done.rows()] == ["a", "b", "e", "⊥"]
    assert done.rows()[2]["logp"] != "-inf" and done.code == 0
    done = call("next", "ab", *options, "--exact")
    assert done.code == 0 and "e" in {row["unit"] for row in done.rows()}


def test_the_api_takes_the_mode(latin: Path, tmp_path: Path) -> None:
    assert load_fst(str(latin), input_mode="utf8").symbols.kind == "unicode"
    target = load_target(str(latin), input_mode="utf8")
    assert run(target.machine, "é".encode()) == (ord("e"),)
    path = tmp_path / "m.arpa"
    path.write_text(ARPA)
    letters = tmp_path / "letters.fst"
    pynini.union(*map(points, "abcé")).closure().optimize().write(str(letters))
    model = lmfst.load(str(path), to=str(letters), policy="exact", input_mode="utf8")
    plain_model = lmfst.load(str(path), to="chars", policy="exact")
    assert model.logp("éab") == pytest.approx(plain_model.logp("éab"))
    for to in ("bytes", identity_bytes(), target):
        with pytest.raises(UsageError, match="--input-mode byte is for FST files"):
            lmfst.load(str(path), to=to, input_mode="byte")


@pytest.mark.parametrize("to", ["bytes", "chars", "rna", "FILE"])
def test_what_says_itself_what_it_reads_takes_no_mode(to: str, tmp_path: Path) -> None:
    (tmp_path / "g.grm").write_text('export G = "a";')
    to = to.replace("FILE", str(tmp_path / "g.grm"))
    done = call("apply", "--to", to, "--input-mode", "utf8", input="a\n")
    assert done.code == 2 and "--input-mode utf8 is for FST files" in done.err
    assert call("apply", "--to", to, "--input-mode", "auto", input="a\n").code == 0
    if to not in ("bytes", "chars"):
        done = call("compile", to, "-o", tmp_path / "x.fst", "--input-mode", "utf8")
        assert done.code == 2 and "--input-mode utf8 is for FST files" in done.err


def test_a_mode_that_changes_nothing_is_said(tmp_path: Path) -> None:
    path = tmp_path / "x.fst"
    call("compile", "-", "-o", path, "--input-mode", "utf8", input=b"0 1 233 233\n1\n")
    done = call("apply", "--to", path, "--input-mode", "byte", input="é\n")
    assert done.out.decode() == "é\n" and "--input-mode byte changes nothing" in done.err


def test_a_file_of_another_kind_gets_a_hint(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("0 1 97 97\n1\n")
    done = call("apply", "--to", path, input="a\n")
    assert done.code == 2 and "a text FST needs `lmfst compile F.txt -o F.fst`" in done.err


@pytest.mark.parametrize(("mode", "text"), [("utf8", "é"), ("byte", b"\xe9")])
def test_a_compiled_text_says_what_its_labels_are(
    mode: str, text: str | bytes, tmp_path: Path
) -> None:
    path = tmp_path / "x.fst"
    source = b"0 1 233 32\n1 2 32 256\n2\n"
    done = call("compile", "-", "-o", path, input=source)
    assert done.code == 0 and "0xE9 ('é')" in done.err
    done = call("compile", "-", "-o", path, "--input-mode", mode, input=source)
    assert (done.code, done.err) == (0, "")
    fst = read_fst(path, warn=lambda message: pytest.fail(message))
    data = (text.encode() if isinstance(text, str) else text) + b" "
    assert apply_all(fst, data) == [(32, 256 if mode == "utf8" else 0)]


# The guess.


def test_outputs_above_256_decide_for_code_points() -> None:
    rule = (pynini.cross(points("é"), points("ł")) | pynini.cross("a", "b")).closure().optimize()
    fst, said = heard(rule)
    assert said == [] and fst.symbols.kind == "unicode"
    assert apply_all(fst, "aé".encode()) == [(ord("b"), ord("ł"))]
    # Where the inputs have a table, the outputs alone are code points.
    named = rule.copy()
    table = pynini.SymbolTable("")
    for label, name in ((0, "<eps>"), (97, "ALPHA"), (233, "EPSILON")):
        table.add_symbol(name, label)
    named.set_input_symbols(table)
    fst, said = heard(named)
    assert said == [] and apply_all(fst, b"EPSILONALPHA") == [(ord("ł"), ord("b"))]
    # And where the outputs have one, their numbers say nothing about the inputs.
    table = pynini.SymbolTable("")
    for label, name in ((0, "<eps>"), (98, "B"), (ord("ł"), "L")):
        table.add_symbol(name, label)
    named = rule.copy()
    named.set_output_symbols(table)
    fst, said = heard(named, mode="byte")
    assert fst.symbols.kind == "symbols" and apply_all(fst, b"\xe9") == [(ord("ł"),)]


def test_code_points_by_outputs_alone_are_doubted_where_inputs_may_be_bytes() -> None:
    decoder = pynini.union(*(pynini.cross(c, points(c)) for c in ("é", "ł"))).closure().optimize()
    _, said = heard(decoder)
    assert len(said) == 1 and "its inputs from 128 on may as well be bytes" in said[0]
    assert heard(decoder, mode="utf8")[1] == []
    copied = (pynini.cross(points("é"), points("ł")) | BYTE).closure().optimize()
    assert heard(copied)[1] == []


def test_a_forced_mode_names_the_other_in_its_error() -> None:
    for rule in (pynini.cross("a", points("ł")), pynini.cross(points("ł"), "a")):
        with pytest.raises(FstError) as caught:
            from_openfst(rule, mode="byte")
        assert caught.value.hint.startswith("if the labels are code points, give --input-mode utf8")


DOUBTED = {
    "alone": points("é"),
    "followed by a letter": points("été"),
    "written": pynini.cross("e", points("é")),
    "no byte of UTF-8": pynini.cross(points("À"), "A"),
    "in a loop over all bytes": pynini.cdrewrite(pynini.cross(points("é"), "e"), "", "", ANY),
    "in a context": pynini.cdrewrite(pynini.cross(points("é"), "e"), "a", "b", ANY),
    "several": pynini.union(*(points(char) for char in "äöüß")).closure(),
    "at the end": pynini.accep("a[195]"),
    "a byte no text has": pynini.cdrewrite(pynini.cross(points("ü"), "ue"), "", "", ANY),
    "a continuation byte": pynini.cdrewrite(pynini.cross(points("«"), "<"), "", "", ANY),
    "one that becomes another": pynini.cdrewrite(
        pynini.cross(points("«"), points("»")), "", "", ANY
    ),
    "a first byte that becomes another": pynini.cdrewrite(
        pynini.cross(points("é"), points("è")), "", "", ANY
    ),
    "written in a loop": pynini.cdrewrite(pynini.cross("ue", points("ü")), "", "", ANY),
    "a continuation byte in a context": pynini.cdrewrite(
        pynini.cross(points("°"), "o"), "a", "", ANY
    ),
}
SOUND = {
    "all bytes": ANY,
    "text": pynini.accep("é", token_type="byte"),
    "rewriting text": pynini.cdrewrite(pynini.cross("é", "e"), "", "", ANY),
    "rewriting text in text": pynini.cdrewrite(pynini.cross("é", "ü"), "ß", "à", ANY),
    "rewriting text in a context": pynini.cdrewrite(pynini.cross("é", "°"), "«", "ü", ANY),
    "hexadecimal numbers": pynini.union(
        *(pynini.cross(f"[{byte}]", f"{byte:02x}") for byte in range(1, 256))
    ).closure(),
    "what is no UTF-8 as one byte": pynini.cdrewrite(
        pynini.cross(pynini.union(*(f"[{b}]" for b in (0xC0, 0xC1, *range(0xF5, 256)))), "?"),
        *("", "", ANY),
    ),
    "the first two bytes": BYTE + BYTE + pynini.cross(BYTE, "").closure(),
    "all but ASCII as one byte": pynini.cdrewrite(
        pynini.cross(pynini.union(*(f"[{byte}]" for byte in range(128, 256))), "#"), "", "", ANY
    ),
    "all but ASCII left out": pynini.cdrewrite(
        pynini.cross(pynini.union(*(f"[{byte}]" for byte in range(128, 256))), ""), "", "", ANY
    ),
    "marks between bytes": pynini.cdrewrite(
        pynini.cross("", "[MARK]"), BYTE, BYTE, (BYTE | "[MARK]").closure().optimize()
    ),
    "ASCII": pynini.cross("a", "b"),
    "any one byte": BYTE,
}


@pytest.mark.parametrize("what", DOUBTED)
def test_labels_that_are_bytes_of_no_text_are_named(what: str) -> None:
    rule = DOUBTED[what].copy().optimize()
    fst, said = heard(rule)
    assert fst.symbols.kind == "bytes"
    assert len(said) == 1 and "read as bytes, since no label is above 256" in said[0]
    assert heard(rule, mode="byte")[1] == heard(rule, mode="utf8")[1] == []


@pytest.mark.parametrize("what", SOUND)
def test_bytes_of_text_are_not_doubted(what: str) -> None:
    names = dict(pynini.generated_symbols())
    assert heard(SOUND[what].copy().optimize(), names=names)[1] == []


LATIN = [chr(label) for label in range(0xA0, 0x100)]
CONTEXTS = [("", ""), ("a", ""), ("", "b"), ("a", "b")]


@pytest.mark.parametrize("seed", range(40))
def test_rules_over_latin_characters_are_named_and_those_over_text_are_not(seed: int) -> None:
    rng = random.Random(seed)
    some = [*"aeiou", *LATIN]
    pairs = [(rng.choice(LATIN), rng.choice([*some, "ue", ""])) for _ in range(rng.randint(1, 4))]
    if seed % 4 == 0:
        pairs = [("ue", rng.choice(LATIN))]
    pairs = [(read, written) for read, written in pairs if read != written]
    left, right = rng.choice(CONTEXTS)
    for kind in ("utf8", "byte"):
        cross = [
            pynini.cross(*(pynini.accep(text, token_type=kind) for text in pair)) for pair in pairs
        ]
        rule = plain(pynini.cdrewrite(pynini.union(*cross), left, right, ANY))
        if seed % 2:
            rule.optimize()
        _, said = heard(rule)
        assert len(said) == (kind == "utf8"), (pairs, left, right)


def test_outputs_that_are_no_text_are_called_outputs() -> None:
    def said_of(rule: Any) -> str:
        (said,) = heard(rule)[1]
        return said

    turned = pynini.cdrewrite(pynini.cross("ü", "[252]"), "", "", ANY).optimize()
    assert "UTF-8 text becomes what is none by its outputs 0xFC ('ü'); if" in said_of(turned)
    changed = pynini.cdrewrite(pynini.cross("[233]", "[232]"), "", "", ANY).optimize()
    assert "single bytes become others in whatever UTF-8 characters they stand: 0xE9 ('é')" in (
        said_of(changed)
    )


@pytest.mark.parametrize("name", sorted(set(shipped_grammars()) - {"phones"}))
def test_shipped_grammars_without_their_tables_are_not_doubted(name: str) -> None:
    from lmfst.grammar import compile_file

    rule = compile_file(shipped_grammars()[name]).rule()
    assert heard(plain(rule.openfst), names=rule.labels)[1] == []


def test_grammars_say_themselves_that_they_are_bytes(tmp_path: Path) -> None:
    module = compile_grammar('export r = "[0xE9]" : "e";', tmp_path)
    fst = module.rule("r").to_fst(lambda message: pytest.fail(message))
    assert apply_all(fst, b"\xe9") == [(ord("e"),)]


# Which arcs a text can use, by brute force.


LETTERS = (0x41, 0xC3, 0xA9, 0xE9, 0xFF)


def texts(fst: Fst, length: int) -> Iterable[tuple[tuple[int, ...], bytes, bytes]]:
    """Accepting paths of an FST: indices of arcs, input, output."""
    arcs = fst.arcs()
    for size in range(length + 1):
        for path in itertools.product(range(len(arcs)), repeat=size):
            states = [fst.start, *(arcs[at][3] for at in path)]
            if fst.final[states[-1]] and all(
                arcs[at][0] == state for at, state in zip(path, states, strict=False)
            ):
                sides = [[arcs[at][side] for at in path] for side in (1, 2)]
                yield path, *(bytes(label for label in side if label != EPS) for side in sides)


def is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


FOUND: set[int] = set()
"""What the test below has found in all."""


@example([(0, EPS, 195, 0), (0, 195, 169, 0), (0, 169, EPS, 1)])
@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 1),
            st.sampled_from([EPS, *LETTERS]),
            st.sampled_from([EPS, *LETTERS]),
            st.integers(0, 1),
        ),
        min_size=1,
        max_size=5,
    )
)
# Read on an arc that texts use, and written on another, which none does.
@example([(0, 195, -1, 0), (0, 195, 169, 0), (0, 169, -1, 1)])
def test_labels_are_unusable_only_if_no_text_uses_them(arcs: list[tuple[int, ...]]) -> None:
    fst = Fst.from_arcs(arcs, 0, [1], BYTES, 2).trim()  # type: ignore[arg-type]
    used = {at for path, *sides in texts(fst, 5) if all(map(is_text, sides)) for at in path}
    found = set(unusable_labels(fst))
    high = {
        at: label
        for at, (_, read, written, _) in enumerate(fst.arcs())
        if (label := read if read >= 128 else written) >= 128
    }
    FOUND.update(found)
    no_use, no_text, changed = doubts(fst)
    assert found == {*no_use, *no_text, *changed}
    # What becomes another byte in whatever character it stands may make text all the same.
    arcs_of = [(at, {read, written}) for at, (_, read, written, _) in enumerate(fst.arcs())]
    for label in {*no_use, *no_text}:
        assert any(at not in used for at, labels in arcs_of if label in labels)
    if len(arcs) <= 2 and not used & set(high):
        # Short paths tell all there is to know: nothing from 128 on is usable.
        assert found == set(high.values())


def test_labels_were_found_above() -> None:
    test_labels_are_unusable_only_if_no_text_uses_them()
    assert {0xC3, 0xA9, 0xE9, 0xFF} <= FOUND


# Siblings: other files, and FSTs that a grammar loads.


def test_acceptors_compact_and_constant_files_in_code_points(tmp_path: Path) -> None:
    acceptor = points("łé").closure().optimize()
    for kind in ("vector", "const", "compact_acceptor"):
        path = tmp_path / f"{kind}.fst"
        import pywrapfst

        pywrapfst.convert(acceptor, kind).write(str(path))
        fst = read_fst(path, warn=lambda message: pytest.fail(message))
        assert apply_all(fst, "łé".encode()) == [(ord("ł"), ord("é"))]
        alone = tmp_path / f"{kind}-latin.fst"
        pywrapfst.convert(points("é").closure().optimize(), kind).write(str(alone))
        assert apply_all(read_fst(alone, mode="utf8"), "é".encode()) == [(ord("é"),)]
        said: list[str] = []
        read_fst(alone, warn=said.append)
        assert len(said) == 1 and "0xE9 ('é')" in said[0]


def test_entries_of_an_archive_are_judged_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "mixed.far"
    far = pynini.Far(str(path), "w")
    far.add("bytes", pynini.accep("é"))
    far.add("latin", points("é"))
    far.add("points", pynini.cross("l", points("ł")))
    del far
    said: list[str] = []
    kinds = {}
    for key in ("bytes", "latin", "points"):
        kinds[key] = read_far(path, key, warn=said.append).symbols.kind
    assert kinds == {"bytes": "bytes", "latin": "bytes", "points": "unicode"}
    assert len(said) == 1 and f"{path}:latin: read as bytes" in said[0]


def test_a_table_on_one_side_only() -> None:
    rule = pynini.cross(points("é"), "ab")
    table = pynini.SymbolTable("**UTF8 symbols")
    table.add_symbol("<eps>", 0)
    table.add_symbol("é", 233)
    rule.set_input_symbols(table)
    fst, said = heard(rule)
    assert said == [] and apply_all(fst, "é".encode()) == [(97, 98)]
    rule = pynini.cross("ab", points("é"))
    rule.set_output_symbols(table)
    fst, said = heard(rule)
    assert said == [] and fst.symbols.kind == "unicode"
    assert apply_all(fst, b"ab") == [(233,)]
    assert fst.symbols == Symbols("unicode")


def test_fsts_that_a_grammar_loads(tmp_path: Path) -> None:
    both = (points("é") | points("ł")).closure().optimize()
    both.write(str(tmp_path / "both.fst"))
    module = compile_grammar('export r = LoadFst[\'both.fst\'] ("a" : "é".utf8);', tmp_path)
    assert module.warnings == [] and translate(module.rule("r"), "éa", utf8=True) == {"éé"}
    written = pynini.cross(points("é"), points("ł"))
    written.write(str(tmp_path / "both.fst"))
    module = compile_grammar("export r = LoadFst['both.fst'];", tmp_path)
    assert module.warnings == []
    assert apply_all(module.rule("r").to_fst(), "é".encode()) == [(ord("ł"),)]
    points("é").write(str(tmp_path / "latin.fst"))
    module = compile_grammar("export r = LoadFst['latin.fst'];", tmp_path)
    assert len(module.warnings) == 1 and "latin.fst: read as bytes" in module.warnings[0]
    pynini.accep("[BOS]é[EOS]").write(str(tmp_path / "ends.fst"))
    module = compile_grammar("export r = LoadFst['ends.fst'];", tmp_path)
    assert module.warnings == []
