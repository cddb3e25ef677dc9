"""What all sections share: texts, workers, the reference run, and rows made of settings."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.divergence import Floats, mean_divergence
from benchmark.rounds import Answer, Setting, summary
from benchmark.texts import size
from benchmark.workers import CACHE, Worker
from lmfst.lm.default import DEFAULT_MODEL, default_model_dir
from lmfst.lm.unpack import MANIFEST

WEIGHTS = "model.safetensors"
REFERENCE = {"beam": 64, "threshold": 1e-5}
_ENDS = """
import json, sys
from lmfst.lm.load import load_lm

lm = load_lm(sys.argv[1])
print(json.dumps([lm.bos, list(lm.vocab.eos)]))
"""
WARM_UP = 40
"""Characters of the first text that a setting reads before its clock starts."""


def model_folder(name: str) -> tuple[Path, str]:
    """The folder of a model and a digest of its weights. SystemExit for anything but the default
    model or a folder."""
    if name == DEFAULT_MODEL:
        folder = default_model_dir(lambda note: None)
        return folder, json.loads((folder / MANIFEST).read_text())["files"][WEIGHTS]
    folder = Path(name)
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise SystemExit(
            f"--model {name} is no folder with .safetensors files, which all engines of the "
            f"benchmark can read: name such a folder, or {DEFAULT_MODEL}"
        )
    content = hashlib.sha256()
    for path in weights:
        content.update(path.read_bytes())
    return folder, content.hexdigest()


def begin_and_ends(name: str, folder: Path) -> tuple[int, list[int]]:
    """The tokens that lmfst has texts begin and end with. SystemExit for a model without."""
    given = name if name == DEFAULT_MODEL else str(folder)
    done = subprocess.run(
        [sys.executable, "-c", _ENDS, given], check=True, capture_output=True, text=True
    )
    begin, ends = json.loads(done.stdout)
    if begin is None or not ends:
        raise SystemExit(f"--model {name} has no token that texts begin, or end, with")
    return begin, ends


@dataclass
class Bench:
    """The settings of one run.

    begin, ends: the tokens that texts begin with and may end with, for all engines. compared: the
    texts on which distributions are compared. genlm: the interpreter with
    genlm-bytes, or None to leave it out. scratch: a folder for distributions while a section runs.
    """

    model: str
    folder: Path
    weights: str
    begin: int
    ends: Sequence[int]
    texts: list[str]
    compared: list[str]
    lines: list[str]
    sizes: tuple[int, ...]
    threads: int
    repeats: int
    budget: float
    genlm: Path | None
    scratch: Path

    def lmfst(self, **environment: str) -> Worker:
        name = self.model if self.model == DEFAULT_MODEL else str(self.folder)
        return Worker("lmfst_worker.py", name, threads=self.threads, environment=environment)

    def plain(self) -> Worker:
        return Worker("plain_worker.py", *self._model(), threads=self.threads)

    def _model(self) -> list[str]:
        """The model's folder, and what texts begin and end with."""
        return [str(self.folder), str(self.begin), *map(str, self.ends)]

    def genlm_worker(self) -> AbstractContextManager[Worker]:
        if self.genlm is None:
            raise RuntimeError("genlm-bytes was left out")
        return Worker("genlm_worker.py", *self._model(), threads=self.threads, python=self.genlm)

    def setting(
        self,
        worker: Worker,
        name: str,
        run: str,
        texts: Sequence[str] = (),
        *,
        together: bool = False,
        warm: Sequence[str] | None = None,
        **options: Any,
    ) -> Setting:
        """A setting over texts (default: the benchmark's), one at a time unless `together`."""
        texts = texts or self.texts
        if together:
            options["together"] = True

        def ask(at: int, part: Sequence[str]) -> Answer:
            keep = self._kept(name, at) if run == "distributions" and at >= 0 else None
            return worker.ask(run, part, keep=keep, **options)

        parts = [texts] if together else [[text] for text in texts]
        short = [texts[0][:WARM_UP]] if warm is None else warm
        return Setting(name, parts, ask, short)

    def _kept(self, name: str, at: int) -> Path:
        return self.scratch / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}-{at}.npz"

    def rows(
        self, settings: Sequence[Setting], mode: str, texts: Sequence[str]
    ) -> list[dict[str, Any]]:
        """Rows of settings, all over these texts.

        mode: "distributions" adds the divergence from the reference; "score" and that add by how
        many nats the total logp is below the reference's; "other" adds nothing.
        """
        rows = [summary(s, sum(size(part) for part in s.parts)) for s in settings]
        if mode == "other":
            return rows
        found = self.reference(texts)
        expected = sum(facts["logp"] for _, facts in found)
        if mode == "score":
            expected += sum(facts["logp_end"] for _, facts in found)
        for setting, row in zip(settings, rows, strict=True):
            row["below"] = expected - row["logp"]
            if mode == "distributions":
                kept = [_load(self._kept(setting.name, i)) for i in range(len(texts))]
                row["divergence"] = mean_divergence(kept, [rows for rows, _ in found])
        return rows

    def reference(self, texts: Sequence[str]) -> list[tuple[Floats, dict[str, float]]]:
        """For each text, the next-byte distributions of the reference run and their facts (logp of
        the text as a prefix, logp_end after it); kept on disk by model, text and settings."""
        home = CACHE / "reference"
        home.mkdir(parents=True, exist_ok=True)
        paths = [home / self._reference_key(text) for text in texts]
        if not all(path.with_suffix(".json").is_file() for path in paths):
            with self.lmfst() as worker:
                for text, path in zip(texts, paths, strict=True):
                    if path.with_suffix(".json").is_file():
                        continue
                    keep = path.with_suffix(".npz")
                    answer = worker.ask("distributions", [text], keep=keep, **REFERENCE)
                    facts = {key: answer[key] for key in ("logp", "logp_end", "seconds")}
                    path.with_suffix(".json").write_text(json.dumps(facts))
        return [
            (_load(path.with_suffix(".npz")), json.loads(path.with_suffix(".json").read_text()))
            for path in paths
        ]

    def _reference_key(self, text: str) -> str:
        asked = json.dumps([self.weights, text, REFERENCE])
        return hashlib.sha256(asked.encode()).hexdigest()[:32]


def _load(path: Path) -> Floats:
    """The distributions of one text."""
    with np.load(path) as arrays:
        return np.asarray(arrays["0"], dtype=np.float64)
