"""lmfst as a worker: python lmfst_worker.py MODEL. Options of a run: to, beam, threshold,
together, lookahead."""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from serving import SYMBOLS, Meter, Outcome, Runner, serve

from lmfst.fst.sequential import END
from lmfst.inference.policy import Beam
from lmfst.lm.head import Usage
from lmfst.lm.load import load_lm
from lmfst.model import TransducedLM
from lmfst.target.load import load_target


def dense(found: Any) -> np.ndarray:
    """`next_at_all`'s distributions as probabilities [bytes + 1, SYMBOLS], each summing to 1: what
    was dropped is shared out in proportion."""
    rows = np.zeros((len(found.next), SYMBOLS))
    for position, (symbols, logp) in found.next.items():
        rows[position, np.where(symbols == END, SYMBOLS - 1, symbols)] = np.exp(logp)
    return rows / rows.sum(1, keepdims=True)


def logp_end(found: Any) -> float:
    """log p(end of the text | the whole text), nats; -inf where every hypothesis that could end
    there was dropped."""
    symbols, logp = found.next[len(found.next) - 1]
    return float(np.logaddexp.reduce(logp[symbols == END], initial=-np.inf))


class Engine:
    """The model, and one `TransducedLM` for each target that was asked for."""

    def __init__(self, name: str) -> None:
        self.lm = load_lm(name)
        self._models: dict[str, TransducedLM] = {}

    def open(self, texts: list[str], options: dict[str, Any]) -> Outcome:
        """Make the `TransducedLM` of a target, with the time of both steps."""
        begin = time.perf_counter()
        target = load_target(options["to"])
        middle = time.perf_counter()
        self._models[options["to"]] = TransducedLM(self.lm, target, warn=lambda message: None)
        times = {"target": middle - begin, "checks": time.perf_counter() - middle}
        return Outcome(more=times)

    def _model(self, options: dict[str, Any]) -> TransducedLM:
        to = options.get("to", "bytes")
        if to not in self._models:
            self.open([], {"to": to})
        policy = Beam(size=options["beam"], threshold=options["threshold"])
        lookahead = options.get("lookahead", True)
        return self._models[to].with_policy(policy, lookahead=lookahead)

    def score(self, texts: list[str], options: dict[str, Any]) -> Outcome:
        """log p_Y of the texts, one by one or in one call."""
        model = self._model(options)
        parts = [texts] if options.get("together") else [[text] for text in texts]
        before = model.softmax_seconds
        logp = sum(scored.logp for part in parts for scored in model.score(part))
        return Outcome(logp, more={"softmax": model.softmax_seconds - before})

    def distributions(self, texts: list[str], options: dict[str, Any]) -> Outcome:
        """The next-symbol distributions at every position; logp is that of the prefixes."""
        model = self._model(options)
        before = model.softmax_seconds
        found = [model.next_at_all(text) for text in texts]
        softmax = model.softmax_seconds - before
        return Outcome(
            sum(float(f.log_prefix[-1]) for f in found),
            [lambda f=f: dense(f) for f in found],
            {"logp_end": sum(map(logp_end, found)), "softmax": softmax},
        )


class OwnMeter:
    """What lmfst itself counts: it runs the output layer apart from the rest of the model."""

    def __init__(self, lm: Any) -> None:
        self._lm = lm
        self.reset()

    def reset(self) -> None:
        self._lm.usage = Usage()

    def read(self) -> dict[str, Any]:
        usage = self._lm.usage
        return {"forward": usage.seconds, "calls": usage.calls, "positions": usage.positions}


def start() -> tuple[dict[str, Runner], Meter, dict[str, Any]]:
    import transformers

    engine = Engine(sys.argv[1])
    runners = {
        "open": engine.open,
        "score": engine.score,
        "distributions": engine.distributions,
    }
    return runners, OwnMeter(engine.lm), {"transformers": transformers.__version__}


if __name__ == "__main__":
    serve(start)
