"""Speed of scoring: lmfst against a teacher-forced pass and a plain decoding loop, in one run.

    python scripts/bench.py [--model NAME] [--texts FILE] [--documents N] [--json FILE]

All settings read the same texts with the same model and threads, on one document at a time unless
the name says otherwise. "outside" is the share of wall time that is not spent in the model's
forward calls. The teacher-forced pass and the decoding loop give log-probabilities of the canonical
tokens only; they are yardsticks of cost, not of the same quantity. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from lmfst.lm.load import load_lm
from lmfst.lm.transformers import TransformersLM
from lmfst.policy import Beam
from lmfst.score import TransducedLM
from lmfst.target import load_target


@dataclass
class Result:
    """One setting. logp: total, nats; outside: share of wall time; memory: MiB."""

    setting: str
    seconds: float
    bytes_per_s: float
    calls: int
    positions: int
    outside: float
    logp: float
    memory: float


class Meter:
    """Counts the model's forward calls, their token positions and their time."""

    def __init__(self, model: Any) -> None:
        self.calls, self.positions, self.seconds = 0, 0, 0.0
        self._forward = model.forward
        model.forward = self._measured

    def _measured(self, *args: Any, **options: Any) -> Any:
        begin = time.perf_counter()
        result = self._forward(*args, **options)
        self.seconds += time.perf_counter() - begin
        self.calls += 1
        self.positions += options["input_ids"].numel()
        return result

    def reset(self) -> None:
        self.calls, self.positions, self.seconds = 0, 0, 0.0


def teacher_forced(lm: TransformersLM, model: Any, texts: list[bytes]) -> float:
    """One pass over BOS, the canonical tokens and EOS."""
    total = 0.0
    for text in texts:
        ids = [lm.bos, *(lm.encode(text) or ()), lm.vocab.eos[0]]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids[:-1]]), use_cache=False).logits[0]
        rows = logits.log_softmax(1)
        total += float(rows[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].double().sum())
    return total


def decoding(lm: TransformersLM, model: Any, texts: list[bytes]) -> float:
    """The same tokens one by one, with transformers' own cache."""
    total = 0.0
    for text in texts:
        ids = [lm.bos, *(lm.encode(text) or ()), lm.vocab.eos[0]]
        cache = None
        for here, following in itertools.pairwise(ids):
            with torch.no_grad():
                out = model(input_ids=torch.tensor([[here]]), past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            total += float(out.logits[0, -1].log_softmax(0)[following])
    return total


def scoring(
    model: TransducedLM, texts: list[bytes], *, beam: int, threshold: float, together: bool
) -> float:
    """lmfst's log p_Y, one text at a time or all of them in one batch."""
    model.policy = Beam(size=beam, threshold=threshold)
    parts = [texts] if together else [[text] for text in texts]
    return sum(scored.logp for part in parts for scored in model.score(part))


def distributions(model: TransducedLM, texts: list[bytes], *, beam: int, threshold: float) -> float:
    """lmfst's full next-byte distribution at every position; returns the sum of log P_Y(text)."""
    model.policy = Beam(size=beam, threshold=threshold)
    total = 0.0
    for text in texts:
        found = model.next_at_all(text)
        total += float(found.log_prefix[-1])
    return total


def measure(
    name: str, meter: Meter, texts: list[bytes], job: Callable[[list[bytes]], float]
) -> Result:
    """Run a job over the texts, after a short warm-up."""
    job([texts[0][:40]])
    meter.reset()
    begin = time.perf_counter()
    logp = job(texts)
    seconds = time.perf_counter() - begin
    result = Result(
        setting=name,
        seconds=seconds,
        bytes_per_s=sum(map(len, texts)) / seconds,
        calls=meter.calls,
        positions=meter.positions,
        outside=1 - meter.seconds / seconds,
        logp=logp,
        memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )
    print(line(result), flush=True)
    return result


HEADER = (
    f"{'setting':<34}{'s':>8}{'bytes/s':>9}{'calls':>7}{'positions':>10}{'outside':>9}"
    f"{'logp':>12}{'MiB':>7}"
)


def line(r: Result) -> str:
    return (
        f"{r.setting:<34}{r.seconds:8.2f}{r.bytes_per_s:9.1f}{r.calls:7d}{r.positions:10d}"
        f"{r.outside:9.1%}{r.logp:12.3f}{r.memory:7.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--texts", default=str(Path(__file__).parents[1] / "data" / "sample.txt"))
    parser.add_argument("--documents", type=int, default=0, help="read only the first N lines")
    parser.add_argument("--json", default="bench.json")
    options = parser.parse_args()
    texts = [text for text in Path(options.texts).read_bytes().split(b"\n") if text]
    texts = texts[: options.documents or None]
    facts = {
        "model": options.model,
        "documents": len(texts),
        "bytes": sum(map(len, texts)),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
    }
    print(json.dumps(facts))
    results = run(options.model, texts)
    Path(options.json).write_text(
        json.dumps({**facts, "results": [asdict(r) for r in results]}, indent=1) + "\n"
    )


def yardsticks(name: str, texts: list[bytes]) -> list[Result]:
    """The plain passes over the canonical tokens, on a model with transformers' own attention."""
    lm = load_lm(name, tree=False)
    if not isinstance(lm, TransformersLM):
        raise SystemExit("the benchmark needs a transformers model")
    meter = Meter(lm._model)
    return [
        measure("teacher-forced pass", meter, texts, lambda t: teacher_forced(lm, lm._model, t)),
        measure("decoding, token by token", meter, texts, lambda t: decoding(lm, lm._model, t)),
    ]


def run(name: str, texts: list[bytes]) -> list[Result]:
    lm = load_lm(name)
    if not isinstance(lm, TransformersLM):
        raise SystemExit("the benchmark needs a transformers model")
    print(HEADER)
    results = yardsticks(name, texts)
    meter = Meter(lm._model)
    model = TransducedLM(lm, load_target("bytes"))
    for threshold in (1e-2, 1e-3, 1e-4):
        results.append(
            measure(
                f"scoring, K=8, threshold {threshold:g}",
                meter,
                texts,
                lambda t, x=threshold: scoring(model, t, beam=8, threshold=x, together=False),
            )
        )
    results.append(
        measure(
            "scoring, K=8, 1e-3, all together",
            meter,
            texts,
            lambda t: scoring(model, t, beam=8, threshold=1e-3, together=True),
        )
    )
    results.append(
        measure(
            "distributions, K=8, 1e-3",
            meter,
            texts,
            lambda t: distributions(model, t, beam=8, threshold=1e-3),
        )
    )
    model.lookahead = False
    results.append(
        measure(
            "scoring, K=8, 1e-3, no lookahead",
            meter,
            texts,
            lambda t: scoring(model, t, beam=8, threshold=1e-3, together=False),
        )
    )
    return results


if __name__ == "__main__":
    main()
