"""Tables, the ratios that matter, and the plot, from the sections' rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmark import sections
from benchmark.rounds import ratio

Row = dict[str, Any]
NONE = "–"


def _format(pattern: str) -> Callable[[Any], str]:
    return lambda value: NONE if value is None else format(value, pattern)


def _seconds(name: str) -> Callable[[Row], str]:
    return lambda row: f"{row[name]:.2f}"


COLUMNS: dict[str, Callable[[Row], str]] = {
    "setting": lambda row: row["setting"],
    "rounds": lambda row: str(row["rounds"]),
    "s": lambda row: f"{row['median']:.2f}",
    "min–max": lambda row: f"{min(row['seconds']):.2f}–{max(row['seconds']):.2f}",
    "bytes/s": lambda row: f"{row['bytes_per_s']:.1f}",
    "calls": lambda row: _format("d")(row["calls"]),
    "positions": lambda row: _format("d")(row["positions"]),
    "outside": lambda row: _format(".1%")(row["outside"]),
    "softmax": lambda row: _format(".1%")(row.get("softmax")),
    "MiB": lambda row: _format(".0f")(row["memory"]),
    "logp, nats": lambda row: f"{row['logp']:.3f}",
    "below ref.": lambda row: _format(".3f")(row.get("below")),
    "JSD, bits": lambda row: _format(".3g")(row.get("divergence")),
}
STARTS: dict[str, Callable[[Row], str]] = {
    "cache folder": lambda row: row["cache"],
    **{name: _seconds(name) for name in ("target", "checks", "first", "again", "lexicons")},
}


def table(rows: Sequence[Row], columns: dict[str, Callable[[Row], str]] = COLUMNS) -> str:
    """Rows as lines of aligned columns, the first one to the left; columns without any value are
    left out."""
    cells = {name: [show(row) for row in rows] for name, show in columns.items()}
    shown = {name: found for name, found in cells.items() if set(found) != {NONE}}
    widths = {name: max(len(name), *map(len, found)) for name, found in shown.items()}
    lines = []
    for parts in (list(shown), *map(list, zip(*shown.values(), strict=True))):
        aligned = [
            part.rjust(width) if i else part.ljust(width)
            for i, (part, width) in enumerate(zip(parts, widths.values(), strict=True))
        ]
        lines.append("  ".join(aligned).rstrip())
    return "\n".join(lines)


def section_text(name: str, section: Row) -> str:
    """A section's heading and tables."""
    load = f"load average {section['load'][0]:.2f} before, {section['load'][1]:.2f} after"
    texts = "{documents} texts, {bytes} bytes; ".format(**section) if "bytes" in section else ""
    parts = [f"== {name}: {section['about']} ({texts}{load})", table(section["rows"])]
    if "starts" in section:
        parts += ["Starts with --to words:ANY, seconds:", table(section["starts"], STARTS)]
    return "\n".join(parts) + "\n"


def _row(found: dict[str, Row], section: str, setting: str) -> Row | None:
    rows = found.get(section, {}).get("rows", [])
    return next((row for row in rows if row["setting"] == setting), None)


def no_worse(rows: Sequence[Row], most: float, measure: str = "divergence") -> Row | None:
    """The fastest row whose `measure` of error is at most this."""
    fitting = [row for row in rows if row[measure] <= most]
    return min(fitting, key=lambda row: row["median"], default=None)


def ratios(found: dict[str, Row]) -> list[str]:
    """The ratios that matter, a line each, of the sections that are there. Both sides of a ratio
    come from one section, paired by round."""
    lines = [*_against_genlm(found)]
    usual = sections.SCORING
    for section, slow, fast, text in (
        ("genlm-scoring", sections.GENLM_SCORING, usual, "scoring: genlm-bytes takes {} × lmfst"),
        ("scoring", usual, sections.TEACHER_FORCED, "scoring takes {} × a teacher-forced pass"),
        ("scoring", sections.DECODING, usual, "plain decoding takes {} × scoring"),
        ("scoring", usual, f"{usual}, together", "scoring one by one takes {} × all together"),
        ("lines", sections.ONE_BY_ONE, sections.TOGETHER, "short lines: {} × all together"),
        ("words", sections.WORDS_ROW, sections.BYTES_ROW, "words take {} × bytes"),
    ):
        one, other = _row(found, section, slow), _row(found, section, fast)
        if one and other:
            lines.append(text.format(_spread(one, other)))
    full = f"{sections.FULL}{sections.THRESHOLD:g}"
    for section, setting in (("scoring", usual), ("full", full)):
        row = _row(found, section, setting)
        if row and row["outside"] is not None:
            lines.append(f"outside the model's forward calls, {setting}: {row['outside']:.1%}")
            rest = row["outside"] - row["softmax"]
            lines.append(f"of that other than the softmax of the model's output: {rest:.1%}")
    return lines


def _against_genlm(found: dict[str, Row]) -> list[str]:
    lines = []
    for section, setting, measure, what in (
        (
            "full",
            f"{sections.GENLM_FULL}{sections.THRESHOLD:g}",
            "divergence",
            "distributions at a divergence",
        ),
        ("genlm-scoring", sections.GENLM_SCORING, "below", "scoring at a distance from the truth"),
    ):
        theirs = _row(found, section, setting)
        if theirs is None:
            continue
        what = f"{what} no worse than genlm-bytes' {theirs[measure]:.4g}"
        ours = [row for row in found[section]["rows"] if row is not theirs]
        best = no_worse(ours, theirs[measure], measure)
        if best is None:
            lines.append(f"{what}: no setting of lmfst")
            continue
        lines.append(
            f"{what}: genlm-bytes takes {_spread(theirs, best)} × {best['setting']} "
            f"({best[measure]:.4g})"
        )
    return lines


def _spread(one: Row, other: Row) -> str:
    middle, least, most = ratio(one["seconds"], other["seconds"])
    rounds = min(one["rounds"], other["rounds"])
    return f"{middle:.2f}" + (f" ({least:.2f}–{most:.2f})" if rounds > 1 else "")


def plot(found: dict[str, Row], path: Path) -> bool:
    """Throughput against divergence, as SVG; False if no section has divergences."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullFormatter

    matplotlib.rcParams["svg.hashsalt"] = "lmfst"
    rows = [row for section in found.values() for row in section["rows"] if "divergence" in row]
    if not rows:
        return False
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    kinds = (
        ("lmfst", "o-", lambda name: name.startswith("lmfst") and "no look" not in name),
        ("lmfst, no lookahead", "s", lambda name: "no look" in name),
        ("genlm-bytes", "^-", lambda name: name.startswith("genlm")),
    )
    for label, style, belongs in kinds:
        # A setting that two sections ran is shown once, as the first ran it.
        chosen = {r["setting"]: r for r in reversed(rows) if belongs(r["setting"])}.values()
        points = sorted((r["divergence"], r["bytes_per_s"], r["setting"]) for r in chosen)
        if not points:
            continue
        axes.plot([p[0] for p in points], [p[1] for p in points], style, label=label)
        for number, (x, y, name) in enumerate(points):
            short = name.split("K=")[1].removesuffix(", no lookahead")
            place = (4, 4 if number % 2 else -10)
            axes.annotate(f"K={short}", (x, y), place, textcoords="offset points", fontsize=7)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="mean Jensen-Shannon divergence from the reference, bits a position",
        ylabel="bytes per second",
        title="Next-byte distributions at every position",
    )
    axes.grid(True, which="both", linewidth=0.3)
    axes.legend()
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(NullFormatter())
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)
    return True
