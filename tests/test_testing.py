"""Laws for authors of own models and targets: they hold of ours, and broken ones are found."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pytest

from lmfst.fst import Fst
from lmfst.ground.errors import UsageError
from lmfst.inference import Exact, Tolerance
from lmfst.lm.base import LM, ContextSession, Session
from lmfst.model import TransducedLM
from lmfst.target import Target, load_target
from lmfst.target.units import Units
from lmfst.testing import LawError, check_lm, check_target
from tests.support.oracle import TableLM, make_vocab


def table(merges: bool) -> TableLM:
    return TableLM(make_vocab([b"a", b"b", b"ab"]), order=2, depth=6, seed=3, merges=merges)


@pytest.mark.parametrize("merges", [True, False])
def test_laws_hold_of_models(merges: bool) -> None:
    check_lm(table(merges))


class Broken(LM):
    """A model that breaks one law."""

    def __init__(self, law: str) -> None:
        self._inner, self._law = table(law == "keys"), law
        self.vocab = self._inner.vocab
        self.merges = law == "keys"

    def next_logp(self, contexts: Sequence[Sequence[int]]) -> np.ndarray:
        rows = self._inner.next_logp(contexts)
        if self._law == "shape":
            return rows[:, :-1]
        if self._law == "nan":
            rows[0, 0] = np.nan
        if self._law == "alone" and len(contexts) > 1:
            rows = rows[::-1]
        if self._law == "zero":
            rows[:] = -np.inf
        return rows

    def key(self, context: tuple[int, ...]) -> Hashable:
        return 0 if self._law in ("keys", "merges") else context

    def canonical(self, data: bytes) -> Sequence[int] | None:
        return [0] if self._law == "canonical" else None

    def session(self) -> Session:
        return Odd(self) if self._law == "session" else super().session()


class Odd(ContextSession):
    """A session that forgets the last token."""

    def rows(self, states: Any) -> Any:
        return super().rows(np.zeros_like(states))


@pytest.mark.parametrize(
    ("law", "message"),
    [
        ("shape", "shape"),
        ("nan", "NaN"),
        ("zero", "probability zero to every id"),
        ("alone", "depends on the other contexts"),
        ("keys", "one key and different rows"),
        ("merges", "one key and different rows"),
        ("session", "the session's row"),
        ("canonical", "canonical gives tokens"),
    ],
)
def test_broken_models_are_found(law: str, message: str) -> None:
    with pytest.raises(LawError, match=message):
        check_lm(Broken(law))


@pytest.mark.parametrize("to", ["bytes", "chars", "words", "amino", "lower"])
def test_laws_hold_of_targets(to: str) -> None:
    check_target(load_target(to), alphabet=b"acT" if to == "amino" else b"ab. ")


def test_a_target_whose_machine_is_another_function_is_found() -> None:
    good, other = load_target("lower"), load_target("bytes")
    odd = Target("odd", other.machine, Units(other.machine.symbols), good.fst)
    with pytest.raises(LawError, match="its paths make"):
        check_target(odd, alphabet=b"aB")


def test_a_vocabulary_without_text_is_found() -> None:
    model = table(False)
    model.vocab = make_vocab([])
    with pytest.raises(LawError, match="no token that spells"):
        check_lm(model)


def test_the_fst_of_a_target_may_reject() -> None:
    fst = Fst.from_arcs([(0, 97, 98, 0)], 0, [0])
    check_target(load_target(fst), alphabet=b"ac")


class Forgetful(LM):
    """Rows that depend on the context, under one key; what can't be seen of them is all small."""

    merges = True

    def __init__(self) -> None:
        self.vocab = make_vocab([b"a", b"b"])

    def next_logp(self, contexts: Sequence[Sequence[int]]) -> np.ndarray:
        rows = [[*np.random.default_rng([7, *c]).normal(size=2), 18.0] for c in contexts]
        return np.array(rows)

    def key(self, context: tuple[int, ...]) -> Hashable:
        return ()


def test_small_probabilities_are_compared_too() -> None:
    with pytest.raises(LawError, match="one key and different rows"):
        check_lm(Forgetful())


def test_targets_can_be_named() -> None:
    check_target("bytes")
    with pytest.raises(UsageError, match="no known target"):
        check_target("nonsense")


def test_the_same_model_under_another_policy() -> None:
    model = TransducedLM(table(False), load_target("bytes"), lookahead=False)
    other = model.with_policy("exact")
    assert not other.lookahead and isinstance(other.policy, Exact)
    assert other.logp("ab") >= model.logp("ab") - 1e-9
    assert isinstance(model.policy, Tolerance)
    with pytest.raises(UsageError, match="policy must be one of beam, exact, sample"):
        model.with_policy("none")
    for name in ("policy", "lookahead", "warn", "lm", "target"):
        with pytest.raises(AttributeError):
            setattr(model, name, None)


def test_a_policy_of_ones_own_is_no_exact_one() -> None:
    class Own(Exact):
        keeps_all = False

    fst = Fst.from_arcs([(0, 97, 97, 0)], 0, [0])
    with pytest.raises(UsageError, match="--partial condition sums over whole strings"):
        TransducedLM(table(True), load_target(fst), Own(), partial="condition")
