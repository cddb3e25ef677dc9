"""Selection: which hypotheses of a wave are kept.

By the policy, whose threshold is a share of a reference weight, and whatever they weigh those that
read a source's own tokens (`lmfst.inference.wave.decide`); and at random, where the policy samples.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lmfst.ground.arrays import Bools, Floats
from lmfst.inference.frontier import NONE, Hypotheses
from lmfst.inference.policy import Policy
from lmfst.inference.query import Layout
from lmfst.inference.sampling import Sample
from lmfst.inference.sums import Sums
from lmfst.inference.wave import decide


class Selection:
    """What a policy keeps of the waves of a batch. most: hypotheses of an offset; NONE: all.
    guide: that of the queries, if they have one."""

    def __init__(self, layout: Layout, policy: Policy) -> None:
        self._layout, self._policy = layout, policy
        # A kernel takes integers of 64 bits.
        self.most = NONE if policy.most is None else min(policy.most, 1 << 62)
        backward = [query.backward for query in layout.queries if query.backward is not None]
        self.guide = backward[0].guide if backward else None

    def decide(self, sums: Sums, wave: Hypotheses) -> tuple[Bools, Bools, Hypotheses]:
        """Which hypotheses of a wave are kept, which are heavy enough to be, bool [n] both, and the
        wave with the weights that it has from then on."""
        kept, heavy = np.empty((2, len(wave)), dtype=bool)
        decide(
            sums.documents,
            sums.positions,
            sums.tokens,
            self.most,
            wave.position,
            wave.parent,
            wave.token,
            wave.logw,
            kept,
            heavy,
        )
        if isinstance(self._policy, Sample):
            sampled, wave = self._at_random(sums, self._policy, wave)
            kept &= sampled
        return kept, heavy, wave

    def _at_random(self, sums: Sums, policy: Sample, wave: Hypotheses) -> tuple[Bools, Hypotheses]:
        """Which hypotheses are kept at random, and the wave with their new weights."""
        first = wave.first()
        uniform = np.zeros(len(first))
        for i in np.flatnonzero(policy.crowded(wave.logw, first)).tolist():
            document, offset = self._layout.place(int(wave.position[first[i]]))
            random = self._layout.queries[document].random
            if random is None:
                raise ValueError("a query without random numbers can't be sampled")
            uniform[i] = random(offset, int(sums.documents["wave"][document]))
        expected = self._expected(wave)
        kept, logw = policy.thin_out(wave.logw + expected, first, uniform)
        return kept, replace(wave, logw=logw - expected)

    def _expected(self, wave: Hypotheses) -> Floats:
        """log of what guides expect of hypotheses, 0 where there is none."""
        expected = np.zeros(len(wave))
        if self.guide is None:
            return expected
        documents = self._layout.document[wave.position]
        for document in np.unique(documents).tolist():
            backward = self._layout.queries[document].backward
            if backward is not None:
                own = documents == document
                offset = wave.position[own] - self._layout.base[document]
                expected[own] = backward.log_expected(wave.lexicon[own], offset, wave.guide[own])
        return expected
