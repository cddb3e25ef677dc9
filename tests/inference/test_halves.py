"""Two halves of a batch, one of which is decided for while the other is evaluated."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lmfst.ground.arrays import Ints
from lmfst.inference.policy import Beam, Policy, Tolerance
from lmfst.inference.rows import Rows
from lmfst.inference.sampling import Sample
from lmfst.lm.prompted import PromptedLM
from lmfst.lm.transformers import TransformersLM
from lmfst.lm.tree import TreeSession
from lmfst.model import TransducedLM
from lmfst.target.load import load_target
from tests.support.paths import SCRIPTS

sys.path.insert(0, str(SCRIPTS))

from benchmark.counts import texts, tiny_model

BEAM = Beam(size=8, threshold=1e-3)


@pytest.fixture(scope="module")
def lm() -> TransformersLM:
    return tiny_model()


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Sessions as on a device that evaluates while the host goes on. Lists what happens: "asked" or
    "taken", and which half it is."""
    monkeypatch.setattr(
        TreeSession, "halves", property(lambda self: 2, lambda self, value: None), raising=False
    )
    happened: list[Any] = []
    ask = Rows.ask

    def noted(self: Rows, states: Ints, lexicon: Ints, position: Ints) -> Callable[[], None]:
        taken = ask(self, states, lexicon, position)
        happened.append(("asked", id(self)))

        def take() -> None:
            happened.append(("taken", id(self)))
            taken()

        return take

    monkeypatch.setattr(Rows, "ask", noted)
    return happened


@pytest.mark.parametrize("to", ["bytes", "words"])
@pytest.mark.parametrize("policy", [BEAM, Tolerance(), Sample(particles=6, replicates=2)])
def test_halves_are_what_the_whole_is(
    lm: TransformersLM, to: str, policy: Policy, apart: list[Any]
) -> None:
    model = TransducedLM(lm, load_target(to), policy, warn=lambda message: None)
    found = model.score(texts(5))
    assert len({half for _, half in apart}) >= 2
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(TreeSession, "halves", property(lambda self: None, lambda self, v: None))
        whole = model.score(texts(5))
    for one, other in zip(found, whole, strict=True):
        assert one.nodes == other.nodes
        np.testing.assert_allclose(one.logp, other.logp, atol=1e-4)


def test_a_half_is_asked_for_before_what_the_other_asked_for_is_taken(
    lm: TransformersLM, apart: list[Any]
) -> None:
    model = TransducedLM(lm, load_target("bytes"), BEAM, warn=lambda message: None)
    model.score(texts(6))
    first, second = dict.fromkeys(half for _, half in apart)
    assert apart[:4] == [
        ("asked", first),
        ("asked", second),
        ("taken", first),
        ("asked", first),
    ]
    for half in (first, second):
        own = [what for what, which in apart if which == half]
        assert own == ["asked", "taken"] * (len(own) // 2)


def test_one_document_is_no_two_halves(lm: TransformersLM, apart: list[Any]) -> None:
    TransducedLM(lm, load_target("bytes"), BEAM, warn=lambda message: None).score(texts(1))
    assert len({half for _, half in apart}) == 1


def test_documents_that_share_a_beginning_stay_together(
    lm: TransformersLM, apart: list[Any]
) -> None:
    session = PromptedLM(lm, b"a").session()
    assert session.outbox is not None and session.halves is None
