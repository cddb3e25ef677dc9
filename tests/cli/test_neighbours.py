"""Good neighbours: threads that sleep, word of long work, progress; and none of it where it is not
wanted."""

from __future__ import annotations

import json
import logging
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from lmfst.cli import app, progress
from lmfst.fst.sequential import Determinised
from lmfst.grammar import compile_file
from lmfst.ground import announce
from lmfst.ground.announce import Announced
from lmfst.ground.errors import UsageError
from lmfst.ground.verdicts import remembered
from lmfst.io import Document
from lmfst.lexicon import Lexicons
from lmfst.lm.load import load_lm
from tests.support.oracle import make_vocab, random_fst
from tests.support.paths import REPOSITORY

ARPA = "\\data\\\nngram 1=3\n\n\\1-grams:\n-99 <s>\n-0.3 </s>\n-0.3 [bos]\n\n\\end\\\n"
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


@pytest.fixture
def arpa(tmp_path: Path) -> Path:
    path = tmp_path / "m.arpa"
    path.write_text(ARPA)
    return path


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LMFST_CACHE", str(tmp_path / "cache"))
    # Processes that a test starts would compile everything anew.
    monkeypatch.setenv("LMFST_COMPILED", "0")
    return tmp_path / "cache"


@pytest.fixture
def announced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a program that listens to the logger hears."""
    heard: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    monkeypatch.setattr(announce.LOGGER, "handlers", [handler])
    monkeypatch.setattr(announce.LOGGER, "level", logging.INFO)
    announce.LOGGER.setLevel(logging.INFO)
    return heard


# Threads.


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, {"OMP_WAIT_POLICY": "PASSIVE"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
        ({"GOMP_SPINCOUNT": "5"}, {"GOMP_SPINCOUNT": "5"}),
        ({"KMP_BLOCKTIME": "1"}, {"KMP_BLOCKTIME": "1"}),
    ],
)
@pytest.mark.parametrize("module", ["lmfst", "lmfst.cli"])
def test_idle_threads_sleep_unless_the_user_says_otherwise(
    module: str, given: dict[str, str], wanted: dict[str, str]
) -> None:
    env = {name: value for name, value in os.environ.items() if name not in WAITING}
    code = f"import {module}, os, sys; assert 'torch' not in sys.modules\n"
    code += f"print({{n: os.environ[n] for n in {WAITING} if n in os.environ}})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**env, "PYTHONPATH": str(REPOSITORY), **given},
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout.strip() == str(wanted)


def test_threads(arpa: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    meta = tmp_path / "meta.json"
    convert = ["convert", "--model", str(arpa), "--meta", str(meta)]
    try:
        for number in (1, 2):
            done = CliRunner().invoke(app, [*convert, "--threads", str(number)], input=b"[bos]\n")
            assert done.exit_code == 0, done.output
            assert torch.get_num_threads() == json.loads(meta.read_text())["threads"] == number
        done = CliRunner().invoke(app, ["next", "--model", str(arpa), "--threads", "1"])
        assert done.exit_code == 0 and torch.get_num_threads() == 1
        for command in ("convert", "next"):
            assert CliRunner().invoke(app, [command, "--threads", "0"]).exit_code == 2
        with pytest.raises(UsageError, match="--threads must be at least 1"):
            load_lm(str(arpa), threads=0)
    finally:
        torch.set_num_threads(before)


# Announcements.


def test_long_work_is_announced_once(monkeypatch: pytest.MonkeyPatch, announced: list[str]) -> None:
    monkeypatch.setattr(announce, "AFTER", 0.5)
    work = Announced("building")
    with work:
        pass
    assert not announced
    # While a block is still going on, and for several blocks in all.
    with work:
        time.sleep(0.3)
    with work:
        time.sleep(1.0)
        assert announced == ["building"]
    with work:
        time.sleep(0.1)
    assert announced == ["building"]


def test_what_builds_caches_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, announced: list[str]
) -> None:
    monkeypatch.setattr(announce, "AFTER", 0.001)
    monkeypatch.setattr("lmfst.lexicon.store.WORTHWHILE_TOKENS", 1)
    path = tmp_path / "g.grm"
    path.write_text('export r = "a";')
    for _ in range(2):
        compile_file(path)
    for _ in range(2):
        remembered("check", ["a"], lambda: time.sleep(0.1), doing="checking")
    slow = Lexicons._build
    monkeypatch.setattr(
        Lexicons, "_build", lambda self, *pair: (time.sleep(0.1), slow(self, *pair))[1]
    )
    for _ in range(2):
        found = Lexicons(make_vocab([b"a", b"b"]), Determinised(random_fst(3)), name="X for Y")
        assert len(found[found.start].tokens)
    cache = tmp_path / "cache"
    (folder,) = (cache / "lexicons").iterdir()
    assert announced == [
        f"compiling the grammar {path} (once; kept in {cache / 'grammars'})",
        f"checking (once; the verdict is kept in {cache / 'checks'})",
        f"building the lexicons of X for Y (once; kept in {folder})",
    ]


def test_the_command_line_shows_announcements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "g.grm"
    path.write_text('export r = "a";')
    apply = ["apply", "--to", str(path)]
    monkeypatch.setattr(announce, "AFTER", 1000.0)
    first = CliRunner().invoke(app, apply, input=b"a\n")
    assert (first.stdout, first.stderr) == ("a\n", "")
    monkeypatch.setattr(announce, "AFTER", 0.001)
    path.write_text('export r = "a" ;')
    assert "lmfst: compiling the grammar" in CliRunner().invoke(app, apply, input=b"a\n").stderr
    path.write_text('export r = "a"  ;')
    assert CliRunner().invoke(app, [*apply, "--quiet"], input=b"a\n").stderr == ""


# Progress.


def test_lines_of_progress_where_stderr_is_no_terminal(
    arpa: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert = ["convert", "--model", str(arpa), "--batch", "1", "--level", "summary"]
    said: list[str] = []
    text = progress.Progress.text
    expected = "2 of 2 documents read so far are done: 10 symbols, "

    def recorded(self: progress.Progress) -> str:
        said.append(text(self))
        return said[-1]

    def documents(*args: Any, **options: Any) -> Iterator[Document]:
        for i in range(3):
            if i == 2 and progress.LINES < 1:
                # As long as it takes to be said; --quiet has nothing to wait for.
                until = time.monotonic() + (60 if not quiet else 0.3)
                while time.monotonic() < until and not any(map(matches, said)):
                    time.sleep(0.01)
            yield Document(str(i), b"[bos]", f"text {i}")

    def matches(line: str) -> bool:
        return line.startswith(expected)

    quiet = False
    monkeypatch.setattr(progress.Progress, "text", recorded)
    monkeypatch.setattr("lmfst.cli.convert.documents", documents)
    monkeypatch.setattr(progress, "LINES", 1000.0)
    short = CliRunner().invoke(app, convert)
    assert (short.exit_code, short.stderr) == (0, "")
    monkeypatch.setattr(progress, "LINES", 0.05)
    done = CliRunner().invoke(app, convert)
    assert done.stdout == short.stdout
    lines = done.stderr.splitlines()
    assert lines == [f"lmfst: {line}" for line in said] and any(map(matches, said))
    said.clear()
    quiet = True
    assert CliRunner().invoke(app, [*convert, "--quiet"]).stderr == "" and not said


@pytest.mark.parametrize("quiet", [False, True])
def test_progress_on_a_terminal_leaves_rows_alone(quiet: bool, arpa: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom lmfst.cli import convert, main, progress\n"
        "from lmfst.io import Document\n"
        "progress.AFTER, progress.REFRESH = 0.1, 0.05\n"
        "shown, text = [], progress.Progress.text\n"
        "progress.Progress.text = lambda self: shown.append(1) or text(self)\n"
        "def documents(*args, **options):\n"
        "    for i in range(3):\n"
        f"        until = time.monotonic() + {0.3 if quiet else 60}\n"
        "        while time.monotonic() < until and not shown: time.sleep(0.01)\n"
        "        yield Document(f'[bold]{i}', b'[bos]x'[:5 + i // 2], 'text')\n"
        "convert.documents = documents\n"
        "main()"
    )
    args = ["convert", "--model", str(arpa), "--batch", "1", *(["--quiet"] if quiet else [])]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code, *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TERM": "xterm"},
    )
    os.close(theirs)
    shown = b""
    with open(ours, "rb", buffering=0) as stream:
        try:
            while part := stream.read(4096):
                shown += part
        except OSError:  # how Linux says that the other side is gone
            pass
    out, _ = process.communicate()
    assert process.returncode == 0
    rows = [line.split("\t") for line in out.decode().splitlines()[1:]]
    assert {row[0] for row in rows} == {"[bold]0", "[bold]1", "[bold]2"}
    assert [row[2] for row in rows[:6]] == [*"[bos]", "⊥"]
    assert b"\x1b" not in out
    # The last document has a symbol that the model lacks: a warning among the progress.
    assert (shown == b"") is quiet
    assert quiet or (b"documents read so far are done" in shown and b"logp is -inf" in shown)
