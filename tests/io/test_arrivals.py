"""What has arrived of pipes, document by document."""

from __future__ import annotations

import gzip
import io
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lmfst.ground.types import DocMode
from lmfst.io import Arrivals, Document, read_documents
from lmfst.io.arrivals import Pipe


class Source:
    """A pipe, its documents, and whether reading on would wait."""

    def __init__(self, doc: DocMode) -> None:
        out, self.into = os.pipe()
        # Opened again by its name, below.
        self.reading = out
        self.waits = Arrivals()
        path = f"/dev/fd/{out}"
        self.documents: Iterator[Document] = read_documents(
            path,
            doc=doc,
            arrivals=self.waits,
            warn=lambda message: None,
        )

    def give(self, data: bytes) -> None:
        assert os.write(self.into, data) == len(data)

    def end(self) -> None:
        os.close(self.into)

    def texts(self) -> list[bytes]:
        """The documents that are there."""
        found = []
        while not self.waits():
            found.append(next(self.documents).text)
        return found


@pytest.fixture
def source(doc: DocMode) -> Iterator[Source]:
    found = Source(doc)
    yield found
    found.documents.close()  # type: ignore[attr-defined]
    os.close(found.reading)


# What is given at once, and the documents that it completes.
STEPS: dict[DocMode, list[tuple[bytes, list[bytes]]]] = {
    "line": [
        (b"\n", [b""]),
        (b"a\n", [b"a"]),
        (b"b", []),
        (b"c", []),
        (b"\n", [b"bc"]),
        (b"d\r\n\n\ne", [b"d", b"", b""]),
        (b"\n" + b"x" * 30000, [b"e"]),
        (b"x" * 30000, []),
        (b"\ny\n", [b"x" * 60000, b"y"]),
    ],
    "jsonl": [
        (b'{"text": "a"}\n', [b"a"]),
        (b'\n \n{"text"', []),
        (b"\t", []),
        (b':"b"}\n\n{"text": "c"}\n\n', [b"b", b"c"]),
        (b'{"text": "d"}\n', [b"d"]),
    ],
    "csv": [
        (b"id,text\n1,a\n", [b"a"]),
        (b'2,"b\n', []),
        (b'""\n', []),
        (b'c"', []),
        (b'\n3,d\n4,"e\n', [b'b\n"\nc', b"d"]),
        (b'"\n', [b"e\n"]),
        (b"\r\n\n5,f\n", [b"f"]),
    ],
    "tsv": [
        (b"id\ttext\n1\ta\n2", [b"a"]),
        (b'\t"b\n', [b'"b']),
        (b"\n\n", []),
        (b"3\tc\n\t\n", [b"c", b""]),
    ],
    "fasta": [
        (b">1\nAC\nA\n>2\n", [b"ACA"]),
        (b"AC\n", []),
        (b"AG\n>3", []),
        (b" x>y\n", [b"ACAG"]),
        (b"C\n>4\nC\n>5\nG", [b"C", b"C"]),
        (b"\n>6\nT\n", [b"G"]),
    ],
}


@pytest.mark.parametrize("doc", STEPS)
def test_documents_are_there_when_they_are_complete(source: Source, doc: DocMode) -> None:
    first, texts = STEPS[doc][0]
    source.give(first)
    assert next(source.documents).text == texts[0]
    assert source.texts() == texts[1:]
    for data, texts in STEPS[doc][1:]:
        source.give(data)
        assert source.texts() == texts, data
    source.end()
    # The end has arrived, too.
    assert not source.waits()
    last = {"fasta": [b"T"]}.get(doc, [])
    assert [document.text for document in source.documents] == last


@pytest.mark.parametrize("doc", ["line"])
def test_a_last_line_without_an_end(source: Source) -> None:
    source.give(b"a\nb")
    assert next(source.documents).text == b"a"
    assert source.waits()
    source.end()
    assert not source.waits()
    assert next(source.documents).text == b"b"


@pytest.mark.parametrize("doc", ["line"])
def test_packed_data_are_not_asked_about(source: Source) -> None:
    """What would make batches of one out of every file that comes packed by a pipe."""
    source.give(gzip.compress(b"a\nb\n"))
    source.end()
    assert [next(source.documents).text, source.waits()] == [b"a", False]
    assert [next(source.documents).text, source.waits()] == [b"b", False]
    assert list(source.documents) == []


def test_files_never_wait_but_for_what_comes_after_them(tmp_path: Path) -> None:
    packed, plain = tmp_path / "a.txt.gz", tmp_path / "b.txt"
    packed.write_bytes(gzip.compress(b"a\nb\n"))
    plain.write_bytes(b"a\nb")
    for path in (packed, plain):
        for then, expected in ((False, [False, False]), (True, [False, True])):
            waits = Arrivals()
            waits.then_waits = then
            assert [waits() for _ in read_documents(str(path), arrivals=waits)] == expected
    packed.write_bytes(gzip.compress(b"a\n" * 1000)[:-9])
    waits = Arrivals()
    waits.then_waits = True
    documents = read_documents(str(packed), arrivals=waits)
    assert next(documents).text == b"a" and not waits()


def test_a_pipe_before_what_may_wait() -> None:
    source = Source("line")
    source.waits.then_waits = True
    source.give(b"a\nb\n")
    source.end()
    assert next(source.documents).text == b"a" and not source.waits()
    assert next(source.documents).text == b"b" and source.waits()
    assert list(source.documents) == []
    os.close(source.reading)


@pytest.mark.parametrize("doc", ["line"])
def test_a_producer_that_never_completes_a_line(source: Source) -> None:
    """That something comes all the time is no reason to hold back what is there."""
    source.give(b"a\nb")
    stop = threading.Event()

    def trickle() -> None:
        while not stop.wait(0.001):
            source.give(b"x")

    writer = threading.Thread(target=trickle)
    writer.start()
    try:
        assert next(source.documents).text == b"a"
        assert source.waits()
    finally:
        stop.set()
        writer.join()


def test_pipes_give_the_bytes_of_files(tmp_path: Path) -> None:
    rng = random.Random(0)
    sizes = [0, 1, 7, 80, 8191, 8192, 8193, 65536, 200_000]
    lines = [rng.randbytes(rng.choice(sizes)).replace(b"\n", b"") for _ in range(60)]
    data = b"\n".join(lines)
    (tmp_path / "x").write_bytes(data)
    expected = [d.text for d in read_documents(str(tmp_path / "x"), warn=lambda message: None)]
    source = Source("line")

    def write() -> None:
        at = 0
        while at < len(data):
            size = rng.choice([1, 100, 4096, 100_000])
            at += os.write(source.into, data[at : at + size])
        source.end()

    writer = threading.Thread(target=write)
    writer.start()
    found = []
    for document in source.documents:
        found.append(document.text)
        source.waits()
    writer.join()
    os.close(source.reading)
    assert found == expected


def test_streams_that_cannot_be_asked() -> None:
    assert not Pipe.can_be(io.BytesIO(b"a"))  # type: ignore[arg-type]
    closed: Any = SimpleNamespace(fileno=lambda: 1 << 20)
    assert not Pipe.can_be(closed)
