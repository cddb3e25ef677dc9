"""Plots: their formats, what they draw, and that texts in them are texts."""

from __future__ import annotations

import importlib
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from lmfst.ground.errors import InputError, UsageError
from lmfst.report import SurprisalPlot, next_plot, require_plot
from lmfst.report.plots import MOST_BARS, MOST_PANELS, MOST_POINTS

NASTY = ["$x_1$", "$\\frac{1}{2}$", "$", "a_b^c", "<b>&", "\\n", "\0", "\ud800", "--", "\n", " "]


def block(id: str, units: list[str], bits: list[float]) -> dict[str, list[Any]]:
    return {"id": [id] * len(units), "unit": units, "surprisal": bits}


def texts_of(svg: bytes) -> list[str]:
    """What is written in a drawing: each text stands before its shapes as a comment."""
    ET.fromstring(svg)
    return [found.strip() for found in re.findall(r"<!-- (.*?) -->", svg.decode(), re.DOTALL)]


def drawn(*blocks: dict[str, list[Any]], said: list[str] | None = None) -> list[str]:
    plot = SurprisalPlot("x.svg")
    for one in blocks:
        plot.add(one)
    heard: list[str] = []
    found = texts_of(plot.data(heard.append))
    if said is None:
        assert not heard
    else:
        said += heard
    return found


def test_units_stand_on_the_axis_where_they_are_few() -> None:
    found = drawn(block("first", ["The", " ", "⊥"], [1.0, 2.0, 3.0]))
    assert "first" in found and {"The", "␣", "⊥"} <= {*found} and "surprisal, bits" in found
    many = drawn(block("second", [f"u{at}" for at in range(100)], [1.0] * 100))
    assert "second" in many and "u5" not in many and "unit" in many


def test_panels_and_points_are_limited_and_that_is_said() -> None:
    said: list[str] = []
    long = block("long", ["x"] * (MOST_POINTS + 1), [1.0] * (MOST_POINTS + 1))
    others = [block(f"d{at}", ["x"], [1.0]) for at in range(MOST_PANELS)]
    found = drawn(long, *others, said=said)
    assert f"long (the first {MOST_POINTS:,} of {MOST_POINTS + 1:,} units)" in found
    assert "d4" in found and "d5" not in found
    assert said == [f"--plot: the first {MOST_PANELS} of {MOST_PANELS + 1} documents are shown"]
    assert said[0].removeprefix("--plot: ") in found


def test_probability_zero_is_marked() -> None:
    assert "a; ▲ has probability 0" in drawn(block("a", ["x", "⊥"], [1.0, math.inf]))


def test_no_documents_make_an_empty_plot_with_a_warning() -> None:
    said: list[str] = []
    assert "no documents" in drawn(said=said)
    assert "there are no documents" in said[0]


@pytest.mark.parametrize("nasty", NASTY)
def test_texts_are_not_markup(nasty: str) -> None:
    found = drawn(block(nasty, [nasty, "x"], [1.0, 2.0]))
    if nasty in ("$x_1$", "$", "a_b^c", "\\n"):
        assert found.count(nasty) == 2
    assert texts_of(next_plot("x.svg", nasty, [(nasty, -1.0)], print))


def test_characters_that_the_font_lacks_are_told() -> None:
    said: list[str] = []
    drawn(block("猫", ["猫", "⊥"], [1.0, 2.0]), said=said)
    assert len(said) == 1 and "not in the font" in said[0]


def test_bars_of_the_next_unit() -> None:
    found = texts_of(next_plot("x.svg", "The ", [("cat", math.log(0.75)), ("⊥", -2.0)], print))
    assert {"cat", "⊥", "0.75", "0.135", "after “The ”", "probability"} <= {*found}
    said: list[str] = []
    units = [(f"u{at}", math.log(0.01)) for at in range(MOST_BARS + 10)]
    found = texts_of(next_plot("x.svg", "", units, said.append))
    assert "10 others" in found and "0.1" in found and "at the beginning" in found
    assert said == [f"--plot: the first {MOST_BARS} of {MOST_BARS + 10} units are shown one by one"]


def test_the_same_rows_give_the_same_file() -> None:
    def data(path: str) -> bytes:
        plot = SurprisalPlot(path)
        plot.add(block("a", ["x", "⊥"], [1.0, 2.0]))
        return plot.data(print)

    assert data("x.svg") == data("y.SVG")
    assert data("x.png").startswith(b"\x89PNG\r\n") and data("x.png") == data("x.png")


@pytest.mark.parametrize("name", ["x", "x.pdf", "png", "x.png.gz"])
def test_the_suffix_decides(name: str) -> None:
    with pytest.raises(UsageError, match=r"ends in \.png or \.svg"):
        require_plot(name)


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def missing(name: str, package: str | None = None) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(f"No module named {name!r}")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(InputError, match=r"(?s)--plot: expected.*lmfst\[plot\]"):
        require_plot("x.png")


def test_no_global_state_is_touched(tmp_path: Path) -> None:
    import matplotlib

    before = {**matplotlib.rcParams}
    drawn(block("a", ["$x$", "⊥"], [1.0, 2.0]))
    assert {**matplotlib.rcParams} == before


def axes_of(monkeypatch: pytest.MonkeyPatch, units: list[str], bits: list[float]) -> Any:
    """The axes that a document is drawn on."""
    figures = importlib.import_module("matplotlib.figure")
    kept: list[Any] = []
    save = figures.Figure.savefig
    monkeypatch.setattr(
        figures.Figure, "savefig", lambda self, *a, **k: (kept.append(self), save(self, *a, **k))
    )
    drawn(block("d", units, bits))
    (ax,) = kept[0].axes
    return ax


def test_estimates_below_zero_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    ax = axes_of(monkeypatch, ["a", "b"], [-0.5, 1.0])
    assert ax.get_ylim()[0] <= -0.5
    assert [bar.get_height() for bar in ax.patches] == [-0.5, 1.0]


def test_the_axis_begins_at_zero_and_units_at_one(monkeypatch: pytest.MonkeyPatch) -> None:
    ax = axes_of(monkeypatch, ["x"] * 99 + ["⊥"], [3.0] * 99 + [math.inf])
    assert ax.get_ylim()[0] == 0.0
    line, impossible = ax.lines
    assert (line.get_xdata()[0], line.get_xdata()[-1]) == (1, 100)
    assert [*impossible.get_xdata()] == [100]


def test_a_long_prefix_is_cut_at_its_beginning() -> None:
    found = texts_of(next_plot("n.svg", "a" * 50 + "b" * 80, [("x", -1.0)], print))
    assert f"after “…{'b' * 80}”" in found
    assert f"after “{'b' * 80}”" in texts_of(next_plot("n.svg", "b" * 80, [("x", -1.0)], print))


def test_a_place_that_no_file_can_have_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    for name, why in (
        ("gone/p.png", "No such file or directory"),
        ("folder.png", "Is a directory"),
        ("file/p.svg", "Not a directory"),
    ):
        with pytest.raises(InputError, match=f"--plot can't be written: {why}"):
            SurprisalPlot(str(tmp_path / name))
    assert require_plot(str(tmp_path / "p.PNG")) == "png"
