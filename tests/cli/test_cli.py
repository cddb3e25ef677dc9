"""The command line: every command, pipes, formats, and what bad input gets."""

from __future__ import annotations

import gzip
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmfst.fst import EPS, Fst, read_fst, write_openfst
from lmfst.ground._version import __version__
from lmfst.lm.base import LM
from lmfst.lm.load import load_lm
from tests.support.cli import ARPA, COMMAND, Done, call, environment, pipe
from tests.support.paths import REPOSITORY
from tests.support.tiny import write_normalised

HEADER = "id\tindex\tunit\tstart\tend\tlogp\tsurprisal\tmissing"


@pytest.fixture(scope="module")
def arpa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_normalised(ARPA, tmp_path_factory.mktemp("model") / "m.arpa")


@pytest.fixture(scope="module")
def cache_of_this_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def own_cache(cache_of_this_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that is empty at first, so that grammars are compiled here, once."""
    monkeypatch.setenv("LMFST_CACHE", str(cache_of_this_file))


@pytest.fixture
def swap(tmp_path: Path) -> Path:
    """a and b change places; other bytes are copied."""
    arcs = [(0, byte, {97: 98, 98: 97}.get(byte, byte), 0) for byte in range(256)]
    path = tmp_path / "swap.fst"
    write_openfst(Fst.from_arcs(arcs, 0, [0]), path)
    return path


@pytest.fixture
def ambiguous(tmp_path: Path) -> Path:
    path = tmp_path / "ambiguous.fst"
    write_openfst(Fst.from_arcs([(0, 97, 120, 1), (0, 97, 121, 1), (0, 98, EPS, 0)], 0, [1]), path)
    return path


@pytest.fixture
def only_ab(tmp_path: Path) -> Path:
    """Copies strings of a and b; rejects all others."""
    path = tmp_path / "ab.fst"
    write_openfst(Fst.from_arcs([(0, 97, 97, 0), (0, 98, 98, 0)], 0, [0]), path)
    return path


# Start, help, usage.


def test_version_and_help() -> None:
    done = pipe("--version")
    assert (done.code, done.out.decode()) == (0, f"lmfst {__version__}\n")
    commands = ("convert", "next", "apply", "compile", "print", "info", "draw")
    shown = call("--help")
    assert shown.code == 0
    for name in commands:
        assert f"\n  {name} " in shown.out.decode()
        assert call(name, "--help").code == 0


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom lmfst.cli import app\n"
        "try: app(['convert', '--help'])\nexcept SystemExit: pass\n"
        "heavy = {'numpy', 'torch', 'transformers', 'pynini', 'pywrapfst', 'lark'}\n"
        "sys.exit(sorted(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment())
    assert done.returncode == 0, done.stderr


def test_help_comes_at_once() -> None:
    def seconds() -> float:
        before = os.times()
        assert pipe("--help").code == 0
        after = os.times()
        # Of the processor: others may be using it.
        spent = after.children_user - before.children_user
        return spent + after.children_system - before.children_system

    assert min(seconds() for _ in range(3)) < 0.3


@pytest.mark.parametrize(
    "args",
    [
        ["nothing"],
        ["convert", "--no-such-option"],
        ["convert", "--policy", "sample", "--seed", "1.5"],
        ["convert", "--level", "word"],
        ["convert", "--beam", "many"],
        ["compile", "x.grm"],
        ["next", "--given", "both"],
        ["apply", "--limit", "0"],
    ],
)
def test_usage_errors(args: list[str]) -> None:
    done = call(*args)
    assert done.code == 2
    assert done.out == b"" and "Error" in done.err


def test_options_out_of_range(arpa: Path) -> None:
    for option in ("--beam=0", "--threshold=2", "--node-budget=0", "--batch=0", "--to=wrods"):
        done = call("convert", "--model", arpa, option, input=b"a\n")
        assert (done.code, done.out) == (2, b""), option
        assert done.err.startswith("lmfst: error: ")
    assert call("next", "--model", arpa, "--top=-1").code == 2


def test_tolerance_bounds_and_what_they_go_with(arpa: Path, tmp_path: Path) -> None:
    text = b"ababcaab\n"
    for options in (
        ("--tolerance=0.1", "--beam=4"),
        ("--tolerance=0.1", "--threshold=0.1"),
        ("--tolerance=0.1", "--exact"),
        ("--tolerance=0.1", "--policy=sample"),
        ("--tolerance=0",),
        ("--tolerance=nan",),
        ("--bounds",),
        ("--exact", "--beam=3"),
        ("--policy=sample", "--threshold=0.1"),
        ("--exact", "--policy=sample"),
    ):
        done = call("convert", "--model", arpa, *options, input=text)
        assert (done.code, done.out) == (2, b""), options
        assert done.err.startswith("lmfst: error: --")
    meta = tmp_path / "meta.json"
    args = ("convert", "--model", arpa, "--level", "text", "--meta", meta)
    done = call(*args, "--tolerance=0.5", input=text)
    assert done.code == 0 and "lower" not in done.rows()[0]
    facts = json.loads(meta.read_text())
    assert facts["policy"] == "beam" and facts["tolerance"] == 0.5
    assert facts["accuracy"]["documents"] == 1 and facts["accuracy"]["above_tolerance"] == 0
    assert sum(facts["accuracy"]["thresholds"].values()) == 1
    call(*args, "--beam=3", input=text)
    facts = json.loads(meta.read_text())
    assert (facts["size"], facts["threshold"]) == (3, 1e-4) and "tolerance" not in facts


def test_a_beam_that_lacks_much_says_which_option_to_turn(arpa: Path) -> None:
    args = ("convert", "--model", arpa, "--level", "text")
    done = call(*args, "--beam=1", "--threshold=0", input=b"abababcabc\nb\n")
    assert float(done.rows()[0]["missing"]) > 0.1 > float(done.rows()[1]["missing"])
    assert done.err.count("\n") == 1 and done.err.startswith("lmfst: warning: 1 of 2 documents")
    assert "--beam 4" in done.err and "--threshold" not in done.err
    done = call(*args, "--beam=9", "--threshold=0.5", input=b"abababcabc\n")
    assert "--threshold 0.05" in done.err and "--beam" not in done.err


def test_options_of_sampling(arpa: Path) -> None:
    sample = ("convert", "--model", arpa, "--policy", "sample", "--level", "text")
    for option, least in (("--particles=0", 1), ("--replicates=0", 1), ("--seed=-1", 0)):
        done = call(*sample, option, input=b"a\n")
        assert (done.code, done.out) == (2, b"")
        assert f"at least {least}" in done.err
    for option in ("--particles=3", "--replicates=3", "--seed=0", "--adaptive"):
        done = call("convert", "--model", arpa, option, input=b"a\n")
        assert (done.code, done.out) == (2, b"")
        assert "is an option of --policy sample, not beam" in done.err
    assert call("next", "--model", arpa, "--policy", "sample").code == 2
    row = call(*sample, "--particles=1", "--seed=1", input=b"ababcaab\n").rows()[0]
    # Two hypotheses with one future: one of them stands for both, without any error.
    exact = call("convert", "--model", arpa, "--exact", "--level", "text", input=b"ababcaab\n")
    assert float(row["logp"]) == pytest.approx(float(exact.rows()[0]["logp"]))
    assert float(row["stderr"]) == pytest.approx(0, abs=1e-9) and float(row["gap"]) > 1
    assert row["missing"] == row["canonical"] == ""
    bounds = call(*sample, "--particles=1", "--bounds", input=b"ababcaab\n").rows()[0]
    assert bounds["lower"] == bounds["upper"] == bounds["dropped"] == ""


def test_fasta_files(arpa: Path, tmp_path: Path) -> None:
    path = tmp_path / "some.fa"
    path.write_bytes(b">one of them\nab\nc\n>two\nca\n")
    rows = call("convert", "--model", arpa, "--exact", "--level", "text", path).rows()
    assert [(row["id"], row["symbols"]) for row in rows] == [("one of them", "3"), ("two", "2")]
    path.write_bytes(b">one\nab\n>two\naZ\n")
    target = ("convert", "--model", arpa, "--exact", "--level", "text", "--given", "target")
    done = call(*target, "--unknown", "skip", path)
    assert done.code == 0 and [row["id"] for row in done.rows()] == ["one"]
    assert "record 'two': skipped" in done.err


# convert.


def test_convert_through_a_pipe(arpa: Path) -> None:
    done = pipe("convert", "--model", arpa, "--exact", input="ac\n\né\n".encode())
    assert done.code == 0 and done.err == ""
    assert done.lines[0] == HEADER
    rows = done.rows()
    assert [(row["id"], row["unit"]) for row in rows] == [
        ("1", "a"),
        ("1", "c"),
        ("1", "⊥"),
        ("2", "⊥"),
        ("3", "\\xc3"),
        ("3", "\\xa9"),
        ("3", "⊥"),
    ]
    # p(⊥) of the empty line: log10 bow(<s>) + log10 p(</s>), renormalised without <s>.
    ten = {"a": -0.4, "</s>": -0.9, "b": -1.0, "ab": -1.2, "é": -1.1, "c": -0.8}
    total = sum(10.0**p for p in ten.values())
    assert float(rows[3]["logp"]) == pytest.approx(math.log(10**-0.9 / total), abs=1e-9)
    assert float(rows[3]["surprisal"]) == pytest.approx(-math.log2(10**-0.9 / total), abs=1e-8)
    assert float(rows[5]["logp"]) == pytest.approx(0.0, abs=1e-9)


def test_levels_and_formats_agree(arpa: Path) -> None:
    text = b"abc\nca\n"
    args = ("convert", "--model", arpa, "--exact")
    units = call(*args, input=text).rows()
    texts = call(*args, "--level", "text", "--bounds", input=text).rows()
    (summary,) = call(*args, "--level", "summary", input=text).rows()
    for row in texts:
        parts = [float(unit["logp"]) for unit in units if unit["id"] == row["id"]]
        assert float(row["logp"]) == pytest.approx(math.fsum(parts), abs=1e-8)
        assert row["lower"] == row["upper"] == row["logp"]
        assert int(row["symbols"]) == len(parts) - 1
    assert summary["documents"] == "2"
    both = sum(float(row["logp"]) for row in texts)
    assert float(summary["logp"]) == pytest.approx(both, abs=1e-8)
    records = [json.loads(line) for line in call(*args, "--format", "jsonl", input=text).lines]
    assert [list(record) for record in records] == [HEADER.split("\t")] * len(units)
    assert [f"{r['logp']:.10g}" for r in records] == [row["logp"] for row in units]


def test_characters_and_fsts(arpa: Path, swap: Path, words: Path) -> None:
    chars = call("convert", "--model", arpa, "--to", "chars", input="aé\n".encode()).rows()
    assert [row["unit"] for row in chars] == ["a", "é", "⊥"]
    swapped = call("convert", "--model", arpa, "--to", swap, "--exact", input=b"ab\n").rows()
    plain = call("convert", "--model", arpa, "--exact", input=b"ab\n").rows()
    assert [row["unit"] for row in swapped] == ["b", "a", "⊥"]
    assert [row["logp"] for row in swapped] == [row["logp"] for row in plain]
    grouped = call("convert", "--model", arpa, "--to", words, "--exact", input=b"abcab\n").rows()
    assert [(r["unit"], r["start"], r["end"]) for r in grouped] == [
        ("ab", "0", "3"),
        ("ab", "3", "5"),
        ("⊥", "5", "5"),
    ]
    target = ("--given", "target")
    given = call(
        "convert", "--model", arpa, "--to", words, *target, "--exact", input=b"ab[SEP]ab\n"
    )
    assert given.rows() == grouped


def test_white_space_is_a_unit(arpa: Path) -> None:
    args = ("convert", "--model", arpa, "--exact")
    rows = call(*args, "--to", "wswords", input=b"  a\t\n").rows()
    assert [row["unit"] for row in rows] == ["  ", "a", "\\t", "⊥"]
    rows = call(*args, "--to", "words-leading", input=b"a b  \n").rows()
    assert [row["unit"] for row in rows] == ["a", " b", "  ", "⊥"]
    assert [(row["start"], row["end"]) for row in rows[:-1]] == [("0", "1"), ("1", "4"), ("4", "7")]
    rows = call(*args, "--to", "words-trailing", input=b"a b  \n").rows()
    assert [row["unit"] for row in rows] == ["a ", "b  ", "⊥"]


def test_empty_text_has_no_words(arpa: Path, words: Path) -> None:
    (row,) = call("convert", "--model", arpa, "--to", words, "--exact", input=b"\n").rows()
    assert (row["unit"], row["start"], row["end"]) == ("⊥", "0", "0")


def test_files_stdin_gzip_and_jsonl(arpa: Path, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_bytes(b"a\nb\n")
    (tmp_path / "two.txt.gz").write_bytes(gzip.compress(b"c\n"))
    (tmp_path / "three.jsonl").write_text('{"id": "x", "text": "a\\nb"}\n')
    files = [tmp_path / "one.txt", tmp_path / "two.txt.gz", tmp_path / "three.jsonl", "-"]
    rows = call("convert", "--model", arpa, "--level", "text", *files, input=b"b\n").rows()
    assert [row["id"].rpartition("/")[2] for row in rows] == [
        "one.txt:1",
        "one.txt:2",
        "two.txt.gz:1",
        "three.jsonl:x",
        "-:1",
    ]
    whole = call("convert", "--model", arpa, "--doc", "file", "--level", "text", files[0]).rows()
    assert [row["symbols"] for row in whole] == ["4"]


def test_tables_are_read_and_their_columns_passed_on(arpa: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text('item,sentence,logp,note\ni1,a,0,"x\ty, ""z"""\ni2,"ab",1,NA\ni3,,2,\n')
    columns = ["--text-column", "sentence", "--id-column", "item"]
    convert = ["convert", "--model", arpa, *columns, table]
    done = call(*convert)
    lines = call("convert", "--model", arpa, input=b"a\nab\n\n").rows()
    names = {"1": "i1", "2": "i2", "3": "i3"}
    beside = {"i1": ("0", 'x\\ty, "z"'), "i2": ("1", "NA"), "i3": ("2", "")}
    assert done.rows() == [
        {
            **row,
            "id": names[row["id"]],
            "input_logp": beside[names[row["id"]]][0],
            "note": beside[names[row["id"]]][1],
        }
        for row in lines
    ]
    assert "column 'logp' of the input is called 'input_logp' in the output" in done.err
    text = call(*convert, "--level", "text", "--versus", "i1").rows()
    assert [(row["id"], row["note"]) for row in text] == [(k, v[1]) for k, v in beside.items()]
    record = json.loads(call(*convert, "--level", "text", "--format", "jsonl").lines[0])
    assert list(record)[-2:] == ["input_logp", "note"] and record["note"] == 'x\ty, "z"'
    summary = call(*convert, "--level", "summary").rows()
    assert len(summary) == 1 and "note" not in summary[0]
    units = call(
        "convert", "--model", arpa, "--level", "unit", *columns, table, "-o", tmp_path / "u.tsv"
    )
    assert units.code == 0
    again = call(
        "convert", "--model", arpa, "--text-column", "unit", tmp_path / "u.tsv", "--level", "text"
    ).rows()
    assert [row["symbols"] for row in again] == ["1", "3", "1", "1", "3", "3"]
    wrong = call("convert", "--model", arpa, "--text-column", "a", input=b"a\n")
    assert wrong.code == 2 and "--doc csv" in wrong.err
    prose = call("convert", "--model", arpa, input=table.read_bytes())
    assert prose.code == 0 and "--doc csv --text-column NAME" in prose.err


def test_mixed_encodings_among_characters(arpa: Path) -> None:
    """A line that is no UTF-8 among others: it says which one, and what it read."""
    done = call("convert", "--model", arpa, "--to", "chars", input="é\n".encode() + b"a\xe9\n")
    assert done.code == 0 and done.rows()[0]["logp"] != "-inf"
    assert "<stdin>:2: " in done.err and "\\xe9" in done.err and "UTF-8" in done.err


def test_output_files_are_whole_or_absent(arpa: Path, tmp_path: Path) -> None:
    out, meta = tmp_path / "out.tsv.gz", tmp_path / "meta.json"
    done = call("convert", "--model", arpa, "--exact", "-o", out, "--meta", meta, input=b"a\n")
    assert (done.code, done.out) == (0, b"")
    direct = call("convert", "--model", arpa, "--exact", input=b"a\n")
    assert gzip.decompress(out.read_bytes()) == direct.out
    facts = json.loads(meta.read_text())
    assert facts["policy"] == "exact" and facts["to"] == "bytes" and facts["model"] == str(arpa)
    assert facts["lmfst"] == __version__
    kept = out.read_bytes()
    bad = b'{"text": "a"}\n{"text": 5}\n'
    failed = call("convert", "--model", arpa, "--doc", "jsonl", "-o", out, "--batch=1", input=bad)
    assert failed.code == 1 and out.read_bytes() == kept
    assert sorted(path.name for path in tmp_path.iterdir()) == ["meta.json", "out.tsv.gz"]
    nowhere = tmp_path / "none" / "x"
    for option in ("-o", "--meta"):
        failed = call("convert", "--model", arpa, option, nowhere, input=b"a\n")
        assert failed.code == 1 and str(nowhere) in failed.err


# Bad input: an error or a warning that says what is wrong, never a traceback.


@pytest.mark.parametrize(
    ("text", "units", "warning"),
    [
        (b"", [], "the file is empty"),
        (b"\n", ["⊥"], ""),
        (b"a\r\n", ["a", "⊥"], "CRLF"),
        (b"a", ["a", "⊥"], ""),
        (b"a\0b\n", ["a", "\\x00", "b", "⊥"], "logp is -inf from symbol 1 (\\x00)"),
        (b"\xff\n", ["\\xff", "⊥"], "logp is -inf from symbol 0 (\\xff)"),
        (b"ax\n", ["a", "x", "⊥"], "logp is -inf from symbol 1 (x)"),
    ],
)
def test_odd_texts(arpa: Path, text: bytes, units: list[str], warning: str) -> None:
    done = call("convert", "--model", arpa, input=text)
    assert done.code == 0
    assert [row["unit"] for row in done.rows()] == units
    assert (warning in done.err) if warning else done.err == ""
    if "inf" in warning:
        assert done.rows()[-1]["logp"] == "-inf"
    quiet = call("convert", "--model", arpa, "--quiet", input=text)
    assert quiet.err == "" and quiet.out == done.out


def test_invalid_utf8_among_characters(arpa: Path) -> None:
    done = call("convert", "--model", arpa, "--to", "chars", input=b"a\xff\n")
    assert [row["unit"] for row in done.rows()] == ["a", "\\xff", "⊥"]


def test_missing_and_damaged_inputs(arpa: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "x.gz"
    damaged.write_bytes(gzip.compress(b"a\n" * 1000)[:-9])
    for path, code in ((tmp_path / "none.txt", 1), (tmp_path, 2), (damaged, 1)):
        done = call("convert", "--model", arpa, path)
        assert done.code == code and str(path) in done.err


def test_models_that_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    untokenised = tmp_path / "untokenised"
    untokenised.mkdir()
    (untokenised / "config.json").write_text('{"model_type": "gpt2"}')
    (tmp_path / "bad.gguf").write_bytes(b"GGUF\3\0\0\0 and then nothing of use")
    broken = tmp_path / "bad.arpa"
    broken.write_text(ARPA.replace("-0.7 b -0.1", "-0.7x b -0.1"))
    cases = [
        (tmp_path / "none" / "model", "there is no model folder"),
        (tmp_path / "empty", "config.json"),
        (untokenised, "no tokenizer"),
        (tmp_path / "bad.gguf", "can't be loaded"),
        (tmp_path / "none.gguf", "there is no GGUF file"),
        (broken, "bad.arpa, line 10: expected a log10 probability"),
        (tmp_path / "none.arpa", "none.arpa"),
        ("no-such-model-of-that-name", "can't be loaded"),
    ]
    for model, message in cases:
        done = call("convert", "--model", model, input=b"a\n")
        assert (done.code, done.out) == (1, b""), model
        assert done.err.startswith("lmfst: error: ") and message in done.err
        assert "Traceback" not in done.err


def test_damaged_weights(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models
    from transformers import GPT2Config, PreTrainedTokenizerFast

    core = Tokenizer(models.BPE(vocab={"a": 0, "<end>": 1}, merges=[]))
    fast = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>", bos_token="<end>")
    fast.save_pretrained(tmp_path)
    GPT2Config(vocab_size=2, n_embd=4, n_layer=1, n_head=1).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x20\0\0\0\0\0\0\0{ damaged")
    done = call("convert", "--model", tmp_path, input=b"a\n")
    assert done.code == 1 and "can't be loaded" in done.err


def test_unusable_fsts(arpa: Path, ambiguous: Path, only_ab: Path, tmp_path: Path) -> None:
    def convert(to: Path, *more: str) -> Done:
        return call("convert", "--model", arpa, "--to", to, *more, input=b"ab\n")

    done = convert(ambiguous)
    assert done.code == 1 and "input 'a' has the outputs 'x' and 'y'" in done.err
    done = convert(only_ab)
    # The witness is a shortest rejected string: one token that isn't made of a and b.
    assert done.code == 1 and "rejects 'c'" in done.err and "--partial condition" in done.err
    done = convert(only_ab, "--partial", "condition")
    assert done.code == 2 and "--exact" in done.err
    assert convert(only_ab, "--partial", "condition", "--exact").code == 0
    (tmp_path / "bad.fst").write_bytes(b"no FST")
    assert convert(tmp_path / "bad.fst").code == 1
    outside = call("convert", "--model", arpa, "--to", only_ab, "--partial=condition", "--exact")
    assert outside.code == 0
    rejected = call(
        "convert", "--model", arpa, "--to", only_ab, "--partial=condition", "--exact", input=b"ac\n"
    )
    assert rejected.code == 1 and "<stdin>:1" in rejected.err and "0x63" in rejected.err


def test_conditioning_on_the_domain_sums_to_one(arpa: Path, only_ab: Path) -> None:
    done = call(
        "next", "--model", arpa, "--to", only_ab, "--partial=condition", "--exact", "--top=0", "a"
    )
    assert {row["unit"] for row in done.rows()} == {"a", "b", "⊥"}
    assert math.fsum(float(row["p"]) for row in done.rows()) == pytest.approx(1.0, abs=1e-8)


def test_weights_and_unknown_symbols_of_fsts(arpa: Path, tmp_path: Path) -> None:
    text = tmp_path / "w.txt"
    text.write_text("".join(f"0 0 {b} {b} 0.5\n" for b in range(1, 256)) + "0\n")
    assert call("compile", text, "-o", tmp_path / "w.fst").code == 0
    done = call("convert", "--model", arpa, "--to", tmp_path / "w.fst", input=b"a\n")
    assert done.code == 0 and "weights are ignored" in done.err
    text.write_text("0 0 97 1200000\n0\n")
    made = call("compile", text, "-o", tmp_path / "u.fst")
    assert made.code == 0 and "unknown output label 1200000" in made.err
    done = call("convert", "--model", arpa, "--to", tmp_path / "u.fst", input=b"a\n")
    assert done.code == 1 and "unknown output label 1200000" in done.err


# Ends: closed pipes, interrupts.


def test_a_closed_pipe_ends_quietly(arpa: Path, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_bytes(b"abcab\n" * 4000)
    lines = 0
    process = subprocess.Popen(
        [*COMMAND, "convert", "--model", str(arpa), str(tmp_path / "long.txt")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None and process.stderr is not None
    for _ in range(2):
        lines += process.stdout.readline().endswith(b"\n")
    process.stdout.close()
    assert lines == 2
    assert process.stderr.read() == b""
    assert process.wait() == 0
    process.stderr.close()


def test_an_interrupt_gives_130(arpa: Path) -> None:
    code = (
        "import lmfst.cli.convert\n"
        "def stop(*a, **k): raise KeyboardInterrupt\n"
        "lmfst.cli.convert.document_files = stop\n"
        "from lmfst.cli import main\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "convert"], capture_output=True, env=environment()
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_rows_come_as_lines_arrive(arpa: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "convert", "--model", str(arpa), "--batch", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(b"a\n")
    process.stdin.flush()
    got = [process.stdout.readline().decode() for _ in range(3)]
    assert got[0] == HEADER + "\n" and got[2].startswith("1\t1\t⊥\t")
    process.stdin.close()
    assert process.wait() == 0
    process.stdout.close()


# next.


def test_next_of_symbols(arpa: Path) -> None:
    done = call("next", "--model", arpa, "--exact", "--top", "0", "a")
    rows = done.rows()
    assert {row["unit"] for row in rows} >= {"a", "b", "c", "⊥"}
    assert math.fsum(float(row["p"]) for row in rows) == pytest.approx(1.0, abs=1e-8)
    few = call("next", "--model", arpa, "--exact", "--top", "2", "--format", "jsonl", "a")
    assert [json.loads(line)["unit"] for line in few.lines] == [row["unit"] for row in rows[:2]]
    dead = call("next", "--model", arpa, "xyz")
    assert dead.code == 1 and "probability zero" in dead.err


def test_next_of_words(arpa: Path, words: Path) -> None:
    args = ("next", "--model", arpa, "--to", words, "--exact", "--top", "3")
    rows = call(*args, "ab[SEP]").rows()
    assert len(rows) == 4 and rows[-1]["unit"] == "…"
    assert math.fsum(float(row["p"]) for row in rows) == pytest.approx(1.0, abs=1e-8)
    assert call(*args, "--given", "source", "abc").rows() == rows
    assert call(*args[:-1], "0").code == 2


# Grammars, FSTs.


def test_apply(own_cache: None, swap: Path, only_ab: Path) -> None:
    assert call("apply", "--to", swap, input=b"abc\n\n").out == b"bac\n\n"
    assert call("apply", "--to", "chars", input=b"a\xff\n").out == b"a\\xff\n"
    assert call("apply", "--to", "rna", input=b"GATTACA\n").out == b"GAUUACA\n"
    done = call("apply", "--to", "wswords", input=b"  To  be\n")
    assert done.out == b"  [NOSEP]To[NOSEP]  [NOSEP]be\n"
    done = call("apply", "--to", "wswords:ANY", input=b"  To  be\n")
    assert done.out == b"To[SEP]be\n"
    done = call("apply", "--to", "words-leading", input=b"  To  be\n")
    assert done.out == b"  To[NEWUNIT]  be\n"
    done = call("apply", "--to", "words-trailing", input=b"  To  be\n")
    assert done.out == b"  [NOSEP]To  [NOSEP]be\n"
    done = call("apply", "--to", "wswords", "--invert", input=b"  [NOSEP]To[SEP]be\n")
    assert done.out == b"  To be\n"
    done = call("apply", "--to", only_ab, input=b"ab\nac\n")
    assert done.code == 1 and done.out == b"ab\n\n" and "<stdin>:2" in done.err


def test_apply_all(ambiguous: Path) -> None:
    done = call("apply", "--to", ambiguous, "--all", input=b"ba\nc\n")
    assert done.code == 0 and done.out == b"1\tx\n1\ty\n"
    assert "<stdin>:2: there is no output" in done.err
    done = call("apply", "--to", ambiguous, "--all", "--limit", "1", input=b"a\n")
    assert done.out == b"1\tx\n" and "--limit" in done.err
    assert call("apply", "--to", "chars", "--all", input=b"a\n").out == b"1\ta\n"


def test_apply_inverted(own_cache: None, swap: Path, words: Path) -> None:
    assert call("apply", "--to", swap, "--invert", input=b"bac\n").out == b"abc\n"
    assert call("apply", "--to", words, "--invert", input=b"a[SEP]b\n").out == b"acb\n"
    done = call("apply", "--to", "rna", "--invert", input=b"AU\n")
    assert done.code == 1 and "several inputs give this output" in done.err
    done = call("apply", "--to", "rna", "--invert", "--all", input=b"AU\nT\n")
    assert sorted(done.lines) == ["1\tAT", "1\tAU"]
    assert "<stdin>:2: there is no output" in done.err
    done = call("apply", "--to", "rna", "--invert", input=b"T\n")
    assert done.code == 1 and "no input" in done.err


def test_compile_grammars(own_cache: None, tmp_path: Path) -> None:
    grammar = tmp_path / "g.grm"
    grammar.write_text('export G = "a" : "b";\nexport H = "c" : "[XX]";\n')
    assert call("compile", grammar, "-o", tmp_path / "g.fst").code == 0
    assert read_fst(tmp_path / "g.fst").arcs() == [(0, 97, 98, 1)]
    assert call("compile", grammar, "-r", "H", "-o", tmp_path / "h.fst").code == 0
    assert call("apply", "--to", tmp_path / "h.fst", input=b"c\n").out == b"[XX]\n"
    assert call("compile", grammar, "-o", tmp_path / "g.far").code == 0
    assert (tmp_path / "g.far").stat().st_size > 0
    assert call("compile", "rna", "-o", tmp_path / "rna.fst").code == 0
    for args, code in (
        (["-o", tmp_path / "g.txt"], 2),
        (["-r", "K", "-o", tmp_path / "k.fst"], 1),
        (["-o", tmp_path / "none" / "k.fst"], 1),
        (["-o", tmp_path / "k.fst", "--acceptor"], 2),
        (["-o", tmp_path / "k.fst", "--max-states", "1"], 1),
    ):
        done = call("compile", grammar, *args)
        assert done.code == code and done.err.startswith("lmfst: error: "), args
    assert not (tmp_path / "k.fst").exists()


def test_grammar_errors_have_a_place(own_cache: None, tmp_path: Path, arpa: Path) -> None:
    grammar = tmp_path / "bad.grm"
    grammar.write_text('export G = "a" : ;\n')
    for command in (
        ["compile", grammar, "-o", tmp_path / "x.fst"],
        ["convert", "--model", arpa, "--to", grammar],
        ["info", grammar],
        ["apply", "--to", f"{grammar}:G"],
    ):
        done = call(*command, input=b"a\n")
        assert done.code == 1 and "bad.grm:1:" in done.err and "^" in done.err
    assert call("compile", tmp_path / "none.grm", "-o", tmp_path / "x.fst").code == 1
    assert not (tmp_path / "x.fst").exists()


def test_text_fsts(tmp_path: Path) -> None:
    (tmp_path / "i.syms").write_text("<eps> 0\nein 1\n")
    (tmp_path / "o.syms").write_text("<eps> 0\none 1\ntwo 2\n")
    (tmp_path / "f.txt").write_text("0 1 ein one\n1 2 <eps> two\n2\n")
    tables = ("--isymbols", tmp_path / "i.syms", "--osymbols", tmp_path / "o.syms")
    assert call("compile", tmp_path / "f.txt", *tables, "-o", tmp_path / "f.fst").code == 0
    assert call("apply", "--to", tmp_path / "f.fst", input=b"ein\n").out == b"one two\n"
    piped = call("compile", "-", "-o", tmp_path / "p.fst", input=b"0 1 97 98\n1\n")
    assert piped.code == 0 and read_fst(tmp_path / "p.fst").n_arcs == 1
    (tmp_path / "f.txt").write_text("0 1 ein one\n1 2 <eps> three\n2\n")
    done = call("compile", tmp_path / "f.txt", *tables, "-o", tmp_path / "new.fst")
    assert done.code == 1 and "f.txt, line 2:" in done.err
    assert call("compile", tmp_path / "f.txt", "-r", "X", "-o", "x.fst").code == 2
    assert call("compile", tmp_path / "f.txt", "-o", "x.far").code == 2
    assert call("compile", tmp_path / "none.txt", "-o", tmp_path / "new.fst").code == 1
    assert not (tmp_path / "new.fst").exists()


def test_print_and_compile_again(tmp_path: Path, words: Path, swap: Path) -> None:
    shown = call("print", swap)
    assert shown.code == 0 and "0\t0\t97\t98" in shown.lines and "0\t0\t256\t256" in shown.lines
    table = tmp_path / "o.syms"
    shown = call("print", words, "--save-osymbols", table)
    assert "0\t0\t99\tSEP" in shown.lines
    (tmp_path / "w.txt").write_bytes(shown.out)
    again = tmp_path / "again.fst"
    assert call("compile", tmp_path / "w.txt", "--osymbols", table, "-o", again).code == 0
    assert read_fst(again) == read_fst(words)
    assert call("print", swap, "--save-osymbols", table).code == 2


@pytest.mark.skipif(shutil.which("fstprint") is None, reason="OpenFst's tools are not installed")
def test_openfst_prints_the_same(words: Path, tmp_path: Path) -> None:
    theirs = subprocess.run(["fstprint", words], capture_output=True, check=True).stdout
    assert sorted(theirs.splitlines()) == sorted(call("print", words).out.splitlines())


def test_info(own_cache: None, ambiguous: Path, words: Path) -> None:
    def facts(machine: str | Path) -> dict[str, str]:
        done = call("info", machine)
        assert done.code == 0
        return dict(line.split("\t", 1) for line in done.lines)  # type: ignore[misc]

    good = facts(words)
    assert good["digest"] == read_fst(words).digest
    assert (good["states"], good["arcs"], good["sequential states"]) == ("1", "256", "1")
    assert (good["functional"], good["total over all bytes"]) == ("yes", "yes")
    assert good["generated symbols"] == "1 SEP" and good["output cycle"] == "no"
    bad = facts(ambiguous)
    assert bad["functional"] == "no: 'a' has the outputs 'x' and 'y'"
    assert bad["total over all bytes"] == "no: rejects the empty string"
    assert bad["sequential states"] == "not functional"
    assert facts("rna")["name"] == "rna"
    assert call("info", "chars").code == 2


def test_draw(words: Path) -> None:
    done = call("draw", words)
    assert done.code == 0 and done.lines[0] == 'digraph "words.fst" {'
    assert "c:SEP" in done.out.decode()


def test_include(own_cache: None, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "part.grm").write_text('export X = "x" : "y";\n')
    grammar = tmp_path / "user.grm"
    grammar.write_text("import 'part.grm' as p;\nexport USER = p.X*;\n")
    assert call("apply", "--to", grammar, input=b"x\n").code == 1
    assert call("apply", "--to", grammar, "--include", folder, input=b"x\n").out == b"y\n"


# The default model.


@pytest.fixture(scope="module")
def loaded_once() -> Iterator[None]:
    """Commands in this process share one default model, which takes seconds to load."""
    loaded: dict[str, LM] = {}

    def load(name: str, *, warn: Any, note: Any, **options: Any) -> LM:
        key = f"{name} {options}"
        if key not in loaded:
            loaded[key] = load_lm(name, warn=warn, note=note, **options)
        return loaded[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lmfst.lm.load.load_lm", load)
        yield


@pytest.mark.slow
def test_the_default_model(loaded_once: None) -> None:
    text = b"The cat sat on the mat.\n"
    done = pipe("convert", "--to", "bytes", input=text)
    assert done.code == 0, done.err
    assert done.lines[0] == HEADER and len(done.lines) == 1 + 23 + 1
    rows = done.rows()
    assert "".join(row["unit"] for row in rows) == text.decode().strip() + "⊥"
    (whole,) = call("convert", "--level", "text", "--bounds", input=text).rows()
    parts = math.fsum(float(row["logp"]) for row in rows)
    # Two runs of a float32 model: sums inside one run agree to 1e-9, see test_exactness.
    assert float(whole["logp"]) == pytest.approx(parts, abs=1e-4)
    assert float(whole["lower"]) <= float(whole["upper"])
    assert float(whole["canonical"]) <= float(whole["logp"])
    assert 0 < float(whole["missing"]) <= 0.01
    assert math.fsum(float(row["missing"]) for row in rows) == pytest.approx(
        float(whole["missing"]), rel=1e-3
    )


@pytest.mark.slow
def test_the_default_models_texts_begin_as_in_its_pretraining(
    loaded_once: None, tmp_path: Path
) -> None:
    meta = tmp_path / "meta.json"
    args = ("convert", "--level", "summary", "--meta", meta, "--threshold", "1e-2")
    done = call(*args, REPOSITORY / "data" / "sample.txt")
    assert float(done.rows()[0]["logp"]) > -1750
    assert json.loads(meta.read_text())["bos"] == "<|endoftext|>"
