"""The asking side: worker processes, and the environment that genlm-bytes runs in."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CACHE = ROOT / "build" / "bench-cache"
CONSTRAINTS = (ROOT / "constraints.txt", HERE / "genlm_constraints.txt")
PACKAGES = ("genlm-bytes", "torch", "transformers")


class Worker:
    """A process that answers requests; see `serving`."""

    def __init__(
        self,
        script: str,
        *arguments: str,
        threads: int,
        python: str | Path = sys.executable,
        environment: dict[str, str] | None = None,
    ) -> None:
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        ours = {
            "OMP_NUM_THREADS": str(threads),
            "PYTHONPATH": os.pathsep.join(paths),
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "TQDM_DISABLE": "1",
            "PYTHONWARNINGS": "ignore",
        }
        self._process = subprocess.Popen(
            [str(python), str(HERE / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **ours, **(environment or {})},
        )
        self.facts = self._read()

    def ask(
        self, run: str, texts: Any = (), *, keep: Path | None = None, **options: Any
    ) -> dict[str, Any]:
        """One request. keep: where to leave next-byte distributions."""
        request = {
            "run": run,
            "texts": list(texts),
            "options": options,
            "keep": str(keep) if keep else None,
        }
        if self._process.stdin is None:
            raise RuntimeError("the worker has no standard input")
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        if self._process.stdout is None:
            raise RuntimeError("the worker has no standard output")
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a worker stopped: {shlex.join(map(str, self._process.args))}")  # type: ignore[arg-type]
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            raise SystemExit(f"a worker failed:\n{found['error']}")
        return found

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(timeout=60)


def genlm_python(pip_flags: str) -> Path:
    """The interpreter of the environment with genlm-bytes, which is made if it isn't there or its
    pins have changed."""
    home = CACHE / "genlm-venv"
    python = home / "bin" / "python"
    stamp = home / "pins"
    pins = hashlib.sha256(b"".join(path.read_bytes() for path in CONSTRAINTS)).hexdigest()
    if stamp.is_file() and stamp.read_text() == pins:
        return python
    print(f"installing genlm-bytes into {home} (once, minutes)", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
    pinned = [word for path in CONSTRAINTS for word in ("-c", str(path))]
    command = [str(python), "-m", "pip", "install", "-q", *shlex.split(pip_flags), *pinned]
    subprocess.run([*command, *PACKAGES], check=True)
    stamp.write_text(pins)
    return python
