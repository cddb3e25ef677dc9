"""Outputs read back: every format, and what isn't an output of units."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from lmfst.ground.errors import InputError, LmfstError, UsageError
from lmfst.report import columns
from lmfst.report.parts import parts
from lmfst.scored.records import NEXT_COLUMNS, REPLICATE_COLUMNS, SUMMARY_COLUMNS, TEXT_COLUMNS
from tests.support.outputs import Row, document, write

ROWS = [
    *document("a\tb", [("x", 1.0), ("\\\\n", 2.0)], missing=[0.25], place=("f", 1)),
    *document("", [], end=0.5, place=("f", 2)),
    *document("c", [("⊥", float("inf"))], float("inf"), missing=None, place=("g\\t", 1)),
]
SUFFIXES = [".tsv", ".jsonl", ".parquet", ".tsv.gz", ".jsonl.gz"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("block", [1, 2, 4096])
def test_rows_come_back_as_documents(
    tmp_path: Path, suffix: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "BLOCK", block)
    found = list(parts(str(write(tmp_path / f"o{suffix}", ROWS))))
    assert [part.number for part in found if part.first == 0] == [0, 1, 2]
    assert [(p.id, p.place) for p in found if p.last] == [
        ("a\tb", ("f", 1)),
        ("", ("f", 2)),
        ("c", ("g\\t", 1)),
    ]
    assert [unit for part in found for unit in part.units] == ["x", "\\\\n", "⊥", "⊥", "⊥", "⊥"]
    bits = [value for part in found for value in part.bits]
    assert bits == pytest.approx([1.0, 2.0, 1.0, 0.5, float("inf"), float("inf")])
    missing = [value for part in found for value in part.missing]
    assert missing == [0.25, 0.0, 0.0, 0.0, None, None]
    assert sum(part.count for part in found) == 3


def test_the_character_of_the_end_is_a_unit_like_others(tmp_path: Path) -> None:
    (part,) = parts(str(write(tmp_path / "o.tsv", document("a", [("⊥", 1.0), ("b", 1.0)]))))
    assert part.count == 2 and part.last


OTHERS: dict[str, tuple[str, ...]] = {
    "rows of level text": TEXT_COLUMNS,
    "rows of level summary": SUMMARY_COLUMNS,
    "rows of level replicate": REPLICATE_COLUMNS,
    "rows of lmfst next": NEXT_COLUMNS,
    "columns 'id', 'index'": ("id", "index", "unit"),
}


@pytest.mark.parametrize("suffix", [".tsv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("what", OTHERS)
def test_another_schema_is_named(tmp_path: Path, suffix: str, what: str) -> None:
    path = write(tmp_path / f"o{suffix}", [dict.fromkeys(OTHERS[what])], OTHERS[what])
    with pytest.raises(InputError) as error:
        list(parts(str(path)))
    said = str(error.value)
    assert f"{path}: expected rows of level unit" in said and f"found {what}" in said
    assert "--level unit" in said


def _without(name: str) -> list[Row]:
    return [{key: value for key, value in row.items() if key != name} for row in ROWS]


def test_each_column_is_needed_but_for_the_place(tmp_path: Path) -> None:
    for name in columns_of(ROWS):
        rows = _without(name)
        path = write(tmp_path / "o.tsv", rows, columns_of(rows))
        if name in ("file", "line"):
            assert all(part.place is None for part in parts(str(path)))
        else:
            with pytest.raises(InputError, match=f"without {name}"):
                list(parts(str(path)))


def columns_of(rows: list[Row]) -> list[str]:
    return list(rows[0])


DAMAGED = {
    "cut off": (lambda lines: lines[:-1], "at the end of the document 'c', found the end"),
    "cut in a row": (lambda lines: [*lines[:-1], "c\t0"], "expected 10 fields"),
    "backwards": (lambda lines: [lines[0], *lines[:0:-1]], "in their order"),
    "a row gone": (lambda lines: [*lines[:2], *lines[3:]], "expected index 1, found index 2"),
    "no end": (lambda lines: [*lines[:3], *lines[4:]], "before the next document"),
    "after the end": (lambda lines: [*lines, lines[2]], "expected index 2, found index 1"),
    "no rows": (lambda lines: lines[:1], "there are no rows"),
    "a word": (lambda lines: [*lines[:1], lines[1].replace("0.25", "x")], "row 1: expected a num"),
    "half": (lambda lines: [*lines[:1], lines[1].replace("\t0\t", "\t0.5\t", 1)], "whole number"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_rows_are_errors(tmp_path: Path, damage: str) -> None:
    path = write(tmp_path / "o.tsv", ROWS)
    change, said = DAMAGED[damage]
    lines = path.read_text().split("\n")[:-1]
    path.write_text("".join(f"{line}\n" for line in change(lines)))
    with pytest.raises(InputError) as error:
        list(parts(str(path)))
    assert said in str(error.value) and str(path) in str(error.value)


def test_rows_of_two_documents_mixed_are_an_error(tmp_path: Path) -> None:
    rows = document("a", [("x", 1.0)])
    rows[1]["id"] = "b"
    with pytest.raises(InputError, match="expected the id 'a', found 'b'"):
        list(parts(str(write(tmp_path / "o.jsonl", rows))))


def test_no_number_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    row = {**document("a", [])[0], "logp": float("nan")}
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match="row 1: expected a number under 'logp', found nan"):
        list(parts(str(path)))
    path.write_text(json.dumps(row)[:-5] + "\n")
    with pytest.raises(InputError, match="row 1: expected a JSON object"):
        list(parts(str(path)))
    path.write_text("[1]\n")
    with pytest.raises(InputError, match="found list"):
        list(parts(str(path)))
    path.write_bytes(b"\xff\n")
    with pytest.raises(InputError, match="0xff"):
        list(parts(str(path)))


def test_line_ends_of_windows_are_understood(tmp_path: Path) -> None:
    path = write(tmp_path / "o.tsv", ROWS)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert [part.id for part in parts(str(path))] == ["a\tb", "", "c"]


def test_parquet_that_was_written_anew_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "o.parquet", ROWS)
    pd.read_parquet(path).astype({"file": "category"}).to_parquet(path)
    assert [part.place for part in parts(str(path))] == [("f", 1), ("f", 2), ("g\\t", 1)]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="expected a whole Parquet file"):
        list(parts(str(path)))
    path.write_text("no\n")
    with pytest.raises(InputError, match="expected a Parquet file"):
        list(parts(str(path)))


@pytest.mark.parametrize("name", ["o.csv", "o", "-", "o.html"])
def test_other_names_are_usage_errors(name: str) -> None:
    with pytest.raises(UsageError, match=r"ends in \.tsv, \.jsonl or \.parquet"):
        list(parts(name))


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        with pytest.raises(LmfstError, match="found no such file"):
            list(parts(str(tmp_path / f"gone{suffix}")))


@pytest.mark.parametrize("cut", [1, 3, 5])
def test_a_table_that_ends_inside_a_number_is_an_error(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path / "o.tsv", document("a", [("x", 1.0)], missing=[0.0, 0.03125]))
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(InputError, match="row 2: expected a line end after it") as caught:
        list(parts(str(path)))
    assert "cut off" in caught.value.hint


def test_numbers_that_rows_cannot_have_are_errors(tmp_path: Path) -> None:
    path = write(tmp_path / "o.jsonl", document("a", [("x", 1.0)]))
    rows = path.read_text()
    for found, other, message in (
        ('"logp": -0.6931471806', '"logp": "inf"', "row 1: expected a log-probability"),
        ('"end": 1', f'"end": {10**19}', "row 1: expected a whole number under 'end'"),
        ('"end": 1', f'"end": {"9" * 5000}', "row 1: expected a JSON object"),
    ):
        assert found in rows
        path.write_text(rows.replace(found, other))
        with pytest.raises(InputError, match=message):
            list(parts(str(path)))


@pytest.mark.parametrize("suffix", [".tsv", ".jsonl"])
def test_columns_that_are_passed_on_may_be_called_file_and_line(
    tmp_path: Path, suffix: str
) -> None:
    rows = document("a", [("x", 1.0)], place=("f", 3))
    rows += [row | {"line": "verse 3"} for row in document("b", [], place=("f", 1))]
    rows += [row | {"file": None} for row in document("c", [], place=("f", 1))]
    found = list(parts(str(write(tmp_path / f"o{suffix}", rows))))
    assert [(part.id, part.place) for part in found] == [("a", ("f", 3)), ("b", None), ("c", None)]


def test_rows_without_a_column_say_what_they_are(tmp_path: Path) -> None:
    path = write(tmp_path / "o.tsv", document("a", []))
    lines = path.read_text().splitlines()
    path.write_text("".join(line.rsplit("\t", 1)[0] + "\n" for line in lines))
    with pytest.raises(InputError, match="without missing") as caught:
        list(parts(str(path)))
    assert "by this version of lmfst" in caught.value.hint
    path.write_text("")
    with pytest.raises(InputError, match="found an empty file"):
        list(parts(str(path)))
