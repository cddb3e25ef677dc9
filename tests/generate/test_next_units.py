"""The next unit: best-first expansion against sums of prefix probabilities."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmfst.fst import EPS, Fst, Symbols
from lmfst.generate.next_units import REST, following
from lmfst.ground.errors import InputError, UsageError
from lmfst.inference.policy import Beam, Exact
from lmfst.lm.load import load_lm
from lmfst.model import TransducedLM
from lmfst.target.load import fst_target, load_target
from lmfst.target.prompts import emitted
from tests.support.oracle import TableLM, make_vocab

ARPA = r"""
\data\
ngram 1=6
ngram 2=5

\1-grams:
-99 <s> -0.3
-0.6 </s>
-0.6 a -0.2
-0.7 b -0.1
-0.9 ab
-0.5 c -0.4

\2-grams:
-0.4 <s> a
-0.3 a c
-0.8 a b
-0.5 c ab
-0.6 b b

\end\
"""
SEP = 0xF0000
# c separates words; the last of several is dropped only if the text ends there.
WORDS = Fst.from_arcs(
    [(0, 97, 97, 0), (0, 98, 98, 0), (0, 99, SEP, 0)],
    0,
    [0],
    Symbols("bytes", {SEP: "SEP"}),
)
# Each symbol is a word.
WORDS_D = Fst.from_arcs(
    [
        (0, 97, 97, 1),
        (0, 98, 98, 1),
        (0, 99, 99, 1),
        (0, 100, 100, 1),
        (1, EPS, SEP, 0),
    ],
    0,
    [0],
    Symbols("bytes", {SEP: "SEP"}),
)


@pytest.fixture(scope="module")
def arpa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("arpa") / "m.arpa"
    path.write_text(ARPA)
    return path


@pytest.fixture(scope="module")
def words(arpa: Path) -> TransducedLM:
    return TransducedLM(load_lm(str(arpa)), fst_target(WORDS, "words"), Exact())


@pytest.mark.parametrize("prefix", [b"", b"ab[SEP]", b"ab[SEP]b", b"[SEP]"])
def test_units_have_the_mass_of_their_separator_or_the_end(
    words: TransducedLM, prefix: bytes
) -> None:
    y = words.symbols(prefix)
    begun = prefix.rpartition(b"]")[2].decode()
    base = words.prefix_logp(y)
    expected = {}
    for size in range(5):
        for unit in itertools.product(b"ab", repeat=size):
            whole = (*y, *unit)
            ends = -math.inf if not unit and not begun else words.logp(whole)
            mass = np.logaddexp(words.prefix_logp((*whole, SEP)), ends) - base
            expected[begun + bytes(unit).decode()] = float(mass)
    if not begun:
        expected["⊥"] = words.logp(y) - base
    found = following(words, prefix, top=8)
    assert [name for name, _ in found[:-1]] == sorted(expected, key=lambda u: -expected[u])[:8]
    for name, logp in found[:-1]:
        assert logp == pytest.approx(expected[name], abs=1e-9)
    rest = 1.0 - sum(math.exp(logp) for _, logp in found[:-1])
    assert found[-1][0] == REST
    assert math.exp(found[-1][1]) == pytest.approx(rest, abs=1e-12)


# c stands for white space, with a mark before it; `first`: the text begins with a mark, too.
def marked_before(mark: str, *, first: bool) -> Fst:
    plain = [(0, 97, 97, 0), (0, 98, 98, 0), (1, 97, 97, 0), (1, 98, 98, 0), (1, 99, 99, 1)]
    begun = [(0, EPS, SEP, 2), (2, 99, 99, 1)]
    entry = [(3, EPS, SEP if first else EPS, 1)]
    return Fst.from_arcs([*plain, *begun, *entry], 3, [0, 1], Symbols("bytes", {SEP: mark}))


@pytest.mark.parametrize("prefix", [b"", b"ab", b"ab[NEWUNIT]", b"ab[NEWUNIT]ca"])
@pytest.mark.parametrize("first", [False, True])
def test_a_unit_that_a_mark_begins_is_complete_where_the_next_one_begins(
    arpa: Path, prefix: bytes, first: bool
) -> None:
    fst = marked_before("NEWUNIT", first=first)
    model = TransducedLM(load_lm(str(arpa)), fst_target(fst, "leading"), Exact())
    y = model.symbols(prefix)
    if first and y:
        y = (SEP, *y)
    found = following(model, target_bytes(y), top=6)
    assert len(found) == 7 and all(logp > -math.inf for _, logp in found)
    begun = y[model.target.units.spans(y)[-1][0] :] if y else ()
    seen = 0.0
    for name, logp in found[:-1]:
        if name == "⊥":
            expected = model.logp(y) - model.prefix_logp(y)
            seen += math.exp(expected)
            continue
        unit = tuple(name.encode())
        assert unit[: len(begun) - (SEP in begun)] == tuple(s for s in begun if s != SEP)
        mark = (SEP,) if SEP in begun or first else ()
        whole = (*y[: len(y) - len(begun)], *mark, *unit)
        mass = np.logaddexp(model.prefix_logp((*whole, SEP)), model.logp(whole))
        assert logp == pytest.approx(mass - model.prefix_logp(y), abs=1e-9)
        seen += math.exp(logp)
    assert math.exp(found[-1][1]) == pytest.approx(1.0 - seen, abs=1e-12)


def target_bytes(y: tuple[int, ...]) -> bytes:
    return b"".join(b"[NEWUNIT]" if symbol == SEP else bytes([symbol]) for symbol in y)


def test_separated_units_need_a_number(words: TransducedLM) -> None:
    with pytest.raises(UsageError, match="no end"):
        following(words, b"", top=0)


def test_symbol_units_are_the_next_symbol_distribution(arpa: Path) -> None:
    model = TransducedLM(load_lm(str(arpa)), load_target("bytes"), Exact())
    found = following(model, b"a", top=0)
    assert dict(found) == model.next_logp(b"a")
    assert [logp for _, logp in found] == sorted((logp for _, logp in found), reverse=True)
    assert math.fsum(math.exp(logp) for _, logp in found) == pytest.approx(1.0, abs=1e-9)
    assert following(model, b"a", top=2) == found[:2]


PEAK = r"""
\data\
ngram 1=6

\1-grams:
-99 <s>
-17.5 </s>
0 a
-17 b
-18 c
-19 d

\end\
"""


def test_units_that_hardly_weigh_anything_are_listed_though_the_sum_is_1(tmp_path: Path) -> None:
    path = tmp_path / "peak.arpa"
    path.write_text(PEAK)
    lm = load_lm(str(path))
    bytes_model = TransducedLM(lm, load_target("bytes"), Exact())
    assert [name for name, _ in following(bytes_model, "", top=0)] == ["a", "b", "⊥", "c", "d"]
    words = TransducedLM(lm, fst_target(WORDS_D, "words"), Exact())
    # The mass of what is before b, c or d is 1, rounded.
    found = following(words, "", top=3)
    assert [name for name, _ in found] == ["a", "b", "⊥", REST]


def test_a_source_prefix_is_what_it_has_emitted_for_certain(arpa: Path) -> None:
    # a before b is x; a before the end or anything else is a: the output waits for what follows.
    arcs = [(0, 97, EPS, 1), (1, 98, 120, 0), (0, 98, 98, 0), (0, 99, 99, 0)]
    arcs += [(0, 97, 97, 2), (2, 99, 99, 0), (2, 97, 97, 2), (2, 97, EPS, 1)]
    fst = Fst.from_arcs(arcs, 0, [0, 2])
    model = TransducedLM(load_lm(str(arpa)), fst_target(fst, "wait"), Exact())
    assert emitted(model.target, b"ca") == tuple(b"c")
    assert emitted(model.target, b"cab") == tuple(b"cx")
    assert following(model, b"ca", given="source") == following(model, b"c", given="target")
    with pytest.raises(InputError, match="first 2 bytes of the prefix"):
        emitted(model.target, b"cd")
    with pytest.raises(UsageError, match="--given"):
        following(model, b"", given="both")


def test_no_row_is_asked_for_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []
    inner = TableLM(make_vocab([b"a", b"b", b"c"]), order=2, depth=6, seed=5, merges=False)
    rows = inner.next_logp

    def next_logp(contexts: Sequence[Sequence[int]]) -> np.ndarray:
        asked.extend(map(tuple, contexts))
        return rows(contexts)

    monkeypatch.setattr(inner, "next_logp", next_logp)
    model = TransducedLM(inner, fst_target(WORDS, "words"), Exact())
    assert len(following(model, "", top=5)) > 4
    # Only what the prefix ends with is read once more, to go on from there.
    twice = [one for one in set(asked) if asked.count(one) > 1]
    assert len(asked) > 10 and twice == [()] and asked.count(()) == 2


def test_units_are_listed_until_they_have_a_mass(words: TransducedLM) -> None:
    every = following(words, b"ab[SEP]", top=40)[:-1]
    masses = np.cumsum([math.exp(logp) for _, logp in every])
    for mass in (0.1, 0.5, 0.9):
        count = 1 + int(np.searchsorted(masses, mass))
        found = following(words, b"ab[SEP]", mass=mass)
        assert found[:-1] == every[:count] and found[-1][0] == REST
        assert math.exp(found[-1][1]) == pytest.approx(1 - masses[count - 1])
        # The one that comes first ends it.
        assert following(words, b"ab[SEP]", mass=mass, top=2)[:-1] == every[: min(2, count)]
    symbols = TransducedLM(words.lm, load_target("bytes"), Exact())
    every = following(symbols, b"a", top=0)
    assert 1 < len(following(symbols, b"a", mass=0.7)) < len(every)
    assert math.fsum(math.exp(p) for _, p in following(symbols, b"a", mass=0.7)) >= 0.7
    assert len(following(symbols, b"a", mass=0.7, top=1)) == 1


def test_a_prefix_that_looks_as_if_it_were_in_the_other_form(words: TransducedLM) -> None:
    warnings: list[str] = []
    with pytest.raises(InputError):
        following(words, "a b", top=2, warn=warnings.append)
    assert "[SEP] separates units" in warnings[0] and "--given source reads" in warnings[0]
    warnings.clear()
    with pytest.raises(InputError):
        following(words, "ab[SEP]", given="source", top=2, warn=warnings.append)
    assert len(warnings) == 1 and "[SEP] in the prompt is read as letters" in warnings[0]
    warnings.clear()
    following(words, "ab[SEP]", top=2, warn=warnings.append)
    following(words, "ab", top=2, warn=warnings.append)
    assert not warnings


def test_a_search_ends_after_some_time(
    words: TransducedLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count()
    monkeypatch.setattr("lmfst.generate.best_first.time.monotonic", lambda: next(ticks))
    warnings: list[str] = []
    every = following(words, b"", top=40)[:-1]
    found = following(words, b"", seconds=4, warn=warnings.append)
    # It begins at 0; at 4 it is over.
    assert 0 < len(found) - 1 < len(every) and found[:-1] == every[: len(found) - 1]
    assert found[-1][0] == REST
    assert len(warnings) == 1 and "stopped after 4 s" in warnings[0]
    mass = math.fsum(math.exp(logp) for _, logp in found)
    assert mass == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"mass": 0}, "--mass is a probability"),
        ({"mass": 1}, "--mass is a probability"),
        ({"mass": math.nan}, "--mass is a probability"),
        ({"seconds": 0}, "--seconds must be"),
        ({"seconds": math.nan}, "--seconds must be"),
        ({"top": -1}, "--top must be"),
    ],
)
def test_limits_out_of_range(words: TransducedLM, limits: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        following(words, b"", **limits)  # type: ignore[arg-type]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([b"", b"a", b"a[SEP]", b"ba[SEP]b"]))
def test_the_best_units_are_those_of_exhaustive_search(seed: int, prefix: bytes) -> None:
    vocab = make_vocab([b"a", b"b", b"c", b"ab", b"ca", b"bc", b""])
    lm = TableLM(vocab, order=2, depth=3, seed=seed, merges=False)
    model = TransducedLM(lm, fst_target(WORDS, "words"), Exact())
    y = model.symbols(prefix)
    base = model.prefix_logp(y)
    if base == -math.inf:
        return
    begun = prefix.rpartition(b"]")[2].decode()
    expected = {} if begun else {"⊥": model.logp(y) - base}
    # Three tokens have no more than six letters.
    for size in range(7):
        for unit in itertools.product(b"ab", repeat=size):
            ends = -math.inf if not unit and not begun else model.logp((*y, *unit))
            mass = np.logaddexp(model.prefix_logp((*y, *unit, SEP)), ends) - base
            expected[begun + bytes(unit).decode()] = float(mass)
    best = sorted(expected.values(), reverse=True)
    found = following(model, prefix, top=4)[:-1]
    for (name, logp), other in zip(found, best, strict=False):
        assert logp == pytest.approx(expected[name], abs=1e-9)
        assert logp == pytest.approx(other, abs=1e-9)


def test_a_search_after_a_pruned_prefix_has_what_scoring_has() -> None:
    """p(word | prefix) as the rows of a scored text have it."""
    vocab = make_vocab([b"a", b"b", b"c", b"ab", b"ca", b"bc", b"abc"])
    lm = TableLM(vocab, order=3, depth=9, seed=3, merges=False)
    exact = TransducedLM(lm, fst_target(WORDS, "words"), Exact())
    beam = exact.with_policy(Beam(size=50, threshold=1e-9))
    for prefix in (b"", b"ab[SEP]", b"b[SEP]a"):
        expected = dict(following(exact, prefix, top=6))
        for name, logp in following(beam, prefix, top=6):
            assert logp == pytest.approx(expected[name], abs=1e-6)
