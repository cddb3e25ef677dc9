"""Prompts of `lmfst next` and `lmfst decode`: arguments and lines, in order, and those that have no
answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.cli import Done, call

COMMANDS = {
    "next": ("next", "--exact", "--top", "1"),
    "decode": ("decode", "--exact", "--max-units", "1"),
}


@pytest.fixture(params=COMMANDS)
def command(request: pytest.FixtureRequest, model: Path) -> tuple[str | Path, ...]:
    return (*COMMANDS[request.param], "--to", "chars", "--model", model)


def answers(done: Done) -> dict[str, list[str]]:
    """The rows by prompt, without its number and without the columns of the prompt itself."""
    found: dict[str, list[str]] = {}
    for line in done.lines[1:]:
        number, *rest = line.split("\t")
        found.setdefault(number, []).append("\t".join(rest))
    return found


def test_lines_stand_where_the_dash_does(command: tuple[str, ...]) -> None:
    alone = answers(call(*command, "a", "b", "", "ab"))
    assert list(alone) == ["1", "2", "3", "4"]
    for args, lines in (
        (["-"], b"a\nb\n\nab\n"),
        (["a", "-", "ab"], b"b\n\n"),
        (["a", "b", "-"], b"\nab"),
        (["-", "ab"], b"a\nb\n\n"),
    ):
        done = call(*command, *args, input=lines)
        assert (done.code, done.err, answers(done)) == (0, "", alone)


def test_lines_are_read_as_documents_are(command: tuple[str, ...]) -> None:
    plain = call(*command, "-", input=b"a\nb\n").out
    marked = call(*command, "-", input=b"\xef\xbb\xbfa\nb\n")
    assert marked.out == plain and "byte-order mark" in marked.err
    ends = call(*command, "-", input=b"a\r\nb\r\n")
    assert ends.out == plain and "CRLF" in ends.err
    wide = call(*command, "-", input="a\n".encode("utf-16"))
    assert wide.code == 1 and "UTF-16" in wide.err
    nothing = call(*command, "-", input=b"")
    assert nothing.code == 0 and "empty" in nothing.err and not nothing.lines[1:]


@pytest.mark.parametrize("batch", ["1", "64"])
def test_a_prompt_without_an_answer_does_not_end_the_others(
    command: tuple[str, ...], tmp_path: Path, batch: str
) -> None:
    many = ("--batch", batch) if command[0] == "decode" else ()
    good = answers(call(*command, "a", "b"))
    done = call(*command, *many, "-", input=b"a\nax\nb\n\xc3\nax\n")
    found = answers(done)
    assert done.code == 1 and [found["1"], found["3"]] == list(good.values())
    for number in ("2", "4", "5"):
        assert [row.strip("\t") for row in found[number]] == [""]
    said = done.err.splitlines()
    assert "rejected: <stdin>:2: nothing can follow" in said[0] and "symbol 1 (x)" in said[0]
    assert "rejected: <stdin>:4: " in done.err and "rejected: <stdin>:5: " in done.err
    assert said[-1] == "lmfst: error: 3 of 5 prompts have no answer"
    # Nothing of it is lost in a file.
    for name in ("o.jsonl", "o.tsv", "o.parquet"):
        out = tmp_path / name
        again = call(*command, *many, "-o", out, "-", input=b"a\nax\nb\n\xc3\nax\n")
        assert again.code == 1 and out.exists()
    assert (tmp_path / "o.tsv").read_bytes() == done.out
    rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert {row["id"] for row in rows} == {"1", "2", "3", "4", "5"}
    empty = [{**row, "id": None} for row in rows if row["id"] in ("2", "4", "5")]
    assert all(set(row.values()) == {None} for row in empty)


def test_arguments_are_named_by_their_numbers(command: tuple[str, ...]) -> None:
    done = call(*command, "a", "xx")
    assert done.code == 1 and list(answers(done)) == ["1", "2"]
    assert "rejected: prompt 2: nothing can follow" in done.err
    assert "error: 1 of 2 prompts have no answer" in done.err
    one = call(*command, "xx")
    assert one.code == 1 and "error: 1 of 1 prompt has no answer" in one.err
    quiet = call(*command, "--quiet", "xx")
    assert "rejected: prompt 1" in quiet.err


def test_a_prompt_that_needs_too_much(command: tuple[str, ...]) -> None:
    """It is found out which of those that share model calls it is."""
    texts = ["a", "abababababab", "b"]
    done = call(*command, "--node-budget", "9", *texts)
    found = answers(done)
    assert done.code == 1 and "rejected: prompt 2: " in done.err and "budget" in done.err
    good = answers(call(*command, *texts))
    assert [found["1"], found["3"]] == [good["1"], good["3"]]
    assert [row.strip("\t") for row in found["2"]] == [""]


def test_a_name_of_a_file_is_text(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ab").write_text("c\n")
    done = call(*command, "ab")
    assert done.code == 0 and "the prompt is 'ab' itself" in done.err
