"""The same kernels compiled and as plain Python."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from typing import Any

import numpy as np

from lmfst.ground.kernels import compiled
from lmfst.inference.policy import Beam, Exact, Policy, Tolerance
from lmfst.inference.sampling import Sample
from lmfst.model import TransducedLM
from lmfst.target.load import fst_target
from tests.support.oracle import TableLM, make_vocab, random_fst
from tests.support.paths import REPOSITORY

TOKENS = [b"a", b"b", b"ab", b"ba", b"abb", b""]
POLICIES: list[tuple[Policy, bool]] = [
    (Beam(size=3, threshold=0.01), True),
    (Beam(size=3, threshold=0.01), False),
    (Tolerance(size=20, threshold=0.2, tolerance=0.01, effort=100), True),
    (Exact(), True),
    (Sample(particles=4, replicates=2, seed=3), True),
]
"""Policies, and whether rows are evaluated ahead."""


def numbers() -> dict[str, list[Any]]:
    """log P, what is missing and kept rows of texts under random models, FSTs and policies; and a
    distribution of the next symbol."""
    found = {}
    for seed in (0, 3):
        lm = TableLM(make_vocab(TOKENS), order=2, depth=6, seed=seed, merges=seed == 3)
        target = fst_target(random_fst(seed), "random")
        rng = np.random.default_rng(seed)
        texts = [bytes(rng.choice([97, 98], rng.integers(0, 6)).tolist()) for _ in range(3)]
        for policy, ahead in POLICIES:
            model = TransducedLM(lm, target, policy, lookahead=ahead, warn=lambda message: None)
            scored = model.score(texts)
            case = f"{seed} {policy.describe()['policy']} {ahead}"
            found[case] = [
                [one.logp, one.nodes, np.asarray(one.missing, dtype=float).tolist()]
                for one in scored
            ]
            if not isinstance(policy, Sample):
                symbols, logp = model.next_symbols(scored[0].target[:1])
                found[f"{case} next"] = [symbols.tolist(), logp.tolist()]
    return found


def test_kernels_give_the_same_numbers_uncompiled() -> None:
    here = os.environ | {"LMFST_COMPILED": "0", "PYTHONPATH": str(REPOSITORY)}
    run = subprocess.run(
        [sys.executable, "-m", "tests.inference.test_uncompiled"],
        env=here,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    said, found = json.loads(run.stdout), numbers()
    assert said.pop("compiled") is False and compiled()
    assert said.keys() == found.keys()
    assert any(isinstance(x, float) and math.isfinite(x) for x, *_ in found["0 beam True"])
    for case, one in found.items():
        a, b = (np.array(_flat(x), dtype=np.float64) for x in (one, said[case]))
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12, err_msg=case)


def _flat(values: Any) -> list[float]:
    if isinstance(values, list | tuple):
        return [x for value in values for x in _flat(value)]
    return [math.nan if values is None else float(values)]


if __name__ == "__main__":
    print(json.dumps({**numbers(), "compiled": compiled()}))
