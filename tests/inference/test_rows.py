"""Rows reduced to what their plans ask for, against the definition, on the host and by torch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from lmfst.fst.pattern import OneOf, Pattern, admits, fits
from lmfst.fst.sequential import END, run
from lmfst.ground.errors import ModelError
from lmfst.inference.conditioned import _outputs
from lmfst.inference.exponential import exponentiate
from lmfst.inference.normaliser import Normaliser
from lmfst.inference.plans import Plans
from lmfst.inference.query import Layout, Query
from lmfst.inference.reduction import Reduction
from lmfst.inference.rows import Rows
from lmfst.lexicon import Lexicons
from lmfst.lm.base import Session, States
from lmfst.lm.transfers import Outbox, exact_place
from lmfst.target.load import fst_target
from tests.support.oracle import make_vocab, random_fst

TOKENS = 600
SYMBOLS = (120, 121, 122)
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


class Given(Session):
    """A session whose rows are given: those of state i are row i."""

    def __init__(self, rows: torch.Tensor, block: int, transposed: bool) -> None:
        self._rows, self._block, self._transposed = rows, block, transposed

    def open(self) -> int:
        raise NotImplementedError

    def step(self, states: States, tokens: States) -> States:
        raise NotImplementedError

    def rows(self, states: States) -> Iterator[tuple[slice, torch.Tensor]]:
        for begin in range(0, len(states), self._block):
            part = slice(begin, min(begin + self._block, len(states)))
            rows = self._rows[torch.from_numpy(states[part])]
            yield part, rows.t().contiguous().t() if self._transposed else rows


class Case:
    """Random lexicons, targets and rows."""

    def __init__(self, seed: int, dtype: torch.dtype = torch.float32) -> None:
        self.rng = rng = np.random.default_rng(seed)
        words = [
            bytes(rng.choice(list(b"ab\0"), rng.integers(1, 7)).tolist()) for _ in range(TOKENS)
        ]
        self.vocab = make_vocab(words, eos=2, extra=3)
        machine = fst_target(random_fst(seed), "random").machine
        self.lexicons = Lexicons(self.vocab, machine)
        self.outside = np.arange(self.vocab.size - 3, self.vocab.size)
        self.queries = [self._query() for _ in range(3)]
        self.queries.append(self.queries[0])
        self.layout = Layout(self.queries)
        states = self._states()
        count = 150
        self.lexicon = rng.choice(states, count)
        lasts = self.layout.base + self.layout.last
        places = [p for b, e in zip(self.layout.base, lasts, strict=True) for p in range(b, e + 1)]
        self.position = rng.choice(places, count)
        order = np.lexsort((self.layout.shared[self.position], self.lexicon))
        self.lexicon, self.position = self.lexicon[order], self.position[order]
        rows = torch.from_numpy(rng.standard_normal((count, self.vocab.size)) * 5)
        rows[torch.from_numpy(rng.random(rows.shape) < 0.1)] = -math.inf
        rows[::7, 3:9] -= 715
        self.rows = rows.to(dtype)
        self.states = rng.permutation(count)

    def _query(self) -> Query:
        target: list[int | OneOf] = []
        text = bytes(self.rng.choice(list(b"ab\0"), 8).tolist())
        for symbol in run(self.lexicons.machine, text)[: self.rng.integers(1, 8)]:
            some = OneOf([symbol, int(self.rng.choice(SYMBOLS))])
            target.append(some if self.rng.random() < 0.3 else symbol)
        if self.rng.random() < 0.5:
            target.append(END)
        size = len(target) + (target[-1:] != [END])
        wanted = [at for at in range(size) if self.rng.random() < 0.4]
        return Query(tuple(target), wanted=frozenset(wanted))

    def _states(self) -> list[int]:
        found = [self.lexicons.start]
        for state in found[:3]:
            found += [s for s in np.unique(self.lexicons[state].next).tolist() if s >= 0]
        return sorted(set(found))[:6]

    def read(self, block: int = 64, transposed: bool = True) -> Rows:
        session = Given(self.rows, block, transposed)
        rows = Rows(self.layout, self.lexicons, session, Normaliser(self.outside))
        rows.read(self.states, self.lexicon, self.position)
        assert len(rows.table) == rows.asked == len(self.states)
        return rows


def useful(case: Case, query: Query, state: int, offset: int) -> bool:
    """Whether a child can contribute to what is asked for."""
    if offset in query.wanted or offset == len(query.target):
        return True
    return any(
        case.lexicons.viable(state, s) for s in (*SYMBOLS, END) if admits(query.target[offset], s)
    )


Found = tuple[list[float], dict[tuple[int, int, int], float], dict[tuple[int, int], float]]
"""Masses of covers, log-probabilities of children by (token, next state, position), masses of
symbols by (position, symbol)."""


def expected(case: Case, row: int) -> Found:
    """What a row has to give, token by token."""
    position = int(case.position[row])
    document, offset = case.layout.place(position)
    query = case.queries[document]
    target: Pattern = query.target[offset:]
    logits = case.rows[case.states[row]].double()
    lse, _ = Normaliser(case.outside)(case.rows[case.states[row : row + 1]].clone())
    logp = (logits - float(lse[0])).tolist()
    terms: dict[int, list[float]] = {}
    children, symbols = {}, {}
    for token, after, output in _outputs(case.lexicons[int(case.lexicon[row])]):
        mass, depth = math.exp(logp[token]), len(output)
        while not fits(target[:depth], output[:depth]):
            depth -= 1
        for k in range(1, depth + 1):
            terms.setdefault(k, []).append(mass)
        for k in range(depth + 1):
            if offset + k in query.wanted and len(output) > k:
                at = (position + k, output[k])
                symbols[at] = symbols.get(at, 0.0) + mass
        ends = depth < len(output) or offset + depth > query.last or after < 0
        if not ends and useful(case, query, after, offset + depth):
            children[token, after, position + depth] = logp[token]
    return [math.fsum(terms[k]) for k in sorted(terms)], children, symbols


def found(rows: Rows, row: int) -> Found:
    """What the table says of a row."""
    table = rows.table

    def part(kind: str) -> slice:
        first = getattr(table, f"{kind}_first")[row]
        return slice(first, first + getattr(table, f"{kind}_count")[row])

    covers, symbols = np.exp(table.cover_logp[part("cover")]).tolist(), {}
    own = part("child")
    columns = (table.child_token, table.child_next, table.child_position, table.child_logp)
    entries = zip(*(column[own].tolist() for column in columns), strict=True)
    children = {(token, after, at): logp for token, after, at, logp in entries}
    assert len(children) == own.stop - own.start
    own = part("symbol")
    for at, symbol, logp in zip(
        table.symbol_position[own], table.symbol[own], table.symbol_logp[own], strict=True
    ):
        key = (int(at), int(symbol))
        symbols[key] = symbols.get(key, 0.0) + math.exp(logp)
    return covers, children, symbols


def agree(one: Found, other: Found, tolerance: float = 1e-12) -> None:
    assert one[0] == pytest.approx(other[0], rel=tolerance, abs=1e-300)
    assert one[1].keys() == other[1].keys() and one[2].keys() == other[2].keys()
    for key, logp in one[1].items():
        assert logp == pytest.approx(other[1][key], abs=tolerance)
    for place, mass in one[2].items():
        assert mass == pytest.approx(other[2][place], rel=tolerance, abs=1e-300)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("seed", range(4))
def test_rows_give_what_their_tokens_sum_up_to(seed: int, dtype: torch.dtype) -> None:
    case = Case(seed, dtype)
    for block, transposed in ((64, True), (1, True), (7, False)):
        rows = case.read(block, transposed)
        for row in range(0, len(case.states), 3):
            agree(found(rows, row), expected(case, row))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("seed", [4, 5, 7, 14])
@pytest.mark.parametrize("device", DEVICES)
def test_the_kernel_and_torch_agree(device: str, seed: int, dtype: torch.dtype) -> None:
    case = Case(seed, dtype)
    plans = Plans(case.layout, case.lexicons)
    table, plan = plans.make(case.lexicon, case.layout.shared[case.position])
    normalise = Normaliser(case.outside)
    results = []
    for on_host in (True, False):
        place = torch.device("cpu" if on_host else device)
        reduce = Reduction(table, plan, normalise, Outbox(place), on_host)
        rows = case.rows[case.states].to(place)
        for begin in range(0, len(plan), 40):
            part = rows[begin : begin + 40]
            reduce.add(part.t().contiguous().t(), slice(begin, begin + len(part)))
        results.append(reduce.end()())
    for one, other in zip(*results, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-300)
    assert len(results[0].sums) > 100


class OnMps(torch.Tensor):
    """Rows that seem to be on a device without float64 numbers."""

    device = torch.device("mps")  # type: ignore[assignment]

    def to(self, *where: Any, **options: Any) -> torch.Tensor:
        return self.as_subclass(torch.Tensor)  # type: ignore[no-any-return]

    def double(self, **options: Any) -> torch.Tensor:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")


@pytest.mark.parametrize("kernels", [True, False])
def test_sums_are_exact_on_the_host_where_a_device_has_no_such_numbers(
    kernels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmfst.inference.reduction.compiled", lambda: kernels)
    case = Case(4)
    expected = case.read()
    case.rows = case.rows.as_subclass(OnMps)
    # As a session there gives rows, and takes what is to go to where they are summed up.
    monkeypatch.setattr(Given, "outbox", Outbox(exact_place(case.rows.device)))
    there = case.read(transposed=False)
    np.testing.assert_allclose(there.table.cover_logp, expected.table.cover_logp, rtol=1e-12)
    np.testing.assert_allclose(there.table.child_logp, expected.table.child_logp, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_neither_threads_nor_other_rows_change_a_number(dtype: torch.dtype) -> None:
    case = Case(3, dtype)
    before = torch.get_num_threads()
    try:
        tables = []
        for threads, block in ((1, 64), (2, 64), (3, 150), (2, 9)):
            torch.set_num_threads(threads)
            tables.append(case.read(block).table)
    finally:
        torch.set_num_threads(before)
    for table in tables[1:]:
        np.testing.assert_allclose(table.cover_logp, tables[0].cover_logp, rtol=1e-14)
        np.testing.assert_allclose(table.child_logp, tables[0].child_logp, rtol=1e-14)


@pytest.mark.parametrize("height", [-1e4, -700.0, 590.0, 700.0, 1e4])
def test_normalisers_of_steep_rows(height: float) -> None:
    rows = torch.randn(33, 2000, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    rows[::2, 500:] += height
    rows[1::4, :1500] = -math.inf
    found, _ = Normaliser(np.zeros(0, dtype=np.int64))(rows)
    np.testing.assert_allclose(found, torch.logsumexp(rows, 1).numpy(), rtol=1e-14, atol=1e-13)


def test_a_table_grows_and_forgets() -> None:
    case = Case(1)
    rows = case.read()
    before = rows.table.cover_logp.copy()
    rows.read(case.states, case.lexicon, case.position)
    table = rows.table
    assert len(table) == rows.asked == 2 * len(case.states)
    np.testing.assert_array_equal(table.cover_logp, np.concatenate([before, before]))
    half = len(case.states)
    np.testing.assert_array_equal(
        table.child_first[half:], table.child_first[:half] + len(table.child_logp) // 2
    )
    table.clear()
    assert len(table) == len(table.child_logp) == 0
    rows.read(case.states, case.lexicon, case.position)
    np.testing.assert_array_equal(table.cover_logp, before)


@pytest.mark.parametrize("on_host", [True, False])
@pytest.mark.parametrize(
    ("value", "message"),
    [(math.nan, "not a number"), (math.inf, "not a number"), (-math.inf, "probability zero")],
)
def test_rows_that_are_no_distributions_are_an_error(
    on_host: bool, value: float, message: str
) -> None:
    case = Case(2)
    plans = Plans(case.layout, case.lexicons)
    table, plan = plans.make(case.lexicon, case.layout.shared[case.position])
    rows = case.rows.clone()
    rows[5, 10 if value > 0 or value != value else slice(None)] = value
    with pytest.raises(ModelError, match=message):
        reduce = Reduction(table, plan, Normaliser(case.outside), on_host=on_host)
        reduce.add(rows, slice(0, len(rows)))
        reduce.end()()


def test_each_state_is_asked_once_for_each_place(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(3)
    asked: list[tuple[int, int]] = []
    viable = case.lexicons.viable

    def noted(state: int, symbol: int) -> bool:
        asked.append((state, symbol))
        return viable(state, symbol)

    monkeypatch.setattr(case.lexicons, "viable", noted)
    plans = Plans(case.layout, case.lexicons)
    shared = case.layout.shared[case.position]
    plans.make(case.lexicon, shared)
    first = list(asked)
    plans.make(case.lexicon, shared)
    # Sets may ask for a symbol again.
    sets = sum(isinstance(p, OneOf) for q in case.queries for p in q.target)
    assert first and asked == first
    assert max(asked.count(pair) for pair in set(asked)) <= 1 + sets


@pytest.mark.parametrize("low", [-1.0, -40.0, -708.5, -760.0])
def test_exponentials(low: float) -> None:
    x = np.linspace(low, 1.0, 1003)
    x[7], x[500], x[-1] = -math.inf, 0.0, 0.5
    made = x.copy()
    exponentiate(made, len(made) - 1)
    assert made[-1] == x[-1]
    np.testing.assert_allclose(made[:-1], np.exp(x[:-1]), rtol=1e-15, atol=1e-322)
