"""The architecture page: packages, imports and files are what it says."""

from __future__ import annotations

import ast
import re

import pytest

from tests.support.pages import PAGES, REPOSITORY

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
