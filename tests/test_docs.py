"""The documentation: commands exist, examples give what is shown; and importing lmfst is cheap."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer.main

import lmfst
from lmfst.cli import app
from lmfst.generate.counts import NGRAM_COLUMNS
from lmfst.generate.decode import DECODE_COLUMNS
from lmfst.generate.drawn import WITHIN_COLUMNS
from lmfst.scored.levels import COLUMNS
from lmfst.scored.records import BOUNDS_COLUMNS, NEXT_COLUMNS, VERSUS_COLUMNS
from tests.support.pages import (
    FILES,
    PAGES,
    REPOSITORY,
    cheap,
    examples,
    examples_of,
    prose,
    run_here,
    stages,
    write_files,
)


def parsed(arguments: list[str]) -> dict[str, Any]:
    """The parameters of an `lmfst` command line, read by the command itself but not run."""
    group: Any = typer.main.get_command(app)
    context = group.make_context("lmfst", list(arguments))
    name, command, rest = group.resolve_command(context, list(arguments))
    return dict(command.make_context(name, rest, parent=context).params)


def test_command_reference_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "scripts" / "sync_docs.py"), "--check"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_readme_is_short() -> None:
    assert len(PAGES["README.md"].splitlines()) <= 250


def test_there_are_examples_of_each_kind() -> None:
    commands = [command for command, _ in examples()]
    assert len(commands) >= 25
    assert {"dna.arpa", "fields.grm", "spelling.grm"} <= FILES.keys()
    assert sum(map(cheap, commands)) >= 15
    of_the_readme = " ".join(command for command, _ in examples_of("README.md"))
    for unit in ("bytes", "chars", "words", "amino", "fields.grm"):
        assert f"lmfst convert --to {unit}" in of_the_readme


def test_an_example_on_several_pages_is_the_same_there() -> None:
    commands = [command for command, _ in examples() if not re.search(r"\| (head|tail)", command)]
    assert len(set(commands)) == len(commands)


@pytest.mark.parametrize(
    "command", [command for command, _ in examples() if "lmfst" in command.split()]
)
def test_commands_of_the_examples_parse(command: str) -> None:
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
    # Spans of code such as `--bos none`; those of other programs are not ours.
    spans = [
        span
        for page in PAGES
        for span in re.findall(r"`([^`\n]+)`", prose(page))
        if not re.match(r"(pip|mkdocs|pytest|python|pre-commit|git) ", span)
    ]
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
    """A folder with the files that the pages show."""
    return write_files(tmp_path_factory.mktemp("docs"))


def test_examples_give_what_is_shown(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def snippets(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGES[page], re.DOTALL)


@pytest.fixture
def printed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> dict[str, list[str]]:
    """The lines that the Python of each page prints."""
    monkeypatch.chdir(folder)
    lines = {}
    for page in PAGES:
        for snippet in snippets(page):
            exec(compile(snippet, page, "exec"), {"__name__": "snippet"})
        lines[page] = capsys.readouterr().out.splitlines()
    return {page: found for page, found in lines.items() if found}


def test_python_snippets_run(printed: dict[str, list[str]]) -> None:
    amino = next(
        output
        for command, output in examples()
        if "--level text" in command and "--model dna.arpa" in command
    )
    logp = pytest.approx(float(amino.splitlines()[1].split("\t")[3]), abs=1e-7)
    assert float(printed["README.md"][0]) == logp
    reference = printed["docs/reference/python.md"]
    assert float(reference[2]) == logp
    assert reference[4] == "(77, 65)"
    states = printed["docs/how-to/states.md"]
    model = lmfst.load("dna.arpa", to="amino", policy="exact")
    assert float(states[0]) == pytest.approx(model.prefix_logp("MA"), abs=1e-9)
    assert float(states[2]) == pytest.approx(model.next_logp("MA")["L"], abs=1e-9)
    assert float(states[3]) == pytest.approx(model.logp("MAVV"), abs=1e-9)
    greedy, logp = states[4].split()
    assert float(logp) == pytest.approx(model.prefix_logp(f"MA{greedy}"), abs=1e-9)
    assert len(greedy) == 6 and len(states) == 9
    for line in states[5:]:
        string, logp = line.split()
        assert float(logp) == pytest.approx(model.prefix_logp(string), abs=1e-9)
        assert all(one != other for one, other in pairwise(string))
    drawn = [line.split() for line in printed["docs/how-to/sampling.md"]]
    (shown,) = [out for command, out in examples() if command.endswith("30 --prompt MA")]
    rows = [line.split("\t") for line in shown.splitlines()[1:]]
    assert drawn == [[row[1][2:], row[5].capitalize()] for row in rows]
    seam, read = map(float, printed["docs/how-to/prompts.md"])
    # The model's file has four digits.
    assert seam == pytest.approx(math.log(0.91 / 2), abs=1e-3)
    assert read == pytest.approx(math.log(0.1 / 2), abs=1e-3)
    check_ensembles(printed["docs/how-to/ensembles.md"])
    found = [line.split() for line in printed["docs/how-to/decoding.md"]]
    for text, logp in found[:2]:
        assert float(logp) == pytest.approx(model.logp(text) - model.prefix_logp("M"), abs=1e-6)
    masses = {row[2] for row in found[2:]}
    assert [row[1] for row in found[2:]] == ["exact"] * 3 and len(masses) == 1
    own = float(printed["docs/how-to/own-model.md"][0])
    assert 2.71828182845904**own == pytest.approx(2 / 7 / 11 * (1 + 2 / 11))


def check_ensembles(printed: list[str]) -> None:
    """What the page prints, against its table and the models' files, which have four digits."""
    # The first model is sure of http and gives :/ 0.91; the other one is of single letters.
    letters = [1 / 8, 1 / 4, 1 / 4, 1 / 8, 1 / 16, 3 / 16]
    both = [0.9 * first + 0.1 * p for first, p in zip([1] * 5 + [0.91], letters, strict=True)]
    assert float(printed[0]) == pytest.approx(math.fsum(map(math.log, both)), abs=1e-3)
    following = eval(printed[1], {})
    assert math.fsum(map(math.exp, following.values())) == pytest.approx(1, abs=1e-9)
    left, right = map(float, printed[2].split())
    before = float(printed[0]) - following["/"]
    assert left == pytest.approx(float(printed[0]), abs=1e-9)
    assert right == pytest.approx(before + following["a"], abs=1e-9)
    assert len(printed) == 6 and all(float(line.split()[-1]) < 0 for line in printed[3:])


def test_public_names_are_there_and_no_others() -> None:
    for name in lmfst.__all__:
        assert getattr(lmfst, name) is not None
        assert name in dir(lmfst)
    with pytest.raises(AttributeError, match="nothing_such"):
        lmfst.nothing_such  # noqa: B018


def test_the_pages_name_only_public_names_of_lmfst() -> None:
    text = "\n".join(PAGES.values())
    named = set(re.findall(r"\blmfst\.([A-Za-z]\w*)\(", text))
    assert {"load", "Beam", "Exact"} <= named
    assert named <= set(lmfst.__all__)


def test_the_reference_has_every_public_name() -> None:
    described = re.findall(r"^::: lmfst\.(\w+)$", PAGES["docs/reference/python.md"], re.MULTILINE)
    assert sorted(described) == sorted(lmfst.__all__)


def test_the_meaning_of_every_column_is_given() -> None:
    columns = {name for names in COLUMNS.values() for name in names}
    columns |= {*BOUNDS_COLUMNS, *VERSUS_COLUMNS, *NEXT_COLUMNS}
    columns |= {*WITHIN_COLUMNS, *DECODE_COLUMNS, *NGRAM_COLUMNS}
    cells = re.findall(r"^\| (`.+?) \|", PAGES["docs/reference/rows.md"], re.MULTILINE)
    assert columns == set(re.findall(r"`(\w+)`", " ".join(cells)))


# Links. Those within docs/ are also checked by mkdocs, which sees no others.


def anchors_of(text: str) -> set[str]:
    """The names of a page's headings in links."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_links_lead_somewhere(page: str) -> None:
    place = REPOSITORY / page
    for link in re.findall(r"\]\(([^)\s]+)\)", place.read_text(encoding="utf-8")):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = place.parent / path if path else place
        assert target.is_file(), link
        assert not anchor or anchor in anchors_of(target.read_text(encoding="utf-8")), link


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
