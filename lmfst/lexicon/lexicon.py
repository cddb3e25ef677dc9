"""Lexicons: the tokens of a vocabulary ordered by what they emit from a sequential state.

For a state s of the sequential machine, out_s(t) is the string of target symbols that token t
emits. The distinct outputs form a trie; numbering the tokens in its depth-first order makes the
tokens whose output has a given prefix one contiguous range, so the probability that the next token
covers a given continuation is a sum over one range of the LM's row. The end of the string is one
more token per EOS id, with output rho(s)·⊥ (design: "One formula for everything").

A lexicon is built by walking the byte trie of the vocabulary through the machine, one trie depth at
a time, vectorised over the nodes of that depth. The state of a lexicon is a pair (decoder state of
the vocabulary, state of the machine), interned by `Lexicons`.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmfst.fst.pattern import OneOf, Place
from lmfst.fst.sequential import END, Sequential
from lmfst.ground.announce import Announced
from lmfst.ground.errors import FstError
from lmfst.lexicon.store import open_store
from lmfst.vocab import Vocab

IntArray = NDArray[np.int32]
WordArray = NDArray[np.uint64]

_ROOT_HASH = np.uint64(0x9E3779B97F4A7C15)
_HASH_FACTOR = np.uint64(0xD1342543DE82EF95)


@dataclass(frozen=True)
class Lexicon:
    """The tokens of one lexicon state in output order, and the trie of their outputs.

    tokens, next: int32 [tokens]. The token ids in output order, and the lexicon state after each
        (-1 after an EOS). Tokens that no accepted string can contain here are left out.
    low, own, high: int32 [nodes]. Trie node v stands for an output string; the tokens that emit
    exactly
        it are tokens[low[v]:own[v]], those that emit it or more tokens[low[v]:high[v]]. Node 0 is
        ε.
    child_ptr: int32 [nodes + 1], symbol: int32 [nodes]. The children of v are the nodes
        child_ptr[v] .. child_ptr[v+1]-1, in order of `symbol`, the last symbol of a node (END
        first).
    depth: no token emits `depth` symbols or more.
    """

    tokens: IntArray
    next: IntArray
    low: IntArray
    own: IntArray
    high: IntArray
    child_ptr: IntArray
    symbol: IntArray
    depth: int

    def child(self, node: int, symbol: int) -> int:
        """The child of `node` by `symbol`, or -1."""
        first, last = int(self.child_ptr[node]), int(self.child_ptr[node + 1])
        at = first + int(np.searchsorted(self.symbol[first:last], symbol))
        return at if at < last and self.symbol[at] == symbol else -1

    def walk(self, target: Sequence[Place]) -> tuple[list[int], list[int]]:
        """The trie nodes of the prefixes of `target`, from ε to the longest that some token begins
        with, and their depths: one node a depth, several from where a place is left open.
        """
        path, depths, last = [0], [0], [0]
        for depth, place in enumerate(target, start=1):
            if isinstance(place, OneOf):
                found = [self.child(node, symbol) for node in last for symbol in sorted(place)]
            else:
                found = [self.child(node, place) for node in last]
            last = [node for node in found if node >= 0]
            if not last:
                break
            path += last
            depths += [depth] * len(last)
        return path, depths

    @property
    def nbytes(self) -> int:
        return sum(
            a.nbytes
            for a in (
                self.tokens,
                self.next,
                self.low,
                self.own,
                self.high,
                self.child_ptr,
                self.symbol,
            )
        )


class _ByteTrie:
    """The byte trie of one decoder state's tokens, by depth.

    Per depth k ≥ 1: `parent` (index among the nodes of depth k - 1) and `byte` of its nodes.
    token_depth, token_node: where each of `ids` ends.
    """

    def __init__(self, spelled: Sequence[bytes | None]) -> None:
        pairs = sorted((text, token) for token, text in enumerate(spelled) if text is not None)
        self.alphabet = set().union(*(text for text, _ in pairs))
        self.ids = np.array([token for _, token in pairs], dtype=np.int32)
        sizes = np.array([len(text) for text, _ in pairs], dtype=np.int64)
        depth = int(sizes.max(initial=0))
        padded = np.zeros((len(pairs), depth), dtype=np.uint8)
        for row, (text, _) in enumerate(pairs):
            padded[row, : len(text)] = np.frombuffer(text, dtype=np.uint8)
        shared = self._shared_with_previous(padded, sizes)
        self.token_depth = sizes
        self.token_node = np.zeros(len(pairs), dtype=np.int64)
        self.parent: list[NDArray[np.int64]] = [np.zeros(1, dtype=np.int64)]
        self.byte: list[NDArray[np.int64]] = [np.zeros(1, dtype=np.int64)]
        above = np.zeros(len(pairs), dtype=np.int64)
        for k in range(1, depth + 1):
            reaches = sizes >= k
            new = reaches & (shared < k)
            here = np.cumsum(new) - 1
            self.parent.append(above[new])
            self.byte.append(padded[new, k - 1].astype(np.int64))
            self.token_node[sizes == k] = here[sizes == k]
            above = here

    @staticmethod
    def _shared_with_previous(
        padded: NDArray[np.uint8], sizes: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Length of the common prefix of each row with the row before it (-1 for the first row)."""
        shared = np.full(len(sizes), -1, dtype=np.int64)
        if len(sizes) > 1:
            equal = padded[1:] == padded[:-1]
            equal &= np.arange(padded.shape[1]) < np.minimum(sizes[1:], sizes[:-1])[:, None]
            shared[1:] = np.logical_and.accumulate(equal, axis=1).sum(axis=1)
        return shared


class Lexicons:
    """All lexicons of a (vocabulary, machine) pair, built on demand and kept in an LRU by memory.

    support: bool [vocabulary]. Tokens outside it are never read (EOS tokens always are). name: what
    the announcement of a long first use calls them.
    """

    def __init__(
        self,
        vocab: Vocab,
        machine: Sequential,
        *,
        support: NDArray[np.bool_] | None = None,
        max_bytes: int = 1 << 30,
        name: str = "the target",
    ) -> None:
        self.vocab, self.machine = vocab, machine
        keep = np.ones(vocab.size, dtype=bool) if support is None else support
        self._tries = [
            _ByteTrie(
                [text if keep[t] and t not in vocab.eos else None for t, text in enumerate(texts)]
            )
            for texts in vocab.token_bytes
        ]
        self.alphabet = bytes(sorted(set().union(*(trie.alphabet for trie in self._tries))))
        self._decoder_next = [np.asarray(after, dtype=np.int64) for after in vocab.next_state]
        self._states: list[tuple[int, int]] = []
        self._ids: dict[tuple[int, int], int] = {}
        self._built: OrderedDict[int, Lexicon] = OrderedDict()
        self._bytes, self._max_bytes = 0, max_bytes
        self.start = self.intern(0, machine.start)
        self._store = open_store(vocab, machine, keep)
        kept = "once" if self._store is None else f"once; kept in {self._store.folder}"
        self._announced = Announced(f"building the lexicons of {name} ({kept})")

    def intern(self, decoder: int, state: int) -> int:
        """The lexicon state of a (decoder state, machine state) pair."""
        key = (decoder, state)
        if key not in self._ids:
            self._ids[key] = len(self._states)
            self._states.append(key)
        return self._ids[key]

    def pair(self, state: int) -> tuple[int, int]:
        """(decoder state, machine state) of a lexicon state."""
        return self._states[state]

    def viable(self, state: int, symbol: int) -> bool:
        """False only if nothing that follows in lexicon state `state` can begin with `symbol`."""
        return self.machine.viable(self._states[state][1], symbol)

    def __getitem__(self, state: int) -> Lexicon:
        known = self._built.get(state)
        if known is not None:
            self._built.move_to_end(state)
            return known
        pair = self._states[state]
        built = self._store.load(self, *pair) if self._store else None
        if built is None:
            with self._announced:
                built = self._build(*pair)
                if self._store:
                    self._store.keep(self, *pair, built)
        self._built[state] = built
        self._bytes += built.nbytes
        while self._bytes > self._max_bytes and len(self._built) > 1:
            self._bytes -= self._built.popitem(last=False)[1].nbytes
        return built

    def _build(self, decoder: int, state: int) -> Lexicon:
        tokens, after, hashes, nodes = self._walk(decoder, state)
        end = self.machine.final(state)
        if end is not None and self.vocab.eos:
            nodes.append(_ROOT_HASH_ARRAY)
            last = _extend(nodes, (*end, END))
            size = len(self.vocab.eos)
            tokens = np.concatenate([tokens, np.array(self.vocab.eos, dtype=np.int32)])
            after = np.concatenate([after, np.full(size, -1, dtype=np.int32)])
            hashes = np.concatenate([hashes, np.full(size, last, dtype=np.uint64)])
        return _ordered(tokens, after, hashes, nodes)

    def _walk(
        self, decoder: int, state: int
    ) -> tuple[IntArray, IntArray, WordArray, list[WordArray]]:
        """Run every token through the machine.

        Returns token ids, lexicon states after them, hashes of their outputs, and the rows
        (hash, hash of the parent, symbol) of all trie nodes met.
        """
        trie = self._tries[decoder]
        nodes: list[WordArray] = [_ROOT_HASH_ARRAY]
        states = np.array([state], dtype=np.int64)
        hashes = np.array([_ROOT_HASH], dtype=np.uint64)
        found = []
        for depth in range(len(trie.parent)):
            if depth:
                parents = trie.parent[depth]
                states, hashes = self._advance(
                    states[parents], hashes[parents], trie.byte[depth], nodes
                )
            rows = np.flatnonzero(trie.token_depth == depth)
            at = trie.token_node[rows]
            alive = states[at] >= 0
            rows, at = rows[alive], at[alive]
            found.append((trie.ids[rows], states[at], hashes[at]))
            if not (states >= 0).any():
                break
        tokens = np.concatenate([part[0] for part in found])
        after = self._after(decoder, tokens, np.concatenate([part[1] for part in found]))
        return tokens, after, np.concatenate([part[2] for part in found]), nodes

    def _advance(
        self,
        states: NDArray[np.int64],
        hashes: WordArray,
        byte: NDArray[np.int64],
        nodes: list[WordArray],
    ) -> tuple[NDArray[np.int64], WordArray]:
        """One byte further for all nodes of a depth; -1 marks nodes that no accepted string
        reaches.
        """
        code = np.where(states >= 0, states * 256 + byte, -1)
        distinct, inverse = np.unique(code, return_inverse=True)
        steps = [self.machine.step(int(c) >> 8, int(c) & 255) if c >= 0 else None for c in distinct]
        states = np.array([s[0] if s else -1 for s in steps], dtype=np.int64)[inverse]
        outputs = [s[1] if s else () for s in steps]
        sizes = np.array([len(out) for out in outputs], dtype=np.int64)
        for position in range(int(sizes.max(initial=0))):
            symbols = np.array(
                [out[position] if len(out) > position else 0 for out in outputs], dtype=np.uint64
            )
            longer = np.flatnonzero(sizes[inverse] > position)
            hashes = hashes.copy() if position == 0 else hashes
            hashes[longer] = _child_rows(hashes[longer], symbols[inverse[longer]], nodes)
        return states, hashes

    def _after(self, decoder: int, tokens: IntArray, states: NDArray[np.int64]) -> IntArray:
        """Lexicon states after the tokens, interned once per distinct pair."""
        code = self._decoder_next[decoder][tokens] << 40 | states
        distinct, inverse = np.unique(code, return_inverse=True)
        ids = [self.intern(int(c) >> 40, int(c) & (1 << 40) - 1) for c in distinct]
        return np.array(ids, dtype=np.int32)[inverse]


_ROOT_HASH_ARRAY: WordArray = np.array([[_ROOT_HASH, 0, 0]], dtype=np.uint64)


def _child_rows(parents: WordArray, symbols: WordArray, nodes: list[WordArray]) -> WordArray:
    """Hashes of the children of `parents` by `symbols`; notes their rows in `nodes`."""
    mixed = (parents ^ (parents >> np.uint64(29))) * _HASH_FACTOR
    child = (mixed + symbols + np.uint64(1)) * _HASH_FACTOR
    child ^= child >> np.uint64(32)
    rows = np.stack([child, parents, symbols + np.uint64(1)], axis=1)
    nodes.append(rows)
    return child


def _extend(nodes: list[WordArray], output: Sequence[int]) -> np.uint64:
    """Hash of an output string, END included; notes the rows of its prefixes in `nodes`."""
    here = np.array([_ROOT_HASH], dtype=np.uint64)
    for symbol in output:
        # END = -1 becomes 0 by wrapping round, below every symbol.
        here = _child_rows(here, np.array([symbol], dtype=np.int64).astype(np.uint64), nodes)
    return np.uint64(here[0])


def _ordered(
    tokens: IntArray, after: IntArray, hashes: WordArray, rows: list[WordArray]
) -> Lexicon:
    """Number the trie breadth first, children by symbol, and the tokens depth first."""
    table = np.concatenate(rows)
    _, first = np.unique(table[:, 0], return_index=True)
    table_nodes = table[first]
    _check_hashes(table, table_nodes)
    keys = table_nodes[:, 0]
    symbol = table_nodes[:, 2].astype(np.int64) - 1
    order, parent, levels = _breadth_first(
        np.searchsorted(keys, table_nodes[:, 1]), symbol, int(np.searchsorted(keys, _ROOT_HASH))
    )
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    node = rank[np.searchsorted(keys, hashes)]
    own = np.bincount(node, minlength=len(order))
    low, total = _depth_first_ranges(parent, own, levels)
    by_place = np.lexsort((tokens, low[node]))
    # Strings that no token completes (the machine refused the rest) have no range: leave them out.
    kept = np.flatnonzero((total > 0) | (np.arange(len(order)) == 0))
    renumber = np.zeros(len(order), dtype=np.int64)
    renumber[kept] = np.arange(len(kept))
    child_ptr = 1 + np.searchsorted(renumber[parent[kept]][1:], np.arange(len(kept) + 1))
    return Lexicon(
        tokens=tokens[by_place].astype(np.int32),
        next=after[by_place].astype(np.int32),
        low=low[kept].astype(np.int32),
        own=(low + own)[kept].astype(np.int32),
        high=(low + total)[kept].astype(np.int32),
        child_ptr=child_ptr.astype(np.int32),
        symbol=symbol[order][kept].astype(np.int32),
        depth=len(levels) - 1,
    )


def _check_hashes(table: WordArray, nodes: WordArray) -> None:
    """Two rows with one hash must be one output string; anything else is a collision."""
    same = nodes[np.searchsorted(nodes[:, 0], table[:, 0])]
    if not np.array_equal(same, table):
        raise FstError(
            "two output strings of the transducer fell on one 64-bit hash in building a lexicon",
            hint="this is a fault of lmfst, about one in 10^9: please report the transducer",
        )


def _breadth_first(
    parent: NDArray[np.int64], symbol: NDArray[np.int64], root: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], list[int]]:
    """Nodes level by level, siblings by symbol.

    Returns the nodes in that order, the place of each one's parent in it (0 for the root), and
    where each level begins, with the number of nodes last.
    """
    family = np.lexsort((symbol, parent))
    family = family[family != root]
    first = np.searchsorted(parent[family], np.arange(len(parent) + 1))
    level = np.array([root])
    places, parents, levels = [level], [np.zeros(1, dtype=np.int64)], [0, 1]
    while True:
        sizes = first[level + 1] - first[level]
        count = int(sizes.sum())
        if not count:
            break
        within = np.arange(count) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        parents.append(np.repeat(np.arange(levels[-2], levels[-1]), sizes))
        level = family[np.repeat(first[level], sizes) + within]
        places.append(level)
        levels.append(levels[-1] + count)
    return np.concatenate(places), np.concatenate(parents), levels


def _depth_first_ranges(
    parent: NDArray[np.int64], own: NDArray[np.int64], levels: list[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First token place and token count of every node's subtree, tokens numbered depth first."""
    total = own.copy()
    spans = [slice(a, b) for a, b in itertools.pairwise(levels)]
    for above, span in reversed(list(itertools.pairwise(spans))):
        size = above.stop - above.start
        sums = np.bincount(parent[span] - above.start, weights=total[span], minlength=size)
        total[above] += sums.astype(np.int64)
    low = np.zeros(len(own), dtype=np.int64)
    for span in spans[1:]:
        above = parent[span]
        before = np.cumsum(total[span]) - total[span]
        eldest = np.searchsorted(above, above)
        low[span] = low[above] + own[above] + before - before[eldest]
    return low, total
