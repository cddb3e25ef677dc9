"""Strings in messages, and the byte NUL in targets that don't read it."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmfst.fst import EPS, Fst, Symbols, epsilon_output_cycle_witness
from lmfst.fst.sequential import Determinised
from lmfst.fst.shown import escaped, show_bytes, show_output
from lmfst.ground.errors import FstError
from lmfst.target.load import fst_target
from tests.support.cli import call

ARPA = """
\\data\\
ngram 1=5

\\1-grams:
-99 <s>
-0.5 </s>
-0.5 a
-0.7 é
-0.7 <0x00>

\\end\\
"""


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"", "the empty string"),
        ("ä 中".encode(), "'ä 中'"),
        (b"\xc3", r"'\xc3'"),
        (b"a\xe4b", r"'a\xe4b'"),
        (rb"\xc3", r"'\\xc3'"),
        (b"\t\n\r\x00\x7f", r"'\t\n\r\x00\x7f'"),
        ("\x85\u200b\u00a0\U000e0001".encode(), r"'\u0085\u200b\u00a0\U000e0001'"),
        ("\u0301e\u0301".encode(), "'\\u0301e\u0301'"),
        (b"it's", '"it\'s"'),
        (b"'\"", "'\\'\"'"),
    ],
)
def test_bytes_are_shown_as_text_where_they_are_text(data: bytes, shown: str) -> None:
    assert show_bytes(data) == shown


_SHORT = {"t": b"\t", "n": b"\n", "r": b"\r", "\\": b"\\"}
_ESCAPE = re.compile(r"\\(?:x(..)|u(....)|U(........)|(.))")


def _meant(shown: str) -> bytes:
    """The bytes that an escaped text says."""

    def raw(match: re.Match[str]) -> str:
        byte, *code, short = match.groups()
        if byte:
            data = bytes([int(byte, 16)])
        else:
            data = _SHORT[short] if short else chr(int(code[0] or code[1], 16)).encode()
        return data.decode("latin-1")

    at, out = 0, b""
    for match in _ESCAPE.finditer(shown):
        out += shown[at : match.start()].encode() + raw(match).encode("latin-1")
        at = match.end()
    return out + shown[at:].encode()


@given(st.binary() | st.text().map(str.encode))
def test_what_is_shown_tells_the_bytes(data: bytes) -> None:
    shown = escaped(data.decode("utf-8", "surrogateescape"))
    assert shown.isprintable() and _meant(shown) == data


def test_outputs_are_shown_in_target_form() -> None:
    bytes_ = Symbols("bytes", {0xF0000: "SEP"})
    assert show_output([*"ä".encode(), 0xF0000, 98], bytes_) == "'ä[SEP]b'"
    assert show_output([0xE4, 0x6F], Symbols("unicode")) == "'äo'"
    assert show_output([1, 2], Symbols("symbols", {1: "AA", 2: "ʃ"})) == "'AA ʃ'"
    assert show_output([], bytes_) == "nothing"


def test_witnesses_are_text(tmp_path: Path) -> None:
    path = tmp_path / "g.grm"
    path.write_text(
        'export TWO = ("ä" : "ö") | ("ä" : "ü");\n'
        'export UTF8 = ("ä".utf8 : "ö".utf8) | ("ä".utf8 : "ü".utf8);\n'
        'export NONE = ("ä" : "ä");\n'
        'export EVER = "ä" ("" : "ö")*;\n'
    )
    for rule in ("TWO", "UTF8"):
        done = call("info", f"{path}:{rule}")
        assert "functional\tno: 'ä' has the outputs 'ö' and 'ü'" in done.lines
        done = call("apply", "--to", f"{path}:{rule}", input="ä\n")
        assert "input 'ä' has the outputs 'ö' and 'ü'" in done.err
    (tmp_path / "m.arpa").write_text(ARPA)
    done = call("convert", "--model", tmp_path / "m.arpa", "--to", f"{path}:NONE", input="ä\n")
    assert "rejects the empty string" in done.err
    done = call("info", f"{path}:EVER")
    assert any(
        line.startswith("output cycle\tafter the input 'ä' the FST can write 'ö'")
        for line in done.lines
    )


def test_rejected_strings_are_text(tmp_path: Path) -> None:
    path = tmp_path / "g.grm"
    path.write_text('export NONE = ("a" | "[256]")*;\n')
    (tmp_path / "m.arpa").write_text(ARPA)
    done = call("convert", "--model", tmp_path / "m.arpa", "--to", path, input="a\n")
    assert done.code == 1 and "it rejects 'é'," in done.err


def test_witnesses_of_api_are_text() -> None:
    first, second = "ä".encode()
    arcs = [(0, first, EPS, 1), (1, second, first, 2), (1, second, first, 3)]
    fst = Fst.from_arcs([*arcs, (2, EPS, 0xB6, 4), (3, EPS, 0xBC, 4)], 0, [4])
    with pytest.raises(FstError, match="the input 'ä' has the outputs 'ö' and 'ü'"):
        fst_target(fst, "x")
    machine = Determinised(fst)
    with pytest.raises(FstError, match=r"two outputs, ending in '.*' and in '.*'"):
        machine.final(machine.step(machine.step(0, first)[0], second)[0])
    cycle = Fst.from_arcs([(0, first, EPS, 1), (1, second, EPS, 2), (2, EPS, 98, 2)], 0, [2])
    found = epsilon_output_cycle_witness(cycle)
    assert found is not None and found.startswith("after the input 'ä' the FST can write 'b'")


@pytest.fixture
def no_nul(tmp_path: Path) -> Path:
    path = tmp_path / "g.grm"
    path.write_text("import 'byte.grm' as b;\nexport G = Optimize[b.kBytes*];\n")
    return path


def test_a_target_that_lacks_nul_alone_gets_no_warning(no_nul: Path, tmp_path: Path) -> None:
    model = tmp_path / "m.arpa"
    model.write_text(ARPA)
    done = call("convert", "--model", model, "--to", no_nul, "--level", "text", input="aé\n")
    assert done.code == 0 and "NUL" not in done.err and "label 256" not in done.err
    row = done.rows()[0]
    # The token with NUL is out of the support: p(a) p(é) p(end) of the rest, and the column says
    # what that is in nats.
    rest = 1 - 10**-0.7 / (2 * 10**-0.5 + 2 * 10**-0.7)
    assert float(row["specials"]) == pytest.approx(-3 * math.log(rest), abs=1e-5)
    done = call("info", no_nul)
    assert (
        "total over all bytes\tyes, but for the byte NUL, which no arc reads (label 256)"
        in done.lines
    )


def test_a_text_with_nul_is_rejected_by_name(no_nul: Path, tmp_path: Path) -> None:
    model = tmp_path / "m.arpa"
    model.write_text(ARPA)
    done = call("convert", "--model", model, "--to", no_nul, input=b"a\0\n")
    assert done.code == 1 and "the byte NUL at offset 1" in done.err and "label 256" in done.err
    done = call("convert", "--model", model, "--to", no_nul, "--given", "target", input=b"a\0\n")
    assert (
        done.code == 0
        and "-inf from symbol 1 (\\x00) on: g.grm reads no NUL (label 256)" in done.err
    )


def test_what_lacks_more_than_nul_is_partial(tmp_path: Path) -> None:
    path = tmp_path / "g.grm"
    path.write_text("import 'byte.grm' as b;\nexport G = Optimize[(b.kBytes - \"z\")*];\n")
    line = next(line for line in call("info", path).lines if line.startswith("total"))
    assert line.startswith("total over all bytes\tno: rejects '")
