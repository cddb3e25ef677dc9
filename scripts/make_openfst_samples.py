"""Writes the binary files in tests/data/openfst with OpenFst's command line tools.

    python scripts/make_openfst_samples.py [FOLDER]

The sources are the text files there. The tools are those of Debian's package libfst-tools; the
files that come with the project were written by its version 1.7.9. FOLDER is where they are
written, by default beside their sources. The files let the tests read what the tools write where
these aren't installed (see tests/fst/test_interop.py).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).resolve().parent.parent / "tests" / "data" / "openfst"

_TABLES = ["--isymbols=named.isyms", "--osymbols=named.osyms"]
_KEPT = [*_TABLES, "--keep_isymbols", "--keep_osymbols"]
COMPILED: dict[str, list[str]] = {
    "runs-vector.fst": ["runs.txt"],
    "runs-const.fst": ["--fst_type=const", "runs.txt"],
    "runs-aligned.fst": ["--fst_type=const", "--fst_align", "runs.txt"],
    "runs-compact.fst": ["--fst_type=compact_unweighted", "runs.txt"],
    "runs-log.fst": ["--arc_type=log", "runs.txt"],
    "runs-log64.fst": ["--arc_type=log64", "--fst_type=const", "runs.txt"],
    "numbers.fst": [*_TABLES, "named.txt"],
    "named.fst": [*_KEPT, "named.txt"],
    "named-log.fst": [*_KEPT, "--arc_type=log", "--fst_type=const", "named.txt"],
    "acceptor-compact.fst": ["--acceptor", "--fst_type=compact_acceptor", "acceptor.txt"],
    "string-compact.fst": ["--acceptor", "--fst_type=compact_string", "string.txt"],
}
"""Files that fstcompile writes: its arguments."""

ARCHIVES: dict[str, list[str]] = {
    "table.far": ["--far_type=sttable", "named.fst", "runs-vector.fst"],
    "list.far": ["--far_type=stlist", "named.fst", "runs-vector.fst"],
    "log.far": ["runs-log.fst"],
}
"""Files that farcreate writes: its arguments."""


def write_samples(folder: Path) -> list[Path]:
    """Write all files to a folder; their paths. Raises CalledProcessError if a tool fails."""
    for source in SOURCES.iterdir():
        if source.suffix in (".txt", ".isyms", ".osyms") and not folder.samefile(SOURCES):
            shutil.copy(source, folder)
    for name, arguments in COMPILED.items():
        _run(folder, "fstcompile", *arguments, name)
    for name, arguments in ARCHIVES.items():
        _run(folder, "farcreate", *arguments, name)
    _run(
        folder,
        "farcompilestrings",
        "--token_type=utf8",
        "--fst_type=compact",
        "--generate_keys=1",
        "strings.txt",
        "strings.far",
    )
    return [folder / name for name in (*COMPILED, *ARCHIVES, "strings.far")]


def _run(folder: Path, tool: str, *arguments: str) -> None:
    subprocess.run([tool, *arguments], cwd=folder, check=True)


def main() -> int:
    """Write the files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=SOURCES, help="where to write")
    if shutil.which("fstcompile") is None:
        sys.exit("expected OpenFst's tools on the path (Debian: libfst-tools), found none")
    for path in write_samples(parser.parse_args().folder):
        print(f"{path.name}\t{path.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
