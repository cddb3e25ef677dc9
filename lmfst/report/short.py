"""What an output says, in a few sentences: those that answer the first questions."""

from __future__ import annotations

import math

import numpy as np

from lmfst.report.findings import Findings, Versus
from lmfst.report.markup import Content, Html, data, e
from lmfst.report.output import Output
from lmfst.report.summary import totals
from lmfst.report.tables import fine, in_context, num, quoted, shown_button, small, tag

_LN2 = math.log(2.0)
MOST_FREQUENT = 8


def in_short(found: Findings) -> Html:
    """The sentences, as a list."""
    items: list[Content] = [_units(found)]
    if found.versus is not None:
        items += [_better(found, found.versus), *_where(found, found.versus)]
    for at, output in enumerate(found.outputs):
        items.append(_size(output, _who(found, at)))
    items.append(_surprising(found))
    for at, output in enumerate(found.outputs):
        items.append(how_sure(output, _who(found, at), found))
    return e("ul", {"class": "short"}, [e("li", {}, item) for item in items])


def _who(found: Findings, at: int) -> Content:
    """Which output, before a sentence; nothing if there is one."""
    return "" if len(found.outputs) == 1 else [tag(at), " "]


def _units(found: Findings) -> Content:
    kinds = [output.made.kind for output in found.outputs]
    if len(kinds) == 2 and (kinds[0] != kinds[1] or not (kinds[0] or _alike(found))):
        said: list[Content] = [e("b", {}, "Units: ")]
        for at, output in enumerate(found.outputs):
            said += [tag(at), " ", *_kind(output), " "]
        return said
    return [e("b", {}, "Units: "), *_kind(found.first)]


def _alike(found: Findings) -> bool:
    """Whether all documents that two outputs share have the same units."""
    return found.versus is not None and bool(found.versus.pairs.same.all())


def _kind(output: Output) -> list[Content]:
    summary = output.summary
    said: list[Content] = [output.made.kind + ". "] if output.made.kind else []
    if not said:
        said.append("what they are isn't recorded with this output (lmfst score records it). ")
    frequent = [unit for unit, _ in summary.kinds.most_common(MOST_FREQUENT)]
    if frequent:
        count = f"{len(summary.kinds):,}" if summary.all_kinds else "a great many"
        listed: list[Content] = []
        for unit in frequent:
            listed += [", ", quoted(unit)]
        said += [f"There are {count} different ones, the most frequent ", *listed[1:], ". "]
    said.append("⊥ is the end of a document.")
    return said


def _size(output: Output, who: Content) -> Content:
    sums = output.totals
    rate = sums.bits / sums.symbols if sums.symbols else None
    return [
        who,
        e("b", {}, f"{num(rate, 3)} bits per symbol"),
        f" over {sums.documents:,} documents, {sums.units:,} units and {sums.symbols:,} symbols; "
        f"perplexity {num(perplexity(sums.bits, sums.rows))} per unit.",
        _impossible(output),
    ]


def _impossible(output: Output) -> str:
    infinite = output.totals.infinite
    if not infinite:
        return ""
    said = f" {infinite:,} documents have probability 0, so that the total is infinite."
    documents = output.summary.documents
    others = totals(documents, None, np.isfinite(documents.floats("bits")))
    if not others.symbols:
        return said
    return (
        f"{said} Over the other {others.documents:,}: "
        f"{num(others.bits / others.symbols, 3)} bits per symbol; perplexity "
        f"{num(perplexity(others.bits, others.rows))} per unit."
    )


def perplexity(bits: float, rows: int) -> float | None:
    """2 to the bits per row; None without rows."""
    if not rows:
        return None
    rate = bits / rows
    return math.inf if rate > 1000 else 2.0**rate


def _surprising(found: Findings) -> Content:
    documents = found.first.summary.documents
    number = int(documents.ranked()[0])
    place = found.places[0][number]
    entry = found.entries[place]
    said: list[Content] = [e("b", {}, "Most surprising document: ")]
    rate = documents.rates()[number]
    if math.isnan(rate):
        return [*said, "no document has any symbols."]
    said.append(shown_button(entry.first.id, place))
    if entry.first.place is not None:
        file, line = entry.first.place
        said += [" (", data(file), f":{line})"]
    who: Content = [" by ", tag(0)] if len(found.outputs) == 2 else ""
    said += [f", with {num(rate, 3)} bits per symbol", who]
    mark = entry.marks[0]
    if mark is not None:
        said += [
            ". The most surprising unit in it is ",
            quoted(mark.text),
            f" (unit {mark.at + 1:,} of {documents.units[number]:,}), with "
            f"{num(mark.value)} bits: ",
            in_context(mark, found.grouped[0]),
        ]
    return said if mark is not None else [*said, "."]


def how_sure(output: Output, who: Content, found: Findings) -> Content:
    """What is missing of the numbers, or why nothing says it."""
    sums = output.totals
    said: list[Content] = [who, e("b", {}, "How sure the numbers are: ")]
    if sums.lacking == sums.documents:
        said.append(
            "nothing in these rows says it: they are estimates by sampling, or given that a string "
            "is accepted."
        )
        error = None if found.texts is None else found.texts.stderr
        if output is found.first and error is not None:
            said.append(f" The standard error of the total is {small(error / _LN2)} bits.")
        elif error is None:
            said.append(" For estimates, rows of --level text have standard errors.")
        return said
    if not sums.missing:
        said.append("no hypothesis was dropped, so nothing is missing: the sums are complete.")
    else:
        said += _missing(output, found)
    if sums.lacking:
        said.append(f" {sums.lacking:,} documents have no such estimate.")
    return said


def _missing(output: Output, found: Findings) -> list[Content]:
    sums, documents = output.totals, output.summary.documents
    lacks = sums.missing / _LN2
    known = math.isfinite(lacks) and math.isfinite(sums.bits) and sums.bits > 0.0
    share = f" ({lacks / sums.bits:.2g} of it)" if known else ""
    said: list[Content] = [
        f"by estimate the total is {small(lacks)} bits too high{share}, because unlikely "
        f"hypotheses were dropped (missing: {small(sums.missing)} nats)."
    ]
    if sums.worst is not None and sums.documents > 1:
        worst = documents.missing[sums.worst]
        which = 0 if output is found.first else 1
        place = found.places[which].get(sums.worst)
        name: Content = f"number {sums.worst + 1:,}"
        if place is not None:
            name = shown_button(found.entries[place].first.id, place)
        said += [
            " Most is missing in document ",
            name,
            f": {small(worst)} nats, {small(worst / _LN2)} of its "
            f"{num(documents.bits[sums.worst])} bits.",
        ]
    return said


def _better(found: Findings, versus: Versus) -> Content:
    said = versus.verdict
    label = e("b", {}, "Which is better: ")
    if said.impossible[0] != said.impossible[1]:
        return [label, *_fewer_zeros(found, versus)]
    if not any(said.better):
        return [
            label,
            "neither: both give each document that they share the same probability, to a "
            "millionth of a bit.",
            _zeros(said.impossible),
        ]
    at = 0 if said.difference > 0 else 1
    size = abs(said.difference)
    symbols = _symbols(found, versus)
    rate = f", {fine(size / symbols, 4)} bits per symbol," if symbols else ""
    return [
        label,
        tag(at),
        " ",
        data(found.outputs[at].name, 80),
        f" gives the higher probability to the {said.documents:,} documents that both have, by "
        f"{fine(size)} bits{rate} in all (",
        *_bits(versus),
        ").",
        _spread(found, versus),
        _zeros(said.impossible),
        _others(versus),
    ]


def _others(versus: Versus) -> str:
    """A caution where nothing shows that the texts are the same."""
    count = int((~versus.pairs.same).sum())
    if not count:
        return ""
    return (
        f" {count:,} of these documents, matched by {versus.pairs.by}, have other units in B: "
        "their bits can be compared only if they are the same texts."
    )


def _bits(versus: Versus) -> list[Content]:
    one, other = versus.verdict.bits
    return [tag(0), f" {num(one)}, ", tag(1), f" {num(other)} bits"]


def _fewer_zeros(found: Findings, versus: Versus) -> list[Content]:
    """One gives fewer documents the probability 0, whatever it gives the others."""
    said = versus.verdict
    at = 0 if said.impossible[0] < said.impossible[1] else 1
    return [
        tag(at),
        " ",
        data(found.outputs[at].name, 80),
        ", in that it gives fewer documents the probability 0. Over those to which both give ",
        "some: ",
        *_bits(versus),
        ".",
        _zeros(said.impossible),
        _others(versus),
    ]


def _symbols(found: Findings, versus: Versus) -> int:
    """The symbols of the documents that both have; 0 if they count them differently."""
    one, other = (output.summary.documents.whole("symbols") for output in found.outputs)
    first, second = one[versus.pairs.first], other[versus.pairs.second]
    return int(first.sum()) if (first == second).all() else 0


def _spread(found: Findings, versus: Versus) -> str:
    """Whether the difference is more than what documents vary by, and more than what is missing."""
    said = versus.verdict
    size = abs(said.difference)
    text = ""
    if said.error is not None:
        clear = "more" if size > 2 * said.error else "no more"
        text = (
            f" From document to document the difference varies: its standard error is "
            f"{fine(said.error)} bits, so it is {clear} than twice that."
        )
    lacks = sum(output.totals.missing for output in found.outputs) / _LN2
    if lacks >= size and size > 0:
        text += " It is no more than what both lack by estimate."
    return text


def _zeros(impossible: tuple[int, int, int]) -> str:
    if not any(impossible):
        return ""
    return (
        f" Left out of these sums: {impossible[0]:,} documents to which A alone gives probability "
        f"0, {impossible[1]:,} to which B alone does, {impossible[2]:,} to which both do."
    )


def _where(found: Findings, versus: Versus) -> list[Content]:
    """In which documents and units either is better."""
    one, other = versus.verdict.better
    equal = versus.verdict.documents - one - other
    said: list[Content] = [
        e("b", {}, "Where: "),
        tag(0),
        f" is better in {one:,} documents, ",
        tag(1),
        f" in {other:,}; {equal:,} are equal.",
    ]
    units = versus.units
    if units is None:
        return [[*said, " Units can't be compared: see below."]]
    said.append(
        f" Of {units.units:,} units that both have, A is better in {units.better[0]:,}, B in "
        f"{units.better[1]:,}."
    )
    for at, worst in enumerate((units.first, units.second)):
        best = next(iter(worst.found()), None)
        if best is not None:
            said += [" ", tag(at), " gains most in document "]
            said += [shown_button(best.id, found.places[0].get(best.document), best.at), " at "]
            said += [quoted(best.text), f" ({num(best.value)} bits)."]
    return [said]
