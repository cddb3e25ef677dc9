"""Queries: targets whose probabilities are asked for, and where a batch of them lies in arrays.

Offset o of query d stands at position base[d] + o, so that one number says where a hypothesis is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lmfst.fst.pattern import Pattern
from lmfst.inference.canonical import CanonicalPath
from lmfst.inference.guide import BackwardMass


@dataclass(frozen=True)
class Query:
    """A target to propagate: symbols [N], ⊥ (END) included if it is asked for. Where it leaves
    places open (`lmfst.fst.pattern`), its probability is that of all strings that it stands for.

    wanted: positions 0 .. N at which the distribution of the next symbol is asked for. text: a
    source text with that target, if one is known. number: of the document in the corpus, which
    random numbers depend on. canonical: whether the log-probability of the text's own tokens is
    asked for. impossible: says whether no token can ever produce the symbol at a position; asked
    where nothing is left of a prefix. alone: whether the hypotheses of an offset are decided by the
    symbols before it alone, as those of states are (`lmfst.inference.wave.decide`). ends: whether
    the kept hypotheses are asked for, too, whose next symbols are wanted. prompt: how many of the
    first symbols are given, so that what leaving out the specials does to them is of no interest.

    What engines add: source, the canonical path of a source text, which is kept; lookahead,
    whether rows are evaluated ahead, which the result doesn't depend on and needs a source; random,
    the random numbers in [0, 1) of a policy that samples, by offset and wave, which knows neither
    source nor lookahead; backward, what a guide expects, if sampling has one.
    """

    target: Pattern
    wanted: frozenset[int] = frozenset()
    text: bytes | None = None
    number: int = 0
    canonical: bool = False
    impossible: Callable[[int], bool] | None = None
    alone: bool = False
    ends: bool = False
    prompt: int = 0
    source: CanonicalPath | None = None
    lookahead: bool = True
    random: Callable[[int, int], float] | None = None
    backward: BackwardMass | None = None

    @property
    def last(self) -> int:
        """Hypotheses stand up to this offset: after the last symbol only if what follows is
        wanted."""
        size = len(self.target)
        return size if size in self.wanted else size - 1


class Layout:
    """Where a batch's queries lie.

    sizes, base, last: int64 [queries], symbols, first position and last offset with hypotheses.
    document: int64 [positions], the query of each. shared: int64 [positions]; equal targets, such
    as those of replicates, share plans: the positions of the first of them. ahead: int64
    [positions]; the position after each, itself at the end.
    """

    def __init__(self, queries: Sequence[Query]) -> None:
        self.queries = queries
        self.sizes = np.array([len(query.target) for query in queries], dtype=np.int64)
        sizes = self.sizes + 1
        self.base = np.cumsum(sizes) - sizes
        self.last = np.array([query.last for query in queries], dtype=np.int64)
        self.document = np.repeat(np.arange(len(queries)), sizes)
        alike: dict[tuple[Pattern, frozenset[int]], int] = {}
        of_first = [alike.setdefault((q.target, q.wanted), d) for d, q in enumerate(queries)]
        self.shared = np.arange(sizes.sum()) + (self.base[of_first] - self.base)[self.document]
        self.ahead = np.arange(1, sizes.sum() + 1)
        self.ahead[self.base + sizes - 1] -= 1

    def __len__(self) -> int:
        return len(self.queries)

    def place(self, position: int) -> tuple[int, int]:
        """(query, offset) of a position."""
        document = int(self.document[position])
        return document, position - int(self.base[document])
