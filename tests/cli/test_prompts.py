"""Prompts on the command line: what follows them, their forms, and what doesn't go together."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from lmfst.inference.policy import Exact
from lmfst.lm.load import load_lm
from lmfst.model import TransducedLM
from lmfst.target.load import load_target
from tests.support.cli import Done, call


@pytest.fixture(scope="module")
def arpa(model: Path) -> Path:
    return model


Convert = Callable[..., Done]


@pytest.fixture
def convert(arpa: Path) -> Convert:
    """`lmfst convert` with the model."""

    def run(*args: str | Path, input: bytes | str = "b\n") -> Done:
        return call("convert", "--model", arpa, "--exact", *args, input=input)

    return run


def model(arpa: Path, to: str | Path = "bytes") -> TransducedLM:
    return TransducedLM(load_lm(str(arpa)), load_target(str(to)), Exact())


def test_rows_of_what_follows(convert: Convert, arpa: Path) -> None:
    lm = model(arpa)
    rows = convert("--prompt", "a", input="bca\n").rows()
    assert [row["unit"] for row in rows] == ["b", "c", "a", "⊥"]
    assert [row["start"] for row in rows] == ["0", "1", "2", "3"]
    found = math.fsum(float(row["logp"]) for row in rows)
    assert found == pytest.approx(lm.logp("abca") - lm.prefix_logp("a"), abs=1e-8)
    (text,) = convert("--prompt", "a", "--level", "text", "--bounds", input="bca\n").rows()
    assert float(text["logp"]) == pytest.approx(found, abs=1e-8)
    assert (text["units"], text["symbols"]) == ("3", "3")
    assert float(text["lower"]) == pytest.approx(found) == pytest.approx(float(text["upper"]))
    (summary,) = convert("--prompt", "a", "--level", "summary", input="bca\nbca\n").rows()
    assert float(summary["logp"]) == pytest.approx(2 * found, abs=1e-8)
    both = convert("--prompt", "a", "--level", "text", "--versus", "1", input="bca\ncb\n").rows()
    difference = lm.logp("acb") - lm.logp("abca")
    assert float(both[1]["difference"]) == pytest.approx(difference, abs=1e-8)


def test_empty_prompts_change_no_byte(convert: Convert) -> None:
    plain = convert(input="abc\nb\n")
    for options in (["--prompt", ""], ["--prompt-source", ""], ["--prompt", "", "--prompt-given",
                    "target"]):  # fmt: skip
        assert convert(*options, input="abc\nb\n").out == plain.out


def test_a_prompt_for_each_document(convert: Convert, arpa: Path, tmp_path: Path) -> None:
    lm = model(arpa)
    table = tmp_path / "t.csv"
    table.write_text("id,before,text\nx,a,bc\ny,,bc\n")
    done = convert("--prompt-column", "before", "--level", "text", table)
    assert [row["before"] for row in done.rows()] == ["a", ""]
    logps = [float(row["logp"]) for row in done.rows()]
    assert logps[0] == pytest.approx(lm.logp("abc") - lm.prefix_logp("a"), abs=1e-8)
    assert logps[1] == pytest.approx(lm.logp("bc"), abs=1e-8)
    lines = tmp_path / "t.jsonl"
    lines.write_text('{"text": "bc", "before": "a"}\n{"text": "bc"}\n')
    done = convert("--prompt-column", "before", lines)
    assert done.code == 1 and "t.jsonl:2: expected a prompt in 'before'" in done.err
    lines.write_text('{"text": "bc", "before": 3}\n')
    done = convert("--prompt-column", "before", lines)
    assert done.code == 1 and "found 3" in done.err
    done = convert("--prompt-column", "before")
    assert done.code == 1 and "no such field" in done.err and "tables or JSONL" in done.err


def test_forms_of_prompts_and_documents(convert: Convert, arpa: Path, words: Path) -> None:
    lm = model(arpa, words)
    expected = lm.logp("ab[SEP]b") - lm.prefix_logp("ab")
    for text, options in {"cb": [], "[SEP]b": ["--given", "target"]}.items():
        rows = convert("--to", words, "--prompt", "ab", *options, input=f"{text}\n").rows()
        assert [row["unit"] for row in rows] == ["…", "b", "⊥"]
        assert math.fsum(float(row["logp"]) for row in rows) == pytest.approx(expected, abs=1e-8)
    mixed = ["--given", "target", "--prompt-given", "source", "--prompt", "ab"]
    rows = convert("--to", words, *mixed, input="[SEP]b\n").rows()
    assert math.fsum(float(row["logp"]) for row in rows) == pytest.approx(expected, abs=1e-8)
    done = convert("--to", words, "--prompt", "ab", "--prompt-given", "target", input="cb\n")
    assert done.code == 2 and "can't follow a prompt in target form" in done.err
    assert "--prompt-given source" in done.err


def test_a_prompt_may_end_inside_a_character(convert: Convert, arpa: Path) -> None:
    lm = model(arpa)
    rows = convert("--prompt", "a\udcc3", input=b"\xa9b\n").rows()
    assert [row["unit"] for row in rows] == ["\\xa9", "b", "⊥"]
    expected = lm.logp("aéb") - lm.prefix_logp(b"a\xc3")
    assert math.fsum(float(row["logp"]) for row in rows) == pytest.approx(expected, abs=1e-8)
    rows = convert("--to", "chars", "--prompt", "a\udcc3", input=b"\xa9b\n").rows()
    assert [row["unit"] for row in rows] == ["é", "b", "⊥"]
    done = convert("--to", "chars", "--prompt", "a\udcc3", "--given", "target")
    assert done.code == 1 and "ends inside a character" in done.err


def test_source_text_that_the_model_has_read(convert: Convert, arpa: Path, tmp_path: Path) -> None:
    after = model(arpa).after_source("ca")
    meta = tmp_path / "meta.json"
    rows = convert("--prompt-source", "ca", "--meta", meta, input="bc\n").rows()
    found = math.fsum(float(row["logp"]) for row in rows)
    assert found == pytest.approx(after.logp("bc"), abs=1e-8)
    facts = json.loads(meta.read_text())
    assert facts["prompt_source"] == "ca" and len(facts["prompt_tokens"]) == 2
    lm = model(arpa)
    # With a token ab, which would span the seam, it isn't what follows the prefix.
    assert found != pytest.approx(lm.logp("cabc") - lm.prefix_logp("ca"), abs=1e-3)
    both = convert("--prompt-source", "ca", "--prompt", "b", input="c\n").rows()
    expected = after.logp("bc") - after.prefix_logp("b")
    assert math.fsum(float(row["logp"]) for row in both) == pytest.approx(expected, abs=1e-8)
    done = convert("--prompt-source", "ab")
    assert done.code == 1 and "several strings of tokens spell it" in done.err


def test_what_made_the_numbers(convert: Convert, tmp_path: Path) -> None:
    meta = tmp_path / "meta.json"
    convert("--prompt", "a\udcc3", "--meta", meta, input=b"\xa9\n")
    facts = json.loads(meta.read_text())
    assert facts["prompt"] == "a\\xc3" and facts["prompt_given"] == "source"
    table = tmp_path / "t.csv"
    table.write_text("before,text\na,b\n")
    convert("--prompt-column", "before", "--prompt-given", "target", "--meta", meta, table)
    facts = json.loads(meta.read_text())
    assert facts["prompt_column"] == "before" and facts["prompt_given"] == "target"
    assert "prompt" not in facts
    convert("--meta", meta)
    assert not [name for name in json.loads(meta.read_text()) if name.startswith("prompt")]


def test_what_does_not_go_together(convert: Convert, arpa: Path) -> None:
    done = convert("--prompt", "a", "--prompt-column", "b")
    assert done.code == 2 and "--prompt-column has one for each" in done.err
    done = convert("--prompt-given", "source")
    assert done.code == 2 and "--prompt-given is the form of" in done.err
    sampled = ["--model", arpa, "--policy", "sample"]
    done = call("convert", *sampled, "--prompt", "a", input="b\n")
    assert done.code == 2 and "quotient of two" in done.err and "--prompt-source" in done.err
    done = call("convert", *sampled, "--prompt-source", "a", input="b\n")
    assert done.code == 0 and "\tb\t" in done.out.decode()


def test_impossible_prompts_and_names_of_files(convert: Convert, arpa: Path) -> None:
    done = convert("--prompt", "ax")
    assert done.code == 1 and "the prompt: position 2 is 'x'" in done.err
    # é is one token of two bytes; its first one can't be followed by a.
    done = convert("--prompt", "\udcc3a")
    assert done.code == 1 and "<stdin>:1: nothing can follow the prompt" in done.err
    assert "symbol 1 (a)" in done.err
    done = convert("--prompt-source", "xa")
    assert done.code == 1 and "no tokens of the model spell" in done.err
    done = convert("--prompt", str(arpa))
    assert "itself, not what the file of that name holds" in done.err
