"""Ensembles against enumeration: scoring, states, strings drawn, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import pytest

from lmfst.ensemble import Ensemble
from lmfst.ensemble.states import EnsembleState
from lmfst.fst import EPS, Fst, Symbols
from lmfst.generate.next_units import REST, following
from lmfst.generate.sample import sample
from lmfst.ground.errors import InputError, LmfstError, UsageError
from lmfst.ground.types import How
from lmfst.inference.policy import Beam, Exact, Policy, Tolerance
from lmfst.inference.sampling import Sample
from lmfst.inference.states import advance_all
from lmfst.model import TransducedLM
from lmfst.target.load import Target, fst_target, load_target
from lmfst.target.prompts import Prompt
from tests.support.chance import chi_square
from tests.support.oracle import END, Oracle, TableLM, fst_function, make_vocab, random_fst

HOWS: tuple[How, ...] = get_args(How)
WEIGHTS = (0.3, 0.7)
LAW = 1e-12
EQUAL = 1e-9
String = tuple[int, ...]
TOKENS = ([b"a", b"b", b"ab"], [b"b", b"aa", b"a", b"ba", b"\0"])


def tables(seed: int, depth: int = 3) -> list[TableLM]:
    """Two models with different vocabularies."""
    first, second = map(make_vocab, TOKENS)
    return [
        TableLM(first, order=2, depth=depth, seed=seed, merges=False),
        TableLM(second, order=3, depth=depth - 1, seed=seed + 1, merges=True),
    ]


def ensemble(
    lms: Sequence[TableLM], target: Target, how: How, policy: Policy | None = None
) -> Ensemble:
    models = [TransducedLM(lm, target, policy or Exact()) for lm in lms]
    return Ensemble(models, WEIGHTS, how)


class Enumerated:
    """The numbers of an ensemble from the definitions, by the strings that models can write."""

    def __init__(self, how: How, oracles: Sequence[Oracle]) -> None:
        self.how, self._oracles = how, oracles

    def next(self, y: String) -> dict[int, float]:
        """p(a | y) of every next symbol; empty where there is none."""
        before = [oracle.prefix(y) for oracle in self._oracles]
        each = [
            oracle.next(y) if p > 0 else {} for oracle, p in zip(self._oracles, before, strict=True)
        ]
        symbols = sorted({symbol for one in each for symbol in one})
        found = {}
        for a in symbols:
            p = [one.get(a, 0.0) for one in each]
            if self.how == "product":
                found[a] = math.prod(p_i**w for p_i, w in zip(p, WEIGHTS, strict=True))
            elif self.how == "mixture":
                found[a] = math.fsum(p_i * w for p_i, w in zip(p, WEIGHTS, strict=True))
            else:
                found[a] = math.fsum(
                    p_i * w * b for p_i, w, b in zip(p, WEIGHTS, before, strict=True)
                )
        total = math.fsum(found.values())
        return {a: p / total for a, p in found.items() if p > 0}

    def prefixes(self) -> dict[String, float]:
        """P(y) of every prefix of probability above 0, those of whole strings end with END."""
        found: dict[String, float] = {(): 1.0}
        open_: list[String] = [()]
        while open_:
            y = open_.pop()
            for a, p in self.next(y).items():
                found[*y, a] = found[y] * p
                if a != END:
                    open_.append((*y, a))
        return found


def enumerated(how: How, lms: Sequence[TableLM], fst: Fst) -> Enumerated:
    return Enumerated(how, [Oracle(lm, fst_function(fst)) for lm in lms])


def check_following(symbols: np.ndarray, logp: np.ndarray, expected: dict[int, float]) -> None:
    assert symbols.tolist() == sorted(expected)
    for symbol, value in zip(symbols.tolist(), logp.tolist(), strict=True):
        assert value == pytest.approx(math.log(expected[symbol]), abs=EQUAL)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("seed", range(6))
def test_ensembles_are_what_their_definition_says(how: How, seed: int) -> None:
    fst, lms = random_fst(seed), tables(seed)
    model = ensemble(lms, fst_target(fst, "random"), how)
    right = enumerated(how, lms, fst)
    prefixes = right.prefixes()
    whole = {y: p for y, p in prefixes.items() if y[-1:] == (END,)}
    # A product loses what leads to where the models have nothing in common.
    lost = math.fsum(p for y, p in prefixes.items() if y[-1:] != (END,) and not right.next(y))
    assert math.fsum(whole.values()) + lost == pytest.approx(1, abs=EQUAL)
    assert how == "product" or lost == 0
    for y in sorted(whole, key=lambda y: -whole[y])[:3] + sorted(whole)[:2]:
        text = y[:-1]
        found = model._ask(y, range(len(y)))
        states = [model.state()]
        for symbol in y:
            states.append(states[-1].advance(symbol))
        for size, state in enumerate(states):
            expected = math.log(prefixes[y[:size]])
            assert found.log_prefix[size] == pytest.approx(expected, abs=EQUAL)
            assert state.logp == pytest.approx(expected, abs=EQUAL)
            assert state.symbols == y[:size] and state.is_possible
            if size <= len(text):
                check_following(*found.next[size], right.next(y[:size]))
                check_following(*state.next_symbols(), right.next(y[:size]))
        assert states[-1].has_ended
        assert model.logp(text) == pytest.approx(math.log(whole[y]), abs=EQUAL)
        assert model.prefix_logp(text) == pytest.approx(math.log(prefixes[text]), abs=EQUAL)
        check_following(*model.next_symbols(text), right.next(text))
        assert math.fsum(np.exp(model.next_symbols(text)[1])) == pytest.approx(1, abs=EQUAL)


def test_a_mixture_of_strings_is_the_sum_of_its_models() -> None:
    lms, fst = tables(3), random_fst(3)
    model = ensemble(lms, fst_target(fst, "random"), "mixture-of-strings")
    oracles = [Oracle(lm, fst_function(fst)) for lm in lms]
    for y in {*oracles[0].mass, *oracles[1].mass}:
        p = math.fsum(w * oracle.string(y) for w, oracle in zip(WEIGHTS, oracles, strict=True))
        assert model.logp(y) == pytest.approx(math.log(p), abs=EQUAL)


POLICIES = (Exact(), Beam(size=2, threshold=1e-2), Tolerance(size=4, tolerance=0.01))


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
@pytest.mark.parametrize("how", HOWS)
def test_the_law_of_states(how: How, policy: Policy) -> None:
    """advance(a).logp = logp + next_logp()[a], and states are those that reading leads to."""
    for seed in range(4):
        fst = random_fst(seed)
        lms = tables(seed, depth=4)
        model = ensemble(lms, fst_target(fst, "random"), how, policy)
        random = np.random.default_rng(seed)
        state, y = model.state(), ()
        while True:
            symbols, logp = state._next()
            if not len(symbols):
                break
            for symbol, value in zip(symbols.tolist(), logp.tolist(), strict=True):
                assert state.advance(symbol).logp == pytest.approx(state.logp + value, abs=LAW)
            begun = model.state(y)
            assert begun.logp == pytest.approx(state.logp, abs=EQUAL)
            assert begun.missing == pytest.approx(state.missing, abs=EQUAL)
            np.testing.assert_array_equal(begun._next()[0], symbols)
            np.testing.assert_allclose(begun._next()[1], logp, atol=EQUAL)
            scored = model.state(y, as_scored=True)
            found = model._ask(y, [len(y)])
            assert scored.logp == pytest.approx(found.log_prefix[-1], abs=EQUAL)
            if how != "product":
                # A product asks for more distributions, which may tip a beam.
                np.testing.assert_allclose(scored._next()[1], found.next[len(y)][1], atol=EQUAL)
            symbol = int(random.choice(symbols))
            y, state = (*y, symbol), state.advance(symbol)
            if symbol == END:
                break
        if state.has_ended:
            ended = model.state(y)
            assert ended.has_ended and ended.logp == pytest.approx(state.logp, abs=EQUAL)


@pytest.mark.parametrize("how", HOWS)
def test_many_states_advance_as_one_does(how: How) -> None:
    model = ensemble(tables(5), load_target("bytes"), how)
    states = model.states(["", "a", "b", "ab", "a"])
    symbols: list[Any] = ["ab", 98, "a", "⊥", b"a"]
    for state, symbol, found in zip(states, symbols, advance_all(states, symbols), strict=True):
        alone = state.advance(symbol)
        assert isinstance(found, EnsembleState) and found.symbols == alone.symbols
        assert (found.logp, found.missing) == (alone.logp, alone.missing)
        assert found.logp == pytest.approx(model._ask(found.symbols).log_prefix[-1], abs=EQUAL)
    with pytest.raises(UsageError, match="begin together"):
        advance_all([model.state(), model.state()], "ab")
    mixed: list[Any] = [states[0], states[0].parts[0]]
    with pytest.raises(UsageError, match="begin together"):
        advance_all(mixed, "ab")
    other = ensemble(tables(5), load_target("bytes"), how)
    with pytest.raises(UsageError, match="begin together"):
        advance_all([states[0], other.state()], "ab")


def test_zeros_say_which_model_is_to_blame() -> None:
    lms = tables(1)
    text = "\0a"
    product = ensemble(lms, load_target("bytes"), "product")
    for ask in (lambda: product.next_logp(text), lambda: product.state(text).next_logp()):
        with pytest.raises(InputError, match=r"symbol 0 .*model 1, TableLM"):
            ask()
    state = product.state(text)
    assert not state.is_possible and state.logp == -math.inf and state.missing == 0.0
    assert not state.advance("a").is_possible
    said: list[str] = []
    for model in product.models:
        model.setting.__dict__["warn"] = said.append
    assert product.score([text])[0].logp == -math.inf
    assert len(said) == 1 and "model 1, TableLM" in said[0]
    # A mixture goes on with the model that can, and has all of its weight.
    mixture = ensemble(lms, load_target("bytes"), "mixture")
    alone = mixture.models[1]
    assert mixture.prefix_logp(text) == pytest.approx(
        alone.prefix_logp(text) + math.log(WEIGHTS[1]), abs=EQUAL
    )
    assert mixture.state(text).next_logp() == pytest.approx(alone.next_logp(text), abs=EQUAL)
    with pytest.raises(InputError, match="ended"):
        mixture.state("a").advance("⊥").next_logp()
    with pytest.raises(InputError, match=r"no token sequence|can't produce"):
        mixture.next_logp("ax")


def test_a_product_without_common_symbols_says_so() -> None:
    first = TableLM(make_vocab([b"a"]), order=1, depth=1, seed=0, merges=False)
    second = TableLM(make_vocab([b"ab"]), order=1, depth=1, seed=0, merges=False)
    model = ensemble([first, second], load_target("bytes"), "product")
    state = model.state("a")
    assert state.is_possible
    with pytest.raises(InputError, match="no next symbol in common"):
        state.next_logp()
    assert model.logp("a") == -math.inf


def test_missing_and_bounds_of_a_beam() -> None:
    fst, policy = random_fst(4), Beam(size=1, threshold=0.3)
    lms = tables(4, depth=4)
    right = {how: enumerated(how, lms, fst).prefixes() for how in HOWS}
    dropped = 0
    for how in HOWS:
        model = ensemble(lms, fst_target(fst, "random"), how, policy)
        for y in sorted(right[how])[::4]:
            found = model._ask(y)
            if any(np.isinf(part.log_prefix[-1]) for part in found.parts):
                continue
            each = np.array([part.missing for part in found.parts])
            share = np.array([WEIGHTS] * len(y)).T
            if how == "mixture":
                steps = np.array([np.diff(part.log_prefix) for part in found.parts])
                share = share * np.exp(steps)
            elif how == "mixture-of-strings":
                share = share * np.exp([[part.log_prefix[-1]] for part in found.parts])
            expected = (share / share.sum(axis=0) * each).sum(axis=0)
            assert found.missing is not None
            np.testing.assert_allclose(found.missing, expected, atol=EQUAL)
            lacks = expected.sum() > 0
            dropped += lacks
            if how == "mixture-of-strings":
                bounds = model.prefix_bounds(y[:-1]) if y[-1:] == (END,) else model.prefix_bounds(y)
                true = math.log(right[how][y[:-1] if y[-1:] == (END,) else y])
                assert bounds.lower <= true + EQUAL and true <= bounds.upper + EQUAL
            elif lacks:
                assert not found.bounded
    assert dropped > 5


@pytest.mark.parametrize("how", ["mixture", "product"])
def test_there_are_bounds_only_where_nothing_was_dropped(how: How) -> None:
    lms = tables(2)
    exact = ensemble(lms, load_target("bytes"), how)
    bounds = exact.prefix_bounds("ab")
    assert bounds.lower == bounds.upper == exact.prefix_logp("ab")
    (row,) = exact.score(["ab"])
    assert row.lower == row.upper == row.logp and row.dropped == 0.0
    beam = exact.with_policy(Beam(size=1, threshold=0.5))
    with pytest.raises(UsageError, match="have no bounds"):
        beam.prefix_bounds("ab")
    (row,) = beam.score(["ab"])
    assert (row.lower, row.upper, row.dropped) == (None, None, None)
    text = row.text_row()
    assert text["upper"] is None and text["canonical"] is None and text["missing"] > 0


@pytest.mark.parametrize("how", HOWS)
def test_documents_and_prompts(how: How) -> None:
    model = ensemble(tables(7), load_target("bytes"), how)
    (scored,) = model.score(["aba"])
    rows = list(scored.unit_rows())
    state = model.state()
    for row, symbol in zip(rows, (*b"aba", END), strict=True):
        after = state.advance(symbol)
        assert row["logp"] == pytest.approx(after.logp - state.logp, abs=EQUAL)
        state = after
    (rest,) = model.score(["ba"], prompt=Prompt("a"))
    assert rest.logp == pytest.approx(model.logp("aba") - model.prefix_logp("a"), abs=EQUAL)
    read = model.after_source("a")
    expected = {
        name: value
        for name, value in Ensemble([one.after_source("a") for one in model.models], WEIGHTS, how)
        .next_logp("b")
        .items()
    }
    assert read.next_logp("b") == expected
    assert [one.next_logp("") for one in read.models] != [
        one.next_logp("a") for one in model.models
    ]


def test_sets_of_symbols_have_a_probability_in_mixtures_of_strings_alone() -> None:
    y = [{"a", "b"}, "a"]
    sums = ensemble(tables(1), load_target("bytes"), "mixture-of-strings")
    both = np.logaddexp(sums.prefix_logp("aa"), sums.prefix_logp("ba"))
    assert sums.prefix_logp(y) == pytest.approx(both, abs=EQUAL)
    for how in ("mixture", "product"):
        with pytest.raises(UsageError, match="set of symbols"):
            ensemble(tables(1), load_target("bytes"), how).prefix_logp(y)


@pytest.mark.parametrize("how", HOWS)
def test_strings_drawn_have_the_exact_probabilities(how: How) -> None:
    fst, lms = random_fst(2), tables(2)
    model = ensemble(lms, fst_target(fst, "random"), how)
    whole = {y[:-1]: p for y, p in enumerated(how, lms, fst).prefixes().items() if END in y}
    assert math.fsum(whole.values()) == pytest.approx(1, abs=EQUAL)
    drawn = list(sample(model, 2000, seed=1))
    assert chi_square([one.symbols for one in drawn], whole) > 1e-3
    assert {one.way for one in drawn} == {"unit"}
    for one in drawn[:20]:
        assert one.logp == pytest.approx(model.logp(one.symbols), abs=EQUAL)
    # A sampler of one of the models fails.
    alone = [one.symbols for one in sample(model.models[0], 2000, seed=1)]
    assert chi_square(alone, whole) < 1e-9
    prompt = max((y[:1] for y in whole if len(y) > 1), key=lambda y: model.prefix_logp(y))
    after = {y: p for y, p in whole.items() if y[:1] == prompt}
    drawn = list(sample(model, 2000, seed=2, prompt=prompt))
    assert chi_square([one.symbols for one in drawn], after) > 1e-3


SEP = 0xF0000


@pytest.mark.parametrize("how", HOWS)
def test_next_units_of_an_ensemble(how: How) -> None:
    # b separates words.
    arcs = [(0, 97, 97, 0), (0, 98, SEP, 0), (0, 0, 99, 0)]
    fst = Fst.from_arcs(arcs, 0, [0], Symbols("bytes", {SEP: "SEP"}))
    model = ensemble(tables(1), fst_target(fst, "words"), how)
    found = dict(following(model, "a", top=3))
    for unit, logp in found.items():
        if unit in (REST, "⊥"):
            continue
        symbols, before = model.symbols(unit), model.prefix_logp("a")
        ended = np.logaddexp(model.prefix_logp((*symbols, SEP)), model.logp(symbols))
        assert logp == pytest.approx(ended - before, abs=EQUAL)
    assert math.fsum(map(math.exp, found.values())) == pytest.approx(1, abs=EQUAL)
    symbols = dict(following(ensemble(tables(1), load_target("bytes"), how), "a", top=0))
    expected = ensemble(tables(1), load_target("bytes"), how).next_logp("a")
    assert sorted(symbols.values()) == pytest.approx(sorted(expected.values()), abs=EQUAL)


def test_next_units_of_a_product_that_leads_nowhere() -> None:
    """A beginning of a word after which the models have no symbol in common is left out."""
    arcs = [(0, 97, 97, 0), (0, 98, SEP, 0), (0, 0, 99, 0)]
    fst = Fst.from_arcs(arcs, 0, [0], Symbols("bytes", {SEP: "SEP"}))
    first = TableLM(make_vocab([b"b", b"a"]), order=1, depth=1, seed=0, merges=False)
    second = TableLM(make_vocab([b"b", b"a\0"]), order=1, depth=1, seed=0, merges=False)
    model = ensemble([first, second], fst_target(fst, "words"), "product")
    with pytest.raises(InputError, match="no next symbol in common"):
        following(model, "a")
    assert model.prefix_logp("a") > -math.inf
    found = dict(following(model, "", top=5))
    assert sorted(found) == sorted(["", "⊥", REST])
    assert found[REST] == pytest.approx(model.prefix_logp("a"), abs=EQUAL)


def test_what_makes_the_numbers() -> None:
    model = ensemble(tables(1), load_target("bytes"), "product")
    facts = model.describe()
    assert facts["ensemble"] == "product" and facts["weights"] == [0.3, 0.7]
    assert len(facts["models"]) == 2 and facts["policy"] == "exact"
    assert Ensemble(model.models).weights == (0.5, 0.5)
    assert model.with_policy("beam").policy == Tolerance()


def bytes_models(policy: Policy | None = None, **options: Any) -> list[TransducedLM]:
    return [
        TransducedLM(lm, load_target("bytes"), policy or Exact(), **options) for lm in tables(1)
    ]


def other_target() -> list[TransducedLM]:
    first, second = tables(1)
    return [
        TransducedLM(first, load_target("bytes"), Exact()),
        TransducedLM(second, load_target("chars"), Exact()),
    ]


def other_function() -> list[TransducedLM]:
    """One that leaves b out, and one that leaves NUL out."""
    found = []
    for lm, erased in zip(tables(1), (98, 0), strict=True):
        arcs = [(0, x, EPS if x == erased else 97, 0) for x in (97, 98, 0)]
        found.append(TransducedLM(lm, fst_target(Fst.from_arcs(arcs, 0, [0]), "one"), Exact()))
    return found


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ensemble(bytes_models()[:1]), "at least two models, and has 1"),
        (lambda: Ensemble([]), "at least two models, and has 0"),
        (lambda: Ensemble(tables(1)), "transduced models, not of TableLM"),  # type: ignore[arg-type]
        (lambda: Ensemble(bytes_models(), [1.0]), "a weight for each of 2 models, found 1"),
        (lambda: Ensemble(bytes_models(), [0.5, 0.4]), "sum 1; that of 0.5, 0.4 is 0.9"),
        (lambda: Ensemble(bytes_models(), [1.5, -0.5]), "above 0, not -0.5"),
        (lambda: Ensemble(bytes_models(), [1.0, 0.0]), "above 0, not 0.0"),
        (lambda: Ensemble(bytes_models(), [math.nan, 1.0]), "above 0, not nan"),
        (lambda: Ensemble(bytes_models(), ["a", "b"]), "above 0, not 'a'"),  # type: ignore[list-item]
        (lambda: Ensemble(bytes_models(), how="sum"), "how must be one of"),  # type: ignore[arg-type]
        (lambda: Ensemble(other_target()), "bytes .model 1. and chars .model 2. have different"),
        (lambda: Ensemble(other_function()), "are different functions"),
        (lambda: Ensemble(bytes_models(Sample())), "--policy sample"),
        (lambda: Ensemble(bytes_models(), policy="sample"), "--policy sample"),
        (
            lambda: Ensemble([bytes_models()[0], bytes_models(Beam())[1]]),
            "have several policies",
        ),
    ],
)
def test_what_is_no_ensemble(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


def test_models_that_are_given_that_strings_are_accepted_have_no_ensemble() -> None:
    fst = Fst.from_arcs([(0, 97, 97, 0)], 0, [0])
    models = [
        TransducedLM(lm, fst_target(fst, "as"), Exact(), partial="condition") for lm in tables(1)
    ]
    with pytest.raises(LmfstError, match="--partial condition"):
        Ensemble(models)
