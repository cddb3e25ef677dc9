"""States whose output waits tell apart only what the target can: fewer states, the same sums."""

from __future__ import annotations

import pytest

from lmfst.fst import sequential
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
    monkeypatch.setattr(Lexicons, "cut", lambda self, state, target, offset: state)
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
    assert sequential._shorter(machine.symbols, (5, LOST), (5, 6, 7)) == (5, LOST)
    for one, other in (((5, LOST), (6, 7)), ((5,), (5, 6)), ((5, 6, LOST), (5,))):
        with pytest.raises(FstError, match="not functional"):
            sequential._shorter(machine.symbols, one, other)
