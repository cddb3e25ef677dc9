"""Blocks of rows as lines: what they are, whatever the block is made of."""

import io
import math
import random
import subprocess
import sys
import tracemalloc

import pytest

from lmfst.ground.columns import Same
from lmfst.io import row_writer as writers
from lmfst.io import rows_to

COLUMNS = ("id", "index", "unit", "logp", "file", "50%")
KINDS = {
    "text": ["a", "%", "%s", "a\tb", "\\", "é", "\udc80", "⊥", "", "x%%d", "\n", '"q"', "\u2028"],
    "float": [0.0, -0.0, 1.5, 1e-5, 1.234e-5, 1e-4, 1e10, 1e15, 1e16, 123456789012.0, 1 / 3],
    "odd": [
        5e-324,
        2.5e-310,
        1.25e-30,
        99999.99999999,
        9999999999.5,
        math.inf,
        -math.inf,
        math.nan,
    ],
    "int": [0, 1, -1, 10**20],
    "bool": [True, False],
    "none": [None],
    "list": [[1, 2.5], {"a": "é"}],
}
PASSED = {"p%": "v%s", "id": 1.5, "q": ["\t", None]}


def column(random_: random.Random, size: int) -> list[object]:
    kinds = random_.choice([["float"], ["float", "odd"], ["text"], ["int"], [*KINDS]])
    values = [value for kind in kinds for value in KINDS[kind]]
    if kinds == ["float"]:
        values += [random_.uniform(-50, 0) * 10 ** random_.randint(-12, 12) for _ in range(9)]
    found = random_.choices(values, k=size)
    return found[:1] * size if random_.random() < 0.3 else found


def written(fmt: str, blocks: list[dict], one_by_one: bool) -> bytes:
    to = io.BytesIO()
    with rows_to(to, fmt, COLUMNS, escaped=["unit"], warn=lambda message: None) as writer:
        for block in blocks:
            if one_by_one:
                for values in zip(*block.values(), strict=True):
                    writer.write(dict(zip(block, values, strict=True)), PASSED)
            else:
                writer.write_block(block, PASSED)
    return to.getvalue()


@pytest.mark.parametrize("fmt", ["tsv", "jsonl"])
@pytest.mark.parametrize("piece", [1, 700, 1 << 20])
def test_a_block_is_its_rows(monkeypatch: pytest.MonkeyPatch, fmt: str, piece: int) -> None:
    monkeypatch.setattr(writers, "PIECE", piece)
    random_ = random.Random(5)
    blocks = []
    for size in [1, 2, 3, 40] * 20:
        block: dict = {name: column(random_, size) for name in COLUMNS}
        for name, values in block.items():
            if all(value is values[0] for value in values):
                block[name] = Same(values[0], size)
        block["index"] = range(3, 3 + size)
        blocks.append(block)
    assert written(fmt, blocks, False) == written(fmt, blocks, True)


def test_same_is_a_column() -> None:
    column = Same("a", 5)
    assert [*column] == ["a"] * 5 and len(column) == 5
    assert [*column[1:4]] == ["a"] * 3 and len(column[4:9]) == 1 and column[-1] == "a"
    with pytest.raises(IndexError):
        column[5]


class Nowhere:
    """Counts what is written."""

    size = 0

    def write(self, data: bytes) -> int:
        self.size += len(data)
        return len(data)


def write_long(fmt: str, rows: int) -> int:
    """Write a block of rows that share 80 KB. How many bytes were written."""
    long = "".join(random.Random(1).choices("abcdefgh ", k=40_000))
    block = {"id": Same(long, rows), "index": range(rows), "logp": [-1.5 * n for n in range(rows)]}
    to = Nowhere()
    with rows_to(to, fmt, COLUMNS, warn=print) as writer:  # type: ignore[arg-type]
        writer.write_block(block, {"note": long + "é"})
    return to.size


@pytest.mark.parametrize("fmt", ["tsv", "jsonl"])
def test_memory_for_a_block_is_bounded(fmt: str) -> None:
    """What is the same in all rows of a block may be long: 120 MB here, if all were held."""
    tracemalloc.start()
    try:
        written = write_long(fmt, 1500)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert written > 120_000_000 and peak < 10 << 20


def test_memory_for_a_block_of_parquet_is_bounded() -> None:
    """The memory of a process of its own: that of pyarrow isn't Python's."""
    pytest.importorskip("pyarrow")
    code = (
        "import resource; from tests.io.test_row_blocks import write_long;"
        "most = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "write_long('parquet', 2); before = most(); write_long('parquet', 3000);"
        "print(most() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    # 240 MB, if all were held; kB on Linux, bytes on macOS.
    assert int(done.stdout) < 90_000 * (1024 if sys.platform == "darwin" else 1)
