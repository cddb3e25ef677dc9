"""Which policy is chosen, by what was asked for and what a model suggests."""

from __future__ import annotations

from typing import Any

import pytest

from lmfst.ground.errors import UsageError
from lmfst.inference.choose import PolicyChoice
from lmfst.inference.policy import Beam, Exact, Policy, Tolerance
from lmfst.inference.sampling import Sample

SUGGESTED = Sample(particles=7, guide="dna")


@pytest.mark.parametrize(
    ("asked", "policy", "origin"),
    [
        ({}, SUGGESTED, "model"),
        ({"suggestible": False}, Tolerance(), "default"),
        ({"sampling": {"seed": 3}}, Sample(particles=7, guide="dna", seed=3), "model"),
        ({"common": True}, Sample(particles=7, guide="dna", common=True), "model"),
        ({"name": "sample"}, Sample(), "options"),
        ({"name": "sample", "sampling": {"seed": 3}}, Sample(seed=3), "options"),
        ({"name": "sample", "common": True}, Sample(common=True), "options"),
        ({"name": "beam"}, Tolerance(), "options"),
        ({"beam": 3}, Beam(size=3), "options"),
        ({"threshold": 0.0}, Beam(threshold=0.0), "options"),
        ({"tolerance": 0.5}, Tolerance(tolerance=0.5), "options"),
        ({"name": "exact", "node_budget": 9}, Exact(node_budget=9), "options"),
        ({"node_budget": 9, "suggestible": False}, Tolerance(node_budget=9), "default"),
    ],
)
def test_choices(asked: dict[str, Any], policy: Policy, origin: str) -> None:
    choice = PolicyChoice(**asked)
    assert choice.policy(SUGGESTED) == policy
    assert choice.origin(policy) == origin
    assert choice.follows(SUGGESTED) is (origin == "model")
    assert not choice.follows(None)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"tolerance": 0.1, "beam": 3}, "--tolerance finds the threshold"),
        ({"tolerance": 0.1, "name": "exact"}, "--tolerance finds the threshold"),
        ({"beam": 3, "name": "sample"}, "options of --policy beam, not sample"),
        ({"threshold": 0.1, "name": "exact"}, "options of --policy beam, not exact"),
        ({"sampling": {"seed": 3}, "name": "exact"}, "--seed is an option of --policy sample"),
        ({"sampling": {"gap": True}, "beam": 3}, "--gap is an option of --policy sample, not beam"),
        ({"sampling": {"seed": 3}, "suggestible": False}, "--seed is an option"),
    ],
)
def test_settings_of_two_policies_are_an_error(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PolicyChoice(**asked).policy(SUGGESTED)
