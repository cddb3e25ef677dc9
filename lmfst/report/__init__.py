"""What people look at: the report page of outputs, and plots. HTML, SVG and PNG are made here.

Not here: how documents are scored (`lmfst.model`), and how rows are written (`lmfst.io`).
"""

from __future__ import annotations

from lmfst.report.findings import Findings, findings
from lmfst.report.page import page
from lmfst.report.plots import SurprisalPlot, next_plot, require_plot

__all__ = [
    "Findings",
    "SurprisalPlot",
    "findings",
    "next_plot",
    "page",
    "require_plot",
]
