"""Units and their texts; target strings written as text and read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmfst.fst import BYTES, Symbols, Utf8, run
from lmfst.ground.errors import InputError
from lmfst.target.units import Units, parse_target_text, target_text

SEP = 0xF0000
WORDS = Symbols("bytes", {SEP: "SEP", SEP + 1: "SEPARATE", SEP + 2: "/AA0/"})
CODES = Symbols("unicode", {0x110000: "SEP", 0x110001: "x]y"})
TABLE = Symbols("symbols", {1: "one", 2: "two", 7: "[SEP]"})


def test_units_are_symbols_or_what_a_separator_ends() -> None:
    assert Units.of(BYTES).spans([5, 6]) == [(0, 1), (1, 2)]
    words = Units.of(WORDS)
    assert words.ends == words.marks == {SEP}
    assert words.spans([]) == []
    assert words.spans([97, 98, SEP, 99]) == [(0, 3), (3, 4)]
    assert words.spans([97, SEP]) == [(0, 2)]
    assert words.spans([SEP, SEP]) == [(0, 1), (1, 2)]


def test_marks_end_a_unit_or_begin_one() -> None:
    cut, begin = SEP + 5, SEP + 6
    others = {SEP + 7: "nosep", SEP + 8: "CUT", SEP + 9: "BEGIN"}
    units = Units.of(Symbols("bytes", {SEP: "SEP", cut: "NOSEP", begin: "NEWUNIT", **others}))
    assert (units.ends, units.begins) == ({SEP, cut}, {begin})
    assert units.spans([97, SEP, 98, cut, 99]) == [(0, 2), (2, 4), (4, 5)]
    assert units.spans([97, begin, 32, 98]) == [(0, 1), (1, 4)]
    assert units.spans([begin, 97, begin]) == [(0, 2), (2, 3)]
    assert units.spans([97, cut, begin, 98]) == [(0, 2), (2, 4)]
    assert units.text([begin, 32, 98]) == " b" and units.text([98, cut]) == "b"


def test_words_of_a_symbol_table_are_no_marks() -> None:
    table = Units.of(Symbols("symbols", {1: "NEWUNIT", 2: "NOSEP", 3: "SEP"}))
    assert table.marks == {3}
    assert table.text([1, 2, 3]) == "NEWUNIT NOSEP"


def test_texts_of_units_are_one_line() -> None:
    words = Units.of(WORDS)
    assert words.text([97, 0xC3, 0xA9, SEP]) == "aé"
    assert words.text([0x0A, 0x5C, 0xFF]) == "\\n\\\\\\xff"
    assert words.text([SEP + 2]) == "/AA0/"
    assert words.text([97, SEP + 2]) == "a[/AA0/]"
    assert Units.of(TABLE).text([1, 2]) == "one two"


@given(st.lists(st.sampled_from([*range(256), *WORDS.names]), max_size=30))
def test_distinct_units_have_distinct_texts(unit: list[int]) -> None:
    units = Units.of(Symbols("bytes", {SEP: "SEP"}))
    plain = [symbol for symbol in unit if symbol < 256]
    text = units.text(plain)
    assert "\n" not in text and "\t" not in text
    restored = bytearray()
    at = 0
    while at < len(text):
        if text[at] != "\\":
            restored += text[at].encode()
            at += 1
        elif text[at + 1] in "tnr\\":
            restored += {"t": b"\t", "n": b"\n", "r": b"\r", "\\": b"\\"}[text[at + 1]]
            at += 2
        else:
            width = 2 if text[at + 1] == "x" else 4
            code = int(text[at + 2 : at + 2 + width], 16)
            # \xNN is a byte, except for the C1 controls that came as UTF-8.
            whole = bytes(plain)[len(restored) :]
            encoded = chr(code).encode()
            restored += encoded if code >= 0x80 and whole.startswith(encoded) else bytes([code])
            at += 2 + width
    assert width_free(bytes(restored)) == width_free(bytes(plain))


def width_free(data: bytes) -> bytes:
    """U+2028 and U+2029 are the only characters written \\uNNNN."""
    return data.replace("\u2028".encode(), b"?").replace("\u2029".encode(), b"?")


@given(st.lists(st.sampled_from([97, 0xFF, 0, 10, *WORDS.names]), max_size=30))
def test_byte_strings_with_generated_symbols_come_back(target: list[int]) -> None:
    assert parse_target_text(target_text(target, WORDS), WORDS) == tuple(target)


@given(st.lists(st.sampled_from([97, 0xE9, 0x1F600, 10, *CODES.names]), max_size=30))
def test_characters_with_generated_symbols_come_back(target: list[int]) -> None:
    assert parse_target_text(target_text(target, CODES), CODES) == tuple(target)


@given(st.lists(st.sampled_from(list(TABLE.names)), max_size=30))
def test_named_symbols_come_back(target: list[int]) -> None:
    assert parse_target_text(target_text(target, TABLE), TABLE) == tuple(target)


@given(st.binary(max_size=12))
def test_characters_of_any_bytes(data: bytes) -> None:
    machine = Utf8()
    assert parse_target_text(data, machine.symbols) == run(machine, data)


def test_brackets_are_themselves_unless_they_name_a_symbol() -> None:
    assert parse_target_text(b"[SEP]", BYTES) == tuple(b"[SEP]")
    assert parse_target_text(b"[SEP][SEQ]", WORDS) == (SEP, *b"[SEQ]")
    assert parse_target_text(b"[SEPARATE][[SEP]]", WORDS) == (SEP + 1, ord("["), SEP, ord("]"))


def test_bytes_that_are_no_utf8_are_shown_escaped() -> None:
    machine = Utf8()
    assert target_text(run(machine, b"a\xff\xc3\xa9"), machine.symbols) == b"a\\xff\xc3\xa9"
    assert len(parse_target_text(b"\\xff", machine.symbols)) == 4


def test_what_is_no_symbol_is_an_error() -> None:
    with pytest.raises(InputError, match="'three' is no symbol") as caught:
        parse_target_text(b"one three", TABLE)
    assert "one, two" in caught.value.hint or "two, one" in caught.value.hint
    with pytest.raises(InputError, match="is no symbol"):
        parse_target_text(b"a\xff", CODES)
