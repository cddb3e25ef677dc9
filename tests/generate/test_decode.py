"""Decoding against exhaustive search and a beam over the tree of all strings, by its definition."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import pytest

from lmfst.fst import Fst, Symbols
from lmfst.generate.decode import Beam as Search
from lmfst.generate.decode import Decoded, Decoding, decode
from lmfst.generate.steps import MAX_EXPANSIONS
from lmfst.ground.errors import BudgetError, InputError, UsageError, ZeroProbabilityError
from lmfst.inference.policy import Beam, Exact
from lmfst.inference.sampling import Sample
from lmfst.model import TransducedLM
from lmfst.target.load import fst_target, load_target
from lmfst.target.units import Units
from tests.support.chance import String
from tests.support.oracle import END, Oracle, TableLM, fst_function, make_vocab, random_fst

TOKENS = [b"a", b"b", b"ab", b"ba", b"aab", b"\0"]
SEP, NOSEP, NEW = 0xF0000, 0xF0001, 0xF0002
MARKS = Symbols("bytes", {SEP: "SEP", NOSEP: "NOSEP"})
# c separates words, and so does d, by nothing.
WORDS = Fst.from_arcs(
    [(0, 97, 97, 0), (0, 98, 98, 0), (0, 99, SEP, 0), (0, 100, NOSEP, 0)], 0, [0], MARKS
)
# c begins a unit.
LEADING = Fst.from_arcs(
    [(0, 97, 97, 0), (0, 98, 98, 0), (0, 99, NEW, 0)], 0, [0], Symbols("bytes", {NEW: "NEWUNIT"})
)


class Case:
    """A tiny model and the tree of its strings. A move adds a unit, or ⊥, or both."""

    def __init__(self, lm: TableLM, fst: Fst) -> None:
        self.model = TransducedLM(lm, fst_target(fst, "tiny"), Exact())
        self.oracle = Oracle(lm, fst_function(fst))

    @property
    def units(self) -> Units:
        return self.model.target.units

    def moves(self, y: String) -> list[String]:
        """How a whole string is made, one move after the other."""
        units, found, open_, begun = self.units, [], [], False
        for symbol in (*y, END):
            open_.append(symbol)
            # A mark that begins a unit is seen with the unit before it.
            begins = symbol in units.begins and begun
            begun = bool(units.marks) and symbol not in units.ends
            if symbol == END or not begun or begins:
                found.append(tuple(open_))
                open_ = []
        return found

    def tree(self, prompt: String) -> dict[tuple[String, ...], float]:
        """The probability of every sequence of moves after a prompt, given it."""
        found: dict[tuple[String, ...], float] = {}
        total = self.oracle.prefix(prompt)
        for y, p in self.oracle.mass.items():
            if y[: len(prompt)] != prompt:
                continue
            done = self.moves(y)
            size, at = 0, 0
            while size + len(done[at]) <= len(prompt):
                size += len(done[at])
                at += 1
            rest = [done[at][len(prompt) - size :], *done[at + 1 :]]
            for many in range(len(rest) + 1):
                key = tuple(rest[:many])
                found[key] = found.get(key, 0.0) + p / total
        return found

    def beam(
        self, prompt: String, width: float, most: int, penalty: float = 0.0
    ) -> list[tuple[float, String, bool]]:
        """(score, string, cut) of what a beam finds, best first, by the definition."""
        tree = self.tree(prompt)
        children: dict[tuple[String, ...], list[tuple[String, ...]]] = {}
        for key in tree:
            if key:
                children.setdefault(key[:-1], []).append(key)
        live: list[tuple[String, ...]] = [()]
        found: list[tuple[float, String, bool]] = []

        def aside(key: tuple[String, ...], cut: bool) -> None:
            symbols = tuple(a for move in key for a in move if a != END)
            p = tree[key]
            if cut and key and key[-1][-1] in self.units.begins:
                symbols = symbols[:-1]
                p = self.oracle.prefix(prompt + symbols) / self.oracle.prefix(prompt)
            # ⊥ counts, and so does the unit that it completes.
            begun = key[-1] != (END,) or bool(self.units.begins and prompt + symbols)
            length = len(key) + (not cut and begun)
            score = math.log(p) / max(1, length) ** penalty
            if all(known[1:] != (prompt + symbols, cut) for known in found):
                found.append((score, prompt + symbols, cut))

        for _ in range(most):
            every = sorted((c for key in live for c in children[key]), key=lambda c: -tree[c])
            kept = every[: int(min(width, len(every)))]
            for key in kept:
                if key[-1][-1] == END:
                    aside(key, False)
            live = [key for key in kept if key[-1][-1] != END]
        for key in live:
            best = max(children[key], key=lambda c: tree[c])
            ended = best[-1] == (END,) and not (key and key[-1][-1] in self.units.begins)
            aside(best if ended else key, not ended)
        return sorted(found, key=lambda one: -one[0])


def table(tokens: Iterable[bytes], seed: int, *, merges: bool = True, depth: int = 4) -> TableLM:
    vocab = make_vocab([*tokens], extra=1)
    return TableLM(vocab, order=3, depth=depth, seed=seed, merges=merges)


CASES: dict[str, Callable[[], Case]] = {
    "symbols": lambda: Case(table(TOKENS, 1, merges=False), random_fst(1)),
    "merging": lambda: Case(table(TOKENS, 9), random_fst(9)),
    "words": lambda: Case(table([b"a", b"b", b"c", b"ac", b"bd", b"d"], 5), WORDS),
    "other words": lambda: Case(table([b"a", b"b", b"c", b"abc", b"d"], 8), WORDS),
    "leading": lambda: Case(table([b"a", b"b", b"c", b"ac"], 6), LEADING),
}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]()


def prompts(case: Case) -> list[String]:
    """Nothing, and the likeliest prefix of two symbols."""
    found: list[String] = [()]
    for size in (2,):
        prefixes = {y[:size] for y in case.oracle.mass if len(y) > size}
        found.append(max(prefixes, key=lambda y: (case.oracle.prefix(y), y)))
    return found


def agree(found: list[Decoded], expected: list[tuple[float, String, bool]]) -> None:
    """Whether strings are those expected, in their order."""
    assert [(one.symbols, one.cut) for one in found] == [one[1:] for one in expected[: len(found)]]


@pytest.mark.parametrize("most", [1, 2, 20])
@pytest.mark.parametrize("width", [1, 3])
def test_beams_keep_the_most_probable_extensions(case: Case, width: int, most: int) -> None:
    for prompt in prompts(case):
        for penalty in (0.0, 0.7):
            expected = case.beam(prompt, width, most, penalty)
            options = {"width": width, "max_units": most, "length_penalty": penalty}
            top = min(width, len(expected))
            found = decode(case.model, prompt, top=top, **options)  # type: ignore[arg-type]
            assert len(found) == top
            agree(found, expected)
            for one in found:
                assert one.way == ("greedy" if width == 1 else f"beam {width}")
                mass = case.oracle.prefix(one.symbols)
                p = mass if one.cut else case.oracle.string(one.symbols)
                assert one.logp == pytest.approx(math.log(p / case.oracle.prefix(prompt)), abs=1e-9)


@pytest.mark.parametrize("most", [2, 20])
def test_a_wide_beam_equals_exhaustive_search(case: Case, most: int) -> None:
    for prompt in prompts(case):
        for penalty in (0.0, 1.0):
            expected = case.beam(prompt, math.inf, most, penalty)
            found = decode(
                case.model, prompt, width=5000, top=3, max_units=most, length_penalty=penalty
            )
            agree(found, expected)


@pytest.mark.parametrize("seed", [1, 5, 16])
def test_a_cut_before_a_mark_that_begins_a_unit(seed: int) -> None:
    """A string that is cut there has the mass of all that may follow, so that it can come before
    those that have ended although the one with the mark can't."""
    case = Case(table([b"a", b"b", b"c", b"ac", b"cb"], seed, depth=3), LEADING)
    for prompt in prompts(case):
        for width, top in ((4000, 5), (3, 3)):
            found = decode(case.model, prompt, width=width, top=top, max_units=2)
            agree(found, case.beam(prompt, width, 2))


def test_the_most_probable_string_of_all(case: Case) -> None:
    """Without a limit on units nothing is cut, and the best string is that of the most mass."""
    (best,) = decode(case.model, width=5000)
    assert not best.cut
    assert best.symbols == max(case.oracle.mass, key=lambda y: case.oracle.mass[y])
    greedy = decode(case.model)[0]
    assert greedy.logp <= best.logp + 1e-12


def test_greedy_and_exhaustive_search_differ_somewhere() -> None:
    found = [make() for make in CASES.values()]
    assert any(
        decode(one.model)[0].symbols != decode(one.model, width=5000)[0].symbols for one in found
    )


def test_units_and_cuts(case: Case) -> None:
    for prompt in prompts(case):
        (whole,) = decode(case.model, prompt)
        spans = case.units.spans(whole.symbols)
        assert not whole.cut
        for most in range(1, whole.units):
            (one,) = decode(case.model, prompt, max_units=most)
            assert (one.cut, one.units, one.start) == (True, most, len(prompt))
            assert whole.symbols[: len(one.symbols)] == one.symbols
            assert len(one.symbols) in [end for _, end in spans]
        if whole.units:
            (one,) = decode(case.model, prompt, max_units=whole.units)
            assert one == whole


class Endless(TableLM):
    """Writes a's without end."""

    def row(self, context: tuple[int, ...]) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.log(np.array([1.0] + [0.0] * (self.vocab.size - 1)))


def test_a_unit_without_an_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmfst.generate.steps.MAX_EXPANSIONS", 50)
    said: list[str] = []
    lm = Endless(make_vocab([b"a", b"b"]), order=1, depth=9, seed=0, merges=True)
    lm.key = lambda context: 0  # type: ignore[method-assign]
    model = TransducedLM(lm, fst_target(WORDS, "words"), Exact(), warn=said.append)
    (one,) = decode(model, "aa")
    assert (one.text, one.cut, one.units, one.logp) == ("aa", True, 1, 0.0)
    assert "cut before it" in said[0] and MAX_EXPANSIONS > 50


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"width": 0}, "--beam-width must be"),
        ({"max_units": 0}, "--max-units must be"),
        ({"length_penalty": -1}, "--length-penalty must be"),
        ({"length_penalty": math.nan}, "--length-penalty must be"),
        ({"top": 0}, "--top must be"),
        ({"top": 2}, "can't come of a beam of 1"),
        ({"prompt": [{"a", "b"}]}, "set of symbols"),
    ],
)
def test_bad_input(options: dict[str, object], said: str) -> None:
    model = CASES["words"]().model
    with pytest.raises(UsageError, match=said):
        decode(model, **options)  # type: ignore[arg-type]


def test_prompts_and_policies_that_have_no_strings() -> None:
    lm = table(TOKENS, 1)
    model = TransducedLM(lm, load_target("bytes"), Exact())
    with pytest.raises(InputError, match="from symbol 1"):
        decode(model, "ax")
    with pytest.raises(UsageError, match="has no states"):
        decode(TransducedLM(lm, load_target("bytes"), Sample()))


def test_what_was_dropped_is_told() -> None:
    said: list[str] = []
    lm = table(TOKENS[:5], 21, merges=False)
    model = TransducedLM(lm, load_target("bytes"), Beam(size=1, threshold=0.5), warn=said.append)
    decode(model, width=3, max_units=4)
    assert "lack" in said[0] and "--beam" in said[0]


@pytest.mark.parametrize("name", ["symbols", "words"])
def test_prompts_together_share_calls_and_come_in_order(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]()
    lm, calls = case.model.lm, 0
    asked = lm.next_logp

    def counted(contexts):  # type: ignore[no-untyped-def]
        nonlocal calls
        calls += 1
        return asked(contexts)

    monkeypatch.setattr(lm, "next_logp", counted)
    starts = sorted({y[:size] for y in case.oracle.mass for size in (0, 1, 2) if len(y) > size})
    starts = [*starts[:5], starts[0]]
    finder = Decoding(case.model, Search(2, top=2))
    alone = [finder.after(start) for start in starts]
    one_by_one, calls = calls, 0
    assert list(finder.after_all(starts)) == alone
    assert calls * 2 < one_by_one
    impossible = (*starts[1], 33)
    mixed = list(finder.after_all([impossible, starts[1], impossible]))
    assert mixed[1] == alone[1]
    assert all(isinstance(mixed[i], ZeroProbabilityError) for i in (0, 2))
    assert list(finder.after_all([])) == []
    # The first one is given before the second has come to its end.
    nearly = max(case.oracle.mass, key=len)
    expected = [finder.after(nearly), finder.after(())]
    found = finder.after_all([nearly, ()])
    calls = 0
    first, before = next(found), calls
    assert [first, next(found)] == expected and calls > before


def test_what_needs_too_much_is_found_among_prompts_together() -> None:
    lm = table(TOKENS, 1, merges=False, depth=4)
    model = TransducedLM(lm, load_target("bytes"), Exact(node_budget=7))
    finder = Decoding(model, Search(1, max_units=3))
    starts = [tuple(b"a"), tuple(b"abab"), ()]
    found = list(finder.after_all(starts))
    for start, one in zip(starts, found, strict=True):
        if isinstance(one, BudgetError):
            with pytest.raises(BudgetError):
                finder.after(start)
        else:
            assert one == finder.after(start)
    assert {isinstance(one, BudgetError) for one in found} == {True, False}
