"""What workers make rows with."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import lmfst
from lmfst.corpus.records import Result
from lmfst.corpus.shards import BYTES, RECORDS, windows
from lmfst.corpus.transduced import TransducedScorer
from lmfst.ground.document import Document, Rejected
from lmfst.model import TransducedLM
from lmfst.scored.levels import Levels
from tests.support.cli import ARPA
from tests.support.tiny import write_normalised


def documents(count: int, seed: int = 3) -> list[Document]:
    random_ = random.Random(seed)
    texts = ["".join(random_.choices("ab", k=random_.randrange(1, 9))) for _ in range(count)]
    return [
        Document(f"d{n}", text.encode(), f"f:{n + 1}", file="f", line=n + 1)
        for n, text in enumerate(texts)
    ]


@pytest.fixture(params=["exact", "sample"])
def model(tmp_path: Path, request: pytest.FixtureRequest) -> TransducedLM:
    path = write_normalised(ARPA, tmp_path / "m.arpa")
    return lmfst.load(str(path), to="bytes", policy=request.param)


def scored(
    scorer: TransducedScorer, some: list[Document], first: int
) -> tuple[list[Result | Rejected], int]:
    """The results in order, and how many waited at most for one before them."""
    waiting: dict[int, Result | Rejected] = {}
    found: list[Result | Rejected] = []
    most = 0
    for number, result in scorer.score(some, first, 512):
        waiting[number] = result
        while len(found) in waiting:
            found.append(waiting.pop(len(found)))
        most = max(most, len(waiting))
    assert not waiting
    return found, most


def test_rows_of_a_large_shard_wait_for_a_window_at_most(model: TransducedLM) -> None:
    everything = documents(2 * RECORDS + 40)
    scorer = TransducedScorer(model, Levels("text"), "source", 64, "auto")
    large, waited = scored(scorer, everything, 7)
    facts = scorer.facts()
    assert RECORDS / 2 < waited < RECORDS, "sorted by length, in a window"
    small = [
        result
        for begin in range(0, len(everything), 100)
        for result in scored(scorer, everything[begin : begin + 100], 7 + begin)[0]
    ]
    assert len(large) == len(everything)
    for one, other in zip(large, small, strict=True):
        assert isinstance(one, Result) and isinstance(other, Result)
        [[block, _]], [[same, _]] = one.rows, other.rows
        assert block.pop("id") == same.pop("id")
        assert block["logp"] == pytest.approx(same["logp"], abs=1e-9)
    if not model.policy.estimates:
        assert facts["tally"]["documents"] == len(everything), "one tally of all windows"


def test_a_small_shard_is_one_window() -> None:
    some = documents(RECORDS)
    assert [*windows(some)] == [(0, some)]
    assert [begin for begin, _ in windows([*some, some[0]])] == [0, RECORDS]
    long = Document("d", b"a" * BYTES, "f:1")
    assert [begin for begin, _ in windows([long, long, some[0]])] == [0, 1, 2]
    assert [*windows([])] == []


def test_documents_without_rows_are_in_no_tally(model: TransducedLM) -> None:
    scorer = TransducedScorer(model, Levels("text"), "source", 64, "auto", max_symbols=8)
    odd = [Document("x", b"aXb", "f:4"), Document("y", b"ab" * 5, "f:5")]
    found, _ = scored(scorer, [*documents(3), *odd], 0)
    assert [isinstance(one, Rejected) for one in found] == [False] * 3 + [True] * 2
    if not model.policy.estimates:
        assert scorer.facts()["tally"]["documents"] == 3
