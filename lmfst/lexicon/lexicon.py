"""The tokens of a vocabulary ordered by what they emit from a sequential state.

For a state s of the sequential machine, out_s(t) is the string of target symbols that token t
emits. The distinct outputs form a trie; numbering the tokens in its depth-first order makes the
tokens whose output has a given prefix one contiguous range, so the probability that the next token
covers a given continuation is a sum over one range of the LM's row. The end of the string is one
more token per EOS id, with output rho(s)·⊥ (design: "One formula for everything").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmfst.fst import OneOf, Place

IntArray = NDArray[np.int32]


@dataclass(frozen=True)
class Lexicon:
    """The tokens of one lexicon state in output order, and the trie of their outputs.

    tokens, next: int32 [tokens]. The token ids in output order, and the lexicon state after each
        (-1 after an EOS). Tokens that no accepted string can contain here are left out.
    low, own, high: int32 [nodes]. Trie node v stands for an output string; the tokens that emit
        exactly it are tokens[low[v]:own[v]], those that emit it or more tokens[low[v]:high[v]].
        Node 0 is ε.
    child_ptr: int32 [nodes + 1], symbol: int32 [nodes]. The children of v are the nodes
        child_ptr[v] .. child_ptr[v + 1] - 1, in order of `symbol`, the last symbol of a node (END
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
        """The trie nodes of the prefixes of `target` that some token begins with, and their depths.

        From ε on; one node a depth, several from where a place is left open.
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
        """Memory of the arrays."""
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
