"""The pages of the documentation, and the examples on them."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

from typer.testing import CliRunner

from lmfst.cli import app

REPOSITORY = next(
    folder for folder in Path(__file__).resolve().parents if (folder / "pyproject.toml").exists()
)
NAMES = ["README.md", "CONTRIBUTING.md"]
NAMES += sorted(
    path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "docs").rglob("*.md")
)
PAGES = {name: (REPOSITORY / name).read_text(encoding="utf-8") for name in NAMES}
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


def run_here(command: str) -> str:
    """The output of a pipeline of lmfst and unix tools."""
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
    modelled = not {"convert", "decode", "next", "sample", "score"}.isdisjoint(words)
    return any(word.endswith(".arpa") for word in words) or not modelled


def prose(page: str) -> str:
    """A page without its blocks of code."""
    return re.sub(r"```.*?```", "", PAGES[page], flags=re.DOTALL)


def write_files(folder: Path) -> Path:
    """Write the files that the pages show to a folder."""
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder
