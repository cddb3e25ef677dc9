"""Two outputs of one corpus: matching, totals, and the difference a unit."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from lmfst.ground.errors import InputError
from lmfst.report import findings
from lmfst.report.findings import Versus
from tests.report.test_page import made
from tests.support.outputs import Row, document, write, write_manifest

Units = list[tuple[str, float]]


def both(tmp_path: Path, first: list[Row], second: list[Row]) -> tuple[Path, Path]:
    return write(tmp_path / "one.tsv", first), write(tmp_path / "two.jsonl", second)


def versus(*paths: Path) -> Versus:
    found = findings([*map(str, paths)], None, print).versus
    assert found is not None
    return found


def units(*bits: float) -> Units:
    return [(f"u{at}", value) for at, value in enumerate(bits)]


FIRST = [*document("a", units(1, 2, 3)), *document("b", units(4, 4)), *document("c", units(1))]
SECOND = [*document("a", units(2, 1, 5)), *document("b", units(1, 4)), *document("d", units(1))]


def test_totals_and_where_either_is_better(tmp_path: Path) -> None:
    found = versus(*both(tmp_path, FIRST, SECOND))
    assert found.pairs.by == "id" and found.pairs.alone == (1, 1)
    said = found.verdict
    # a: 7 and 9 bits; b: 9 and 6 bits.
    assert said.documents == 2
    assert said.bits == pytest.approx((16.0, 15.0)) and said.difference == pytest.approx(-1.0)
    # Differences 2 and -3: their standard deviation is 5 / sqrt(2), and that of the sum 5.
    assert said.error == pytest.approx(5.0)
    assert said.better == (1, 1)
    assert found.units is not None
    assert found.units.units == 5 and found.units.better == (2, 2)
    assert [(u.id, u.text, u.value) for u in found.units.first.found()] == [
        ("a", "u2", pytest.approx(2.0)),
        ("a", "u0", pytest.approx(1.0)),
    ]
    assert [(u.id, u.text, u.value) for u in found.units.second.found()] == [
        ("b", "u0", pytest.approx(3.0)),
        ("a", "u1", pytest.approx(1.0)),
    ]


def test_the_page_says_which_is_better_and_where(tmp_path: Path) -> None:
    paths = both(tmp_path, FIRST, SECOND)
    found = made(*paths)
    assert (
        "Which is better: B two.jsonl gives the higher probability to the 2 documents that both"
        in found.short
    )
    assert "by 1.00 bits, 0.2000 bits per symbol, in all (A 16.00, B 15.00 bits)" in found.short
    assert "its standard error is 5.00 bits, so it is no more than twice that" in found.short
    assert "A is better in 1 documents, B in 1; 0 are equal" in found.short
    assert "B gains most in document b at “u0” (3.00 bits)" in found.short
    rows = found.table("2 documents are in both, matched by id")
    assert rows["A one.tsv"] == ["16.00", "1", "2", "1"]
    assert rows["B two.jsonl"] == ["15.00", "1", "2", "1"]
    assert found.table("Documents in which either")["b"] == ["9.00", "6.00", "−3.00", "B"]
    docs = {doc["label"]: doc for doc in found.data["docs"]}
    assert docs["a"]["b"] == [1, 2, 3, 1] and docs["a"]["b2"] == [2, 1, 5, 1]
    assert docs["a"]["u"] == ["u0", "u1", "u2", "⊥"] and "u2" not in docs["a"]
    assert "b2" not in docs["c"] and "B lacks this document" in docs["c"]["about"]
    assert made(paths[0]).table("Documents by bits")["1. b"][0] == "2"


def test_documents_are_matched_by_their_place_before_their_id(tmp_path: Path) -> None:
    first = [
        *document("x", units(1), place=("f", 1)),
        *document("x", units(2), place=("f", 2)),
    ]
    second = [
        *document("y", units(5), place=("f", 2)),
        *document("y", units(7), place=("g", 1)),
    ]
    found = versus(*both(tmp_path, first, second))
    assert found.pairs.by == "file and line"
    assert found.verdict.bits == pytest.approx((3.0, 6.0))
    # Other names of the same files: then ids count.
    renamed = [{**row, "file": f"/{row['file']}"} for row in first]
    found = versus(*both(tmp_path, first, renamed))
    assert found.pairs.by == "id" and found.verdict.documents == 2


def test_of_documents_with_one_id_the_first_goes_with_the_first(tmp_path: Path) -> None:
    first = [*document("x", units(1)), *document("x", units(2)), *document("x", units(3))]
    second = [*document("x", units(1)), *document("x", units(2))]
    found = versus(*both(tmp_path, first, second))
    assert found.pairs.first.tolist() == [0, 1] and found.pairs.second.tolist() == [0, 1]
    assert found.verdict.difference == pytest.approx(0.0)
    assert "neither" in made(*both(tmp_path, first[:2], second[:2])).short


def test_documents_in_another_order_are_compared_as_a_whole(tmp_path: Path) -> None:
    first = [*document("a", units(1, 2)), *document("b", units(3))]
    second = [*document("b", units(5)), *document("a", units(1, 1))]
    paths = both(tmp_path, first, second)
    found = versus(*paths)
    assert found.verdict.better == (1, 1) and found.units is None
    shown = made(*paths)
    assert "The documents come in another order" in shown.text
    assert {doc["label"]: doc["b2"] for doc in shown.data["docs"]} == {
        "a": [1, 1, 1],
        "b": [5, 1],
    }


def test_other_units_are_not_compared(tmp_path: Path) -> None:
    first = document("a", [("x", 1.0), ("y", 1.0)])
    second = document("a", [("xy", 1.5)], sizes=[2])
    paths = both(tmp_path, first, second)
    write_manifest(paths[0], to="bytes")
    write_manifest(paths[1], to="words")
    found = versus(*paths)
    assert found.units is None and found.verdict.difference == pytest.approx(-0.5)
    shown = made(*paths)
    assert "The two outputs have different units" in shown.text
    assert shown.data["docs"][0]["u2"] == ["xy", "⊥"]
    assert "bytes of the text" in shown.short and "Penn Treebank" in shown.short
    assert shown.table("Options and files")["to (differs)"] == ["bytes", "words"]


def test_some_documents_with_other_units_are_left_out(tmp_path: Path) -> None:
    first = [*document("a", units(1)), *document("b", [("x", 1.0)]), *document("c", units(2))]
    second = [*document("a", units(3)), *document("b", [("y", 9.0)]), *document("c", units(2))]
    paths = both(tmp_path, first, second)
    found = versus(*paths)
    assert found.units is not None
    assert found.units.units == 2 and found.units.better == (1, 0)
    assert "1 documents have other units in B" in made(*paths).text


def test_probability_zero_is_counted_apart(tmp_path: Path) -> None:
    no = math.inf
    first = [
        *document("a", units(1)),
        *document("b", units(no), no),
        *document("c", units(no), no),
    ]
    second = [*document("a", units(3)), *document("b", units(2)), *document("c", units(no), no)]
    paths = both(tmp_path, first, second)
    found = versus(*paths)
    assert found.verdict.impossible == (1, 0, 1)
    assert found.verdict.bits == pytest.approx((2.0, 4.0))
    assert found.verdict.better == (1, 1) and found.verdict.error is None
    assert found.units is not None and found.units.second.found()[0].value == no
    said = made(*paths).short
    assert "Which is better: B two.jsonl, in that it gives fewer documents the prob" in said
    assert "to which both give some: A 2.00, B 4.00 bits." in said
    assert "1 documents to which A alone gives probability 0" in said


def test_a_difference_below_what_is_missing_is_said(tmp_path: Path) -> None:
    first = document("a", units(1, 2), missing=[3.0])
    second = document("a", units(1, 3))
    said = made(*both(tmp_path, first, second)).short
    assert "It is no more than what both lack by estimate" in said


def test_outputs_without_a_shared_document_are_an_error(tmp_path: Path) -> None:
    paths = both(tmp_path, document("a", units(1)), document("b", units(1)))
    with pytest.raises(InputError) as error:
        versus(*paths)
    assert "found no document that both have" in str(error.value)
    assert "one.tsv" in str(error.value) and "two.jsonl" in str(error.value)


def test_long_documents_are_shown_at_the_same_place(tmp_path: Path) -> None:
    bits = [1.0] * 20_000
    first, second = units(*bits), units(*bits)
    first[15_000] = (first[15_000][0], 9.0)
    second[100] = (second[100][0], 9.5)
    found = made(*both(tmp_path, document("a", first), document("a", second)))
    (doc,) = found.data["docs"]
    assert doc["begin"] == 11_000 and len(doc["u"]) == len(doc["b"]) == len(doc["b2"]) == 8000
    assert max(doc["b"]) == 9.0 and max(doc["b2"]) == 1.0


def test_the_document_that_differs_most_is_shown_first(tmp_path: Path) -> None:
    first = [row for at in range(4) for row in document(f"d{at}", [("x", 9.0 - at)])]
    second = [row for at in range(4) for row in document(f"d{at}", [("x", 9.0 + at)])]
    found = made(*both(tmp_path, first, second))
    assert [doc["label"] for doc in found.data["docs"]] == ["d3", "d2", "d1", "d0"]


def test_what_the_second_output_says_is_linked_to_its_documents(tmp_path: Path) -> None:
    ids = [f"d{at}" for at in range(300)]
    first = [row for id in ids for row in document(id, units(5))]
    # In reverse order, and with other units: that which lacks most is d150.
    second = [
        row
        for id in reversed(ids)
        for row in document(id, [("v", 5.0), ("w", 0.5)], missing=[0.5 if id == "d150" else 0.01])
    ]
    found = made(*both(tmp_path, first, second))
    assert "Most is missing in document d150: 0.5 nats" in found.short
    shown = [doc["label"] for doc in found.data["docs"]]
    assert "d150" in shown
    buttons = [value for _, name, value in found.attributes if name == "data-doc"]
    assert buttons and all(int(value) < len(shown) for value in buttons)
    assert ("button", "data-of", "2") in found.attributes
    heads = next(rows[0] for name, rows in found.tables.items() if name.startswith("Documents by"))
    assert heads[1:5] == ["A, symbols", "A, bits", "B, bits", "B − A"]


def test_other_units_are_no_proof_of_the_same_texts(tmp_path: Path) -> None:
    found = made(*both(tmp_path, FIRST, [*document("a", units(2, 1)), *document("b", units(1, 4))]))
    caution = (
        "1 of these documents, matched by id, have other units in B: their bits can be compared"
    )
    assert caution in found.short
    assert "other units" not in made(*both(tmp_path, FIRST, FIRST[:4])).short


def test_units_of_both_are_named_where_nothing_says_what_they_are(tmp_path: Path) -> None:
    words = [*document("a", [("uu", 3.0)]), *document("b", [("uuu", 3.0)])]
    found = made(*both(tmp_path, FIRST, words))
    assert "A what they are isn't recorded" in found.short
    assert "B what they are isn't recorded" in found.short
    assert "B what they are" not in made(*both(tmp_path, FIRST, FIRST)).short


def test_tiny_differences_are_not_written_as_zero(tmp_path: Path) -> None:
    second = [*document("a", units(1.0004, 2, 3)), *document("b", units(4, 4))]
    found = made(*both(tmp_path, FIRST, second))
    assert "A one.tsv gives the higher probability" in found.short
    assert "by 0.0004 bits, 0.0001 bits per symbol, in all" in found.short
    assert found.table("Documents in which either")["a"][2:] == ["+0.0004", "A"]


def test_rounding_makes_neither_better(tmp_path: Path) -> None:
    second = [row | {"logp": row["logp"] - 1e-9} for row in FIRST]
    found = made(*both(tmp_path, FIRST, second))
    assert "neither: both give each document that they share the same probability" in found.short
    assert "Documents in which either" not in str(list(found.tables))


def test_a_difference_without_end_has_a_sign(tmp_path: Path) -> None:
    zero = document("a", [("u0", math.inf)], math.inf)
    first = [*zero, *document("b", units(1))]
    second = [*document("a", units(1)), *document("b", [("u0", math.inf)], math.inf)]
    found = made(*both(tmp_path, first, second))
    rows = found.table("Documents in which either")
    assert rows["a"] == ["∞", "2.00", "−∞", "B"] and rows["b"] == ["2.00", "∞", "+∞", "A"]
