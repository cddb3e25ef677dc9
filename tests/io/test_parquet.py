"""Documents out of Parquet."""

from __future__ import annotations

import datetime
import decimal
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lmfst.ground.errors import InputError, UsageError
from lmfst.io import Document, Output, OutputWriter, Rejected, read_corpus, read_documents
from lmfst.io.json_text import dumps


def made(tmp_path: Path, columns: Any, name: str = "x.parquet", **options: Any) -> Path:
    path = tmp_path / name
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    pq.write_table(table, path, **options)
    return path


def read(path: Path, **options: Any) -> list[Document]:
    return list(read_documents(str(path), **options))


def test_rows_are_documents(tmp_path: Path) -> None:
    path = made(tmp_path, {"id": ["a", "é"], "text": ["one\0", ""], "n": [1, None]})
    assert read(path) == [
        Document(
            "a",
            b"one\0",
            f"{path}:1",
            form="parquet",
            row={"id": "a", "text": "one\0", "n": 1},
            extra={"n": 1},
            file=str(path),
            line=1,
        ),
        Document(
            "é",
            b"",
            f"{path}:2",
            form="parquet",
            row={"id": "é", "text": "", "n": None},
            extra={"n": None},
            file=str(path),
            line=2,
        ),
    ]
    path = path.rename(tmp_path / "other")
    assert [document.id for document in read(path, doc="parquet")] == ["a", "é"]


def test_columns_are_chosen_as_those_of_tables(tmp_path: Path) -> None:
    path = made(tmp_path, {"sentence": ["x"], "item": [7], "text": ["t"]})
    (found,) = read(path, text_column="sentence", id_column="item")
    assert (found.id, found.text, found.extra) == ("7", b"x", {"text": "t"})
    (found,) = read(path)
    assert (found.id, found.text) == ("1", b"t")


@pytest.mark.parametrize(
    "type",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.binary(),
        pa.large_binary(),
        pa.binary(3),
        pa.dictionary(pa.int32(), pa.string()),
    ],
    ids=str,
)
def test_types_of_text(tmp_path: Path, type: Any) -> None:
    path = made(tmp_path, {"text": pa.array(["one", "two"]).cast(type)})
    assert [document.text for document in read(path)] == [b"one", b"two"]
    path = made(tmp_path, {"id": pa.array(["one", "two"]).cast(type), "text": ["x", "y"]})
    assert [document.id for document in read(path)] == ["one", "two"]


def test_text_need_not_be_utf8(tmp_path: Path) -> None:
    strange = pa.array([b"caf\xe9"]).view(pa.string())
    path = made(tmp_path, {"text": strange, "more": strange, "bytes": [b"\xff"]})
    (found,) = read(path)
    assert (found.text, found.extra) == (b"caf\xe9", {"more": "caf\\xe9", "bytes": "\\xff"})
    assert found.row["text"] == "caf\udce9"


UTC = datetime.UTC
ZERO = "00:00:00+00:00"
VALUES: list[tuple[Any, Any, str]] = [
    (2**53 + 1, pa.int64(), "9007199254740993"),
    (2**64 - 1, pa.uint64(), "18446744073709551615"),
    (0.1, pa.float64(), "0.1"),
    (True, pa.bool_(), "true"),
    (decimal.Decimal("1.10000000000000000001"), pa.decimal128(30, 20), "1.10000000000000000001"),
    (datetime.date(2020, 1, 2), pa.date32(), '"2020-01-02"'),
    (datetime.time(1, 2, 3, 4), pa.time64("us"), '"01:02:03.000004"'),
    (datetime.datetime(2020, 1, 2, 3), pa.timestamp("us"), '"2020-01-02T03:00:00"'),
    (datetime.datetime(2020, 1, 2, tzinfo=UTC), pa.timestamp("s", "UTC"), f'"2020-01-02T{ZERO}"'),
    (1600000000123456789, pa.timestamp("ns"), '"2020-09-13T12:26:40.123456789"'),
    (1600000000123456789, pa.timestamp("ns", "UTC"), '"2020-09-13T12:26:40.123456789Z"'),
    (["é", None], pa.list_(pa.string()), '["é", null]'),
    ({"a": 1, "b": ["x"]}, None, '{"a": 1, "b": ["x"]}'),
    ([("k", 1)], pa.map_(pa.string(), pa.int64()), '[["k", 1]]'),
]  # fmt: skip


@pytest.mark.parametrize(("value", "type", "expected"), VALUES, ids=lambda v: str(v))
def test_other_columns_are_passed_on_with_their_types(
    tmp_path: Path, value: Any, type: Any, expected: str
) -> None:
    path = made(tmp_path, {"text": ["x", "y"], "more": pa.array([value, None], type)})
    found = read(path)
    assert dumps(found[0].extra["more"]) == expected
    assert found[1].extra == {"more": None}


def test_what_pandas_and_duckdb_write(tmp_path: Path) -> None:
    frame = pandas.DataFrame({"text": ["eins", "zwei"], "rt": [1.5, float("nan")], "k": ["a", "b"]})
    frame.to_parquet(tmp_path / "p.parquet", index=False)
    found = read(tmp_path / "p.parquet")
    assert [document.text for document in found] == [b"eins", b"zwei"]
    assert found[0].extra == {"rt": 1.5, "k": "a"}
    target = tmp_path / "d.parquet"
    duckdb.sql(
        f"COPY (SELECT 'x' || i AS text, i FROM range(5) t(i)) TO '{target}' (FORMAT parquet)"
    )
    assert [(d.text, d.extra) for d in read(target)] == [(b"x%d" % i, {"i": i}) for i in range(5)]


NO_ID = pa.array([None], pa.string())

# --- what is wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"a": ["x"]}, {}, r"x.parquet: expected a column 'text', the columns are 'a'\n.*--text-c"),
        ({"text": ["x"]}, {"id_column": "i"}, r"expected a column 'i', the .*\n.*--id-column"),
        ({"Text": ["x"]}, {}, "spaces and capitals count: rename the column 'Text'"),
        ({"text": [1]}, {}, r"expected text in the column 'text', its type is int64\n.*--text-col"),
        ({"text": pa.array([None])}, {}, "expected text in the column 'text', its type is null"),
        ({"text": [["x"]]}, {}, "expected text in the column 'text', its type is list"),
        ({"text": ["x"], "id": [1.5]}, {}, r"in the column 'id', its type is double\n.*--id"),
        ({"text": ["x", None]}, {}, "x.parquet:2: expected text in the column 'text', found null"),
        ({"text": ["x"], "id": NO_ID}, {}, "x.parquet:1: .*id', found null"),
        (pa.table([["x"], ["y"]], ["text", "text"]), {}, "two columns are both called 'text'"),
    ],
)  # fmt: skip
def test_columns_that_will_not_do(
    tmp_path: Path, columns: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read(made(tmp_path, columns), **options)


def test_files_that_will_not_do(tmp_path: Path) -> None:
    path = made(tmp_path, {"text": ["x" * 99] * 99})
    whole = path.read_bytes()
    for content, message in [
        (b"", "x.parquet: expected a Parquet file, found an empty file"),
        (b"text\n", r"x.parquet: expected a Parquet file, found something else\n.*--doc line"),
        (whole[:-9], "x.parquet: expected a whole Parquet file: .*\n.*copy or write"),
        (whole[:8] + b"\0" * 40 + whole[48:], "x.parquet: expected a whole Parquet file"),
        (gzip.compress(whole, mtime=0), r"x.parquet: .* found one that is packed\n.*unpack it"),
    ]:
        path.write_bytes(content)
        with pytest.raises(InputError, match=message):
            read(path)
        with pytest.raises(InputError, match=message):
            list(read_corpus(str(path)))
    with pytest.raises(InputError, match="expected a readable file"):
        read(tmp_path / "no.parquet")


def test_pipes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"-: Parquet can't be read from the standard input: what"):
        read_documents("-", doc="parquet")
    fifo = tmp_path / "fifo.parquet"
    os.mkfifo(fifo)
    refused = pytest.raises(InputError, match="Parquet can't be read from a pipe")
    with subprocess.Popen(["sh", "-c", f"echo x > '{fifo}'"]), refused:
        read(fifo)


def test_the_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path, {"text": ["x"]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pyarrow.*\n.*pip install lmfst\[parquet\]"):
        read(path)


def test_parquet_read_as_lines_is_noticed(tmp_path: Path) -> None:
    path = made(tmp_path, {"text": ["x"]}, "x.txt")
    with pytest.warns(UserWarning, match="looks like a Parquet file; .* use --doc parquet"):
        read(path)
    (found,) = read_corpus(str(path))
    assert isinstance(found, Rejected) and found.reason == "binary"


def test_a_file_without_rows(tmp_path: Path) -> None:
    path = made(tmp_path, {"text": pa.array([], pa.string())})
    with pytest.warns(UserWarning, match="x.parquet: there are no rows; there are no documents"):
        assert read(path) == []


# --- corpora ---------------------------------------------------------------------------------


def test_bad_rows_of_a_corpus(tmp_path: Path) -> None:
    path = made(
        tmp_path,
        {"id": ["a", "b", None, "d", None], "text": ["x", None, "y", "long", None]},
        row_group_size=2,
    )
    found = list(read_corpus(str(path), max_bytes=3))
    short = [
        (r.line, r.id, r.text if isinstance(r, Document) else (r.reason, r.message)) for r in found
    ]
    assert short == [
        (1, "a", b"x"),
        (2, "b", ("no_text", f"{path}:2: expected text in the column 'text', found null")),
        (
            3,
            None,
            (
                "bad_id",
                f"{path}:3: expected text or a whole number in the column 'id', found null",
            ),
        ),
        (4, "d", ("too_long", f"{path}:4: expected a text of at most 3 bytes, found 4")),
        (5, None, ("no_text", f"{path}:5: expected text in the column 'text', found null")),
    ]
    for skip in range(7):
        assert list(read_corpus(str(path), max_bytes=3, skip=skip)) == found[skip:]


def test_skipped_groups_are_not_read(tmp_path: Path) -> None:
    texts = [f"text {number}" for number in range(3000)]
    path = made(tmp_path, {"text": texts}, row_group_size=1000, compression="none")
    # The first group's pages are made useless.
    first = pq.ParquetFile(path).metadata.row_group(0).column(0)
    data = bytearray(path.read_bytes())
    data[4 : 4 + first.total_compressed_size] = bytes(first.total_compressed_size)
    path.write_bytes(data)
    with pytest.raises(InputError, match="expected a whole Parquet file"):
        list(read_corpus(str(path)))
    found = list(read_corpus(str(path), skip=1500))
    assert [record.line for record in found] == list(range(1501, 3001))
    assert isinstance(found[0], Document) and found[0].text == b"text 1500"


def test_memory_is_bounded(tmp_path: Path) -> None:
    code = (
        "import resource, sys\n"
        "from lmfst.io import read_corpus\n"
        "peaks = []\n"
        "for path in sys.argv[1:]:\n"
        "    print(sum(len(record.text) for record in read_corpus(path)))\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    texts = [os.urandom(25_000).hex() for _ in range(200)]
    # One group of rows; the larger file is 10 times the other, and 100 MB.
    small = made(tmp_path, {"text": texts}, "small.parquet", use_dictionary=False)
    large = made(tmp_path, {"text": texts * 10}, "large.parquet", use_dictionary=False)
    done = subprocess.run(
        [sys.executable, "-c", code, str(small), str(large)],
        capture_output=True,
        text=True,
        check=True,
    )
    size, before, large_size, peak = map(int, done.stdout.split())
    assert (size, large_size) == (10_000_000, 100_000_000)
    assert peak - before < 40_000  # KiB


# --- what apply makes of it ------------------------------------------------------------------


def test_outputs_of_parquet_are_json_lines(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    path = made(tmp_path, {"id": [1, 2], "text": ["x", "y"], "output": [0.5, None]})
    heard: list[str] = []
    writer = OutputWriter(every=False, weighted=False, warn=heard.append)
    first, second = read(path, header=writer.header)
    writer.write(first, [Output(b"X")])
    writer.reject(second)
    lines = [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]
    assert lines == [
        {"id": 1, "text": "x", "input_output": 0.5, "output": "X"},
        {"id": 2, "text": "y", "input_output": None, "output": None},
    ]
