"""Comparison of a model over target strings with the oracle's sums: all that one query tells, at
once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lmfst.fst.sequential import END
from lmfst.inference.results import Propagated
from lmfst.model import TransducedLM
from lmfst.scored.records import upper_bound
from tests.support.oracle import Oracle

TOLERANCE = 1e-9

String = tuple[int, ...]


def close(found: float, expected: float) -> bool:
    """Equal log-probabilities; `found` is a log, `expected` a probability."""
    if expected == 0:
        return found == -math.inf
    return abs(found - math.log(expected)) <= TOLERANCE


def some_strings(oracle: Oracle, seed: int) -> list[String]:
    """A few likely and unlikely strings of the support, and one outside it."""
    support = sorted(oracle.mass, key=lambda y: (-oracle.mass[y], y))
    rng = np.random.default_rng(seed)
    picked = [support[int(rng.integers(len(support)))] for _ in range(2)]
    return [support[0], support[-1], *picked, (*picked[0], 122, 120)]


def whole(model: TransducedLM, y: String) -> Propagated:
    """One propagation of a string and its end, with the next symbols after every prefix."""
    return model._ask((*y, END), range(len(y) + 1))


def check_everything(model: TransducedLM, oracle: Oracle, strings: Sequence[String]) -> None:
    """Prefix, string and next-symbol log-probabilities of `strings` and all their prefixes.

    One propagation a string; for the first one, which is in the support, also the methods that ask
    for one number.
    """
    for y in dict.fromkeys(strings):
        found = whole(model, y)
        assert close(found.log_prefix[-1], oracle.string(y) / oracle.accepted)
        for size in range(len(y) + 1):
            mass = oracle.prefix(y[:size]) / oracle.accepted
            assert close(found.log_prefix[size], mass)
            assert (
                upper_bound(found.log_prefix[size], found.log_dropped[size])
                >= (found.log_prefix[size])
            )
            if mass > 0:
                check_next(*found.next[size], oracle, y[:size])
    check_methods(model, oracle, strings[0])


def check_next(symbols: np.ndarray, logp: np.ndarray, oracle: Oracle, prefix: String) -> None:
    """A distribution of the next symbol after a prefix."""
    expected = oracle.next(prefix)
    positive = logp > -np.inf
    assert set(symbols[positive].tolist()) == {a for a, p in expected.items() if p > 0}
    for symbol, found in zip(symbols[positive].tolist(), logp[positive].tolist(), strict=True):
        assert close(found, expected[symbol])
    assert abs(math.fsum(np.exp(logp)) - 1) <= TOLERANCE


def check_methods(model: TransducedLM, oracle: Oracle, y: String) -> None:
    """The methods that ask for one number, for a string of the support and half of it."""
    assert close(model.logp(y), oracle.string(y) / oracle.accepted)
    half = y[: len(y) // 2]
    bounds = model.prefix_bounds(half)
    assert close(bounds.logp, oracle.prefix(half) / oracle.accepted)
    assert bounds.upper >= bounds.logp
    check_next(*model.next_symbols(half), oracle, half)


def check_bounds(model: TransducedLM, oracle: Oracle, y: String) -> None:
    """Bounds of prefixes, in one propagation or asked for alone, hold the true value."""
    found = whole(model, y)
    bounds = [
        (lower, upper_bound(lower, dropped))
        for lower, dropped in zip(found.log_prefix[:-1], found.log_dropped[:-1], strict=True)
    ]
    alone = model.prefix_bounds(y)
    held = [*zip([y[:size] for size in range(len(y) + 1)], bounds, strict=True)]
    for prefix, (lower, upper) in [*held, (y, (alone.lower, alone.upper))]:
        true = oracle.prefix(prefix)
        assert math.exp(lower) <= true * (1 + TOLERANCE) + 1e-300
        assert true <= math.exp(upper) * (1 + TOLERANCE) + 1e-300
