"""`lmfst next`: several prefixes, from the command line and from a pipe, and its limits."""

from __future__ import annotations

import json
import math
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import COMMAND, call, environment
from tests.support.tiny import letter_bigram

NEXT = ("next", "--model", "g.arpa", "--exact")
PATIENT = 60.0
"""Seconds in which a row must come. It would not come at all if it were held back."""


@pytest.fixture(autouse=True)
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    letter_bigram(tmp_path / "g.arpa")


def test_several_prefixes_one_after_the_other() -> None:
    together = call(*NEXT, "--top", "2", "A", "", "CG").rows()
    assert [row["id"] for row in together] == ["1", "1", "2", "2", "3", "3"]
    piped = call(*NEXT, "--top", "2", "-", input=b"A\n\nCG\n").rows()
    assert piped == together
    for number, prefix in enumerate(("A", "", "CG")):
        alone = call(*NEXT, "--top", "2", prefix).rows()
        assert [{**row, "id": str(number + 1)} for row in alone] == together[2 * number :][:2]
    assert call(*NEXT, "--top", "2").rows() == call(*NEXT, "--top", "2", "").rows()
    whole = call(*NEXT, "--top", "0", "A").rows()
    assert float(whole[-1]["mass"]) == pytest.approx(1.0, abs=1e-8)
    assert float(whole[1]["mass"]) == pytest.approx(float(whole[0]["p"]) + float(whole[1]["p"]))


def test_rows_of_a_line_come_before_the_next_line_is_sent() -> None:
    pipe = subprocess.PIPE
    command = [*COMMAND, *NEXT, "--top", "2", "--format", "jsonl", "-"]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment()) as process:
        timer = threading.Timer(PATIENT, process.kill)
        timer.start()
        into: Any = process.stdin
        out: Any = process.stdout
        for number in (b"1", b"2", b"3"):
            into.write(b"A" * int(number) + b"\n")
            into.flush()
            assert [json.loads(out.readline())["id"] for _ in range(2)] == [number.decode()] * 2
        into.close()
        assert process.wait() == 0
        timer.cancel()


def test_limits() -> None:
    for options, said in (
        (("--mass", "0"), "--mass is a probability above 0 and below 1"),
        (("--mass", "1.5"), "--mass is a probability"),
        (("--seconds", "0"), "--seconds must be a time above 0"),
        (("--top", "-1"), "--top must be at least 0"),
        (("--policy", "sample"), "estimates probabilities of given strings"),
        (("-", "A", "-"), "which can be read once"),
        (("-", "--plot", "p.png"), "one distribution"),
    ):
        done = call("next", "--model", "g.arpa", *options)
        assert done.code == 2 and said in done.err and not done.out
    rows = call(*NEXT, "--mass", "0.6", "A").rows()
    masses = [float(row["mass"]) for row in rows]
    assert masses[-1] >= 0.6 and all(mass < 0.6 for mass in masses[:-1])
    assert math.fsum(float(row["p"]) for row in rows) == pytest.approx(masses[-1])
