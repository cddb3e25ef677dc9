"""What is stored on the CPU for a run on a device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import lmfst
from benchmark import counts
from benchmark.engine import TEXTS, proteins
from benchmark.gpu_check import numbers_of
from benchmark.gpu_data import save_data, save_targets, windows
from benchmark.gpu_models import Tiny, digest_of
from lmfst.ground.defaults import MODEL
from lmfst.lm.base import LM
from lmfst.lm.default import packaged_gguf
from lmfst.lm.load import load_lm

Case = dict[str, Any]
TIMED_BYTES = 120
"""Of a text whose scoring is timed: 64 of them are one batch (`defaults.BATCH_SYMBOLS`)."""


def cases(texts: list[str], residues: list[str], strings: int, particles: int) -> list[Case]:
    """What is compared. `kind` says which numbers: scores, entropies of distributions, or strings
    that are drawn."""
    beam = {"beam": 8, "threshold": 1e-3, "given": "source"}
    few = texts[: max(1, len(texts) // 2)]
    return [
        {"name": "bytes", "kind": "scores", "to": "bytes", "texts": texts, **beam},
        {"name": "words", "kind": "scores", "to": "words", "texts": few, **beam},
        {
            "name": "distributions, bytes",
            "kind": "distributions",
            "to": "bytes",
            "texts": few,
            **beam,
        },
        {
            "name": "proteins",
            "kind": "scores",
            "to": "amino",
            "texts": residues,
            "particles": particles,
            "given": "target",
        },
        {
            "name": "strings drawn",
            "kind": "drawn",
            "to": "bytes",
            "texts": [],
            "count": strings,
            "units": 60,
            **beam,
        },
    ]


def prepare(folder: Path, fake: bool, model: str | None) -> None:
    """Write the folder of a run. model: a folder or a GGUF file, None: the default model."""
    folder.mkdir(parents=True, exist_ok=True)
    save_targets(folder)
    lm, facts = _fake() if fake else _chosen(model)
    dna = load_lm("dna", device="cpu", warn=lambda message: None)
    if fake:
        texts = [text[:30] for text in counts.texts(4)]
        found = cases(texts, [one[:6] for one in proteins(2)], 4, 8)
        timed = [text[: 20 + i % 5] for i, text in enumerate(counts.texts(8))]
        residues = found[3]["texts"]
    else:
        found = cases(windows(TEXTS, 8, 200), proteins(4), 16, 128)
        timed, residues = windows(TEXTS, 256, TIMED_BYTES), proteins(8)
    for case in found:
        case["numbers"] = numbers_of(case, dna if case["to"] == "amino" else lm, folder)
    save_data(
        folder,
        {
            "lmfst": lmfst.__version__,
            "torch": torch.__version__,
            "model": facts,
            "fake": fake,
            "cases": found,
            "timed": timed,
            "proteins": residues,
        },
    )


def _chosen(model: str | None) -> tuple[LM, dict[str, Any]]:
    path = packaged_gguf() if model is None else Path(model)
    facts = {"name": path.name, "sha256": digest_of(path), "default": model is None}
    return load_lm(model or MODEL, device="cpu", warn=lambda message: None), facts


def _fake() -> tuple[LM, dict[str, Any]]:
    return Tiny("cpu").lm("float32"), {"name": Tiny.name, "default": False}
