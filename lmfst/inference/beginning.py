"""Beginnings of states: the model after prefixes that are known as a whole.

What propagation keeps of a known prefix (`lmfst.inference.propagate`), with rows evaluated ahead
for all prefixes together, are the hypotheses that a state's cursors belong to: those with tokens
that go on beyond its end. Their rows are asked for once more, since of others little is kept.

Hypotheses are decided as those of states are, by the symbols before them alone; then the state is
the one that reading the prefix symbol by symbol leads to. Or they are decided as where texts are
scored, and the state has the prefix probability that scoring gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from lmfst.inference.closing import Closing
from lmfst.inference.cursors import NONE, Place, descend, log_sums, moved_to
from lmfst.inference.policy import Policy
from lmfst.inference.pruned import Pruned
from lmfst.inference.query import Query
from lmfst.inference.results import Ends, Propagated
from lmfst.inference.setting import Setting
from lmfst.inference.zeros import Zeros
from lmfst.lm.base import Session

MOST_ROWS = 512
"""Rows that are asked for at once."""

String = tuple[int, ...]


class Begun(NamedTuple):
    """The model after a prefix. found: what propagation says of it. carried, fresh: the cursors
    that have gone on from before, and those at their beginning; log_carried: log of the mass of the
    former, nats. share: what was dropped at its end, as a share of P_Y."""

    found: Propagated
    carried: Place
    fresh: Place
    log_carried: float
    share: float


NOWHERE = Place(NONE, 0, 0)
"""Where the cursors of a state are that has none."""


class Beginning:
    """Begins states in a session. policy: of the prefixes. scored: whether hypotheses are decided
    as where texts are scored."""

    def __init__(self, setting: Setting, policy: Policy, zeros: Zeros, scored: bool) -> None:
        self._lexicons, self._zeros, self._scored = setting.lexicons, zeros, scored
        self._engine = Pruned(setting, policy)

    def __call__(
        self, session: Session, root: int, closing: Closing, prefixes: Sequence[String]
    ) -> list[Begun]:
        """The model after each prefix. root: the LM state before them."""
        queries = [
            Query(
                prefix,
                wanted=frozenset([len(prefix)]),
                impossible=partial(self._zeros.impossible, prefix),
                alone=not self._scored,
                ends=True,
            )
            for prefix in prefixes
        ]
        results = self._engine.run_in(session, queries, root)
        begun: list[Begun] = []
        for some in _groups([found.ends for found in results if found.ends is not None]):
            here = slice(len(begun), len(begun) + len(some))
            begun += self._begun(closing, prefixes[here], results[here], some)
        return begun

    def _begun(
        self,
        closing: Closing,
        prefixes: Sequence[String],
        results: Sequence[Propagated],
        ends: Sequence[Ends],
    ) -> list[Begun]:
        """What has begun, of some prefixes, whose rows are asked for together."""
        model, lexicon, logw = (np.concatenate([one[i] for one in ends]) for i in range(1, 4))
        held = closing.beginning(model, lexicon, logw)
        begun, first = [], 0
        for prefix, found, one in zip(prefixes, results, ends, strict=True):
            end = first + len(one.logw)
            own = held.at(np.arange(first, end))
            string = np.array(prefix, dtype=np.int64)
            node = descend(self._lexicons, one.lexicon, string, one.offset)
            fresh = np.flatnonzero(one.offset == len(prefix))
            before = np.flatnonzero((one.offset < len(prefix)) & (node >= 0))
            carried, below = moved_to(self._lexicons, own.at(before), node[before])
            started, _ = moved_to(self._lexicons, own.at(fresh), node[fresh])
            begun.append(
                Begun(
                    found,
                    Place(carried, 0, len(carried.model)),
                    Place(started, 0, len(started.model)),
                    float(log_sums(np.zeros(len(below), np.int64), below, 1)[0]),
                    _share(one.log_dropped, float(found.log_prefix[-1])),
                )
            )
            first = end
        return begun


def _share(log_dropped: float, logp: float) -> float:
    """What was dropped, as a share of P_Y."""
    return float(np.exp(log_dropped - logp)) if logp > -np.inf else 0.0


def _groups(ends: Sequence[Ends]) -> Iterator[list[Ends]]:
    """Prefixes side by side whose rows are asked for together."""
    some: list[Ends] = []
    size = 0
    for one in ends:
        if some and size + len(one.logw) > MOST_ROWS:
            yield some
            some, size = [], 0
        some.append(one)
        size += len(one.logw)
    if some:
        yield some
