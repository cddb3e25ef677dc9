"""Covers: the tokens with which hypotheses of a state go beyond its string, to be drawn from.

A state after y holds cursors (x, v) (`lmfst.inference.cursors`), and a source string has an output
that begins with y if it begins with some x and a token t strictly below v. So

    p(x, t | y) ∝ P_X(x) · p_X(t | x),

and what follows t is the model's own business: to draw a source string given y, draw (x, t) and go
on token by token. Tokens that end exactly at y are part of other hypotheses, which have cursors of
their own. Among hypotheses that were kept this is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lmfst.ground.arrays import Floats, Ints
from lmfst.inference.cursors import Cursors, segment_sums
from lmfst.inference.draws import pick
from lmfst.inference.states import State
from lmfst.lexicon import Lexicons
from lmfst.lexicon.lexicon import Trie
from lmfst.lm.base import Session


class Cover(NamedTuple):
    """A token that covers a string. model: the LM state before it. lexicon: the lexicon state after
    it, -1 where it has ended the source string. emitted: what it emits beyond the string, ⊥ last
    where it has ended it."""

    model: int
    token: int
    lexicon: int
    emitted: tuple[int, ...]


class Covers:
    """The covers of a state's string.

    lexicons: those of the model. session, root: the session of the model that the state is in, and
    its document. models: int64 [n], the LM states that covers go on from. log_mass: the log of the
    probability of all covers together, nats.

    InputError where the string has probability zero, with its first impossible symbol, or ended.
    """

    def __init__(self, state: State) -> None:
        space, node = state._space, state._node
        space.require_going(node)
        space.close([node])
        self._space = space  # which closes the document when nobody holds it
        self.session: Session = space._session
        self.root: int = space._root
        self.lexicons: Lexicons = space.setting.lexicons
        self._held = [
            place.cursors.at(np.arange(place.first, place.end))
            for place in node.places
            if place.end > place.first
        ]
        logs = np.concatenate([_masses(self.lexicons, held) for held in self._held])
        # Of a long string all are tiny: their ratios count.
        self._sums = np.cumsum(np.exp(logs - logs.max()))
        self.log_mass = float(np.log(self._sums[-1]) + logs.max())
        self._first = np.cumsum([0, *(len(held.model) for held in self._held)])
        self.models: Ints = np.unique(np.concatenate([held.model for held in self._held]))

    def cursors(self) -> Sequence[Cursors]:
        """The cursors, several at a time, that covers are below."""
        return self._held

    def draw(self, random: np.random.Generator) -> Cover:
        """A cover, with its probability given the string."""
        at = pick(self._sums, random.random())
        part = int(np.searchsorted(self._first, at, side="right")) - 1
        held, i = self._held[part], at - int(self._first[part])
        lexicon = self.lexicons[int(held.lexicon[i])]
        trie, node, base = lexicon.trie, int(held.node[i]), int(held.base[i])
        begin, end = int(trie.own[node]), int(trie.high[node])
        logs = held.terms[base + begin : base + end].astype(np.float64) - held.lse[i]
        place = begin + pick(np.cumsum(np.exp(logs)), random.random())
        token, after = int(lexicon.tokens[place]), int(lexicon.next[place])
        return Cover(int(held.model[i]), token, after, emitted_below(trie, node, place))


def _masses(lexicons: Lexicons, held: Cursors) -> Floats:
    """The log of the mass of each cursor [n], nats: that of its hypothesis, with a token below its
    node."""
    begin, end = np.empty((2, len(held.model)), np.int64)
    for state in np.unique(held.lexicon).tolist():
        some = held.lexicon == state
        trie, node = lexicons[state].trie, held.node[some]
        begin[some], end[some] = trie.own[node], trie.high[node]
    sums = np.empty(len(held.model))
    segment_sums(held.terms, held.lse, held.base + begin, held.base + end, sums)
    with np.errstate(divide="ignore"):
        found: Floats = held.logw + np.log(sums)
    return found


def emitted_below(trie: Trie, node: int, place: int) -> tuple[int, ...]:
    """What the token at a place of the lexicon emits after what a node stands for."""
    found = []
    while place >= trie.own[node]:
        first, last = int(trie.child_ptr[node]), int(trie.child_ptr[node + 1])
        node = first + int(np.searchsorted(trie.high[first:last], place, side="right"))
        found.append(int(trie.symbol[node]))
    return tuple(found)
