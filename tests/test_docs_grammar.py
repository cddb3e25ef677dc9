"""The reference of the grammar language: its examples do what is shown, and nothing is left out."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

import pytest

from lmfst.fst import apply_all
from lmfst.fst.best import PairWeights
from lmfst.grammar import CompiledModule, compile_file
from lmfst.grammar.builtins import BUILTINS
from lmfst.target.units import target_text
from tests.support.pages import PAGES, REPOSITORY, Example, examples_of, run_here, write_files

GRAMMAR = "docs/reference/grammar.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the pages show."""
    return write_files(tmp_path_factory.mktemp("docs"))


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
def compiled(folder: Path) -> CompiledModule:
    """The last exported rule of each example of the reference, under the names E0, E1, …"""
    before = Path.cwd()
    os.chdir(folder)
    try:
        for command, _ in examples_of(GRAMMAR):
            run_here(command)
    finally:
        os.chdir(before)
    imports, exports = [], []
    for number, (block, _) in enumerate(grammar_examples()):
        (folder / f"e{number}.grm").write_text(block, encoding="utf-8")
        last = re.findall(r"^export (\w+)", block, re.MULTILINE)[-1]
        imports.append(f"import 'e{number}.grm' as e{number};")
        exports.append(f"export E{number} = e{number}.{last};")
    (folder / "every.grm").write_text("\n".join([*imports, *exports]), encoding="utf-8")
    warnings: list[str] = []
    module = compile_file(folder / "every.grm", warn=warnings.append)
    assert warnings == []
    return module


def test_every_grammar_of_the_reference_does_what_is_shown(compiled: CompiledModule) -> None:
    for number, (block, cases) in enumerate(grammar_examples()):
        assert cases, block
        fst = compiled.rule(f"E{number}").to_fst(weights=True).trim()
        for text, shown in cases:
            data = text.encode()
            found = [
                (
                    target_text(output, fst.symbols).decode(),
                    None if fst.weight is None else PairWeights(fst).of(data, output),
                )
                for output in apply_all(fst, data)
            ]
            expected = [] if shown == "∅" else [as_output(one) for one in shown.split(" or ")]
            assert sorted(found) == sorted(expected), (block, text)


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
