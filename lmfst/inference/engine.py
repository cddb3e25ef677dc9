"""Engines: queries in, results out, whatever happens in between.

An engine is made for a model, a target and a policy. `engine_for` chooses it: the first one that
takes the policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lmfst.inference.conditioned import Conditioned
from lmfst.inference.policy import Policy
from lmfst.inference.pruned import Pruned
from lmfst.inference.query import Query
from lmfst.inference.results import Propagated
from lmfst.inference.sampled import Sampled
from lmfst.inference.setting import Setting


class Engine(Protocol):
    """Answers queries."""

    def run(self, queries: Sequence[Query]) -> list[Propagated]:
        """The result of each query; those of a call share LM calls.

        Raises UsageError for a query that the engine can't answer.
        """


ENGINES = (Conditioned, Sampled, Pruned)


def engine_for(setting: Setting, policy: Policy) -> Engine:
    """The engine for a policy. UsageError if none takes it, or the policy is at fault."""
    found: Engine = next(kind for kind in ENGINES if kind.takes(setting, policy))(setting, policy)
    return found
