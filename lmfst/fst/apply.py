"""All outputs of one input, by plain search: an oracle for tests, and `lmfst apply --all`."""

from __future__ import annotations

from functools import lru_cache

from lmfst.fst.core import EPS, Fst
from lmfst.ground.errors import BudgetError

Configuration = tuple[int, int, tuple[int, ...]]
"""(state, bytes read, symbols written)"""


def apply_all(
    fst: Fst, data: bytes, limit: int = 1000, *, max_steps: int = 1_000_000
) -> list[tuple[int, ...]]:
    """The outputs of `data`, shorter ones first, then in symbol order; at most `limit` of them.

    Breadth-first search over configurations, one output length at a time. Configurations from which
    `data` can't be accepted any more are never entered, so a cycle that writes without reading only
    goes on while it makes new outputs. BudgetError after `max_steps` configurations.
    """
    if limit < 1:
        return []
    arcs, viable = _arcs_by_state(fst), _viable(fst, data)
    found: list[tuple[int, ...]] = []
    level: set[Configuration] = {(fst.start, 0, ())} if fst.start in viable[0] else set()
    steps = 0
    while level and len(found) < limit:
        following: set[Configuration] = set()
        stack = list(level)
        while stack:
            state, at, output = stack.pop()
            steps += 1
            if steps > max_steps:
                raise BudgetError(
                    f"more than {max_steps} configurations while listing the outputs of one input",
                    hint="the input is too long or too ambiguous for --all; ask for fewer outputs",
                )
            for ilabel, olabel, dst in arcs[state]:
                if ilabel != EPS and (at == len(data) or ilabel != data[at]):
                    continue
                after = at if ilabel == EPS else at + 1
                if dst not in viable[after]:
                    continue
                if olabel != EPS:
                    following.add((dst, after, (*output, olabel)))
                elif (dst, after, output) not in level:
                    level.add((dst, after, output))
                    stack.append((dst, after, output))
        found += sorted({out for state, at, out in level if at == len(data) and fst.final[state]})
        level = following
    return found[:limit]


@lru_cache(maxsize=1)
def _arcs_by_state(fst: Fst) -> list[list[tuple[int, int, int]]]:
    """(input, output, target) of the arcs of each state."""
    bounds = fst.arc_ptr.tolist()
    rows = list(zip(fst.ilabel.tolist(), fst.olabel.tolist(), fst.dst.tolist(), strict=True))
    return [rows[bounds[state] : bounds[state + 1]] for state in range(fst.n_states)]


def _viable(fst: Fst, data: bytes) -> list[set[int]]:
    """For each position 0..len(data): the states from which the rest of `data` is accepted."""
    reading, silent = _reading(fst)

    def closed(states: set[int]) -> set[int]:
        stack = list(states)
        while stack:
            for src in silent.get(stack.pop(), []):
                if src not in states:
                    states.add(src)
                    stack.append(src)
        return states

    viable = [closed({state for state, final in enumerate(fst.final.tolist()) if final})]
    for byte in reversed(data):
        viable.append(closed({src for src, dst in reading.get(byte, []) if dst in viable[-1]}))
    return viable[::-1]


@lru_cache(maxsize=1)
def _reading(fst: Fst) -> tuple[dict[int, list[tuple[int, int]]], dict[int, list[int]]]:
    """(source, target) of the arcs that read each input, and the sources of those that read nothing
    by their targets."""
    reading: dict[int, list[tuple[int, int]]] = {}
    for src, ilabel, _, dst in fst.arcs():
        reading.setdefault(ilabel, []).append((src, dst))
    silent: dict[int, list[int]] = {}
    for src, dst in reading.get(EPS, []):
        silent.setdefault(dst, []).append(src)
    return reading, silent
