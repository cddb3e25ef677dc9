"""The choice of a policy, by what was asked for and by what a model suggests.

Whoever asks for nothing gets the policy that model and target suggest (`lmfst.inference.recommend`)
or else `Tolerance()`. A setting of one policy speaks for it, and against the others: settings that
don't go together are errors, none is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from lmfst.ground import defaults
from lmfst.ground.errors import UsageError
from lmfst.ground.types import PolicyName
from lmfst.inference.policy import Beam, Exact, Policy, Tolerance
from lmfst.inference.sampling import Sample

Origin = Literal["model", "options", "default"]
"""Where a policy comes from."""


@dataclass(frozen=True)
class PolicyChoice:
    """What is asked for; None: not said.

    tolerance, beam, threshold, node_budget: as in `lmfst.inference.policy`. sampling: the settings
    of `Sample` that were said. suggestible: whether a suggested policy may be followed: it is one
    for whole strings, under a model and a target as they are. common: whether documents share the
    random numbers of estimates, which are compared then.
    """

    name: PolicyName = "auto"
    tolerance: float | None = None
    beam: int | None = None
    threshold: float | None = None
    node_budget: int = defaults.NODE_BUDGET
    sampling: Mapping[str, Any] = field(default_factory=dict)
    suggestible: bool = True
    common: bool = False

    def policy(self, suggested: Sample | None = None) -> Policy:
        """The policy; suggested: that of model and target, which is followed if nothing speaks for
        another. UsageError for a setting outside its range, or of another policy."""
        self._require_one_policy()
        if self.name == "sample":
            return Sample(**self.sampling, common=self.common)
        if suggested is not None and self.follows(suggested):
            return replace(suggested, **self.sampling, common=self.common)
        if self.sampling:
            raise UsageError(
                f"--{next(iter(self.sampling))} is an option of --policy sample, not "
                f"{'beam' if self.name == 'auto' else self.name}"
            )
        if self.name == "exact":
            return Exact(node_budget=self.node_budget)
        if fixed := self._fixed:
            return Beam(node_budget=self.node_budget, **fixed)
        if self.tolerance is None:
            return Tolerance(node_budget=self.node_budget)
        return Tolerance(node_budget=self.node_budget, tolerance=self.tolerance)

    def follows(self, suggested: Sample | None) -> bool:
        """Whether the suggested policy is the one to take."""
        beam = (self.tolerance, self.beam, self.threshold)
        free = self.name == "auto" and beam == (None, None, None)
        return suggested is not None and free and self.suggestible

    def origin(self, policy: Policy) -> Origin:
        """Where a policy, which this choice has led to, comes from."""
        if policy.estimates and self.name == "auto":
            return "model"
        given = (self.tolerance, self.beam, self.threshold, self.sampling or None)
        said = self.name != "auto" or any(one is not None for one in given)
        return "options" if said else "default"

    @property
    def _fixed(self) -> dict[str, Any]:
        """The settings of a beam of a fixed size or threshold."""
        found = {"size": self.beam, "threshold": self.threshold}
        return {name: value for name, value in found.items() if value is not None}

    def _require_one_policy(self) -> None:
        """UsageError for settings of a beam where it isn't the policy, or that exclude another."""
        fixed, other = bool(self._fixed), self.name not in ("auto", "beam")
        if self.tolerance is not None and (fixed or other):
            raise UsageError(
                "--tolerance finds the threshold of --policy beam by itself",
                hint="leave it out, or --beam, --threshold and other policies",
            )
        if fixed and other:
            raise UsageError(
                f"--beam and --threshold are options of --policy beam, not {self.name}"
            )
