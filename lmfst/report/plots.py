"""Plots, as PNG or SVG: surprisal along documents, and the distribution of the next unit.

They are drawn by matplotlib, which comes with the extra `plot`, without a display and without its
global state. Texts of the user's are drawn as they are: nothing in them is read as markup.
"""

from __future__ import annotations

import errno
import io
import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from lmfst.ground.errors import InputError, UsageError
from lmfst.ground.types import Warn
from lmfst.io.extras import extra
from lmfst.report.markup import clean, cut

MOST_PANELS = 6
"""Documents of a plot."""
MOST_NAMED = 60
"""Units of a document that are named on the axis; a document with more is a curve."""
MOST_POINTS = 20_000
"""Units of a document that are drawn."""
MOST_BARS = 40
"""Units of a distribution that are drawn."""
_LABEL, _TITLE = 16, 80
_WIDTH, _PANEL, _BAR = 10.0, 2.6, 0.24
"""Inches."""
_COLOUR, _REST = "#1f5fbf", "#8a8a96"
# A $ of a text begins no formula, and the user's own settings make none of it either.
_SETTINGS = {
    "text.parse_math": False,
    "text.usetex": False,
    "axes.formatter.use_mathtext": False,
    "svg.hashsalt": "lmfst",
}


def require_plot(path: str) -> str:
    """The format that the name of a plot says, "png" or "svg". UsageError for another name,
    InputError without matplotlib, and for a place where no file can be written: all is computed
    before the plot is."""
    suffix = PurePath(path).suffix.lower()
    if suffix not in (".png", ".svg"):
        raise UsageError(
            f"--plot {path}: expected a name that ends in .png or .svg",
            hint="the suffix says in which format the plot is written",
        )
    extra("matplotlib.figure", "plot", "--plot")
    if why := _unwritable(os.path.realpath(path)):
        raise InputError(
            f"{path}: --plot can't be written: {os.strerror(why)}",
            hint="name a file in a folder you own",
        )
    return suffix[1:]


def _unwritable(path: str) -> int:
    """Why no file can be written at a place, as the system's number of that error; 0: it can."""
    folder = os.path.dirname(path)
    if os.path.isdir(path):
        return errno.EISDIR
    if not os.path.exists(folder):
        return errno.ENOENT
    if not os.path.isdir(folder):
        return errno.ENOTDIR
    return 0 if os.access(folder, os.W_OK | os.X_OK) else errno.EACCES


@dataclass
class _Panel:
    """A document. units, bits: those that are drawn; count: of all, ⊥ among them."""

    id: str
    units: list[str]
    bits: list[float]
    count: int


class SurprisalPlot:
    """Surprisal along each document, in a panel of its own."""

    def __init__(self, path: str) -> None:
        """path: where the plot will go. Errors: see `require_plot`."""
        self._format = require_plot(path)
        self._panels: list[_Panel] = []
        self.documents = 0

    def add(self, block: Mapping[str, Sequence[Any]]) -> None:
        """Take up the rows of a document."""
        self.documents += 1
        if len(self._panels) < MOST_PANELS:
            units, bits = block["unit"][:MOST_POINTS], block["surprisal"][:MOST_POINTS]
            panel = _Panel(block["id"][0], [*units], [*bits], len(block["unit"]))
            self._panels.append(panel)

    def data(self, warn: Warn) -> bytes:
        """The plot. warn: is told what isn't drawn. InputError if there is no document."""
        if not self._panels:
            warn("--plot: there are no documents, so that the plot is empty")
        if self.documents > len(self._panels):
            warn(f"--plot: {self._left_out()}")
        height = _PANEL * max(1, len(self._panels)) + 0.3
        return _drawn(self._format, height, self._paint, warn)

    def _left_out(self) -> str:
        return f"the first {len(self._panels)} of {self.documents:,} documents are shown"

    def _paint(self, figure: Any) -> None:
        if not self._panels:
            figure.text(0.5, 0.5, "no documents", ha="center")
            return
        axes = figure.subplots(len(self._panels), 1, squeeze=False)[:, 0]
        for panel, ax in zip(self._panels, axes, strict=True):
            _panel(panel, ax)
        if self.documents > len(self._panels):
            figure.supxlabel(self._left_out(), fontsize="small")


def _panel(panel: _Panel, ax: Any) -> None:
    # As on the page, the first unit is unit 1.
    places = range(1, len(panel.bits) + 1)
    finite = [value if math.isfinite(value) else math.nan for value in panel.bits]
    title = _shown(panel.id, _TITLE)
    if len(panel.bits) < panel.count:
        title += f" (the first {len(panel.bits):,} of {panel.count:,} units)"
    if len(panel.bits) <= MOST_NAMED:
        ax.bar(places, finite, color=_COLOUR)
        labels = [_unit(unit) for unit in panel.units]
        turned = {"rotation": 90} if max(map(len, labels)) > 2 else {}
        ax.set_xticks(places, labels, fontsize="small", **turned)
    else:
        ax.plot(places, finite, color=_COLOUR, linewidth=0.8)
        ax.set_xlabel("unit", fontsize="small")
        ax.margins(x=0.01)
    impossible = [at for at, value in zip(places, panel.bits, strict=True) if value == math.inf]
    if impossible:
        top = [0.97] * len(impossible)
        ax.plot(impossible, top, "^", color=_COLOUR, transform=ax.get_xaxis_transform())
        title += "; ▲ has probability 0"
    ax.set_title(title, fontsize="medium", loc="left")
    ax.set_ylabel("surprisal, bits")
    # Estimates may be below 0.
    ax.set_ylim(bottom=1.05 * min(0.0, *panel.bits))


def next_plot(path: str, prefix: str, found: Sequence[tuple[str, float]], warn: Warn) -> bytes:
    """Bars of the distribution of the next unit. found: units with their logp in nats, the most
    probable first. warn: is told what isn't drawn. Errors: see `require_plot`."""
    shown = [(_unit(unit), math.exp(logp), _COLOUR) for unit, logp in found[:MOST_BARS]]
    rest = [math.exp(logp) for _, logp in found[MOST_BARS:]]
    if rest:
        warn(f"--plot: the first {MOST_BARS} of {len(found):,} units are shown one by one")
        shown.append((f"{len(rest):,} others", math.fsum(rest), _REST))

    def paint(figure: Any) -> None:
        ax = figure.subplots()
        places = range(len(shown))
        bars = ax.barh(places, [p for _, p, _ in shown], color=[colour for _, _, colour in shown])
        ax.bar_label(bars, [f"{p:.3g}" for _, p, _ in shown], padding=3, fontsize="small")
        ax.set_yticks(places, [label for label, _, _ in shown])
        ax.invert_yaxis()
        ax.margins(x=0.1, y=0.01)
        ax.set_xlabel("probability")
        last = prefix if len(prefix) <= _TITLE else "…" + prefix[-_TITLE:]
        after = f"after “{_shown(last, _TITLE + 1)}”" if prefix else "at the beginning"
        ax.set_title(after, fontsize="medium", loc="left")

    return _drawn(require_plot(path), _BAR * len(shown) + 1.2, paint, warn)


def _drawn(kind: str, height: float, paint: Callable[[Any], None], warn: Warn) -> bytes:
    """What `paint` draws on a figure, in a format."""
    library = extra("matplotlib", "plot", "--plot")
    figures = extra("matplotlib.figure", "plot", "--plot")
    out = io.BytesIO()
    with library.rc_context(_SETTINGS), warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        figure = figures.Figure(figsize=(_WIDTH, height), layout="constrained")
        paint(figure)
        # The same rows give the same file.
        dated = {"metadata": {"Date": None}} if kind == "svg" else {}
        figure.savefig(out, format=kind, dpi=120, **dated)
    if any("missing from font" in str(one.message) for one in heard):
        warn("--plot: some characters are not in the font of the plot, and are shown as boxes")
    return out.getvalue()


def _unit(text: str) -> str:
    """A unit on an axis: a space can be seen."""
    return _shown(text, _LABEL).replace(" ", "␣") or "∅"


def _shown(text: str, longest: int) -> str:
    return cut(clean(text).replace("\n", "\\n").replace("\t", "\\t"), longest)
