"""Counts of units and of sequences of units, with relative frequencies and their standard errors.

    p(u | v) = Σ_i c_i(v, u) / Σ_i n_i(v)

c_i(v, u) is how often unit u follows the units v in string i, n_i(v) how often any unit does. The
units of a string are not independent of each other, strings are: the standard error is that of a
ratio of two sums over m strings (the delta method; W. G. Cochran, Sampling Techniques, 3rd edition,
section 6.3),

    var p ≈ m / (m - 1) · Σ_i (c_i - p n_i)² / (Σ_i n_i)²,

and that of log p is the one of p divided by p. For a table of single units v is empty: the unigram
surprisal of models of reading times (arXiv 2604.28147). Sums are of whole numbers, without
rounding.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lmfst.fst.sequential import run
from lmfst.generate.drawn import SAMPLE_COLUMNS
from lmfst.ground.document import Document
from lmfst.ground.errors import InputError, UsageError
from lmfst.ground.types import Given
from lmfst.scored.records import bits
from lmfst.target.load import Target
from lmfst.target.units import END_NAME, Units, parse_target_text

UNIGRAM_COLUMNS = ("unit", "count", "p", "logp", "surprisal", "stderr")
NGRAM_COLUMNS = ("before", *UNIGRAM_COLUMNS)

_Gram = tuple[str, ...]
_END = "\0end"
"""Stands for ⊥: no unit's text has a NUL."""


@dataclass(slots=True)
class _Followed:
    """Σ n and Σ n² over strings, and in how many n > 0."""

    total: int = 0
    squares: int = 0
    strings: int = 0


@dataclass(slots=True)
class _Seen:
    """Σ c, Σ c² and Σ c n over strings."""

    count: int = 0
    squares: int = 0
    crossed: int = 0


class Counts:
    """Counts of the sequences of `order` units in strings that are added one by one.

    ends: whether ⊥ counts as a unit, in strings that aren't cut. UsageError for an order below 1.
    """

    def __init__(self, units: Units, order: int = 1, *, ends: bool = False) -> None:
        if order < 1:
            raise UsageError(
                f"--ngram must be at least 1, not {order}",
                hint="1 counts single units, 2 pairs of neighbours",
            )
        self.strings = 0
        self._units, self._order, self._ends = units, order, ends
        self._seen: dict[_Gram, _Seen] = {}
        self._followed: dict[_Gram, _Followed] = {}

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the table."""
        return UNIGRAM_COLUMNS if self._order == 1 else NGRAM_COLUMNS

    def add(self, symbols: Sequence[int], *, start: int = 0, cut: bool = False) -> None:
        """Count a string of target symbols without ⊥. start: units that begin before are not
        counted, but come before others. cut: whether the string goes on."""
        self.strings += 1
        spans = self._units.spans(symbols)
        texts = [self._units.text(symbols[begin:end]) for begin, end in spans]
        first = sum(begin < start for begin, _ in spans)
        if self._ends and not cut:
            texts.append(_END)
        found = Counter(
            tuple(texts[at + 1 - self._order : at + 1])
            for at in range(max(first, self._order - 1), len(texts))
        )
        before: Counter[_Gram] = Counter()
        for gram, count in found.items():
            before[gram[:-1]] += count
        for gram, count in found.items():
            seen = self._seen.setdefault(gram, _Seen())
            seen.count += count
            seen.squares += count**2
            seen.crossed += count * before[gram[:-1]]
        for gram, count in before.items():
            followed = self._followed.setdefault(gram, _Followed())
            followed.total += count
            followed.squares += count**2
            followed.strings += 1

    def require_some(self) -> None:
        """InputError unless something was counted."""
        if not self._seen:
            what = "units" if self._order == 1 else f"sequences of {self._order} units"
            raise InputError(f"expected texts with {what} to count, found none")

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of the table, the most frequent first, then by text. stderr: of logp, nats; None
        where what comes before is in fewer than two strings."""
        for gram in sorted(self._seen, key=lambda gram: (-self._seen[gram].count, gram)):
            seen, followed = self._seen[gram], self._followed[gram[:-1]]
            logp = math.log(seen.count) - math.log(followed.total)
            row: dict[str, Any] = {
                "unit": END_NAME if gram[-1] == _END else gram[-1],
                "count": seen.count,
                "p": seen.count / followed.total,
                "logp": logp,
                "surprisal": bits(logp),
                "stderr": self._stderr(seen, followed),
            }
            if self._order > 1:
                row["before"] = " ".join(text.replace(" ", "\\x20") for text in gram[:-1])
            yield row

    def _stderr(self, seen: _Seen, followed: _Followed) -> float | None:
        """The standard error of log p, nats."""
        if followed.strings < 2:
            return None
        count, total = seen.count, followed.total
        # Σ (c - p n)² · (Σ n)²
        spread = (
            seen.squares * total**2 - 2 * count * total * seen.crossed + count**2 * followed.squares
        )
        return math.sqrt(self.strings / (self.strings - 1) * (spread / (total * count) ** 2))


def add_document(counts: Counts, target: Target, document: Document, given: Given) -> None:
    """Count a document in either form. Of a row that `lmfst sample` has written only what was drawn
    is counted, and it has no end where it was cut.

    InputError with its place where it can't be read; UsageError for such a row in source form, and
    for one of a string that has a weight of its own.
    """
    row = document.row
    drawn = {*SAMPLE_COLUMNS} <= {*row, "id", "text"}
    if drawn and given == "source":
        raise UsageError(
            f"{document.origin}: rows of lmfst sample are in target form", hint="add --given target"
        )
    if drawn and row.get("logw") not in (None, "") and row["way"] != "exact":
        raise UsageError(
            f"{document.origin}: strings drawn within a grammar (way {row['way']}) have weights, "
            "and counts take each string for one",
            hint="draw exactly: an n-gram model, or --context N, and neither --resample nor "
            "--temperature",
        )
    try:
        if given == "source":
            symbols = run(target.machine, document.text)
        else:
            symbols = parse_target_text(document.text, target.machine.symbols)
    except InputError as error:
        raise InputError(f"{document.origin}: {error.message}", hint=error.hint) from None
    if not drawn:
        counts.add(symbols)
        return
    start, cut = str(row["start"]), str(row["cut"]).lower()
    if not start.isdecimal() or cut not in ("true", "false"):
        raise InputError(
            f"{document.origin}: expected a whole number under start and true or false under cut, "
            f"as lmfst sample writes them, found {start!r} and {cut!r}"
        )
    counts.add(symbols, start=int(start), cut=cut == "true")
