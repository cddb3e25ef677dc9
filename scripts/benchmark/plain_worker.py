"""Yardsticks of cost: python plain_worker.py FOLDER BEGIN END …. A plain model over the canonical
tokens only, after the token BEGIN and before any of END, by the transformers library alone."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import torch
from serving import Meter, ModuleMeter, Outcome, Runner, serve


class Engine:
    def __init__(self, folder: str, begin: int, ends: list[int]) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._begin, self._ends = begin, ends
        self._tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self.model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, trust_remote_code=False
        ).eval()

    def _ids(self, text: str) -> list[int]:
        return [self._begin, *self._tokenizer(text, add_special_tokens=False)["input_ids"]]

    def _end(self, row: torch.Tensor) -> float:
        """The log-probability of the end, by the last row."""
        return float(row[self._ends].logsumexp(0))

    def teacher_forced(self, texts: list[str], options: dict[str, Any]) -> Outcome:
        """One pass a text."""
        total = 0.0
        for ids in map(self._ids, texts):
            with torch.no_grad():
                logits = self.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
            rows = logits.log_softmax(1).double()
            total += float(rows[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].sum())
            total += self._end(rows[-1])
        return Outcome(total)

    def decoding(self, texts: list[str], options: dict[str, Any]) -> Outcome:
        """The same tokens one by one, with transformers' own cache of keys and values."""
        total = 0.0
        for ids in map(self._ids, texts):
            cache = None
            for here, following in itertools.pairwise([*ids, None]):
                with torch.no_grad():
                    out = self.model(
                        input_ids=torch.tensor([[here]]), past_key_values=cache, use_cache=True
                    )
                cache = out.past_key_values
                row = out.logits[0, -1].log_softmax(0).double()
                total += self._end(row) if following is None else float(row[following])
        return Outcome(total)


def start() -> tuple[dict[str, Runner], Meter, dict[str, Any]]:
    begin, *ends = map(int, sys.argv[2:])
    engine = Engine(sys.argv[1], begin, ends)
    runners = {"teacher-forced": engine.teacher_forced, "decoding": engine.decoding}
    return runners, ModuleMeter(engine.model), {}


if __name__ == "__main__":
    serve(start)
