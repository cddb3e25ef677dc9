"""The operators of the language, on values: they check what OpenFst would let pass in silence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmfst.grammar.labels import Labels
from lmfst.grammar.source import RuleError, budget
from lmfst.grammar.values import BYTE, GENERATED, UTF8, Alphabets, Value
from lmfst.ground.types import Warn


def concat(parts: Sequence[Value]) -> Value:
    """ab…: the parts one after the other."""
    result = parts[0].fst.copy()
    for part in parts[1:]:
        result.concat(part.fst)
    return Value(result, *_joined(parts))


def union(parts: Sequence[Value]) -> Value:
    """a|b…: any of the parts."""
    result = parts[0].fst.copy()
    if len(parts) > 1:
        result.union(*[part.fst for part in parts[1:]])
    return Value(result, *_joined(parts))


def closure(part: Value, lower: int, upper: int | None, max_states: int) -> Value:
    """a{lower,upper}; no upper bound if `upper` is None."""
    import pynini

    copies = upper if upper is not None else lower
    size = copies * part.fst.num_states()
    if size > max_states:
        raise budget(
            f"{copies} repetitions of {part.fst.num_states()} states are more than the "
            f"{max_states} states allowed",
            "use * or + instead of a large count, or raise --max-states",
        )
    result = (
        pynini.closure(part.fst, lower) if upper is None else pynini.closure(part.fst, lower, upper)
    )
    return Value(result, part.inputs, part.outputs)


def cross(left: Value, right: Value) -> Value:
    """a:b: every input of a with every output of b."""
    import pynini

    return Value(pynini.cross(left.fst, right.fst), left.inputs, right.outputs)


def difference(left: Value, right: Value) -> Value:
    """a-b for acceptors; b is determinised first."""
    import pynini

    if not left.is_acceptor():
        raise RuleError(
            "the left side of a difference must be an acceptor, but it maps strings to others",
            hint="take Project[…, 'input'] or Project[…, 'output'] of it",
        )
    if not right.is_acceptor() or not right.is_unweighted():
        raise RuleError(
            "the right side of a difference must be an unweighted acceptor, but it "
            + ("has weights" if right.is_acceptor() else "maps strings to others"),
            hint="take RmWeight[…], or Project[…, 'input'|'output'] of it",
        )
    if "deterministic" not in right.memo:
        right.memo["deterministic"] = pynini.determinize(pynini.rmepsilon(right.fst)).arcsort(
            "ilabel"
        )
    result = pynini.difference(left.fst, right.memo["deterministic"])
    return Value(result, left.inputs, left.outputs)


def compose(left: Value, right: Value, labels: Labels, warn: Warn) -> Value:
    """a@b: the outputs of a are the inputs of b."""
    import pynini

    result = pynini.compose(left.fst, right.input_sorted())
    check_met(left, right, result, warn, "composition")
    if right.alphabet is not None:
        check_symbols(left, right.alphabet, right.what or "the rule", labels, warn)
    return Value(result, left.inputs, right.outputs, alphabet=left.alphabet)


def check_symbols(
    left: Value, alphabet: frozenset[int], rule: str, labels: Labels, warn: Warn
) -> None:
    """Say so when strings get lost because σ* lacks a generated symbol that they have."""
    if GENERATED not in left.outputs:
        return
    lost = sorted(label for label in left.written() - alphabet if label in labels.names)
    if lost:
        shown = " ".join(labels.show([label]) for label in lost[:6])
        warn(
            f"{left.what or 'the left side'} writes {shown}{' …' if len(lost) > 6 else ''}, which "
            f"the alphabet σ* of {rule} lacks: strings with it are lost; add it to σ*"
        )


def check_met(left: Value, right: Value, result: Any, warn: Warn, what: str) -> None:
    """Say so when nothing is left because one side is in bytes and the other in code points."""
    if result.start() != -1 or left.empty or right.empty:
        return
    clash = _clash(left.outputs, right.inputs)
    if clash:
        warn(
            f"this {what} is empty: {left.what or 'the left side'} gives {clash[0]} and "
            f"{right.what or 'the right side'} reads {clash[1]}; use one mode for both"
        )


def _clash(left: Alphabets, right: Alphabets) -> tuple[str, str] | None:
    if BYTE in left and UTF8 in right:
        return "bytes", "code points (utf8 mode)"
    if UTF8 in left and BYTE in right:
        return "code points (utf8 mode)", "bytes"
    return None


def weight(body: Value, text: str) -> Value:
    """a <w>: an empty string of weight w after a."""
    import pynini

    result = body.fst.copy()
    if body.empty:
        return Value(result, body.inputs, body.outputs)
    try:
        value = pynini.Weight(body.fst.weight_type(), text.strip() or "0")
    except (pynini.FstBadWeightError, ValueError) as error:
        raise RuleError(
            f"<{text}> is no weight",
            hint="a weight is a number, such as <0.5> or <-1>, or <Infinity>",
        ) from error
    result.concat(pynini.accep("", weight=value))
    return Value(result, body.inputs, body.outputs)


def _joined(parts: Sequence[Value]) -> tuple[Alphabets, Alphabets]:
    return (
        frozenset().union(*(part.inputs for part in parts)),
        frozenset().union(*(part.outputs for part in parts)),
    )


def cascade(parts: Sequence[Value], labels: Labels, warn: Warn, *, optimize: bool) -> Value:
    """a @ b @ …, from the left. optimize: each composition, and not the last one alone."""
    result = parts[0]
    for part in parts[1:]:
        result = compose(result, part, labels, warn)
        if optimize:
            result.fst.optimize()
    return result


def combined(operator: str, parts: Sequence[Value]) -> Value:
    """The operands of another operator, combined: concat, |, : and -."""
    if operator == "concat":
        return concat(parts)
    if operator == "|":
        return union(parts)
    if operator == ":":
        return cross(parts[0], parts[1])
    result = parts[0]
    for part in parts[1:]:
        result = difference(result, part)
    return result
