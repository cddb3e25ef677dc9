"""What the columns of rows hold, for formats that have types."""

from __future__ import annotations

COLUMN_TYPES: dict[str, type] = {
    **dict.fromkeys(("id", "unit", "versus", "file"), str),
    **dict.fromkeys(
        ("index", "start", "end", "replicate", "documents", "units", "symbols", "line"), int
    ),
    **dict.fromkeys(
        (
            "logp",
            "surprisal",
            "missing",
            "canonical",
            "stderr",
            "gap",
            "bits_per_symbol",
            "specials",
            "lower",
            "upper",
            "dropped",
            "difference",
            "difference_stderr",
            "p",
        ),
        float,
    ),
}
"""Text, whole number or number, by name (`lmfst.scored.records`); any value may be missing."""
