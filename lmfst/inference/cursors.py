"""Cursors: hypotheses whose next token has begun to be read off, and sums over their rows.

A state after y (`lmfst.inference.states`) holds cursors (x, v): x is a source prefix whose output
ω(x) is a proper prefix of y, or y, and v is the node of its lexicon's trie that stands for the rest
of y, so that

    P_Y(y) = Σ_{(x, v)} P_X(x) · Σ_{t strictly below v} p_X(t | x)   (+ what was dropped).

Of a row only the tokens below v are kept, in the order of the lexicon, so that each sum is over one
segment. Segments of children are disjoint: no difference of nearly equal sums is ever taken. What
makes cursors, and which are dropped, is not decided here (`lmfst.inference.closing`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from lmfst.ground.arrays import Bools, Floats, Int, Ints, ragged
from lmfst.ground.kernels import kernel
from lmfst.inference.exponential import exponentiate
from lmfst.inference.reduction import piece_sum
from lmfst.inference.row_plan import child_of
from lmfst.lexicon import Lexicons
from lmfst.lexicon.lexicon import Trie

_BLOCK = 512
"""Terms that are exponentiated together: they stay in a processor's cache."""


class Cursors(NamedTuple):
    """Cursors of some states, those of a state side by side. int64 or float64 [n] each.

    model: the LM state of the hypothesis. lexicon, node: its lexicon state, and the node that it
    has reached. logw: log P_X of the hypothesis, nats. lse: the normaliser of its row. base: the
    row's number for place i of the lexicon is terms[base + i], kept for the places below the node.
    terms: float32 or float64 [m], numbers of rows, shared by all.
    """

    model: Ints
    lexicon: Ints
    node: Ints
    logw: Floats
    lse: Floats
    base: Ints
    terms: np.ndarray

    def at(self, some: Ints | Bools) -> Cursors:
        """Some of them, with the same terms."""
        columns: list[Any] = [column[some] for column in self[:-1]]
        return Cursors(*[*columns, self.terms])


_NOTHING: Any = np.zeros(0, np.int64)
_NO_LOGS: Any = np.zeros(0)
NONE = Cursors(_NOTHING, _NOTHING, _NOTHING, _NO_LOGS, _NO_LOGS, _NOTHING, np.zeros(0, np.float32))


class Place(NamedTuple):
    """Where cursors of a state are: a range of some cursors."""

    cursors: Cursors
    first: int
    end: int


Places = tuple[Place, Place]
"""The cursors of a state: those that have gone on from before, and those at their beginning."""


class Waiting(NamedTuple):
    """Hypotheses that stand at the end of their string, not decided yet, by state: owner, LM state
    of the parent, token (-1: the parent is the hypothesis), lexicon state after it, int64 [n];
    logw, float64 [n], nats."""

    owner: Ints
    parent: Ints
    token: Ints
    lexicon: Ints
    logw: Floats

    def at(self, some: Ints | Bools | slice) -> Waiting:
        """Some of them."""
        columns: list[Any] = [column[some] for column in self]
        return Waiting(*columns)


class Moved(NamedTuple):
    """What becomes of the cursors of n states that read a symbol each.

    logp: float64 [n], log of the mass that goes on with the symbol, nats. carried: where those
    cursors of each are that have tokens below the node that they reach. log_carried: float64 [n],
    log of the mass of these, nats. waiting: tokens that end at it.
    """

    logp: Floats
    carried: list[Place]
    log_carried: Floats
    waiting: Waiting


def together(places: Sequence[Place]) -> Iterator[tuple[Ints, Cursors]]:
    """The cursors of some places, and which place each is of; those with terms in common at
    once, in the order in which terms come first."""
    groups: dict[int, list[int]] = {}
    for i, place in enumerate(places):
        groups.setdefault(id(place.cursors), []).append(i)
    for group in groups.values():
        first = np.array([places[i].first for i in group], dtype=np.int64)
        end = np.array([places[i].end for i in group], dtype=np.int64)
        at, owner = ragged(first, end - first)
        yield np.array(group, dtype=np.int64)[owner], places[group[0]].cursors.at(at)


def log_sums(owner: Ints, logs: Floats, count: int) -> Floats:
    """log Σ exp of the logs [n] of each of `count` owners, -inf where there is none. Added up in
    the order in which they come: what other owners have makes no difference."""
    top = np.full(count, -np.inf)
    np.maximum.at(top, owner, logs)
    top[np.isneginf(top)] = 0.0
    with np.errstate(divide="ignore"):
        found: Floats = np.log(np.bincount(owner, np.exp(logs - top[owner]), count)) + top
    return found


def by_lexicon(lexicon: Ints) -> Iterator[tuple[int, Ints]]:
    """Each lexicon state, and where it stands."""
    states = np.unique(lexicon).tolist()
    for state in states:
        some = np.arange(len(lexicon)) if len(states) == 1 else np.flatnonzero(lexicon == state)
        yield state, some


def move(lexicons: Lexicons, places: Sequence[Places], symbols: Ints) -> Moved:
    """Let the cursors of each state read its symbol, int64 [n]."""
    count = len(places)
    # First all that have gone on from before, then all that are at their beginning: so a state's
    # cursors are added up in their own order, whatever other states are there.
    every = [place for kind in zip(*places, strict=True) for place in kind]
    parts = [_move(lexicons, at % count, held, symbols[at % count]) for at, held in together(every)]
    owner = np.concatenate([part.owner for part in parts])
    order = np.argsort(owner, kind="stable")
    cursors = joined([part.cursors for part in parts]).at(order)
    waiting = Waiting(*map(np.concatenate, zip(*(part.waiting for part in parts), strict=True)))
    waiting = waiting.at(np.argsort(waiting.owner, kind="stable"))
    logs = np.concatenate([part.logs for part in parts])
    of_logs = np.concatenate([part.of_logs for part in parts])
    below = np.concatenate([part.below for part in parts])[order]
    return Moved(
        log_sums(of_logs, logs, count),
        split(cursors, owner[order], count),
        log_sums(owner[order], below, count),
        waiting,
    )


def split(cursors: Cursors, owner: Ints, count: int) -> list[Place]:
    """The places of the cursors of `count` states. owner: of each, in order."""
    bounds = np.searchsorted(owner, np.arange(count + 1)).tolist()
    return [Place(cursors, bounds[i], bounds[i + 1]) for i in range(count)]


class _Part(NamedTuple):
    """What becomes of some cursors: the log mass that goes on with the symbol, of each, with its
    state; the cursors that go on, their states and log masses; tokens that end."""

    logs: Floats
    of_logs: Ints
    cursors: Cursors
    owner: Ints
    below: Floats
    waiting: Waiting


def _move(lexicons: Lexicons, owner: Ints, held: Cursors, symbols: Ints) -> _Part:
    node, low, own, high = np.zeros((4, len(held.model)), np.int64)
    for state, some in by_lexicon(held.lexicon):
        nodes, lows, owns, highs = np.empty((4, len(some)), np.int64)
        trie = lexicons[state].trie
        find_children(trie, held.node[some], symbols[some], nodes, lows, owns, highs)
        node[some], low[some], own[some], high[some] = nodes, lows, owns, highs
    goes = np.flatnonzero(node >= 0)
    held, owner, node = held.at(goes), owner[goes], node[goes]
    low, own, high = low[goes], own[goes], high[goes]
    ending, below = np.empty((2, len(held.model)))
    segment_sums(held.terms, held.lse, held.base + low, held.base + own, ending)
    segment_sums(held.terms, held.lse, held.base + own, held.base + high, below)
    with np.errstate(divide="ignore"):
        logs = held.logw + np.log(ending + below)
    waiting = _ended(lexicons, held, owner, low, own)
    some = np.flatnonzero(below > 0)
    cursors = _cut(held.at(some), node[some], own[some], high[some])
    return _Part(logs, owner, cursors, owner[some], cursors.logw + np.log(below[some]), waiting)


def _ended(lexicons: Lexicons, held: Cursors, owner: Ints, low: Ints, own: Ints) -> Waiting:
    """The tokens at the places low … own - 1 of cursors, as hypotheses."""
    place, cursor = ragged(low, own - low)
    logw = held.logw[cursor] + (
        held.terms[held.base[cursor] + place].astype(np.float64) - held.lse[cursor]
    )
    token, after = np.empty((2, len(place)), np.int64)
    for state, some in by_lexicon(held.lexicon[cursor]):
        lexicon = lexicons[state]
        token[some], after[some] = lexicon.tokens[place[some]], lexicon.next[place[some]]
    # After the end of a string nothing follows.
    found = Waiting(owner[cursor], held.model[cursor], token, after, logw)
    return found.at((after >= 0) & (logw > -np.inf))


def joined(parts: Sequence[Cursors]) -> Cursors:
    """Cursors with their own terms as some with terms in common."""
    if len(parts) == 1:
        return parts[0]
    sizes = np.array([len(part.terms) for part in parts], dtype=np.int64)
    shift = np.repeat(np.cumsum(sizes) - sizes, [len(part.model) for part in parts])
    every: list[Any] = [np.concatenate(column) for column in zip(*parts, strict=True)]
    found = Cursors(*every)
    return found._replace(base=found.base + shift)


def next_symbols(lexicons: Lexicons, places: Places) -> tuple[Ints, Floats]:
    """The symbols [n] that may follow, in order, END first, and the log of the mass [n] of each,
    nats."""
    parts = [_children(lexicons, held) for _, held in together(places)]
    symbol = np.concatenate([part[0] for part in parts])
    logs = np.concatenate([part[1] for part in parts])
    some = logs > -np.inf
    found, owner = np.unique(symbol[some], return_inverse=True)
    return found, log_sums(owner, logs[some], len(found))


def _children(lexicons: Lexicons, held: Cursors) -> tuple[Ints, Floats]:
    """The symbols of the children of cursors, and the log of the mass of each."""
    parts = []
    for state, some in by_lexicon(held.lexicon):
        trie, node = lexicons[state].trie, held.node[some]
        size = int((trie.child_ptr[node + 1] - trie.child_ptr[node]).sum())
        symbol, logs, cursor = np.empty(size, np.int64), np.empty(size), np.empty(size, np.int64)
        longest = int((trie.high[node] - trie.own[node]).max(initial=0))
        columns = (node, held.base[some], held.lse[some], held.logw[some])
        sum_children(trie, held.terms, *columns, np.empty(longest), symbol, logs, cursor)
        parts.append((symbol, logs, some[cursor]))
    if not parts:
        return np.zeros(0, np.int64), np.zeros(0)
    symbol, logs, cursor = (np.concatenate(part) for part in zip(*parts, strict=True))
    # In the order of the cursors, as they are added up where one symbol is read.
    order = np.argsort(cursor, kind="stable")
    return symbol[order], logs[order]


def descend(lexicons: Lexicons, lexicon: Ints, string: Ints, offset: Ints) -> Ints:
    """The nodes [n] that stand for the rest of a string after offsets [n], in the tries of lexicon
    states [n]; -1 where there is none."""
    node = np.zeros(len(lexicon), np.int64)
    for state, some in by_lexicon(lexicon):
        found = np.empty(len(some), np.int64)
        find_nodes(lexicons[state].trie, string, offset[some], found)
        node[some] = found
    return node


def moved_to(lexicons: Lexicons, held: Cursors, node: Ints) -> tuple[Cursors, Floats]:
    """Cursors at their beginning, at nodes [n] instead, but for those with nothing below; and the
    log of the mass of each."""
    own, high = np.zeros((2, len(node)), np.int64)
    for state, some in by_lexicon(held.lexicon):
        trie = lexicons[state].trie
        own[some], high[some] = trie.own[node[some]], trie.high[node[some]]
    below = np.empty(len(node))
    segment_sums(held.terms, held.lse, held.base + own, held.base + high, below)
    some = np.flatnonzero(below > 0)
    return _cut(held.at(some), node[some], own[some], high[some]), (
        held.logw[some] + np.log(below[some])
    )


def _cut(held: Cursors, node: Ints, own: Ints, high: Ints) -> Cursors:
    """Cursors at nodes [n], with terms of their own: those of the places own … high - 1."""
    sizes = high - own
    first = np.cumsum(sizes) - sizes
    terms = np.empty(int(sizes.sum()), held.terms.dtype)
    copy_segments(held.terms, held.base + own, sizes, terms)
    return Cursors(held.model, held.lexicon, node, held.logw, held.lse, first - own, terms)


@kernel
def find_nodes(trie: Trie, string: Ints, offset: Ints, found: Ints) -> None:
    """The nodes of what a string has after offsets [n], -1 where there is none."""
    for i in range(len(offset)):
        node: Int = 0
        for at in range(offset[i], len(string)):
            if node >= 0:
                node = child_of(trie, node, string[at])
        found[i] = node


@kernel
def find_children(
    trie: Trie, nodes: Ints, symbols: Ints, child: Ints, low: Ints, own: Ints, high: Ints
) -> None:
    """The children of nodes [n] by symbols [n], -1 where there is none, and their ranges."""
    for i in range(len(nodes)):
        found = child_of(trie, nodes[i], symbols[i])
        child[i] = found
        if found >= 0:
            low[i], own[i], high[i] = trie.low[found], trie.own[found], trie.high[found]


@kernel
def segment_sums(terms: np.ndarray, lse: Floats, begin: Ints, end: Ints, sums: Floats) -> None:
    """sums [n]: Σ exp(terms[i] - lse) over begin … end - 1 of each segment."""
    some = np.empty(_BLOCK)
    for i in range(len(begin)):
        total = 0.0
        for low in range(begin[i], end[i], _BLOCK):
            size = min(_BLOCK, end[i] - low)
            for j in range(size):
                some[j] = terms[low + j] - lse[i]
            exponentiate(some, size)
            total += piece_sum(some, 0, size, 1)
        sums[i] = total


@kernel
def copy_segments(terms: np.ndarray, begin: Ints, size: Ints, out: np.ndarray) -> None:
    """Copy segments of terms, one after the other."""
    at = 0
    for i in range(len(begin)):
        for j in range(size[i]):
            out[at + j] = terms[begin[i] + j]
        at += size[i]


@kernel
def sum_children(
    trie: Trie,
    terms: np.ndarray,
    node: Ints,
    base: Ints,
    lse: Floats,
    logw: Floats,
    some: Floats,
    symbol: Ints,
    logs: Floats,
    cursor: Ints,
) -> None:
    """Fill in the symbols of the children of nodes [n], the log of the mass of each, and whose they
    are. some: room for the longest segment."""
    at: Int = 0
    for i in range(len(node)):
        begin, end = trie.own[node[i]], trie.high[node[i]]
        for j in range(end - begin):
            some[j] = terms[base[i] + begin + j] - lse[i]
        exponentiate(some, end - begin)
        for child in range(trie.child_ptr[node[i]], trie.child_ptr[node[i] + 1]):
            mass = piece_sum(some, trie.low[child] - begin, trie.high[child] - begin, 1)
            symbol[at], cursor[at] = trie.symbol[child], i
            logs[at] = logw[i] + np.log(mass) if mass > 0.0 else -np.inf
            at += 1
