"""`lmfst report` and the plots of `convert` and `next`, as commands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cli import call, environment, pipe
from tests.support.outputs import Page, document, write


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    texts = ["ab", "abacab", "", "b"]
    rows = [{"id": f"d{at}", "text": text} for at, text in enumerate(texts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_page_of_an_output_of_score(model: Path, corpus: Path) -> None:
    out, page = corpus.with_name("out.tsv"), corpus.with_name("page.html")
    options = ["--model", model, "--exact"]
    assert pipe("score", corpus, "-o", out, *options).code == 0
    done = call("report", out, "-o", page)
    assert (done.code, done.err, done.out) == (0, "", b"")
    found = Page(page.read_text())
    summary = call("convert", corpus, *options, "--level", "summary").rows()[0]
    totals = found.table("Totals of out.tsv: 4 documents, 9 units, 9 target symbols, 9 bytes")
    assert float(summary["bits_per_symbol"]) == pytest.approx(
        float(totals["Bits per symbol"][0]), abs=1e-4
    )
    assert totals["Bits per byte of the source"] == totals["Bits per symbol"]
    assert "bytes of the text" in found.short
    assert found.table("Options and files")["to"] == ["bytes"]
    # The same page by a pipe.
    assert call("report", out).out.decode() == page.read_text()


def test_two_settings_of_a_model(model: Path, corpus: Path) -> None:
    outs = [corpus.with_name(f"{name}.jsonl") for name in ("exact", "pruned")]
    assert pipe("score", corpus, "-o", outs[0], "--model", model, "--exact").code == 0
    pruned = ["--beam", "1", "--threshold", "0.9"]
    assert pipe("score", corpus, "-o", outs[1], "--model", model, *pruned).code == 0
    done = call("report", *outs, "-o", corpus.with_name("page.html"))
    assert done.code == 0, done.err
    found = Page(corpus.with_name("page.html").read_text())
    assert "Which is better: A exact.jsonl" in found.short
    assert "matched by file and line" in str(list(found.tables))
    assert found.table("Options and files")["policy (differs)"] == ["exact", "beam"]


def test_an_output_of_convert_with_texts(model: Path, corpus: Path) -> None:
    out, texts = corpus.with_name("o.parquet"), corpus.with_name("t.tsv")
    options = ["--model", model, "--exact"]
    assert pipe("convert", corpus, "-o", out, *options).code == 0
    assert pipe("convert", corpus, "-o", texts, *options, "--level", "text").code == 0
    done = call("report", out, "--texts", texts)
    assert done.code == 0, done.err
    assert "no canonical log-probability" in done.out.decode()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["a.tsv", "b.tsv", "c.tsv"], 2, "expected one output or two, found 3"),
        (["a.tsv", "a.tsv"], 2, "comes twice"),
        (["a.tsv", "-o", "a.tsv"], 2, "isn't read as input"),
        (["a.tsv", "b.tsv", "-o", "b.tsv"], 2, "isn't read as input"),
        (["a.tsv", "--texts", "t.tsv", "-o", "t.tsv"], 2, "isn't read as input"),
        (["a.tsv", "-o", "a.tsv.manifest.json"], 2, "isn't read as input"),
        (["a.tsv", "-o", "gone/page.html"], 1, "gone/page.html: -o can't be written"),
        (["a.tsv", "other.tsv"], 1, "found no document that both have"),
        (["text.tsv"], 1, "found rows of level text"),
        (["text.tsv"], 1, "name rows of texts with --texts"),
        (["lines.tsv"], 1, "expected rows of level unit, with the columns id, index, unit"),
        (["gone.tsv"], 1, "gone.tsv"),
        (["."], 2, "expected a file of rows"),
        (["-"], 2, "expected a file of rows"),
        (["a.tsv", "--texts", "b.tsv"], 1, "expected rows of level text"),
    ],
)
def test_bad_input_gets_a_message(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "c"):
        write(tmp_path / f"{name}.tsv", document("d", [(name, 1.0)]))
    write(tmp_path / "other.tsv", document("e", [("x", 1.0)]))
    (tmp_path / "text.tsv").write_text(
        "id\tunits\tsymbols\tlogp\tmissing\tcanonical\tstderr\tgap\tbits_per_symbol\tspecials\n"
    )
    (tmp_path / "t.tsv").write_text((tmp_path / "text.tsv").read_text())
    (tmp_path / "lines.tsv").write_text("a line\nanother\n")
    (tmp_path / "a.tsv.manifest.json").write_text("{}")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    done = call("report", *arguments)
    assert (done.code, done.out) == (code, b"") and message in done.err, done.err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_pipe_is_refused_as_an_output_to_read(tmp_path: Path) -> None:
    done = call("report", "-", input=b"x")
    assert done.code == 2 and "lmfst score … -o OUT.tsv" in done.err


def test_plots_of_convert(model: Path, corpus: Path) -> None:
    plain = pipe("convert", corpus, "--model", model, "--exact")
    for suffix, begin in ((".png", b"\x89PNG"), (".svg", b"<?xml")):
        picture = corpus.with_name(f"p{suffix}")
        done = pipe("convert", corpus, "--model", model, "--exact", "--plot", picture)
        assert done.code == 0 and "--plot" not in done.err and done.out == plain.out
        assert picture.read_bytes().startswith(begin)
    text = corpus.with_name("p.svg").read_text()
    assert all(f"<!-- d{at} -->" in text for at in range(4))


def test_plots_of_next(model: Path, tmp_path: Path) -> None:
    picture = tmp_path / "n.svg"
    options = ["--model", model, "--exact", "--top", "3"]
    plain = pipe("next", "a", *options)
    done = pipe("next", "a", *options, "--plot", picture)
    assert done.code == 0 and "--plot" not in done.err and done.out == plain.out
    labels = [row["unit"] for row in done.rows()]
    assert all(f"<!-- {label} -->" in picture.read_text() for label in labels)


@pytest.mark.parametrize("level", ["text", "summary", "replicate"])
def test_a_plot_needs_units(model: Path, corpus: Path, level: str) -> None:
    sample = ["--policy", "sample"]
    done = call("convert", corpus, "--model", model, "--level", level, "--plot", "p.png", *sample)
    assert done.code == 2 and f"--level {level} has no rows of units" in done.err


@pytest.mark.parametrize("command", [["convert", "corpus.jsonl"], ["next", "a"]])
def test_plots_with_mistakes(
    model: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.chdir(corpus.parent)
    options = [*command, "--model", model, "--exact", "--plot"]
    done = call(*options, "p.pdf")
    assert done.code == 2 and "ends in .png or .svg" in done.err and not done.out
    done = call(*options, "gone/p.png")
    assert done.code == 1 and "gone/p.png: --plot can't be written" in done.err
    assert not done.out
    assert not Path("p.pdf").exists()


def test_a_plot_is_not_written_over_what_is_read(model: Path, tmp_path: Path) -> None:
    text = tmp_path / "a.svg"
    text.write_text("ab\n")
    done = call("convert", text, "--model", model, "--exact", "--plot", text)
    assert done.code == 2 and "isn't read as input" in done.err and text.read_text() == "ab\n"


def test_what_is_not_asked_for_is_not_imported(model: Path, corpus: Path) -> None:
    code = (
        "import sys; from lmfst.cli import app\n"
        "try: app(sys.argv[1:])\n"
        "finally: print(sorted({'matplotlib', 'lmfst.report'} & {*sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "convert", str(corpus), "--model", str(model), "--exact"],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.stderr.endswith("[]\n"), done.stderr


def test_what_is_written_has_a_file_of_its_own(
    model: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(corpus.parent)
    options = ["--model", model, "--exact", "--format", "tsv"]
    done = call("convert", corpus, *options, "-o", "o.svg", "--plot", "./o.svg")
    assert done.code == 2 and "--plot ./o.svg: expected a file of its own, -o goes" in done.err
    done = call("convert", corpus, *options, "--meta", "o.svg", "--plot", "o.svg")
    assert done.code == 2 and "--meta goes there, too" in done.err
    assert not Path("o.svg").exists()
    done = call("convert", corpus, *options, "-o", "o.svg", "--meta", "m.json", "--plot", "p.svg")
    assert done.code == 0 and Path("o.svg").read_text().startswith("id\t")
