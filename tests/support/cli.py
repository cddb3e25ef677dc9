"""Commands, run in this process or in one of their own, and a small model for them."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner

from lmfst.cli import app
from tests.support.paths import REPOSITORY

ARPA = r"""
\data\
ngram 1=7
ngram 2=4

\1-grams:
-99 <s> -0.3
-0.6 </s>
-0.6 a -0.2
-0.7 b -0.1
-0.9 ab
-0.8 é
-0.5 c -0.4

\2-grams:
-0.4 <s> a
-0.3 a c
-0.8 a b
-0.5 c ab

\end\
"""
COMMAND = [sys.executable, "-c", "from lmfst.cli import main; main()"]


@dataclass(frozen=True)
class Done:
    """A finished command."""

    code: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.decode().splitlines()

    def rows(self) -> list[dict[str, str]]:
        """The TSV rows by column."""
        header, *rest = self.out.decode().rstrip("\n").split("\n")
        names = header.split("\t")
        return [dict(zip(names, line.split("\t"), strict=True)) for line in rest]


def call(*args: str | Path, input: bytes | str = b"") -> Done:
    """Run a command in this process."""
    found = CliRunner().invoke(app, [str(arg) for arg in args], input=input, prog_name="lmfst")
    error = found.exception
    if error is not None and not isinstance(error, SystemExit):
        raise error
    return Done(found.exit_code, found.stdout_bytes, found.stderr)


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", **more}


def pipe(*args: str | Path, input: bytes = b"", **more: str) -> Done:
    """Run a command in a process of its own."""
    done = subprocess.run(
        [*COMMAND, *map(str, args)], input=input, capture_output=True, env=environment(**more)
    )
    return Done(done.returncode, done.stdout, done.stderr.decode())
