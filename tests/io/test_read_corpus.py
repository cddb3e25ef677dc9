"""Corpora with bad records: each is named, and reading goes on; it can begin anywhere."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmfst.ground.errors import InputError, UsageError
from lmfst.io import MAX_BYTES, Document, Rejected, read_corpus, read_documents

Short = tuple[int, str | None, object]


def read(path: Path, **options: Any) -> tuple[list[Document | Rejected], list[str]]:
    warnings: list[str] = []
    found = list(read_corpus(str(path), warn=warnings.append, **options))
    return found, [warning.removeprefix(f"{path.parent}/") for warning in warnings]


def short(path: Path, **options: Any) -> list[Short]:
    """(line, id, text or (reason, message without the folder)) of each record."""
    found: list[Short] = []
    for record in read(path, **options)[0]:
        assert record.file == str(path)
        if isinstance(record, Document):
            found.append((record.line, record.id, record.text))
        else:
            message = record.message.removeprefix(f"{path.parent}/")
            found.append((record.line, record.id, (record.reason, message)))
    return found


def made(tmp_path: Path, data: bytes | str, name: str) -> Path:
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


# --- what is wrong with a record -------------------------------------------------------------


def test_a_document_says_where_it_comes_from(tmp_path: Path) -> None:
    for name, data, lines in [
        ("a.txt", "x\n\ny\n", [1, 2, 3]),
        ("a.jsonl", '{"text": "x"}\n\n{"text": "y"}\n', [1, 3]),
        ("a.csv", 'text,b\nx,"1\n2"\ny,3\n', [2, 4]),
        ("a.tsv", "text\tb\nx\t1\n", [2]),
        ("a.fa", ">x\nA\nC\n>y\nA\n", [1, 4]),
    ]:
        path = made(tmp_path, data, name)
        found, _ = read(path)
        assert [(record.file, record.line) for record in found] == [(str(path), n) for n in lines]
        assert found == list(read_documents(str(path)))
    (whole,), _ = read(tmp_path / "a.txt", doc="file")
    assert (whole.file, whole.line) == (str(tmp_path / "a.txt"), 1)


def test_bad_json_lines(tmp_path: Path) -> None:
    lines: list[tuple[bytes, Short]] = [
        (b'{"text": "fine", "id": "a"}', (1, "a", b"fine")),
        (b"{", (2, None, ("undecodable", "bad JSON at column 1"))),
        (b'"text"', (3, None, ("undecodable", "expected a JSON object, found str"))),
        (b'{"text": "\xff"}', (4, None, ("undecodable", "expected UTF-8, found the byte 0xff"))),
        (b'{"id": "e"}', (5, "e", ("no_text", 'expected a string under "text", found none'))),
        (b'{"id": 6, "text": null}', (6, "6", ("no_text", "found null"))),
        (b'{"text": ["x"]}', (7, None, ("no_text", "found list"))),
        (b'{"text": "x", "id": 1.5}', (8, None, ("bad_id", 'under "id", found float'))),
        (b'{"text": "\\ud800", "id": "i"}', (9, "i", ("surrogate", "the lone surrogate"))),
        (b"[" * 100_000, (10, None, ("undecodable", "expected a JSON object"))),
        (b'{"text": "a", "text": "b"}', (11, None, ("undecodable", "the key 'text' twice"))),
        (b'{"text": "end"}', (12, "12", b"end")),
    ]
    path = made(tmp_path, b"\n".join(line for line, _ in lines), "x.jsonl")
    found = short(path)
    assert len(found) == len(lines)
    for (number, id, what), (_, (line, other, expected)) in zip(found, lines, strict=True):
        assert (number, id) == (line, other)
        if isinstance(what, tuple):
            assert isinstance(expected, tuple)
            assert what[0] == expected[0]
            assert what[1].startswith(f"x.jsonl:{number}: expected ") and expected[1] in what[1]
        else:
            assert what == expected


def test_bad_rows_of_tables(tmp_path: Path) -> None:
    path = made(
        tmp_path, 'id,text\n1,x\n2,y,z\n3\n\n4,"a"b\n5,"u\nv"\nc\rd,1\n6,"open\n7,w\n', "x.csv"
    )
    assert short(path) == [
        (2, "1", b"x"),
        (3, None, ("fields", "x.csv:3: expected 2 fields, as in the header, found 3")),
        (4, None, ("fields", "x.csv:4: expected 2 fields, as in the header, found 1")),
        (6, None, ("quotes", "x.csv:6: expected CSV: ',' expected after '\"'")),
        (7, "5", b"u\nv"),
        (
            9,
            None,
            (
                "quotes",
                "x.csv:9: a carriage return (CR) without a line feed stands in a field without "
                "quotes",
            ),
        ),
        (
            10,
            None,
            (
                "quotes",
                "x.csv:10: a quote that opens a field in this row is not closed by the end of the "
                "file",
            ),
        ),
    ]
    path = made(tmp_path, "text\tb\nx\t1\ny\nz\t2\n", "x.tsv")
    assert short(path) == [
        (2, "1", b"x"),
        (3, None, ("fields", "x.tsv:3: expected 2 fields, as in the header, found 1")),
        (4, "3", b"z"),
    ]


def test_bad_fasta_records(tmp_path: Path) -> None:
    assert short(made(tmp_path, ">a\nAC\n>\nAC\n>b\n>c d\nA\nC\n", "x.fa")) == [
        (1, "a", b"AC"),
        (3, None, ("no_name", "x.fa:3: expected a name after >, found none")),
        (5, "b", ("no_sequence", "x.fa:5: record 'b' has no sequence")),
        (6, "c d", b"AC"),
    ]


def test_names_may_repeat_in_a_corpus(tmp_path: Path) -> None:
    path = made(tmp_path, ">a\nAC\n>a\nGT\n", "x.fa")
    found, warnings = read(path)
    assert [record.id for record in found] == ["a", "a"] and warnings == []


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        (
            "x.txt",
            b"12345678\n123456789\n\n12345678\r\n1234567\r\n12345",
            [b"12345678", (2, "2", "a line", 9), b"", (4, "4", "a line", 9), b"1234567", b"12345"],
        ),
        (
            "x.jsonl",
            b'{"text": "123"}\n{"text": "1234567"}\n{"text": "1"}\n',
            [b"123", (2, None, "a line", 19), b"1"],
        ),
        (
            "x.csv",
            b'text,b\nxx,"12\n345"\nxxxx,"12\n345678"\n"\n\n\n",y\n,"12345678901234567890\n\n"\nz,1\n',
            [b"xx", (4, None, "a row", 15), b"\n\n\n", (10, None, "a row", 23), b"z"],
        ),
        ("x.tsv", b"text\tb\nx\t1\nx\t1234567890123\n\ty\n", [b"x", (3, None, "a row", 15), b""]),
        (
            "x.fa",
            b">a\nACACACAC\n>b\nACACAC\nACAC\nACAC\n>c\nACACACACACACACAC\n>d\nA C\n",
            [b"ACACACAC", (3, "b", "a record", 14), (7, "c", "a record", 16), b"AC"],
        ),
        ("x.fa", b">a\nA\n>" + b"b" * 99 + b"\nA\n", [b"A", (3, "b" * 10, "a record", 101)]),
    ],
)
def test_long_records(tmp_path: Path, name: str, data: bytes, expected: list[Any]) -> None:
    """Sizes are counted without the ends of lines, in files that are packed, too."""
    longest = {"x.txt": 8, "x.jsonl": 15, "x.csv": 12, "x.tsv": 12, "x.fa": 10}[name]
    for path in (
        made(tmp_path, data, name),
        made(tmp_path, gzip.compress(data), name + ".gz"),
    ):
        found = [
            what if isinstance(what, bytes) else (line, id, *what)
            for line, id, what in short(path, max_bytes=longest)
            if isinstance(what, bytes | tuple)
        ]
        assert found == [
            part
            if isinstance(part, bytes)
            else (
                part[0],
                part[1],
                "too_long",
                f"{path.name}:{part[0]}: expected {part[2]} of at most {longest} bytes, found "
                f"{part[3]}",
            )
            for part in expected
        ]


def test_a_long_row_whose_quote_is_never_closed(tmp_path: Path) -> None:
    path = made(tmp_path, 'text\na\n"' + "b\n" * 20 + "c\n", "x.csv")
    message = "x.csv:3: expected a row of at most 9 bytes, found 22"
    assert short(path, max_bytes=9) == [(2, "1", b"a"), (3, None, ("too_long", message))]


def test_a_long_file(tmp_path: Path) -> None:
    path = made(tmp_path, b"1234\n5678\n", "x.txt")
    assert short(path, doc="file", max_bytes=10) == [(1, str(path), b"1234\n5678\n")]
    for longest in (9, 3):
        message = f"x.txt:1: expected a file of at most {longest} bytes, found more"
        assert short(path, doc="file", max_bytes=longest) == [(1, str(path), ("too_long", message))]


def test_the_limit_is_16_mib(tmp_path: Path) -> None:
    path = made(tmp_path, b"x" * MAX_BYTES + b"\n" + b"y" * (MAX_BYTES + 1) + b"\nz", "x.txt")
    assert MAX_BYTES == 16 * 1024 * 1024
    found = short(path)
    assert [len(what) if isinstance(what, bytes) else what for _, _, what in found] == [
        MAX_BYTES,
        ("too_long", "x.txt:2: expected a line of at most 16,777,216 bytes, found 16,777,217"),
        1,
    ]


def test_a_long_line_is_never_held(tmp_path: Path) -> None:
    for name in ("x.txt", "x.jsonl.gz", "x.csv", "x.fa"):
        data = b'>text\n{"text": 1}\n' + b"x" * 100_000_000 + b"\n"
        path = made(tmp_path, gzip.compress(data, 1) if name.endswith("gz") else data, name)
        del data
        code = (
            "import resource, sys\n"
            "from lmfst.io import read_corpus\n"
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "found = list(read_corpus(sys.argv[1], max_bytes=1 << 20, text_column=sys.argv[2]))\n"
            "print(found[-1].reason, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
        )
        if name == "x.txt" or name == "x.fa":
            code = code.replace(", text_column=sys.argv[2]", "")
        done = subprocess.run(
            [sys.executable, "-c", code, str(path), ">text"],
            capture_output=True,
            text=True,
            check=True,
        )
        reason, grown = done.stdout.split()
        assert reason == "too_long" and int(grown) < 20_000  # KiB
        path.unlink()


# --- binary files ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "binary"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", True),
        (b"\x7fELF\x02\x01\x01\0" + b"\xff" * 100_000, True),
        (b"text\0 with NUL, in UTF-8: \xc3\xa9\n", False),
        (b"caf\xe9, no NUL\n", False),
        (b"a\0" + b"b" * 65533 + "é".encode() + b"\n", False),
        (b"a\0\n\xc3", True),
        (b"x" * 70_000 + b"\0\xff\n", False),
    ],
)
def test_binary_files_are_rejected_once(tmp_path: Path, data: bytes, binary: bool) -> None:
    path = made(tmp_path, data, "x")
    if binary:
        message = (
            "x:1: expected lines of text, found a binary file: it has NUL bytes and is no UTF-8"
        )
        assert short(path) == [(1, None, ("binary", message))]
        assert short(path, skip=1) == []
    else:
        assert read(path)[0] == list(read_documents(str(path)))
    path = made(tmp_path, gzip.compress(data), "x.gz")
    assert (getattr(read(path)[0][0], "reason", "") == "binary") == binary


# --- what is wrong with the file -------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.gz", gzip.compress(b"a\n" * 99, mtime=0)[:-3], "x.gz: expected complete gzip data"),
        ("x.zst", b"plain", "x.zst: expected complete zstd data"),
        ("x.txt", "\ufeffa\n".encode("utf-16-le"), "UTF-16"),
        ("x.csv", b"a,b\n1,2\n", "x.csv: expected a column 'text', the columns are 'a', 'b'"),
        ("x.csv", b"", "x.csv: expected a header line"),
        ("x.csv", b'"a"b,c\n', "x.csv:1: expected CSV"),
        ("x.tsv", b"x" * 2000 + b"\ta\n", "x.tsv:1: expected a row of at most 1,000 bytes"),
        ("x.fa", b"ACG\n", "x.fa:1: expected a FASTA header"),
        ("x.fa", b"A" * 2000 + b"\n", "x.fa:1: expected a FASTA header"),
        ("x.fa", b">a\nA\n>b\rA\n", "x.fa:3: a header has a carriage return"),
        ("x.fa", b">a\nA\n >b\nA\n", r"x.fa:3: white space stands before >.*\n.*sed"),
    ],
)
def test_what_is_wrong_with_the_whole_file(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read(made(tmp_path, data, name), max_bytes=1000)


def test_bad_arguments(tmp_path: Path) -> None:
    path = made(tmp_path, b"a\n", "x.txt")
    with pytest.raises(UsageError, match=r"can't be read twice.*\n.*write it to a file first"):
        read_corpus("-")
    for bad in ({"max_bytes": 0}, {"skip": -1}):
        with pytest.raises(UsageError, match="expected max_bytes from 1 on and skip from 0 on"):
            read(path, **bad)
    with pytest.raises(UsageError, match="--text-column and --id-column are those of tables"):
        read(path, text_column="t")
    with pytest.raises(InputError, match="expected a readable file"):
        read(tmp_path / "missing")


def test_an_empty_file_warns_but_not_where_all_is_skipped(tmp_path: Path) -> None:
    assert read(made(tmp_path, b"", "x.txt")) == (
        [],
        ["x.txt: the file is empty; there are no documents in it"],
    )
    assert read(made(tmp_path, b"a\n", "x.txt"), skip=1) == ([], [])


# --- going on --------------------------------------------------------------------------------

MESSY = {
    "x.txt": b"a\n\nb\r\nlong line here\n\xff\n" + b"c" * 50 + b"\nd",
    "x.jsonl": b'{"text": "a"}\n\n{\n{"text": 1}\n{"text": "' + b"b" * 50 + b'"}\n{"text": "c"}\n',
    "x.csv": b'text,b\na,1\nb\n\n"c\nd",2\n"' + b"e\n" * 50 + b'",3\nf,4\n"open\n',
    "x.tsv": b"text\tb\na\t1\nb\n" + b"c" * 50 + b"\nd\t2\n",
    "x.fa": b">a\nA\n>\nA\n>b\n>c\n" + b"A" * 50 + b"\n>d\nC\n",
}


@pytest.mark.parametrize("name", MESSY)
def test_reading_goes_on_after_any_number_of_records(tmp_path: Path, name: str) -> None:
    path = made(tmp_path, MESSY[name], name)
    everything, _ = read(path, max_bytes=40)
    assert any(isinstance(record, Rejected) for record in everything)
    assert len(everything) >= 4
    for skip in range(len(everything) + 2):
        assert read(path, max_bytes=40, skip=skip)[0] == everything[skip:]


def test_skipped_json_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path, b"{\n\n{\n" + b'{"text": "a"}\n', "x.jsonl")
    seen: list[str] = []
    from lmfst.io import json_lines

    loads = json_lines.loads
    monkeypatch.setattr(json_lines, "loads", lambda text, c: seen.append(text) or loads(text, c))
    assert [what for _, _, what in short(path, skip=2)] == [b"a"]
    assert seen == ['{"text": "a"}\n']


@given(st.binary(max_size=200), st.sampled_from(["line", "jsonl", "csv", "tsv", "file", "fasta"]))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, doc: str
) -> None:
    path = tmp_path_factory.mktemp("any") / "x"
    path.write_bytes(b"text,b\n" + data if doc == "csv" else data)
    try:
        found, _ = read(path, doc=doc, max_bytes=20)
    except InputError:
        return
    assert all(isinstance(record, Rejected) or len(record.text) <= 20 for record in found)
    for skip in (1, 3):
        assert read(path, doc=doc, max_bytes=20, skip=skip)[0] == found[skip:]


PIECES = [
    b"a",
    b",",
    b'"',
    b"\n",
    b"\r\n",
    b"\t",
    b">",
    b"\\",
    b'{"text": "x"}\n',
    b"\xff",
    b"{}\n",
]


@given(
    st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join),
    st.sampled_from(["line", "jsonl", "csv", "tsv", "file", "fasta"]),
)
@settings(max_examples=200, deadline=None)
def test_documents_are_those_before_the_first_bad_record(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, doc: Any
) -> None:
    path = tmp_path_factory.mktemp("same") / "x"
    path.write_bytes(
        {"csv": b"text,b\n", "tsv": b"text\tb\n", "fasta": b">a\n"}.get(doc, b"") + data
    )
    documents: list[Document] = []
    error = ""
    try:
        for document in read_documents(str(path), doc=doc, warn=lambda message: None):
            documents.append(document)
    except InputError as raised:
        error = str(raised)
    try:
        found, _ = read(path, doc=doc)
    except InputError:
        assert error
        return
    bad = next((at for at, record in enumerate(found) if isinstance(record, Rejected)), len(found))
    assert documents == found[:bad]
    if bad < len(found):
        first = found[bad]
        assert isinstance(first, Rejected) and error == str(
            InputError(first.message, hint=first.hint)
        )
    else:
        assert not error


def test_the_file_is_closed(tmp_path: Path) -> None:
    path = made(tmp_path, b"a\nb\n", "x.txt")
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    records = read_corpus(str(path))
    next(records)
    records.close()  # type: ignore[attr-defined]
    if before:
        assert len(os.listdir("/proc/self/fd")) == before
