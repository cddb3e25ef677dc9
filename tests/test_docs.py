"""The documentation: commands exist, examples give what is shown; and importing lmfst is cheap."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

import lmfst
from lmfst.cli import app

REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", README, re.DOTALL))
Example = tuple[str, str]


def examples() -> list[Example]:
    """(command line, output) of every `$` line in the README's console blocks."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


def stages(command: str) -> list[list[str]]:
    """The words of every part of a pipeline."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|")
    lexer.whitespace_split = True
    lexer.commenters = ""
    parts: list[list[str]] = [[]]
    for word in lexer:
        if word == "|":
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def parsed(arguments: list[str]) -> dict[str, Any]:
    """The parameters of an `lmfst` command line, read by the command itself but not run."""
    group: Any = typer.main.get_command(app)
    context = group.make_context("lmfst", list(arguments))
    name, command, rest = group.resolve_command(context, list(arguments))
    return dict(command.make_context(name, rest, parent=context).params)


def run_here(command: str) -> str:
    """The output of a pipeline whose parts are printf, lmfst, head, tail and grep."""
    data = b""
    for words in stages(command):
        if words[0] == "lmfst":
            done = CliRunner().invoke(app, words[1:], input=data)
            assert done.exit_code == 0, done.output
            data = done.stdout_bytes
        else:
            data = subprocess.run(words, input=data, stdout=subprocess.PIPE, check=True).stdout
    return data.decode()


def cheap(command: str) -> bool:
    """Whether a command doesn't need a neural model."""
    words = command.split()
    modelled = "convert" in words or "next" in words
    return any(word.endswith(".arpa") for word in words) or not modelled


def test_command_reference_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "scripts" / "sync_docs.py"), "--check"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_readme_has_examples_of_each_kind() -> None:
    commands = [command for command, _ in examples()]
    assert len(commands) >= 15
    assert {"dna.arpa", "fields.grm", "spelling.grm"} <= FILES.keys()
    assert sum(map(cheap, commands)) >= 8


@pytest.mark.parametrize("command", [command for command, _ in examples()])
def test_commands_of_the_readme_parse(command: str) -> None:
    lines = [words[1:] for words in stages(command) if words[0] == "lmfst"]
    assert lines
    for arguments in lines:
        assert parsed(arguments)


def test_options_named_in_the_text_exist() -> None:
    group: Any = typer.main.get_command(app)
    known = {"--version", "--help"}
    for command in group.commands.values():
        for parameter in command.params:
            known.update(parameter.opts, parameter.secondary_opts)
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    # Spans of code such as `--bos none` and `pip install --no-deps`; the latter are not ours.
    spans = [span for span in re.findall(r"`([^`\n]+)`", prose) if not span.startswith("pip")]
    named = {option for span in spans for option in re.findall(r"(?<![\w-])--[a-z-]+", span)}
    assert len(named) > 15
    assert named <= known
    commands = {span.split()[1] for span in spans if re.match(r"lmfst [a-z]+\b(?!\.)", span)}
    assert commands <= set(group.commands)


def test_a_command_that_does_not_exist_is_noticed() -> None:
    for line in ("konvert --to bytes", "convert --too bytes", "convert --level words"):
        with pytest.raises(Exception, match=r"(?i)no such|is not one of"):
            parsed(line.split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the README shows."""
    place = tmp_path_factory.mktemp("readme")
    for name, text in FILES.items():
        (place / name).write_text(text, encoding="utf-8")
    return place


def test_examples_give_what_the_readme_shows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for command, shown in filter(lambda example: cheap(example[0]), examples()):
        found = run_here(command)
        if "print" in command.split():
            # The numbers of states are the compiler's choice.
            assert len(found.splitlines()) == len(shown.splitlines())
            continue
        assert rows_of(found) == rows_of(shown), command


def rows_of(text: str) -> list[list[object]]:
    """The rows of an output, without the hash of an FST, which follows the compiler's version."""
    return [as_numbers(line) for line in text.splitlines() if not line.startswith("digest\t")]


def as_numbers(line: str) -> list[object]:
    """The fields of a row; numbers with a point are compared up to 1e-7."""
    fields: list[object] = []
    for field in line.split("\t"):
        real = re.fullmatch(r"-?\d+\.\d+(e-?\d+)?", field)
        fields.append(pytest.approx(float(field), rel=1e-7) if real else field)
    return fields


def snippets() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_python_snippets_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    outputs = []
    for snippet in snippets():
        exec(compile(snippet, "README.md", "exec"), {"__name__": "snippet"})
        outputs.append(capsys.readouterr().out.splitlines())
    first, second = outputs
    rows = dict(example for example in examples() if "--level text" in example[0])
    amino = next(text for command, text in rows.items() if "dna.arpa" in command)
    assert float(first[2]) == pytest.approx(float(amino.splitlines()[1].split("\t")[3]), abs=1e-7)
    assert first[4] == "(77, 65)"
    assert 2.71828182845904 ** float(second[0]) == pytest.approx(2 / 7 / 11 * (1 + 2 / 11))


def test_public_names_are_there_and_no_others() -> None:
    for name in lmfst.__all__:
        assert getattr(lmfst, name) is not None
        assert name in dir(lmfst)
    with pytest.raises(AttributeError, match="nothing_such"):
        lmfst.nothing_such  # noqa: B018


def test_readme_names_only_public_names_of_lmfst() -> None:
    named = set(re.findall(r"\blmfst\.([A-Za-z]\w*)\(", "\n".join(snippets()) + README))
    assert {"load", "Beam", "Exact"} <= named
    assert named <= set(lmfst.__all__)


@pytest.mark.parametrize("first", ["import lmfst", "from lmfst.ground.errors import LmfstError"])
def test_importing_lmfst_is_cheap(first: str) -> None:
    code = f"{first}; import sys; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert "lmfst" in loaded
    assert not loaded & {"numpy", "torch", "transformers", "pynini", "pywrapfst", "rich", "typer"}
