"""Formats of rows, by the name of the output."""

from __future__ import annotations

from typing import get_args

import pytest

from lmfst.ground.errors import UsageError
from lmfst.ground.types import RowFormat
from lmfst.io import row_format


@pytest.mark.parametrize(
    ("name", "format"),
    [
        (None, "tsv"),
        ("-", "tsv"),
        ("rows", "tsv"),
        ("rows.txt", "tsv"),
        ("rows.tsv", "tsv"),
        ("rows.tsv.gz", "tsv"),
        ("a.tsv/rows.jsonl", "jsonl"),
        ("ROWS.NDJSON.gz", "jsonl"),
        ("rows.parquet", "parquet"),
        ("rows.parquet.gz", "parquet"),
    ],
)
def test_the_suffix_says_the_format(name: str | None, format: RowFormat) -> None:
    assert row_format(name) == format
    for said in get_args(RowFormat):
        if name in (None, "-", "rows", "rows.txt") or said == format:
            assert row_format(name, said) == said
        else:
            with pytest.raises(
                UsageError, match=f"the name is that of {format}, and --format says {said}"
            ):
                row_format(name, said)


def test_suffixes_of_what_rows_are_not() -> None:
    for name, form in (("rows.csv", "csv"), ("rows.csv.gz", "csv"), ("rows.fa", "fasta")):
        with pytest.raises(UsageError, match=f"and the name is that of {form}\n"):
            row_format(name)
        assert row_format(name, "tsv") == "tsv"
    for said in (None, *get_args(RowFormat)):
        with pytest.raises(UsageError, match="are not packed by zstd"):
            row_format("rows.jsonl.zst", said)
