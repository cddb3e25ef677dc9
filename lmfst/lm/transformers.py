"""Language models of the transformers library as source models.

Any causal model that transformers loads (a folder or a hub name; safetensors or GGUF). Where the
architecture takes a custom attention function, contexts are evaluated as token trees
(`lmfst.lm.tree`); loading tries that route out (`lmfst.lm.tried`), and a model that can't take it
is read whole contexts at a time, with a warning.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from lmfst.ground.errors import InputError, ModelError, UsageError
from lmfst.ground.types import Warn
from lmfst.lm import config
from lmfst.lm.attention import ATTENTION, Inputs
from lmfst.lm.base import LM, ContextSession, Session
from lmfst.lm.head import Head, Usage
from lmfst.lm.memory import fitting_tokens, out_of_memory
from lmfst.lm.sizes import sizes_on
from lmfst.lm.spread import computes_on_one, device_of, leave_masks, on_device, place_of
from lmfst.lm.tree import TreeSession, rows_after
from lmfst.lm.tried import try_out
from lmfst.lm.window import Windows
from lmfst.vocab import Encode, Vocab

if TYPE_CHECKING:
    import torch


TOGETHER = 16
"""Whole contexts in a call, at most."""


class TransformersLM(LM):
    """A transformers causal language model.

    model: a loaded model in evaluation mode. vocab: its vocabulary. bos: the id that every document
    begins with, or None: then the first token is uniform over the support, since such a model says
    nothing about it. encode: the tokenizer's own tokens of a text, without which speed suffers, and
    what a beam keeps. tree: use the token-tree route if the model takes it. facts: provenance for
    `describe`. identity: what stands for the model's files, so that what is tried out of them is
    kept (`lmfst.lm.tried`); None: nothing is.
    """

    def __init__(
        self,
        model: Any,
        vocab: Vocab,
        *,
        bos: int | None,
        batch_tokens: int | None = None,
        context_length: int | None = None,
        encode: Encode | None = None,
        tree: bool = True,
        facts: dict[str, Any] | None = None,
        identity: str | None = None,
        warn: Warn = lambda message: None,
    ) -> None:
        if batch_tokens is not None and batch_tokens < 1:
            raise UsageError(f"--batch-tokens must be at least 1, not {batch_tokens}")
        self.vocab = vocab
        self.bos = bos
        self.device, self.dtype = device_of(model), model.dtype
        size = sum(weight.numel() for weight in model.parameters())
        self.sizes = sizes_on(self.device, vocab.size, size, self.dtype.itemsize)
        self.batch_symbols = self.sizes.symbols
        self.batch_tokens = batch_tokens or fitting_tokens(model, self.device)
        self.shrinks = True
        self.model = model
        self._encode = encode
        self.warn = warn
        self._facts = facts or {}
        most = config.readable_length(model)
        self.context_length = (
            min(context_length, config.steady_length(model.config)) if context_length else most
        )
        self.windows = Windows(self.context_length)
        self._keeps_rows = _keeps_rows(model)
        self.usage = Usage()
        self.tree = self.alone = False
        if getattr(model.config, "_attn_implementation", None) == ATTENTION:
            # The model comes from another `TransformersLM`.
            model.set_attn_implementation("eager")
            leave_masks(model, leave=False)
        self.tree = try_out(self, identity, trees=tree).against == ""

    def canonical(self, data: bytes) -> Sequence[int] | None:
        if self._encode is not None:
            try:
                ids = self._encode(data.decode())
                if self.vocab.decode(ids) == data:
                    return list(ids)
            except (UnicodeDecodeError, InputError):
                # Not text, or tokens outside the support.
                pass
        return None

    def warn_of_length(self) -> None:
        """Say that a text is longer than the model's context, and what is done."""
        self.warn(self.windows.warning())

    def session(self) -> Session:
        return TreeSession(self) if self.tree else ContextSession(self)

    def describe(self) -> dict[str, Any]:
        return {
            **self._facts,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "device": place_of(self.model),
            "bos": None if self.bos is None else self.vocab.names[self.bos],
            "eos": [self.vocab.names[i] for i in self.vocab.eos],
            "context_length": self.context_length,
        }

    def next_logp(self, contexts: Sequence[Sequence[int]]) -> ArrayLike:
        if not self.tree:
            return self._plain_rows(contexts)
        return rows_after(TreeSession(self), contexts)

    # Tree evaluation.

    @property
    def place(self) -> torch.device:
        """The device of rows."""
        return self.device if self._head is None else self._head.device

    def use_head(self, head: Head | None) -> None:
        """Have rows made by the last layer apart from the rest, or by the whole model (None)."""
        self._head = head

    def uniform_row(self) -> torch.Tensor:
        """The row before the first token where there is no BOS."""
        import torch

        return torch.zeros((1, self.vocab.size), dtype=torch.float32, device=self.place)

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """What `logits` makes rows of, [len(inputs.asked), …], for the asked ones of new
        entries."""
        import torch

        begin = time.perf_counter()
        where = inputs.asked
        options: dict[str, Any] = {
            "input_ids": inputs.tokens[None],
            "position_ids": inputs.positions[None],
            # Nothing is masked by it: without one the library looks for several texts in the
            # positions, and waits for the device.
            "attention_mask": torch.ones_like(inputs.tokens[None], dtype=torch.bool),
            "use_cache": False,
            "lmfst_call": inputs.call,
        }
        try:
            with torch.no_grad():
                if self._head is not None:
                    found = _picked(self._head.body(**options).last_hidden_state[0], where)
                elif self._keeps_rows:
                    found = self.model(**options, logits_to_keep=where).logits[0]
                else:
                    found = _picked(self.model(**options).logits[0], where)
        except NotImplementedError as error:
            if not self.tree:
                # The model is being tried out.
                raise
            raise ModelError(
                f"{type(self.model).__name__} can't be evaluated as a token tree after all: "
                f"{error}",
                hint="load it with tree=False, which reads every context whole",
            ) from error
        self.usage.add(len(inputs.tokens), time.perf_counter() - begin)
        return found

    def shrink(self, tokens: int, error: BaseException) -> None:
        """Halve the size of calls after one of `tokens` positions ran out of memory, with a
        warning; any other error, or one at a single position, is raised. Where calls are not to
        shrink (`shrinks`), MemoryError."""
        if not out_of_memory(error):
            raise error
        if not self.shrinks:
            raise MemoryError(str(error)) from error
        if tokens < 2 or self.batch_tokens < 2:
            raise ModelError(
                f"the model runs out of memory in a call of {tokens} token position(s)",
                hint="free memory, shorten the documents, or use a smaller --dtype or model",
            ) from error
        self.batch_tokens = max(1, min(self.batch_tokens, tokens) // 2)
        self.warn(
            f"out of memory in a call of {tokens} token positions: going on with at most "
            f"{self.batch_tokens} a call"
        )

    def logits(self, found: torch.Tensor) -> Iterator[torch.Tensor]:
        """Rows [n, vocabulary], a block at a time, of what `forward` gave.

        A block is valid until the next one, and may be overwritten.
        """
        if self._head is None:
            yield from found.split(self.sizes.rows)
            return
        for part in found.split(self.sizes.rows):
            begin = time.perf_counter()
            rows = self._head.logits(part)
            self.usage.seconds += time.perf_counter() - begin
            yield rows

    def _plain_rows(self, contexts: Sequence[Sequence[int]]) -> ArrayLike:
        """Rows by reading contexts whole, those of equal length together: some models would see
        padding."""
        import torch

        cut = [self._window_tokens(list(context)) for context in contexts]
        rows = np.zeros((len(cut), self.vocab.size), dtype=np.float32)
        full = sorted((i for i, ids in enumerate(cut) if ids), key=lambda i: len(cut[i]))
        most = 1 if self.alone else TOGETHER
        for _, group in groupby(full, key=lambda i: len(cut[i])):
            alike = list(group)
            for begin in range(0, len(alike), most):
                part = alike[begin : begin + most]
                ids = torch.tensor([cut[i] for i in part], device=self.device)
                with torch.no_grad():
                    logits = self.model(input_ids=ids, use_cache=False).logits
                rows[part] = logits[:, -1].float().cpu().numpy()
        return rows

    def _window_tokens(self, context: list[int]) -> list[int]:
        start = self.windows.first(self.windows.window(len(context)))
        if start:
            self.warn_of_length()
        return ([] if self.bos is None else [self.bos]) + context[start:]


def _picked(found: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    return found.index_select(0, on_device(where, found.device))


def _keeps_rows(model: Any) -> bool:
    """Whether a model can be told of which positions rows are wanted."""
    takes = "logits_to_keep" in inspect.signature(model.forward).parameters
    return takes and computes_on_one(model)
