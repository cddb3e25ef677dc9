"""The documentation: commands exist, examples give what is shown; and importing lmfst is cheap."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

import lmfst
from lmfst.cli import app
from lmfst.grammar.builtins import BUILTINS
from lmfst.scored.levels import COLUMNS
from lmfst.scored.records import BOUNDS_COLUMNS, NEXT_COLUMNS, VERSUS_COLUMNS

REPOSITORY = next(
    folder for folder in Path(__file__).resolve().parents if (folder / "pyproject.toml").exists()
)
DOCS = REPOSITORY / "docs"
NAMES = ["README.md", "CONTRIBUTING.md"]
NAMES += sorted(path.relative_to(REPOSITORY).as_posix() for path in DOCS.rglob("*.md"))
PAGES = {name: (REPOSITORY / name).read_text(encoding="utf-8") for name in NAMES}
CLI = "docs/reference/cli.md"
GRAMMAR = "docs/reference/grammar.md"
Example = tuple[str, str]


def shown_files() -> dict[str, str]:
    """name → text of the files that the pages show. A file on several pages is the same there."""
    files: dict[str, str] = {}
    for page, text in PAGES.items():
        for name, content in re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", text, re.DOTALL):
            assert files.setdefault(name, content) == content, f"{page}: {name} is another file"
    return files


FILES = shown_files()


def examples_of(page: str) -> list[Example]:
    """(command line, output) of every `$` line in a page's console blocks."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", PAGES[page], re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


def examples() -> list[Example]:
    """The examples of all pages, each once."""
    return list(dict.fromkeys(example for page in PAGES for example in examples_of(page)))


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


def prose(page: str) -> str:
    return re.sub(r"```.*?```", "", PAGES[page], flags=re.DOTALL)


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


@pytest.mark.parametrize("command", [command for command, _ in examples()])
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
    place = tmp_path_factory.mktemp("docs")
    for name, text in FILES.items():
        (place / name).write_text(text, encoding="utf-8")
    return place


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
    own = float(printed["docs/how-to/own-model.md"][0])
    assert 2.71828182845904**own == pytest.approx(2 / 7 / 11 * (1 + 2 / 11))


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


# The grammar language.


@cache
def grammar_examples() -> list[tuple[str, list[Example]]]:
    """Each grammar of the reference, and what it makes of inputs: lines `# input → output`."""
    found = []
    for block in re.findall(r"```thrax\n(.*?)```", PAGES[GRAMMAR], re.DOTALL):
        cases = re.findall(r"^# (\S+(?: \S+)*) → (.+)$", block, re.MULTILINE)
        found.append((block, cases))
    return found


def as_output(shown: str) -> tuple[str, float | None]:
    """An output as it is shown: its text, and its weight if there is one."""
    text, weight = re.fullmatch(r"(.*?)(?: <([\d.]+)>)?", shown, re.DOTALL).groups()  # type: ignore[union-attr]
    return ("" if text == "ε" else text), None if weight is None else float(weight)


@pytest.fixture(scope="module")
def archive(folder: Path) -> Path:
    """The last exported rule of each example of the reference, under the names E0, E1, …"""
    before = Path.cwd()
    os.chdir(folder)
    try:
        for command, _ in examples_of(GRAMMAR):
            run_here(command)
        imports, exports = [], []
        for number, (block, _) in enumerate(grammar_examples()):
            (folder / f"e{number}.grm").write_text(block, encoding="utf-8")
            last = re.findall(r"^export (\w+)", block, re.MULTILINE)[-1]
            imports.append(f"import 'e{number}.grm' as e{number};")
            exports.append(f"export E{number} = e{number}.{last};")
        (folder / "every.grm").write_text("\n".join([*imports, *exports]), encoding="utf-8")
        done = CliRunner().invoke(app, ["compile", "every.grm", "-o", "every.far"])
    finally:
        os.chdir(before)
    assert done.exit_code == 0, done.output
    assert "warning" not in done.stderr, done.stderr
    return folder / "every.far"


def test_every_grammar_of_the_reference_does_what_is_shown(archive: Path) -> None:
    for number, (block, cases) in enumerate(grammar_examples()):
        assert cases, block
        texts = "".join(f"{text}\n" for text, _ in cases).encode()
        to = f"{archive}:E{number}"
        done = CliRunner().invoke(app, ["apply", "--all", "--to", to], input=texts)
        assert done.exit_code == 0, done.output
        found: dict[str, list[tuple[str, float | None]]] = {}
        for line in done.stdout.splitlines():
            line_id, output, *weight = line.split("\t")
            pair = output, float(weight[0]) if weight else None
            found.setdefault(line_id, []).append(pair)
        for line_number, (text, shown) in enumerate(cases, start=1):
            expected = [] if shown == "∅" else [as_output(one) for one in shown.split(" or ")]
            assert sorted(found.get(str(line_number), [])) == sorted(expected), (block, text)


def test_the_reference_has_an_example_of_every_function() -> None:
    text, code = PAGES[GRAMMAR], "\n".join(block for block, _ in grammar_examples())
    code = re.sub(r"^#.*$", "", code, flags=re.MULTILINE)
    for name in BUILTINS:
        assert f"`{name}" in text, name
        if name != "Closure" and not name.endswith("Delayed"):
            assert f"{name}[" in code, name
            assert re.search(rf"^### {name}$", text, re.MULTILINE), name


def test_the_files_of_lmfst_export_what_the_reference_says() -> None:
    rows = re.findall(r"^\| (`lib/.+?`) \| (.+?) \|$", PAGES[GRAMMAR], re.MULTILINE)
    assert len(rows) >= 5
    for names, exports in rows:
        (name,) = re.findall(r"`(lib/\w+\.grm)`", names)
        source = (REPOSITORY / "grammars" / name).read_text(encoding="utf-8")
        there = set(re.findall(r"^(?:export|func) (\w+)", source, re.MULTILINE))
        said = set(re.findall(r"`(\w+)`", exports))
        assert said == there, name


# Architecture.

ARCHITECTURE = "docs/architecture.md"
CHANGES = (
    "policy that keeps",
    "target unit",
    "input format",
    "tokenizer decoder",
    "attention variant",
    "column",
    "option of the command line",
    "built-in function",
    "segment sum",
    "kept check",
)
PACKAGE = REPOSITORY / "lmfst"


def corridor() -> list[list[str]]:
    """The rows of packages, from the top."""
    (block,) = re.findall(r"<!-- corridor -->\n```text\n(.*?)```", PAGES[ARCHITECTURE], re.DOTALL)
    return [line.split() for line in block.splitlines()]


def imported_by(source: str) -> set[str]:
    """The packages of lmfst that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
            found.update(f"{node.module}.{name.name}" for name in node.names)
    return {name.split(".")[1] for name in found if re.match(r"lmfst\.[a-z]", name)}


def test_the_corridor_names_the_packages_that_there_are() -> None:
    there = {
        path.stem
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    named = [name for row in corridor() for name in row]
    assert sorted(named) == sorted(there - {"__init__"})
    described = re.findall(r"^\| `(\w+)` \| .+ \| .+ \|$", PAGES[ARCHITECTURE], re.MULTILINE)
    assert described[: len(named)] == named


def test_imports_go_down_the_corridor() -> None:
    rows = {name: number for number, row in enumerate(corridor()) for name in row}
    links = set()
    for path in PACKAGE.rglob("*.py"):
        home = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if home != "__init__":
            links |= {(home, name) for name in imported_by(path.read_text(encoding="utf-8"))}
    assert {("cli", "model"), ("model", "inference"), ("inference", "ground")} <= links
    assert [(a, b) for a, b in links if a != b and rows[a] >= rows[b]] == []


def test_imports_of_every_form_are_seen() -> None:
    source = """
import lmfst.cli.group
from lmfst import model
from lmfst.lm.base import LM
def f():
    from lmfst.io import rows
"""
    assert imported_by(source) == {"cli", "model", "lm", "io"}


def test_files_and_names_of_the_architecture_exist() -> None:
    """Paths of the repository; and the names in code of a row stand in a file of that row."""
    text = PAGES[ARCHITECTURE]
    paths = set(re.findall(r"`((?:lmfst|docs|grammars|scripts)/[\w./-]+)`", text))
    paths = {path for path in paths if "NAME" not in path}
    assert len(paths) > 25
    assert [path for path in sorted(paths) if not (REPOSITORY / path).exists()] == []
    changes = text.split("## How to change what")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", changes, re.MULTILINE)[1:]
    assert len(rows) >= 10
    for change, where in rows:
        files = [REPOSITORY / path for path in re.findall(r"`(lmfst/[\w./]+\.py)`", where)]
        code = "\n".join(path.read_text(encoding="utf-8") for path in files)
        for name in re.findall(r"`([A-Za-z_]+)`", where):
            assert re.search(rf"\b{name}\b", code), (change, name)


@pytest.mark.parametrize("change", CHANGES)
def test_there_is_a_file_for_every_kind_of_change(change: str) -> None:
    table = PAGES[ARCHITECTURE].split("## How to change what")[1]
    (row,) = re.findall(rf"^\| [^|]*{change}.*$", table, re.MULTILINE)
    assert re.search(r"`lmfst/\S+\.py`", row)


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
