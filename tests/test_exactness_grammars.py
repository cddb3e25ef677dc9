"""The main promise for the shipped targets: sums over all token strings, through NLTK, Biopython
and Python's own string methods instead of the grammars.
"""

from __future__ import annotations

import math
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

from lmfst.lm.load import load_lm
from lmfst.policy import Beam, Exact
from lmfst.score import TransducedLM
from lmfst.target import Target, load_target
from tests.oracle import Function, Oracle, TableLM, make_vocab
from tests.test_exactness import TOLERANCE, check_everything, some_strings

MOST_WORD_STATES = 2000
WORD_TOKENS = [
    *[b"a", b" a", b"n't", b".", b" .", b"can", b"not", b"'", b"\n", b" ", b"s", b'"', b"ca"],
    *[b"''", b"'s ", b"--", b"gonna", b",1", b" (", "é".encode(), "é".encode()[:1]],
]
DNA_TOKENS = [b"A", b"CG", b"TAA", b"N", b"acg", b"T", b"G", b"ATG", b"U", b"R", b"Y", b"CTC"]
LETTER_TOKENS = [b"A", b"aB", b" ", b"\n ", b"T", b"\tT", b"GU", "É".encode(), b"\xc3", b"\x89"]


@cache
def target(to: str) -> Target:
    """One for all examples, so that the states of its sequential form add up."""
    return load_target(to)


def separated(words: list[str]) -> tuple[int, ...]:
    """Words as output symbols, with a separator between them."""
    separator = target("words").machine.symbols.label("SEP")
    assert separator == target("wswords").machine.symbols.label("SEP")
    out: list[int] = []
    for word in words:
        out += [*([separator] if out else []), *word.encode("utf-8", "surrogateescape")]
    return tuple(out)


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def treebank(data: bytes) -> tuple[int, ...]:
    return separated(TreebankWordTokenizer().tokenize(text_of(data)))


def between_spaces(data: bytes) -> tuple[int, ...]:
    return separated(text_of(data).split())


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


@settings(max_examples=40)
@given(models(WORD_TOKENS), st.integers(0, 2**32 - 1))
def test_words(lm: TableLM, seed: int) -> None:
    check(lm, "words", treebank, seed)
    assert target("words").machine.n_states < MOST_WORD_STATES  # type: ignore[attr-defined]


@settings(max_examples=30)
@given(models(DNA_TOKENS), st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 11, 27, 33]))
def test_amino(lm: TableLM, seed: int, table: int) -> None:
    check(lm, f"amino:{table}", genetic_code(table), seed)


@pytest.mark.parametrize(
    ("to", "function"), [("rna", rna), ("wswords", between_spaces), ("lower", lower)]
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


@pytest.mark.parametrize("merges", [False, True])
def test_words_with_a_larger_vocabulary(merges: bool) -> None:
    tokens = [b"a", b" a", b"n't", b".", b" .", b"can", b"'", b"\n", b"not"]
    lm = TableLM(make_vocab(tokens), order=2, depth=4, seed=11, merges=merges)
    oracle = Oracle(lm, treebank)
    model = TransducedLM(lm, target("words"), Exact())
    wanted = [b"cannot a.", b"can't a", b"a 'a.\n", b"can a .", b"a\na."]
    given = [out for text in wanted if (out := treebank(text)) is not None]
    assert sum(oracle.string(out) > 0 for out in given) >= 3
    check_everything(model, oracle, [*given, *some_strings(oracle, 1)])
    assert target("words").machine.n_states < MOST_WORD_STATES  # type: ignore[attr-defined]


def test_beams_hold_the_true_value_for_words() -> None:
    tokens = [b"a", b" a", b"n't", b".", b"can", b"'", b"\n"]
    lm = TableLM(make_vocab(tokens), order=2, depth=4, seed=12, merges=False)
    oracle = Oracle(lm, treebank)
    for size, threshold in ((1, 0.3), (2, 1e-2), (8, 1e-4)):
        model = TransducedLM(lm, target("words"), Beam(size=size, threshold=threshold))
        for y in some_strings(oracle, size):
            for end in range(len(y) + 1):
                bounds, true = model.prefix_bounds(y[:end]), oracle.prefix(y[:end])
                assert math.exp(bounds.lower) <= true * (1 + TOLERANCE) + 1e-300
                assert true <= math.exp(bounds.upper) * (1 + TOLERANCE) + 1e-300


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
        ("words", treebank, "'' a <0x20> ca n ' 't . ''."),
        ("amino:11", genetic_code(11), "A CG TAA N acg T ATG G C TA"),
        ("amino:2", genetic_code(2), "AT A G AGA TG N CTN t U GG"),
        ("wswords", between_spaces, "a <0x20> b <0x09> ab <0x0A> é a. <0x85>"),
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
