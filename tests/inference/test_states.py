"""States: equal to sums over whole strings, whatever was asked for on the way."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmfst.fst.sequential import END
from lmfst.ground.errors import BudgetError, FstError, InputError, UsageError
from lmfst.inference.policy import Beam, Exact, Policy, Tolerance
from lmfst.inference.sampling import Sample
from lmfst.inference.states import State, advance_all
from lmfst.lm.base import LM, ContextSession
from lmfst.model import TransducedLM
from lmfst.target.load import fst_target, load_target
from tests.inference.test_exactness import models
from tests.support.exact import check_next, close, some_strings, whole
from tests.support.oracle import Oracle, TableLM, fst_function, make_vocab, random_fst, strings

if TYPE_CHECKING:
    import torch

LAW = 1e-12
EQUAL = 1e-9


def check_law(state: State) -> None:
    """advance(a).logp = logp + next_logp()[a]."""
    symbols, logp = state.next_symbols()
    assert len(symbols)
    for symbol, value in zip(symbols.tolist(), logp.tolist(), strict=True):
        assert state.advance(symbol).logp == pytest.approx(state.logp + value, abs=LAW)


def walked(state: State, y: Sequence[int]) -> list[State]:
    """The states after every prefix of y."""
    found = [state]
    for symbol in y:
        found.append(found[-1].advance(symbol))
    return found


def policies() -> st.SearchStrategy[Policy]:
    """Policies that have states."""
    beams = st.builds(Beam, size=st.integers(1, 4), threshold=st.sampled_from([0.0, 1e-3, 0.1]))
    tolerances = st.builds(Tolerance, size=st.integers(1, 8), tolerance=st.just(0.01))
    return st.just(Exact()) | beams | tolerances


def check_exact(lm: TableLM, seed: int) -> None:
    """States of a random machine against enumeration and propagation, along some strings."""
    fst = random_fst(seed)
    oracle = Oracle(lm, fst_function(fst))
    model = TransducedLM(lm, fst_target(fst, "random"), Exact())
    for y in dict.fromkeys(some_strings(oracle, seed)):
        found = whole(model, y)
        states = walked(model.state(), (*y, END) if oracle.prefix(y) > 0 else y)
        for size, state in enumerate(states[: len(y) + 1]):
            assert state.symbols == y[:size]
            assert close(state.logp, oracle.prefix(y[:size]))
            assert state.is_possible == (oracle.prefix(y[:size]) > 0)
            assert state.missing <= 1e-12
            if state.is_possible:
                assert state.logp == pytest.approx(found.log_prefix[size], abs=EQUAL)
                check_next(*state.next_symbols(), oracle, y[:size])
                check_same(state, *found.next[size])
                check_law(state)
        if oracle.prefix(y) > 0:
            assert close(states[-1].logp, oracle.string(y))


def check_same(state: State, symbols: np.ndarray, logp: np.ndarray) -> None:
    """The distribution of a state is one that propagation gives."""
    possible = logp > -np.inf
    own, found = state.next_symbols()
    np.testing.assert_array_equal(own, symbols[possible])
    np.testing.assert_allclose(found, logp[possible], atol=EQUAL)


@settings(max_examples=40)
@given(models(), st.integers(0, 2**32 - 1))
def test_states_are_exact(lm: TableLM, seed: int) -> None:
    check_exact(lm, seed)


@pytest.mark.slow
@settings(max_examples=300)
@given(models(), st.integers(0, 2**32 - 1))
def test_states_of_many_models_and_fsts_are_exact(lm: TableLM, seed: int) -> None:
    check_exact(lm, seed)


@settings(max_examples=40)
@given(models(), st.integers(0, 2**32 - 1), policies())
def test_the_law_holds_under_every_policy(lm: TableLM, seed: int, policy: Policy) -> None:
    fst = random_fst(seed)
    oracle = Oracle(lm, fst_function(fst))
    model = TransducedLM(lm, fst_target(fst, "random"), policy)
    for y in dict.fromkeys(some_strings(oracle, seed)[:3]):
        for size, state in enumerate(walked(model.state(), y)):
            # A lower bound.
            assert math.exp(state.logp) <= oracle.prefix(y[:size]) * (1 + EQUAL) + 1e-300
            assert state.missing >= 0
            if not state.is_possible:
                assert state.missing == math.inf or oracle.prefix(y[:size]) == 0
                break
            mass = math.fsum(np.exp(state.next_symbols()[1]))
            assert mass <= 1 + EQUAL
            # What isn't there was dropped here, and the next state says so.
            lacks = state.advance(END).missing - state.missing
            if math.isfinite(lacks):
                assert lacks == pytest.approx(1 - mass, abs=EQUAL)
            check_law(state)


@settings(max_examples=60)
@given(models(), st.integers(0, 2**32 - 1), policies(), st.randoms(use_true_random=False))
def test_what_is_asked_for_on_the_way_changes_no_digit(
    lm: TableLM, seed: int, policy: Policy, random: st.DataObject
) -> None:
    fst = random_fst(seed)
    model = TransducedLM(lm, fst_target(fst, "random"), policy)
    for y in some_strings(Oracle(lm, fst_function(fst)), seed)[:3]:
        plain = walked(model.state(), y)[-1]
        state = model.state()
        for symbol in y:
            if state.is_possible and random.random() < 0.6:  # type: ignore[attr-defined]
                check_law(state)
            state = state.advance(symbol)
        assert (state.logp, state.missing) == (plain.logp, plain.missing)
        if state.is_possible:
            assert state.next_logp() == plain.next_logp()


def check_known(lm: TableLM, seed: int, policy: Policy) -> None:
    """States after prefixes that are known as a whole, and what follows them."""
    fst = random_fst(seed)
    model = TransducedLM(lm, fst_target(fst, "random"), policy, warn=lambda message: None)
    oracle = Oracle(lm, fst_function(fst))
    texts = list(dict.fromkeys(some_strings(oracle, seed)))
    for y, known, scored in zip(
        texts, model.states(texts), model.states(texts, as_scored=True), strict=True
    ):
        walk = walked(model.state(), y)[-1]
        check_alike(known, walk)
        if known.is_possible:
            check_law(known)
            for symbol in known.next_symbols()[0].tolist():
                check_alike(known.advance(symbol), walk.advance(symbol))
        assert scored.symbols == y
        if scored.is_possible:
            check_law(scored)
        # Where contexts merge a beam here keeps others than one that cuts output that waits by the
        # target's end, and adds up what is alike then: both are lower bounds.
        if not (lm.merges and policy.prunes):
            asked = model._ask(y, [len(y)])
            assert scored.logp == pytest.approx(asked.log_prefix[-1], abs=LAW)
            if scored.is_possible:
                check_same(scored, *model.next_symbols(y))
        else:
            whole = oracle.prefix(y)
            assert math.exp(scored.logp) <= whole * (1 + EQUAL) + 1e-300


@settings(max_examples=40)
@given(models(), st.integers(0, 2**32 - 1), policies())
def test_a_known_prefix_leads_where_its_symbols_lead(
    lm: TableLM, seed: int, policy: Policy
) -> None:
    check_known(lm, seed, policy)


@pytest.mark.slow
@settings(max_examples=300)
@given(models(), st.integers(0, 2**32 - 1), policies())
def test_many_known_prefixes_lead_where_their_symbols_lead(
    lm: TableLM, seed: int, policy: Policy
) -> None:
    check_known(lm, seed, policy)


@settings(max_examples=40)
@given(models(), st.integers(0, 2**32 - 1), policies())
def test_states_advance_together_as_they_do_alone(lm: TableLM, seed: int, policy: Policy) -> None:
    fst = random_fst(seed)
    model = TransducedLM(lm, fst_target(fst, "random"), policy)
    texts = list(dict.fromkeys(some_strings(Oracle(lm, fst_function(fst)), seed)))
    alone = [walked(model.state(), y) for y in texts]
    together = model.states([()] * len(texts))
    for at in range(max(map(len, texts))):
        going = [i for i, y in enumerate(texts) if at < len(y)]
        moved = advance_all([together[i] for i in going], [texts[i][at] for i in going])
        for i, state in zip(going, moved, strict=True):
            together[i] = state
            check_alike(state, alone[i][at + 1])
    for y, state, other in zip(texts, model.states(texts), alone, strict=True):
        assert state.symbols == y
        check_alike(state, other[-1])


def check_alike(one: State, other: State) -> None:
    assert one.logp == pytest.approx(other.logp, abs=LAW)
    assert one.missing == pytest.approx(other.missing, abs=LAW)
    if one.is_possible and not one.has_ended:
        symbols, logp = one.next_symbols()
        np.testing.assert_array_equal(symbols, other.next_symbols()[0])
        np.testing.assert_allclose(logp, other.next_symbols()[1], atol=LAW)
        assert one._node.rows == other._node.rows


def test_a_branch_does_not_disturb_its_sibling() -> None:
    lm = TableLM(
        make_vocab([b"a", b"b", b"ab", b"", b"ba"]), order=3, depth=8, seed=1, merges=False
    )
    model = TransducedLM(lm, load_target("bytes"), Beam(size=4, threshold=1e-3))
    start = model.state("a")
    before = start.next_logp()
    left = start.advance("b")
    alone = model.state("ab").next_logp()
    right = start.advance("abba")
    assert right.next_logp() == pytest.approx(model.state("aabba").next_logp(), abs=LAW)
    assert left.next_logp() == pytest.approx(alone, abs=LAW)
    assert start.next_logp() == before
    symbols, logp = start.next_symbols()
    with pytest.raises(ValueError, match="read-only"):
        logp[0] = 0.0
    with pytest.raises(ValueError, match="read-only"):
        symbols[0] = 0


class Silent(LM):
    """Tokens: a; two that spell nothing, 0.45 together; an end."""

    merges = True

    def __init__(self, merges: bool) -> None:
        self.merges = merges
        self.vocab = make_vocab([b"a", b"", b""])

    def key(self, context: tuple[int, ...]) -> object:
        return 0 if self.merges else context

    def next_logp(self, contexts: Sequence[Sequence[int]]) -> np.ndarray:
        rows: np.ndarray = np.log(np.tile([0.5, 0.4, 0.05, 0.05], (len(contexts), 1)))
        return rows


@pytest.mark.parametrize("merges", [True, False])
def test_chains_of_silent_tokens_are_summed_up(merges: bool) -> None:
    policy = Exact() if merges else Beam(size=1 << 12, threshold=1e-5)
    model = TransducedLM(Silent(merges), load_target("bytes"), policy)
    state = model.state("aa")
    # An a comes before the end with probability 0.5 / 0.55.
    exact = 2 * math.log(0.5 / 0.55)
    assert state.logp == pytest.approx(exact, abs=1e-12 if merges else 2e-2)
    assert exact - state.logp == pytest.approx(state.missing, rel=0.05, abs=1e-12)
    ended = state.advance("⊥")
    exact += math.log(0.05 / 0.55)
    assert ended.logp == pytest.approx(exact, abs=1e-12 if merges else 2e-2)


def test_a_beam_keeps_what_its_size_and_threshold_say() -> None:
    # Of five tokens that spell a, the heaviest three are heavy enough, and two are kept.
    row = np.log([0.5, 0.2, 0.2, 0.004, 0.004, 0.002, 0.09])

    class Five(LM):
        """One row for all contexts that begin with token 0 or 1; else the end is certain."""

        vocab = make_vocab([b"a"] * 5 + [b"b"])

        def next_logp(self, contexts: Sequence[Sequence[int]]) -> np.ndarray:
            return np.tile(row, (len(contexts), 1))

    model = TransducedLM(Five(), load_target("bytes"), Beam(size=2, threshold=0.1))
    state = model.state("a")
    mass = 0.5 + 0.2 + 0.2 + 0.008
    assert math.exp(state.logp) == pytest.approx(mass)
    after = state.advance("b")
    assert math.exp(after.logp) == pytest.approx((0.5 + 0.2) * 0.002)
    assert after.missing == pytest.approx((0.2 + 0.008) / mass)
    exact = TransducedLM(Five(), load_target("bytes"), Beam(size=9, threshold=0.0)).state("ab")
    assert math.exp(exact.logp) == pytest.approx(mass * 0.002)


def test_symbols_are_numbers_names_or_strings() -> None:
    lm = TableLM(
        make_vocab(["é".encode(), b"a", b" ", b"\n"]), order=1, depth=9, seed=0, merges=True
    )
    model = TransducedLM(lm, load_target("bytes"), Exact())
    start = model.state()
    expected = start.advance(0xC3).advance(0xA9)
    ways: list[Any] = [
        "é",
        "é".encode(),
        ["\\xc3", "\\xa9"],
        (0xC3, 0xA9),
        list(np.array([0xC3, 0xA9])),
    ]
    for written in ways:
        assert start.advance(written).logp == expected.logp
    assert start.advance("\\xc3").symbols == (0xC3,)
    assert start.advance(int(np.int64(97))).symbols == start.advance("a").symbols == (97,)
    for name, value in start.next_logp().items():
        assert start.advance(name).logp == pytest.approx(value, abs=LAW)
    chars = TransducedLM(lm, load_target("chars"), Exact()).state("aé")
    assert chars.symbols == (97, 233)
    assert chars.logp == pytest.approx(start.advance("aé").logp, abs=LAW)
    with pytest.raises(FstError, match="no output symbol"):
        start.advance(["nonsense"])
    with pytest.raises(UsageError, match="set of symbols"):
        start.advance([{97, 98}])
    with pytest.raises(UsageError, match="set of symbols"):
        model.state([{97, 98}])


def test_what_has_no_states_says_so() -> None:
    lm = TableLM(make_vocab([b"a", b"b"]), order=1, depth=3, seed=0, merges=True)
    with pytest.raises(UsageError, match="samples"):
        TransducedLM(lm, load_target("bytes"), Sample()).state()
    partial = next(seed for seed in range(50) if is_partial(lm, seed))
    target = fst_target(random_fst(partial, partial=True), "partial")
    with pytest.raises(UsageError, match="condition"):
        TransducedLM(lm, target, Exact(), partial="condition").state()


def is_partial(lm: TableLM, seed: int) -> bool:
    return 0 < Oracle(lm, fst_function(random_fst(seed, partial=True))).accepted < 0.999


def test_nothing_follows_the_end_or_what_is_impossible() -> None:
    lm = TableLM(make_vocab([b"a", b"b"]), order=1, depth=3, seed=0, merges=True)
    model = TransducedLM(lm, load_target("bytes"), Exact())
    end = model.state("ab").advance("⊥")
    assert end.has_ended and end.is_possible
    assert end.logp == pytest.approx(model.logp("ab"), abs=EQUAL)
    for ask in (end.next_symbols, lambda: end.advance("a"), lambda: end.advance(END)):
        with pytest.raises(InputError, match="ended"):
            ask()
    lost = model.state("abxa")
    assert not lost.is_possible and lost.logp == -math.inf and lost.missing == 0.0
    assert not lost.advance("a").is_possible
    with pytest.raises(InputError, match=r"symbol 2 \(x\)") as caught:
        lost.next_logp()
    with pytest.raises(InputError) as expected:
        model.next_logp("abxa")
    assert str(caught.value) == str(expected.value)
    # Nothing is possible after three tokens but the end.
    assert not model.state("abab").is_possible


def test_what_a_beam_has_lost_is_missing_for_ever() -> None:
    lm = TableLM(make_vocab([b"a", b"b", b"ab"]), order=3, depth=4, seed=6, merges=False)
    model = TransducedLM(lm, load_target("bytes"), Beam(size=1, threshold=0.9))
    lost = [y for y in map(model.state, strings(lm)) if not y.is_possible]
    assert lost
    for state in lost:
        assert state.missing == math.inf
        with pytest.raises(InputError, match="raise --beam or lower --threshold"):
            state.next_logp()


def test_states_that_began_apart_are_not_advanced_together() -> None:
    lm = TableLM(make_vocab([b"a", b"b"]), order=1, depth=3, seed=0, merges=True)
    model = TransducedLM(lm, load_target("bytes"), Exact())
    with pytest.raises(UsageError, match="begin"):
        advance_all([model.state(), model.state()], "ab")
    with pytest.raises(UsageError, match="2 states and 1 symbols"):
        advance_all(model.states(["", ""]), "a")
    assert advance_all([], []) == [] and model.states([]) == []


def test_the_node_budget_holds_for_states() -> None:
    lm = TableLM(make_vocab([b"a", b"aa"]), order=2, depth=99, seed=0, merges=False)
    model = TransducedLM(lm, load_target("bytes"), Exact(node_budget=20))
    with pytest.raises(BudgetError, match="20 nodes"):
        model.state("aaaaaaaaaaaa")
    assert model.state("aa").is_possible


def test_states_share_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = TableLM(make_vocab([b"a", b"b", b"ab"]), order=2, depth=9, seed=5, merges=False)
    calls: list[int] = []
    rows = lm.next_logp

    def next_logp(contexts: Sequence[Sequence[int]]) -> np.ndarray:
        calls.append(len(contexts))
        return rows(contexts)

    monkeypatch.setattr(lm, "next_logp", next_logp)
    model = TransducedLM(lm, load_target("bytes"), Exact())
    states = model.states(["", "a", "b", "ab", "ba", "ab"])
    # One for each place, and one for what goes on from the ends.
    assert len(calls) == 4
    calls.clear()
    after = advance_all(states, ["a"] * 6)
    assert len(calls) == 1
    for state in after:
        state.next_logp()
    assert len(calls) == 1
    # A state that is only looked at for its probability asks for nothing.
    assert after[0].advance("b").logp < after[0].logp and len(calls) == 1


def test_nobodys_states_are_forgotten() -> None:
    lm = TableLM(make_vocab([b"a", b"b", b"ab"]), order=2, depth=9, seed=5, merges=False)
    state = TransducedLM(lm, load_target("bytes"), Exact()).state()
    space = state._space
    for symbol in "abab":
        state = state.advance(symbol)
        state.next_logp()
    gc.collect()
    assert len(space._states) == 1
    assert state._node.fresh.end - state._node.fresh.first == len(state._node.fresh.cursors.model)


def test_rows_that_take_too_much_memory_are_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lm = TableLM(make_vocab([b"a", b"b", b"ab"]), order=2, depth=9, seed=5, merges=False)
    model = TransducedLM(lm, load_target("bytes"), Beam(size=4, threshold=1e-3))
    plain = walked(model.state(), b"abbaab")
    expected = [(state.next_logp(), state.logp, state.missing, state._node.rows) for state in plain]
    prefixes = ["", "ab", "abb", "abba", "abbaa", "abbaab"]
    known = [(state.next_logp(), state.logp) for state in model.states(prefixes)]
    monkeypatch.setattr("lmfst.inference.space.MAX_BYTES", 200)
    begun = model.states(prefixes)
    assert sum(state._node.given_up is not None for state in begun) > 3
    for state, other in zip(begun, known, strict=True):
        assert (state.next_logp(), state.logp) == other
        assert state._node.given_up is None and state.advance("a").logp == pytest.approx(
            state.logp + other[0]["a"], abs=LAW
        )
    states = walked(model.state(), b"abbaab")
    assert sum(state._node.waiting is not None for state in states) > 3
    for state, other in zip(states, expected, strict=True):
        state._space.close([state._node])
        assert (state.next_logp(), state.logp, state.missing, state._node.rows) == other


class Noted(ContextSession):
    """Notes what may be forgotten."""

    def __init__(self, lm: LM) -> None:
        super().__init__(lm)
        self.live: list[int] = []
        self.closed: list[int] = []
        self.forgotten: set[int] = set()

    def retain(self, root: int, live: np.ndarray) -> None:
        self.live.append(len(live))
        self.forgotten = set(range(len(self._contexts))) - set(live.tolist())

    def close(self, root: int) -> None:
        self.closed.append(root)

    def rows(self, states: np.ndarray) -> Iterator[tuple[slice, torch.Tensor]]:
        assert not self.forgotten & set(states.tolist())
        return super().rows(states)

    def step(self, states: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        assert not self.forgotten & set(states.tolist())
        moved = super().step(states, tokens)
        self.forgotten -= set(moved.tolist())
        return moved


def test_a_session_forgets_what_no_state_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = TableLM(make_vocab([b"a", b"b", b"ab", b"ba"]), order=2, depth=999, seed=5, merges=False)
    session = Noted(lm)
    monkeypatch.setattr(lm, "session", lambda: session)
    monkeypatch.setattr("lmfst.inference.space.RETAIN_ROWS", 8)
    model = TransducedLM(lm, load_target("bytes"), Beam(size=4, threshold=1e-3))
    state = branch = model.state("abba")
    for symbol in "abbabaab" * 20:
        state = state.advance(symbol)
    # Of some 300 hypotheses, as many are needed at the end as at the beginning.
    assert state._node.rows > 200
    assert len(session.live) > 20 and max(session.live) < 40
    # A branch is held, too.
    assert branch.advance("abab").is_possible
    assert not session.closed
    del state, branch
    gc.collect()
    assert session.closed == [0]


def test_no_string_of_single_bytes_gets_lost() -> None:
    lm = TableLM(
        make_vocab([b"a", b"b", b"abab", b"babb"]), order=2, depth=99, seed=2, merges=False
    )
    model = TransducedLM(lm, load_target("bytes"), Beam(size=1, threshold=0.9))
    for text in map(bytes, product(b"ab", repeat=7)):
        assert model.state(text).is_possible
