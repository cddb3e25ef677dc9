"""The main promise for the shipped targets: sums over all token strings, through NLTK, Biopython
and Python's own string methods instead of the grammars.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from Bio.Seq import translate
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.tokenize.treebank import TreebankWordTokenizer
from numpy.typing import NDArray

from lmfst.inference.policy import Beam, Exact
from lmfst.lm.load import load_lm
from lmfst.model import TransducedLM
from lmfst.target.load import Target, load_target, rejected_by, require_total
from lmfst.vocab import Vocab
from tests.support.exact import TOLERANCE, check_bounds, check_everything, some_strings
from tests.support.oracle import Function, Oracle, TableLM, make_vocab, strings
from tests.support.words import encoded, kept

MOST_WORD_STATES = 2000
WORD_TOKENS = [
    *[b"a", b" a", b"n't", b".", b" .", b"can", b"not", b"'", b"\n", b" ", b"s", b'"', b"ca"],
    *[b"''", b"'s ", b"--", b"gonna", b",1", b" (", "é".encode(), "é".encode()[:1]],
]
SPACE_TOKENS = [b"a", b" a", b"b.", b" ", b"  ", b"\n", b"\xc2", b"\xa0", b"a b", b"\xc2\xa0c"]
DNA_TOKENS = [b"A", b"CG", b"TAA", b"N", b"acg", b"T", b"G", b"ATG", b"U", b"R", b"Y", b"CTC"]
LETTER_TOKENS = [b"A", b"aB", b" ", b"\n ", b"T", b"\tT", b"GU", "É".encode(), b"\xc3", b"\x89"]


TOKENS = [WORD_TOKENS, SPACE_TOKENS, DNA_TOKENS, LETTER_TOKENS]


@cache
def accepts_all(to: str, number: int) -> bool:
    """Whether a target accepts all that tokens of a list spell."""
    fst = target(to).fst
    return fst is None or rejected_by(fst, set(TOKENS[number])) is None


@pytest.fixture(scope="module", autouse=True)
def checked_once() -> Iterator[None]:
    """Whether a target rejects something is asked once for all tokens of a list, rather than for
    those of every model, which takes longer than all sums."""

    def require(found: Target, vocab: Vocab, support: NDArray[np.bool_]) -> None:
        spelled = {text for texts in vocab.token_bytes for text in texts if text is not None}
        number = next((n for n, held in enumerate(TOKENS) if spelled <= set(held)), None)
        if number is None or not accepts_all(found.name, number):
            require_total(found, vocab, support)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lmfst.model.require_total", require)
        yield


@cache
def target(to: str) -> Target:
    """One for all examples, so that the states of its sequential form add up."""
    return load_target(to)


def symbols_of(parts: list[bytes | str], to: str) -> tuple[int, ...]:
    """Bytes, and generated symbols by name, as the output symbols of a target."""
    label = target(to).machine.symbols.label
    return tuple(s for p in parts for s in ([label(p)] if isinstance(p, str) else p))


def separated(words: list[str], to: str, mark: str = "SEP") -> tuple[int, ...]:
    """Words as output symbols, with a separator between them."""
    parts = [part for word in words for part in (mark, encoded(word))]
    return symbols_of(parts[1:], to)


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def treebank_any(data: bytes) -> tuple[int, ...]:
    return separated(TreebankWordTokenizer().tokenize(text_of(data)), "words:ANY")


def treebank(data: bytes) -> tuple[int, ...]:
    text = text_of(data)
    return symbols_of(kept(text, TreebankWordTokenizer().tokenize(text)), "words")


def between_spaces_any(data: bytes) -> tuple[int, ...]:
    return separated(text_of(data).split(), "wswords:ANY")


def between_spaces(data: bytes) -> tuple[int, ...]:
    text = text_of(data)
    return symbols_of(kept(text, text.split()), "wswords")


def leading(data: bytes) -> tuple[int, ...]:
    return separated(re.findall(r"\s*\S+|\s+", text_of(data)), "words-leading", "NEWUNIT")


def trailing(data: bytes) -> tuple[int, ...]:
    return separated(re.findall(r"\S+\s*|\s+", text_of(data)), "words-trailing", "NOSEP")


def lower(data: bytes) -> tuple[int, ...]:
    return tuple("".join(c.lower() for c in text_of(data)).encode("utf-8", "surrogateescape"))


def rna(data: bytes) -> tuple[int, ...]:
    return tuple(data.replace(b"T", b"U").replace(b"t", b"u"))


def genetic_code(table: int) -> Function:
    """Whole codons to residues; None for what isn't DNA."""

    def function(data: bytes) -> tuple[int, ...] | None:
        text = data.decode().upper().replace("U", "T")
        if set(text) - set("ACGTRYSWKMBDHVN"):
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return tuple(str(translate(text[: len(text) // 3 * 3], table=table)).encode())

    return function


@st.composite
def models(draw: st.DrawFn, tokens: list[bytes], most: int = 5) -> TableLM:
    """A table model over some of the tokens; at most a few hundred token strings."""
    size = draw(st.integers(2, most))
    chosen = draw(st.lists(st.sampled_from(tokens), min_size=size, max_size=size))
    return TableLM(
        make_vocab(chosen, eos=draw(st.integers(1, 2)), extra=draw(st.integers(0, 1))),
        order=draw(st.integers(1, 3)),
        depth=draw(st.integers(1, 5 if size < 4 else 4)),
        seed=draw(st.integers(0, 2**32 - 1)),
        merges=draw(st.booleans()),
    )


def check(lm: TableLM, to: str, function: Function, seed: int) -> None:
    oracle = Oracle(lm, function)
    assert abs(oracle.accepted - 1) < TOLERANCE
    check_everything(TransducedLM(lm, target(to), Exact()), oracle, some_strings(oracle, seed))


@pytest.mark.parametrize(("to", "function"), [("words", treebank), ("words:ANY", treebank_any)])
@settings(max_examples=10)
@given(lm=models(WORD_TOKENS), seed=st.integers(0, 2**32 - 1))
def test_words(to: str, function: Function, lm: TableLM, seed: int) -> None:
    check(lm, to, function, seed)
    assert target(to).machine.n_states < MOST_WORD_STATES  # type: ignore[attr-defined]


@settings(max_examples=15)
@given(models(WORD_TOKENS))
def test_words_have_the_mass_of_the_texts_that_nltk_can_not_tell_apart(lm: TableLM) -> None:
    """Texts that differ in more than quotation marks are different words."""
    texts = strings(lm)
    model = TransducedLM(lm, target("words"), Exact())
    by_words: dict[tuple[int, ...], list[bytes]] = {}
    for text, p in texts.items():
        if p > 0:
            by_words.setdefault(model.transduce(text), []).append(text)
    likely = sorted(by_words.items(), key=lambda item: -max(texts[text] for text in item[1]))[:6]
    for y, alike in likely:
        assert len({text.replace(b"''", b'"') for text in alike}) == 1
        if not any(quote in alike[0] for quote in (b'"', b"''")):
            assert len(alike) == 1
        mass = math.fsum(texts[text] for text in alike)
        assert model.logp(y) == pytest.approx(math.log(mass), abs=TOLERANCE)


@pytest.mark.parametrize("to", ["wswords", "words-leading", "words-trailing"])
@settings(max_examples=20)
@given(lm=models(SPACE_TOKENS))
def test_targets_that_only_mark_borders_give_texts_the_probability_of_their_bytes(
    to: str, lm: TableLM
) -> None:
    texts = strings(lm)
    model = TransducedLM(lm, target(to), Exact())
    of_bytes = TransducedLM(lm, target("bytes"), Exact())
    for text in sorted(texts, key=lambda text: -texts[text])[:6]:
        if texts[text] > 0:
            assert model.logp(model.transduce(text)) == pytest.approx(
                of_bytes.logp(text), abs=TOLERANCE
            )


def test_what_the_probability_of_a_word_contains() -> None:
    """Unit by unit, in terms of bytes: what the README says of a word's probability."""
    tokens = [b"a", b" a", b"b", b" ", b".", b"\n", b" b", b"ab"]
    lm = TableLM(make_vocab(tokens), order=3, depth=5, seed=5, merges=False)
    p = strings(lm)

    def begins(*prefixes: bytes) -> float:
        """P(the text begins with one of these), none of which begins another."""
        return math.fsum(p[text] for text in p if text.startswith(prefixes))

    def word_follows(prefix: bytes) -> float:
        return begins(*(prefix + bytes([byte]) for byte in b"ab."))

    text = b"ab a b."
    end = p[text]
    # The last period is a word of its own if the text ends there, white space aside.
    last = math.fsum(p[t] for t in p if t.startswith(text) and not t[len(text) :].strip())
    expected = {
        "words-leading": {"ab": begins(b"ab"), " a": begins(b"ab a"), " b.": begins(text)},
        "words-trailing": {"ab ": word_follows(b"ab "), "a ": word_follows(b"ab a ")},
        "wswords": {"ab": word_follows(b"ab "), "a": word_follows(b"ab a "), "b.": begins(text)},
        "words": {"ab": word_follows(b"ab "), "a": word_follows(b"ab a "), ".": last},
    }
    expected["words-trailing"]["b."] = begins(text)
    for to, units in expected.items():
        (scored,) = TransducedLM(lm, target(to), Exact()).score([text])
        reached, so_far = {}, 0.0
        for row in scored.unit_rows():
            so_far += row["logp"]
            reached[row["unit"]] = so_far
        for unit, mass in {**units, "⊥": end}.items():
            assert reached[unit] == pytest.approx(math.log(mass), abs=TOLERANCE), (to, unit)


@settings(max_examples=30)
@given(models(DNA_TOKENS), st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 11, 27, 33]))
def test_amino(lm: TableLM, seed: int, table: int) -> None:
    check(lm, f"amino:{table}", genetic_code(table), seed)


@pytest.mark.parametrize(
    ("to", "function"),
    [
        ("rna", rna),
        ("lower", lower),
        ("wswords", between_spaces),
        ("wswords:ANY", between_spaces_any),
        ("words-leading", leading),
        ("words-trailing", trailing),
    ],
)
@settings(max_examples=20)
@given(lm=models(LETTER_TOKENS), seed=st.integers(0, 2**32 - 1))
def test_simpler_targets(to: str, function: Function, lm: TableLM, seed: int) -> None:
    check(lm, to, function, seed)


@settings(max_examples=20)
@given(models([*DNA_TOKENS, b"!", b"A!"]), st.integers(0, 2**32 - 1))
def test_amino_given_that_it_is_dna(lm: TableLM, seed: int) -> None:
    oracle = Oracle(lm, genetic_code(11))
    model = TransducedLM(lm, target("amino:11"), Exact(), partial="condition")
    check_everything(model, oracle, some_strings(oracle, seed))


@pytest.mark.parametrize(
    ("to", "function", "merges"),
    [("words", treebank, False), ("words", treebank, True), ("words:ANY", treebank_any, True)],
)
def test_words_with_a_larger_vocabulary(to: str, function: Function, merges: bool) -> None:
    tokens = [b"a", b" a", b"n't", b".", b" .", b"can", b"'", b"\n", b"not"]
    lm = TableLM(make_vocab(tokens), order=2, depth=4, seed=11, merges=merges)
    oracle = Oracle(lm, function)
    model = TransducedLM(lm, target(to), Exact())
    wanted = [b"cannot a.", b"can't a", b"a 'a.\n", b"can a .", b"a\na."]
    given = [out for text in wanted if (out := function(text)) is not None]
    assert sum(oracle.string(out) > 0 for out in given) >= 3
    check_everything(model, oracle, [*some_strings(oracle, 1), *given])
    assert target(to).machine.n_states < MOST_WORD_STATES  # type: ignore[attr-defined]


def test_beams_hold_the_true_value_for_words() -> None:
    tokens = [b"a", b" a", b"n't", b".", b"can", b"'", b"\n"]
    lm = TableLM(make_vocab(tokens), order=2, depth=4, seed=12, merges=False)
    oracle = Oracle(lm, treebank)
    for size, threshold in ((1, 0.3), (2, 1e-2), (8, 1e-4)):
        model = TransducedLM(lm, target("words"), Beam(size=size, threshold=threshold))
        for y in dict.fromkeys(some_strings(oracle, size)):
            check_bounds(model, oracle, y)


class Acyclic:
    """A bigram model in which tokens follow each other in one order only: all strings are few.

    spelled: the bytes of each token. Written as an ARPA file, whose rows leave no mass to backing
    off.
    """

    def __init__(self, names: list[str], spelled: list[bytes], seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.names, self.spelled = names, spelled
        size = len(names)
        # Row -1 is the beginning; column `size` the end.
        self.p = {
            at: dict(zip(after, rng.dirichlet(np.ones(len(after))).tolist(), strict=True))
            for at in range(-1, size)
            for after in [range(at + 1, size + 1)]
        }

    def write(self, path: Path) -> None:
        """As an ARPA file."""
        names = [*self.names, "</s>"]
        pairs = [(at, to, p) for at, row in self.p.items() for to, p in row.items()]
        lines = ["\\data\\", f"ngram 1={len(names) + 1}", f"ngram 2={len(pairs)}", "\n\\1-grams:"]
        lines += [f"-99 {name} -99" for name in ("<s>", *self.names)] + ["-99 </s>", "\n\\2-grams:"]
        lines += [
            f"{math.log10(p):.15f} {names[at] if at >= 0 else '<s>'} {names[to]}"
            for at, to, p in pairs
        ]
        path.write_text("\n".join([*lines, "\n\\end\\\n"]))

    def strings(self) -> Iterator[tuple[bytes, float]]:
        """The text and the probability of every token string."""
        stack = [(-1, b"", 1.0)]
        while stack:
            at, text, weight = stack.pop()
            for to, p in self.p[at].items():
                if to == len(self.names):
                    yield text, weight * p
                else:
                    stack.append((to, text + self.spelled[to], weight * p))


class AcyclicOracle(Oracle):
    """The sum over the strings of an acyclic model."""

    def __init__(self, source: Acyclic, function: Function) -> None:
        self.mass: dict[tuple[int, ...], float] = {}
        for text, p in source.strings():
            out = function(text)
            assert out is not None
            self.mass[out] = self.mass.get(out, 0.0) + p
        self.accepted = math.fsum(self.mass.values())


@pytest.mark.parametrize(
    ("to", "function", "names"),
    [
        ("words", treebank, "can not <0x20> a n't <0x0A> 's . .a"),
        ("words:ANY", treebank_any, "can not <0x20> a n't <0x0A> 's . .a"),
        ("words", treebank, "'' a <0x20> ca n ' 't . ''."),
        ("words:ANY", treebank_any, "'' a <0x20> ca n ' 't . ''."),
        ("amino:11", genetic_code(11), "A CG TAA N acg T ATG G C TA"),
        ("amino:2", genetic_code(2), "AT A G AGA TG N CTN t U GG"),
        ("wswords", between_spaces, "a <0x20> b <0x09> ab <0x0A> é a. <0x85>"),
        ("wswords:ANY", between_spaces_any, "a <0x20> b <0x09> ab <0x0A> é a. <0x85>"),
        ("words-leading", leading, "a <0x20> b <0x09> ab <0x0A> é a. <0x85>"),
        ("words-trailing", trailing, "a <0x20> b <0x09> ab <0x0A> é a. <0x85>"),
    ],
)
def test_ngram_models(tmp_path: Path, to: str, function: Function, names: str) -> None:
    chosen = names.split(" ")
    spelled = [
        bytes([int(name[3:5], 16)]) if name.startswith("<0x") and len(name) == 6 else name.encode()
        for name in chosen
    ]
    source = Acyclic(chosen, spelled, seed=len(names))
    path = tmp_path / "model.arpa"
    source.write(path)
    oracle = AcyclicOracle(source, function)
    assert abs(oracle.accepted - 1) < TOLERANCE
    lm = load_lm(str(path))
    assert lm.merges
    check_everything(TransducedLM(lm, target(to), Exact()), oracle, some_strings(oracle, 5))
