"""The benchmark of the engine: rows replayed, parts, counts, and numbers that are compared."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lmfst.inference.policy import Beam
from lmfst.lm.base import LM
from tests.support.oracle import TableLM, make_vocab
from tests.support.paths import SCRIPTS

sys.path.insert(0, str(SCRIPTS))

from benchmark import counts, engine_check
from benchmark.counts import tiny_model
from benchmark.engine import Case, Replayed, cases, measured, proteins
from benchmark.parts import HOST, MODEL, TENSORS, Counting, Parts
from benchmark.replay import BLOCK, Recording, ReplayLM, Rows

BEAM = Beam(size=8, threshold=1e-3)


@pytest.fixture(scope="module")
def lm() -> LM:
    return tiny_model()


def test_rows_are_replayed_as_they_were(lm: LM) -> None:
    replayed = Replayed.of(lm, "bytes")
    texts = counts.texts(3)
    first = replayed.score(texts, BEAM)
    recording = replayed.replay.recording
    held = recording.misses
    assert held == recording.rows > sum(map(len, texts))
    second = replayed.score(texts, BEAM)
    assert recording.misses == held
    for one, other in zip(first, second, strict=True):
        assert (one.nodes, one.log_prefix.tolist()) == (other.nodes, other.log_prefix.tolist())
    plain = Replayed.of(lm, "bytes")
    alone = [plain.score([text], BEAM)[0] for text in texts]
    for one, other in zip(first, alone, strict=True):
        assert one.nodes == other.nodes
        np.testing.assert_allclose(one.log_prefix, other.log_prefix, atol=1e-4)


def test_blocks_are_those_of_a_session_of_trees(lm: LM) -> None:
    session = ReplayLM(lm).session()
    roots = np.array([session.open(), session.open()])
    assert roots[0] != roots[1]
    tokens = np.arange(80) % 70
    states = np.concatenate([session.step(np.repeat(root, 80), tokens) for root in roots])
    assert len(set(states.tolist())) == 140
    contexts = [[token] for token in np.concatenate([tokens, tokens]).tolist()]
    expected = np.asarray(lm.next_logp(contexts))
    seen = []
    for block, rows in session.rows(states):
        assert rows.t().is_contiguous() and len(rows) <= BLOCK
        np.testing.assert_allclose(rows.numpy(), expected[block], atol=1e-4)
        rows.fill_(0)
        seen.append(block.stop - block.start)
    assert seen == [64, 64, 32]
    # What a caller does to a block doesn't change what is recorded.
    for block, rows in session.rows(states[:BLOCK]):
        np.testing.assert_allclose(rows.numpy(), expected[block], atol=1e-4)


def test_recordings_outlast_the_process(lm: LM, tmp_path: Path) -> None:
    model = ReplayLM(lm)
    contexts: list[list[int]] = [[], [1], [1, 2], [3, 2, 1]]
    rows = np.asarray(model.next_logp(contexts))
    torch.save(model.recording.state(), tmp_path / "rows")
    state = torch.load(tmp_path / "rows", mmap=True, weights_only=True)
    again = ReplayLM(lm, Recording.of(state))
    assert np.array_equal(np.asarray(again.next_logp(contexts)), rows)
    assert (again.recording.rows, again.recording.misses) == (4, 0)
    more = np.asarray(again.next_logp([[3, 2, 1, 0], [3, 2, 1]]))
    assert (again.recording.rows, again.recording.misses) == (5, 1)
    assert np.array_equal(more[1], rows[3])


def test_recordings_are_limited(lm: LM) -> None:
    model = ReplayLM(lm, Recording(most_bytes=BLOCK * lm.vocab.size * 4))
    model.next_logp([[i] for i in range(BLOCK)])
    with pytest.raises(SystemExit, match="fewer texts"):
        model.next_logp([[1, 1]])


def test_merging_models_have_no_rows_by_context() -> None:
    lm = TableLM(make_vocab([b"a", b"b"]), order=2, depth=3, seed=1, merges=True)
    with pytest.raises(ValueError, match="merges contexts"):
        ReplayLM(lm)


def test_parts_add_up_to_the_whole() -> None:
    now = 0.0
    parts = Parts(lambda: now)

    def spend(seconds: float) -> None:
        nonlocal now
        now += seconds

    def reading() -> None:
        spend(2.0)
        parts.inside(MODEL, spend)(4.0)
        spend(8.0)

    spend(1.0)
    parts.inside(TENSORS, reading)()
    with pytest.raises(ZeroDivisionError):
        parts.inside(MODEL, lambda: 1 / 0)()
    spend(16.0)
    assert parts.now == HOST
    assert parts.read() == {MODEL: 4.0, TENSORS: 10.0, HOST: 17.0}
    parts.reset()
    assert parts.read() == {MODEL: 0.0, TENSORS: 0.0, HOST: 0.0}


def test_what_counts_as_a_kernel_and_a_crossing() -> None:
    parts = Parts()
    x = torch.ones(4, 3)

    def of(work: Any) -> tuple[int, dict[str, int]]:
        with Counting(parts) as counting:
            work()
        return counting.kernels[HOST], {name: n for (_, name), n in counting.crossings.items()}

    assert of(lambda: x.t()[0].unsqueeze(0).view(2, 2)) == (0, {})
    assert of(lambda: x.exp().sum()) == (2, {})
    assert of(lambda: x.cpu().numpy()) == (0, {"cpu": 1})
    assert of(x.numpy) == (0, {"numpy": 1})
    assert of(lambda: x.to(torch.float64)) == (1, {})
    assert of(lambda: x.to("cpu")) == of(lambda: x.to(x.device)) == (0, {"to": 1})
    assert of(lambda: bool((x > 0).all())) == (2, {"bool": 1})
    assert of(lambda: (x.tolist(), x[0, 0].item())) == (0, {"tolist": 1, "item": 1})
    assert of(lambda: torch.tensor([1], device=x.device))[1] == {"tensor": 1}
    assert of(lambda: torch.tensor([1]))[1] == {}
    mask, one = x > 0, torch.zeros(2, dtype=torch.int64)
    assert of(lambda: x[mask])[1] == of(mask.nonzero)[1] == {"shape": 1}
    assert of(lambda: x[one])[1] == {}


def test_counts_are_of_the_part_that_asks() -> None:
    parts = Parts()
    x = torch.ones(4)
    with Counting(parts) as counting:
        parts.inside(MODEL, x.exp)()
        parts.inside(TENSORS, x.tolist)()
        x.log()
    assert counting.kernels == {MODEL: 1, HOST: 1}
    assert counting.crossed(TENSORS) == 1 and counting.crossed(MODEL) == 0


def test_a_configuration_is_measured(lm: LM) -> None:
    texts = counts.texts(2)
    case = Case("bytes", "tiny", texts, BEAM)
    row = measured(case, Replayed.of(lm, "bytes"), 2)
    plain = Replayed.of(lm, "bytes").score(texts, BEAM)
    assert row["kept"] == sum(one.nodes for one in plain) <= row["evaluated"]
    assert row["logp"] == pytest.approx(sum(one.logp for one in plain), abs=1e-3)
    assert row["size"] == sum(map(len, texts)) and row["calls"] > 1
    split = (row["tensors_us"] + row["host_us"]) * row["kept"]
    assert split == pytest.approx(1e6 * row["engine_s"])
    assert min(row["tensors_us"], row["host_us"], row["replay_s"]) > 0


def test_configurations() -> None:
    found = cases(("bytes", "words", "amino"), quick=False)
    assert {(c.to, len(c.texts)) for c in found} >= {
        (to, n) for to in ("bytes", "words", "amino") for n in (1, 8, 64)
    }
    assert sum(len(c.texts) == 7 for c in found) == 2
    assert {c.to for c in cases(("words",), quick=True)} == {"words"}
    assert len(set(proteins(64))) == 64


def documents(**changed: Any) -> dict[str, list[dict[str, Any]]]:
    usual = {"logp": -2.0, "rows": 5, "missing": 0.25, "passes": [4, 5], "sums": [0.0, -2.0, None]}
    return {"case": [{**usual, **changed}]}


@pytest.mark.parametrize(
    ("changed", "equal"),
    [
        ({}, True),
        ({"sums": [0.0, -2.0 + 1e-11, None]}, True),
        ({"sums": [0.0, -2.0 + 1e-8, None]}, False),
        ({"sums": [0.0, -2.0, -3.0]}, False),
        ({"sums": [0.0, -2.0]}, False),
        ({"sums": [0.0, math.nan, None]}, False),
        ({"rows": 6}, False),
        ({"passes": [5, 5]}, False),
        ({"missing": 0.26}, False),
    ],
)
def test_numbers_that_differ_are_found(changed: dict[str, Any], equal: bool) -> None:
    before = json.loads(json.dumps(documents()))
    (row,) = engine_check.compare(before, documents(**changed))
    assert row["equal"] is equal
    with pytest.raises(SystemExit, match="write anew"):
        engine_check.compare({}, documents())


def test_rows_of_a_check_are_kept_in_a_file(lm: LM, tmp_path: Path) -> None:
    path = tmp_path / "rows"
    for expected in (2, 0):
        rows = Rows(path)
        ReplayLM(lm, rows.of("tiny")).next_logp([[1], [2]])
        assert (rows.save(), rows.save()) == (expected, 0)
    assert sorted(tmp_path.iterdir()) == [path]


def test_letters_in_either_case(lm: LM) -> None:
    replayed = Replayed.of(lm, "bytes")
    low, high, space = replayed.model.symbols("aA ")
    assert engine_check.either_case(replayed, "a ") == [{low, high}, space]
