"""Building a lexicon: all tokens run through a sequential machine at once.

The byte trie of the vocabulary is walked through the machine one trie depth at a time, vectorised
over the nodes of that depth. Output strings are hashes meanwhile; equal ones are one node of the
trie of outputs, which is numbered at the end.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lmfst.fst import END, Sequential
from lmfst.ground.arrays import Bools, Ints
from lmfst.ground.errors import FstError
from lmfst.lexicon.lexicon import IntArray, Lexicon
from lmfst.vocab import Vocab

WordArray = NDArray[np.uint64]

_ROOT_HASH = np.uint64(0x9E3779B97F4A7C15)
_HASH_FACTOR = np.uint64(0xD1342543DE82EF95)
_ROOT_HASH_ARRAY: WordArray = np.array([[_ROOT_HASH, 0, 0]], dtype=np.uint64)


class ByteTrie:
    """The byte trie of one decoder state's tokens, by depth.

    Per depth k ≥ 1: `parent` (index among the nodes of depth k - 1) and `byte` of its nodes.
    token_depth, token_node: where each of `ids` ends.
    """

    def __init__(self, spelled: Sequence[bytes | None]) -> None:
        pairs = sorted((text, token) for token, text in enumerate(spelled) if text is not None)
        self.ids = np.array([token for _, token in pairs], dtype=np.int32)
        sizes = np.array([len(text) for text, _ in pairs], dtype=np.int64)
        depth = int(sizes.max(initial=0))
        padded = np.zeros((len(pairs), depth), dtype=np.uint8)
        for row, (text, _) in enumerate(pairs):
            padded[row, : len(text)] = np.frombuffer(text, dtype=np.uint8)
        shared = self._shared_with_previous(padded, sizes)
        self.token_depth = sizes
        self.token_node = np.zeros(len(pairs), dtype=np.int64)
        self.parent: list[Ints] = [np.zeros(1, dtype=np.int64)]
        self.byte: list[Ints] = [np.zeros(1, dtype=np.int64)]
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
    def _shared_with_previous(padded: NDArray[np.uint8], sizes: Ints) -> Ints:
        """Length of the common prefix of each row with the row before it (-1 for the first row)."""
        shared = np.full(len(sizes), -1, dtype=np.int64)
        if len(sizes) > 1:
            equal = padded[1:] == padded[:-1]
            equal &= np.arange(padded.shape[1]) < np.minimum(sizes[1:], sizes[:-1])[:, None]
            shared[1:] = np.logical_and.accumulate(equal, axis=1).sum(axis=1)
        return shared


class Builder:
    """Builds the lexicons of a vocabulary and a machine.

    keep: bool [vocabulary], the tokens that are read, EOS tokens aside. intern: numbers the pairs
    (decoder state, machine state) that a lexicon leads to. alphabet: the bytes in the tokens.
    """

    def __init__(
        self,
        vocab: Vocab,
        machine: Sequential,
        keep: Bools,
        intern: Callable[[int, int], int],
    ) -> None:
        self._eos, self._machine, self._intern = vocab.eos, machine, intern
        self._spelled = [
            [text if keep[t] and t not in vocab.eos else None for t, text in enumerate(texts)]
            for texts in vocab.token_bytes
        ]
        texts = (text for spelled in self._spelled for text in spelled if text is not None)
        self.alphabet = bytes(sorted(set(b"".join(texts))))
        self._decoder_next = [np.asarray(after, dtype=np.int64) for after in vocab.next_state]

    @cached_property
    def _tries(self) -> list[ByteTrie]:
        """The byte trie of each decoder state: not needed where all lexicons are read from files,
        and for a large vocabulary a quarter of a second."""
        return [ByteTrie(spelled) for spelled in self._spelled]

    def build(self, decoder: int, state: int) -> Lexicon:
        """The lexicon of a (decoder state, machine state) pair."""
        tokens, after, hashes, nodes = self._walk(decoder, state)
        end = self._machine.final(state)
        if end is not None and self._eos:
            nodes.append(_ROOT_HASH_ARRAY)
            last = _extend(nodes, (*end, END))
            size = len(self._eos)
            tokens = np.concatenate([tokens, np.array(self._eos, dtype=np.int32)])
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
        states: Ints,
        hashes: WordArray,
        byte: Ints,
        nodes: list[WordArray],
    ) -> tuple[Ints, WordArray]:
        """One byte further for all nodes of a depth; -1: no accepted string reaches the node."""
        code = np.where(states >= 0, states * 256 + byte, -1)
        distinct, inverse = np.unique(code, return_inverse=True)
        steps = [
            self._machine.step(int(c) >> 8, int(c) & 255) if c >= 0 else None for c in distinct
        ]
        states = np.array([s[0] if s else -1 for s in steps], dtype=np.int64)[inverse]
        outputs = [s[1] if s else () for s in steps]
        sizes = np.array([len(out) for out in outputs], dtype=np.int64)
        for position in range(int(sizes.max(initial=0))):
            symbols = np.array(
                [out[position] if len(out) > position else 0 for out in outputs], dtype=np.int64
            ).astype(np.uint64)
            longer = np.flatnonzero(sizes[inverse] > position)
            hashes = hashes.copy() if position == 0 else hashes
            hashes[longer] = _child_rows(hashes[longer], symbols[inverse[longer]], nodes)
        return states, hashes

    def _after(self, decoder: int, tokens: IntArray, states: Ints) -> IntArray:
        """Lexicon states after the tokens, interned once per distinct pair."""
        code = self._decoder_next[decoder][tokens] << 40 | states
        distinct, inverse = np.unique(code, return_inverse=True)
        ids = [self._intern(int(c) >> 40, int(c) & (1 << 40) - 1) for c in distinct]
        return np.array(ids, dtype=np.int32)[inverse]


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


def _breadth_first(parent: Ints, symbol: Ints, root: int) -> tuple[Ints, Ints, list[int]]:
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


def _depth_first_ranges(parent: Ints, own: Ints, levels: list[int]) -> tuple[Ints, Ints]:
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
