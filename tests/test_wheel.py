"""The wheel: what is installed works without the checkout, its grammars and data included."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("hatchling") is None, reason="needs hatchling, of the extra dev"
    ),
]

ARPA = r"""
\data\
ngram 1=5

\1-grams:
-99 <s>
-0.6020599913 </s>
-0.6020599913 a
-0.6020599913 <0x20>
-0.6020599913 .

\end\
"""


def run(*command: str | Path, folder: Path, **more: str) -> str:
    """What a command writes that must succeed, without this checkout on the path."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    hatchling = importlib.util.find_spec("hatchling")
    assert hatchling is not None and hatchling.origin is not None
    path = os.pathsep.join([*more.values(), str(Path(hatchling.origin).parents[1])])
    done = subprocess.run(
        [*map(str, command)],
        cwd=folder,
        # Sources of another folder would be compiled anew.
        env={**kept, "PYTHONPATH": path, "LMFST_COMPILED": "0"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, folder=REPOSITORY)
    (found,) = folder.glob("lmfst-*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the wheel's contents and its script."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    run(*pip, "--target", folder, wheel, folder=folder.parent)
    return folder


def test_the_wheel_holds_grammars_and_data_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for kind in ("grammars", "data"):
        kept = [path for path in (REPOSITORY / kind).rglob("*") if path.is_file()]
        assert kept and {f"lmfst/{path.relative_to(REPOSITORY)}" for path in kept} <= set(names)
    assert {"lmfst/grammar/std/byte.grm", "lmfst/cli/__init__.py"} <= set(names)
    assert {"lmfst/report/page.css", "lmfst/report/page.js"} <= set(names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"lmfst"}


def test_what_is_installed_is_used_from_another_folder(installed: Path, tmp_path: Path) -> None:
    path = {"path": str(installed)}
    code = "import lmfst.cli; print(lmfst.__file__, lmfst.__version__)"
    where, version = run(sys.executable, "-c", code, folder=tmp_path, **path).split()
    assert Path(where) == installed / "lmfst" / "__init__.py"
    lmfst = [sys.executable, installed / "bin" / "lmfst"]
    assert version in run(*lmfst, "--version", folder=tmp_path, **path)
    (tmp_path / "m.arpa").write_text(ARPA)
    (tmp_path / "text").write_text("a a.\n")
    convert = [*lmfst, "convert", "--level", "unit"]
    words = run(*convert, "--model", "m.arpa", "--to", "words", "text", folder=tmp_path, **path)
    assert [line.split("\t")[2] for line in words.splitlines()] == ["unit", "a", "a", ".", "⊥"]
    (tmp_path / "gene").write_text("ATGGCA\n")
    amino = run(*convert, "--model", "dna", "--to", "amino", "gene", folder=tmp_path, **path)
    assert [line.split("\t")[2] for line in amino.splitlines()] == ["unit", "M", "A", "⊥"]
