"""Documents and rows through real files and pipes, good and bad."""

from __future__ import annotations

import gzip
import io
import json
import math
import os
import stat
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmfst.ground.errors import InputError, UsageError
from lmfst.io import Document, open_rows, read_documents
from lmfst.io.documents import DocMode
from lmfst.io.rows import RowFormat


def read(path: Path | str, doc: DocMode = "auto") -> tuple[list[Document], list[str]]:
    warnings: list[str] = []
    return list(read_documents(str(path), doc=doc, warn=warnings.append)), warnings


def texts(path: Path | str, doc: DocMode = "auto") -> list[bytes]:
    return [document.text for document in read(path, doc)[0]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "in.txt"


# --- lines -----------------------------------------------------------------------------------


def test_lines_are_documents(file: Path) -> None:
    file.write_bytes(b"one\n\nthree \x00\xff\xc3\n\tno newline at the end")
    documents, warnings = read(file)
    assert documents == [
        Document("1", b"one", f"{file}:1", file=str(file), line=1),
        Document("2", b"", f"{file}:2", file=str(file), line=2),
        Document("3", b"three \x00\xff\xc3", f"{file}:3", file=str(file), line=3),
        Document("4", b"\tno newline at the end", f"{file}:4", file=str(file), line=4),
    ]
    assert warnings == []


@given(st.lists(st.binary(max_size=9).filter(lambda b: b"\n" not in b and not b.endswith(b"\r"))))
@settings(max_examples=60, deadline=None)
def test_lines_come_back(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    lines = [b"-", *lines]  # a fixed first line: no byte-order mark, no gzip
    file = tmp_path_factory.mktemp("io") / "in"
    file.write_bytes(b"".join(line + b"\n" for line in lines))
    assert texts(file) == lines
    file.write_bytes(gzip.compress(file.read_bytes()))
    assert texts(file) == lines
    file.write_bytes(b"\r\n".join(lines))
    assert texts(file) == (lines if lines[-1] else lines[:-1])


def test_crlf_is_removed_with_one_warning(file: Path) -> None:
    file.write_bytes(b"a\nb\r\nc\rd\r\r\n\r\nlast\r")
    documents, warnings = read(file)
    assert [d.text for d in documents] == [b"a", b"b", b"c\rd\r", b"", b"last\r"]
    assert len(warnings) == 1
    assert f"{file}:2: CRLF" in warnings[0]


def test_byte_order_marks(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n")
    documents, warnings = read(file)
    assert [d.text for d in documents] == [b"a", b"\xef\xbb\xbfb"]
    assert len(warnings) == 1
    assert "byte-order mark" in warnings[0]
    for encoding in ("utf-16", "utf-16-be"):
        file.write_bytes("\ufeffword\n".encode(encoding))
        with pytest.raises(InputError, match=r"UTF-16\n.*iconv"):
            read(file)


@pytest.mark.parametrize("doc", ["line", "file", "jsonl"])
@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", gzip.compress(b"", mtime=0)])
def test_an_empty_file_has_no_documents(file: Path, doc: DocMode, content: bytes) -> None:
    file.write_bytes(content)
    documents, warnings = read(file, doc)
    assert documents == []
    assert "the file is empty" in warnings[-1]


def test_the_default_warning_is_a_python_warning(file: Path) -> None:
    file.write_bytes(b"")
    with pytest.warns(UserWarning, match="empty"):
        assert list(read_documents(str(file))) == []


def test_a_long_line(file: Path) -> None:
    line = b"x\x00" * 500_000
    file.write_bytes(line + b"\nnext\n")
    assert texts(file) == [line, b"next"]


# --- whole files, JSONL ----------------------------------------------------------------------


def test_a_file_is_a_document(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbfone\r\n\ntwo\xff\n")
    documents, warnings = read(file, "file")
    whole = b"one\r\n\ntwo\xff\n"
    assert documents == [Document(str(file), whole, str(file), form="file", file=str(file), line=1)]
    assert len(warnings) == 1


def test_jsonl(tmp_path: Path) -> None:
    lines = [
        '{"id": "x", "text": "é\\u0000\\n", "more": [1]}',
        "",
        '{"text": ""}',
        '{"id":7,"text":"a"}',
    ]
    content = "\r\n".join(lines).encode()
    for name, data in [("a.jsonl", content), ("b.jsonl.gz", gzip.compress(content))]:
        path = tmp_path / name
        path.write_bytes(data)
        documents, warnings = read(path)
        assert [(d.id, d.text) for d in documents] == [
            ("x", "é\0\n".encode()),
            ("3", b""),
            ("7", b"a"),
        ]
        assert documents[2].origin == f"{path}:4"
        assert warnings == []
    assert texts(tmp_path / "a.jsonl", "line")[1] == b""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"{", "bad JSON at column"),
        (b'"text"', "a JSON object, found str"),
        (b'{"id": "1"}', 'a string under "text", found none'),
        (b'{"text": 1}', 'a string under "text", found int'),
        (b'{"text": "", "id": 1.5}', '"id", found float'),
        (b'{"text": "", "id": true}', '"id", found bool'),
        (b'{"text": "\\ud800"}', r"lone surrogate '\\ud800'"),
        (b'{"text": "\xff"}', "the byte 0xff at column 11"),
        (b"[" * 100_000, "a JSON object"),
    ],
)
def test_bad_json_names_the_line(file: Path, line: bytes, expected: str) -> None:
    file.write_bytes(b'{"text": "fine"}\n' + line + b"\n")
    documents = read_documents(str(file), doc="jsonl")
    assert next(documents).text == b"fine"
    with pytest.raises(InputError, match=rf"in\.txt:2: expected .*{expected}"):
        next(documents)


# --- what can't be read ----------------------------------------------------------------------


def test_unreadable_places(tmp_path: Path, file: Path) -> None:
    for path in (str(tmp_path / "missing"), str(tmp_path), "nul\0"):
        with pytest.raises(InputError, match="expected a readable file"):
            read(path)
    with pytest.raises(UsageError, match="doc to be"):
        read_documents(str(file), doc=cast(Any, "paragraph"))


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_no_permission(file: Path) -> None:
    file.write_bytes(b"a\n")
    file.chmod(0)
    with pytest.raises(InputError, match="Permission denied"):
        read(file)


@pytest.mark.parametrize("keep", [2, 9, 30, -9, -1])
def test_damaged_gzip(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "in.gz"
    path.write_bytes(gzip.compress(os.urandom(100) + b"\n")[:keep])
    with pytest.raises(InputError, match=r"in\.gz: expected complete gzip data"):
        read(path)


def test_gzip_by_name_must_be_gzip(tmp_path: Path) -> None:
    path = tmp_path / "in.gz"
    for content in (b"", b"plain\n", gzip.compress(b"a\n") + b"tail"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="gzip"):
            read(path)
    path.write_bytes(gzip.compress(b"a\nb") + gzip.compress(b"c\n"))
    assert texts(path) == [b"a", b"bc"]


def test_a_lone_first_gzip_byte_is_text(file: Path) -> None:
    file.write_bytes(b"\x1f")
    assert texts(file) == [b"\x1f"]
    file.write_bytes(b"\x1f\n\x8b")
    assert texts(file) == [b"\x1f", b"\x8b"]


# --- pipes -----------------------------------------------------------------------------------

ECHO = """
import sys
from lmfst.io import open_rows, read_documents
with open_rows(None, "tsv", ["id", "text"]) as rows:
    for document in read_documents("-", warn=lambda message: print(message, file=sys.stderr)):
        rows.write({"id": document.id, "text": document.text.decode("latin-1")})
        rows.flush()
"""


@pytest.fixture
def echo() -> Iterator[subprocess.Popen[bytes]]:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", ECHO], stdin=pipe, stdout=pipe, stderr=pipe) as p:
        yield p
        p.kill()


def ends(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    return cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)


def test_each_line_passes_before_the_next_is_written(echo: subprocess.Popen[bytes]) -> None:
    source, rows = ends(echo)
    for number, text in enumerate([b"one", b"", b"\x1f", b"x" * 100_000], 1):
        source.write(text + b"\n")
        source.flush()
        if number == 1:
            assert rows.readline() == b"id\ttext\n"
        assert rows.readline() == b"%d\t%s\n" % (number, text)  # a held-back line would hang here
    out, err = echo.communicate(b"rest")
    assert (out, err, echo.returncode) == (b"5\trest\n", b"", 0)


def test_each_line_passes_through_gzip_as_it_arrives(echo: subprocess.Popen[bytes]) -> None:
    source, rows = ends(echo)
    packer = zlib.compressobj(wbits=31)
    for number in range(1, 4):
        data = packer.compress(b"line\n") + packer.flush(zlib.Z_SYNC_FLUSH)
        source.write(data[:1])
        source.flush()
        time.sleep(0.01)
        source.write(data[1:])
        source.flush()
        if number == 1:
            assert rows.readline() == b"id\ttext\n"
        assert rows.readline() == b"%d\tline\n" % number
    out, err = echo.communicate(packer.flush())
    assert (out, err, echo.returncode) == (b"", b"", 0)


def test_an_empty_pipe(echo: subprocess.Popen[bytes]) -> None:
    out, err = echo.communicate(b"")
    assert out == b"id\ttext\n"
    assert err.startswith(b"<stdin>: the file is empty")


def test_a_broken_pipe_propagates(echo: subprocess.Popen[bytes]) -> None:
    source, rows = ends(echo)
    rows.close()
    source.write(b"line\n" * 5)
    _, err = echo.communicate()
    assert b"BrokenPipeError" in err


# --- rows ------------------------------------------------------------------------------------

COLUMNS = ["id", "unit", "logp"]


def write(path: Path | str, fmt: RowFormat, *rows: dict[str, object]) -> None:
    with open_rows(str(path), fmt, COLUMNS) as writer:
        for row in rows:
            writer.write(row)


VALUES: list[tuple[object, str, object]] = [
    (None, "", None),
    ("a\tb\\\r\n\u2028é", "a\\tb\\\\\\r\\n\u2028é", "a\tb\\\r\n\u2028é"),
    (-3, "-3", -3),
    (np.int64(2**53), "9007199254740992", 2**53),
    (True, "true", True),
    (0.1, "0.1", 0.1),
    (1 / 3, "0.3333333333", 0.3333333333),
    (-0.0, "0", 0),
    (1e-7, "1e-07", 1e-7),
    (np.float32(0.5), "0.5", 0.5),
    (np.float64(-math.inf), "-inf", "-inf"),
    (math.inf, "inf", "inf"),
    (math.nan, "nan", "nan"),
    (["\t", None], '["\\\\t", null]', ["\t", None]),
    ({"p": -math.inf}, '{"p": "-inf"}', {"p": "-inf"}),
]


@pytest.mark.parametrize(("value", "tsv", "parsed"), VALUES)
def test_values(tmp_path: Path, value: object, tsv: str, parsed: object) -> None:
    write(tmp_path / "a.tsv", "tsv", {"id": "x", "unit": value})
    assert (tmp_path / "a.tsv").read_bytes() == f"id\tunit\tlogp\nx\t{tsv}\t\n".encode()
    write(tmp_path / "a.jsonl", "jsonl", {"id": "x", "unit": value})
    line = (tmp_path / "a.jsonl").read_bytes()
    assert line.count(b"\n") == 1
    record = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert record == {"id": "x", "unit": parsed, "logp": None}
    assert list(record) == COLUMNS


@given(st.text(alphabet=st.sampled_from("\\tnr\t\n\r\0é\U0001f600")))
@settings(max_examples=60, deadline=None)
def test_tsv_strings_can_be_read_back(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("io") / "a.tsv"
    write(path, "tsv", {"id": 1, "unit": text})
    cells = path.read_bytes().decode().split("\n")[1].split("\t")
    assert len(cells) == 3
    plain, parts = {"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}, iter(cells[1])
    assert "".join(plain[next(parts)] if c == "\\" else c for c in parts) == text


@pytest.mark.parametrize("form", ["tsv", "jsonl"])
def test_bytes_that_are_no_utf8_come_back(tmp_path: Path, form: RowFormat) -> None:
    data = bytes(range(256)) + "é\\udc80⊥".encode()
    path = tmp_path / f"a.{form}"
    with open_rows(str(path), form, ["id", "text"]) as writer:
        writer.write({"id": "1", "text": data.decode("utf-8", "surrogateescape")})
    (found,), _ = read(path)
    assert found.text == data


def test_undecodable_file_names_are_shown(tmp_path: Path) -> None:
    name = os.fsdecode(b"a\xff")
    write(tmp_path / "a.tsv", "tsv", {"id": name})
    assert b"\na\\udcff\t" in (tmp_path / "a.tsv").read_bytes()
    write(tmp_path / "a.jsonl", "jsonl", {"id": name})
    assert json.loads((tmp_path / "a.jsonl").read_bytes())["id"] == name


def test_rows_and_formats_are_checked(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="tsv, jsonl or parquet"):
        open_rows(None, cast(Any, "csv"), COLUMNS)
    with pytest.raises(UsageError, match=r"found \['surprise'\]"):
        write(tmp_path / "a", "tsv", {"surprise": 1})
    with pytest.raises(TypeError, match="found bytes"):
        write(tmp_path / "a", "jsonl", {"id": b""})
    assert list(tmp_path.iterdir()) == []


def test_files_appear_when_they_are_complete(tmp_path: Path) -> None:
    path = tmp_path / "out.tsv"
    path.write_text("before")
    path.chmod(0o640)
    writer = open_rows(str(path), "tsv", COLUMNS)
    writer.write({"id": 1})
    writer.flush()
    assert path.read_text() == "before"
    writer.close()
    writer.close()
    assert path.read_text() == "id\tunit\tlogp\n1\t\t\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_left_of_a_failed_run(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl.gz"

    def run(error: BaseException) -> None:
        with open_rows(str(path), "jsonl", COLUMNS) as writer:
            writer.write({"id": 1})
            raise error

    for error in (ValueError("stop"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            run(error)
        assert list(tmp_path.iterdir()) == []


def test_new_files_have_ordinary_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write(tmp_path / "ours", "tsv")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_gzip_output(tmp_path: Path) -> None:
    for name in ("a.tsv.gz", "b.tsv.gz"):
        write(tmp_path / name, "tsv", {"id": "é"})
        assert gzip.decompress((tmp_path / name).read_bytes()).decode() == "id\tunit\tlogp\né\t\t\n"
    assert (tmp_path / "a.tsv.gz").read_bytes() == (tmp_path / "b.tsv.gz").read_bytes()


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write(tmp_path / "link", "jsonl", {"id": 1})
    assert (tmp_path / "link").is_symlink()
    assert b'"id": 1' in (tmp_path / "real").read_bytes()


def test_devices_and_pipes_are_written_to_directly(tmp_path: Path) -> None:
    write(os.devnull, "tsv", {"id": 1})
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with subprocess.Popen(["cat", str(fifo)], stdout=subprocess.PIPE) as cat:
        with open_rows(str(fifo), "tsv", ["id"]) as writer:
            writer.write({"id": 1})
            writer.flush()
            assert [cast(IO[bytes], cat.stdout).readline() for _ in "12"] == [b"id\n", b"1\n"]
        assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "no" / "file"):
        with pytest.raises(InputError, match="expected a place to write to"):
            write(place, "tsv")


def test_standard_output_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    for path in (None, "-"):
        with open_rows(path, "jsonl", ["id"]) as writer:
            writer.write({"id": "é"})
    assert raw.getvalue().decode() == '{"id": "é"}\n' * 2
