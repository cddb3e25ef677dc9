"""Selection: which hypotheses of a wave are kept.

By the policy, whose threshold is a share of a reference weight; whatever they weigh, those that
read a source's own tokens; and at random, where the policy samples.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lmfst.ground.arrays import Floats
from lmfst.inference.frontier import Hypotheses
from lmfst.inference.policy import SILENT_TOLERANCE, Policy
from lmfst.inference.query import Layout
from lmfst.inference.sampling import Sample
from lmfst.inference.sums import Sums


class Selection:
    """What a policy keeps of the waves of a batch."""

    def __init__(self, layout: Layout, policy: Policy) -> None:
        self._layout, self._policy = layout, policy
        backward = [query.backward for query in layout.queries if query.backward is not None]
        self.guide = backward[0].guide if backward else None

    def decide(
        self, sums: Sums, wave: Hypotheses
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_], Hypotheses]:
        """Which hypotheses of a wave are kept, which are heavy enough to be, bool [n] both, and the
        wave with the weights that it has from then on."""
        kept, heavy = self._by_weight(sums, wave)
        if isinstance(self._policy, Sample):
            sampled, wave = self._at_random(sums, self._policy, wave)
            kept &= sampled
        return kept, heavy, wave

    def _by_weight(
        self, sums: Sums, wave: Hypotheses
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        layout = self._layout
        first = wave.first()
        position = wave.position[first]
        heaviest = np.maximum.reduceat(wave.logw, first)
        # The prefix probability itself would be a poor yardstick where the text leaves a likely
        # token in the middle: mass that is about to die would crowd out what goes on.
        reference = np.maximum(sums.log_prefix[layout.ahead[position]], heaviest)
        # Nor would hypotheses that have read less of the source, where output waits: the source's
        # own next one goes on for certain, and others that have read as far may be as light.
        reference = np.minimum(reference, sums.survives[layout.document[position]])
        least = reference + sums.log_threshold[layout.document[position]]
        kept = self._policy.keep(wave.logw, first, least)
        size = np.diff(first, append=len(wave))
        heavy = wave.logw >= np.repeat(least, size)
        later = sums.wave[layout.document[position]] > 0
        if later.any():
            total = np.log(np.add.reduceat(np.exp(wave.logw - np.repeat(heaviest, size)), first))
            fading = total + heaviest < sums.log_prefix[position] + math.log(SILENT_TOLERANCE)
            going_on = ~np.repeat(later & fading, size)
            kept &= going_on
            heavy &= going_on
        kept |= sums.trunk.next_ones(layout.document[wave.position], wave.parent, wave.token)
        return kept, heavy

    def _at_random(
        self, sums: Sums, policy: Sample, wave: Hypotheses
    ) -> tuple[NDArray[np.bool_], Hypotheses]:
        """Which hypotheses are kept at random, and the wave with their new weights."""
        first = wave.first()
        uniform = np.zeros(len(first))
        for i in np.flatnonzero(policy.crowded(wave.logw, first)).tolist():
            document, offset = self._layout.place(int(wave.position[first[i]]))
            random = self._layout.queries[document].random
            if random is None:
                raise ValueError("a query without random numbers can't be sampled")
            uniform[i] = random(offset, int(sums.wave[document]))
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
