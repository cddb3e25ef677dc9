"""Strings within an acceptor, against enumeration: every way of drawing, and decoding."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from lmfst.fst import EPS, Fst, Symbols, run
from lmfst.generate import backward, moves
from lmfst.generate.decode import decode
from lmfst.generate.drawn import Drawn
from lmfst.generate.resample import Weights, effective
from lmfst.generate.sample import Asked, Drawing, sample
from lmfst.ground.errors import InputError, UsageError
from lmfst.inference.policy import Exact
from lmfst.lexicon.lexicon import Lexicon
from lmfst.lm.base import ContextSession
from lmfst.model import TransducedLM
from lmfst.target.acceptor import Acceptor
from lmfst.target.load import fst_target, load_target
from tests.generate.test_sample import RIGHT, WORDS, Case, make, shaped
from tests.generate.test_sample import SEP as WORD_END
from tests.support.chance import String, chi_square, kolmogorov_smirnov
from tests.support.oracle import END, Oracle, TableLM, fst_function, make_vocab

# Where the exact way is taken away, it is told that it can't be taken.
pytestmark = pytest.mark.filterwarnings("ignore:the model's contexts and the grammar")

DRAWS = 2000
Arc = tuple[int, int, int]


def acceptor(case: Case, arcs: Sequence[Arc], finals: Sequence[int]) -> Acceptor:
    """An acceptor of arcs (state, symbol, state), from state 0."""
    symbols = case.model.target.machine.symbols
    fst = Fst.from_arcs([(q, EPS, a, r) for q, a, r in arcs], 0, finals, symbols)
    return Acceptor(fst, symbols, "test.grm")


def alphabet(case: Case) -> list[int]:
    return sorted({a for y in case.oracle.mass for a in y})


def every_other(case: Case) -> tuple[Acceptor, Callable[[String], bool]]:
    """Strings with an odd number of the commonest symbol."""
    symbols = alphabet(case)
    mass = {a: sum(p * y.count(a) for y, p in case.oracle.mass.items()) for a in symbols}
    one = max(symbols, key=lambda a: mass[a])
    arcs = [(q, a, q ^ (a == one)) for q in (0, 1) for a in symbols]
    return acceptor(case, arcs, [1]), lambda y: y.count(one) % 2 == 1


def some_strings(case: Case) -> tuple[Acceptor, Callable[[String], bool]]:
    """A few strings of a common beginning, and some that the model can't produce."""
    ranked = sorted(case.oracle.mass, key=lambda y: (-case.oracle.mass[y], y))
    chosen = {*ranked[3:30:2], *ranked[::7]}
    arcs: list[Arc] = []
    finals, size = [], 1
    longest = max(case.oracle.mass, key=len)
    assert (*longest, *longest) not in case.oracle.mass
    for y in [*chosen, (*longest, *longest)]:
        state = 0
        for a in y:
            arcs.append((state, a, size))
            state, size = size, size + 1
        finals.append(state)
    return acceptor(case, arcs, finals), lambda y: y in chosen


CONSTRAINTS = {"every other": every_other, "some": some_strings}
CASES: Mapping[str, Callable[[], Case]] = {
    "plain": lambda: make(1),
    "merging": lambda: make(2, merges=True),
    "first token": lambda: make(3, first=True),
    "two ends": lambda: make(4, eos=2, merges=True),
    "lookahead": lambda: make(9, merges=True, first=True),
}


@pytest.fixture(autouse=True)
def few_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The case "lookahead" has any number of them."""
    monkeypatch.setattr(moves, "MOST_PAIRS", 60)


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]()


@pytest.fixture(scope="module", params=CONSTRAINTS)
def constraint(
    request: pytest.FixtureRequest, case: Case
) -> tuple[Acceptor, Callable[[String], bool]]:
    return CONSTRAINTS[request.param](case)


def conditional(
    case: Case, prompt: String, accepted: Callable[[String], bool]
) -> tuple[dict[String, float], float]:
    """The probability of accepted strings given the prompt, and of all of them together."""
    total = case.oracle.prefix(prompt)
    found = {y: p / total for y, p in case.exact(prompt).items() if accepted(y)}
    return found, math.fsum(found.values())


def prompt_of(case: Case, accepted: Callable[[String], bool], size: int) -> String:
    """The likeliest beginning of accepted strings."""
    mass: dict[String, float] = {}
    for y, p in case.oracle.mass.items():
        if accepted(y) and len(y) > size:
            mass[y[:size]] = mass.get(y[:size], 0.0) + p
    return max(mass, key=lambda y: (mass[y], y))


def weights_are_unbiased(drawn: Sequence[Drawn], exact: Mapping[String, float]) -> None:
    """The mean weight, and that of the likeliest string, within 4 standard errors."""
    weights = np.array([math.exp(one.logw or 0.0) for one in drawn])
    assert all(one.logw == -math.inf or not one.cut for one in drawn)
    likeliest = max(exact, key=lambda y: exact[y])
    here = np.array([one.symbols == likeliest for one in drawn])
    for values, truth in ((weights, math.fsum(exact.values())), (weights * here, exact[likeliest])):
        error = values.std(ddof=1) / math.sqrt(len(values))
        assert abs(values.mean() - truth) < 4 * error + 1e-9
    assert {one.symbols for one in drawn if one.logw != -math.inf} <= exact.keys()


@pytest.mark.parametrize("size", [0, 1, 2])
def test_draws_that_are_exact(
    case: Case, constraint: tuple[Acceptor, Callable[[String], bool]], size: int
) -> None:
    if not case.lm.merges:
        pytest.skip("contexts don't merge")
    within, accepted = constraint
    prompt = prompt_of(case, accepted, size)
    exact, total = conditional(case, prompt, accepted)
    drawn = list(sample(case.model, DRAWS, seed=11, prompt=prompt, within=within))
    assert {one.way for one in drawn} == {"exact"}
    strings = [one.symbols for one in drawn]
    if len(exact) > 8:
        assert chi_square(strings, exact) > RIGHT
        assert kolmogorov_smirnov(strings, exact, seed=5) > RIGHT
    assert {*strings} <= exact.keys()
    for one in drawn:
        assert one.logw == pytest.approx(math.log(total), abs=1e-9)


def test_backward_mass_by_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backward, "MOST_SOLVED", 0)
    case = make(2, merges=True)
    within, accepted = every_other(case)
    (one,) = sample(case.model, 1, within=within)
    assert one.way == "exact"
    assert one.logw == pytest.approx(math.log(conditional(case, (), accepted)[1]), abs=1e-10)


def test_backward_masses_of_very_different_sizes() -> None:
    """Of 0 → 0 (0.9), 2; 1 → 1, 0 (0.9), the end; 2 → 2, 1: with pivots, 0 would have 7e-42."""
    first = np.array([0, 2, 5, 7])
    after = np.array([0, 2, 1, 0, moves.ENDED, 2, 1])
    p = np.array([0.9, 0.09, 0.09, 0.9, 1e-25, 0.09, 1e-25])
    mass = backward._solved(first, after, p)
    one = 1e-25 / 0.91
    assert mass == pytest.approx(
        [0.9 * one * 1e-25 / 0.91, one, one * 1e-25 / 0.91], rel=1e-9, abs=0
    )


@pytest.mark.parametrize("together", [1, 10])
def test_backward_mass_in_batches(together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many nodes are looked at together changes nothing."""
    case = make(2, merges=True)
    within, _ = every_other(case)
    expected = list(sample(case.model, 20, seed=1, within=within))
    monkeypatch.setattr(backward, "ENTRIES_TOGETHER", together)
    assert list(sample(case.model, 20, seed=1, within=within)) == expected


def test_too_many_edges_are_not_all_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model isn't asked for all rows, of which there may be very many, to find that out."""
    asked: list[int] = []
    rows = ContextSession.rows

    def counted(self: ContextSession, states: np.ndarray) -> object:
        asked.append(len(states))
        return rows(self, states)

    monkeypatch.setattr(ContextSession, "rows", counted)
    case = make(2, merges=True)
    within, _ = every_other(case)

    def looked_at() -> int:
        asked.clear()
        Drawing(case.model, Asked(within=within))
        return sum(asked)

    every = looked_at()
    monkeypatch.setattr(backward, "ENTRIES_TOGETHER", 8)
    monkeypatch.setattr(backward, "MOST_EDGES", 12)
    assert 0 < looked_at() < 5 < every


@pytest.mark.parametrize("resample", [None, 16])
@pytest.mark.parametrize("size", [0, 2])
def test_weights_are_unbiased(
    case: Case,
    constraint: tuple[Acceptor, Callable[[String], bool]],
    size: int,
    resample: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lmfst.generate.sample.exactly", lambda constrained: None)
    within, accepted = constraint
    prompt = prompt_of(case, accepted, size)
    exact, _ = conditional(case, prompt, accepted)
    drawn = list(
        sample(case.model, DRAWS, seed=12, prompt=prompt, within=within, resample=resample)
    )
    assert len(drawn) == DRAWS
    assert {one.way for one in drawn} == {"resampled" if resample else "masked"}
    if resample is None:
        weights_are_unbiased(drawn, exact)
        return
    # Strings of a run depend on each other; runs don't.
    runs = [drawn[i : i + 16] for i in range(0, DRAWS, 16)]
    means = np.array([np.mean([math.exp(one.logw or 0.0) for one in some]) for some in runs])
    error = means.std(ddof=1) / math.sqrt(len(means))
    assert abs(means.mean() - math.fsum(exact.values())) < 4 * error + 1e-9
    for some in runs:
        ess = effective(one.logw or 0.0 for one in some)
        assert all(one.ess == pytest.approx(ess) for one in some)


def test_resampling_happens_and_equalises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights drift apart without it, and less with it."""
    case = make(1)
    within, _ = every_other(case)
    plain = list(sample(case.model, 640, seed=3, within=within))
    drawn = list(sample(case.model, 640, seed=3, within=within, resample=64))
    mean = np.mean([one.ess or 0.0 for one in drawn])
    assert mean > 64 / 640 * effective(one.logw or 0.0 for one in plain)
    assert len({one.logw for one in drawn}) < len(drawn)


@pytest.mark.parametrize("resample", [None, 16])
def test_symbols_of_another_shape(resample: int | None) -> None:
    case = make(1)
    within, accepted = every_other(case)
    exact = case.exact((), Asked(shape=shape_of(0.7)).shape)
    exact = {y: p for y, p in exact.items() if accepted(y)}
    count = 640 if resample else DRAWS
    drawn = list(
        sample(
            case.model,
            count,
            seed=4,
            within=within,
            temperature=0.7,
            resample=resample,
            batch=DRAWS,
        )
    )
    assert {one.way for one in drawn} == {"resampled" if resample else "unit"}
    if resample is None:
        weights_are_unbiased(drawn, exact)
        for one in drawn[:20]:
            if not one.cut:
                assert one.logp == pytest.approx(
                    math.log(case.oracle.string(one.symbols)), abs=1e-9
                )
    else:
        runs = np.array([math.exp(one.logw or 0.0) for one in drawn]).reshape(-1, 16).mean(1)
        error = runs.std(ddof=1) / math.sqrt(len(runs))
        assert abs(runs.mean() - math.fsum(exact.values())) < 4 * error
    assert shaped({0: 0.5, 1: 0.5}, shape_of(0.7))[0] == 0.5


def shape_of(temperature: float):  # type: ignore[no-untyped-def]
    from lmfst.generate.shape import Shape

    return Shape(temperature)


def word_case() -> Case:
    lm = TableLM(make_vocab([b"a", b"b", b"c", b"ac"]), order=2, depth=6, seed=5, merges=True)
    return Case(
        lm, TransducedLM(lm, fst_target(WORDS, "words"), Exact()), Oracle(lm, fst_function(WORDS))
    )


@pytest.mark.parametrize("resample", [None, 8])
def test_words(resample: int | None) -> None:
    """Words of one letter or two, at least two of them."""
    case = word_case()
    letters = (97, 98)
    arcs = [(3 * k + i, a, 3 * k + i + 1) for k in (0, 1) for i in (0, 1) for a in letters]
    arcs += [(i, WORD_END, 3) for i in (1, 2)] + [(3 + i, WORD_END, 3) for i in (1, 2)]
    within = acceptor(case, arcs, [3, 4, 5])

    def accepted(y: String) -> bool:
        words = "".join("c" if a == WORD_END else chr(a) for a in y).split("c")
        return len(words) > 1 and all(1 <= len(w) <= 2 for w in words[:-1]) and len(words[-1]) < 3

    exact, total = conditional(case, (), accepted)
    drawn = list(sample(case.model, DRAWS, seed=2, within=within, resample=resample))
    if resample is None:
        assert {one.way for one in drawn} == {"exact"}
        assert drawn[0].logw == pytest.approx(math.log(total), abs=1e-9)
        assert chi_square([one.symbols for one in drawn], exact) > RIGHT
    else:
        runs = np.array([math.exp(one.logw or 0.0) for one in drawn]).reshape(-1, 8).mean(1)
        error = runs.std(ddof=1) / math.sqrt(len(runs))
        assert abs(runs.mean() - total) < 4 * error
    for width, top in ((1, 1), (3000, 5)):
        found = decode(case.model, within=within, width=width, top=top)
        ranked = sorted(exact, key=lambda y: -exact[y])
        for one in found:
            assert one.cut or accepted(one.symbols)
            assert one.logp == pytest.approx(math.log(exact[one.symbols]), abs=1e-9)
        if width > 1:
            assert [one.symbols for one in found] == ranked[:top]


def test_decoding_within_equals_exhaustive_search(
    case: Case, constraint: tuple[Acceptor, Callable[[String], bool]]
) -> None:
    within, accepted = constraint
    exact, _ = conditional(case, (), accepted)
    found = decode(case.model, within=within, width=5000, top=3)
    ranked = sorted(exact, key=lambda y: (-exact[y], y))
    assert [one.symbols for one in found] == ranked[:3]


def test_where_it_is_not_known_what_leads_somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strings may come to where nothing goes on; then they weigh nothing."""
    monkeypatch.setattr(moves, "MOST_ENTRIES", 0)
    monkeypatch.setattr("lmfst.generate.sample.exactly", lambda constrained: None)
    case = make(2, merges=True)
    within, accepted = some_strings(case)
    exact, _ = conditional(case, (), accepted)
    drawn = list(sample(case.model, DRAWS, seed=6, within=within))
    assert {one.way for one in drawn} == {"masked"}
    assert any(one.logw == -math.inf and one.cut for one in drawn)
    weights_are_unbiased(drawn, exact)


def characters(seed: int) -> Case:
    """Characters of two bytes, in tokens that cut them, and bytes that are none."""
    tokens = [b"a", "é".encode(), b"\xc3", b"\xa9", b"\xa8", b"a\xc3"]
    lm = TableLM(make_vocab(tokens), order=2, depth=4, seed=seed, merges=True)
    target = load_target("chars")
    return Case(
        lm,
        TransducedLM(lm, target, Exact()),
        Oracle(lm, lambda text: run(target.machine, text)),
    )


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", [0, 1])
def test_characters_that_tokens_cut(
    masked: bool, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if masked:
        monkeypatch.setattr("lmfst.generate.sample.exactly", lambda constrained: None)
    case = characters(1)
    one, other = ord("é"), ord("a")
    arcs = [(0, other, 0), (0, one, 1), (1, one, 0), (1, other, 1)]

    def accepted(y: String) -> bool:
        return {*y} <= {one, other} and y.count(one) % 2 == 1

    within = acceptor(case, arcs, [1])
    prompt = (other,) * size
    exact, total = conditional(case, prompt, accepted)
    drawn = list(sample(case.model, DRAWS, seed=3, prompt=prompt, within=within))
    if masked:
        weights_are_unbiased(drawn, exact)
    else:
        assert drawn[0].logw == pytest.approx(math.log(total), abs=1e-9)
        assert chi_square([one.symbols for one in drawn], exact) > RIGHT


def test_characters_that_are_not_read_need_no_lexicon() -> None:
    """There is one for every beginning of a character, hundreds of them."""
    case = characters(2)
    built: list[int] = []
    lexicons = case.model.lexicons
    build = lexicons._build

    def counted(decoder: int, state: int) -> Lexicon:
        built.append(state)
        return build(decoder, state)

    lexicons.__dict__["_build"] = counted
    within = acceptor(case, [(0, ord("a"), 0)], [0])
    (one,) = sample(case.model, 1, within=within)
    assert one.way == "exact" and {*one.symbols} <= {ord("a")}
    assert built == [0]
    # One that it reads is taken for one that leads somewhere, until it is asked for.
    within = acceptor(case, [(0, ord("a"), 0), (0, ord("é"), 0)], [0])
    product = moves.Product(lexicons, within)
    assert product.close([product.pair(lexicons.start, 0)])
    assert built == [0]


def test_what_waits_to_be_emitted_is_read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function whose output waits without end has finitely many pairs within a finite set."""
    # a's are y's if b follows, and z's if c does.
    fst = Fst.from_arcs(
        [
            *[(0, 97, 121, 1), (1, 97, 121, 1), (1, 98, EPS, 2)],
            *[(0, 97, 122, 3), (3, 97, 122, 3), (3, 99, EPS, 2)],
        ],
        0,
        [2],
    )
    lm = TableLM(make_vocab([b"a", b"b", b"c"]), order=1, depth=9, seed=1, merges=True)
    model = TransducedLM(lm, fst_target(fst, "waits"), Exact(), partial="condition")
    two = Fst.from_arcs([(0, EPS, 121, 1), (1, EPS, 121, 2), (0, EPS, 122, 2)], 0, [2])
    within = Acceptor(two, model.target.machine.symbols, "two.grm")

    def closes() -> bool:
        product = moves.Product(model.lexicons, within)
        start = product.pair(model.lexicons.start, 0)
        return product.close([start]) and product.may_end_well(start)

    assert closes()
    monkeypatch.setattr(moves.Product, "_fits", lambda *_: True)
    assert not closes()


def test_too_many_nodes_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backward, "MOST_NODES", 2)
    said: list[str] = []
    case = make(2, merges=True)
    model = TransducedLM(case.lm, case.model.target, Exact(), warn=said.append)
    within, _ = every_other(case)
    (one,) = sample(model, 1, within=within)
    assert one.way == "masked" and one.logw is not None
    assert "too many states" in said[0]


def test_what_holds_for_all_rounds_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backward, "MOST_NODES", 2)
    monkeypatch.setattr("lmfst.generate.sample.ROUND", 5)
    said: list[str] = []
    case = make(2, merges=True)
    model = TransducedLM(case.lm, case.model.target, Exact(), warn=said.append)
    within, _ = every_other(case)
    drawn = list(sample(model, 20, within=within))
    assert {one.way for one in drawn} == {"masked"}
    assert len(said) == 1


def test_a_prompt_that_nothing_but_the_end_follows() -> None:
    """Of the strings after it one is accepted: there is nothing to be computed."""
    case = make(2, merges=True)
    y = max((y for y in case.oracle.mass if y), key=lambda y: case.oracle.mass[y])
    within = acceptor(case, [(i, a, i + 1) for i, a in enumerate(y)], [len(y)])
    (one,) = sample(case.model, 1, within=within, prompt=y)
    assert (one.way, one.symbols, one.cut) == ("exact", y, False)
    p = case.oracle.string(y) / case.oracle.prefix(y)
    assert one.logw == pytest.approx(math.log(p), abs=1e-9)


@pytest.mark.parametrize("case", [make(1), make(2, merges=True)], ids=["plain", "merging"])
def test_string_i_depends_on_the_seed_and_on_i(case: Case) -> None:
    within, _ = every_other(case)
    for options in ({}, {"resample": 8}, {"temperature": 1.2}, {"prompt": ()}):
        many = list(sample(case.model, 40, seed=3, within=within, **options))  # type: ignore[arg-type]
        few = list(sample(case.model, 16, seed=3, within=within, **options))  # type: ignore[arg-type]
        assert few == many[:16]
        one = list(sample(case.model, 16, seed=3, within=within, batch=1, **options))  # type: ignore[arg-type]
        assert [other.symbols for other in one] == [other.symbols for other in few]
        other = list(sample(case.model, 40, seed=4, within=within, **options))  # type: ignore[arg-type]
        assert other != many


def test_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    case = make(1)
    within, _ = every_other(case)
    expected = list(sample(case.model, 50, seed=3, within=within, resample=8))
    monkeypatch.setattr("lmfst.generate.sample.ROUND", 20)
    assert list(sample(case.model, 50, seed=3, within=within, resample=8)) == expected


def test_strings_that_are_cut_keep_their_weight() -> None:
    """The mean weight is the probability that a string is accepted, or begins as one that is."""
    case = make(1)
    within, accepted = every_other(case)
    drawn = list(sample(case.model, DRAWS, seed=8, within=within, max_units=2))
    assert 10 < sum(one.cut for one in drawn) < DRAWS
    begins = {y[:2] for y in case.oracle.mass if accepted(y) and len(y) > 2}
    truth = math.fsum(
        p for y, p in case.oracle.mass.items() if (len(y) <= 2 and accepted(y)) or y[:2] in begins
    )
    weights = np.array([math.exp(one.logw or 0.0) for one in drawn])
    # Masks look further ahead than two symbols: what is cut isn't known to be accepted.
    assert conditional(case, (), accepted)[1] < weights.mean() < truth + 0.05


def test_what_can_not_be_drawn() -> None:
    case = make(1)
    one = alphabet(case)[0]
    with pytest.raises(InputError, match="no string that the model can produce is in"):
        sample(case.model, 1, within=acceptor(case, [(0, 200, 1)], [1]))
    other = make(2, merges=True)
    far = [(i, alphabet(other)[0], i + 1) for i in range(99)]
    for begun in (200, one):
        arcs = [(0, begun, 1), (1, 200, 2)]
        with pytest.raises(InputError, match="no string that the model can produce is in"):
            decode(case.model, within=acceptor(case, arcs, [2]), max_units=1)
    with pytest.raises(InputError, match="the probability zero"):
        sample(other.model, 1, within=acceptor(other, far, [99]))
    within = acceptor(case, [(0, one, 1), (1, one, 1)], [1])
    unlike = next(a for a in alphabet(case) if a != one)
    for options in ({}, {"temperature": 2.0}):
        with pytest.raises(InputError, match=r"first 1 symbols of the prompt"):
            sample(case.model, 1, within=within, prompt=(unlike,), **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"first 1 symbols of the prompt"):
        decode(case.model, (unlike,), within=within)
    with pytest.raises(UsageError, match="--resample must be"):
        sample(case.model, 1, within=within, resample=1)
    with pytest.raises(UsageError, match="--resample weighs strings"):
        sample(case.model, 1, resample=5)


def test_acceptors() -> None:
    """Alphabets: named symbols, characters as UTF-8, what the target lacks."""
    marks = Symbols("bytes", {7: "SEP", 9: "OTHER"})
    symbols = Symbols("bytes", {0xF0000: "SEP"})
    fst = Fst.from_arcs([(0, EPS, 97, 1), (1, EPS, 7, 0), (1, EPS, EPS, 2)], 0, [2], marks)
    within = Acceptor(fst, symbols, "g.grm")
    q = within.step(within.step(within.step(0, 97), 0xF0000), 97)
    assert within.step(q, END) >= 0 and within.step(0, END) == -1 and within.step(0, 7) == -1
    with pytest.raises(UsageError, match=r"symbol \[OTHER\], which the target lacks"):
        Acceptor(Fst.from_arcs([(0, EPS, 9, 1)], 0, [1], marks), symbols, "g.grm")
    with pytest.raises(UsageError, match="accepts no string"):
        Acceptor(Fst.from_arcs([(0, EPS, 97, 1)], 0, []), symbols, "g.grm")
    chars = load_target("chars").machine.symbols
    for kind, labels in (("unicode", [0xE9, 0x20AC]), ("bytes", list("é€".encode()))):
        arcs = [(i, EPS, label, i + 1) for i, label in enumerate(labels)]
        fst = Fst.from_arcs(arcs, 0, [len(labels)], Symbols(kind))  # type: ignore[arg-type]
        for target, string in ((chars, [0xE9, 0x20AC]), (Symbols("bytes"), list("é€".encode()))):
            within, q = Acceptor(fst, target, "g.grm"), 0
            for symbol in string:
                assert within.step(q, END) == -1
                q = within.step(q, symbol)
            assert within.step(q, END) >= 0
    table = Symbols("symbols", {1: "AH", 2: "B"})
    own = Symbols("symbols", {5: "B", 6: "AH"})
    within = Acceptor(Fst.from_arcs([(0, EPS, 5, 1)], 0, [1], own), table, "g.fst")
    assert within.step(0, 2) >= 0 and within.step(0, 1) == -1
    with pytest.raises(UsageError, match="acceptor of bytes, and the target writes a table's"):
        Acceptor(Fst.from_arcs([(0, EPS, 97, 1)], 0, [1]), table, "g.fst")


def test_what_weights_tell() -> None:
    weights = Weights()
    for logw in (math.log(0.5), math.log(0.25), -math.inf, math.log(0.25)):
        weights.add(logw)
    said = weights.told("masked")
    assert f"{math.log(0.25):.4g}" in said and "effective sample size 2.7 of 4" in said
    assert "exactly" in weights.told("exact")
    assert effective([]) == 0.0 and effective([-math.inf]) == 0.0
    assert Drawing(make(1).model, Asked()).way == "source"
