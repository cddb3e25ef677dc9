"""OpenFst objects (pynini, pywrapfst) as plain lists of arcs and states.

Labels stay as they are: what they mean is for `lmfst.fst.sides`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from lmfst.fst.core import Arc
from lmfst.ground.errors import FstError
from lmfst.ground.types import Warn

ARC_TYPES = ("standard", "log", "log64")


class Raw(NamedTuple):
    """An OpenFst FST as plain lists, weights already judged. weights: of the arcs, and of the final
    states; empty where they aren't kept."""

    start: int
    arcs: list[Arc]
    finals: list[int]
    n_states: int
    weights: list[float] = []  # noqa: RUF012 (never changed)
    final_weights: dict[int, float] = {}  # noqa: RUF012


def unweighted(obj: Any, name: str, warn: Warn, *, keep: bool = False) -> Raw:
    """States and arcs without weights; arcs and final states of weight Zero are left out.

    keep: whether weights, if there are any, are kept beside them.
    """
    import pywrapfst

    try:
        raw, weighted_arcs, weighted_finals = _walk(obj)
    except pywrapfst.FstError as error:
        raise _damaged(name, f"OpenFst: {error}") from error
    if any(not 0 <= arc[3] < raw.n_states or arc[1] < 0 or arc[2] < 0 for arc in raw.arcs):
        raise _damaged(name, "an arc has a negative label or goes to a state that doesn't exist")
    if keep and (weighted_arcs or weighted_finals):
        return raw._replace(**_weights(obj))
    if weighted_arcs or weighted_finals:
        warn(
            f"{name}: weights are ignored ({weighted_arcs} arcs and {weighted_finals} final states "
            "have one); the language model alone gives the probabilities (`lmfst apply --best` "
            "takes the path of least weight, `--all` shows all weights)"
        )
    return raw


def _damaged(name: str, why: str) -> FstError:
    return FstError(
        f"{name}: expected a well-formed FST, got a damaged one: {why}",
        hint="write it again from its source",
    )


def _walk(obj: Any) -> tuple[Raw, int, int]:
    """The FST, and how many of its arcs and final states have a weight."""
    import pywrapfst

    one = pywrapfst.Weight.one(obj.weight_type())
    zero = pywrapfst.Weight.zero(obj.weight_type())
    arcs: list[Arc] = []
    finals: list[int] = []
    weighted_arcs = weighted_finals = n_states = 0
    for state in obj.states():
        n_states += 1
        weight = obj.final(state)
        if weight != zero:
            finals.append(state)
            weighted_finals += weight != one
        for arc in obj.arcs(state):
            weight = arc.weight
            if weight != zero:
                arcs.append((state, arc.ilabel, arc.olabel, arc.nextstate))
                weighted_arcs += weight != one
    return Raw(obj.start(), arcs, finals, n_states), weighted_arcs, weighted_finals


def _weights(obj: Any) -> dict[str, Any]:
    """The weights of the arcs and final states that `_walk` finds, in its order."""
    import pywrapfst

    zero = pywrapfst.Weight.zero(obj.weight_type())
    arcs: list[float] = []
    finals: dict[int, float] = {}
    for state in obj.states():
        weight = obj.final(state)
        if weight != zero:
            finals[state] = float(weight)
        arcs += [float(arc.weight) for arc in obj.arcs(state) if arc.weight != zero]
    return {"weights": arcs, "final_weights": finals}
