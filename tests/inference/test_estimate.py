"""Estimates in a corpus: replicates, differences, what is too rough, and what models recommend."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lmfst.cli import app
from lmfst.ground.errors import InputError, UsageError
from lmfst.inference.estimate import effective_number, stderr_of_difference, unsure
from lmfst.inference.policy import Exact, Tolerance
from lmfst.inference.recommend import RECOMMENDED, merges_sources, recommended
from lmfst.inference.sampling import Sample
from lmfst.lm.base import LM
from lmfst.lm.load import load_lm
from lmfst.model import TransducedLM, load
from lmfst.scored.levels import Levels
from lmfst.scored.records import rows_of
from lmfst.target.load import load_fst, load_target
from tests.inference.test_sampling import amino
from tests.support.oracle import TableLM, make_vocab, random_fst

DNA = b"ACGT"


def test_replicates_are_what_the_mean_is_of() -> None:
    lm, target, text = amino(3, False)
    policy, silent = Sample(particles=4, replicates=5), (lambda message: None)
    scored = TransducedLM(lm, target, policy, warn=silent).score([text])[0]
    rows = list(scored.replicate_rows())
    assert [row["replicate"] for row in rows] == list(range(5))
    logps = np.array([row["logp"] for row in rows])
    assert len(set(logps.tolist())) > 1
    mean = np.logaddexp.reduce(logps) - math.log(5)
    assert scored.logp == pytest.approx(mean, abs=1e-12)
    share = np.exp(logps - mean)
    assert scored.stderr == pytest.approx(share.std(ddof=1) / math.sqrt(5), rel=1e-9)
    # Replicates of a run of fewer are the first ones of a run of more.
    policy = Sample(particles=4, replicates=3)
    fewer = TransducedLM(lm, target, policy, warn=silent).score([text])[0]
    assert [row["logp"] for row in fewer.replicate_rows()] == pytest.approx(logps[:3].tolist())


def test_the_error_of_a_difference_is_that_of_pairs() -> None:
    rng = np.random.default_rng(0)
    common = rng.normal(0, 0.3, 4000)
    one, other = common + rng.normal(0, 0.02, 4000) - 5, common - 7
    apart = stderr_of_difference(one, rng.permutation(other))
    together = stderr_of_difference(one, other)
    assert together is not None and apart is not None and together < apart / 5
    assert together == pytest.approx(0.02 / math.sqrt(4000), rel=0.3)
    assert stderr_of_difference(one, one) == 0.0
    assert stderr_of_difference(one[:1], other[:1]) is None
    assert stderr_of_difference(None, other) is None
    assert stderr_of_difference(one, np.full(4000, -math.inf)) is None


@pytest.fixture(scope="module")
def short() -> LM:
    """The model of DNA after its last three bases, whose sums are exact."""
    return load_lm("dna", context=3)


def test_common_random_numbers_make_differences_surer(short: LM) -> None:
    target = load_target("amino")
    policy = Sample(particles=6, replicates=300, common=True, gap=False)
    proteins = ["MKLLSRLSRLLSRR", "MKLLSRLSRLLSRL"]
    one, other = TransducedLM(short, target, policy).score(proteins, given="target")
    # What is alike is decided alike: all replicates agree before the last residue.
    np.testing.assert_allclose(one.log_prefix[:14], other.log_prefix[:14], atol=1e-12)
    difference = other.versus(one)
    assert one.stderr is not None and other.stderr is not None
    independent = math.hypot(one.stderr, other.stderr)
    assert 0 < difference["difference_stderr"] < 0.8 * independent
    exact = TransducedLM(short, target, Exact())
    true = exact.logp(proteins[1]) - exact.logp(proteins[0])
    assert abs(difference["difference"] - true) < 4 * difference["difference_stderr"]


def test_few_replicates_that_hold_the_weight_are_noticed(short: LM) -> None:
    assert effective_number(np.log([1.0, 1.0, 1.0, 1.0])) == pytest.approx(4)
    assert effective_number(np.log([1e-9, 1.0, 1e-9, 1e-9])) == pytest.approx(1)
    assert not unsure(np.log([1.0, 1.1, 0.9]))
    assert unsure(np.log([1.0, 9.0, 0.1]))
    assert not unsure(np.log([1.0, 2.0] * 20)) and unsure(np.log([1.0, 2.0] * 4))
    assert not unsure(np.zeros(1)) and not unsure(None)
    assert not unsure(np.full(3, -math.inf))
    for particles, few in ((1, True), (10**6, False)):
        heard: list[str] = []
        policy = Sample(particles=particles, replicates=8, gap=False)
        model = TransducedLM(short, load_target("amino"), policy, warn=heard.append)
        model.score(["MKLLSRMKLLSR"], given="target")
        assert any("too rough to report; raise --particles" in said for said in heard) is few


def test_levels_and_what_they_go_with() -> None:
    with pytest.raises(UsageError, match="--bounds"):
        Levels("replicate", bounds=True)
    with pytest.raises(UsageError, match="--versus"):
        Levels("unit", versus="a")
    with pytest.raises(UsageError, match="replicates"):
        Levels("replicate").require(Tolerance())
    Levels("replicate").require(Sample())
    lm = TableLM(make_vocab([b"a", b"b"]), order=2, depth=6, seed=0, merges=True)
    model = TransducedLM(lm, load_target("bytes"), Exact())
    records = model.score(["ab", "b", "a"])
    rows = [row for some, _ in Levels("text", versus="2").blocks(records) for row in rows_of(some)]
    assert [row["id"] for row in rows] == ["1", "2", "3"]
    assert [row["versus"] for row in rows] == ["2"] * 3
    for row, record in zip(rows, records, strict=True):
        assert row["difference"] == pytest.approx(record.logp - records[1].logp, abs=1e-12)
        assert row["difference_stderr"] is None
    twice = [*records, replace(records[0], id="2")]
    said: list[str] = []
    found = Levels("text", versus="2").blocks(twice, said.append)
    rows = [row for some, _ in found for row in rows_of(some)]
    assert rows[3]["difference"] == rows[0]["difference"]
    assert said == [
        "--versus '2': documents 2 and 4 both have the id '2'; texts are compared with document 2"
    ]
    with pytest.raises(InputError, match=r"--versus '9': .* no document has it") as raised:
        list(Levels("text", versus="9").blocks(records))
    assert "'1', '2', '3'" in raised.value.hint


@pytest.mark.parametrize(
    ("to", "merges"), [("amino", True), ("rna", False), ("lower", False), ("whitespace", False)]
)
def test_which_targets_merge_sources_of_dna(to: str, merges: bool) -> None:
    assert merges_sources(load_fst(to), DNA) is merges


def test_targets_that_merge_more_than_dna() -> None:
    assert merges_sources(load_fst("lower"), b"aA")
    for seed in range(12):
        fst = random_fst(seed)
        from lmfst.fst import apply_all

        texts = [bytes(t) for n in range(5) for t in np.ndindex(*[2] * n)]
        texts = [bytes(b"ab"[i] for i in t) for t in texts]
        outputs = [tuple(map(tuple, apply_all(fst, text, 2))) for text in texts]
        if len(set(outputs)) < len(outputs):
            assert merges_sources(fst, b"ab")


def test_the_model_of_dna_recommends_sampling() -> None:
    fst = load_fst("amino")
    assert recommended("dna", fst, DNA) == RECOMMENDED["dna"]
    assert recommended("dna", load_fst("rna"), DNA) is None
    assert recommended("dna", None, DNA) is None
    assert recommended("smollm2-135m", fst, DNA) is None
    model = load("dna", to="amino")
    assert isinstance(model.policy, Sample) and model.policy.guide == "dna"
    assert isinstance(load("dna", to="bytes").policy, Tolerance)
    assert isinstance(load("dna", to="amino", policy="beam").policy, Tolerance)
    assert isinstance(TransducedLM(load_lm("dna"), load_target("amino")).policy, Tolerance)


def test_what_the_command_line_makes_of_it(tmp_path: Path) -> None:
    proteins = tmp_path / "p.fa"
    proteins.write_text(">wild type\nMKL\n>mutant\nMKV\n")
    meta = tmp_path / "meta.json"
    base = ["convert", "--model", "dna", "--to", "amino", "--given", "target", str(proteins)]

    def run(*options: str) -> tuple[list[dict[str, str]], str, dict[str, object]]:
        done = CliRunner().invoke(app, [*base, "--meta", str(meta), *options])
        assert done.exit_code == 0, done.output
        head, *lines = done.stdout.splitlines()
        names = head.split("\t")
        rows = [dict(zip(names, line.split("\t"), strict=True)) for line in lines]
        return rows, done.stderr, json.loads(meta.read_text())

    rows, said, facts = run("--level", "text", "--versus", "wild")
    assert "estimating by --policy sample --guide dna" in said
    assert (facts["policy"], facts["particles"], facts["guide"]) == ("sample", 64, "dna")
    assert facts["policy_from"] == "model" and facts["common"] is True
    assert [row["versus"] for row in rows] == ["wild type"] * 2
    assert rows[0]["difference"] == "0" and float(rows[1]["difference_stderr"]) > 0
    gap = float(rows[1]["logp"]) - float(rows[0]["logp"])
    assert float(rows[1]["difference"]) == pytest.approx(gap, abs=1e-6)
    rows, _, facts = run("--level", "replicate", "--replicates", "3")
    assert [row["replicate"] for row in rows] == ["0", "1", "2"] * 2
    assert (facts["particles"], facts["replicates"]) == (64, 3)
    rows, said, facts = run("--level", "text", "--policy", "beam")
    assert "estimating" not in said and facts["policy_from"] == "options"
    rows, said, facts = run("--level", "text", "--context", "3")
    assert "estimating" not in said and facts["policy_from"] == "default"
    done = CliRunner().invoke(app, [*base, "--level", "replicate", "--policy", "beam"])
    assert done.exit_code == 2 and "only estimates have replicates" in done.stderr
