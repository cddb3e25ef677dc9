"""The page of the documentation about reports shows what pages say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.outputs import Page
from tests.support.pages import PAGES, examples_of, run_here, write_files

REPORT = "docs/how-to/report.md"


def test_the_sentences_shown_are_those_of_the_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write_files(tmp_path))
    for command, shown in examples_of(REPORT):
        assert run_here(command) == shown == ""
    blocks = re.findall(r"<!-- report: (\S+) -->\n```text\n(.*?)```", PAGES[REPORT], re.DOTALL)
    assert [name for name, _ in blocks] == ["proteins.html", "two.html"]
    for name, shown in blocks:
        found = Page(Path(name).read_text()).items
        first = next(at for at, item in enumerate(found) if item.startswith("Units:"))
        assert shown.splitlines() == found[first:]
