"""Documents scored by ensembles, and why their probabilities are zero."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmfst.fst.pattern import Pattern
from lmfst.ground.types import Given
from lmfst.inference.engine import Engine
from lmfst.inference.policy import Policy
from lmfst.inference.results import Propagated
from lmfst.inference.setting import Setting
from lmfst.inference.zeros import Zeros
from lmfst.scored.advice import Advice
from lmfst.scored.scorer import Scorer
from lmfst.target.reader import Reader


class EnsembleZeros(Zeros):
    """Explains zeros of an ensemble by those of its models, which have names. setting: with the
    target that they have in common. reader: of the symbols that the ensemble can produce."""

    def __init__(
        self, setting: Setting, reader: Reader, each: Sequence[Zeros], names: Sequence[str]
    ) -> None:
        super().__init__(setting, reader)
        self._each, self._names = each, names

    def why(
        self,
        target: Pattern,
        found: Propagated,
        text: bytes | None = None,
        *,
        whole: bool = False,
        first: int = 0,
    ) -> tuple[int, str]:
        """As `Zeros.why`, of the model that has brought the probability to zero."""
        at = int(np.flatnonzero(found.log_prefix == -np.inf)[0])
        for part, zeros, name in zip(found.parts, self._each, self._names, strict=True):
            lost = part.log_prefix == -np.inf
            if lost[at] and not lost[at - 1]:
                own, reason = zeros.why(target, part, text, whole=whole, first=first)
                return own, f"{reason} ({name})"
        raise AssertionError("an ensemble is zero where one of its models becomes zero")


class EnsembleScorer(Scorer):
    """Scores documents by an ensemble."""

    def __init__(
        self,
        setting: Setting,
        policy: Policy,
        engine: Engine,
        reader: Reader,
        zeros: EnsembleZeros,
    ) -> None:
        super().__init__(setting, policy, engine, reader)
        self.zeros = zeros

    def advice(self, given: Given) -> Advice:
        """What to say of the documents of a run; not that they might be estimated by sampling."""
        return Advice(self._policy, "", self._reader.case(given))
