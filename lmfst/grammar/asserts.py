"""AssertEqual, AssertEmpty, AssertNull: a grammar's own tests, run when it is compiled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmfst.grammar.labels import Labels
from lmfst.grammar.source import RuleError
from lmfst.grammar.values import UTF8, Table, Thing, Value, as_fst


def assert_equal(arguments: Sequence[Thing], labels: Labels) -> Value:
    """AssertEqual[a, b(, mode)]: some best output of a is a best output of b, or both have none.

    Gives a's best outputs. RuleError with one string of each side if they differ. The mode is for
    Thrax's messages only, and any string that isn't a mode counts as byte there.
    """
    if not 2 <= len(arguments) <= 3:
        raise RuleError(f"AssertEqual takes 2 or 3 arguments, got {len(arguments)}")
    if len(arguments) == 3 and not isinstance(arguments[2], str | Table):
        raise RuleError("AssertEqual: the third argument is byte, utf8 or a symbol table")
    left, right = (
        as_fst(item, f"AssertEqual: argument {i}") for i, item in enumerate(arguments[:2], 1)
    )
    return _equal(left, right, labels, "AssertEqual")


def assert_empty(arguments: Sequence[Thing], labels: Labels) -> Value:
    """AssertEmpty[a]: the best output of a is the empty string."""
    import pynini

    value = _single(arguments, "AssertEmpty")
    return _equal(value, Value(pynini.accep("")), labels, "AssertEmpty")


def assert_null(arguments: Sequence[Thing], labels: Labels) -> Value:
    """AssertNull[a]: a has no output at all."""
    import pynini

    value = _single(arguments, "AssertNull")
    result = pynini.connect(value.fst.copy())
    if result.start() != -1:
        shown = _shown(_best(value), value, labels)
        raise RuleError(f"AssertNull failed: expected no string, got {shown}")
    return Value(result, value.inputs, value.outputs)


def _single(arguments: Sequence[Thing], name: str) -> Value:
    if len(arguments) != 1:
        raise RuleError(f"{name} takes 1 argument, got {len(arguments)}")
    return as_fst(arguments[0], f"{name}: argument 1")


def _equal(left: Value, right: Value, labels: Labels, name: str) -> Value:
    import pynini

    best = [_best(left), _best(right)]
    both_null = all(fst.start() == -1 for fst in best)
    common = pynini.intersect(best[0], best[1].copy().arcsort("ilabel"))
    if common.start() == -1 and not both_null:
        raise RuleError(
            f"{name} failed: expected {_shown(best[1], right, labels)}, "
            f"got {_shown(best[0], left, labels)}"
        )
    return Value(best[0], left.outputs, left.outputs)


def _best(value: Value) -> Any:
    """An unweighted acceptor of the outputs of least weight."""
    import pynini

    outputs = pynini.project(value.fst.copy(), "output").rmepsilon().connect()
    if outputs.start() != -1 and not Value(outputs).is_unweighted():
        outputs = pynini.determinize(outputs).prune(weight=pynini.Weight.one("tropical"))
    return pynini.arcmap(outputs, map_type="rmweight").connect()


def _shown(fst: Any, value: Value, labels: Labels) -> str:
    """One of the strings of an acceptor, for a message."""
    import pynini

    if fst.start() == -1:
        return "no string"
    path = pynini.shortestpath(fst).rmepsilon().topsort()
    found = []
    state = path.start()
    while path.num_arcs(state):
        arc = next(iter(path.arcs(state)))
        found.append(arc.olabel)
        state = arc.nextstate
    for alphabet in value.outputs:
        if isinstance(alphabet, Table):
            return '"' + " ".join(alphabet.names.get(label, str(label)) for label in found) + '"'
    return f'"{labels.show(found, UTF8 in value.outputs)}"'
