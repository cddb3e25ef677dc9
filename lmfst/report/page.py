"""The page: one HTML file that needs nothing else, and sends nothing anywhere.

Its style and its script are lmfst's own, and a policy allows no others, so that nothing that came
from data can run. The script shows documents; all else is there without it.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from lmfst.ground._version import __version__
from lmfst.report.charts import quantile
from lmfst.report.findings import Entry, Findings
from lmfst.report.markup import Content, Html, cut, data, e, script, script_data, style
from lmfst.report.sections import (
    distribution,
    documents,
    how_made,
    section,
    terms,
    totals,
    units,
)
from lmfst.report.short import in_short
from lmfst.report.shown import Shown, rounded, rounded_missing
from lmfst.report.tables import NAMELESS, num
from lmfst.report.versus import versus

COLOURS = 7
"""How many colours surprisal has."""


def page(found: Findings) -> bytes:
    """The page, in UTF-8."""
    look, act = _own("page.css"), _own("page.js")
    policy = f"default-src 'none'; style-src {_hash(look)}; script-src {_hash(act)}"
    title = "Surprisal: " + " and ".join(output.name for output in found.outputs)
    head = e(
        "head",
        {},
        e("meta", {"charset": "utf-8"}),
        e("meta", {"http-equiv": "Content-Security-Policy", "content": policy}),
        e("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        e("meta", {"name": "generator", "content": f"lmfst {__version__}"}),
        e("title", {}, title),
        style(look),
    )
    # The script comes last: what it looks for is there.
    ends = [_footer(), script_data("data", _data(found)), script(act)]
    whole = e("html", {"lang": "en"}, head, e("body", {}, _header(found), _main(found), ends))
    return f"<!DOCTYPE html>\n{whole}\n".encode()


def _own(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _header(found: Findings) -> Html:
    names: list[Content] = [data(found.first.name)]
    if len(found.outputs) == 2:
        names = ["A: ", data(found.first.name), " and B: ", data(found.outputs[1].name)]
    links = {"short": "In short", "document": "A document", "documents": "Documents"}
    links |= {"totals": "Totals", "distribution": "Distribution", "units": "Units"}
    if found.versus is not None:
        links["versus"] = "Side by side"
    links |= {"made": "What made it", "terms": "What the words mean"}
    items = [e("li", {}, e("a", {"href": f"#{name}"}, said)) for name, said in links.items()]
    return e(
        "header",
        {},
        e("a", {"class": "skip", "href": "#short"}, "To the results"),
        e("h1", {}, "Surprisal of ", names),
        e("nav", {"aria-label": "Sections"}, e("ul", {}, items)),
    )


def _main(found: Findings) -> Html:
    without = e(
        "noscript", {}, e("p", {}, "Single documents are shown by a script; tables are not.")
    )
    return e(
        "main",
        {},
        section("short", "In short", in_short(found)),
        section("document", "A document, unit by unit", without, e("div", {"id": "reader"})),
        versus(found),
        documents(found),
        units(found),
        totals(found),
        distribution(found),
        how_made(found),
        terms(),
    )


def _footer() -> Html:
    return e("footer", {}, e("p", {}, f"Made by lmfst report, version {__version__}."))


def _data(found: Findings) -> dict[str, Any]:
    """What the script shows. step: bits of a colour, so that the strongest is rare."""
    high = max(quantile(output.summary.fine, 0.98) for output in found.outputs)
    step = next(
        (step for step in (0.1, 0.2, 0.5, 1, 2, 3, 4, 5, 10, 20, 50) if high <= step * COLOURS),
        100,
    )
    return {
        "names": [output.name for output in found.outputs],
        "grouped": found.grouped,
        "step": step,
        "docs": [_document(found, entry) for entry in found.entries],
    }


def _document(found: Findings, entry: Entry) -> dict[str, Any]:
    one = found.first.summary.documents
    shown = entry.first
    about = f"{num(one.bits[shown.number])} bits with ⊥"
    facts: dict[str, Any] = {
        "label": _label(shown),
        "n": one.units[shown.number],
        **_values(shown, ""),
    }
    if entry.second is not None:
        other = found.outputs[1].summary.documents
        about = f"A {about}, B {num(other.bits[entry.second.number])} bits."
        more = _values(entry.second, "2")
        if entry.same:
            size = min(len(facts["u"]), len(more["u2"]))
            facts |= {"u": facts["u"][:size], "b": facts["b"][:size], "b2": more["b2"][:size]}
        else:
            facts |= {**more, "n2": other.units[entry.second.number]}
    elif found.versus is not None:
        about = f"A {about}; B lacks this document."
    else:
        about += "."
    return {**facts, "about": about}


def _values(shown: Shown, which: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        f"begin{which}": shown.begin,
        f"u{which}": shown.units,
        f"b{which}": rounded(shown.bits),
    }
    missing = rounded_missing(shown.missing)
    return found if missing is None else {**found, f"m{which}": missing}


def _label(shown: Shown) -> str:
    id = cut(shown.id or NAMELESS, 80)
    return id if shown.place is None else cut(f"{id} ({shown.place[0]}:{shown.place[1]})", 160)
