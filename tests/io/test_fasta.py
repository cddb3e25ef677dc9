"""FASTA files as documents, and residues that a model can't produce."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from lmfst.ground.errors import InputError
from lmfst.inference.policy import Exact
from lmfst.io import Document, read_documents
from lmfst.model import TransducedLM
from lmfst.target.load import load_target
from tests.support.oracle import TableLM, make_vocab


def read(tmp_path: Path, data: bytes, name: str = "x.fa") -> tuple[list[Document], list[str]]:
    path = tmp_path / name
    path.write_bytes(data)
    warnings: list[str] = []
    found = list(read_documents(str(path), warn=lambda m: warnings.append(m.split("/")[-1])))
    return found, warnings


@pytest.mark.parametrize("suffix", ["fa", "fasta", "fna", "ffn", "faa", "FA", "fa.gz"])
def test_records(tmp_path: Path, suffix: str) -> None:
    data = b">one first  gene\r\nACGT\r\n\tac g\tt\r\n\r\n>two\nA\nC>G\n"
    packed = gzip.compress(data) if suffix.endswith("gz") else data
    found, warnings = read(tmp_path, packed, f"x.{suffix}")
    assert [(d.id, d.text) for d in found] == [("one first  gene", b"ACGTacgt"), ("two", b"AC>G")]
    assert all(d.is_sequence for d in found)
    assert found[1].origin.endswith(f"x.{suffix}:5: record 'two'")
    assert warnings == []


def test_records_come_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_bytes(b">a\nA\n>b\nC\n>c\n")
    stream = read_documents(str(path))
    assert next(stream).id == "a" and next(stream).id == "b"
    with pytest.raises(InputError, match=r"x.fa:5: record 'c' has no sequence"):
        next(stream)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"ACGT\n>a\nC\n", "x.fa:1: expected a FASTA header, .* found 'ACGT"),
        (b"\n; note\n>a\nC\n", "x.fa:2: expected a FASTA header"),
        (b">a\n>b\nC\n", "x.fa:1: record 'a' has no sequence"),
        (b">a\nC\n>b", "x.fa:3: record 'b' has no sequence"),
        (b">\nC\n", "x.fa:1: expected a name after >"),
    ],
)
def test_bad_files(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, data)


def test_gzip_that_was_cut_off(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="complete gzip data"):
        read(tmp_path, gzip.compress(b">a\n" + b"ACGT" * 1000)[:-9], "x.fa.gz")


def test_names_that_come_twice_and_empty_files(tmp_path: Path) -> None:
    found, warnings = read(tmp_path, b">a x\nC\n>b\nC\n>a y\nC\n")
    assert len(found) == 3
    assert warnings == ["x.fa:5: a record named a was at line 1 already; both are read"]
    found, warnings = read(tmp_path, b"")
    assert not found and "empty" in warnings[0]


@pytest.fixture
def model() -> tuple[TransducedLM, list[str]]:
    warnings: list[str] = []
    lm = TableLM(make_vocab([b"A", b"C", b"G", b"T"]), order=1, depth=9, seed=1, merges=True)
    return TransducedLM(lm, load_target("amino"), Exact(), warn=warnings.append), warnings


def protein(name: str, text: bytes) -> Document:
    return Document(name, text, f"p.fa:1: record {name!r}", is_sequence=True)


def test_residues_of_either_case(model: tuple[TransducedLM, list[str]]) -> None:
    lm, _ = model
    upper, lower = lm.score_documents([protein("a", b"MK"), protein("b", b"mk")], given="target")
    assert upper.logp == lower.logp > -20


@pytest.mark.parametrize("letter", ["X", "U", "B", "-", "["])
def test_residues_that_no_codon_gives(model: tuple[TransducedLM, list[str]], letter: str) -> None:
    lm, warnings = model
    documents = [protein("a", b"MK"), protein("b", f"M{letter}".encode()), protein("c", b"M*")]
    scored = lm.score_documents(documents, given="target", batch=1)
    assert next(scored).id == "a"
    with pytest.raises(InputError, match=r"p.fa:1: record 'b': position 2 is .*expected \* A C D"):
        next(scored)
    assert [s.id for s in lm.score_documents(documents, given="target", unknown="skip")] == [
        "a",
        "c",
    ]
    assert len(warnings) == 1 and "record 'b': skipped: position 2" in warnings[0]
    report = list(lm.score_documents(documents, given="target", unknown="report"))
    assert [s.logp > -100 for s in report] == [True, False, True]


def test_letters_that_are_no_dna(model: tuple[TransducedLM, list[str]]) -> None:
    lm, warnings = model
    documents = [protein("a", b"ATGJ"), protein("b", b"atgNNN"), protein("c", b"atgGCN")]
    with pytest.raises(InputError, match="record 'a'"):
        list(lm.score_documents(documents))
    # NNN is X, which no codon of A, C, G and T gives; GCN is Ala.
    (found,) = lm.score_documents(documents, unknown="skip")
    assert found.id == "c" and found.logp == lm.logp("MA")
    assert [w.split(":")[2] for w in warnings] == [" record 'a'", " record 'b'"]
    assert all("skipped" in w for w in warnings)
    report, _ = lm.score_documents(documents[1:], unknown="report")
    assert report.logp == -float("inf")
