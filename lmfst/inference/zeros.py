"""Why a probability is zero: symbols that can't be, texts that no tokens spell, pruning."""

from __future__ import annotations

import math

import numpy as np

from lmfst.fst.pattern import Pattern, as_written
from lmfst.fst.sequential import END
from lmfst.ground.document import Document
from lmfst.ground.errors import InputError
from lmfst.ground.types import Given
from lmfst.inference.query import Query
from lmfst.inference.results import Propagated
from lmfst.inference.setting import Setting
from lmfst.inference.sources import text_of
from lmfst.target.load import reads_nul
from lmfst.target.reader import Reader


class Zeros:
    """Explains zeros of a model and a target."""

    def __init__(self, setting: Setting, reader: Reader) -> None:
        self._setting, self._reader = setting, reader

    def impossible(self, target: Pattern, at: int) -> bool:
        """Whether no token of the model can produce target[at], whatever stands before it."""
        return at < len(target) and not self._reader.producible(target[at])

    def of_document(
        self, document: Document, given: Given, query: Query, found: Propagated
    ) -> str | None:
        """What to say of a document whose whole target has probability zero; None for another.

        InputError where already its prompt has, so that nothing can be given it.
        """
        if found.log_prefix[-1] > -math.inf:
            return None
        target, prompt = query.target[:-1], query.prompt
        if found.log_prefix[prompt] == -math.inf:
            _, reason = self.why(target[:prompt], found, text_of(self._setting, query))
            raise InputError(
                f"{document.origin}: nothing can follow the prompt, which has probability zero "
                f"under the model from {reason}"
            )
        text = text_of(self._setting, query)
        at, reason = self.why(target, found, text, whole=True, first=prompt)
        if at < len(target):
            reason += self._reader.options(target[at])
        if given == "source" and self.impossible(target, at):
            reason += self._reader.meant_as_target(document.text)
        return f"{document.origin}: logp is -inf from {reason}"

    def why(
        self,
        target: Pattern,
        found: Propagated,
        text: bytes | None = None,
        *,
        whole: bool = False,
        first: int = 0,
    ) -> tuple[int, str]:
        """From which symbol on the probability of a target is zero, and why, as text. text: the
        source, if it is known. whole: whether the target ends there. first: the symbol that is
        called 0."""
        own, vocab = self._setting.target, self._setting.lm.vocab
        at = int(np.flatnonzero(found.log_prefix == -np.inf)[0]) - 1
        symbol = (*as_written(target), END)[at]
        name = own.units.name(symbol)
        impossible = self.impossible(target, at)
        unspelled = vocab.unspelled(text, bytewise=impossible)
        reason = f"no token sequence of the model produces it there{unspelled}"
        if impossible:
            reason = f"the model can't produce '{name}'{unspelled}"
            if symbol == 0 and own.fst is not None and not reads_nul(own.fst):
                reason = f"{own.name} reads no NUL (label 256), so tokens with NUL are out"
        elif whole and self._unspelled(target):
            pass
        elif found.estimated:
            reason = "no hypothesis of any replicate goes on with it (raise --particles)"
        elif found.log_dropped[at + 1] > -math.inf:
            reason = (
                "no hypothesis that was kept goes on with it (raise --beam or lower --threshold)"
            )
        return at, f"symbol {at - first} ({name}) on: {reason}"

    def _unspelled(self, target: Pattern) -> bool:
        """Whether a target has one source text, which no tokens spell: no pruning is to blame."""
        text = text_of(self._setting, Query(target))
        return text is not None and self._setting.lm.vocab.encode_any(text) is None
