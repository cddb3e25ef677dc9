"""The page: its numbers by hand, what it says of them, and that data stay text."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmfst.ground.errors import InputError
from lmfst.io import open_rows
from lmfst.report import findings, page
from lmfst.scored.records import TEXT_COLUMNS, UNIT_COLUMNS
from tests.support.cli import environment
from tests.support.outputs import Page, Row, document, write, write_manifest

A = document("a", [("x", 1.0), ("y", 2.0)], missing=[0.1, 0.0, 0.05])
B = document("b", [("z", 3.0)], 0.5)


def made(*paths: Path, texts: Path | None = None, said: list[str] | None = None) -> Page:
    """The page of outputs. said: gets the warnings; None: there must be none."""
    heard: list[str] = []
    found = findings([*map(str, paths)], None if texts is None else str(texts), heard.append)
    data = page(found)
    if said is None:
        assert not heard
    else:
        said += heard
    assert len(data) < 5_000_000
    return Page(data.decode())


def test_totals_are_those_by_hand(tmp_path: Path) -> None:
    found = made(write(tmp_path / "o.tsv", [*A, *B])).table("Totals of o.tsv: 2 documents, 3 units")
    assert found["Sum"] == ["with the ends ⊥", "without ⊥"]
    assert found["Rows"] == ["5", "3"]
    assert found["Bits"] == ["7.50", "6.00"]
    assert found["log-probability, nats"] == ["−5.20", "−4.16"]
    assert found["Bits per symbol"] == ["2.5000", "2.0000"]
    assert found["Bits per byte of the source"] == ["not known", "not known"]
    # 2^(7.5/5) and 2^(6/3).
    assert found["Perplexity per unit"] == ["2.83", "4.00"]
    assert found["Missing by estimate, nats"] == ["0.15", ""]


def test_units_of_several_symbols_count_as_one(tmp_path: Path) -> None:
    rows = document("a", [("ab", 4.0), ("c", 2.0)], 0.0, sizes=[3, 1])
    found = made(write(tmp_path / "o.jsonl", rows))
    totals = found.table("Totals")
    assert totals["Bits per symbol"] == ["1.5000", "1.5000"]
    assert totals["Perplexity per unit"] == ["4.00", "8.00"]
    assert found.data["grouped"] == [True]
    # White space of their own keeps units apart.
    spaced = document("a", [("ab ", 4.0), ("c", 2.0)], 0.0, sizes=[3, 1])
    assert made(write(tmp_path / "o.jsonl", spaced)).data["grouped"] == [False]


def test_documents_are_ranked_by_bits_per_symbol(tmp_path: Path) -> None:
    empty = document("nothing", [], 9.0)
    found = made(write(tmp_path / "o.tsv", [*empty, *A, *B]))
    rows = found.table("Documents by bits per symbol")
    assert list(rows)[1:] == ["1. b", "2. a", "3. nothing"]
    assert rows["1. b"] == ["1", "3.50", "3.500", "0", "“z”", "3.00"]
    assert rows["2. a"] == ["2", "4.00", "2.000", "0.15", "“y”", "2.00"]
    assert rows["3. nothing"] == ["0", "9.00", "—", "0", "—", "—"]
    assert "Most surprising document: b, with 3.500 bits per symbol. " in found.short
    assert "The most surprising unit in it is “z” (unit 1 of 1), with 3.00 bits: z" in found.short
    assert [doc["label"] for doc in found.data["docs"]] == ["b", "a", "nothing"]
    assert found.data["docs"][1]["u"] == ["x", "y", "⊥"]
    assert found.data["docs"][1]["b"] == [1.0, 2.0, 1.0]
    assert found.data["docs"][1]["m"] == [0.1, 0, 0.05]


def test_the_most_surprising_units_stand_in_their_place(tmp_path: Path) -> None:
    units = [(f"u{at}", at / 10) for at in range(100)]
    found = made(write(tmp_path / "o.tsv", document("d", units)))
    (rows,) = (rows for name, rows in found.tables.items() if name == "Most surprising units")
    assert len(rows) == 51
    assert rows[1] == ["u99", "".join(f"u{at}" for at in range(87, 100)), "d, unit 100", "9.90"]
    assert rows[50][0] == "u50" and rows[50][1].endswith("u50u51u52u53u54u55u56")


def test_the_distribution_counts_units_without_ends(tmp_path: Path) -> None:
    units = [("x", 0.1)] * 510 + [("y", 1.1)] * 480 + [("z", 20.3)] * 10 + [("w", math.inf)]
    found = made(write(tmp_path / "o.tsv", document("d", units, math.inf)))
    rows = {row[0]: row[1] for row in found.tables["Units by surprisal"][1:]}
    assert sum(int(count) for count in rows.values()) == 1001
    assert rows["0 to 1"] == "510" and rows["1 to 2"] == "480" and rows["20 to 21"] == "10"
    assert rows["21 and more"] == "1"
    quantiles = found.table("Surprisal of units")
    # Up to the width of a fine bin, a twentieth of a bit.
    assert float(quantiles["50% of the units have less than"][0]) == pytest.approx(0.15, abs=0.051)
    assert float(quantiles["90% of the units have less than"][0]) == pytest.approx(1.15, abs=0.051)
    bars = [name for tag, key, name in found.attributes if tag == "rect" and key == "height"]
    assert len(bars) == 21 and float(bars[1]) / float(bars[0]) == pytest.approx(480 / 510, abs=0.01)


def test_probability_zero_is_said(tmp_path: Path) -> None:
    impossible = document("no", [("q", math.inf), ("r", math.inf)], math.inf)
    found = made(write(tmp_path / "o.tsv", [*A, *impossible]))
    assert "1 documents have probability 0" in found.short
    assert found.table("Totals")["Bits"] == ["∞", "∞"]
    assert found.table("Totals")["log-probability, nats"] == ["−∞", "−∞"]
    assert "Most surprising document: no, with ∞ bits per symbol" in found.short
    # What follows a unit of probability zero isn't surprising any more.
    names = [row[0] for row in found.tables["Most surprising units"]]
    assert names == ["Unit", "q", "y", "x"]
    assert found.data["docs"][0]["b"] == [None, None, None]
    # Of the others: 4 bits of 2 symbols, in 3 rows.
    others = "Over the other 1: 2.000 bits per symbol; perplexity 2.52 per unit."
    assert others in found.short
    assert "Over the other" not in made(write(tmp_path / "o.tsv", impossible)).short


def test_estimates_above_one_keep_their_sign(tmp_path: Path) -> None:
    found = made(write(tmp_path / "o.tsv", document("d", [("x", -0.25), ("y", 1.0)])))
    assert found.data["docs"][0]["b"] == [-0.25, 1.0, 1.0]
    assert found.table("Totals")["Bits"] == ["1.75", "0.75"]


def test_an_output_that_a_job_is_at_work_on(tmp_path: Path) -> None:
    out, said = tmp_path / "o.tsv", list[str]()
    (tmp_path / "o.tsv.work").mkdir()
    with pytest.raises(InputError, match="found the work of a job that isn't done") as caught:
        made(out)
    assert "the same lmfst score goes on" in caught.value.hint
    assert made(write(out, A), said=said).table("Totals")["Bits"] == ["4.00", "3.00"]
    assert len(said) == 1 and "a job is at work on it" in said[0]
    (tmp_path / "o.tsv.work").rmdir()
    write_manifest(out)
    out.unlink()
    with pytest.raises(InputError, match="found no such file"):
        made(out)


def test_what_is_missing_says_how_sure_numbers_are(tmp_path: Path) -> None:
    sure = made(write(tmp_path / "o.tsv", B))
    assert "nothing is missing: the sums are complete" in sure.short
    lacking = made(write(tmp_path / "o.tsv", [*A, *B]))
    # 0.15 nats are 0.216 bits, 0.029 of 7.5.
    assert "by estimate the total is 0.216 bits too high (0.029 of it)" in lacking.short
    assert "Most is missing in document a: 0.15 nats, 0.216 of its 4.00 bits" in lacking.short
    sampled = made(write(tmp_path / "o.tsv", document("s", [("x", 1.0)], missing=None)))
    assert "estimates by sampling, or given that a string is accepted" in sampled.short
    assert sampled.table("Totals")["Missing by estimate, nats"] == ["no estimate", ""]
    mixed = [*B, *document("s", [("x", 1.0)], missing=None)]
    assert "1 documents have no such estimate" in made(write(tmp_path / "o.tsv", mixed)).short
    all_lost = made(write(tmp_path / "o.tsv", document("l", [("x", 1.0)], missing=[math.inf])))
    assert "by estimate the total is ∞ bits too high" in all_lost.short


def test_the_manifest_says_what_units_are_and_what_made_them(tmp_path: Path) -> None:
    path = write(tmp_path / "o.tsv", [*A, *B])
    write_manifest(path, rejected=3, to="words:ANY", seed=0, guide=None, columns=["id"])
    found = made(path)
    assert "words as the Penn Treebank splits them (--to words:ANY)" in found.short
    assert found.table("Options and files")["seed"] == ["0"]
    assert found.table("Options and files")["inputs"] == ["corpus.txt"]
    assert "guide" not in found.table("Options and files")
    assert "columns" not in found.table("Options and files")
    assert any("3 records were rejected" in caption for caption in found.tables)
    write_manifest(path, to="my.grm")
    assert "Units: units of the target my.grm" in made(path).short


@pytest.mark.parametrize(
    ("to", "units", "size"),
    [
        ("bytes", ["a", "\\xc3", "\\xa9", "\\\\"], 4),
        ("chars", ["a", "é", "\\\\", "\\x0a", "\\u2028", "\\xff", "€"], 1 + 2 + 1 + 1 + 3 + 1 + 3),
        ("chars", ["\\x85"], None),
        ("chars", ["\\\\", "x", "8"], 3),
        ("words", ["a"], None),
    ],
)
def test_bytes_of_the_source(tmp_path: Path, to: str, units: list[str], size: int | None) -> None:
    path = write(tmp_path / "o.jsonl", document("a", [(unit, 2.0) for unit in units], 2.0))
    write_manifest(path, to=to)
    (rate, _) = made(path).table("Totals")["Bits per byte of the source"]
    expected = "not known" if size is None else f"{2 * (len(units) + 1) / size:.4f}"
    assert rate == expected


def test_without_a_manifest_the_page_says_so(tmp_path: Path) -> None:
    found = made(write(tmp_path / "o.tsv", [*A, *B]))
    assert "what they are isn't recorded with this output" in found.short
    assert "There are 3 different ones, the most frequent “x”, “y”, “z”" in found.short


def test_a_manifest_of_another_output_is_left_out_with_a_warning(tmp_path: Path) -> None:
    path, said = write(tmp_path / "o.tsv", A), list[str]()
    write_manifest(path)
    write(path, [*A, *B])
    assert "isn't recorded" in made(path, said=said).short
    assert len(said) == 1 and "is the manifest of another output" in said[0]
    Path(f"{path}.manifest.json").write_text("{}")
    assert made(path, said=said).table("Totals")
    assert "can't be read as the manifest" in said[1]


def test_what_other_tokenizations_add(tmp_path: Path) -> None:
    path = write(tmp_path / "o.tsv", [*A, *B])
    ln2 = math.log(2.0)
    rows: list[Row] = [
        {"id": "a", "units": 2, "symbols": 2, "logp": -4 * ln2, "canonical": -5.5 * ln2},
        {"id": "b", "units": 1, "symbols": 1, "logp": -3.5 * ln2, "canonical": None},
    ]
    texts = write(tmp_path / "t.tsv", rows, TEXT_COLUMNS)
    found = made(path, texts=texts)
    table = found.table("Tokenizations, in bits, over 1 documents")
    assert table["Sum over all tokenizations"] == ["4.00"]
    assert table["The tokenizer's own tokens alone"] == ["5.50"]
    assert table["What the others add to the log-probability"] == ["1.50"]
    assert "Tokenizations" not in made(path).text
    write(texts, rows[:1], TEXT_COLUMNS)
    with pytest.raises(InputError, match=r"expected the texts of o\.tsv, 2 documents of 3 symbols"):
        made(path, texts=texts)
    with pytest.raises(InputError, match="expected rows of level text"):
        made(path, texts=path)


def test_standard_errors_of_estimates(tmp_path: Path) -> None:
    path = write(tmp_path / "o.tsv", document("s", [("x", 1.0)], missing=None))
    row = {"id": "s", "units": 1, "symbols": 1, "logp": -2 * math.log(2.0), "stderr": 0.5}
    found = made(path, texts=write(tmp_path / "t.jsonl", [row], TEXT_COLUMNS))
    assert "The standard error of the total is 0.721 bits" in found.short
    assert "no canonical log-probability" in found.text


NASTY = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"><svg onload='alert(1)'>",
    "&lt;b&gt; & &amp;",
    "]]> --> <!--",
    "\\u2028\\u2029",
    "${alert(1)} {{7*7}} `x`",
    "javascript:alert(1)",
]


@pytest.mark.parametrize(
    "nasty", [*NASTY, "\0\x07\x1b[31m", "\u2028\u2029", "\ud800", "a\r\nb", "\u202egnp.exe"]
)
def test_data_are_text(tmp_path: Path, nasty: str) -> None:
    tame = made(write(tmp_path / "o.jsonl", document("id", [("unit", 5.0), ("x", 1.0)])))
    folder = tmp_path / "n"
    folder.mkdir()
    rows = document(nasty, [(nasty, 5.0), ("x", 1.0)], place=(nasty, 1))
    path = folder / "o.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_manifest(path, to="my<b>.fst", model=nasty)
    said: list[str] = []
    found = made(path, said=said)
    assert not said
    # The elements are those of a page without anything in it, but for the manifest's table.
    for name in ("script", "style", "img", "svg", "b", "iframe", "a"):
        assert found.tags.count(name) == tame.tags.count(name), name
    assert not [name for _, name, _ in found.attributes if name.startswith("on")]
    assert not [value for _, name, value in found.attributes if name == "href" and value[0] != "#"]
    shown = found.data["docs"][0]["u"][0]
    if nasty in NASTY:
        assert shown == nasty
        assert f"“{nasty}”" in found.short and nasty in found.table("Options and files")["model"]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e\ud800-\udfff]", found.text)
    policy = next(value for _, name, value in found.attributes if name == "content")
    assert "default-src 'none'" in policy and "unsafe" not in policy


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    found = made(write(tmp_path / "o.tsv", A))
    outside = {"src", "srcset", "action", "data", "poster", "background"}
    assert not [name for _, name, _ in found.attributes if name in outside]
    assert "http://www.w3.org/2000/svg" in found.text
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\(|fetch\(", found.text)
    assert "innerHTML" not in found.text and "eval(" not in found.text


def test_tables_can_be_read_aloud(tmp_path: Path) -> None:
    found = made(write(tmp_path / "o.tsv", [*A, *B]))
    assert found.tags.count("table") == found.tags.count("caption") == len(found.tables)
    assert {*found.scopes} == {"col", "row"}
    regions = [value for tag, name, value in found.attributes if (tag, name) == ("div", "tabindex")]
    assert regions == ["0"] * found.tags.count("table")
    labels = [
        value for tag, name, value in found.attributes if (tag, name) == ("svg", "aria-label")
    ]
    assert len(labels) == found.tags.count("svg") and all(labels)
    ids = [value for _, name, value in found.attributes if name == "id"]
    assert len(ids) == len({*ids})
    links = [value[1:] for tag, name, value in found.attributes if (tag, name) == ("a", "href")]
    assert {*links} <= {*ids}


def _many(documents: int, units: int) -> Iterator[Row]:
    for number in range(documents):
        id = f"document {number} " + "<" * 50
        for at in range(units + 1):
            bits = (number * 31 + at * 17) % 97 / 7.0
            yield {
                "id": id,
                "index": at,
                "unit": "⊥" if at == units else f"<unit{at % 1000}&",
                "start": at,
                "end": min(at + 1, units),
                "logp": -bits * math.log(2.0),
                "surprisal": bits,
                "missing": 1e-5,
            }


@pytest.mark.slow
@pytest.mark.parametrize(("documents", "units"), [(30_000, 9), (3, 99_999)])
def test_large_outputs_are_summarised(tmp_path: Path, documents: int, units: int) -> None:
    path = tmp_path / "o.tsv"
    with open_rows(str(path), "tsv", UNIT_COLUMNS, escaped=("unit",)) as writer:
        for row in _many(documents, units):
            writer.write(row)
    began = time.process_time()
    found = made(path)
    assert time.process_time() - began < 60
    assert found.table("Totals")["Rows"] == [f"{300_000:,}", f"{documents * units:,}"]
    shown = found.data["docs"]
    if documents > 40:
        # The one that lacks most may be another one.
        assert len(shown) in (40, 41)
        assert f"{len(shown)} of 30,000 documents are shown: the 20 with most bits" in found.text
        ranks = [
            int(name.split(".")[0].replace(",", ""))
            for name in list(found.table("Documents by bits"))[1:]
        ]
        assert ranks[:20] == list(range(1, 21)) and 30_000 in ranks
    else:
        assert [len(doc["u"]) for doc in shown] == [8000] * 3
        for doc in shown:
            assert max(doc["b"]) == pytest.approx(96 / 7, abs=0.01)


def test_long_texts_are_cut(tmp_path: Path) -> None:
    rows = document("i" * 100_000, [("w" * 100_000, 1.0 + at) for at in range(60)])
    found = made(write(tmp_path / "o.jsonl", rows))
    assert len(found.text) < 400_000
    assert len(found.data["docs"][0]["u"][0]) == 200


def _peak(path: Path) -> int:
    """Bytes that a process has at most, which makes a page."""
    code = (
        "import resource, sys; from lmfst.report import findings, page\n"
        "page(findings(sys.argv[1:], None, print))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)"
    )
    run = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(run, env=environment(), capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.slow
def test_memory_does_not_grow_with_rows(tmp_path: Path) -> None:
    paths = []
    for documents in (50, 5000):
        paths.append(tmp_path / f"{documents}.tsv")
        with open_rows(str(paths[-1]), "tsv", UNIT_COLUMNS, escaped=("unit",)) as writer:
            for row in _many(documents, 39):
                writer.write(row)
    small, large = map(_peak, paths)
    assert paths[1].stat().st_size > 20_000_000
    assert large - small < 12_000_000


def test_units_of_probability_zero_count_in_the_distribution(tmp_path: Path) -> None:
    units = [("x", 0.12)] * 60 + [("y", 1.12)] * 35 + [("z", math.inf)] * 5
    quantiles = made(write(tmp_path / "o.tsv", document("d", units, math.inf)))
    found = quantiles.table("Surprisal of units")
    assert found["50% of the units have less than"] == ["0.15"]
    assert found["90% of the units have less than"] == ["1.15"]
    assert found["99% of the units have less than"] == ["∞"]


def test_long_units_leave_no_document_without_its_own(tmp_path: Path) -> None:
    rows = [
        row
        for at in range(60)
        for row in document(f"d{at}", [("<" * 300 + str(n), n / 10) for n in range(150)])
    ]
    found = made(write(tmp_path / "o.jsonl", rows))
    sizes = [len(doc["u"]) for doc in found.data["docs"]]
    assert len(sizes) == 40 and min(sizes) > 50
    # The most surprising unit is among those that are shown.
    assert all(max(doc["b"]) == 14.9 for doc in found.data["docs"])


def test_a_document_without_an_id_can_be_gone_to(tmp_path: Path) -> None:
    found = made(write(tmp_path / "o.tsv", [*A, *document("", [("x", 9.0)], place=None)]))
    assert "Most surprising document: ∅, with 10.000 bits per symbol" in found.short
    assert found.data["docs"][0]["label"] == "∅"
    assert "1. ∅" in found.table("Documents by bits per symbol")
