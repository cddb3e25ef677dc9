"""Cycles that read nothing but write: an FST with one has infinitely many outputs for one input."""

from __future__ import annotations

from collections import deque

from lmfst.fst.core import EPS, Fst
from lmfst.fst.shown import show_bytes, show_output


def epsilon_output_cycle_witness(fst: Fst) -> str | None:
    """A description of a cycle that reads nothing but writes, or None if the trimmed FST has none.

    Such an FST has infinitely many outputs for one input.
    """
    fst = fst.trim()
    silent: list[list[tuple[int, int]]] = [[] for _ in range(fst.n_states)]
    for src, ilabel, olabel, dst in fst.arcs():
        if ilabel == EPS:
            silent[src].append((dst, olabel))
    component = _components([[dst for dst, _ in moves] for moves in silent])
    for src, moves in enumerate(silent):
        for dst, olabel in moves:
            if olabel != EPS and component[src] == component[dst]:
                return _describe_cycle(fst, silent, src, dst, olabel)
    return None


def _describe_cycle(
    fst: Fst, silent: list[list[tuple[int, int]]], src: int, dst: int, olabel: int
) -> str:
    """The cycle src → dst → … → src, and an input that leads to it."""
    reading: list[list[tuple[int, int]]] = [[] for _ in range(fst.n_states)]
    for source, ilabel, _, target in fst.arcs():
        reading[source].append((target, ilabel))
    prefix = bytes(label for label in _labels_between(reading, fst.start, src) if label != EPS)
    written = [olabel, *_labels_between(silent, dst, src)]
    output = show_output((label for label in written if label != EPS), fst.symbols)
    return (
        f"after the input {show_bytes(prefix)} the FST can write {output} again and again, reading "
        "nothing"
    )


def _labels_between(moves: list[list[tuple[int, int]]], begin: int, end: int) -> list[int]:
    """Labels of a shortest path; `end` must be reachable."""
    back: dict[int, tuple[int, int] | None] = {begin: None}
    queue = deque([begin])
    while end not in back:
        here = queue.popleft()
        for dst, label in moves[here]:
            if dst not in back:
                back[dst] = (here, label)
                queue.append(dst)
    labels: list[int] = []
    step = back[end]
    while step is not None:
        labels.append(step[1])
        step = back[step[0]]
    return labels[::-1]


def _components(successors: list[list[int]]) -> list[int]:
    """Strongly connected components (Tarjan 1972, without recursion): a number for each node."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    component = [-1] * len(successors)
    path: list[int] = []
    for root in range(len(successors)):
        if root in index:
            continue
        work = [(root, iter(successors[root]))]
        index[root] = low[root] = len(index)
        path.append(root)
        while work:
            node, rest = work[-1]
            fresh = next((target for target in rest if target not in index), None)
            if fresh is not None:
                index[fresh] = low[fresh] = len(index)
                path.append(fresh)
                work.append((fresh, iter(successors[fresh])))
                continue
            work.pop()
            for target in successors[node]:
                if component[target] == -1:
                    low[node] = min(low[node], low[target])
            if low[node] == index[node]:
                while component[node] == -1:
                    component[path.pop()] = node
    return component
