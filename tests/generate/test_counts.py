"""Counts of units: by hand, and standard errors against repeated draws."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np
import pytest

from lmfst.fst import Fst, Symbols
from lmfst.generate.counts import Counts, add_document
from lmfst.ground.document import Document
from lmfst.ground.errors import InputError, UsageError
from lmfst.target.load import fst_target, load_target
from lmfst.target.units import Units

BYTES = Units(Symbols())
SEP = 0xF0000
ONLY_A = Fst.from_arcs([(0, 97, 97, 0)], 0, [0])
WORDS = Units(Symbols("bytes", {SEP: "SEP"}), ends=frozenset([SEP]))


def table(counts: Counts) -> dict[Any, dict[str, Any]]:
    return {
        (row["before"], row["unit"]) if "before" in row else row["unit"]: row
        for row in counts.rows()
    }


def test_unigrams_by_hand() -> None:
    counts = Counts(BYTES)
    for text in (b"aab", b"ab", b"bbbc"):
        counts.add(text)
    rows = table(counts)
    assert list(rows) == ["b", "a", "c"]
    assert {unit: row["count"] for unit, row in rows.items()} == {"b": 5, "a": 3, "c": 1}
    a = rows["a"]
    assert a["p"] == 3 / 9
    assert a["logp"] == pytest.approx(math.log(1 / 3))
    assert a["surprisal"] == pytest.approx(math.log2(3))
    # Counts 2, 1, 0 of 3, 2, 4 units: residuals 1, 1/3, -4/3.
    spread = 3 / 2 * (1 + 1 / 9 + 16 / 9) / 81
    assert a["stderr"] == pytest.approx(math.sqrt(spread) / (1 / 3))


def test_units_of_several_symbols_have_one_text_with_and_without_their_mark() -> None:
    counts = Counts(WORDS, ends=True)
    counts.add((97, SEP, 98, SEP, 97))
    counts.add((97, SEP), cut=True)
    assert {unit: row["count"] for unit, row in table(counts).items()} == {"a": 3, "b": 1, "⊥": 1}


def test_pairs_are_given_what_comes_before() -> None:
    counts = Counts(WORDS, 2, ends=True)
    counts.add((97, SEP, 98, SEP, 97))
    counts.add((97, SEP, 97))
    counts.add((97, SEP, 97, SEP), cut=True)
    found = {key: (row["count"], row["p"]) for key, row in table(counts).items()}
    assert found == {
        ("a", "a"): (2, 2 / 5),
        ("a", "⊥"): (2, 2 / 5),
        ("a", "b"): (1, 1 / 5),
        ("b", "a"): (1, 1.0),
    }
    # b is followed in one string only: nothing is known of how that varies.
    assert table(counts)["b", "a"]["stderr"] is None
    assert table(counts)["a", "b"]["stderr"] > 0


def test_a_space_within_a_unit_is_told_from_one_between_units() -> None:
    counts = Counts(BYTES, 3)
    counts.add(b"a b\\c")
    found = [(row["before"], row["unit"]) for row in counts.rows()]
    assert sorted(found) == sorted([("a \\x20", "b"), ("\\x20 b", "\\\\"), ("b \\\\", "c")])


def test_what_begins_before_the_start_comes_before_others_only() -> None:
    for order, expected in ((1, {"b", "c"}), (2, {("a", "b"), ("b", "c")})):
        counts = Counts(BYTES, order)
        counts.add(b"abc", start=1)
        assert set(table(counts)) == expected
    counts = Counts(WORDS)
    counts.add((97, SEP, 98, 98, SEP, 99), start=3)  # bb was begun before
    assert set(table(counts)) == {"c"}


def clustered(random: np.random.Generator) -> list[int]:
    """A string whose symbols go together: mostly a or mostly b."""
    p = random.beta(0.5, 0.5)
    return [97 + int(random.random() > p) for _ in range(int(random.integers(5, 40)))]


@pytest.mark.parametrize("order", [1, 2])
def test_standard_errors_are_those_of_repeated_draws(order: int) -> None:
    random = np.random.default_rng(8)
    logp: dict[Any, list[float]] = defaultdict(list)
    said: dict[Any, list[float]] = defaultdict(list)
    naive: dict[Any, list[float]] = defaultdict(list)
    for _ in range(400):
        counts = Counts(BYTES, order)
        for _ in range(60):
            counts.add(clustered(random))
        for key, row in table(counts).items():
            logp[key].append(row["logp"])
            said[key].append(row["stderr"])
            naive[key].append(math.sqrt((1 - row["p"]) / row["count"]))
    for key, values in logp.items():
        true = float(np.std(values))
        assert float(np.sqrt(np.mean(np.square(said[key])))) == pytest.approx(true, rel=0.15)
        # What independent units would have is far less.
        assert order > 1 or float(np.mean(naive[key])) < true / 2


def test_one_string_has_no_standard_error() -> None:
    counts = Counts(BYTES)
    counts.add(b"ab")
    assert {row["stderr"] for row in counts.rows()} == {None}


def document(text: bytes, **row: object) -> Document:
    return Document("1", text, "x:1", row=row)


def test_documents_in_either_form_and_rows_of_sample() -> None:
    target = load_target("words")
    rows: dict[str, object] = {
        "start": "3",
        "units": 2,
        "logp": None,
        "cut": "true",
        "way": "cover",
    }
    counts = Counts(target.units, ends=True)
    add_document(counts, target, document(b"It is."), "source")
    add_document(counts, target, document(b"It[SEP]is"), "target")
    add_document(counts, target, document(b"It[SEP]was[SEP]", **rows), "target")
    found = {row["unit"]: row["count"] for row in counts.rows()}
    assert found == {"It": 2, "is": 2, "was": 1, ".": 1, "⊥": 2}
    with pytest.raises(UsageError, match="--given target"):
        add_document(counts, target, document(b"It", **rows), "source")
    for wrong in ({"start": "x"}, {"cut": "perhaps"}):
        with pytest.raises(InputError, match="x:1: expected a whole number under start"):
            add_document(counts, target, document(b"It", **rows | wrong), "target")


def test_bad_input() -> None:
    with pytest.raises(UsageError, match="--ngram must be at least 1, not 0"):
        Counts(BYTES, 0)
    counts = Counts(BYTES, 3)
    counts.add(b"ab")
    with pytest.raises(InputError, match="sequences of 3 units"):
        counts.require_some()
    with pytest.raises(InputError, match="found none"):
        Counts(BYTES).require_some()
    with pytest.raises(InputError, match="x:1"):
        add_document(counts, fst_target(ONLY_A, "only a"), document(b"ab"), "source")
