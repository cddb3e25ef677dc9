"""Replace, PdtCompose and MPdtCompose: OpenFst's replacement and pushdown operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmfst.grammar.source import RuleError
from lmfst.grammar.values import NONE, Thing, Value, as_fst, flag_of
from lmfst.ground.types import Warn


def replace(arguments: Sequence[Thing]) -> Value:
    """Replace["[ROOT][X]…", root, x, …]: each [X] in root (and in the others) becomes x."""
    import pynini
    import pywrapfst

    if len(arguments) < 3:
        raise RuleError(
            f"Replace takes at least 3 arguments, got {len(arguments)}",
            hint='Replace["[ROOT][X]", root, x]: one FST for each label of the string',
        )
    values = [as_fst(item, f"Replace: argument {i}") for i, item in enumerate(arguments, 1)]
    names = _single_path(values[0].fst)
    if len(names) != len(values) - 1:
        raise RuleError(
            f"Replace: {len(names)} labels for {len(values) - 1} FSTs",
            hint="one label for each FST after the first argument, in the same order",
        )
    pairs = [(label, value.fst) for label, value in zip(names, values[1:], strict=True)]
    result = pywrapfst.replace(pairs, "neither", "neither")
    inputs = NONE.union(*(value.inputs for value in values))
    outputs = NONE.union(*(value.outputs for value in values))
    return Value(pynini.Fst.from_pywrapfst(result), inputs, outputs)


def _single_path(fst: Any) -> list[int]:
    """The input labels of a string FST."""
    import pynini

    fst = pynini.rmepsilon(fst)
    labels: list[int] = []
    state = fst.start()
    while state != -1 and fst.num_arcs(state):
        arcs = list(fst.arcs(state))
        if len(arcs) != 1 or len(labels) > fst.num_states():
            raise RuleError("Replace: the first argument must be one string of labels")
        labels.append(arcs[0].ilabel)
        state = arcs[0].nextstate
    return labels


def pdt_compose(arguments: Sequence[Thing], warn: Warn) -> Value:
    """PdtCompose[a, b, parens(, side(, sort))]: a or b is a pushdown FST, as `side` says."""
    import pynini

    if not 3 <= len(arguments) <= 5:
        raise RuleError(
            f"PdtCompose takes 3 to 5 arguments, got {len(arguments)}",
            hint="PdtCompose[a, b, parens, 'left_pdt'|'right_pdt', 'left'|'right'|'both']",
        )
    left, right, brackets = (
        as_fst(x, f"PdtCompose: argument {i}") for i, x in enumerate(arguments[:3], 1)
    )
    first = flag_of("PdtCompose", arguments, 3, ("right_pdt", "left_pdt")) == "left_pdt"
    flag_of("PdtCompose", arguments, 4, ("both", "left", "right"))
    parens = pynini.PdtParentheses()
    for opening, closing in _pairs(brackets.fst, "PdtCompose", warn):
        parens.add_pair(opening, closing)
    sorted_left = left.fst.copy().arcsort("olabel")
    result = pynini.pdt_compose(sorted_left, right.input_sorted(), parens, left_pdt=first)
    return Value(result, left.inputs, right.outputs)


def mpdt_compose(arguments: Sequence[Thing], warn: Warn) -> Value:
    """MPdtCompose[a, b, parens, stacks(, side(, sort))]: as PdtCompose, with several stacks."""
    import pynini

    if not 4 <= len(arguments) <= 6:
        raise RuleError(
            f"MPdtCompose takes 4 to 6 arguments, got {len(arguments)}",
            hint="MPdtCompose[a, b, parens, stacks, 'left_mpdt'|'right_mpdt']",
        )
    left, right, brackets, stacks = (
        as_fst(item, f"MPdtCompose: argument {i}") for i, item in enumerate(arguments[:4], 1)
    )
    first = flag_of("MPdtCompose", arguments, 4, ("right_mpdt", "left_mpdt")) == "left_mpdt"
    flag_of("MPdtCompose", arguments, 5, ("both", "left", "right"))
    assigned = dict(_pairs(stacks.fst, "MPdtCompose", warn, distinct=False))
    parens = pynini.MPdtParentheses()
    for opening, closing in _pairs(brackets.fst, "MPdtCompose", warn):
        if opening not in assigned:
            raise RuleError(
                f"MPdtCompose: the parenthesis {opening} has no stack",
                hint="the fourth argument maps each opening parenthesis to [1] or [2]",
            )
        parens.add_triple(opening, closing, assigned[opening])
    sorted_left = left.fst.copy().arcsort("olabel")
    result = pynini.mpdt_compose(sorted_left, right.input_sorted(), parens, left_mpdt=first)
    return Value(result, left.inputs, right.outputs)


def _pairs(fst: Any, name: str, warn: Warn, *, distinct: bool = True) -> list[tuple[int, int]]:
    """The label pairs of all arcs: opening and closing parenthesis, or parenthesis and stack."""
    pairs: list[tuple[int, int]] = []
    for state in fst.states():
        for arc in fst.arcs(state):
            if arc.ilabel and arc.olabel:
                pairs.append((arc.ilabel, arc.olabel))
            elif arc.ilabel or arc.olabel:
                warn(f"{name}: the parenthesis {arc.ilabel or arc.olabel} has no partner; left out")
    labels = [label for pair in pairs for label in pair]
    if distinct and len(set(labels)) != len(labels):
        raise RuleError(
            f"{name}: a parenthesis occurs in two pairs", hint="each needs its own symbols"
        )
    return pairs
