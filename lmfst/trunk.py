"""The trunk: the nodes that read a document's source text in its own tokens.

A beam sees the past only. Where a text goes on with something improbable, all that goes on with it
may weigh less than the threshold, and then the hypotheses left are those that happened to stand
elsewhere. The tokenizer's own segmentation of a known source is the best guess at what goes on, so
it is kept whatever it weighs: one node a token, beside what the policy keeps. What is kept is a
superset, so the sums are lower bounds as before, and never below the probability of the source's
own tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lmfst.plan import Ints

_NONE = -2
"""No token, and no root either."""


class Trunk:
    """How far each document's trunk has come.

    Made from the roots' LM states int64 [documents] and the tokens of each source; a document
    without a source has none.
    """

    def __init__(self, roots: Sequence[int], tokens: Sequence[Sequence[int]]) -> None:
        self._top = np.array(roots, dtype=np.int64)
        self._tokens = np.array([t for own in tokens for t in (*own, _NONE)], dtype=np.int64)
        sizes = np.array([len(own) + 1 for own in tokens], dtype=np.int64)
        self._at = np.cumsum(sizes) - sizes

    def copy(self) -> Trunk:
        other = Trunk([], [])
        other._top, other._at, other._tokens = self._top.copy(), self._at.copy(), self._tokens
        return other

    def next_ones(self, document: Ints, parent: Ints, token: Ints) -> NDArray[np.bool_]:
        """Which nodes go on from the top of their document's trunk with its next token.

        document, parent (LM states), token: int64 [nodes].
        """
        found: NDArray[np.bool_] = self._top[document] == parent
        found &= self._tokens[self._at[document]] == token
        return found

    def ended(self, document: Ints, states: Ints) -> NDArray[np.bool_]:
        """Which nodes (LM states int64 [nodes]) have read all tokens of their document's trunk."""
        found: NDArray[np.bool_] = self._top[document] == states
        found &= self._tokens[self._at[document]] == _NONE
        return found

    def grow(self, document: Ints, states: Ints) -> None:
        """Set the tops of some documents' trunks to the nodes that went on from them."""
        self._top[document] = states
        self._at[document] += 1
