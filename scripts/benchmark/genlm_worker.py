"""genlm-bytes as a worker, in an environment of its own: python genlm_worker.py FOLDER BEGIN END ….

Set up as its documentation shows (`ByteBeamState`, the Hugging Face backend), with three choices:
- Texts begin with the token BEGIN and end with one of END, as for lmfst, rather than with BOS and
  EOS of the tokenizer: so it is the same model of texts.
- Its backend waits 20 ms for more queries before every call. With one text at a time there are
  none to come, so the wait is set to 0, which makes it faster.
- The trie over the vocabulary is built once, outside the measured time. Cached model rows are
  thrown away before every text. Its backend keeps no keys and values unless told to
  (`cache_kv`), which `ByteBeamState` doesn't do: every context is read whole.
The other special tokens stay in its support, spelled out; lmfst leaves them out.
Options of a run: beam, threshold.
"""

from __future__ import annotations

import asyncio
import atexit
import sys
from typing import Any

import numpy as np
import torch
from genlm.backend import load_model_by_name
from genlm.bytes import BeamParams, ByteBeamState, LazyTrieState
from genlm.bytes.byte_lm.lm_state import StatefulTokenizedLM
from genlm.bytes.trie import AsyncTokenByteTrie, TrieMode
from serving import Meter, ModuleMeter, Outcome, Runner, serve

EOS = 257
"""genlm-bytes' number for the end of the text; 256 is its end of a token."""


def dense(rows: list[np.ndarray]) -> np.ndarray:
    """genlm-bytes' log-probabilities (256 bytes, end of token, EOS) as probabilities
    [bytes + 1, 257], the end of the text last, each summing to 1."""
    found = np.exp(np.stack(rows).astype(float))[:, [*range(256), EOS]]
    return found / found.sum(1, keepdims=True)


class Engine:
    def __init__(self, folder: str, begin: int, ends: list[int]) -> None:
        options = {"hf_opts": {"torch_dtype": torch.float32, "device_map": "cpu"}, "timeout": 0}
        self.llm = load_model_by_name(folder, backend="hf", llm_opts=options)
        self._begin = begin
        self._eos = [self.llm.byte_vocab[end].byte_string for end in ends]
        self._loop = asyncio.new_event_loop()
        self._trie = AsyncTokenByteTrie.from_vocab(
            self.llm.byte_vocab, eos_byte_strings=set(self._eos)
        )

    def close(self) -> None:
        self._loop.run_until_complete(self._trie.cleanup())
        self._loop.close()

    async def _initial(self, options: dict[str, Any]) -> ByteBeamState:
        """`ByteBeamState.initial` with the trie that is there already."""
        self.llm.clear_cache()
        params = BeamParams(
            K=options["beam"],
            prune_threshold=options["threshold"],
            eos_byte_strings=self._eos,
        )
        state = LazyTrieState.initial(self.llm, self._trie, mode=TrieMode.WITH_EOS)
        state.lm_state = StatefulTokenizedLM.initial(self.llm, [self._begin])
        return ByteBeamState([await state.materialize()], params)

    async def _score(self, text: bytes, options: dict[str, Any]) -> float:
        beam = await self._initial(options)
        for byte in (*text, EOS):
            beam = await (beam.prune() << byte)
        return float(beam.logZ)

    async def _distributions(
        self, text: bytes, options: dict[str, Any]
    ) -> tuple[float, list[np.ndarray]]:
        beam = await self._initial(options)
        rows = []
        for byte in text:
            rows.append((await beam.logp_next()).ps)
            beam = await (beam.prune() << byte)
        rows.append((await beam.logp_next()).ps)
        return float(beam.logZ), rows

    def score(self, texts: list[str], options: dict[str, Any]) -> Outcome:
        run = self._loop.run_until_complete
        return Outcome(sum(run(self._score(text.encode(), options)) for text in texts))

    def distributions(self, texts: list[str], options: dict[str, Any]) -> Outcome:
        run = self._loop.run_until_complete
        found = [run(self._distributions(text.encode(), options)) for text in texts]
        return Outcome(
            sum(logp for logp, _ in found), [lambda rows=rows: dense(rows) for _, rows in found]
        )


def start() -> tuple[dict[str, Runner], Meter, dict[str, Any]]:
    from importlib.metadata import version

    begin, *ends = map(int, sys.argv[2:])
    engine = Engine(sys.argv[1], begin, ends)
    atexit.register(engine.close)
    runners = {"score": engine.score, "distributions": engine.distributions}
    names = ("genlm-bytes", "genlm-backend", "transformers")
    return runners, ModuleMeter(engine.llm.model), {name: version(name) for name in names}


if __name__ == "__main__":
    serve(start)
