"""Letters in a case that the model doesn't write: read as those that it writes, and counted."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lmfst.cli import app
from lmfst.fst import Fst, Symbols
from lmfst.generate.next_units import following
from lmfst.ground.errors import InputError
from lmfst.inference.policy import Beam, Exact, Policy
from lmfst.inference.sampling import Sample
from lmfst.model import TransducedLM
from lmfst.target.case import Case
from lmfst.target.load import fst_target
from tests.support.oracle import TableLM, make_vocab
from tests.support.tiny import letter_bigram
from tests.target.test_unknown import bases, document, scored, target


def lm_over(tokens: list[bytes]) -> TableLM:
    return TableLM(make_vocab(tokens), order=2, depth=9, seed=3, merges=True)


@pytest.mark.parametrize("policy", [Exact(), Beam(size=10**6, threshold=0.0)])
@pytest.mark.parametrize("sequence", [True, False])
@pytest.mark.parametrize("to", ["bytes", "chars", "rna"])
def test_bases_in_source_form(to: str, sequence: bool, policy: Policy) -> None:
    warnings: list[str] = []
    lm = bases(to, policy, warnings)
    documents = [document(text, sequence=sequence) for text in ("ACGT", "acGT", "acgt")]
    upper, *others = lm.score_documents(documents)
    assert upper.logp > -math.inf
    for found in others:
        assert (found.logp, found.target) == (upper.logp, upper.target)
        assert found.canonical == upper.canonical
    (said,) = warnings
    assert said.startswith(
        "6 letters of 2 documents, the first of them p.fa:1: record 'a' are read"
    )
    assert "upper case, the only one in which the model writes letters" in said


@pytest.mark.parametrize("to", ["bytes", "chars", "rna"])
@pytest.mark.parametrize("given", ["source", "target"])
def test_bases_that_are_not_known_in_lower_case(to: str, given: str) -> None:
    lm = bases(to, Exact(), tokens=[b"A", b"C", b"G", b"T", b"AC", b"GTA"])
    expected = scored(lm, "ANCY", given=given).logp
    assert expected > -math.inf
    for text in ("ancy", "AnCy", "aNCY"):
        assert scored(lm, text, given=given).logp == expected


@pytest.mark.parametrize("text", ["MxK", "mXk", "bzj", "Mb*"])
def test_residues_are_folded_one_by_one(text: str) -> None:
    lm = bases("amino", Exact())
    assert scored(lm, text).logp == scored(lm, text.upper()).logp > -math.inf
    with pytest.raises(
        InputError, match=r"position 2 is 'X' \(letters are read in upper case\), which"
    ):
        scored(lm, "Mx*", "auto")
    with pytest.raises(InputError, match="position 3 is 'O'"):
        scored(lm, "mko", "any")
    with pytest.raises(InputError, match="position 3 is '-'"):
        scored(lm, "mk-", "error")


@pytest.mark.parametrize("unknown", ["auto", "report", "error", "skip", "any"])
def test_lines_of_residues_are_folded_too(unknown: str) -> None:
    warnings: list[str] = []
    lm = bases("amino", Exact(), warnings)
    documents = [document("mK", sequence=False)]
    (found,) = lm.score_documents(documents, given="target", unknown=unknown)  # type: ignore[arg-type]
    assert found.logp == lm.logp("MK") > -math.inf
    assert [row["unit"] for row in found.unit_rows()] == ["M", "K", "⊥"]
    assert warnings == [
        "1 letter of p.fa:1: record 'a' is read in upper case, the only one in which the model "
        "under amino writes letters"
    ]


def test_functions_that_read_both_cases_get_the_text_as_it_is() -> None:
    warnings: list[str] = []
    lm = bases("amino", Exact(), warnings)
    (found,) = lm.score(["atgGCc"])
    assert found.logp == lm.logp("MA") and warnings == []


def test_models_of_both_cases_are_not_folded() -> None:
    warnings: list[str] = []
    lm = TransducedLM(lm_over([b"A", b"c", b"G"]), target("bytes"), Exact(), warn=warnings.append)
    found = lm.score(["Ac", "AC"])
    assert found[0].logp > -math.inf and found[1].logp == -math.inf
    (said,) = warnings
    assert "the model can't produce 'C'" in said


def test_models_of_lower_case() -> None:
    warnings: list[str] = []
    model = TransducedLM(
        lm_over([b"a", b"b", b"!"]), target("chars"), Exact(), warn=warnings.append
    )
    for given in ("source", "target"):
        one, other = model.score(["aB!", "ab!"], given=given)  # type: ignore[arg-type]
        assert one.logp == other.logp > -math.inf
    assert all("1 letter of text 1 is read in lower case" in said for said in warnings)


def test_names_of_a_table() -> None:
    symbols = Symbols(kind="symbols", names={300: "HH", 301: "AH0", 302: "hh"})
    arcs = [(0, ord("a"), 300, 0), (0, ord("b"), 301, 0)]
    fst = fst_target(Fst.from_arcs(arcs, 0, [0], symbols=symbols), "table")
    warnings: list[str] = []
    model = TransducedLM(lm_over([b"a", b"b"]), fst, Exact(), warn=warnings.append)
    one, other = model.score(["HH ah0", "HH AH0"], given="target")
    assert one.logp == other.logp > -math.inf
    (said,) = warnings
    assert said.startswith("1 letter of text 1")
    with pytest.raises(InputError, match="'Ah0x' is no symbol"):
        model.score(["HH Ah0x"], given="target")


def test_capitals_beyond_ascii() -> None:
    arcs = [(0, ord("a"), 0x3B1, 0), (0, ord("b"), 0x3B2, 0)]
    symbols = Symbols(kind="unicode")
    fst = fst_target(Fst.from_arcs(arcs, 0, [0], symbols=symbols), "greek")
    model = TransducedLM(lm_over([b"a", b"b"]), fst, Exact(), warn=lambda message: None)
    one, other = model.score(["Αβ", "αβ"], given="target")
    assert one.logp == other.logp > -math.inf


def test_one_warning_even_if_an_error_follows() -> None:
    warnings: list[str] = []
    lm = bases("amino", Exact(), warnings)
    documents = [document("mk"), document("Mj"), document("mo")]
    with pytest.raises(InputError, match="position 2 is 'O'"):
        list(lm.score_documents(documents, given="target", unknown="any"))
    (said,) = warnings
    assert said.startswith("3 letters of 2 documents")


def test_over_a_domain() -> None:
    lm = bases("amino", Exact(), tokens=[b"A", b"C", b"G", b"T", b"!"], partial="condition")
    one, other = lm.score_documents([document("MK"), document("mK")], given="target")
    assert one.logp == other.logp > -math.inf


def test_estimates(tmp_path: Path) -> None:
    policy = Sample(particles=3, replicates=4, seed=5, gap=False)
    lm = bases("amino", policy)
    one, other = lm.score_documents([document("MK"), document("mk")], given="target")
    assert one.log_replicates is not None and other.logp > -math.inf
    assert [row["unit"] for row in other.unit_rows()] == ["M", "K", "⊥"]


@pytest.mark.parametrize("given", ["source", "target"])
def test_the_next_unit(given: str) -> None:
    warnings: list[str] = []
    lm = bases("bytes", Exact())
    found = following(lm, "aC", given=given, warn=warnings.append)
    assert found == following(lm, "AC", given=given)
    (said,) = warnings
    assert said.startswith("1 letter of the prefix is read in upper case")


def test_the_case_of_an_alphabet() -> None:
    assert [Case(names).kind for names in ("AB1", "ab*", "aB", "1*", "")] == [
        "upper",
        "lower",
        "",
        "",
        "",
    ]
    assert Case(["Foo"]).kind == "" and Case(["AH0"]).name("ah0") == "AH0"
    assert Case("AC").text(b"ac\xe9-N") == b"AC\xe9-N"
    assert Case("AC").character(ord("ß"), 0x110000) == ord("ß")


def test_the_command_line(tmp_path: Path) -> None:
    letter_bigram(tmp_path / "g.arpa")
    (tmp_path / "p.fa").write_text(">one\nLr\n>two\nlrL\n")
    (tmp_path / "meta.json").touch()
    command = ["convert", "--model", str(tmp_path / "g.arpa"), "--exact", "--to", "amino"]
    command += ["--given", "target", "--meta", str(tmp_path / "meta.json"), str(tmp_path / "p.fa")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()[1:]]
    assert [row[2] for row in rows] == ["L", "R", "⊥", "L", "R", "L", "⊥"]
    assert done.stderr.count("warning") == 1
    assert "3 letters of 2 documents, the first of them" in done.stderr
    assert json.loads((tmp_path / "meta.json").read_text())["folded"] == {
        "letters": 3,
        "documents": 2,
    }
