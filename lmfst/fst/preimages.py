"""The inputs of a transducer that have a given output: `lmfst apply --invert`.

A pair (state, symbols of the output written so far) is a node of a lattice; an arc that writes
nothing or the next symbol leads on. Inputs are strings over this lattice, found shortest first by a
search over sets of nodes (Hart, Nilsson and Raphael 1968, A*), with the exact number of bytes that
are still needed as its estimate; so nothing is expanded that doesn't lead to an input.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from lmfst.fst.core import EPS, Fst
from lmfst.ground.errors import BudgetError

Node = tuple[int, int]
"""(state, symbols written)"""


def preimages(
    fst: Fst, target: Sequence[int], *, goes_on: bool = False, max_nodes: int = 1_000_000
) -> Iterator[bytes]:
    """The distinct inputs that can be written as `target`, shorter ones first; perhaps without end.

    goes_on: the beginnings of inputs that some path writes as `target` by then, in an FST of whose
    states each leads to an end. BudgetError if lattice and search take more than `max_nodes` nodes.
    """
    final = range(fst.n_states) if goes_on else fst.final.nonzero()[0].tolist()
    lattice = _Lattice(fst, target, final, max_nodes)
    start = lattice.closed([(fst.start, 0)])
    if not start:
        return
    # Among equally long inputs the one that is nearly read goes on first.
    queue = [(lattice.needed(start), 0, b"", start)]
    used = 0
    while queue:
        _, depth, text, nodes = heapq.heappop(queue)
        if lattice.accepts(nodes):
            yield text
        used += len(nodes)
        if used > max_nodes:
            raise _too_large(max_nodes)
        for byte, after in lattice.steps(nodes):
            estimate = len(text) + 1 + lattice.needed(after)
            heapq.heappush(queue, (estimate, depth - 1, text + bytes([byte]), after))


class _Lattice:
    """The nodes that lie between the start and an accepting end.

    needed: the least number of bytes from a node to such an end.
    """

    def __init__(
        self, fst: Fst, target: Sequence[int], final: Iterable[int], max_nodes: int
    ) -> None:
        self._ends = {(q, len(target)) for q in final}
        self._moves: dict[Node, list[tuple[int, Node]]] = {}
        bounds = fst.arc_ptr.tolist()
        arcs = list(zip(fst.ilabel.tolist(), fst.olabel.tolist(), fst.dst.tolist(), strict=True))
        size = len(target)
        stack: list[Node] = [(fst.start, 0)]
        while stack:
            node = stack.pop()
            if node in self._moves:
                continue
            if len(self._moves) == max_nodes:
                raise _too_large(max_nodes)
            state, at = node
            symbol = target[at] if at < size else None
            moves = [
                (ilabel, (dst, at if olabel == EPS else at + 1))
                for ilabel, olabel, dst in arcs[bounds[state] : bounds[state + 1]]
                if olabel in (EPS, symbol)
            ]
            self._moves[node] = moves
            stack += [after for _, after in moves]
        self._needed = self._distances()

    def _distances(self) -> dict[Node, int]:
        """Bytes to an end, by breadth-first search backwards; silent moves cost nothing."""
        back: dict[Node, list[tuple[int, Node]]] = {}
        for node, moves in self._moves.items():
            for label, after in moves:
                back.setdefault(after, []).append((label != EPS, node))
        found: dict[Node, int] = {}
        queue = deque((0, node) for node in self._ends if node in self._moves)
        while queue:
            cost, node = queue.popleft()
            if node in found:
                continue
            found[node] = cost
            for step, before in back.get(node, ()):
                if step:
                    queue.append((cost + 1, before))
                else:
                    queue.appendleft((cost, before))
        return found

    def needed(self, nodes: Iterable[Node]) -> int:
        return min(self._needed[node] for node in nodes)

    def closed(self, nodes: Iterable[Node]) -> frozenset[Node]:
        """The nodes and what silent moves lead to, without dead ends."""
        seen = {node for node in nodes if node in self._needed}
        stack = list(seen)
        while stack:
            for label, after in self._moves[stack.pop()]:
                if label == EPS and after in self._needed and after not in seen:
                    seen.add(after)
                    stack.append(after)
        return frozenset(seen)

    def accepts(self, nodes: frozenset[Node]) -> bool:
        return not nodes.isdisjoint(self._ends)

    def steps(self, nodes: frozenset[Node]) -> Iterator[tuple[int, frozenset[Node]]]:
        """What reading one more byte leads to: (byte, nodes)."""
        reached: dict[int, set[Node]] = {}
        for node in nodes:
            for label, after in self._moves[node]:
                if label != EPS and after in self._needed:
                    reached.setdefault(label, set()).add(after)
        for byte in sorted(reached):
            yield byte, self.closed(reached[byte])


def _too_large(max_nodes: int) -> BudgetError:
    return BudgetError(
        f"more than {max_nodes} nodes while seeking the inputs of one output",
        hint="the output is too long or has too many inputs; invert shorter pieces of it",
    )
