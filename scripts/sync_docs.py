"""Write the command reference in docs/ from the commands' own help, or check that it agrees.

python scripts/sync_docs.py           rewrite the block between the two marks
python scripts/sync_docs.py --check   exit 1 with a diff if the block is out of date
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "cli.md"
NAME = PAGE.relative_to(ROOT).as_posix()
BEGIN, END = "<!-- cli:begin -->", "<!-- cli:end -->"
# A plain terminal of fixed width, so that everyone gets the same text. typer also looks for signs
# of a build service and of a forced terminal and would then use colours.
PLAIN = {"TERM": "dumb", "NO_COLOR": "1"}
WIDTH = 120
FORCING = ("GITHUB_ACTIONS", "FORCE_COLOR", "PY_COLORS")


def help_texts() -> dict[str, str]:
    """The `--help` text of each command, in the order of registration."""
    for name in FORCING:
        os.environ.pop(name, None)
    os.environ.update(PLAIN)
    # Imported only now: typer reads the variables above when it is imported.
    import typer.main
    from typer.testing import CliRunner

    from lmfst.cli import app

    group = typer.main.get_command(app)
    names = [name for name, command in getattr(group, "commands", {}).items() if not command.hidden]
    texts = {}
    for name in names:
        result = CliRunner().invoke(app, [name, "--help"], prog_name="lmfst", terminal_width=WIDTH)
        if result.exit_code != 0:
            raise SystemExit(f"lmfst {name} --help failed: {result.output}")
        texts[name] = "\n".join(line.rstrip() for line in result.output.split("\n")).strip("\n")
    return texts


def block(texts: dict[str, str]) -> str:
    """The marked block: a heading and the help text for each command."""
    parts = [f"## lmfst {name}\n\n```text\n{text}\n```\n" for name, text in texts.items()]
    return "\n".join([BEGIN + "\n", *parts, END])


def replaced(text: str, new: str) -> str:
    """`text` with the marked block replaced by `new`."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(END) < text.index(BEGIN):
        raise SystemExit(f"expected one {BEGIN} and then one {END} in {NAME}")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    return before + new + after


def main() -> int:
    """Rewrite or check; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 on a difference"
    )
    check = parser.parse_args().check
    old = PAGE.read_text(encoding="utf-8")
    new = replaced(old, block(help_texts()))
    if old == new:
        return 0
    if check:
        lines = old.splitlines(keepends=True), new.splitlines(keepends=True)
        sys.stdout.writelines(difflib.unified_diff(*lines, NAME, f"{NAME} (expected)"))
        print(f"{NAME} is out of date: run make docs", file=sys.stderr)
        return 1
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
