"""What a command loads and says when it starts."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cli import ARPA, Done, call, environment

HEAVY = {"torch", "transformers", "numba"}
LOADED = f"""
import atexit, sys
atexit.register(lambda: print(sorted({HEAVY} & set(sys.modules)), file=sys.stderr))
from lmfst.cli import main
main()
"""
KERNEL = """
import lmfst.model
from lmfst.ground import announce
from lmfst.ground.kernels import kernel
announce.AFTER = 0.0
@kernel
def total(n):
    found = 0
    for i in range(n):
        found += i
    return found
made = lmfst.model.TransducedLM.__init__
def first_use(*args, **options):
    assert total(4) == 6
    made(*args, **options)
lmfst.model.TransducedLM.__init__ = first_use
from lmfst.cli import main
main()
"""
"""`lmfst`, with one more kernel that is used before a text is scored."""


def run(*args: str | Path, input: bytes = b"", **more: str) -> Done:
    done = subprocess.run(
        [sys.executable, *map(str, args)],
        input=input,
        capture_output=True,
        env=environment(**more),
    )
    return Done(done.returncode, done.stdout, done.stderr.decode())


@pytest.fixture
def fst(tmp_path: Path) -> Path:
    grammar = tmp_path / "swap.grm"
    grammar.write_text('export r = ("a" : "b")*;\n')
    assert call("compile", grammar, "-o", tmp_path / "swap.fst").code == 0
    return tmp_path / "swap.fst"


@pytest.mark.parametrize(
    ("args", "begins"),
    [
        (["apply", "--to", "swap.fst"], b"bb\n"),
        (["apply", "--to", "swap.grm"], b"bb\n"),
        (["compile", "swap.grm", "-o", "again.fst"], b""),
        (["print", "swap.fst"], b""),
        (["info", "swap.fst"], b"name\tswap.fst\n"),
        (["info", "swap.grm"], b"name\tswap.grm\n"),
        (["draw", "swap.fst"], b'digraph "swap.fst"'),
        (["--help"], b""),
        (["convert", "--help"], b""),
    ],
)
def test_commands_without_a_model_load_none_of_its_libraries(
    args: list[str], begins: bytes, fst: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fst.parent)
    done = run("-c", LOADED, *args, input=b"aa\n")
    assert done.code == 0 and done.out.startswith(begins), done.err
    assert done.err.splitlines()[-1] == "[]"


def test_first_use_is_announced(tmp_path: Path) -> None:
    (tmp_path / "m.arpa").write_text(ARPA)
    (tmp_path / "kernel.py").write_text(KERNEL)
    args = [tmp_path / "kernel.py", "convert", "--model", tmp_path / "m.arpa"]
    cache = tmp_path / "cache"
    first, quiet = (
        run(*args, *more, input=b"aab\n", LMFST_CACHE=str(cache)) for more in ([], ["--quiet"])
    )
    assert first.code == quiet.code == 0, first.err
    said = " ".join(first.err.split())
    assert "compiling the engine (once; kept in" in said and str(cache / "kernels") in "".join(
        first.err.split()
    )
    assert quiet.err == "" and quiet.out == first.out and first.out.startswith(b"id\t")


def test_how_often_garbage_is_collected_is_as_before(tmp_path: Path) -> None:
    (tmp_path / "m.arpa").write_text(ARPA)
    before = gc.get_threshold()
    assert call("convert", "--model", tmp_path / "m.arpa", input=b"aab\n").code == 0
    assert call("convert", "--model", tmp_path / "none.arpa", input=b"aab\n").code == 1
    assert gc.get_threshold() == before
