"""States whose output waits tell apart only what the target can: fewer states, the same sums."""

from __future__ import annotations

from itertools import count, product
from random import Random

import pytest

from lmfst.fst import EPS, Fst, Symbols, sequential
from lmfst.fst.pushing import common_prefix
from lmfst.fst.sequential import END, LOST, Determinised
from lmfst.ground.errors import FstError
from lmfst.inference.policy import Beam, Exact
from lmfst.lexicon import Lexicons
from lmfst.model import TransducedLM
from lmfst.target.load import fst_target, load_target
from tests.support.exact import check_everything, some_strings
from tests.support.oracle import Oracle, TableLM, fst_function, make_vocab, random_fst

LINES = [b"a", b" a", b".", b"\n", b"\n\n", b" ", b"  ", b"\t"]


def lines_model(policy: Beam | Exact) -> TransducedLM:
    """A model that likes white space, over words: what a period becomes depends on all of it."""
    lm = TableLM(make_vocab(LINES, eos=1, extra=0), order=2, depth=60, seed=3, merges=False)
    return TransducedLM(lm, load_target("words"), policy=policy)


def states(model: TransducedLM) -> int:
    machine = model.setting.lexicons.machine
    assert isinstance(machine, Determinised)
    return machine.n_states


def test_white_space_that_leaves_the_target_makes_few_states(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = Beam(size=4, threshold=1e-3)
    cut, whole = lines_model(policy), lines_model(policy)
    found = cut.score(["a. a"])[0].logp
    monkeypatch.setattr(Lexicons, "cut", lambda self, state, *where, **how: state)
    assert whole.score(["a. a"])[0].logp == pytest.approx(found, abs=1e-12)
    assert 5 * states(cut) < states(whole)


@pytest.mark.parametrize("seed", range(60))
def test_sums_are_those_over_all_strings(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequential, "SHORT", 0)
    fst = random_fst(seed)
    vocab = make_vocab([b"a", b"b", b"ab", b"ba", b"b"][: 3 + seed % 3], eos=1, extra=0)
    lm = TableLM(vocab, order=2, depth=4, seed=seed, merges=bool(seed % 2))
    oracle = Oracle(lm, fst_function(fst))
    model = TransducedLM(lm, fst_target(fst, "random"), Exact())
    check_everything(model, oracle, some_strings(oracle, seed))


def test_what_is_lost_stays_lost_and_the_rest_is_checked() -> None:
    machine = load_target("words").machine
    assert isinstance(machine, Determinised)
    state = machine.resume([(0, (1, 2, 3, 4)), (1, (5, 2))])
    cut = machine.cut(state, (9, 1, 2, 7), 1)
    assert machine.pairs(cut) == [(0, (1, 2, 3, LOST)), (1, (5, LOST))]
    assert machine.cut(cut, (9, 1, 2, 7), 1) == cut
    assert machine.cut(state, (1, 2, 3, 4, END), 0) == machine.resume(
        [(0, (1, 2, 3, 4)), (1, (5, LOST))]
    )
    assert machine.cut(state, (1,), 0) == machine.resume([(0, (1, 2, LOST)), (1, (5, LOST))])
    assert sequential._longer((5, LOST), (6,)) == (5, LOST)
    for other in ((5, 6, 7), (5,), (5, 6), (5, 6, LOST), (5, LOST)):
        for pair in (((5, LOST), other), (other, (5, LOST))):
            assert sequential._less_known(machine.symbols, *pair) == (5, LOST)
    for one, other in (((5, LOST), (6, 7)), ((5,), (5, 6)), ((5, 6, LOST), (5,))):
        for pair in ((one, other), (other, one)):
            with pytest.raises(FstError, match="not functional"):
                sequential._less_known(machine.symbols, *pair)


def residual_fst(seed: int, length: int = 4) -> Fst:
    """A random function of the first `length` letters, a or b, of a string, as an ambiguous FST.

    States are what is still to be read, and what each would still be written as. A letter may be
    read by several guesses about the next one, which overlap and meet again, and each writes some
    of what is sure by then: so different paths have different parts of one output behind them.
    """
    random = Random(seed)
    words = ["".join(word) for n in range(length + 1) for word in product("ab", repeat=n)]
    values = {word: "x" * random.randint(0, 8) + random.choice(["", "y", "z"]) for word in words}
    numbers = {"end": 0, "rest": 1}
    arcs: list[tuple[int, int, int, int]] = [(1, ord(letter), EPS, 1) for letter in "ab"]
    fresh = count(2)

    def write(source: int, letter: str, output: str, target: int) -> None:
        label = ord(letter) if letter else EPS
        for symbol in output:
            between = next(fresh)
            arcs.append((source, label, ord(symbol), between))
            source, label = between, EPS
        arcs.append((source, label, EPS, target))

    def state(left: frozenset[tuple[str, str]], depth: int) -> int:
        key = repr((sorted(left), depth == length))
        if key in numbers:
            return numbers[key]
        number = numbers[key] = next(fresh)
        for word, output in sorted(left):
            if not word:
                write(number, "", output, numbers["rest" if depth == length else "end"])
        for letter in "ab":
            after = {(word[1:], output) for word, output in left if word[:1] == letter}
            for guess in guesses(after):
                sure = "".join(common_prefix([tuple(output) for _, output in guess]))
                written = sure[: random.randint(0, len(sure))]
                rest = frozenset((word, output[len(written) :]) for word, output in guess)
                write(number, letter, written, state(rest, depth + 1))
        return number

    def guesses(after: set[tuple[str, str]]) -> list[list[tuple[str, str]]]:
        firsts = sorted({word[:1] for word, _ in after})
        sets = [random.sample(firsts, random.randint(1, len(firsts))) for _ in range(2) if firsts]
        missing = [first for first in firsts if not any(first in some for some in sets)]
        sets += [missing] if missing else []
        return [sorted(one for one in after if one[0][:1] in some) for some in sets]

    start = state(frozenset(values.items()), 0)
    return Fst.from_arcs(arcs, start, [0, 1], symbols=Symbols())


@pytest.mark.parametrize("short", [0, sequential.SHORT])
@pytest.mark.parametrize("seed", range(40))
def test_paths_that_meet_may_be_cut_in_different_places(
    seed: int, short: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequential, "SHORT", short)
    fst = residual_fst(seed)
    vocab = make_vocab([b"a", b"b", b"ab", b"ba"][: 2 + seed % 3], eos=1, extra=0)
    lm = TableLM(vocab, order=2, depth=2 if seed % 3 else 4, seed=seed, merges=bool(seed % 2))
    oracle = Oracle(lm, fst_function(fst))
    model = TransducedLM(lm, fst_target(fst, "guesses"), Exact())
    check_everything(model, oracle, some_strings(oracle, seed))
