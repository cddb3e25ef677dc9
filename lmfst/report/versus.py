"""Two outputs side by side: where either is better."""

from __future__ import annotations

from collections.abc import Sequence

from lmfst.report.findings import Findings, Versus
from lmfst.report.markup import Content, Html, data, e
from lmfst.report.sections import section, unit_cells
from lmfst.report.summary import Worst
from lmfst.report.tables import fine, num, shown_button, table, tag

MOST = 20
"""Units that are listed of each output."""


def versus(found: Findings) -> Html:
    """The section; nothing for one output."""
    two = found.versus
    if two is None:
        return Html("")
    said = two.verdict
    rows: list[Sequence[Content]] = []
    for at, output in enumerate(found.outputs):
        rows.append(
            [
                [tag(at), " ", data(output.name, 80)],
                num(said.bits[at]),
                f"{said.better[at]:,}",
                "—" if two.units is None else f"{two.units.better[at]:,}",
                f"{two.pairs.alone[at]:,}",
            ]
        )
    heads = ["Output", "Bits of shared documents", "better in documents", "better in units"]
    caption = f"{said.documents:,} documents are in both, matched by {two.pairs.by}"
    return section(
        "versus",
        "Side by side",
        table(caption, [*heads, "documents it has alone"], rows),
        e("p", {}, _why_not(two)),
        _documents(found, two),
        _units(found, two),
    )


def _why_not(two: Versus) -> str:
    """Why units are not compared, or not all."""
    other = int((~two.pairs.same).sum())
    if not two.pairs.same.any():
        return (
            "The two outputs have different units, so that documents alone are compared. Bits of "
            "whole documents can be compared as far as both targets tell the same texts apart."
        )
    if two.units is None:
        return (
            "The documents come in another order in the second output, so that units are compared "
            "in the documents shown above alone."
        )
    return (
        "" if not other else f"{other:,} documents have other units in B; their units are left out."
    )


def _documents(found: Findings, two: Versus) -> Html:
    """The documents in which either is better by most."""
    rows: list[Sequence[Content]] = []
    differences = two.pairs.differences
    for pair in sorted(two.pairs.chosen(), key=lambda pair: -differences[pair]):
        number = int(two.pairs.first[pair])
        place = found.places[0][number]
        bits = two.pairs.bits[pair]
        better = tag(0 if differences[pair] > 0 else 1)
        cells = [num(bits[0]), num(bits[1]), fine(differences[pair], sign=True)]
        rows.append([shown_button(found.entries[place].first.id, place), *cells, better])
    if not rows:
        return Html("")
    heads: list[Content] = ["Document", [tag(0), " bits"], [tag(1), " bits"], "B − A", "better"]
    return table("Documents in which either is better by most", heads, rows)


def _units(found: Findings, two: Versus) -> Html:
    if two.units is None:
        return Html("")
    return Html(
        _list(found, two.units.first, 0, "Units in which A is better by most")
        + _list(found, two.units.second, 1, "Units in which B is better by most")
    )


def _list(found: Findings, worst: Worst, better: int, caption: str) -> Html:
    rows = [
        [*unit_cells(found, unit), num(unit.bits[0]), num(unit.bits[1]), num(unit.value)]
        for unit in worst.found()[:MOST]
    ]
    if not rows:
        return Html("")
    heads: list[Content] = ["Unit", "in its place", "Document", [tag(0), " bits"]]
    heads += [[tag(1), " bits"], ["gain of ", tag(better)]]
    return table(caption, heads, rows, texts=(1, 2))
