"""Mistakes of the command line: the message names what was probably meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import lmfst
from lmfst.cli import app
from lmfst.ground.errors import FstError, UsageError
from lmfst.inference.policy import Exact
from lmfst.model import TransducedLM
from lmfst.target.load import fst_target, load_target
from tests.support.oracle import TableLM, make_vocab, random_fst
from tests.support.tiny import letter_bigram
from tests.target.test_unknown import bases


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    letter_bigram(tmp_path / "g.arpa")
    return "g.arpa"


def lmfst_(*arguments: str, text: str = "") -> Result:
    return CliRunner().invoke(app, [*arguments], input=text)


def said(result: Result) -> str:
    return " ".join(result.stderr.split())


# Source and target form.


def test_a_protein_that_is_read_as_dna(model: str) -> None:
    command = ["convert", "--to", "amino", "--model", model, "--exact"]
    rejected = lmfst_(*command, text="MKVL\n")
    assert rejected.exit_code == 1
    assert "hint: add --given target, if the text is amino already" in said(rejected)
    zero = lmfst_(*command, text="MKV\n")
    assert "(--given target, if the text is amino already)" in said(zero)
    assert "--given" not in said(lmfst_(*command, "--given", "target", text="MKVL\n"))


@pytest.mark.parametrize("text", ["ATGNNN\n", "ATG!\n", "The cat.\n"])
def test_texts_that_are_no_proteins(model: str, text: str) -> None:
    command = ["convert", "--to", "amino", "--model", model, "--exact"]
    found = said(lmfst_(*command, text=text))
    assert ("-inf" in found or "error" in found) and "--given target" not in found


@pytest.mark.parametrize("to", ["amino", "amino:TABLE11"])
def test_a_model_of_text_where_dna_is_read(to: str) -> None:
    lm = TableLM(make_vocab([b"A", b"the", b" "]), order=1, depth=3, seed=1, merges=True)
    with pytest.raises(FstError, match="is not total") as error:
        TransducedLM(lm, load_target(to), Exact())
    assert "add --model dna" in error.value.hint and "extend" not in error.value.hint
    with pytest.raises(FstError, match="is not total") as error:
        TransducedLM(lm, fst_target(random_fst(1), "own"), Exact())
    assert "extend the FST" in error.value.hint and "dna" not in error.value.hint


# Numbers.


def test_a_text_as_context(model: str) -> None:
    done = lmfst_("convert", "--model", model, "--context", "The cat sat", text="A\n")
    assert done.exit_code == 2
    assert "'The cat sat' is no whole number: --context is how many" in said(done)
    assert "--prompt TEXT" in said(done) and "lmfst next TEXT" in said(done)


def test_rows_are_conditional_on_what_comes_before() -> None:
    """What the message about --context says."""
    lm = bases("bytes", Exact())
    whole, before = lm.logp("ACGT"), lm.prefix_logp("AC")
    (found,) = lm.score(["ACGT"])
    rows = [row["logp"] for row in found.unit_rows()]
    assert sum(rows[2:]) == pytest.approx(whole - before, abs=1e-12)


def test_a_share_as_beam_and_a_number_as_threshold(model: str) -> None:
    done = lmfst_("convert", "--model", model, "--beam", "1e-3", text="A\n")
    assert done.exit_code == 2 and "--threshold 0.001" in said(done)
    done = lmfst_("convert", "--model", model, "--beam", "many", text="A\n")
    assert done.exit_code == 2 and "'many' is no whole number" in said(done)
    done = lmfst_("convert", "--model", model, "--threshold", "8", text="A\n")
    assert done.exit_code == 2 and "to keep so many: --beam 8" in said(done)
    assert lmfst_("convert", "--model", model, "--beam", "2", text="A\n").exit_code == 0


# Targets, models and files in each other's places.


@pytest.mark.parametrize("name", ["dna", "smollm2-135m", "g.arpa", "some.gguf", "folder"])
def test_a_model_as_target(model: str, name: str) -> None:
    Path("folder").mkdir()
    done = lmfst_("convert", "--model", model, "--to", name, text="A\n")
    assert done.exit_code == 2 and f"models are named with --model: --model {name}" in said(done)


@pytest.mark.parametrize("name", ["words", "amino:11", "my.grm", "my.grm:R", "a.fst", "chars"])
def test_a_target_as_model(model: str, name: str) -> None:
    done = lmfst_("convert", "--model", name, text="A\n")
    assert done.exit_code == 2 and f"targets are named with --to: --to {name}" in said(done)
    with pytest.raises(UsageError, match="names a target, not a model"):
        lmfst.load(name)


def test_a_grammar_by_another_spelling(model: str) -> None:
    done = lmfst_("convert", "--model", model, "--to", "AMINO", text="A\n")
    assert "did you mean amino?" in said(done)
    for name, suffix in [
        ("amino.fst", ".fst"),
        ("amino.grm:TABLE1", ".grm"),
        ("amino.far", ".far"),
    ]:
        done = lmfst_("convert", "--model", model, "--to", name, text="A\n")
        assert done.exit_code == 1
        assert f"comes with lmfst is named amino, without {suffix}" in said(done)
    Path("lower.grm").write_text('export LOWER = "A" : "a";\n')
    done = lmfst_("apply", "--to", "lower.grm", text="A\n")
    assert done.stdout == "a\n", done.stderr


@pytest.mark.parametrize("name", ["my.grm", "g.arpa"])
def test_a_grammar_or_model_as_document(model: str, name: str) -> None:
    Path("my.grm").write_text("A\n")
    option = "--to" if name == "my.grm" else "--model"
    done = lmfst_("convert", "--model", model, name)
    assert f"{name} is read as documents" in said(done) and f"{option} {name}" in said(done)


@pytest.mark.parametrize("command", [["convert", "--model", "g.arpa"], ["apply", "--to", "lower"]])
def test_a_text_as_file(model: str, command: list[str]) -> None:
    done = lmfst_(*command, "The cat's")
    assert done.exit_code == 1 and "printf '%s\\n' 'The cat'\"'\"'s' | lmfst" in said(done)
    # Both could be patterns.
    for text in ("Which cat?", "MKVL*"):
        done = lmfst_(*command, text)
        assert done.exit_code == 1 and f"printf '%s\\n' '{text}' | lmfst" in said(done)
    long = lmfst_(*command, "ACGT" * 5000)
    assert long.exit_code == 1 and "there is no file ACGT" in said(long) and len(said(long)) < 700
    done = lmfst_(*command, "none.txt")
    assert done.exit_code == 1 and "there is no file none.txt hint: give an existing" in said(done)
    assert "printf" not in said(done)


@pytest.mark.parametrize("command", [["convert", "--model", "g.arpa"], ["apply", "--to", "lower"]])
def test_folders_and_patterns_without_documents(model: str, command: list[str]) -> None:
    Path("folder").mkdir()
    done = lmfst_(*command, "folder/")
    assert done.exit_code == 2 and "expected files of a corpus in the folder or below" in said(done)
    assert "name others by a pattern, such as 'folder/*'" in said(done)
    done = lmfst_(*command, "folder/*.txt")
    assert done.exit_code == 2 and "expected files that match, nothing matches" in said(done)
    Path("folder/a.txt").write_text("A\n")
    Path("folder/b.jsonl").write_text('{"text": "A"}\n')
    done = lmfst_(*command, "folder")
    assert done.exit_code == 2
    assert "found folder/a.txt (line) and folder/b.jsonl (jsonl) hint: say what" in said(done)
    done = lmfst_(*command, "folder/*.txt", "folder/a.txt")
    assert done.exit_code == 2 and "folder/a.txt comes twice" in said(done)
    # As it was: named files are read as each one's suffix says, and as often as they are named.
    if command[0] == "convert":
        assert lmfst_(*command, "folder/b.jsonl", "folder/a.txt", "folder/a.txt").exit_code == 0


def test_a_file_as_prefix(model: str) -> None:
    Path("A").write_text("CG\n")
    done = lmfst_("next", "--model", model, "A")
    assert done.exit_code == 0 and "the prompt is 'A' itself" in said(done)
    assert "itself" not in said(lmfst_("next", "--model", model, ""))
    # Longer than the name of a file can be.
    assert "itself" not in said(lmfst_("next", "--model", model, "ACGT" * 100))
