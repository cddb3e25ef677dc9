"""What is said at the end of a run of its documents as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from lmfst.inference.accuracy import Tally
from lmfst.inference.policy import Policy


@dataclass(frozen=True)
class Advice:
    """Warnings about what a tally says.

    policy: by which documents were scored. estimating: what may be tried where a beam lacks too
    much, "" if nothing. case: in which letters were read, and why, for the end of a message.
    """

    policy: Policy
    estimating: str
    case: str

    def warnings(self, tally: Tally) -> Iterator[str]:
        """One for letters read in the other case, and those of `accuracy`."""
        if tally.folded.letters:
            yield f"{tally.folded.told()} {self.case}"
        yield from self.accuracy(tally)

    def accuracy(self, tally: Tally) -> Iterator[str]:
        """One for all documents that vary too much, and one for all that lack too much."""
        if tally.unsure:
            yield self.policy.advice(tally)
        if tally.above:
            yield self.policy.advice(tally) + self.estimating

    def facts(self) -> dict[str, Any]:
        """For `of`; JSON-ready. Without the policy's settings."""
        return {
            "estimates": self.policy.estimates,
            "estimating": self.estimating,
            "case": self.case,
        }

    @classmethod
    def of(cls, policy: Policy, facts: dict[str, Any]) -> Self:
        """The advice that `facts` is of."""
        return cls(policy, facts["estimating"], facts["case"])
