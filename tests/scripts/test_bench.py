"""The pure parts of the benchmark: divergence, texts, turns, tables, ratios. It runs no model."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.paths import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "scripts"))

from benchmark import sections
from benchmark.divergence import jensen_shannon, mean_divergence
from benchmark.report import no_worse, plot, ratios, table
from benchmark.rounds import Setting, ratio, summary, take_turns
from benchmark.texts import LEAST, MOST, beginning, of_length, read_texts, short_lines, size, spread

TEXTS = read_texts(REPOSITORY / "data" / "bench.txt", 0)


def test_divergence_of_known_distributions() -> None:
    p = np.array([[1.0, 0.0], [0.5, 0.5], [1.0, 0.0]])
    q = np.array([[0.0, 1.0], [0.5, 0.5], [0.5, 0.5]])
    # The third: half of log2(4/3), and half of 1/2·log2(2/3) + 1/2·log2(2).
    third = 0.5 * math.log2(4 / 3) + 0.25 * (math.log2(2 / 3) + 1)
    assert jensen_shannon(p, q) == pytest.approx([1.0, 0.0, third])
    assert jensen_shannon(q, p) == pytest.approx(jensen_shannon(p, q))


def test_mean_divergence_weighs_positions_alike() -> None:
    same, other = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    long = np.concatenate([same, same, same])
    assert mean_divergence([long, same], [long, other]) == pytest.approx(1 / 4)


def test_texts_of_the_benchmark() -> None:
    assert len(TEXTS) >= 8
    assert all(250 <= size([text]) <= 500 for text in TEXTS)
    assert any(not text.isascii() for text in TEXTS)
    assert TEXTS[:3] == read_texts(REPOSITORY / "data" / "bench.txt", 3)


def test_short_lines_come_from_all_texts() -> None:
    lines = short_lines(TEXTS, 64)
    assert len(set(lines)) == 64
    assert all(LEAST <= size([line]) <= MOST for line in lines)
    assert all(any(line in text for line in lines) for text in TEXTS)
    assert all(any(line in text for text in TEXTS) for line in lines)
    with pytest.raises(ValueError, match="not 1000"):
        short_lines(TEXTS, 1000)


def test_spread() -> None:
    assert spread("abcdefghij", 3) == ["b", "f", "i"]
    assert spread("abc", 0) == spread("abc", 5) == ["a", "b", "c"]


def test_beginnings_end_before_a_space() -> None:
    assert beginning("one two three", 7) == "one two"
    assert beginning("one two three", 8) == "one two"
    assert beginning("one twé three", 7) == "one"
    assert beginning("one two", 7) == "one two"


def test_lengths_cut_no_character() -> None:
    assert of_length(["aé", "b"], 2) == "a"
    assert of_length(["aé", "b"], 5) == "aé\n\n"
    assert size([of_length(TEXTS, 4096)]) in range(4093, 4097)
    with pytest.raises(ValueError, match="together"):
        of_length(["short"], 100)


def setting(name: str, seconds: Sequence[float], log: list[tuple[str, int]]) -> Setting:
    """A setting whose parts take the given times."""

    def run(at: int, part: Sequence[str]) -> dict[str, Any]:
        log.append((name, at))
        forward = seconds[at] / 2
        counted = {"calls": 2, "positions": 5, "memory": 10.0 * (at + 1)}
        return {"seconds": seconds[at], "forward": forward, "logp": -1.5, **counted}

    return Setting(name, [["text"]] * len(seconds), run, ["warm"])


def test_settings_take_turns_and_slow_ones_run_once() -> None:
    log: list[tuple[str, int]] = []
    quick, slow = setting("quick", [1.0, 2.0], log), setting("slow", [30.0, 10.0], log)
    take_turns([quick, slow], 3, 60.0)
    first = [("quick", 0), ("slow", 0), ("quick", 1), ("slow", 1)]
    assert log == [("quick", -1), ("slow", -1), *first, *[("quick", 0), ("quick", 1)] * 2]
    assert (quick.seconds, slow.seconds) == ([3.0] * 3, [40.0])


def test_rounds_alternate_direction() -> None:
    log: list[tuple[str, int]] = []
    take_turns([setting("a", [1.0], log), setting("b", [1.0], log)], 2, 60.0)
    assert [name for name, at in log if at == 0] == ["a", "b", "b", "a"]


def test_summary() -> None:
    found = setting("x", [1.0, 3.0], [])
    take_turns([found], 2, 60.0)
    row = summary(found, 80)
    assert (row["median"], row["bytes_per_s"], row["rounds"]) == (4.0, 20.0, 2)
    assert (row["calls"], row["positions"], row["logp"]) == (4, 10, -3.0)
    assert (row["outside"], row["memory"]) == (0.5, 20.0)


def test_summary_without_a_meter() -> None:
    found = setting("x", [1.0], [])
    take_turns([found], 1, 60.0)
    found.rounds[0][0].update(forward=None, calls=None, positions=None, memory=None)
    row = summary(found, 1)
    assert [row[name] for name in ("calls", "positions", "outside", "memory")] == [None] * 4


def test_ratio_is_paired_by_round() -> None:
    assert ratio([10.0, 30.0, 8.0], [5.0, 10.0, 8.0]) == (2.0, 1.0, 3.0)
    assert ratio([10.0], [5.0, 1.0]) == (2.0, 2.0, 2.0)


def test_table_aligns_and_leaves_empty_columns_out() -> None:
    columns = {
        "name": lambda row: row["name"],
        "n": lambda row: str(row["n"]),
        "gone": lambda row: "–",
    }
    rows = [{"name": "a", "n": 5}, {"name": "longer", "n": 123}]
    assert table(rows, columns) == "name      n\na         5\nlonger  123"


def row(name: str, seconds: float, divergence: float | None = None) -> dict[str, Any]:
    shared = {
        "rounds": 1,
        "median": seconds,
        "seconds": [seconds],
        "outside": 0.25,
        "softmax": 0.0625,
    }
    more = {} if divergence is None else {"divergence": divergence}
    return {"setting": name, "bytes_per_s": 100 / seconds, **shared, **more}


def full_section() -> dict[str, Any]:
    ours = [row(f"{sections.FULL}{t:g}", s, d) for t, s, d in ((0.01, 2, 0.3), (0.001, 4, 0.1))]
    return {"rows": [*ours, row(f"{sections.GENLM_FULL}0.001", 40, 0.2)]}


def test_the_fastest_that_is_no_worse() -> None:
    rows = full_section()["rows"]
    assert no_worse(rows[:2], 0.2) is rows[1]
    assert no_worse(rows[:2], 0.3) is rows[0]
    assert no_worse(rows[:2], 0.05) is None


def test_ratios() -> None:
    found = {
        "full": full_section(),
        "scoring": {"rows": [row(sections.SCORING, 6), row(sections.TEACHER_FORCED, 2)]},
    }
    best, forced, *outside = ratios(found)
    assert f"genlm-bytes takes 10.00 × {sections.FULL}0.001 (0.1)" in best
    assert forced == "scoring takes 3.00 × a teacher-forced pass"
    assert [line[-5:] for line in outside] == ["25.0%", "18.8%"] * 2
    assert ratios({}) == []


def test_scoring_ratio_is_at_no_worse_a_total() -> None:
    ours = [row("lmfst, coarse", 1), row("lmfst, middle", 2), row("lmfst, fine", 3)]
    rows = [*ours, row(sections.GENLM_SCORING, 40)]
    for found, below in zip(rows, (0.9, 0.5, 0.1, 0.6), strict=True):
        found["below"] = below
    (line,) = ratios({"genlm-scoring": {"rows": rows}})
    assert "no worse than genlm-bytes' 0.6: genlm-bytes takes 20.00 × lmfst, middle (0.5)" in line


def test_plot(tmp_path: Path) -> None:
    place = tmp_path / "plot.svg"
    assert plot({"full": full_section()}, place)
    assert "<svg" in place.read_text()
    assert not plot({"lines": {"rows": [row("x", 1)]}}, place)
