"""`convert` in a pipe: rows come when no more input is waiting, and else batches are full."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lmfst.scored import scorer
from tests.support.cli import COMMAND, call, environment
from tests.support.tiny import letter_bigram

PATIENT = 60.0
"""Seconds in which a row must come. It would not come at all if it were held back."""


@pytest.fixture(autouse=True)
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    letter_bigram(tmp_path / "g.arpa")


CONVERT = ("convert", "--model", "g.arpa", "--exact", "--level", "text", "--format", "jsonl")


class Coprocess:
    """`lmfst convert`, which is given lines and asked for rows."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.into: Any = process.stdin
        self._out: Any = process.stdout

    def give(self, data: bytes) -> None:
        self.into.write(data)
        self.into.flush()

    def ids(self, count: int) -> list[str]:
        return [json.loads(self._out.readline())["id"] for _ in range(count)]


@contextmanager
def running(*more: str) -> Iterator[Coprocess]:
    pipe = subprocess.PIPE
    command = [*COMMAND, *CONVERT, *more]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment()) as process:
        timer = threading.Timer(PATIENT, process.kill)
        timer.start()
        try:
            found = Coprocess(process)
            yield found
            found.into.close()
            assert process.wait() == 0
        finally:
            timer.cancel()
            process.kill()


def test_rows_come_before_the_next_line_is_sent() -> None:
    with running() as convert:
        convert.give(b"AC\n")
        assert convert.ids(1) == ["1"]
        # Several lines and a pause.
        convert.give(b"A\nC\n\n")
        assert convert.ids(3) == ["2", "3", "4"]
        # Half a line, a pause, the rest.
        convert.give(b"G\nAC")
        assert convert.ids(1) == ["5"]
        time.sleep(0.1)
        convert.give(b"GT\nA")
        assert convert.ids(1) == ["6"]
        convert.give(b"C\n" + b"ACGT\n" * 100 + b"G\n")
        assert convert.ids(102) == [str(number) for number in range(7, 109)]


def test_rows_of_json_lines_and_of_documents_that_are_skipped() -> None:
    with running("--doc", "jsonl", "--unknown", "skip", "-q") as convert:
        convert.give(b'{"id": "a", "text": "AC"}\n')
        assert convert.ids(1) == ["a"]
        # The last one has no rows; what comes before it isn't held back.
        convert.give(b'{"id": "b", "text": "C"}\n\n{"id": "c", "text": "?"}\n\n')
        assert convert.ids(1) == ["b"]
        convert.give(b'{"id": "d", "text": "C"}')
        time.sleep(0.1)
        convert.give(b"\n")
        assert convert.ids(1) == ["d"]


def test_files_before_a_pipe_and_what_a_fifo_gives() -> None:
    Path("a.txt").write_bytes(b"A\nC\n")
    os.mkfifo("fifo")
    with running("a.txt", "-", "fifo") as convert:
        assert convert.ids(2) == ["a.txt:1", "a.txt:2"]
        convert.give(b"G\n")
        assert convert.ids(1) == ["-:1"]
        convert.give(b"T\n")
        convert.into.close()
        assert convert.ids(1) == ["-:2"]
        with open("fifo", "wb", buffering=0) as fifo:
            fifo.write(b"T\n")
            assert convert.ids(1) == ["fifo:1"]


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of documents that share model calls."""
    found: list[int] = []
    formed = scorer._batches

    def counted(read: Iterable[Any], most: int, symbols: int) -> Iterator[list[Any]]:
        for batch in formed(read, most, symbols):
            found.append(len(batch))
            yield batch

    monkeypatch.setattr(scorer, "_batches", counted)
    return found


@pytest.mark.parametrize("doc", ["line", "jsonl", "tsv", "csv", "fasta"])
def test_batches_of_what_is_there_are_full(doc: str, batches: list[int]) -> None:
    number = 150
    data = {
        "line": b"AC\n" * number,
        "jsonl": b'{"text": "AC"}\n' * number,
        "tsv": b"text\n" + b"AC\n" * number,
        "csv": b"text,b\n" + b'AC,"x\ny"\n' * number,
        "fasta": b">x\nA\nC\n" * number,
    }[doc]
    Path("in").write_bytes(data)
    command = (*CONVERT, "--quiet", "--doc", doc)
    whole = call(*command, "in")
    assert whole.code == 0 and batches == [64, 64, 22]
    batches.clear()
    out, into = os.pipe()
    os.write(into, data)
    os.close(into)
    piped = call(*command, f"/dev/fd/{out}")
    os.close(out)
    assert piped.out == whole.out
    assert batches == [64, 64, 22]


def test_batches_end_where_the_input_pauses(batches: list[int]) -> None:
    out, into = os.pipe()
    os.write(into, b"AC\n" * 70 + b"A")
    # The writing end is open: more may come.
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(call(*CONVERT, f"/dev/fd/{out}")))
    thread.start()
    until = time.monotonic() + PATIENT
    try:
        while sum(batches) < 70 and time.monotonic() < until:
            time.sleep(0.01)
        assert batches == [64, 6]
        os.write(into, b"C\n" + b"C\n" * 9)
    finally:
        os.close(into)
        thread.join()
        os.close(out)
    assert batches == [64, 6, 10]
    ids = [json.loads(line)["id"] for line in done[0].lines]
    assert ids == [str(number) for number in range(1, 81)]
