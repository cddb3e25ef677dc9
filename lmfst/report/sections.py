"""Sections of the page about each output: totals, distribution, documents, units, and what made
it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lmfst.report.charts import binned, histogram, quantile
from lmfst.report.findings import Findings
from lmfst.report.markup import Content, Html, data, e
from lmfst.report.output import Output
from lmfst.report.short import perplexity
from lmfst.report.shown import MOST, SPREAD
from lmfst.report.summary import Totals, Unit
from lmfst.report.tables import (
    in_context,
    num,
    quoted,
    shown_button,
    small,
    table,
    tag,
)

_LN2 = math.log(2.0)
_UNKNOWN = "not known"
_RANK = "The number before a name is its rank."


def section(name: str, title: str, *content: Content) -> Html:
    """A section with a heading."""
    heading = e("h2", {"id": f"{name}-title"}, title)
    return e("section", {"id": name, "aria-labelledby": f"{name}-title"}, heading, content)


def totals(found: Findings) -> Html:
    """Sums with and without ⊥, of each output."""
    parts: list[Content] = []
    for at, output in enumerate(found.outputs):
        title: Content = ["Totals of ", data(output.name)]
        if len(found.outputs) == 2:
            title = [tag(at), " ", title]
        parts.append(_totals(output, title))
    bytes_known = all(output.totals.source_bytes is not None for output in found.outputs)
    if not bytes_known:
        parts.append(
            e(
                "p",
                {"class": "muted"},
                "How many bytes the source texts have is known for outputs of lmfst score to bytes "
                "or chars; rows of other units, and those of lmfst convert, don't say it.",
            )
        )
    return section("totals", "Totals", parts, canonical(found))


def _totals(output: Output, title: Content) -> Html:
    sums = output.totals
    without, whole = sums.unit_bits, sums.bits
    rows: list[Sequence[Content]] = [
        ["Rows", f"{sums.rows:,}", f"{sums.units:,}"],
        ["log-probability, nats", num(-whole * _LN2), num(-without * _LN2)],
        ["Bits", num(whole), num(without)],
        ["Bits per symbol", _rate(whole, sums.symbols), _rate(without, sums.symbols)],
        [
            "Bits per byte of the source",
            _rate(whole, sums.source_bytes),
            _rate(without, sums.source_bytes),
        ],
        [
            "Perplexity per unit",
            num(perplexity(whole, sums.rows)),
            num(perplexity(without, sums.units)),
        ],
        ["Missing by estimate, nats", _missing(sums), ""],
    ]
    counted = (
        f"{sums.documents:,} documents, {sums.units:,} units, {sums.symbols:,} target symbols"
        + ("" if sums.source_bytes is None else f", {sums.source_bytes:,} bytes of source")
    )
    if output.made.rejected:
        counted += f"; {output.made.rejected:,} records were rejected and have no rows"
    caption = [title, ": ", counted]
    heads = ["Sum", "with the ends ⊥", "without ⊥"]
    return table(caption, heads, rows, label=f"Totals of {output.name}")


def _rate(bits: float, count: int | None) -> str:
    if count is None:
        return _UNKNOWN
    return num(bits / count, 4) if count else "—"


def _missing(sums: Totals) -> str:
    return "no estimate" if sums.lacking == sums.documents else small(sums.missing)


def canonical(found: Findings) -> Html:
    """What tokenizations beside the canonical one add, where rows of texts say it."""
    texts = found.texts
    if texts is None:
        return Html("")
    if not texts.known:
        why = "there is no tokenizer, or no text"
        return e("p", {}, f"The rows of texts have no canonical log-probability: {why}.")
    rows: list[Sequence[Content]] = [
        ["Sum over all tokenizations", num((texts.canonical + texts.added) / -_LN2)],
        ["The tokenizer's own tokens alone", num(texts.canonical / -_LN2)],
        ["What the others add to the log-probability", num(texts.added / _LN2)],
    ]
    shown = table(f"Tokenizations, in bits, over {texts.known:,} documents", ["Sum", "bits"], rows)
    most = [
        "Of one document they add most in ",
        data(texts.most[1], 80),
        f": {num(texts.most[0] / _LN2)} bits.",
    ]
    return Html(shown + e("p", {}, most))


def distribution(found: Findings) -> Html:
    """A histogram of surprisal, and its counts."""
    summaries = [output.summary for output in found.outputs]
    fine = [summary.fine for summary in summaries]
    bins = binned(fine, [summary.infinite for summary in summaries])
    quantiles = [
        [
            f"{share:.0%} of the units have less than",
            *(num(quantile(one.fine, share, one.infinite)) for one in summaries),
        ]
        for share in (0.5, 0.9, 0.99)
    ]
    names: list[Content] = ["bits"]
    if len(fine) == 2:
        names = [tag(0), tag(1)]
    rows: list[Sequence[Content]] = [
        [bins.label(at), *(f"{counts[at]:,}" for counts in bins.counts)]
        for at in range(len(bins.counts[0]))
    ]
    end = bins.low + len(bins.counts[0]) * bins.width
    rows.append([f"{end:g} and more", *(f"{count:,}" for count in bins.above)])
    above = sum(bins.above)
    note = f"{above:,} units of {end:g} bits and more are not in the drawing. " if above else ""
    lines = "Bars: A; dashed line: B. " if len(fine) == 2 else ""
    return section(
        "distribution",
        "Distribution of surprisal",
        histogram(bins, "How many units have how much surprisal; the counts are in a table below"),
        e("p", {"class": "muted"}, lines, note, "Ends ⊥ are not counted."),
        table("Surprisal of units, in bits", ["Share", *names], quantiles),
        e(
            "details",
            {},
            e("summary", {}, "The counts as a table"),
            table("Units by surprisal", ["bits", *(["units"] if len(fine) == 1 else names)], rows),
        ),
    )


def documents(found: Findings) -> Html:
    """The documents that are shown, by bits per symbol."""
    of_all = found.first.summary.documents
    rates = of_all.rates()
    ranks = {int(number): rank for rank, number in enumerate(of_all.ranked(), start=1)}
    two = len(found.outputs) == 2
    rows: list[Sequence[Content]] = []
    order = sorted(range(len(found.entries)), key=lambda at: ranks[found.entries[at].first.number])
    for at in order:
        entry = found.entries[at]
        number = entry.first.number
        row: list[Content] = [
            [f"{ranks[number]:,}. ", shown_button(entry.first.id, at), _place(entry.first.place)],
            f"{of_all.symbols[number]:,}",
            num(of_all.bits[number]),
        ]
        if two:
            row += _other(found, at)
        row += [num(rates[number], 3), small(of_all.missing[number])]
        mark = entry.marks[0]
        row += ["—", "—"] if mark is None else [quoted(mark.text), num(mark.value)]
        rows.append(row)
    versus = ["B, bits", "B − A"] if two else []
    of = "A, " if two else ""
    heads = ["Document", f"{of}symbols", f"{of}bits", *versus, f"{of}bits per symbol"]
    heads += [f"{of}missing, nats", f"{of}most surprising unit", "its bits"]
    heads = [head[0].upper() + head[1:] for head in heads[:-1]] + heads[-1:]
    by = " by A" if two else ""
    caption = f"Documents by bits per symbol{by}, ⊥ included; the most surprising first"
    shown = table(caption, heads, rows, texts=[len(heads) - 2])
    return section("documents", "Documents", _which(found), shown)


def _place(place: tuple[str, int] | None) -> Content:
    return (
        ""
        if place is None
        else [" ", e("small", {"class": "muted"}, data(place[0]), f":{place[1]}")]
    )


def _other(found: Findings, at: int) -> list[Content]:
    """Bits of a document in the second output, and the difference."""
    entry = found.entries[at]
    if entry.second is None:
        return ["—", "—"]
    first = found.first.summary.documents.bits[entry.first.number]
    second = found.outputs[1].summary.documents.bits[entry.second.number]
    return [num(second), num(second - first, sign=True)]


def _which(found: Findings) -> Html:
    """Which documents are shown, and why."""
    count, shown = found.first.totals.documents, len(found.entries)
    if shown == count:
        return e("p", {}, f"All {count:,} documents are shown. {_RANK}")
    said = (
        f"{shown:,} of {count:,} documents are shown: the {MOST} with most bits per symbol, "
        f"{SPREAD} others evenly spread over the ranking"
    )
    if found.versus is not None:
        said += ", and those in which either output is better by most"
    if any(output.totals.missing for output in found.outputs):
        said += "; and the one that lacks most"
    return e("p", {}, f"{said}. {_RANK} Totals are of all.")


def units(found: Findings) -> Html:
    """The most surprising units of each output."""
    parts: list[Content] = []
    for at, output in enumerate(found.outputs):
        title = "Most surprising units"
        label: Content = title if len(found.outputs) == 1 else [tag(at), " ", title]
        rows = [
            [*unit_cells(found, unit, at), num(unit.bits[0])]
            for unit in output.summary.worst.found()
        ]
        heads = ["Unit", "in its place", "Document", "bits"]
        parts.append(table(label, heads, rows, texts=(1, 2), label=title))
    return section("units", "Most surprising units", parts)


def unit_cells(found: Findings, unit: Unit, of: int = 0) -> list[Content]:
    """The unit, what stands beside it, and its document. of: the output whose unit it is."""
    place = found.places[of].get(unit.document)
    return [
        e("span", {"class": "unit"}, data(unit.text, 60)),
        e("span", {"class": "context"}, in_context(unit, found.grouped[of])),
        [shown_button(unit.id, place, unit.at, of), f", unit {unit.at + 1:,}"],
    ]


def how_made(found: Findings) -> Html:
    """What the manifests say; where there are two, what differs."""
    facts = [output.made.facts for output in found.outputs]
    names = list(dict.fromkeys(name for one in facts for name in one))
    heads: list[Content] = ["What", *(data(output.name, 80) for output in found.outputs)]
    rows: list[Sequence[Content]] = []
    for name in names:
        values = [one.get(name, "—") for one in facts]
        differ = " (differs)" if len({*values}) > 1 else ""
        rows.append([[data(name), differ], *(data(value, 300) for value in values)])
    unknown = [output.name for output in found.outputs if not output.made.known]
    said: list[Content] = [
        e(
            "p",
            {},
            data(name),
            ": no manifest lies beside it, so nothing is known of how it was made.",
        )
        for name in unknown
    ]
    shown = table("Options and files", heads, rows, texts=(1, 2)) if rows else Html("")
    return section("made", "What made it", shown, said)


def terms() -> Html:
    """What the words mean."""
    meanings = [
        (
            "unit",
            "what the probabilities are of, one after the other: a byte, a character, a word.",
        ),
        ("⊥", "the end of a document. With it, the probabilities of all documents add up to 1."),
        ("surprisal", "−log₂ p(unit | units before), in bits: 1 bit is a half, 10 a thousandth."),
        ("symbol", "what units consist of; bits per symbol are bits with ⊥, divided by symbols."),
        ("perplexity per unit", "2 to the mean surprisal of rows: among how many equal choices."),
        (
            "missing",
            "nats that the log-probability lacks because hypotheses were dropped. An estimate, "
            "not a bound: it can be too small.",
        ),
    ]
    items = [[e("dt", {}, e("b", {}, word)), e("dd", {}, said)] for word, said in meanings]
    return section("terms", "What the words mean", e("dl", {}, items))
