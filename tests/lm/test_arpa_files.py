"""ARPA files as users bring them: other encodings and line ends, sums that are not 1, KenLM."""

from __future__ import annotations

import gzip
import math
import random
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings

from lmfst.ground.errors import ModelError
from lmfst.lm.arpa import read_arpa, read_tables, write_arpa
from lmfst.lm.load import load_guide, load_lm
from lmfst.lm.ngram import NgramLM, NgramTables
from tests.lm.test_arpa_words import by_hand, model_of_words
from tests.lm.test_ngram import GOOD, random_tables
from tests.support.tiny import normalised


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_byte_order_mark_is_dropped(tmp_path: Path, pack: type[bytes]) -> None:
    path = tmp_path / "m.arpa"
    plain = GOOD[GOOD.index("\\data\\") :].encode()
    for text in (plain, b"a comment\n" + plain):
        path.write_bytes(pack(b"\xef\xbb\xbf" + text))
        said: list[str] = []
        assert read_arpa(path, warn=said.append).names == ("<s>", "</s>", "the\u00a0cat", "<unk>")
        assert len(said) == 1 and "begins with a UTF-8 byte-order mark" in said[0]
    path.write_bytes(plain)
    read_arpa(path, warn=lambda message: pytest.fail(message))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (GOOD.replace("\n", "\r").encode(), "line ends LF or CRLF, found a CR within.*tr "),
        (GOOD.replace("-0.25\n-0.7", "-0.25\r-0.7").encode(), "found a CR within the line"),
        (GOOD.encode("utf-16"), "the byte-order mark of UTF-16.*iconv -f UTF-16 "),
        (GOOD.encode("utf-16-be"), "a byte 0, as in UTF-16"),
        (b"\0" + GOOD.encode("utf-16-le"), "a byte 0, as in UTF-16"),
        (b"BZh91AY&SY\x80", "packed by bzip2.*bunzip2"),
        (b"\xfd7zXZ\0\0\x04", "packed by xz"),
        (b"\x28\xb5\x2f\xfd\x04\0", "packed by zstd"),
        (
            b"mmap lm http://kheafield.com/code format version 5\n\0\0",
            "binary file of KenLM.*lmplz",
        ),
        (GOOD.replace("\tthe\u00a0cat\t", "\t \t").encode(), "words without blanks .<0x20>"),
    ],
)
def test_other_formats_are_named(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "m.arpa"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=rf"(?s)m\.arpa.*{said}"):
        read_arpa(path)


def test_what_is_read_as_it_is_meant(tmp_path: Path) -> None:
    """Junk before the data, line ends CRLF, blanks for tabs, empty sections, -inf, no <unk>; gzip
    without .gz."""
    path = tmp_path / "m.arpa"
    text = (
        "made by a tool, ngram 1=7\n\n  \\data\\ \nngram  1 = 3\nngram 2=1\nngram 3= 0\n\n"
        "\\1-grams:\n-inf  <s>  -0.30103\n-0.30103\t</s>\n-0.30103   a\t -inf\n\n"
        "\\2-grams:\n-inf <s> a\n\n\\3-grams:\n\n\\end\\\n\n"
    )
    for data in (text.encode(), text.replace("\n", "\r\n").encode(), gzip.compress(text.encode())):
        path.write_bytes(data)
        model = read_arpa(path)
        assert (model.order, model.unk_id) == (3, None)
        half = math.log(0.5)
        first, empty = model.rows(np.array([model.start(), 0]))
        np.testing.assert_allclose(first, [-np.inf, 2 * half, -np.inf], atol=1e-5)
        np.testing.assert_allclose(empty, [-np.inf, half, half], atol=1e-5)
        after = model.step(np.array([0]), np.array([2]))
        assert (model.rows(after) == -np.inf).all()


def test_names_of_files(tmp_path: Path) -> None:
    path = model_of_words(tmp_path / "m.arpa")
    for name in ("M.ARPA", "m.Arpa.gz"):
        (tmp_path / name).write_bytes(path.read_bytes())
        assert load_lm(str(tmp_path / name)).vocab.size == 5
    for name in ("m.lm", "m.arpa.bz2", "m"):
        (tmp_path / name).write_bytes(path.read_bytes())
        with pytest.raises(ModelError, match=r"is a file: expected a model folder.*\.arpa"):
            load_lm(str(tmp_path / name))


# Sums.


@settings(max_examples=100, deadline=None)
@given(random_tables())
def test_sums_are_those_of_the_rows(tables: NgramTables) -> None:
    model = NgramLM(tables)
    rows = model.rows(np.arange(model.n_states))
    np.testing.assert_allclose(model.sums(), np.exp(rows).sum(axis=1), rtol=1e-9, atol=1e-12)


def said_of(path: Path) -> str:
    said: list[str] = []
    load_lm(str(path), warn=said.append)
    return "\n".join(said)


def test_rows_that_do_not_sum_to_one_are_told(tmp_path: Path) -> None:
    path = model_of_words(tmp_path / "m.arpa")
    assert said_of(path) == ""
    one, two = read_tables(path).grams
    # p(sat | cat) from 0.5 to 0.75: the sum after "cat" is 1.25; after "the" it is 0.9.
    two = {**two, ("cat", "sat"): (math.log10(0.75), 0.0), ("the", "cat"): (math.log10(0.5), 0.0)}
    write_arpa(NgramTables((one, two)), path)
    said = said_of(path)
    assert "don't sum to 1 in 2 of 5 contexts, the farthest being 1.25 after 'cat'" in said
    assert "all words but <s>" in said and "divided by their sums" in said
    less = {gram: (log10p, 0.0) for gram, (log10p, _) in one.items()}
    write_arpa(NgramTables(({**less, ("sat",): (math.log10(0.05), 0.0)}, {})), path)
    assert "0.85 where no context is known" in said_of(path)


def test_contexts_that_no_text_has_do_not_count(tmp_path: Path) -> None:
    path = model_of_words(tmp_path / "m.arpa", {"cat": "<unk>"})
    one, two = read_tables(path).grams
    odd = {("</s>", "the"): (-0.1, 0.0), ("<unk>", "the"): (-0.1, 0.0)}
    write_arpa(NgramTables((one, {**two, **odd})), path)
    assert said_of(path) == ""
    said: list[str] = []
    load_lm(str(path), specials="text", warn=said.append)
    assert "after '<unk>'" in said[0]


@pytest.mark.parametrize("digits", [4, 5, 6])
def test_rounded_numbers_are_no_deviation(tmp_path: Path, digits: int) -> None:
    rng = random.Random(digits)
    names = ["<s>", "</s>", *(f"w{i}" for i in range(30))]
    one = {(w,): (-3 * rng.random(), -rng.random()) for w in names}
    pairs = [(rng.choice(names), rng.choice(names)) for _ in range(200)]
    two = {gram: (-3 * rng.random(), 0.0) for gram in pairs}
    made = normalised(NgramTables((one, two)))
    rounded = [
        {gram: (round(p, digits), round(b, digits)) for gram, (p, b) in grams.items()}
        for grams in made.grams
    ]
    write_arpa(NgramTables(rounded), tmp_path / "m.arpa")
    assert said_of(tmp_path / "m.arpa") == ""


def test_sums_of_a_large_model_are_quick(tmp_path: Path) -> None:
    import time

    rng = np.random.default_rng(1)
    names = [f"w{i}" for i in range(20_000)]
    one = {(name,): (math.log10(1 / 20_000), -0.1) for name in names}
    pairs = rng.integers(20_000, size=(100_000, 2))
    two = {(names[i], names[j]): (-1.0, 0.0) for i, j in pairs}
    model = NgramLM(NgramTables((one, two)))
    began = time.perf_counter()
    sums = model.sums()
    assert time.perf_counter() - began < 2.0, "0.1 s on one slow core"
    some = np.arange(0, model.n_states, 997)
    np.testing.assert_allclose(sums[some], np.exp(model.rows(some)).sum(axis=1), rtol=1e-9)


def test_a_guide_may_sum_to_anything(tmp_path: Path) -> None:
    path = model_of_words(tmp_path / "m.arpa", {"the": "A", "cat": "C", "sat": "G"})
    one, _ = read_tables(path).grams
    write_arpa(NgramTables((one, {})), path)
    assert "sum to 1" in said_of(path)
    load_guide(str(path), warn=lambda message: pytest.fail(message))


# The reference implementation.


@pytest.fixture
def kenlm() -> ModuleType:
    return pytest.importorskip("kenlm")


@pytest.mark.parametrize("text", ["the cat sat", "the cat", "sat the the", ""])
def test_kenlm_gives_the_same(tmp_path: Path, kenlm: ModuleType, text: str) -> None:
    import lmfst

    path = str(model_of_words(tmp_path / "m.arpa"))
    theirs = kenlm.Model(path).score(text, bos=True, eos=True) * math.log(10)
    ours = lmfst.load(path, policy="exact", separator=" ").logp(text)
    assert ours == pytest.approx(theirs, abs=1e-5) == pytest.approx(by_hand(text), abs=1e-5)


def test_kenlm_gives_the_same_rows(tmp_path: Path, kenlm: ModuleType) -> None:
    """Trigrams, backoff over two orders, histories with unlisted words in between."""
    rng = random.Random(3)
    words = ["<s>", "</s>", "<unk>", *"abcde"]
    one = {(w,): (-99.0 if w == "<s>" else -2 * rng.random(), -rng.random()) for w in words}
    two = {(v, w): (-2 * rng.random(), -rng.random()) for v in words for w in words[1:]}
    two = {gram: entry for gram, entry in two.items() if gram[0] != "</s>" and rng.random() < 0.5}
    three = {(*h, w): (-2 * rng.random(), 0.0) for h in two for w in words[3:] if (h[1], w) in two}
    write_arpa(NgramTables((one, two, three)), tmp_path / "m.arpa")
    theirs = kenlm.Model(str(tmp_path / "m.arpa"))
    model = read_arpa(tmp_path / "m.arpa")
    for _ in range(50):
        text = [rng.choice(words[3:]) for _ in range(rng.randrange(6))]
        scores = [score for score, *_ in theirs.full_scores(" ".join(text))]
        state = np.array([model.start()])
        for word, score in zip([*text, "</s>"], scores, strict=True):
            token = model.names.index(word)
            assert model.rows(state)[0, token] == pytest.approx(score * math.log(10), abs=1e-5)
            state = model.step(state, np.array([token]))
