"""Tokens that keep a string within an acceptor.

The product of a model's lexicons and an acceptor over target symbols has pairs (lexicon state,
state of the acceptor) as states. A token leads from a pair to another if the acceptor reads what
the token emits. Where there aren't too many pairs, only tokens are kept after which an accepted
string is still to be reached; where there are, what tokens lead nowhere isn't known.

No model is asked here: probabilities are for `lmfst.generate.backward` and `.constrain`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from lmfst.fst.built_in import Utf8
from lmfst.fst.sequential import LOST, Determinised, Output
from lmfst.generate.steps import Within
from lmfst.ground.arrays import Ints, ragged
from lmfst.lexicon import Lexicons
from lmfst.lexicon.lexicon import Trie

MOST_ENTRIES = 1 << 20
"""Tokens of all pairs together, up to which it is found out which lead somewhere."""
MOST_PAIRS = 1000
"""Pairs up to which it is: where a function's output waits for input far ahead, there may be any
number."""
ENDED = -1
"""In place of a pair: the string has ended, and is accepted."""
_NOWHERE = -2
"""In place of a pair: nothing can be accepted."""


class Moves(NamedTuple):
    """The tokens [n] that a pair reads, and the pair after each, or `ENDED`."""

    token: Ints
    after: Ints


class Product:
    """The product of lexicons and an acceptor. Pairs are numbered as they are met."""

    def __init__(self, lexicons: Lexicons, within: Within) -> None:
        self._lexicons, self._within = lexicons, within
        self._pairs: list[tuple[int, int]] = []
        self._ids: dict[tuple[int, int], int] = {}
        self._moves: dict[int, Moves] = {}
        self._fit: dict[tuple[int, int], bool] = {}
        # Whether an accepted string can be reached, by pair; None: not known.
        self._alive: dict[int, bool] | None = None
        self.entries = 0

    def pair(self, lexicon: int, state: int) -> int:
        """The number of a pair."""
        key = lexicon, state
        if key not in self._ids:
            self._ids[key] = len(self._pairs)
            self._pairs.append(key)
        return self._ids[key]

    def lexicon(self, pair: int) -> int:
        """The lexicon state of a pair."""
        return self._pairs[pair][0]

    def may_end_well(self, pair: int) -> bool:
        """False only if no accepted string can be reached."""
        return self._alive is None or self._alive.get(pair, True)

    def moves(self, pair: int) -> Moves:
        """What a pair reads."""
        found = self._moves.get(pair)
        if found is None:
            lexicon, state = self._pairs[pair]
            found = self.below(lexicon, 0, state, silent=True)[0]
            self._moves[pair] = found
            self.entries += len(found.token)
        return found

    def below(self, lexicon: int, node: int, state: int, *, silent: bool) -> tuple[Moves, Ints]:
        """The tokens of a lexicon below a node that the acceptor reads from a state on, and the
        places that they have there. silent: those at the node, too."""
        held = self._lexicons[lexicon]
        place, within = _walk(held.trie, self._within, node, state, silent)
        after = held.next[place].astype(np.int64)
        going = np.flatnonzero(after >= 0)
        keys, which = np.unique(
            np.stack([after[going], within[going]]), axis=1, return_inverse=True
        )
        pairs = [
            self.pair(int(a), int(b)) if self._fits(int(a), int(b)) else _NOWHERE for a, b in keys.T
        ]
        after[after < 0] = ENDED
        after[going] = np.array(pairs, dtype=np.int64)[which.ravel()]
        some = after != _NOWHERE
        if self._alive is not None:
            some &= np.array([self.may_end_well(pair) for pair in after.tolist()], dtype=bool)
        place, after = place[some], after[some]
        return Moves(held.tokens[place].astype(np.int64), after), place

    def _fits(self, lexicon: int, state: int) -> bool:
        """False only if the acceptor reads nothing of what a lexicon state has waiting: output that
        will come, but depends on what comes after it, or the beginning of a character."""
        machine, key = self._lexicons.machine, (lexicon, state)
        if isinstance(machine, Utf8):
            return self._within.reads(state, machine.pending(self._lexicons.pair(lexicon)[1]))
        if not isinstance(machine, Determinised):
            return True
        found = self._fit.get(key)
        if found is None:
            waiting = {out for _, out in machine.pairs(self._lexicons.pair(lexicon)[1])}
            found = self._fit[key] = any(self._reads(out, state) for out in waiting)
        return found

    def _reads(self, output: Output, state: int) -> bool:
        """Whether the acceptor reads an output from a state on."""
        for symbol in output:
            if symbol == LOST:
                return True
            state = self._within.step(state, symbol)
            if state < 0:
                return False
        return True

    def close(self, starts: Iterable[int]) -> bool:
        """Find out which tokens lead to an accepted string, of all pairs that come after some, and
        drop the others; False, and nothing is dropped, if there are too many.

        A character that has begun is taken for one that leads somewhere if the acceptor reads it:
        to know it, a lexicon would be needed for each of hundreds of beginnings.
        """
        todo = [pair for pair in dict.fromkeys(starts) if not self._counts(pair)]
        seen = set(todo)
        before: dict[int, set[int]] = {}
        alive: set[int] = set()
        while todo:
            pair = todo.pop()
            for after in np.unique(self.moves(pair).after).tolist():
                before.setdefault(after, set()).add(pair)
                if self._counts(after):
                    alive.add(after)
                elif after not in seen:
                    seen.add(after)
                    todo.append(after)
            if self.entries > MOST_ENTRIES or len(seen) > MOST_PAIRS:
                return False
        stack = list(alive)
        while stack:
            new = before.get(stack.pop(), set()) - alive
            alive |= new
            stack += new
        self._alive = {pair: pair in alive for pair in seen}
        for pair, found in self._moves.items():
            some = np.isin(found.after, list(alive))
            self._moves[pair] = Moves(found.token[some], found.after[some])
        return True

    def leads_somewhere(self, start: int) -> bool:
        """False only if no accepted string can be reached from a pair. The search ends with the
        first one, which is mostly soon."""
        todo, seen = [start], {start}
        while todo:
            for after in np.unique(self.moves(todo.pop()).after).tolist():
                if self._counts(after):
                    return True
                if after not in seen:
                    seen.add(after)
                    todo.append(after)
            if self.entries > MOST_ENTRIES or len(seen) > MOST_PAIRS:
                return True
        return False

    def _counts(self, pair: int) -> bool:
        """Whether a pair is taken for one that leads somewhere: the end, or within a character."""
        if pair == ENDED:
            return True
        machine = self._lexicons.machine
        return isinstance(machine, Utf8) and bool(
            machine.pending(self._lexicons.pair(self.lexicon(pair))[1])
        )


def _walk(trie: Trie, within: Within, node: int, state: int, silent: bool) -> tuple[Ints, Ints]:
    """The places of the tokens below a node whose output an acceptor reads, and the state after
    each."""
    nodes, states = np.array([node]), np.array([state])
    places: list[Ints] = []
    afters: list[Ints] = []
    while len(nodes):
        if silent:
            place, owner = ragged(trie.low[nodes], trie.own[nodes] - trie.low[nodes])
            places.append(place)
            afters.append(states[owner])
        silent = True
        first = trie.child_ptr[nodes]
        nodes, owner = ragged(first, trie.child_ptr[nodes + 1] - first)
        states = _read(within, states[owner], trie.symbol[nodes].astype(np.int64))
        goes = states >= 0
        nodes, states = nodes[goes], states[goes]
    if not places:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return np.concatenate(places), np.concatenate(afters)


def _read(within: Within, states: Ints, symbols: Ints) -> Ints:
    """The states [n] after symbols [n], -1 where there is none."""
    keys, which = np.unique(np.stack([states, symbols]), axis=1, return_inverse=True)
    found = [within.step(int(q), int(a)) for q, a in keys.T]
    after: Ints = np.array(found, dtype=np.int64)[which.ravel()] if found else states
    return after
