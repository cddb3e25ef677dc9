"""Rows as Parquet, read again by pandas, DuckDB and pyarrow."""

from __future__ import annotations

import io
import math
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmfst.ground.errors import InputError, UsageError
from lmfst.io import open_rows, parquet_rows, read_documents
from lmfst.scored.records import UNIT_COLUMNS

Row = dict[str, object]

UNITS: list[Row] = [
    {
        "id": "a",
        "index": 0,
        "unit": "é\\n",
        "start": 0,
        "end": np.int64(3),
        "logp": -1 / 3,
        "surprisal": np.float64(1 / 3 / math.log(2)),
        "missing": None,
    },
    {
        "id": "a",
        "index": 1,
        "unit": "⊥",
        "start": 3,
        "end": 3,
        "logp": -math.inf,
        "surprisal": math.inf,
        "missing": -0.0,
    },
]


def write(
    path: Path | str, columns: Any, *rows: Row | tuple[Row, Row], warn: Any = pytest.fail
) -> Path:
    with open_rows(str(path), "parquet", columns, warn=warn) as writer:
        for row in rows:
            if isinstance(row, tuple):
                writer.write(*row)
            else:
                writer.write(row)
    return Path(path)


def small_groups(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(parquet_rows, "GROUP_ROWS", rows)


def types(path: Path) -> dict[str, str]:
    schema = pq.read_schema(path)
    return {field.name: str(field.type) for field in schema}


def test_columns_have_types_and_numbers_full_precision(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", UNIT_COLUMNS, *UNITS)
    assert types(path) == {
        "id": "string",
        "index": "int64",
        "unit": "string",
        "start": "int64",
        "end": "int64",
        "logp": "double",
        "surprisal": "double",
        "missing": "double",
    }
    found = pq.read_table(path).to_pylist()
    assert found == UNITS
    assert math.copysign(1, found[1]["missing"]) == 1
    column = pq.ParquetFile(path).metadata.row_group(0).column(5)
    assert column.compression == "ZSTD"
    frame = pandas.read_parquet(path)
    assert frame["logp"].tolist() == [-1 / 3, -math.inf]
    assert frame["end"].dtype == np.int64 and frame["missing"].isna().tolist() == [True, False]
    rows = duckdb.sql(
        f"SELECT unit, logp, missing, \"end\" FROM '{path}' ORDER BY index"
    ).fetchall()
    assert rows == [("é\\n", -1 / 3, None, 3), ("⊥", -math.inf, 0.0, 3)]


def test_no_rows_are_a_file_with_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", ["id", "logp", "stderr"])
    assert types(path) == {"id": "string", "logp": "double", "stderr": "double"}
    assert pandas.read_parquet(path).empty
    assert duckdb.sql(f"SELECT count(*) FROM '{path}'").fetchall() == [(0,)]


def test_groups_are_written_as_they_fill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_groups(monkeypatch, 100)
    rows: list[Row] = [{"id": str(n), "index": n, "stderr": None} for n in range(250)]
    rows[-1]["stderr"] = 1.5
    path = write(tmp_path / "x.parquet", ["id", "index", "stderr"], *rows)
    about = pq.ParquetFile(path).metadata
    assert [about.row_group(n).num_rows for n in range(about.num_row_groups)] == [100, 100, 50]
    assert pq.read_table(path).to_pylist() == rows
    assert pandas.read_parquet(path)["index"].tolist() == [*range(250)]
    monkeypatch.setattr(parquet_rows, "GROUP_BYTES", 3000)
    rows = [{"id": "x" * 1000} for _ in range(7)]
    about = pq.ParquetFile(write(tmp_path / "x.parquet", ["id"], *rows)).metadata
    assert [about.row_group(n).num_rows for n in range(about.num_row_groups)] == [3, 3, 1]


def test_the_same_rows_give_the_same_file(tmp_path: Path) -> None:
    one, two = (write(tmp_path / name, UNIT_COLUMNS, *UNITS) for name in ("a.parquet", "b.parquet"))
    assert one.read_bytes() == two.read_bytes()


# --- what is passed on -----------------------------------------------------------------------


def test_columns_that_are_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_groups(monkeypatch, 2)
    heard: list[str] = []
    path = write(
        tmp_path / "x.parquet",
        ["id", "index"],
        ({"id": "a"}, {"id": 7, "rt": 1, "note": None, "ok": True}),
        ({"id": "b"}, {"id": None, "rt": 2.5, "tags": ["x", 1], "input_id": "i"}),
        ({"id": "c"}, {"id": 8, "rt": 3, "note": "n", "late": 1, "tags": {"k": None}}),
        ({"id": "d"}, {}),
        warn=heard.append,
    )
    assert types(path) == {
        "id": "string",
        "index": "int64",
        "input_input_id": "int64",
        "rt": "double",
        "note": "string",
        "ok": "bool",
        "tags": "string",
        "input_id": "string",
    }
    found = pandas.read_parquet(path, dtype_backend="pyarrow")
    assert found["input_input_id"].to_list()[0] == 7
    assert duckdb.sql(
        f"SELECT input_input_id, rt, note, ok, tags, input_id FROM '{path}'"
    ).fetchall() == [
        (7, 1.0, None, True, None, None),
        (None, 2.5, None, None, '["x", 1]', "i"),
        (8, 3.0, "n", None, '{"k": null}', None),
        (None, None, None, None, None, None),
    ]
    assert heard == [
        "column 'id' of the input is called 'input_input_id' in the output",
        "column 'late' is left out: the first 2 rows, which decide on the columns of Parquet, have "
        "none of that name (--format jsonl keeps it)",
    ]


@pytest.mark.parametrize(
    ("first", "later", "message"),
    [
        (1, "x", r"column 'v': expected whole numbers, as in other rows, found 'x' in row 3\n"),
        (1, 1.5, "expected whole numbers, as in other rows, found 1.5 in row 3"),
        (1, True, "expected whole numbers, as in other rows, found True in row 3"),
        (1, 2**63, "expected whole numbers, as in other rows, found 9223372036854775808 in"),
        (2**63, 1, "expected whole numbers, as in other rows, found 9223372036854775808 in row 1"),
        (1.5, 2**53 + 1, "expected numbers, as in other rows, found 9007199254740993 in row 3"),
        (1.5, 10**400, "expected numbers, as in other rows, found 1000"),
        ("x", 1, "expected text, as in other rows, found 1 in row 3"),
        (None, 1, "expected text, as in other rows, found 1 in row 3"),
        (True, 1, "expected true or false, as in other rows, found 1 in row 3"),
        ([1], "x", "expected lists or objects, as in other rows, found 'x' in row 3"),
        ("x", {"a": 1}, "expected text, as in other rows, found '{\"a\": 1}' in row 3"),
    ],
)
def test_a_later_value_that_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: object, later: object, message: str
) -> None:
    small_groups(monkeypatch, 2)
    rows = [({"id": "a"}, {"v": value}) for value in (first, None, later)]
    with pytest.raises(InputError, match=message) as caught:
        write(tmp_path / "x.parquet", ["id"], *rows)
    assert "--format jsonl" in caught.value.hint and "x.parquet: column 'v'" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_values_of_two_types_at_first(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    rows = [({"id": "a"}, {"v": value}) for value in (1, "x", None)]
    mixed = r"column 'v': expected values of one type, found text and whole numbers\n.*jsonl"
    with pytest.raises(InputError, match=mixed):
        write(path, ["id"], *rows)
    with pytest.raises(InputError, match=r"column 'index': expected whole numbers, .* found 'x'"):
        write(path, ["index"], {"index": "x"})
    with pytest.raises(TypeError, match="found bytes"):
        write(path, ["id"], {"id": b""})
    assert list(tmp_path.iterdir()) == []


def test_undecodable_names_are_shown(tmp_path: Path) -> None:
    name = os.fsdecode(b"a\xff")
    path = write(tmp_path / "x.parquet", ["id"], ({"id": name}, {"v": name}))
    assert pq.read_table(path).to_pylist() == [{"id": "a\\udcff", "v": "a\\udcff"}]


SCALARS = st.one_of(
    st.lists(st.none() | st.text(max_size=5).filter(lambda t: t.isprintable())),
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)),
    st.lists(st.none() | st.floats(allow_nan=False)),
    st.lists(st.none() | st.booleans()),
)


@given(SCALARS, st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_values_come_back(
    tmp_path_factory: pytest.TempPathFactory, values: list[object], group: int
) -> None:
    path = tmp_path_factory.mktemp("rows") / "x.parquet"
    # The first group decides on the type.
    first = next((value for value in values if value is not None), None)
    values = [first, *values]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet_rows, "GROUP_ROWS", group)
        write(path, ["index"], *(({"index": n}, {"v": v}) for n, v in enumerate(values)))
    assert pq.read_table(path)["v"].to_pylist() == values
    query = f"SELECT v FROM '{path}' ORDER BY index"
    assert duckdb.sql(query).fetchall() == [(value,) for value in values]


def test_what_was_read_is_written_again(tmp_path: Path) -> None:
    frame = pandas.DataFrame({"text": ["x", "y"], "rt": [1.5, math.inf], "n": [1, 2]})
    frame.to_parquet(tmp_path / "in.parquet", index=False)
    rows = [
        ({"id": document.id}, {**document.extra})
        for document in read_documents(str(tmp_path / "in.parquet"))
    ]
    path = write(tmp_path / "out.parquet", ["id"], *rows)
    assert types(path) == {"id": "string", "rt": "double", "n": "int64"}
    pandas.testing.assert_frame_equal(pandas.read_parquet(path)[["rt", "n"]], frame[["rt", "n"]])


# --- where it goes ---------------------------------------------------------------------------


def test_the_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(b"before")
    writer = open_rows(str(path), "parquet", ["id"])
    writer.write({"id": "a"})
    writer.flush()
    assert path.read_bytes() == b"before"
    writer.close()
    writer.close()
    assert pq.read_table(path).to_pylist() == [{"id": "a"}]
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_left_of_a_failed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small_groups(monkeypatch, 2)
    for rows in (1, 5):
        writer = open_rows(str(tmp_path / "x.parquet"), "parquet", ["id"])
        with pytest.raises(KeyboardInterrupt), writer:
            for _ in range(rows):
                writer.write({"id": "a"})
            raise KeyboardInterrupt
        writer.close()
        del writer
        assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")


def test_a_full_disk(tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    with pytest.raises(InputError, match=r"/dev/full: can't be written: No space left.*\n.*free"):
        write("/dev/full", ["id"], {"id": "a" * 100_000})


def test_a_limit_on_file_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error comes out of pyarrow amid a run."""
    small_groups(monkeypatch, 1000)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"x.parquet: can't be written: File too large"):
            write(
                tmp_path / "x.parquet",
                ["id"],
                *({"id": os.urandom(50).hex()} for _ in range(5000)),
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert list(tmp_path.iterdir()) == []


def test_places_and_names_that_will_not_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="expected a place to write to"):
        write(tmp_path, ["id"])
    with pytest.raises(UsageError, match=r"x.parquet.gz: Parquet is packed inside.*\n.*without"):
        write(tmp_path / "x.parquet.gz", ["id"])
    with pytest.raises(UsageError, match=r"found \['surprise'\]"):
        write(tmp_path / "x.parquet", ["id"], {"surprise": 1})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pyarrow.*\n.*pip install lmfst\[parquet\]"):
        write(tmp_path / "x.parquet", ["id"])
    assert list(tmp_path.iterdir()) == []


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_no_parquet(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", Terminal(raw))
    for path in (None, "-"):
        with pytest.raises(UsageError, match=r"binary, and the .* terminal\n.*-o, or into a pipe"):
            open_rows(path, "parquet", ["id"])
    assert raw.getvalue() == b""


def test_a_pipe_gets_parquet(tmp_path: Path) -> None:
    code = (
        "from lmfst.io import open_rows, parquet_rows\n"
        "parquet_rows.GROUP_ROWS = 100\n"
        "with open_rows(None, 'parquet', ['id', 'index']) as rows:\n"
        "    for number in range(1000):\n"
        "        rows.write({'id': 'x' * 100, 'index': number})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    (tmp_path / "x.parquet").write_bytes(done.stdout)
    frame = pandas.read_parquet(tmp_path / "x.parquet")
    assert frame["index"].tolist() == [*range(1000)]


def test_a_reader_that_has_gone(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from lmfst.io import open_rows\n"
        "try:\n"
        "    with open_rows(None, 'parquet', ['id']) as rows:\n"
        "        rows.write({'id': 'x'})\n"
        "except BrokenPipeError:\n"
        "    print('gone', file=sys.stderr)\n"
        "    sys.stdout = None\n"
    )
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert done.stderr.startswith(b"gone\n")


def test_memory_is_bounded(tmp_path: Path) -> None:
    code = (
        "import resource, sys\n"
        "from lmfst.io import open_rows, parquet_rows\n"
        "parquet_rows.GROUP_ROWS = 8192\n"
        "for rows in (20_000, 200_000):\n"
        "    with open_rows(sys.argv[1], 'parquet', ['id', 'logp']) as writer:\n"
        "        for number in range(rows):\n"
        "            writer.write({'id': f'{number:0100d}', 'logp': number / 7})\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.parquet")],
        capture_output=True,
        text=True,
        check=True,
    )
    small, large = map(int, done.stdout.split())
    assert large < 1.1 * small
