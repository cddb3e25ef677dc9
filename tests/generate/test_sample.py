"""Strings drawn, against exact probabilities: every way, with and without prompt and shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from lmfst.fst import EPS, Fst, Symbols, run
from lmfst.generate.drawn import MOST_STEPS, Drawn, Growing, in_order
from lmfst.generate.sample import sample
from lmfst.generate.shape import Shape
from lmfst.ground.errors import InputError, UsageError
from lmfst.inference.policy import Beam, Exact
from lmfst.inference.sampling import Sample
from lmfst.lm.base import LM, ContextSession
from lmfst.model import TransducedLM
from lmfst.target.load import fst_target, load_target
from lmfst.target.units import Units, parse_target_text
from tests.support.chance import String, chi_square, kolmogorov_smirnov
from tests.support.oracle import END, Oracle, TableLM, fst_function, make_vocab, random_fst

DRAWS = 2000
RIGHT = 1e-3
"""p-values of right samplers are above this (the seeds are fixed), of wrong ones far below."""
WRONG = 1e-9
TOKENS = [b"a", b"b", b"ab", b"ba", b"aab", b"\0"]


@dataclass(frozen=True)
class Case:
    """A tiny model, its function's seed, and the oracle's numbers."""

    lm: TableLM
    model: TransducedLM
    oracle: Oracle

    def exact(self, prompt: String = (), shape: Shape | None = None) -> dict[String, float]:
        """The probability of every string given the prompt; under a shape symbol by symbol."""
        if shape is None:
            return {y: p for y, p in self.oracle.mass.items() if y[: len(prompt)] == prompt}
        found: dict[String, float] = {}
        open_: list[tuple[String, float]] = [(prompt, 1.0)]
        while open_:
            y, p = open_.pop()
            for symbol, share in shaped(self.oracle.next(y), shape).items():
                if symbol == END:
                    found[y] = p * share
                else:
                    open_.append(((*y, symbol), p * share))
        return found

    def likely(self, size: int) -> String:
        """The likeliest prefix of so many symbols that several strings have."""
        prefixes = {y[:size] for y in self.oracle.mass if len(y) > size}
        return max(prefixes, key=lambda y: (self.oracle.prefix(y), y))


def shaped(p: dict[int, float], shape: Shape) -> dict[int, float]:
    """The shape of a distribution, by its definition."""
    powers = {a: q ** (1 / shape.temperature) for a, q in p.items() if q > 0}
    ranked = sorted(powers, key=lambda a: (-powers[a], a))[: shape.top_k]
    total, sum_, kept = math.fsum(powers[a] for a in ranked), 0.0, []
    for a in ranked:
        if sum_ >= shape.top_p * total and kept:
            break
        kept.append(a)
        sum_ += powers[a]
    return {a: powers[a] / math.fsum(powers[b] for b in kept) for a in kept}


def make(seed: int, *, merges: bool = False, first: bool = False, eos: int = 1) -> Case:
    """A case with several lexicon states, silent tokens, equal bytes and a special."""
    spelled = [b"", *TOKENS[1:]] if first else None
    vocab = make_vocab(TOKENS, first=spelled, eos=eos, extra=1)
    lm = TableLM(vocab, order=3, depth=4, seed=seed, merges=merges)
    fst = random_fst(seed)
    model = TransducedLM(lm, fst_target(fst, "random"), Exact())
    return Case(lm, model, Oracle(lm, fst_function(fst)))


CASES = {
    "plain": lambda: make(1),
    "merging": lambda: make(2, merges=True),
    "first token": lambda: make(3, first=True),
    "two ends": lambda: make(4, eos=2),
    "lookahead": lambda: make(9, merges=True, first=True),
}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]()


def strings(drawn: Iterable[Drawn]) -> list[String]:
    found = []
    for one in drawn:
        assert not one.cut
        found.append(one.symbols)
    return found


def agrees(drawn: Sequence[String], exact: dict[String, float]) -> bool:
    """Whether draws pass both tests."""
    assert len(drawn) == DRAWS
    return min(chi_square(drawn, exact), kolmogorov_smirnov(drawn, exact, seed=5)) > RIGHT


def test_from_the_source(case: Case) -> None:
    drawn = list(sample(case.model, DRAWS, seed=11))
    assert {one.way for one in drawn} == {"source"}
    assert {one.logp for one in drawn} == {None}
    assert agrees(strings(drawn), case.exact())


@pytest.mark.parametrize("size", [1, 2, 3])
def test_cover_first(case: Case, size: int) -> None:
    prompt = case.likely(size)
    drawn = list(sample(case.model, DRAWS, seed=12, prompt=prompt))
    assert {(one.way, one.start) for one in drawn} == {("cover", size)}
    assert agrees(strings(drawn), case.exact(prompt))


SHAPES = [
    Shape(temperature=0.6),
    Shape(temperature=1.7),
    Shape(top_k=2),
    Shape(top_p=0.7),
    Shape(temperature=1.3, top_k=3, top_p=0.9),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("size", [0, 2])
def test_unit_by_unit(case: Case, shape: Shape, size: int) -> None:
    prompt = case.likely(size)
    exact = case.exact(prompt, shape)
    options = {"temperature": shape.temperature, "top_k": shape.top_k, "top_p": shape.top_p}
    drawn = list(sample(case.model, DRAWS, seed=13, prompt=prompt, batch=DRAWS, **options))  # type: ignore[arg-type]
    assert {one.way for one in drawn} == {"unit"}
    if len(exact) > 8:
        assert agrees(strings(drawn), exact)
    assert {one.symbols for one in drawn} <= exact.keys()
    for one in drawn[:50]:
        share = case.oracle.string(one.symbols) / case.oracle.prefix(prompt)
        assert one.logp == pytest.approx(math.log(share), abs=1e-9)


def continued(case: Case, prompt: bytes, tokens: Sequence[int], seed: int) -> list[String]:
    """A wrong sampler: continues one tokenization of the prompt, as token-level models do."""
    random = np.random.default_rng(seed)
    vocab, machine, found = case.lm.vocab, case.model.target.machine, []
    for _ in range(DRAWS):
        context, text = [*tokens], prompt
        while True:
            p = np.exp(case.lm.row(tuple(context)))
            p[[t for t in vocab.specials if t not in vocab.eos]] = 0.0
            token = int(random.choice(len(p), p=p / p.sum()))
            if token in vocab.eos:
                break
            context.append(token)
            text += vocab.token_bytes[-1][token] or b""
        found.append(run(machine, text))
    return found


def byte_case() -> Case:
    vocab = make_vocab(TOKENS[:5])
    lm = TableLM(vocab, order=3, depth=4, seed=21, merges=False)
    return Case(
        lm, TransducedLM(lm, load_target("bytes"), Exact()), Oracle(lm, lambda text: tuple(text))
    )


def test_a_sampler_that_continues_the_canonical_tokens_fails_where_cover_first_passes() -> None:
    case = byte_case()
    prompt = b"a"
    exact = case.exact(tuple(prompt))
    right = strings(sample(case.model, DRAWS, seed=14, prompt=prompt))
    assert agrees(right, exact)
    wrong = continued(case, prompt, [TOKENS.index(b"a")], seed=14)
    assert chi_square(wrong, exact) < WRONG
    assert kolmogorov_smirnov(wrong, exact, seed=5) < WRONG


def test_draws_of_another_distribution_fail() -> None:
    """The tests can tell: another temperature, another prompt's strings."""
    case = byte_case()
    other = strings(sample(case.model, DRAWS, seed=15, temperature=0.8))
    assert not agrees(other, case.exact())
    assert agrees(other, case.exact(shape=Shape(temperature=0.8)))


def test_a_beam_draws_from_the_hypotheses_that_it_has_kept() -> None:
    case = byte_case()
    messages: list[str] = []
    fst = load_target("bytes")
    model = TransducedLM(case.lm, fst, Beam(size=1, threshold=0.5), warn=messages.append)
    prompt = max((y for y in case.oracle.mass if len(y) > 5), key=case.oracle.string)[:5]
    state = model.state(prompt)
    assert 0.1 < state.missing < math.inf
    drawn = strings(sample(model, 50, seed=1, prompt=prompt))
    assert all(y[:5] == prompt for y in drawn)
    assert "lack" in messages[0] and "--beam" in messages[0]


def test_string_i_depends_on_the_seed_and_on_i(case: Case) -> None:
    prompt = case.likely(1)
    for options in ({}, {"prompt": prompt}, {"prompt": prompt, "temperature": 0.9}):
        many = list(sample(case.model, 40, seed=3, **options))  # type: ignore[arg-type]
        assert list(sample(case.model, 7, seed=3, **options)) == many[:7]  # type: ignore[arg-type]
        one = sample(case.model, 40, seed=3, batch=1, **options)  # type: ignore[arg-type]
        assert list(one) == many
        other = list(sample(case.model, 40, seed=4, **options))  # type: ignore[arg-type]
        assert other != many
        assert len(set(many)) > 1


def counting(lm: LM, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each call of a model is asked for."""
    asked: list[int] = []
    rows = lm.next_logp

    def next_logp(contexts: Sequence[Sequence[int]]) -> object:
        asked.append(len(contexts))
        return rows(contexts)

    monkeypatch.setattr(lm, "next_logp", next_logp)
    return asked


@pytest.mark.parametrize("way", ["source", "cover", "unit"])
def test_strings_share_model_calls(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = byte_case()
    asked = counting(case.lm, monkeypatch)
    options: dict[str, object] = {"prompt": case.likely(2)} if way != "source" else {}
    if way == "unit":
        options["temperature"] = 2.0
    assert len(list(sample(case.model, 64, seed=0, batch=64, **options))) == 64  # type: ignore[arg-type]
    together = len(asked)
    asked.clear()
    list(sample(case.model, 64, seed=0, batch=1, **options))  # type: ignore[arg-type]
    assert len(asked) > 5 * together


def test_a_session_is_told_what_it_may_forget(monkeypatch: pytest.MonkeyPatch) -> None:
    case = make(7)
    kept: list[tuple[int, list[int]]] = []
    closed: list[int] = []

    def retain(self: ContextSession, root: int, live: np.ndarray) -> None:
        kept.append((root, live.tolist()))

    monkeypatch.setattr(ContextSession, "retain", retain)
    monkeypatch.setattr(ContextSession, "close", lambda self, root: closed.append(root))
    list(sample(case.model, 500, seed=0))
    assert kept and all(0 in live and len(live) <= 65 for _, live in kept)
    assert closed == [0]


@pytest.mark.parametrize("options", [{}, {"prompt": "a"}, {"top_k": 3}])
def test_sessions_are_begun_anew_after_many_strings(
    options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = byte_case()
    expected = list(sample(case.model, 50, seed=3, **options))  # type: ignore[arg-type]
    begun: list[ContextSession] = []
    session = case.lm.session

    def counted() -> ContextSession:
        begun.append(session())  # type: ignore[arg-type]
        return begun[-1]

    monkeypatch.setattr(case.lm, "session", counted)
    monkeypatch.setattr("lmfst.generate.sample.ROUND", 20)
    assert list(sample(case.model, 50, seed=3, **options)) == expected  # type: ignore[arg-type]
    assert len(begun) == 3


MARKS = Symbols("bytes", {0xF0000: "SEP"})
SEP = 0xF0000
# c separates words.
WORDS = Fst.from_arcs([(0, 97, 97, 0), (0, 98, 98, 0), (0, 99, SEP, 0)], 0, [0], MARKS)


def words(depth: int = 6) -> TransducedLM:
    lm = TableLM(make_vocab([b"a", b"b", b"c", b"ac"]), order=2, depth=depth, seed=5, merges=True)
    return TransducedLM(lm, fst_target(WORDS, "words"), Exact())


@pytest.mark.parametrize("shape", [{}, {"temperature": 0.9999}])
@pytest.mark.parametrize("target", ["bytes", "words"])
def test_what_is_cut_is_what_was_drawn(shape: dict[str, float], target: str) -> None:
    model = words()
    if target == "bytes":
        model = TransducedLM(model.lm, load_target("bytes"), Exact())
    whole = list(sample(model, 60, seed=2, **shape))  # type: ignore[arg-type]
    assert not any(one.cut for one in whole)
    for most in (1, 2, 3):
        found = list(sample(model, 60, seed=2, max_units=most, **shape))  # type: ignore[arg-type]
        assert 5 < sum(one.cut for one in found) < 60
        for one, other in zip(found, whole, strict=True):
            spans = model.target.units.spans(other.symbols)
            assert one.cut == (len(spans) > most)
            assert one.units == min(most, len(spans))
            end = spans[most - 1][1] if one.cut else len(other.symbols)
            assert one.symbols == other.symbols[:end]
            if shape and one.cut:
                expected = model.prefix_logp(one.symbols)
                # That another unit follows has been seen, and isn't part of it.
                assert one.logp == pytest.approx(expected, abs=1e-9)


def test_a_unit_that_the_prompt_has_begun_counts() -> None:
    model = words()
    for one in sample(model, 100, seed=1, prompt="a[SEP]b", max_units=2):
        assert one.text.startswith("a[SEP]b")
        assert one.start == 3
        spans = model.target.units.spans(one.symbols)
        assert one.units == len(spans) - 1 <= 2
        if one.cut:
            assert one.symbols[-1] == SEP


def test_units_that_a_mark_begins_are_cut_before_the_next() -> None:
    units = Units(Symbols("bytes", {9: "NEWUNIT"}), begins=frozenset([9]))
    string = Growing(units, (97,), 2, np.random.default_rng(0))
    string.emit([97, 9, 32, 98])
    assert not string.over
    string.emit([98, 9, 97])
    assert string.over
    drawn = string.drawn("source")
    assert (drawn.symbols, drawn.units, drawn.cut) == ((97, 97, 9, 32, 98, 98), 2, True)


class Silent(TableLM):
    """Never ends, and spells nothing after the first token."""

    def row(self, context: tuple[int, ...]) -> np.ndarray:
        p = np.zeros(self.vocab.size)
        p[0 if not context else 1] = 1.0
        with np.errstate(divide="ignore"):
            return np.log(p)


def test_a_string_without_an_end_is_cut() -> None:
    lm = Silent(make_vocab([b"a", b"b"]), order=1, depth=9, seed=0, merges=True)
    lm.key = lambda context: (bool(context), *context[-1:])  # type: ignore[method-assign]
    # b is silent, and every a is one word.
    fst = Fst.from_arcs(
        [(0, 97, 97, 1), (1, 97, 97, 1), (1, 98, EPS, 1), (0, 98, EPS, 0)], 0, [0, 1]
    )
    silent = TransducedLM(lm, fst_target(fst, "silent"), Beam())
    (one,) = sample(silent, 1, max_units=3)
    assert (one.text, one.cut, one.units) == ("a", True, 1)
    # A word without an end is no unit.
    endless = TransducedLM(lm, fst_target(WORDS, "words"), Beam())
    calls = []
    rows = lm.next_logp
    lm.next_logp = lambda contexts: calls.append(1) or rows(contexts)  # type: ignore
    (one,) = sample(endless, 1, max_units=9)
    assert (one.text, one.cut, one.units) == ("", True, 0)
    assert len(calls) <= MOST_STEPS + 2
    (one,) = sample(endless, 1, max_units=1, top_k=1)
    assert (one.text, one.cut, one.units, one.way) == ("", True, 0, "unit")


def test_order_and_how_many_grow_together() -> None:
    units, live = Units(Symbols()), []

    def begin(number: int) -> Growing:
        string = Growing(units, (), 9, np.random.default_rng(0))
        string.place = [number, 5 - number % 5]
        return string

    def step(strings: list[Growing]) -> None:
        live.append(len(strings))
        for string in strings:
            string.place[1] -= 1
            if not string.place[1]:
                string.end()

    found = [string.place[0] for string in in_order(23, begin, step, 4)]
    assert found == list(range(23))
    assert max(live) == 4
    assert list(in_order(0, begin, step, 4)) == []


def test_bad_input() -> None:
    model = words()
    bad: list[tuple[dict[str, object], str]] = [
        ({"count": 0}, "-n must be a whole number of at least 1"),
        ({"seed": 1.5}, "--seed must be a whole number of at least 0, not 1.5"),
        ({"seed": "x"}, "--seed"),
        ({"seed": -1}, "--seed"),
        ({"max_units": 0}, "--max-units must be a whole number of at least 1, not 0"),
        ({"batch": 0}, "--batch"),
        ({"temperature": 0}, "decode --greedy"),
        ({"temperature": -1.0}, "--temperature"),
        ({"temperature": math.nan}, "--temperature"),
        ({"top_k": 0}, "--top-k"),
        ({"top_k": 1.5}, "--top-k"),
        ({"top_p": 0.0}, "--top-p"),
        ({"top_p": 1.5}, "--top-p"),
        ({"prompt": [{"a", "b"}]}, "set of symbols"),
    ]
    for options, said in bad:
        with pytest.raises(UsageError, match=said):
            sample(model, **options)  # type: ignore[arg-type]
    sampling: Callable[..., object] = model.with_policy(Sample()).state  # has none
    with pytest.raises(UsageError):
        sampling()
    with pytest.raises(UsageError, match="--policy sample"):
        sample(model.with_policy(Sample()))
    for shape in ({}, {"top_k": 3}):
        with pytest.raises(InputError, match=r"symbol 1 \(d\)"):
            sample(model, prompt="ad", **shape)  # type: ignore[arg-type]
    partial = Fst.from_arcs([(0, 97, 97, 0), (0, 99, 99, 0)], 0, [0])
    with pytest.raises(UsageError, match="--partial condition"):
        sample(TransducedLM(model.lm, fst_target(partial, "p"), Exact(), partial="condition"))


def test_the_text_of_characters_is_read_back_with_bytes_that_are_no_utf8() -> None:
    lm = TableLM(make_vocab([b"\xc3", b"\xa9", b"a", b"\\"]), order=1, depth=8, seed=2, merges=True)
    model = TransducedLM(lm, load_target("chars"), Exact())
    drawn = list(sample(model, 50, seed=1))
    assert any("\udcc3" in one.text for one in drawn)
    for one in drawn:
        text = one.text.encode("utf-8", "surrogateescape")
        assert parse_target_text(text, model.target.machine.symbols) == one.symbols
