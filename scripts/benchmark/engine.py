"""The configurations in which the engine is measured, with the model's rows replayed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.parts import HOST, MODEL, TENSORS, Parts, WatchedLM
from benchmark.replay import Recording, ReplayLM
from benchmark.texts import beginning, read_texts, short_lines, size
from benchmark.workers import ROOT
from lmfst.ground.document import Document
from lmfst.ground.types import Given
from lmfst.inference.policy import Beam, Policy
from lmfst.inference.sampling import Sample
from lmfst.lm.base import LM
from lmfst.model import TransducedLM
from lmfst.scored.records import Scored
from lmfst.target.load import load_target

SAMPLE = read_texts(ROOT / "data" / "sample.txt", 0)
TEXTS = read_texts(ROOT / "data" / "bench.txt", 0)
QUICK_BYTES = 64
TRIES = 3
"""Runs that may ask for rows that weren't recorded."""
CODE = "amino:TABLE11"
INSULIN = (
    "MALWMRLLPLLALLALWGPDPAAAFVNQHLCGSHLVEALYLVCGERGFFYTPKTRREAEDLQVGQVELGGGPGAGSLQPLALEGSLQKRGIVEQCC"
    "TSICSLYQLENYCN"
)
UBIQUITIN = "MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG"
RESIDUES = 20


def proteins(count: int) -> list[str]:
    """Short proteins: pieces of human insulin's precursor and of ubiquitin, from M to stop."""
    whole = INSULIN + UBIQUITIN
    last = len(whole) - RESIDUES
    begins = [i * last // count for i in range(count)]
    return [f"M{whole[i : i + RESIDUES]}*" for i in begins]


@dataclass(frozen=True)
class Case:
    """Texts that are scored together. to: the target. unit: of the speed."""

    to: str
    name: str
    texts: Sequence[str]
    policy: Policy
    given: Given = "source"
    unit: str = "bytes"

    @property
    def size(self) -> int:
        """Bytes, or residues."""
        return size(self.texts)


def cases(only: Sequence[str], quick: bool) -> list[Case]:
    """The configurations: 1, 8 and 64 documents together, and all of data/sample.txt."""
    found = []
    beam = Beam(size=8, threshold=1e-3)
    for to in ("bytes", "words"):
        groups = {"sample": SAMPLE}
        if quick:
            short = [beginning(text, QUICK_BYTES) for text in TEXTS]
            groups |= {"beginnings": short[:1], "beginnings ": short[:8]}
        else:
            groups |= {"bench": TEXTS[:1], "bench ": TEXTS[:8], "lines": short_lines(TEXTS, 64)}
        found += [Case(to, name.strip(), texts, beam) for name, texts in groups.items()]
    for count, particles in ((1, 128), (8, 128), (64, 32))[: 2 if quick else None]:
        sample = Sample(particles=particles, replicates=2, seed=1, guide="dna", gap=False)
        name = f"proteins, M={particles}"
        found.append(Case("amino", name, proteins(count), sample, "target", "residues"))
    return [case for case in found if case.to in only]


@dataclass
class Replayed:
    """A model of which rows are replayed, and what watches it."""

    model: TransducedLM
    replay: ReplayLM
    parts: Parts

    @classmethod
    def of(
        cls,
        lm: LM,
        to: str,
        *,
        recording: Recording | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> Replayed:
        """The transduced model to a target of a model."""
        parts, replay = Parts(clock), ReplayLM(lm, recording)
        target = load_target(CODE if to == "amino" else to)
        model = TransducedLM(WatchedLM(replay, parts), target, warn=lambda message: None)
        return cls(model, replay, parts)

    def score(self, texts: Sequence[str], policy: Policy, given: Given = "source") -> list[Scored]:
        """Score texts in one batch."""
        documents = [
            Document(id=str(i), text=text.encode(), origin=f"text {i}")
            for i, text in enumerate(texts, start=1)
        ]
        model = self.model.with_policy(policy)
        batch = len(texts) * policy.copies
        return list(model.score_documents(documents, given=given, batch=batch))


def measured(
    case: Case, replayed: Replayed, repeats: int, recording: Recording | None = None
) -> dict[str, Any]:
    """The row of a configuration, by the run that took the engine least.

    recording: rows that are known, to which others are added; without it all of them are recorded
    first, and forgotten at the end.
    """
    recording = Recording() if recording is None else recording
    replayed.replay.recording = recording
    replayed.score(case.texts, case.policy, case.given)
    runs: list[dict[str, Any]] = []
    parts = replayed.parts
    with parts.watching():
        for _ in range(repeats + TRIES):
            before = recording.misses
            parts.reset()
            scored = replayed.score(case.texts, case.policy, case.given)
            seconds = parts.read()
            # What wasn't recorded, the model was asked for: that run is no measurement.
            if recording.misses == before:
                runs.append({"seconds": seconds, "calls": parts.calls, "asked": parts.asked})
            if len(runs) == repeats:
                break
        else:
            raise SystemExit(f"{case.to}, {case.name}: runs ask for other rows every time")
    best = min(runs, key=lambda run: run["seconds"][TENSORS] + run["seconds"][HOST])
    kept = sum(one.nodes for one in scored)
    replayed.replay.recording = Recording()
    return row_of(case, best, kept) | {"logp": sum(one.logp for one in scored)}


def row_of(case: Case, run: dict[str, Any], kept: int) -> dict[str, Any]:
    """What the times of a run mean. kept: rows."""
    seconds = run["seconds"]
    engine = seconds[TENSORS] + seconds[HOST]
    return {
        "to": case.to,
        "texts": case.name,
        "documents": len(case.texts),
        "size": case.size,
        "unit": case.unit,
        "engine_s": engine,
        "replay_s": seconds[MODEL],
        "per_s": case.size / engine,
        "tensors_us": 1e6 * seconds[TENSORS] / kept,
        "host_us": 1e6 * seconds[HOST] / kept,
        "kept": kept,
        "evaluated": run["asked"],
        "evaluated_per_kept": run["asked"] / kept,
        "calls": run["calls"],
        "rows_per_call": run["asked"] / run["calls"],
    }
