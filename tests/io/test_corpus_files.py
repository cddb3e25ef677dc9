"""The files that names, folders and patterns stand for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lmfst.ground.errors import InputError, UsageError
from lmfst.io import corpus_files


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (
        "b.txt",
        "a.txt.gz",
        "B.TXT",
        "sub/c.txt.zst",
        "sub/deeper/d.txt",
        "sub/.hidden.txt",
        ".git/e.txt",
        "notes.md",
        "other/x.jsonl",
        "empty/readme",
    ):
        path = tmp_path / "corpus" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "corpus"


def test_names_keep_their_order(corpus: Path) -> None:
    names = ["corpus/b.txt", "corpus/a.txt.gz", "corpus/notes.md"]
    assert corpus_files(names) == names


def test_a_folder_stands_for_the_files_below(corpus: Path) -> None:
    (corpus / "other" / "x.jsonl").unlink()
    (corpus / "dangling.txt").symlink_to("nowhere")
    expected = ["B.TXT", "a.txt.gz", "b.txt", "sub/c.txt.zst", "sub/deeper/d.txt"]
    for folder in ("corpus", "corpus/"):
        assert corpus_files([folder]) == [f"corpus/{name}" for name in expected]
    assert corpus_files([str(corpus)]) == [str(corpus / name) for name in expected]


def test_patterns(corpus: Path) -> None:
    assert corpus_files(["corpus/*.txt*"]) == ["corpus/a.txt.gz", "corpus/b.txt"]
    below = ["corpus/b.txt", "corpus/sub/deeper/d.txt"]
    assert corpus_files(["corpus/**/*.txt"]) == below
    assert corpus_files(["corpus/[!a]*.md", "corpus/b.txt"]) == ["corpus/notes.md", "corpus/b.txt"]
    (corpus / "[b].txt").write_bytes(b"")
    assert corpus_files(["corpus/[b].txt"]) == ["corpus/[b].txt"]


def test_what_comes_twice_is_named(corpus: Path) -> None:
    with pytest.raises(UsageError, match=r"corpus/b.txt comes twice: expected every file once\n"):
        corpus_files(["corpus/b.txt", "corpus/*.txt"])
    with pytest.raises(UsageError, match=r"\./corpus/b.txt comes twice, as corpus/b.txt before:"):
        corpus_files(["corpus/b.txt", "./corpus/b.txt"])
    (corpus / "sub" / "link.txt").symlink_to(corpus / "b.txt")
    with pytest.raises(UsageError, match=r"sub/link.txt comes twice, as corpus/b.txt before"):
        corpus_files(["corpus/**/*.txt"])


def test_forms_may_not_mix(corpus: Path) -> None:
    with pytest.raises(
        UsageError,
        match=r"one form, found corpus/B.TXT \(line\) and corpus/other/x.jsonl \(jsonl\)\n"
        r".*--doc .*two runs",
    ):
        corpus_files(["corpus"])
    assert len(corpus_files(["corpus"], doc="line")) == 6
    assert len(corpus_files(["corpus/b.txt", "corpus/a.txt.gz", "corpus/sub/c.txt.zst"])) == 3


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("-", UsageError, "the standard input can't be read twice.*\n.*write it to a file first"),
        ("corpus/empty", UsageError, r"corpus/empty: expected files of a corpus in the folder or"),
        ("corpus/empty", UsageError, r"names that end in \.txt, \.jsonl.*\.gz or \.zst"),
        ("corpus/*.csv", UsageError, r"corpus/\*\.csv: expected files that match, nothing matches"),
        ("corpus/s?b", UsageError, r"corpus/s\?b: expected files that match, folders alone match"),
        ("corpus/no.txt", InputError, r"corpus/no.txt: expected a file or a folder: No such file"),
        ("nul\0", InputError, "expected a file or a folder: embedded null"),
        (
            "/dev/null",
            InputError,
            "/dev/null: expected a file that can be read twice, found a pipe",
        ),
    ],
)
def test_paths_that_will_not_do(
    corpus: Path, path: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        corpus_files([path])


def test_no_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected files of a corpus, found none"):
        corpus_files([])


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.txt")
    with pytest.raises(InputError, match=r"found a pipe or device\n.*write it to a file first"):
        corpus_files([str(tmp_path / "fifo.txt")])
    with pytest.raises(UsageError, match="found none"):
        corpus_files([str(tmp_path)])


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_folder_that_cannot_be_read(corpus: Path) -> None:
    (corpus / "sub").chmod(0)
    try:
        with pytest.raises(InputError, match="corpus/sub: the folder can't be read: Permission"):
            corpus_files(["corpus"])
    finally:
        (corpus / "sub").chmod(0o755)


@pytest.mark.parametrize("name", ["/dev/stdin", "/dev/fd/0", "/dev/../dev/fd/0", "/proc/self/fd/0"])
def test_files_that_are_open_already_are_refused(name: str) -> None:
    """Also where a file is redirected to them: the next run has another one there."""
    with pytest.raises(UsageError, match="can't be read twice"):
        corpus_files([name])
