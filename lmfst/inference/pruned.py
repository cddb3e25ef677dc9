"""The engine of policies that keep hypotheses by weight, or all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from lmfst.inference.canonical import CanonicalPath, Encode
from lmfst.inference.passes import propagate
from lmfst.inference.policy import Policy
from lmfst.inference.query import Query
from lmfst.inference.results import Propagated
from lmfst.inference.setting import Setting
from lmfst.inference.sources import add_canonical, some_source, text_of
from lmfst.lm.base import Session

_PIECES, _LONGEST = 1 << 14, 64
"""Texts whose tokens are kept, and their bytes, at most."""


class Pruned:
    """Propagation, in passes; sums are lower bounds."""

    def __init__(self, setting: Setting, policy: Policy) -> None:
        self._setting, self._policy = setting, policy
        self._encode = remembering(setting.lm.encode)
        # Under a policy that keeps everything, a speculative run would be as large as the sum.
        self._ahead = policy.prunes and not setting.lm.merges

    @staticmethod
    def takes(setting: Setting, policy: Policy) -> bool:
        """Any policy."""
        return True

    def run(self, queries: Sequence[Query]) -> list[Propagated]:
        """As `lmfst.inference.engine.Engine.run`."""
        found = self.run_in(self._setting.lm.session(), queries)
        add_canonical(self._setting, queries, found)
        return found

    def run_in(
        self, session: Session, queries: Sequence[Query], root: int | None = None
    ) -> list[Propagated]:
        """The same in a session, but for what the texts' own tokens weigh. root: see
        `lmfst.inference.passes.propagate`."""
        setting = self._setting
        if self._ahead:
            queries = [
                replace(query, source=self._path(query), lookahead=setting.lookahead)
                for query in queries
            ]
        policy, normalise = self._policy, setting.normalise
        return propagate(setting.lexicons, session, policy, normalise, queries, root)

    def _path(self, query: Query) -> CanonicalPath | None:
        """The canonical path of a query's source text, or of some text with its target (of a
        pattern, with one of its strings); None where none is known."""
        lm, own = self._setting.lm, text_of(self._setting, query)
        text = some_source(self._setting, query) if own is None else own
        if text is None:
            return None
        canonical = None if own is None else lm.canonical(own)
        return CanonicalPath(text, lm.vocab, self._encode, canonical)


def remembering(encode: Encode) -> Encode:
    """`encode`, which keeps the tokens of short pieces: these are asked for again and again."""
    kept = lru_cache(_PIECES)(encode)
    return lambda data: kept(data) if len(data) <= _LONGEST else encode(data)
