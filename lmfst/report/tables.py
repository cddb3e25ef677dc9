"""Tables of the page, and numbers and texts in them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from lmfst.report.markup import Content, Html, data, e
from lmfst.report.summary import Unit

CONTEXT = 60
"""Characters of what stands before and after a unit."""
_UNIT = 60
NAMELESS = "∅"
"""What stands for an empty id, so that there is something to see and to press."""
_LETTERS = "AB"


def table(
    caption: Content,
    head: Sequence[Content],
    rows: Iterable[Sequence[Content]],
    *,
    texts: Sequence[int] = (),
    label: str = "",
) -> Html:
    """A table that can be scrolled. The first cell of a row names it. texts: places of other
    columns that hold no numbers. label: for readers that speak, where the caption isn't text."""
    named = label or (caption if isinstance(caption, str) else "table")
    kinds = ["" if at == 0 or at in texts else "n" for at in range(len(head))]
    first = [
        e("th", {"scope": "col", **({"class": kind} if kind else {})}, cell)
        for cell, kind in zip(head, kinds, strict=True)
    ]
    body = []
    for cells in rows:
        row = [e("th", {"scope": "row"}, cells[0])]
        for cell, kind in zip(cells[1:], kinds[1:], strict=True):
            row.append(e("td", {"class": kind} if kind else {}, cell))
        body.append(e("tr", {}, row))
    return e(
        "div",
        {"class": "scroll", "role": "region", "tabindex": 0, "aria-label": named},
        e(
            "table",
            {},
            e("caption", {}, caption),
            e("thead", {}, e("tr", {}, first)),
            e("tbody", {}, body),
        ),
    )


def num(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    """A number; — where there is none."""
    if value is None or math.isnan(value):
        return "—"
    if math.isinf(value):
        return "−∞" if value < 0 else "+∞" if sign else "∞"
    # Adding 0.0 turns -0.0 into 0.0.
    text = f"{round(value, digits) + 0.0:{'+' if sign else ''},.{digits}f}"
    return text.replace("-", "−")


def fine(value: float, digits: int = 2, *, sign: bool = False) -> str:
    """A number as `num`; one that would be 0 so has its first digits instead."""
    text = num(value, digits, sign=sign)
    if value == 0.0 or text.strip("+−0.,"):
        return text
    return f"{value:{'+' if sign else ''}.2g}".replace("-", "−", 1)


def small(value: float | None) -> str:
    """A number that may be tiny."""
    if value is None or math.isnan(value):
        return "—"
    return "0" if value == 0.0 else "∞" if math.isinf(value) else f"{value:.3g}"


def tag(at: int) -> Html:
    """The sign of one of two outputs."""
    return e("b", {"class": f"tag {'ab'[at]}"}, _LETTERS[at])


def quoted(unit: str) -> Html:
    """A unit in a sentence."""
    return e("span", {}, "“", e("span", {"class": "unit"}, data(unit, _UNIT)), "”")


def shown_button(text: str, place: int | None, unit: int | None = None, of: int = 0) -> Html:
    """The name of a document; a button that shows it, where it is on the page at a place. unit: the
    index of one that it goes to, among those of the first output or the second, `of`."""
    text = text or NAMELESS
    if place is None:
        return data(text, 80)
    given: dict[str, str | int] = {"class": "link", "type": "button", "data-doc": place}
    if unit is not None:
        given["data-unit"] = unit
    if of:
        given["data-of"] = "2"
    return e("button", {**given, "disabled": "disabled"}, data(text, 80))


def in_context(unit: Unit, grouped: bool) -> Html:
    """A unit among what stands beside it."""
    joint = " " if grouped else ""
    before, after = joint.join(unit.before), joint.join(unit.after)
    if len(before) > CONTEXT:
        before = "…" + before[-CONTEXT:]
    return e(
        "span",
        {"class": "unit"},
        data(before, CONTEXT + 1),
        joint,
        e("mark", {}, data(unit.text, _UNIT)),
        joint,
        data(after, CONTEXT),
    )
