"""Outputs pushed towards the start of an FST, so that symbols are emitted as early as they can be.

With lambda(q) the longest common prefix of the outputs of all paths from q to an end, the pushed
output of an arc q → r is lambda(q)⁻¹ · out · lambda(r) (Mohri 1997, "Finite-state transducers in
language and speech processing", section 3.7). Determinising is for `lmfst.fst.sequential`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from lmfst.fst.core import EPS, Fst
from lmfst.fst.symbols import END, Output

Arcs = list[dict[int, list[tuple[int, Output]]]]
"""By state and byte: (target state, pushed output) of the arcs."""
Epsilons = list[list[tuple[int, Output]]]
"""By state: (target state, pushed output) of the arcs that read nothing."""


def common_prefix(outputs: Sequence[Output]) -> Output:
    """The longest common prefix of strings, of which there is at least one."""
    low, high = min(outputs), max(outputs)
    size = 0
    for size, (a, b) in enumerate(zip(low, high, strict=False)):
        if a != b:
            return low[:size]
    return low[: min(len(low), len(high))]


def pushed_arcs(fst: Fst) -> tuple[Arcs, Epsilons, list[Output]]:
    """Arcs by state and byte, input-epsilon arcs by state, and lambda of each state."""
    size = fst.n_states
    raw: list[list[tuple[int, int, Output]]] = [[] for _ in range(size)]
    columns = (fst.ilabel.tolist(), fst.olabel.tolist(), fst.dst.tolist())
    bounds = fst.arc_ptr.tolist()
    for source in range(size):
        for at in range(bounds[source], bounds[source + 1]):
            label, out, target = (column[at] for column in columns)
            raw[source].append((label, target, () if out == EPS else (out,)))
    pushed = _future_prefixes(raw, fst.final.tolist())
    arcs: Arcs = [{} for _ in range(size)]
    epsilons: Epsilons = [[] for _ in range(size)]
    for source, leaving in enumerate(raw):
        cut = len(pushed[source])
        for label, target, out in leaving:
            moved = (target, (out + pushed[target])[cut:])
            if label == EPS:
                epsilons[source].append(moved)
            else:
                arcs[source].setdefault(label, []).append(moved)
    return arcs, epsilons, pushed


def _future_prefixes(raw: list[list[tuple[int, int, Output]]], final: list[bool]) -> list[Output]:
    """lambda(q) for every state: the greatest fixed point, reached from above by a worklist."""
    into: list[set[int]] = [set() for _ in raw]
    for source, leaving in enumerate(raw):
        for _, target, _ in leaving:
            into[target].add(source)
    value: list[Output | None] = [() if end else None for end in final]
    queue = deque(q for end, sources in zip(final, into, strict=True) if end for q in sources)
    queued = set(queue)
    while queue:
        source = queue.popleft()
        queued.discard(source)
        if value[source] == ():
            continue
        outs = {out + ahead for _, q, out in raw[source] if (ahead := value[q]) is not None}
        new = common_prefix(list(outs))
        if new != value[source]:
            value[source] = new
            for q in into[source] - queued:
                queue.append(q)
                queued.add(q)
    return [prefix or () for prefix in value]


def first_symbols(arcs: Arcs, epsilons: Epsilons, final: list[bool]) -> list[frozenset[int]]:
    """Per state, the symbols (or END) that a path from it can emit first: a least fixed point."""
    direct: list[set[int]] = [{END} if end else set() for end in final]
    silent: list[set[int]] = [set() for _ in arcs]
    for source in range(len(arcs)):
        leaving = [move for moves in arcs[source].values() for move in moves]
        for target, out in leaving + epsilons[source]:
            if out:
                direct[source].add(out[0])
            else:
                silent[target].add(source)
    queue = deque(range(len(arcs)))
    while queue:
        target = queue.popleft()
        for source in silent[target]:
            if not direct[target] <= direct[source]:
                direct[source] |= direct[target]
                queue.append(source)
    shared: dict[frozenset[int], frozenset[int]] = {}
    return [shared.setdefault(s, s) for s in map(frozenset, direct)]
