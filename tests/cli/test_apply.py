"""`lmfst apply` on files of each kind: forms of output, rejected documents, weights."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from lmfst.fst import EPS, Fst, Symbols, write_openfst
from lmfst.target import relation
from tests.support.cli import COMMAND, call, environment

UPPER = {byte: byte - 32 if 97 <= byte <= 122 else byte for byte in range(1, 256)}


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    """Upper case; rejects q."""
    arcs = [(0, byte, out, 0) for byte, out in UPPER.items() if byte != ord("q")]
    path = tmp_path / "upper.fst"
    write_openfst(Fst.from_arcs(arcs, 0, [0]), path)
    return path


@pytest.fixture
def weighted(tmp_path: Path) -> Path:
    """a is written as x (2), y (0.5) or nothing (1), b as b."""
    text = tmp_path / "w.txt"
    text.write_text("0 0 97 120 2\n0 0 97 121 0.5\n0 0 97 0 1\n0 0 98 98\n0 0.25\n")
    path = tmp_path / "w.fst"
    done = call("compile", text, "-o", path)
    assert (done.code, done.err) == (0, "")
    return path


def table(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode("utf-8", "surrogateescape"), newline="")))


def test_csv_gives_the_same_csv_with_a_column(upper: Path) -> None:
    rows = [
        ["id", "text", "a, b"],
        ["1", 'x, "y"\r\nz', "café"],
        ["2", "", " "],
        ["3", "quit", "kept"],
        ["4", "last", '"'],
    ]
    held = io.StringIO(newline="")
    csv.writer(held).writerows(rows)
    done = call("apply", "--to", upper, "--doc", "csv", input=held.getvalue())
    outputs = ["output", 'X, "Y"\r\nZ', "", "", "LAST"]
    assert table(done.out) == [[*row, out] for row, out in zip(rows, outputs, strict=True)]
    assert done.code == 1
    assert "rejected: <stdin>:5: " in done.err and "1 of 4 documents have no output" in done.err


def test_a_carriage_return_in_a_field_of_csv_is_read_back() -> None:
    data = 'text,n\n"a\rb","\r"\n"c\r\nd\n",e\n'
    done = call("apply", "--to", "bytes", "--doc", "csv", input=data.encode())
    rows = [["text", "n", "output"], ["a\rb", "\r", "a\rb"], ["c\r\nd\n", "e", "c\r\nd\n"]]
    assert table(done.out) == rows and done.out.endswith(b'd\n"\n')
    again = call("apply", "--to", "bytes", "--doc", "csv", "-q", input=done.out)
    assert [row[:2] for row in table(again.out)] == [row[:2] for row in rows]


def test_outputs_with_tabs_and_line_ends(tmp_path: Path) -> None:
    arcs = [(0, 97, 10, 0), (0, 98, 9, 0), (0, 99, 92, 0), (0, 100, 13, 0), (0, 101, 233, 0)]
    write_openfst(Fst.from_arcs(arcs, 0, [0]), tmp_path / "ends.fst")
    path = tmp_path / "a\tb"
    path.write_bytes(b"abcde")
    options = ("apply", "--to", tmp_path / "ends.fst", "--input-mode", "byte")
    done = call(*options, "--all", "--doc", "file", path)
    folder, line = str(tmp_path).encode(), b"\\n\\t\\\\\\r\xe9"
    assert done.out == folder + b"/a\\tb\t" + line + b"\n" and done.err == ""
    done = call(*options, input=b"b\na\na\nb\n")
    assert done.out == b"\t\n\n\n\n\n\t\n" and done.err.count("line ends in it") == 1
    assert "<stdin>:2: the output has line ends in it" in done.err
    done = call(*options, "--doc", "file", path)
    assert done.out == b"\n\t\\\r\xe9\n" and done.err == ""


def test_weights_are_shown_without_the_noise_of_single_precision(tmp_path: Path) -> None:
    text = tmp_path / "w.txt"
    text.write_text("0 1 97 98 0.1\n1 0.2\n0 1 98 98 123456.79\n0 1 99 98 -0.2\n")
    path = tmp_path / "w.fst"
    assert call("compile", text, "-o", path).err == ""
    done = call("apply", "--to", path, "--all", input=b"a\nb\nc\n")
    assert [line.split("\t")[2] for line in done.lines] == ["0.3", "123456.99", "0"]
    data = b'{"text": "a"}\n'
    done = call("apply", "--to", path, "--all", "--doc", "jsonl", input=data)
    assert done.out == b'{"text": "a", "output": "b", "weight": 0.3}\n'


def test_tables_keep_their_bytes(upper: Path) -> None:
    data = b"text,output,n\nb\xe9,c\xe8,1\n"
    done = call("apply", "--to", upper, "--doc", "csv", input=data)
    assert done.code == 0 and done.out == b"text,input_output,n,output\nb\xe9,c\xe8,1,B\xe9\n"
    assert "'output' of the input is called 'input_output'" in done.err
    again = call(
        "apply",
        "--to",
        "bytes",
        "--doc",
        "csv",
        "--text-column",
        "output",
        "--quiet",
        input=b"text,output\na,B\n",
    )
    assert again.out == b"text,input_output,output\na,B,B\n"
    done = call("apply", "--to", upper, "--doc", "tsv", input='text\tn\na\\tb\t"\\\\\n')
    assert done.out == b'text\tn\toutput\na\\tb\t"\\\\\tA\\tB\n'
    done = call("apply", "--to", upper, "--doc", "csv", input="text,n\n")
    assert (done.code, done.out) == (0, b"text,n,output\n")


def test_json_lines_give_json_lines(upper: Path) -> None:
    lines = ['{"id": 7, "text": "a\\nb", "x": 0.12345678901234566}', '{"text": "q", "output": [1]}']
    done = call("apply", "--to", upper, "--doc", "jsonl", input="\n".join(lines))
    assert [json.loads(line) for line in done.lines] == [
        {"id": 7, "text": "a\nb", "x": 0.12345678901234566, "output": "A\nB"},
        {"text": "q", "input_output": [1], "output": None},
    ]
    assert done.code == 1


def test_fasta_gives_fasta(upper: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_bytes(
        b">one first  gene\n" + b"acgt" * 30 + b"a\r\n>two \xe9\nac\n>bad\nqa\n>x\nt\n"
    )
    done = call("apply", "--to", upper, path)
    sequence = b"ACGT" * 15
    assert done.out == (
        b">one first  gene\n%s\n%s\nA\n>two \xe9\nAC\n>x\nT\n" % (sequence, sequence)
    )
    assert done.code == 1 and "record 'bad'" in done.err and "1 of 4" in done.err
    other = tmp_path / "y.fa"
    other.write_bytes(b">three\na\n")
    both = call("apply", "--to", upper, other, other)
    assert both.code == 0 and both.out == b">three\nA\n>three\nA\n"
    every = call("apply", "--to", upper, "--all", other)
    assert every.out == b"three\tA\n"


def test_outputs_that_fasta_cannot_hold(tmp_path: Path) -> None:
    symbols = Symbols("symbols", {1: "Met", 2: "Lys"})
    fst = Fst.from_arcs([(0, 97, 1, 0), (0, 99, 2, 0), (0, 103, EPS, 0)], 0, [0], symbols)
    write_openfst(fst, tmp_path / "s.fst")
    done = call(
        "apply", "--to", tmp_path / "s.fst", "--doc", "fasta", input=">k\nac\n>l\na\n>m\ng\n"
    )
    assert done.code == 1 and done.out == b">l\nMet\n>m\n"
    assert "record 'k': the output has white space" in done.err and "--all" in done.err
    assert "record 'm': the output is empty" in done.err


def test_kinds_that_cannot_be_one_output(upper: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,n\na,1\n")
    (tmp_path / "b.csv").write_text("n,text\n1,a\n")
    (tmp_path / "c.txt").write_text("a\n")
    for other, message in [("b.csv", "different columns"), ("c.txt", "different kinds")]:
        done = call("apply", "--to", upper, tmp_path / "a.csv", tmp_path / other)
        assert done.code == 2 and message in done.err
    done = call("apply", "--to", upper, tmp_path / "a.csv", tmp_path / "a.csv")
    assert done.out == b"text,n,output\na,1,A\na,1,A\n"


def test_rejected_lines_keep_their_place(upper: Path) -> None:
    done = call("apply", "--to", upper, input=b"a\nq\n\nbq\nc\n")
    assert (done.code, done.out) == (1, b"A\n\n\n\nC\n")
    said = [line for line in done.err.splitlines() if line.startswith("lmfst: ")]
    assert [line[:28] for line in said[:2]] == [
        "lmfst: rejected: <stdin>:2: ",
        "lmfst: rejected: <stdin>:4: ",
    ]
    assert said[2:] == ["lmfst: error: 2 of 5 documents have no output"]
    assert done.err.count("hint: extend the transducer") == 1
    assert "with the first byte of" in said[0] and "with the first 2 bytes of" in said[1]
    quiet = call("apply", "--to", upper, "--quiet", input=b"a\nq\n\nbq\nc\n")
    assert (quiet.out, quiet.err) == (done.out, done.err)
    strict = call("apply", "--to", upper, "--strict", input=b"a\nq\nc\n")
    assert (strict.code, strict.out) == (1, b"A\n") and "error: <stdin>:2: " in strict.err


def test_documents_that_take_too_much_are_rejected_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listing stops at a limit of steps, which is the affair of one document."""
    least = partial(relation.apply_all, max_steps=50_000)
    monkeypatch.setattr(relation, "apply_all", least)
    arcs = [(0, 97, out, 0) for out in (120, 121)] + [(0, 98, 98, 0)]
    write_openfst(Fst.from_arcs(arcs, 0, [0]), tmp_path / "many.fst")
    data = b"a" * 40 + b"\nb\n"
    done = call("apply", "--to", tmp_path / "many.fst", "--all", input=data)
    assert done.code == 1 and done.out == b"2\tb\n"
    assert "rejected: <stdin>:1: more than 50000 configurations" in done.err


def test_best_and_all_by_weights(weighted: Path) -> None:
    best = call("apply", "--to", weighted, "--best", input=b"ab\naa\nc\n")
    assert (best.code, best.out) == (1, b"yb\nyy\n\n") and "weights" not in best.err
    every = call("apply", "--to", weighted, "--all", input=b"ab\n")
    assert every.out == b"1\tb\t1.25\n1\txb\t2.25\n1\tyb\t0.75\n" and every.err == ""
    done = call("apply", "--to", weighted, "--all", "--doc", "csv", input=b"text,n\na,1\nc,2\n")
    assert done.out == b"text,n,output,weight\na,1,,1.25\na,1,x,2.25\na,1,y,0.75\n"
    done = call("apply", "--to", weighted, "--all", "--doc", "jsonl", input=b'{"text": "b"}\n')
    assert json.loads(done.out) == {"text": "b", "output": "b", "weight": 0.25}
    inverse = call("apply", "--to", weighted, "--best", "--invert", input=b"yb\nz\n")
    assert (inverse.code, inverse.out) == (1, b"ab\n\n")
    inverse = call("apply", "--to", weighted, "--all", "--invert", "--limit", "3", input=b"b\n")
    assert inverse.lines[0] == "1\tb\t0.25"
    assert sorted(inverse.lines[1:]) == ["1\tab\t1.25", "1\tba\t1.25"]
    both = call("apply", "--to", weighted, "--all", "--best", input=b"a\n")
    assert both.code == 2 and "--best takes one" in both.err


def test_best_without_weights(tmp_path: Path) -> None:
    fst = Fst.from_arcs([(0, 97, 121, 1), (0, 97, 120, 1), (1, EPS, 122, 1)], 0, [1])
    write_openfst(fst, tmp_path / "t.fst")
    assert call("apply", "--to", tmp_path / "t.fst", "--best", input=b"a\n").out == b"x\n"
    assert call("apply", "--to", "chars", "--best", input=b"a\n").out == b"a\n"
    write_openfst(Fst.from_arcs([(0, 97, 121, 0), (0, 97, 120, 0)], 0, [0]), tmp_path / "t.fst")
    plain = call("apply", "--to", tmp_path / "t.fst", input=b"a\n")
    assert plain.code == 1 and "--best" in plain.err


def test_rows_go_on_one_by_one(upper: Path) -> None:
    pipe = subprocess.PIPE
    command = [*COMMAND, "apply", "--to", str(upper), "--doc", "csv"]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment()) as process:
        source, rows = cast(Any, process.stdin), cast(Any, process.stdout)
        for data, shown in [
            (b"text,n\n", b"text,n,output\n"),
            (b"a,1\n", b"a,1,A\n"),
            (b"b,2\n", b"b,2,B\n"),
        ]:
            source.write(data)
            source.flush()
            assert rows.readline() == shown  # a row that is held back would hang here
        source.close()
