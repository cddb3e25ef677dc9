"""Tables, and what stands beside the text of a document: read, passed on, and written again."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmfst.ground.errors import InputError, UsageError
from lmfst.io import Document, open_rows, read_documents
from lmfst.io.lines import likeness
from lmfst.io.row_writer import names_beside


def read(path: Path, **options: Any) -> tuple[list[Document], list[str]]:
    warnings: list[str] = []
    found = list(read_documents(str(path), warn=warnings.append, **options))
    return found, [warning.removeprefix(f"{path.parent}/") for warning in warnings]


def made(tmp_path: Path, data: bytes | str, name: str = "x.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


# --- reading ---------------------------------------------------------------------------------


def test_rows_of_csv_are_documents(tmp_path: Path) -> None:
    data = 'id,text,note\r\na,"one, ""two""\r\nthree",x\r\nb,,"y\nz"\r\n\r\n'
    for name, content in [("x.csv", data.encode()), ("x.csv.gz", gzip.compress(data.encode()))]:
        path = made(tmp_path, content, name)
        found, warnings = read(path)
        assert [(d.id, d.text, d.origin.removeprefix(str(path)), d.extra) for d in found] == [
            ("a", b'one, "two"\r\nthree', ":2", {"note": "x"}),
            ("b", b"", ":4", {"note": "y\nz"}),
        ]
        assert list(found[0].row) == ["id", "text", "note"] and found[0].form == "csv"
        assert warnings == [f"{name}:6: an empty line is no row of the table; it is left out"]


def test_columns_by_name_and_by_default(tmp_path: Path) -> None:
    path = made(tmp_path, "sentence,text,item\nS,T,I\nS2,T2,I2\n")
    found, warnings = read(path, text_column="sentence", id_column="item")
    assert [(d.id, d.text, d.extra) for d in found] == [
        ("I", b"S", {"text": "T"}),
        ("I2", b"S2", {"text": "T2"}),
    ]
    found, _ = read(path)
    assert [(d.id, d.text) for d in found] == [("1", b"T"), ("2", b"T2")] and warnings == []
    unnamed, _ = read(made(tmp_path, ",text\n0,a\n"))
    assert [(d.id, d.text, d.extra) for d in unnamed] == [("1", b"a", {"": "0"})]
    unnamed, _ = read(made(tmp_path, ",text\n0,a\n"), id_column="")
    assert [(d.id, d.text, d.extra) for d in unnamed] == [("0", b"a", {})]
    one, _ = read(made(tmp_path, "text\na\n\nb\n"))
    assert [(d.id, d.text) for d in one] == [("1", b"a"), ("2", b""), ("3", b"b")]


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ("a,b\n1,2\n", {}, r"x.csv: expected a column 'text', the columns are 'a', 'b'\n.*--text"),
        ("text,b\n1,2\n", {"id_column": "i"}, r"a column 'i', the columns are 'text', 'b'\n.*--id"),
        ("text;b\n1;2\n", {}, r"'text;b'\n.*fields seem to be separated by ';': save the"),
        ("text\tb\n1\t2\n", {}, r"fields seem to be separated by '\\t': use --doc tsv"),
        ("", {}, "x.csv: expected a header line"),
        ("\ntext,b\n1,2\n", {}, "x.csv:1: expected a header line .* found an empty line"),
        ("text,b\n1,2\n1,2,3\n", {}, "x.csv:3: expected 2 fields, as in the header, found 3"),
        ("text,b\n1\n", {}, "x.csv:2: expected 2 fields, as in the header, found 1"),
        ("text,b,text\n1,2,3\n", {}, "x.csv:1: .*columns 1 and 3 are both called 'text'"),
        ("text,,\n1,2,3\n", {}, "x.csv:1: .*columns 2 and 3 have no name"),
        (b"text,caf\xe9\n1,2\n", {}, "x.csv:1: the byte 0xe9 is no UTF-8: expected a header in"),
        ('text,b\n1,2\n"open,2\n3,4\n', {}, "x.csv:3: a quote that opens a field in this row"),
        ('text,b\n1,2\n"a"b,2\n', {}, "x.csv:3: expected CSV"),
        ("text,b\n1,a\rb\n", {}, r"x.csv:2: a carriage return"),
        ("sep=,\ntext,b\n1,2\n", {}, r"x.csv:1: .* tells Excel the separator[^$]*delete this"),
        ("sep=;\ntext;b\n1;2\n", {}, r"x.csv:1: .* tells Excel the separator"),
        ("id, text\n1,2\n", {}, r"'id', ' text'\n.*rename the column ' text', or name one"),
        ("id,Text\n1,2\n", {}, r"'id', 'Text'\n.*rename the column 'Text', or name one"),
        ("text,b\n1,2\n".encode("utf-16-le"), {}, "x.csv:1: .*NUL bytes.*UTF-16\n.*iconv"),
        ("\ufefftext,b\n1,2\n".encode("utf-16-le"), {}, "byte-order mark of UTF-16"),
    ],
)
def test_bad_tables(
    tmp_path: Path, data: bytes | str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read(made(tmp_path, data), **options)


def test_a_byte_order_mark_and_bytes_that_are_no_utf8(tmp_path: Path) -> None:
    found, warnings = read(made(tmp_path, b"\xef\xbb\xbftext,b\ncaf\xe9,\xe8\n\xea,1\n"))
    assert [(d.text, d.extra) for d in found] == [
        (b"caf\xe9", {"b": "\\xe8"}),
        (b"\xea", {"b": "1"}),
    ]
    assert "byte-order mark" in warnings[0]
    assert warnings[1].startswith("x.csv:2: the byte 0xe9 is no UTF-8: such bytes are taken as")
    assert len(warnings) == 2


def test_a_header_without_rows(tmp_path: Path) -> None:
    heard: list[Any] = []
    found, warnings = read(
        made(tmp_path, "text,b\n"), header=lambda form, columns: heard.append((form, columns))
    )
    assert not found and heard == [("csv", ["text", "b"])]
    assert warnings == ["x.csv: there are no rows after the header; there are no documents in it"]


def test_long_fields(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    found, _ = read(made(tmp_path, f'text\n"{"x," * 200_000}"\n'))
    assert len(found[0].text) == 400_000 and csv.field_size_limit() == limit


@given(st.lists(st.tuples(st.text(max_size=5), st.text('",\r\n\ta é', max_size=5))))
@settings(max_examples=60, deadline=None)
def test_what_the_csv_module_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str]]
) -> None:
    held = io.StringIO(newline="")
    writer = csv.writer(held)
    writer.writerows([("text", "b"), *cells])
    path = made(tmp_path_factory.mktemp("csv"), held.getvalue().encode("utf-8", "surrogatepass"))
    found, _ = read(path)
    assert [(d.text.decode("utf-8", "surrogatepass"), d.extra["b"]) for d in found] == cells


def test_tsv_has_escapes_and_no_quotes(tmp_path: Path) -> None:
    path = made(tmp_path, 'id\ttext\tb\r\n1\t"a\t\\t\\n\\r\\\\n\\x\r\n2\t"q"\t\r\n', "x.tsv")
    found, warnings = read(path)
    assert [(d.id, d.text, d.extra["b"]) for d in found] == [
        ("1", b'"a', "\t\n\r\\n\\x"),
        ("2", b'"q"', ""),
    ]
    assert [w.split(": ")[0] for w in warnings] == ["x.tsv:2", "x.tsv:3"]
    assert "are read as tab" in warnings[0] and "quotes, which are text in TSV" in warnings[1]
    with pytest.raises(InputError, match=r"x.tsv:2: expected 2 fields.*found 1\n.*quotes don't"):
        read(made(tmp_path, 'text\tb\n"a\nb"\tc\n', "x.tsv"))


@given(st.lists(st.text(st.sampled_from('\\tnr\t\n\r"\0é,x'), min_size=1), min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_own_tsv_is_read(tmp_path_factory: pytest.TempPathFactory, cells: list[str]) -> None:
    path = tmp_path_factory.mktemp("tsv") / "x.tsv"
    with open_rows(str(path), "tsv", ["id", "text"]) as rows:
        for cell in cells:
            rows.write({"id": cell, "text": cell}, {"more": cell})
    found, _ = read(path)
    assert [(d.id, d.text.decode(), d.extra) for d in found] == [
        (cell, cell, {"more": cell}) for cell in cells
    ]


def test_keys_of_json_lines(tmp_path: Path) -> None:
    path = made(tmp_path, '{"n": 1, "s": "a", "x": [0.5]}\n{"n": "b", "s": ""}\n', "x.jsonl")
    found, _ = read(path, text_column="s", id_column="n")
    assert [(d.id, d.text, d.extra) for d in found] == [("1", b"a", {"x": [0.5]}), ("b", b"", {})]
    with pytest.raises(InputError, match="'n', 's', 'x': name the one of the text with --text-col"):
        read(path)
    with pytest.raises(InputError, match='string or an integer under "x", found list'):
        read(path, text_column="s", id_column="x")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": null}', 'a string under "text", found null\n'),
        ('{"texts": "a"}', 'a string under "text", found none\n'),
        ('{"text": 0.5}', 'a string under "text", found float\n'),
        ('{"id": null, "text": "a"}', 'under "id", found null'),
        ('{"text": "a", "text": "b"}', "found the key 'text' twice"),
        ('{"text": "a", "x": {"b": 1, "b": 2}}', "found the key 'b' twice"),
    ],
)
def test_bad_keys_of_json_lines(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(made(tmp_path, line, "x.jsonl"))


def test_numbers_of_json_keep_their_digits(tmp_path: Path) -> None:
    numbers = '"a": 1e400, "b": [0.10, -1E-7], "c": {"d": 3.14159265358979323846}'
    path = made(tmp_path, f'{{"text": "x", {numbers}}}\n', "x.jsonl")
    ((document,), warnings) = read(path)
    assert warnings == [] and document.extra["b"] == [0.1, -1e-7]
    for fmt, expected in [
        ("jsonl", f'{{"id": 1, {numbers}}}\n'),
        ("tsv", 'id\ta\tb\tc\n1\t1e400\t[0.10, -1E-7]\t{"d": 3.14159265358979323846}\n'),
    ]:
        with open_rows(str(tmp_path / "out"), cast(Any, fmt), ["id"]) as rows:
            rows.write({"id": 1}, document.extra)
        assert (tmp_path / "out").read_text() == expected
    ((document,), warnings) = read(made(tmp_path, '{"text": "x", "a": NaN}', "x.jsonl"))
    assert warnings == ["x.jsonl:1: NaN is no number of JSON; it is passed on as a text"]


def test_suffixes_in_capitals(tmp_path: Path) -> None:
    packed = gzip.compress(b"text,n\na,1\n")
    found, warnings = read(made(tmp_path, packed, "X.CSV.GZ"))
    assert [(d.text, d.form) for d in found] == [(b"a", "csv")] and warnings == []
    with pytest.raises(InputError, match="complete gzip data"):
        read(made(tmp_path, b"text,n\na,1\n", "X.CSV.GZ"))


def test_columns_where_there_are_none(tmp_path: Path) -> None:
    for doc in ("auto", "line", "file", "fasta"):
        with pytest.raises(UsageError, match=r"those of tables and JSON lines[^$]*--doc csv"):
            read_documents(str(tmp_path / "x.txt"), doc=cast(Any, doc), text_column="a")


def test_rows_come_as_they_are_complete(tmp_path: Path) -> None:
    code = (
        "from lmfst.io import read_documents\n"
        "for d in read_documents('-', doc='csv'):\n    print(d.text, flush=True)"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe) as process:
        source, rows = cast(Any, process.stdin), cast(Any, process.stdout)
        for data, shown in [(b'text\n"a\n', b""), (b'b"\n', b"b'a\\nb'\n"), (b"c\n", b"b'c'\n")]:
            source.write(data)
            source.flush()
            if shown:
                assert rows.readline() == shown  # a row that is held back would hang here
        source.close()


# --- line ends, and lines that are something else --------------------------------------------


def test_files_whose_lines_end_with_cr(tmp_path: Path) -> None:
    for name, data, expected in [
        ("x.txt", b"one\rtwo\r\rfour\r", [b"one", b"two", b"", b"four"]),
        ("x.txt", b"one\rtwo\rthree", [b"one", b"two", b"three"]),
        ("x.csv", b"id,text\r1,one\r", [b"one"]),
        ("x.csv", b'id,text\r1,"one\rtwo"\r2,b', [b"one\ntwo", b"b"]),
        ("x.tsv", b"text\tb\rone\t\rtwo\t\r", [b"one", b"two"]),
        ("x.jsonl", b'{"text": "one"}\r{"text": "two"}\r', [b"one", b"two"]),
        ("x.fa", b">a\rAC\rGT\r>b\rA\r", [b"ACGT", b"A"]),
    ]:
        found, warnings = read(made(tmp_path, data, name))
        assert [d.text for d in found] == expected, name
        assert len(warnings) == 1 and "no line feed (LF)" in warnings[0]


def test_carriage_returns_that_are_text(tmp_path: Path) -> None:
    for data, expected, warned in [
        (b"a\rb", [b"a\rb"], True),
        (b"ab\r", [b"ab\r"], True),
        (b"1%\r2%\r3%\n", [b"1%\r2%\r3%"], True),
        (b"a\nb\rc\rd\n", [b"a", b"b\rc\rd"], False),
        (b"a\nb\r", [b"a", b"b\r"], False),
    ]:
        found, warnings = read(made(tmp_path, data, "x.txt"))
        assert [d.text for d in found] == expected
        assert any("taken as text" in w and "tr '\\r' '\\n'" in w for w in warnings) == warned
        assert len(warnings) == warned


def test_mixed_line_ends_in_fasta(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x.fa:1: a header has a carriage return[^$]*tr '"):
        read(made(tmp_path, b">a\rAC\n>b\nA\n", "x.fa"))


@pytest.mark.parametrize(
    ("data", "option"),
    [
        (b'id,text\n1,"a, b"\n', "--doc csv --text-column NAME"),
        (b',sentence\r\n0,"a\r\nb"\r\n', "--doc csv --text-column NAME"),
        (b"item;text\n1;a\n", "save it with commas and use --doc csv --text-column NAME"),
        (b"item\ttext\n1\ta\n", "--doc tsv --text-column NAME"),
        (b'{"text": "a"}\n{"text": "b"}\n', "--doc jsonl"),
        (b">sp|P01308\nMALWMRLLPL\n", "--doc fasta"),
        (b"id, text, x\n1, a, b\n", "(id, text, x); if it is one, use --doc csv"),
        (b"What is your name?,Age\nBob,20\n", "(What is your name?, Age); if it is one, use"),
        (b"id|text\n1|a\n", "save it with commas and use --doc csv"),
    ],
)
def test_lines_that_look_like_something_else(tmp_path: Path, data: bytes, option: str) -> None:
    found, warnings = read(made(tmp_path, data, "x.txt"))
    assert len(found) >= 2
    assert [w for w in warnings if option in w and w.startswith("x.txt:1: ")]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (b"One, two, three\n", b"Four, five, six\n"),
        (b"Berlin,1989\n", b"Paris,1968\n"),
        (b"id,text\n", b"and then some prose\n"),
        (b"Hello.\n", b"World.\n"),
        (b"a,a\n", b"b,c\n"),
        (b"Hallo,Welt\n", b"Ich bin hier, aber du nicht\n"),
        (b">Hello\n", b"World\n"),
        (b"apples, pears\n", b"milk, eggs\n"),
        (b"yes|no\n", b"maybe|so\n"),
        (b"> quoted mail\n", b"> of two lines\n"),
        (b"\xff,b\n", b"1,2\n"),
        (b"{brackets}\n", b"{and more}\n"),
    ],
)
def test_lines_that_are_prose(first: bytes, second: bytes) -> None:
    assert likeness(first, second) == ""


@pytest.mark.parametrize(
    "data", [b'{"text": "a"}\n{"text": "b"}\n', b"id,text\n1,a\n", b">one\nACGT\n"]
)
def test_a_likeness_is_said_before_the_first_line_is_worked_on(tmp_path: Path, data: bytes) -> None:
    path, said = made(tmp_path, data, "x.txt"), list[str]()
    lines = read_documents(str(path), warn=said.append)
    assert next(lines).text == data.split(b"\n")[0] and "looks like" in said[0]
    assert [d.origin for d in lines] == [f"{path}:2"] and len(said) == 1
    (alone,), said = read(made(tmp_path, b"id,text\n", "x.txt"))
    assert alone.text == b"id,text" and said == []


def test_a_pipe_is_not_held_back_by_a_line_like_a_header() -> None:
    code = (
        "from lmfst.io import read_documents\n"
        "for d in read_documents('-'):\n    print(d.id, flush=True)"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe) as process:
        source, rows = cast(Any, process.stdin), cast(Any, process.stdout)
        source.write(b"id,text\n")
        source.flush()
        assert rows.readline() == b"1\n"  # a line that is held back would hang here
        source.close()


# --- beside rows -----------------------------------------------------------------------------


def test_names_beside_own_columns() -> None:
    assert names_beside(["id", "logp"], ["a", "logp", "input_logp", "id"]) == {
        "a": "a",
        "logp": "input_input_logp",
        "input_logp": "input_logp",
        "id": "input_id",
    }


def test_what_is_passed_on(tmp_path: Path) -> None:
    passed = [
        {"logp": 0.12345678901234566, "t": "a\tb", "n": None},
        {"t": "\\", "more": {"k": [1, math.inf]}, "logp": True},
    ]
    warnings: list[str] = []
    for fmt in ("tsv", "jsonl"):
        path = tmp_path / f"a.{fmt}"
        with open_rows(str(path), cast(Any, fmt), ["id", "logp"], warn=warnings.append) as rows:
            for number, beside in enumerate(passed):
                rows.write({"id": number, "logp": -1.0}, beside)
        lines = path.read_text().splitlines()
        if fmt == "tsv":
            assert lines == [
                "id\tlogp\tinput_logp\tt\tn",
                "0\t-1\t0.12345678901234566\ta\\tb\t",
                "1\t-1\ttrue\t\\\\\t",
            ]
            assert len(warnings) == 2 and "'more' is left out" in warnings[1]
            assert "'logp' of the input is called 'input_logp'" in warnings[0]
        else:
            assert [json.loads(line) for line in lines] == [
                {"id": 0, "logp": -1, "input_logp": 0.12345678901234566, "t": "a\tb", "n": None},
                {"id": 1, "logp": -1, "t": "\\", "more": {"k": [1, "inf"]}, "input_logp": True},
            ]


UNITS = ['"', "NA", "\\t", "", "inf", "nan", 'a"b', '"q"', "None", "1", "T", "\\\\", "é", "#", " "]


def test_pandas_reads_rows_by_the_lines_of_the_readme(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    notes = ["NA", '"x\n\ty"', "", "007", "\\"]
    for fmt in ("tsv", "jsonl"):
        columns = ["id", "index", "unit", "logp", "stderr"]
        path = tmp_path / f"rows.{fmt}"
        with open_rows(str(path), cast(Any, fmt), columns, escaped=["unit"]) as writer:
            for index, unit in enumerate(UNITS):
                logp = -math.inf if index == 3 else -index / 3
                stderr = None if index % 2 else 0.5
                row = {"index": index, "unit": unit, "logp": logp, "stderr": stderr}
                writer.write({"id": f"0{index}\t", **row}, {"note": notes[index % 5]})
    root = next(up for up in Path(__file__).resolve().parents if (up / "pyproject.toml").exists())
    page = (root / "docs" / "how-to" / "tables.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"<!-- pandas -->\n```py\n(.*?)```", page, re.DOTALL)
    snippet = snippet.replace('"rows.tsv"', repr(str(tmp_path / "rows.tsv")))
    held: dict[str, Any] = {}
    exec(compile(snippet.replace('"label"', '"note"'), "tables.md", "exec"), held)
    found = held["rows"]
    assert list(found.columns) == [*columns, "note"]
    expected = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert len(found) == len(expected)
    for (_, row), line in zip(found.iterrows(), expected, strict=True):
        assert (row["id"], row["unit"], row["note"]) == (line["id"], line["unit"], line["note"])
        assert (row["index"], row["logp"]) == (line["index"], float(line["logp"]))
        assert row["stderr"] == line["stderr"] or (
            math.isnan(row["stderr"]) and line["stderr"] is None
        )
