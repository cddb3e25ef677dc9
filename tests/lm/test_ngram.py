"""n-gram models against a dictionary implementation of backoff, and ARPA files good and bad."""

from __future__ import annotations

import gzip
import itertools
import math
import random
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmfst.ground.errors import ModelError, UsageError
from lmfst.lm.arpa import read_arpa, read_tables, write_arpa
from lmfst.lm.ngram import Entry, Gram, NgramLM, NgramTables

LN10 = math.log(10.0)


def naive_logp(tables: NgramTables, history: Gram, word: str) -> float:
    """Backoff by the definition, over word tuples; natural log."""
    if word == "<s>":
        return -math.inf
    history = history[max(0, len(history) - len(tables.grams) + 1) :]
    entry = tables.grams[len(history)].get((*history, word))
    if entry is not None:
        return -math.inf if entry[0] <= -99 else entry[0] * LN10
    listed = tables.grams[len(history) - 1].get(history)
    bow = 0.0 if listed is None else (-math.inf if listed[1] <= -99 else listed[1] * LN10)
    return bow + naive_logp(tables, history[1:], word)


@st.composite
def random_tables(draw: st.DrawFn, closed: bool = False) -> NgramTables:
    """Random listed n-grams; with `closed`, prefixes and suffixes of listed ones are listed."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    words = draw(st.sampled_from([["a"], ["<s>", "a", "</s>"], ["<s>", "a", "b", "c", "<unk>"]]))
    order = draw(st.integers(1, 4))
    density = draw(st.sampled_from([0.1, 0.5, 1.0]))

    def entry(top: bool) -> Entry:
        p = rng.choice([-99.0, -math.inf, 0.0]) if rng.random() < 0.1 else -3 * rng.random()
        bow = rng.choice([0.0, 0.0, -1.5, 0.25, -99.0, -rng.random()])
        return p, 0.0 if top else bow

    grams: list[dict[Gram, Entry]] = [{(word,): entry(order == 1) for word in words}]
    for n in range(2, order + 1):
        table: dict[Gram, Entry] = {}
        for gram in itertools.product(words, repeat=n):
            known = gram[:-1] in grams[-1] and gram[1:] in grams[-1]
            if rng.random() < density and (known or not closed):
                table[gram] = entry(n == order)
        grams.append(table)
    return NgramTables(tuple(grams))


def walk(lm: NgramLM, history: Gram) -> int:
    state = lm.start(bos=False)
    for word in history:
        state = int(lm.step(np.array([state]), np.array([lm.names.index(word)]))[0])
    return state


@given(random_tables(), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_rows_equal_the_definition(tables: NgramTables, rng: random.Random) -> None:
    lm = NgramLM(tables)
    for _ in range(5):
        history = tuple(rng.choice(lm.names) for _ in range(rng.randrange(7)))
        row = lm.rows(np.array([walk(lm, history)]))[0]
        expected = [naive_logp(tables, history, word) for word in lm.names]
        np.testing.assert_allclose(row, expected, rtol=0, atol=1e-12)


@given(random_tables())
@settings(max_examples=80, deadline=None)
def test_cache_and_vectorisation_change_nothing(tables: NgramTables) -> None:
    lm = NgramLM(tables)
    states = np.arange(lm.n_states).repeat(2)[::-1]
    single = np.concatenate([NgramLM(tables).rows(states[i : i + 1]) for i in range(len(states))])
    lm.rows(states[: len(states) // 2])
    np.testing.assert_array_equal(lm.rows(states), single)
    lm._dense = None  # the path of models too large to keep
    np.testing.assert_array_equal(lm.rows(states), single)
    tokens = np.arange(len(states)) % len(lm.names)
    together = lm.step(states, tokens)
    alone = [int(lm.step(states[i : i + 1], tokens[i : i + 1])[0]) for i in range(len(states))]
    assert together.tolist() == alone


@given(random_tables())
@settings(max_examples=80, deadline=None)
def test_a_state_is_the_longest_known_suffix(tables: NgramTables) -> None:
    lm = NgramLM(tables)
    contexts = {lm.context(state): state for state in range(lm.n_states)}
    assert len(contexts) == lm.n_states
    assert all(len(history) < lm.order for history in contexts)
    for history, state in contexts.items():
        assert walk(lm, tuple(lm.names[token] for token in history)) == state
        for token in range(len(lm.names)):
            longer = (*history, token)
            best = next(longer[i:] for i in range(len(longer) + 1) if longer[i:] in contexts)
            after = lm.step(np.array([state]), np.array([token]))[0]
            assert lm.context(int(after)) == best


@given(random_tables(closed=True))
@settings(max_examples=80, deadline=None)
def test_states_are_only_those_that_carry_information(tables: NgramTables) -> None:
    lm = NgramLM(tables)
    useful = {gram[:-1] for grams in tables.grams for gram in grams}
    for grams in tables.grams[:-1]:
        useful |= {gram for gram, (_, bow) in grams.items() if bow != 0.0}
    prefixes = {gram[:n] for gram in useful for n in range(len(gram) + 1)}
    found = {tuple(lm.names[t] for t in lm.context(s)) for s in range(lm.n_states)}
    assert found == prefixes


def test_an_uninformative_context_is_no_state() -> None:
    grams: list[Mapping[Gram, Entry]] = [
        {("a",): (-0.3, -0.1), ("b",): (-0.3, 0.0)},
        {("a", "b"): (-0.2, 0.0)},
        {},
    ]
    lm = NgramLM(NgramTables(grams))
    assert [lm.context(state) for state in range(lm.n_states)] == [(), (0,)]


@given(random_tables(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, tables: NgramTables, gz: bool
) -> None:
    path = tmp_path_factory.mktemp("arpa") / ("lm.arpa.gz" if gz else "lm.arpa")
    write_arpa(tables, path)
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == gz
    again = read_tables(path)
    for before, after in zip(tables.grams, again.grams, strict=True):
        as_read = {g: (-99.0 if p == -math.inf else p, bow) for g, (p, bow) in before.items()}
        assert as_read == after
        assert list(before) == list(after)


GOOD = """a comment before the data

\\data\\
ngram 1=4
ngram 2=2

\\1-grams:
-99\t<s>\t-0.5
-1.0\t</s>
-0.5\tthe\u00a0cat\t-0.25
-0.7\t<unk>

\\2-grams:
-0.25\t<s> the\u00a0cat
-0.125 the\u00a0cat </s>

\\end\\
"""


def test_reads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa"
    for text in (GOOD, GOOD.replace("\n", "\r\n"), GOOD.rstrip()):
        path.write_bytes(text.encode())
        lm = read_arpa(path)
        assert (lm.order, lm.names) == (2, ("<s>", "</s>", "the\u00a0cat", "<unk>"))
        assert (lm.bos_id, lm.eos_ids, lm.unk_id) == (0, (1,), 3)
        first = lm.rows(np.array([lm.start()]))[0] / LN10
        np.testing.assert_allclose(first, [-math.inf, -1.5, -0.25, -1.2])
        empty = lm.rows(np.array([lm.start(bos=False)]))[0] / LN10
        np.testing.assert_allclose(empty, [-math.inf, -1.0, -0.5, -0.7])
    path.with_suffix(".gz").write_bytes(gzip.compress(GOOD.encode()))
    assert read_arpa(str(path.with_suffix(".gz"))).names == lm.names


@pytest.mark.parametrize(
    ("old", "new", "line", "expected"),
    [
        ("\\data\\", "data", 17, r"a line \\data\\"),
        ("ngram 1=4", "ngram 1=five", 4, "'ngram 1=COUNT'"),
        ("ngram 1=4", "ngram 1=0", 4, "at least one 1-gram"),
        ("ngram 2=2", "ngram 3=2", 5, "'ngram 2=COUNT'"),
        ("ngram 1=4", "ngram 1=5", 13, "5 1-grams, as the header says, found 4"),
        ("\\1-grams:", "\\2-grams:", 7, r"\\1-grams:"),
        ("-99\t<s>\t-0.5", "-99", 8, "a log10 probability, 1 words"),
        ("-1.0\t</s>", "1.0\t</s>", 9, "at most 0, found 1.0"),
        ("-1.0\t</s>", "-1,0\t</s>", 9, "a log10 probability, found '-1,0'"),
        ("-1.0\t</s>", "nan\t</s>", 9, "a log10 probability, found 'nan'"),
        ("-1.0\t</s>", "-1_0\t</s>", 9, "a log10 probability, found '-1_0'"),
        ("cat\t-0.25", "cat\tx", 10, "a log10 backoff weight, found 'x'"),
        ("-0.7\t<unk>", "-0.7\t</s>", 11, "each 1-gram once"),
        ("<s> the", "<s> a", 14, "listed as 1-grams, found 'a"),
        ("-0.25\t<s> the\u00a0cat", "-0.25\t<s> the\u00a0cat\t-1", 14, "no backoff weight"),
        ("-0.25\t<s> the\u00a0cat", "-0.25\t<s> the cat x", 14, "2 words"),
        ("\\end\\", "\\3-grams:", 17, r"\\end\\, found"),
        ("\\end\\", "", 17, r"more lines up to \\end\\"),
        ("\\end\\", "\\end\\\nx", 18, r"nothing after \\end\\"),
        ("<s>\t", "\udcff\t", 8, "UTF-8 text, found the byte 0xff"),
    ],
)
def test_errors_name_the_line(tmp_path: Path, old: str, new: str, line: int, expected: str) -> None:
    path = tmp_path / "bad.arpa"
    path.write_bytes(GOOD.replace(old, new).encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelError, match=rf"bad\.arpa, line {line}: .*{expected}"):
        read_arpa(path)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file"):
        read_arpa(tmp_path / "missing.arpa")
    with pytest.raises(ModelError, match="Is a directory"):
        read_arpa(tmp_path)
    packed = tmp_path / "cut.arpa.gz"
    packed.write_bytes(gzip.compress(GOOD.encode())[:-20])
    with pytest.raises(ModelError, match=r"cut\.arpa\.gz: the gzip data are damaged"):
        read_arpa(packed)


def test_tables_and_arguments_are_checked() -> None:
    with pytest.raises(ModelError, match="at least one unigram"):
        NgramLM(NgramTables(()))
    with pytest.raises(ModelError, match="found 'b'"):
        NgramLM(NgramTables(({("a",): (-1.0, 0.0)}, {("a", "b"): (-1.0, 0.0)})))
    lm = NgramLM(NgramTables(({("a",): (-1.0, 0.0)},)))
    with pytest.raises(ModelError, match="the begin mark <s>"):
        lm.start()
    for states, tokens in [([0], [-1]), ([0], [1]), ([1], [0])]:
        with pytest.raises(UsageError, match="expected"):
            lm.step(np.array(states), np.array(tokens))
    with pytest.raises(UsageError, match="expected states"):
        lm.rows(np.array([-1]))
    assert lm.rows(np.empty(0, np.int64)).shape == (0, 1)
    assert lm.step(np.empty(0, np.int64), np.empty(0, np.int64)).shape == (0,)


def test_the_begin_mark_is_never_predicted() -> None:
    """Some writers give <s> the log10 probability 0, which would be certainty."""
    lm = NgramLM(NgramTables(({("<s>",): (0.0, 0.0), ("a",): (0.0, 0.0)},)))
    np.testing.assert_array_equal(lm.rows(np.array([lm.start()])), [[-np.inf, 0.0]])


def test_dna_of_order_five_has_all_contexts_at_once() -> None:
    rng = random.Random(5)
    words = ["<s>", "</s>", *"ACGT"]
    grams: list[dict[Gram, Entry]] = []
    for n in range(1, 6):
        listed = itertools.product("ACGT", repeat=n) if n > 1 else [(word,) for word in words]
        grams.append({gram: (-2 * rng.random(), -rng.random() * (n < 5)) for gram in listed})
    began = time.perf_counter()
    lm = NgramLM(NgramTables(grams))
    rows = lm.rows(np.arange(lm.n_states))
    assert time.perf_counter() - began < 2.0
    assert rows.shape == (1 + 6 + 4**2 + 4**3 + 4**4, 6)


def test_a_word_model_of_many_ngrams_stays_small() -> None:
    rng = np.random.default_rng(1)
    names = [f"w{i}" for i in range(20_000)]
    pairs: dict[Gram, Entry] = {
        (names[i], names[j]): (-1.0, -0.5) for i, j in rng.integers(20_000, size=(40_000, 2))
    }
    single: dict[Gram, Entry] = {(name,): (-4.0, -0.1) for name in names}
    lm = NgramLM(NgramTables((single, pairs, {})))
    assert lm.n_states > 20_000
    assert lm._dense is None
    assert lm.rows(np.arange(8)).shape == (8, 20_000)
