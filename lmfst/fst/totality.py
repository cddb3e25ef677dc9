"""The check that a transducer accepts all byte strings, or all that tokens can spell.

Decided on the subset construction of the input side, made as far as needed, with one representative
byte for each class of bytes that take every state to the same states.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from typing import TypeVar

import numpy as np

from lmfst.fst.core import EPS, Fst
from lmfst.ground.errors import BudgetError

Subset = int
"""The number of a set of FST states in `_Subsets`; 0 is the empty set."""

Decoder = Sequence[Collection[tuple[bytes, int]]]
"""For each decoder state, 0 the first, what the tokens spell there and the state after each; see
`any_order`."""

Node = TypeVar("Node")


def any_order(tokens: Iterable[bytes]) -> Decoder:
    """The decoder of tokens that spell the same text wherever they stand."""
    return [{(token, 0) for token in tokens}]


def is_total(fst: Fst, alphabet: bytes, *, max_states: int = 1_000_000) -> bool:
    """Whether every byte string over `alphabet` is accepted; errors as `rejected_bytes`."""
    return rejected_bytes(fst, alphabet, max_states=max_states) is None


def rejected_bytes(fst: Fst, alphabet: bytes, *, max_states: int = 1_000_000) -> bytes | None:
    """A shortest byte string over `alphabet` that isn't accepted, or None if there is none.

    BudgetError if the subset construction needs more than `max_states` states.
    """
    return _Subsets(fst, alphabet, max_states).shortest_rejected()


def rejected_tokens(fst: Fst, decoder: Decoder, *, max_states: int = 5_000_000) -> bytes | None:
    """A shortest text of tokens that isn't accepted, or None if all are.

    Zero tokens count: a transducer that rejects the empty string is witnessed by b"". First every
    string over the bytes of the tokens is tried, which settles the usual case. Else the search goes
    over pairs of (states of the FST, position in the tries of tokens). BudgetError, undecided, if
    there are more than `max_states` such pairs.
    """
    alphabet = bytes(sorted(set(b"".join(text for moves in decoder for text, _ in moves))))
    subsets = _Subsets(fst, alphabet, max_states)
    if subsets.shortest_rejected() is None:
        return None
    return _TokenSearch(subsets, _Trie(decoder), max_states).run()


class _Subsets:
    """Subset construction of the input side over some bytes, made as far as asked for."""

    def __init__(self, fst: Fst, alphabet: bytes, max_states: int) -> None:
        fst = fst.trim()
        self._max_states = max_states
        self._final = frozenset(np.flatnonzero(fst.final).tolist())
        self._moves: list[dict[int, list[int]]] = [{} for _ in range(fst.n_states)]
        for src, ilabel, _, dst in fst.arcs():
            self._moves[src].setdefault(ilabel, []).append(dst)
        self.byte_class = _byte_classes(fst)
        representatives = {
            self.byte_class[byte]: byte for byte in sorted(set(alphabet), reverse=True)
        }
        self.classes = sorted(representatives.items(), key=lambda item: item[1])
        self._closures: dict[int, frozenset[int]] = {}
        self._sets: list[frozenset[int]] = [frozenset()]
        self._numbers: dict[frozenset[int], Subset] = {frozenset(): 0}
        self._steps: list[dict[int, Subset]] = [{}]
        self.accepting: list[bool] = [False]
        self.start = self._number(self._closed([fst.start]))

    def _closed(self, states: Iterable[int]) -> frozenset[int]:
        return frozenset().union(*(self._closure(state) for state in states))

    def _closure(self, state: int) -> frozenset[int]:
        """States reached from `state` without reading."""
        known = self._closures.get(state)
        if known is None:
            seen, stack = {state}, [state]
            while stack:
                for dst in self._moves[stack.pop()].get(EPS, ()):
                    if dst not in seen:
                        seen.add(dst)
                        stack.append(dst)
            known = self._closures[state] = frozenset(seen)
        return known

    def _number(self, states: frozenset[int]) -> Subset:
        number = self._numbers.get(states)
        if number is None:
            number = self._numbers[states] = len(self._sets)
            if number > self._max_states:
                raise BudgetError(
                    f"more than {self._max_states} state sets while checking what an FST accepts",
                    hint="determinise the input side, or make the FST total by construction",
                )
            self._sets.append(states)
            self._steps.append({})
            self.accepting.append(not states.isdisjoint(self._final))
        return number

    def step(self, subset: Subset, byte: int) -> Subset:
        """The subset after one more byte."""
        byte_class = self.byte_class[byte]
        after = self._steps[subset].get(byte_class)
        if after is None:
            reached = {
                dst for state in self._sets[subset] for dst in self._moves[state].get(byte, ())
            }
            after = self._steps[subset][byte_class] = self._number(self._closed(reached))
        return after

    def shortest_rejected(self) -> bytes | None:
        """Breadth-first over all strings of the alphabet."""
        back: dict[Subset, tuple[Subset, int] | None] = {self.start: None}
        queue = deque([self.start])
        while queue:
            subset = queue.popleft()
            if not self.accepting[subset]:
                return _spelled(back, subset)
            for _, byte in self.classes:
                after = self.step(subset, byte)
                if after not in back:
                    back[after] = (subset, byte)
                    queue.append(after)
        return None

    def fallible(self) -> set[Subset]:
        """Subsets from which some string over the alphabet is rejected; makes all subsets."""
        sources: dict[Subset, list[Subset]] = {}
        queue, seen = deque([self.start]), {self.start}
        while queue:
            subset = queue.popleft()
            for _, byte in self.classes:
                after = self.step(subset, byte)
                sources.setdefault(after, []).append(subset)
                if after not in seen:
                    seen.add(after)
                    queue.append(after)
        stack = [subset for subset in seen if not self.accepting[subset]]
        found = set(stack)
        while stack:
            for subset in sources.get(stack.pop(), ()):
                if subset not in found:
                    found.add(subset)
                    stack.append(subset)
        return found


def _byte_classes(fst: Fst) -> list[int]:
    """A class for each byte 0..255, the same for bytes that take every state to the same states."""
    rows = np.stack([fst.ilabel, fst.src, fst.dst], axis=1)
    rows = np.unique(rows[rows[:, 0] >= 0], axis=0)
    classes: dict[bytes, int] = {}
    bounds = np.searchsorted(rows[:, 0], np.arange(257))
    moves = np.ascontiguousarray(rows[:, 1:])
    return [
        classes.setdefault(moves[bounds[byte] : bounds[byte + 1]].tobytes(), len(classes))
        for byte in range(256)
    ]


class _Trie:
    """The byte tries of tokens, one for each decoder state, whose number its root has.

    children: byte → node, for each node
    ends:     the roots to go on from after a token that ends at the node; of a root, those that
              tokens which spell nothing lead to
    rest:     the shortest way from a node to the end of a token: its length and first byte
    """

    def __init__(self, decoder: Decoder) -> None:
        self.roots = len(decoder)
        self.children: list[dict[int, int]] = [{} for _ in decoder]
        self.ends: list[set[int]] = [set() for _ in decoder]
        for root, moves in enumerate(decoder):
            for token, after in sorted(moves):
                node = root
                for byte in token:
                    child = self.children[node].get(byte)
                    if child is None:
                        child = self.children[node][byte] = len(self.children)
                        self.children.append({})
                        self.ends.append(set())
                    node = child
                self.ends[node].add(after)
        self._close()
        self.rest: list[tuple[int, int]] = [(0, -1)] * len(self.children)
        for node in reversed(range(self.roots, len(self.children))):
            if not self.ends[node]:
                steps = self.children[node].items()
                self.rest[node] = min((self.rest[child][0] + 1, byte) for byte, child in steps)

    def _close(self) -> None:
        """Let tokens that spell nothing follow wherever a token ends."""
        for _ in range(self.roots):
            for ends in self.ends:
                ends.update(*[self.ends[root] for root in ends])

    def finish(self, node: int) -> bytes:
        """The shortest way from a node to the end of a token."""
        spelled = bytearray()
        while not self.ends[node] and node >= self.roots:
            byte = self.rest[node][1]
            spelled.append(byte)
            node = self.children[node][byte]
        return bytes(spelled)


class _TokenSearch:
    """Shortest rejected concatenation of tokens, by best-first search over (subset, trie node).

    At a root a concatenation is complete. In the empty subset nothing is accepted any more, so
    any way to the end of the token will do: its length is the priority. Subsets from which nothing
    can be rejected are left out.
    """

    def __init__(self, subsets: _Subsets, trie: _Trie, max_states: int) -> None:
        self._subsets = subsets
        self._trie = trie
        self._max_states = max_states
        self._fallible = subsets.fallible()

    def run(self) -> bytes | None:
        """The witness, or None. BudgetError beyond `max_states` pairs."""
        starts = [(self._subsets.start, root) for root in sorted({0, *self._trie.ends[0]})]
        back: dict[tuple[Subset, int], tuple[tuple[Subset, int], int] | None]
        back = dict.fromkeys(starts)
        queue: list[tuple[int, int, tuple[Subset, int]]] = [(0, 0, start) for start in starts]
        while queue:
            _, length, pair = heapq.heappop(queue)
            subset, node = pair
            if subset == 0:
                return _spelled(back, pair) + self._trie.finish(node)
            if node < self._trie.roots and not self._subsets.accepting[subset]:
                return _spelled(back, pair)
            for byte, child in self._trie.children[node].items():
                after = self._subsets.step(subset, byte)
                if after not in self._fallible:
                    continue
                for target in (child, *sorted(self._trie.ends[child])):
                    if (after, target) not in back:
                        back[after, target] = (pair, byte)
                        bound = length + 1 + (self._trie.rest[target][0] if after == 0 else 0)
                        heapq.heappush(queue, (bound, length + 1, (after, target)))
            if len(back) > self._max_states:
                raise BudgetError(
                    f"more than {self._max_states} cases while seeking a rejected token sequence",
                    hint="make the FST accept every byte string",
                )
        return None


def _spelled(back: dict[Node, tuple[Node, int] | None], node: Node) -> bytes:
    """The bytes on the way to a node of a search."""
    spelled = bytearray()
    step = back[node]
    while step is not None:
        spelled.append(step[1])
        step = back[step[0]]
    return bytes(reversed(spelled))
