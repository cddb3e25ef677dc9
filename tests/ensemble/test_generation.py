"""Strings of ensembles against enumeration: decoding, and strings within a grammar."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from lmfst.ensemble import Ensemble
from lmfst.fst import EPS, Fst
from lmfst.generate.decode import Beam, Decoding, decode
from lmfst.generate.sample import sample
from lmfst.ground.errors import ZeroProbabilityError
from lmfst.ground.types import How
from lmfst.target.acceptor import Acceptor
from lmfst.target.load import fst_target, load_target
from tests.ensemble.test_ensemble import EQUAL, HOWS, String, ensemble, enumerated, tables
from tests.support.oracle import END, TableLM, make_vocab, random_fst

SEED = 4


class Case:
    """An ensemble, and the probabilities of its strings and of their beginnings."""

    def __init__(self, how: How, seed: int = SEED) -> None:
        fst, lms = random_fst(seed), tables(seed)
        self.model: Ensemble = ensemble(lms, fst_target(fst, "random"), how)
        self.prefixes = enumerated(how, lms, fst).prefixes()
        self.strings = {y[:-1]: p for y, p in self.prefixes.items() if END in y}

    def greedy(self, prompt: String) -> String:
        y = prompt
        while y[-1:] != (END,):
            following = [x for x in self.prefixes if len(x) == len(y) + 1 and x[: len(y)] == y]
            y = max(following, key=lambda x: self.prefixes[x])
        return y[:-1]

    def odd(self) -> tuple[Acceptor, Callable[[String], bool]]:
        """Strings with an odd number of the symbol whose strings are closest to half of all."""
        symbols = self.model.target.machine.symbols
        letters = sorted({a for y in self.strings for a in y})

        def share(one: int) -> float:
            return math.fsum(p for y, p in self.strings.items() if y.count(one) % 2)

        one = min(letters, key=lambda a: abs(share(a) - 0.5))
        arcs = [(q, EPS, a, q ^ (a == one)) for q in (0, 1) for a in letters]
        fst = Fst.from_arcs(arcs, 0, [1], symbols)
        return Acceptor(fst, symbols, "odd.grm"), lambda y: y.count(one) % 2 == 1


@pytest.fixture(scope="module", params=HOWS)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def test_decoding_equals_exhaustive_search(case: Case) -> None:
    prompt = max((y[:1] for y in case.strings if len(y) > 1), key=lambda y: case.prefixes[y])
    for given in ((), prompt):
        total = case.prefixes[given]
        (one,) = decode(case.model, given)
        assert one.symbols == case.greedy(given) and not one.cut
        ranked = sorted(
            (y for y in case.strings if y[: len(given)] == given), key=lambda y: -case.strings[y]
        )
        found = decode(case.model, given, width=5000, top=4)
        assert [one.symbols for one in found] == ranked[:4]
        for one in found:
            expected = math.log(case.strings[one.symbols] / total)
            assert one.logp == pytest.approx(expected, abs=EQUAL)


def test_decoding_within_a_grammar_equals_exhaustive_search(case: Case) -> None:
    within, accepted = case.odd()
    ranked = sorted(filter(accepted, case.strings), key=lambda y: -case.strings[y])
    found = decode(case.model, within=within, width=5000, top=4)
    assert [one.symbols for one in found] == ranked[:4]


@pytest.mark.parametrize("resample", [None, 16])
def test_weights_of_draws_within_a_grammar_are_unbiased(case: Case, resample: int | None) -> None:
    within, accepted = case.odd()
    truth = math.fsum(p for y, p in case.strings.items() if accepted(y))
    assert 0.05 < truth < 0.95
    likeliest = max(filter(accepted, case.strings), key=lambda y: case.strings[y])
    drawn = list(sample(case.model, 800, seed=3, within=within, resample=resample))
    assert {one.way for one in drawn} == {"unit" if resample is None else "resampled"}
    assert all(accepted(one.symbols) for one in drawn if one.logw != -math.inf)
    weights = np.array([math.exp(-math.inf if one.logw is None else one.logw) for one in drawn])
    here = np.array([one.symbols == likeliest for one in drawn])
    for values, expected in ((weights, truth), (weights * here, case.strings[likeliest])):
        runs = values.reshape(-1, resample or 1).mean(1)
        error = runs.std(ddof=1) / math.sqrt(len(runs))
        assert abs(runs.mean() - expected) < 4 * error + 1e-9
    # Draws that take no account of weights are another distribution.
    if resample is None:
        error = here.std(ddof=1) / math.sqrt(len(here))
        assert abs(here.mean() - case.strings[likeliest] / truth) > 4 * error


def test_draws_from_a_product_that_come_to_where_nothing_goes_on_weigh_nothing() -> None:
    case = Case("product", seed=0)
    within, accepted = case.odd()
    truth = math.fsum(p for y, p in case.strings.items() if accepted(y))
    drawn = list(sample(case.model, 800, seed=3, within=within))
    weights = np.array([math.exp(-math.inf if one.logw is None else one.logw) for one in drawn])
    assert 0 < np.mean(weights == 0) < 1
    assert abs(weights.mean() - truth) < 4 * weights.std(ddof=1) / math.sqrt(len(weights))
    with pytest.raises(ZeroProbabilityError, match="no next symbol in common"):
        list(sample(case.model, 800, seed=3))


def test_prompts_decoded_together_are_those_one_by_one(case: Case) -> None:
    starts = sorted({y[:size] for y in case.strings for size in (0, 1, 2) if len(y) > size})
    impossible = (*starts[-1], 98, 98, 98, 98, 98, 98, 98)
    finder = Decoding(case.model, Beam(3, top=2))
    *found, error = finder.after_all([*starts, impossible])
    assert found == [decode(case.model, start, width=3, top=2) for start in starts]
    assert isinstance(error, ZeroProbabilityError)


def test_a_product_decodes_around_what_nothing_can_follow() -> None:
    """After a the models of this product have no next symbol in common."""
    first = TableLM(make_vocab([b"a", b"b"]), order=1, depth=1, seed=5, merges=False)
    second = TableLM(make_vocab([b"ab", b"b"]), order=1, depth=1, seed=5, merges=False)
    model = ensemble([first, second], load_target("bytes"), "product")
    following = model.state().next_logp()
    assert max(following, key=lambda name: following[name]) == "a"
    with pytest.raises(ZeroProbabilityError, match="no next symbol in common"):
        decode(model)
    found = decode(model, width=3, top=2)
    assert {one.text for one in found} == {"", "b"} and not any(one.cut for one in found)
