"""Backward mass: the probability that what a model writes from here on is accepted.

A node is an LM state with a pair of lexicon and acceptor states (`lmfst.generate.moves`). With p
the model's probability of a token after an LM state m, m·t the state after it, and s·t the pair,

    B(m, s) = Σ_t p(t | m) · B(m·t, s·t),   B = 1 where the string has ended and is accepted.

Where contexts merge (n-gram models) the nodes that are reachable may be few, and B is the least
solution of these linear equations. Drawing tokens with p(t | m) · B(m·t, s·t) / B(m, s) gives
strings with exactly the model's probabilities given that they are accepted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lmfst.generate.moves import ENDED, Product
from lmfst.ground.arrays import Floats, Ints
from lmfst.ground.kernels import kernel
from lmfst.inference.normaliser import Normaliser
from lmfst.inference.token_logps import token_logps
from lmfst.lm.base import Session

MOST_NODES = 50_000
MOST_EDGES = 4_000_000
"""Beyond these the mass isn't computed."""
NODES_TOGETHER = 1024
ENTRIES_TOGETHER = 1 << 20
"""Nodes that are looked at together, and tokens of these, unless one node has more."""
MOST_SOLVED = 1_000
"""Nodes up to which the equations are solved by elimination."""
MOST_SWEEPS = 20_000
TOLERANCE = 1e-12
"""The relative error of the mass of any node, by estimate, where it is found by iteration."""

Node = tuple[int, int]
"""(LM state, pair)"""


class Backward(NamedTuple):
    """The nodes and their backward mass.

    ids: the number of a node. first: int64 [nodes + 1]; the edges of node i are first[i] …
    first[i + 1] - 1. token: int64 [edges]. after: int64 [edges], the node after the token, or
    `ENDED`. weight: float64 [edges], p(t | m) · B of the node after it. pair: int64 [nodes].
    mass: float64 [nodes], B.
    """

    ids: dict[Node, int]
    first: Ints
    token: Ints
    after: Ints
    weight: Floats
    pair: Ints
    mass: Floats


class _Edges(NamedTuple):
    owner: Ints
    token: Ints
    after: Ints
    p: Floats


def backward(
    session: Session, normalise: Normaliser, product: Product, starts: list[Node]
) -> Backward | None:
    """The backward mass of some nodes and all that come after them; None where there are too many,
    or the iteration doesn't end."""
    ids: dict[Node, int] = {}
    for node in starts:
        ids.setdefault(node, len(ids))
    none = np.zeros(0, np.int64)
    parts = [_Edges(none, none, none, np.zeros(0))]
    done = edges = 0
    while done < len(ids):
        todo = list(ids)[done:]
        if len(ids) > MOST_NODES:
            return None
        for some in _batches(product, todo):
            found = _edges(session, normalise, product, ids, some)
            parts.append(found)
            edges += len(found.token)
            if max(edges, product.entries) > MOST_EDGES or len(ids) > MOST_NODES:
                return None
        done += len(todo)
    owner, token, after, p = (np.concatenate(column) for column in zip(*parts, strict=True))
    first = np.searchsorted(owner, np.arange(len(ids) + 1)).astype(np.int64)
    mass = _solved(first, after, p)
    if mass is None:
        return None
    weight = p * np.where(after == ENDED, 1.0, mass[after])
    pair = np.array([pair for _, pair in ids], dtype=np.int64)
    return Backward(ids, first, token, after, weight, pair, mass)


def _batches(product: Product, nodes: list[Node]) -> Iterator[list[Node]]:
    """The nodes, so many at a time that the tokens which they read are few enough."""
    begin = entries = 0
    for at, (_, pair) in enumerate(nodes):
        more = len(product.moves(pair).token)
        if at > begin and (entries + more > ENTRIES_TOGETHER or at - begin == NODES_TOGETHER):
            yield nodes[begin:at]
            begin, entries = at, 0
        entries += more
    yield nodes[begin:]


def _edges(
    session: Session,
    normalise: Normaliser,
    product: Product,
    ids: dict[Node, int],
    nodes: list[Node],
) -> _Edges:
    """The edges of some nodes, in their order; new nodes are numbered."""
    models = np.array([model for model, _ in nodes], dtype=np.int64)
    moves = [product.moves(pair) for _, pair in nodes]
    logps = token_logps(session, normalise, models, [one.token for one in moves])
    owner = np.repeat([ids[node] for node in nodes], [len(one.token) for one in moves])
    token = np.concatenate([one.token for one in moves])
    after = np.concatenate([one.after for one in moves])
    weight = np.exp(np.concatenate(logps))
    some = weight > 0.0
    owner, token, after, weight = owner[some], token[some], after[some], weight[some]
    going = np.flatnonzero(after != ENDED)
    before = np.repeat(models, [len(one.token) for one in moves])[some][going]
    moved = session.step(before, token[going])
    # One number for two, which sorts far faster.
    pairs = int(after.max(initial=0)) + 1
    keys, which = np.unique(moved * pairs + after[going], return_inverse=True)
    numbers = [ids.setdefault((key // pairs, key % pairs), len(ids)) for key in keys.tolist()]
    after[going] = np.array(numbers, dtype=np.int64)[which]
    return _Edges(owner, token, after, weight)


def _solved(first: Ints, after: Ints, p: Floats) -> Floats | None:
    """The least solution of B = A·B + b."""
    count = len(first) - 1
    ends = after == ENDED
    owner = np.repeat(np.arange(count), np.diff(first))
    alive = _reaching(count, owner, after)
    if not alive.any():
        return np.zeros(count)
    if alive.sum() <= MOST_SOLVED:
        # From each of these an end is reached, so that the matrix isn't singular.
        number = np.cumsum(alive) - 1
        some = ~ends & alive[owner]
        some[some] = alive[after[some]]
        size = int(alive.sum())
        matrix, given = np.zeros((size, size)), np.zeros(size)
        np.add.at(matrix, (number[owner[some]], number[after[some]]), p[some])
        np.add.at(given, number[owner[ends]], p[ends])
        eliminate(matrix, given)
        mass = np.zeros(count)
        mass[alive] = np.clip(given, 0.0, 1.0)
        return mass
    mass = np.zeros(count)
    last = np.inf
    for _ in range(MOST_SWEEPS):
        change = sweep(first, after, p, mass)
        rate = min(change / last, 0.999999) if last < np.inf else 0.999999
        if change * rate <= TOLERANCE * (1 - rate):
            return mass
        last = max(change, 1e-300)
    return None


@kernel
def eliminate(matrix: Floats, given: Floats) -> None:
    """Turn `given` [n] into the solution of B = matrix·B + given; both are overwritten.

    By elimination in a fixed order, the last node first, from which few edges lead back. Numbers
    above 0 are added and multiplied, nothing else but 1 - loop is taken away, so that masses of any
    size have all their digits (Grassmann, Taksar and Heyman, Operations Research 33(5), 1985).
    Pivots would make those wrong that are far smaller than others.
    """
    count = len(given)
    for k in range(count - 1, -1, -1):
        leaving = max(1.0 - matrix[k, k], 1e-16)
        matrix[k, :k] /= leaving
        given[k] /= leaving
        for i in range(k):
            share = matrix[i, k]
            if share > 0.0:
                matrix[i, :k] += share * matrix[k, :k]
                given[i] += share * given[k]
    for k in range(1, count):
        for i in range(k):
            given[k] += matrix[k, i] * given[i]


def _reaching(count: int, owner: Ints, after: Ints) -> np.ndarray:
    """The nodes from which an end can be reached: bool [nodes]."""
    alive = np.zeros(count + 1, dtype=bool)
    alive[-1] = True  # ENDED
    while True:
        new = alive.copy()
        new[owner[alive[after]]] = True
        if (new == alive).all():
            return alive[:-1]
        alive = new


@kernel
def sweep(first: Ints, after: Ints, p: Floats, mass: Floats) -> float:
    """One sweep of Gauss and Seidel, the last node first; the largest relative change."""
    change = 0.0
    for i in range(len(first) - 2, -1, -1):
        total = 0.0
        for edge in range(first[i], first[i + 1]):
            if after[edge] < 0:
                total += p[edge]
            else:
                total += p[edge] * mass[after[edge]]
        if total > 0.0:
            change = max(change, (total - mass[i]) / total)
        mass[i] = total
    return change
