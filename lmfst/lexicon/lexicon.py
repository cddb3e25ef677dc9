"""The tokens of a vocabulary ordered by what they emit from a sequential state.

For a state s of the sequential machine, out_s(t) is the string of target symbols that token t
emits. The distinct outputs form a trie; numbering the tokens in its depth-first order makes the
tokens whose output has a given prefix one contiguous range, so the probability that the next token
covers a given continuation is a sum over one range of the LM's row. The end of the string is one
more token per EOS id, with output rho(s)·⊥ (design: "One formula for everything").
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int32]


class Trie(NamedTuple):
    """The arrays of a `Lexicon`."""

    tokens: IntArray
    next: IntArray
    low: IntArray
    own: IntArray
    high: IntArray
    child_ptr: IntArray
    symbol: IntArray


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

    @cached_property
    def trie(self) -> Trie:
        """The arrays, for kernels."""
        return Trie(
            self.tokens, self.next, self.low, self.own, self.high, self.child_ptr, self.symbol
        )

    @cached_property
    def order(self) -> bytes:
        """A digest of `tokens`: lexicons that differ in what is pending emit in one order."""
        return hashlib.blake2b(self.tokens.tobytes(), digest_size=16).digest()

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return sum(array.nbytes for array in self.trie)
