"""How commands end: signals, closed streams, errors before the first row."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY

COMMAND = [sys.executable, "-c", "from lmfst.cli import main; main()"]
PATIENT = "import lmfst.cli, lmfst.cli.ends as ends; ends.GRACE = 100.0; lmfst.cli.main()"
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(REPOSITORY),
    "OMP_NUM_THREADS": "1",
    # A compiler ignores an interrupt that comes in one of its callbacks.
    "LMFST_COMPILED": "0",
}
ARPA = "\\data\\\nngram 1=3\n\n\\1-grams:\n-99 <s>\n-0.3 </s>\n-0.3 a\n\n\\end\\\n"


@pytest.fixture
def arpa(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "m.arpa").write_text(ARPA)
    return folder / "m.arpa"


@contextlib.contextmanager
def running(
    *args: str | Path, ignored: int | None = None, patient: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """A command that reads from and writes to pipes; killed at the end if it is still there.

    patient: it gives a reader all the time that a test can need."""

    def before() -> None:
        # Whatever the tests were started with, such as nohup.
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN if number == ignored else signal.SIG_DFL)
        # A command has to end in time whatever it inherits.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})

    process = subprocess.Popen(
        [*(COMMAND if not patient else [*COMMAND[:-1], PATIENT]), *map(str, args)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        preexec_fn=before,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def give(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(data)
    process.stdin.flush()


def wait_for(folder: Path, pattern: str) -> None:
    for _ in range(600):
        if list(folder.glob(pattern)):
            return
        time.sleep(0.1)
    raise AssertionError(f"{pattern} never came")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_ends_a_command_like_an_interrupt(name: str, arpa: Path, tmp_path: Path) -> None:
    number = getattr(signal, name)
    out = tmp_path / "out.tsv"
    with running("convert", "--model", arpa, "--batch", "1", "-o", out) as process:
        give(process, b"a\n")
        wait_for(tmp_path, ".out.tsv.*.tmp")
        process.send_signal(number)
        assert process.wait(60) == 128 + number
        assert process.stderr is not None and process.stderr.read() == b""
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_rows_written_before_a_signal_stay(arpa: Path) -> None:
    with running("convert", "--model", arpa, "--batch", "1") as process:
        assert process.stdout is not None
        give(process, b"a\n")
        first = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
        assert first[2].startswith(b"1\t1\t") and process.stdout.read() == b""


def test_an_ignored_hangup_stays_ignored(arpa: Path) -> None:
    with running("convert", "--model", arpa, "--batch", "1", ignored=signal.SIGHUP) as process:
        assert process.stdout is not None
        give(process, b"a\n")
        for _ in range(3):
            process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        out, err = process.communicate(b"a\n")
        assert (process.returncode, err) == (0, b"") and out.count(b"\n") == 2


@pytest.mark.parametrize("patient", [True, False])
def test_a_long_row_is_written_whole(patient: bool) -> None:
    line = b"x" * 300_000 + b"\n"
    with running("apply", "--to", "bytes", patient=patient) as process:
        give(process, line)
        assert process.stdout is not None
        begin = os.read(process.stdout.fileno(), 10_000)
        # The rest is more than a pipe holds.
        process.send_signal(signal.SIGTERM)
        if patient:
            time.sleep(0.5)
        else:
            # Nobody takes the rest, which must not keep the process for ever.
            assert process.wait(60) == 143
        got = begin + process.stdout.read()
        assert process.wait(60) == 143
        assert (got == line) is patient


CLOSED = [
    ["--version"],
    ["--help"],
    ["convert", "--help"],
    ["convert", "--model", "MODEL", "FILE"],
    ["next", "--model", "MODEL"],
    ["apply", "--to", "chars", "FILE"],
    ["info", "bytes"],
    ["print", "bytes"],
    ["draw", "bytes"],
]


def closed(args: list[str], arpa: Path, closing: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command under a shell that closes or redirects streams."""
    (arpa.parent / "text").write_text("a\n")
    known = {"MODEL": str(arpa), "FILE": str(arpa.parent / "text")}
    words = [known.get(arg, arg) for arg in args]
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {closing}', "sh", *COMMAND, *words],
        capture_output=True,
        env=ENVIRONMENT,
    )


@pytest.mark.parametrize("args", CLOSED, ids=" ".join)
def test_a_closed_stdout_is_an_error(args: list[str], arpa: Path) -> None:
    done = closed(args, arpa, ">&-")
    assert done.returncode == 1
    assert done.stderr.decode() == "lmfst: error: the standard output is closed\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("args", CLOSED[1:4], ids=" ".join)
def test_a_full_disk_is_an_error(args: list[str], arpa: Path) -> None:
    done = closed(args, arpa, ">/dev/full")
    assert done.returncode == 1
    assert done.stderr.decode() == "lmfst: error: No space left on device\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("option", ["-o", "--meta"])
def test_the_file_on_a_full_disk_is_named(option: str, arpa: Path) -> None:
    done = closed([*CLOSED[3], option, "/dev/full"], arpa, "")
    assert done.returncode == 1
    said = done.stderr.decode()
    assert "/dev/full: " in said and "No space left on device" in said
    assert "hint: free some space there" in said and "Traceback" not in said


@pytest.mark.parametrize(
    "args",
    [
        ["convert", "--model", "MODEL"],
        ["apply", "--to", "chars"],
        ["compile", "-", "-o", "/dev/null.fst"],
    ],
    ids=" ".join,
)
def test_a_closed_stdin_is_an_error(args: list[str], arpa: Path) -> None:
    done = closed(args, arpa, "<&-")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"the standard input is closed" in done.stderr and b"Traceback" not in done.stderr


def test_a_closed_stderr_takes_no_messages(arpa: Path) -> None:
    assert closed(["convert", "--model", "none.arpa"], arpa, "2>&-").returncode == 1
    assert closed(["convert", "--nothing"], arpa, "2>&-").returncode == 2
    # A file that got the number of stderr would have the messages of libraries in it.
    out = arpa.parent / "out.tsv"
    done = closed(["convert", "--model", "MODEL", "FILE", "-o", str(out)], arpa, "<&- >&- 2>&-")
    assert done.returncode == 0 and out.read_text().count("\n") == 3


def test_no_header_before_an_error(arpa: Path) -> None:
    (arpa.parent / "bad.jsonl").write_text('{"text": 5}\n')
    (arpa.parent / "later.jsonl").write_text('{"text": "a"}\n{"text": 5}\n')
    convert = ["convert", "--model", "MODEL", "--batch", "1"]
    bad = closed([*convert, str(arpa.parent / "bad.jsonl")], arpa, "")
    assert (bad.returncode, bad.stdout) == (1, b"")
    later = closed([*convert, str(arpa.parent / "later.jsonl")], arpa, "")
    assert later.returncode == 1 and later.stdout.count(b"\n") == 3
    empty = closed([*convert], arpa, "</dev/null")
    assert (
        empty.returncode == 0
        and empty.stdout.startswith(b"id\t")
        and empty.stdout.count(b"\n") == 1
    )
