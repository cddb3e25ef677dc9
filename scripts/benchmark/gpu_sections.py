"""The sections of a run on a device, each a function of a `Stage` that gives rows one by one.

Speeds are those of whole calls, from texts on the host to numbers on the host, with the device
waited for at both ends; of several runs the median.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmark.gpu_check import (
    compared,
    distributions,
    drift,
    numbers_of,
    scored,
    transduced,
)
from benchmark.gpu_models import BILLION, SMALL, Model, Random, teacher_forced, tokens_of
from benchmark.gpu_profile import counted, profiled
from benchmark.texts import size
from lmfst.generate.sample import sample
from lmfst.ground.types import DType
from lmfst.lm.base import LM
from lmfst.lm.load import load_lm
from lmfst.lm.transformers import TransformersLM

Row = dict[str, Any]
RUNS = 3
ALLOWED = 6.0
"""Seconds for the runs of a setting after the first one, about."""
SCORING = ({"beam": 8, "threshold": 1e-3}, {"beam": 8, "threshold": 1e-2})
FULL: DType = "float32"
HALF: DType = "bfloat16"


@dataclass
class Stage:
    """What sections share. folder, data: what was prepared. model: the default one, or what stands
    for it. fake: fewer and shorter."""

    device: str
    folder: Path
    data: dict[str, Any]
    model: Model
    fake: bool
    _lms: dict[str, LM] = field(default_factory=dict)

    def lm(self, dtype: DType) -> TransformersLM:
        """The model, loaded once."""
        if dtype not in self._lms:
            self._lms[dtype] = self.model.lm(dtype)
        found = self._lms[dtype]
        assert isinstance(found, TransformersLM)
        return found

    @cached_property
    def dna(self) -> LM:
        """The packaged model of DNA."""
        return load_lm("dna", device=self.device, warn=lambda message: None)

    @property
    def timed(self) -> list[str]:
        texts: list[str] = self.data["timed"]
        return texts

    @property
    def groups(self) -> tuple[int, ...]:
        """Documents together; what matters most comes first."""
        return (4, 1) if self.fake else (64, 8, 256, 1)

    def lm_of(self, case: dict[str, Any], dtype: DType) -> LM:
        return self.dna if case["to"] == "amino" else self.lm(dtype)

    def wait(self) -> None:
        """Until the device has done what was asked of it."""
        if self.device != "cpu":
            torch.cuda.synchronize(self.device)


Section = Callable[[Stage], Iterator[Row]]


def timed(stage: Stage, work: Callable[[], Any]) -> Row:
    """Seconds of a piece of work, its memory, and how often it was run after a first time.

    runs is 0 where the first time took too long to be repeated, and is what counts.
    """
    cuda = stage.device != "cpu"
    if cuda:
        torch.cuda.reset_peak_memory_stats(stage.device)
    first = _once(stage, work)
    seconds: list[float] = []
    while len(seconds) < RUNS and (sum(seconds) + (seconds or [first])[-1] < ALLOWED):
        seconds.append(_once(stage, work))
    memory = torch.cuda.max_memory_allocated(stage.device) / 2**20 if cuda else None
    return {
        "seconds": median(seconds or [first]),
        "first": first,
        "runs": len(seconds),
        "memory_mib": memory,
    }


def _once(stage: Stage, work: Callable[[], Any]) -> float:
    stage.wait()
    begin = time.perf_counter()
    work()
    stage.wait()
    return time.perf_counter() - begin


def warm_up(stage: Stage) -> Iterator[Row]:
    """Load the model, and run everything once, shortly: what is compiled and built once."""
    yield {"what": "load the model", "seconds": _once(stage, lambda: stage.lm(FULL))}
    yield {"what": "load the model of DNA", "seconds": _once(stage, lambda: stage.dna)}
    for case in stage.data["cases"]:
        short = case | {"texts": [text[:12] for text in case["texts"][:2]], "count": 1, "units": 8}
        lm = stage.lm_of(case, FULL)
        seconds = _once(stage, partial(numbers_of, short, lm, stage.folder))
        yield {"what": f"{case['name']}, shortly", "seconds": seconds}


def correctness(stage: Stage) -> Iterator[Row]:
    """float32 on the device beside float32 on the CPU."""
    for case in stage.data["cases"]:
        found = numbers_of(case, stage.lm_of(case, FULL), stage.folder)
        yield compared(case, found) | {"dtype": FULL}


def half(stage: Stage) -> Iterator[Row]:
    """By how much bfloat16 on the device differs from float32 on the CPU, and by how much it makes
    teacher-forced passes differ without lmfst."""
    scores = [one for one in stage.data["cases"] if one["kind"] == "scores"]
    for case in scores:
        if case["to"] != "amino":
            found = numbers_of(case, stage.lm(HALF), stage.folder)
            apart = drift(case["texts"], found, case["numbers"])
            yield {"what": case["name"], "dtype": HALF, **apart}
    lm, texts = stage.lm(FULL), scores[0]["texts"]
    tokens, ends = tokens_of(lm, texts), list(lm.vocab.eos)
    one, other = (teacher_forced(stage.model.plain(dtype), tokens, ends) for dtype in (HALF, FULL))
    yield {"what": "teacher-forced pass", "dtype": HALF, **drift(texts, one, other)}


def speed_full(stage: Stage) -> Iterator[Row]:
    """Scoring and distributions in float32 beside a teacher-forced pass."""
    yield from _speed(stage, stage.model, stage.lm(FULL), FULL, stage.groups)


def speed_half(stage: Stage) -> Iterator[Row]:
    """The same in bfloat16."""
    yield from _speed(stage, stage.model, stage.lm(HALF), HALF, stage.groups)


def billion(stage: Stage) -> Iterator[Row]:
    """The same of a model of about a billion parameters, with random weights, in bfloat16."""
    sizes = SMALL if stage.fake else BILLION
    model = Random("random, 1B", sizes, stage.lm(FULL), stage.device)
    lm = model.lm(HALF)
    yield {
        "what": "made on the device",
        "model": model.name,
        "parameters": sum(one.numel() for one in lm.model.parameters()),
    }
    yield from _speed(stage, model, lm, HALF, stage.groups[:2], full=False)


def _speed(
    stage: Stage,
    model: Model,
    lm: TransformersLM,
    dtype: DType,
    groups: Sequence[int],
    *,
    full: bool = True,
) -> Iterator[Row]:
    """Rows of one model. full: distributions, too. share: of the speed of a teacher-forced pass."""
    plain = model.plain(dtype)
    ends = list(lm.vocab.eos)
    beams = [
        (setting, transduced(lm, stage.folder, {"to": "bytes", **setting})) for setting in SCORING
    ]
    for count in groups:
        texts = stage.timed[:count]
        shared = {"model": model.name, "dtype": dtype, "documents": count, "bytes": size(texts)}
        tokens = tokens_of(lm, texts)
        forced = timed(stage, partial(teacher_forced, plain, tokens, ends))
        kept = shared | {"tokens": sum(map(len, tokens))}
        yield {"what": "teacher-forced pass", **kept, **forced, **_per_second(forced, texts)}
        work: dict[str, Callable[[], Any]] = {
            f"scoring, {setting['threshold']:g}": partial(scored, model, texts)
            for setting, model in beams
        }
        if full:
            work["distributions, 0.001"] = partial(distributions, beams[0][1], texts)
        for what, run in work.items():
            found = timed(stage, run)
            share = {"share": forced["seconds"] / found["seconds"]}
            yield {"what": what, **shared, **found, **_per_second(found, texts), **share}


def _per_second(found: Row, texts: Sequence[str]) -> Row:
    return {"per_s": size(texts) / found["seconds"]}


def sampled_proteins(stage: Stage) -> Iterator[Row]:
    """Proteins by particles under the packaged model of DNA, in float32."""
    case = {"to": "amino", "particles": 8 if stage.fake else 128}
    model = transduced(stage.dna, stage.folder, case)
    whole: list[str] = stage.data["proteins"]
    for texts in (whole, whole[:1]):
        found = timed(stage, partial(scored, model, texts, "target"))
        what = f"proteins, M={case['particles']}"
        shared = {"model": "dna", "dtype": FULL, "documents": len(texts), "bytes": size(texts)}
        yield {"what": what, **shared, **found, **_per_second(found, texts)}


def strings(stage: Stage) -> Iterator[Row]:
    """Strings drawn together, as bytes."""
    count, units = (4, 10) if stage.fake else (64, 100)
    for dtype in (FULL, HALF):
        model = transduced(stage.lm(dtype), stage.folder, {"to": "bytes", **SCORING[0]})
        drawn: list[str] = []

        def work(model: Any = model, drawn: list[str] = drawn) -> None:
            found = sample(model, count, seed=1, max_units=units, batch=count)
            drawn[:] = [one.text for one in found]

        found = timed(stage, work)
        shared = {"model": stage.model.name, "dtype": dtype, "documents": count}
        more = {"bytes": size_of(drawn), "per_s": size_of(drawn) / found["seconds"]}
        yield {"what": "strings drawn", **shared, **found, **more}


def size_of(drawn: Sequence[str]) -> int:
    """Bytes, those that are no UTF-8 among them."""
    return sum(len(text.encode(errors="surrogateescape")) for text in drawn)


def kernels(stage: Stage) -> Iterator[Row]:
    """Kernels, crossings and waits a call of the model, and how long the device is busy."""
    for dtype in (HALF, FULL):
        lm = stage.lm(dtype)
        for count in stage.groups[: 1 if stage.fake else 2]:
            texts = stage.timed[:count]
            shared = {"model": stage.model.name, "dtype": dtype, "documents": count}
            model = transduced(lm, stage.folder, {"to": "bytes", **SCORING[0]})
            work = partial(scored, model, texts)
            seconds = timed(stage, work)
            asked = counted(lm, stage.folder, texts, SCORING[0])
            done = profiled(stage.device, work)
            busy = {"busy": done["device_s"] / seconds["seconds"]}
            yield {"what": "scoring, 0.001", **shared, **asked, **done, **busy, **seconds}


SECTIONS: dict[str, tuple[Section, float]] = {
    "warm-up": (warm_up, 120.0),
    "correctness": (correctness, 60.0),
    "bfloat16": (half, 30.0),
    "speed, bfloat16": (speed_half, 60.0),
    "1B": (billion, 60.0),
    "kernels": (kernels, 45.0),
    "proteins": (sampled_proteins, 30.0),
    "strings": (strings, 30.0),
    "speed, float32": (speed_full, 60.0),
}
"""Sections in the order of their worth, each with the seconds that it may take."""
