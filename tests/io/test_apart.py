"""Outputs that would be read as input."""

from __future__ import annotations

import glob
import os
from pathlib import Path

import pytest

from lmfst.corpus.disk import Place
from lmfst.ground.errors import UsageError
from lmfst.io import corpus_files, require_apart


@pytest.fixture(autouse=True)
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("corpus/a.tsv", "corpus/sub/b.tsv", "corpus/.hidden/c.tsv", "elsewhere/d.tsv"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"text\nx\n")
    os.symlink("corpus", tmp_path / "link")
    os.symlink("../elsewhere", tmp_path / "corpus" / "out")
    os.symlink("../elsewhere/d.tsv", tmp_path / "corpus" / "leads.tsv")
    monkeypatch.chdir(tmp_path)


PATHS = [
    "corpus",
    "corpus/",
    "link",
    "./elsewhere/../corpus",
    "corpus/*.tsv",
    "corpus/**/*.tsv",
    "link/**/*.tsv",
    "corp*/**",
    "corpus/*/*.[t-z]sv",
    "corpus/sub/new.ts?",
    "**/new.tsv",
    "corpus/.hidden/*",
]
OUTPUTS = [
    "corpus/new.tsv",
    "corpus/sub/new.tsv",
    "corpus/sub/deep/new.tsv.gz",
    "link/new.tsv",
    "corpus/sub/../new.parquet",
    "corpus/new.out",
    "corpus/.new.tsv",
    "corpus/.hidden/new.tsv",
    "corpus/out/new.tsv",
    "elsewhere/new.tsv",
    "./new.tsv",
    "corpus/a.tsv",
    "corpus/leads.tsv",
    "./corpus.tsv",
]


def files_of(path: str) -> list[str]:
    if os.path.isdir(path):
        return corpus_files([path], "line")
    return [found for found in glob.glob(path, recursive=True) if os.path.isfile(found)]


def is_refused(path: str, output: str) -> bool:
    try:
        require_apart([path], files_of(path), [output])
    except UsageError:
        return True
    return False


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("output", OUTPUTS)
def test_what_would_be_read_is_refused(path: str, output: str) -> None:
    refused = is_refused(path, output)
    os.makedirs(os.path.dirname(output), exist_ok=True)
    Path(output).write_bytes(b"rows\n")
    would = os.path.realpath(output) in map(os.path.realpath, files_of(path))
    assert would == is_refused(path, output)
    # That a pattern leads to other folders by links is noticed when there is a file.
    if "/elsewhere/" not in os.path.realpath(output):
        assert would == refused


def test_messages() -> None:
    with pytest.raises(UsageError, match=r"corpus/x.tsv: expected .* what lies in corpus/ is read"):
        require_apart(["corpus/"], ["corpus/a.tsv"], ["corpus/x.tsv"])
    with pytest.raises(UsageError, match=r"it matches corpus/\*\.tsv, and would be read the next"):
        require_apart(["corpus/*.tsv"], ["corpus/a.tsv"], ["corpus/x.tsv"])
    for name in ("elsewhere/d.tsv", Path("corpus/leads.tsv").absolute()):
        with pytest.raises(UsageError, match="this is one of the files that are read"):
            require_apart(["elsewhere/d.tsv"], ["elsewhere/d.tsv"], [name])


def test_what_a_job_writes() -> None:
    place = Place(Path("corpus/rows.x"))
    written = [
        place.out,
        place.ledger,
        place.manifest,
        place.rows(0),
        place.finished,
        place.rejects,
    ]
    require_apart(["corpus"], corpus_files(["corpus"]), written[:-1])
    with pytest.raises(UsageError, match=r"^corpus/rows\.x\.rejects\.jsonl: expected an output"):
        require_apart(["corpus"], corpus_files(["corpus"]), written)
    with pytest.raises(UsageError, match=r"^corpus/rows\.x\.work/\S+: expected an output"):
        require_apart(["corpus/**/*[!vlx]"], glob.glob("corpus/*.tsv"), written)


def test_what_is_no_file() -> None:
    os.mkfifo("corpus/pipe.tsv")
    require_apart(
        ["corpus", "-"], ["corpus/a.tsv", "-"], [None, "-", "corpus/pipe.tsv", os.devnull]
    )
