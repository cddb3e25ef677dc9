"""Feature, Category, FeatureVector; Analyzer, Tagger, ParadigmReplace.

A feature is the choice between symbols `name=value`; a category is its features one after the
other, in the order of their names; a feature vector is a category with some of the values fixed.
The paradigm functions relate inflected forms to their analyses (Thrax's morphology functions,
rebuilt from their definitions).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmfst.grammar import operators
from lmfst.grammar.labels import Labels
from lmfst.grammar.source import RuleError
from lmfst.grammar.values import GENERATED, Table, Thing, Value, as_fst, as_text

_SIDE = frozenset({GENERATED})


def feature(arguments: Sequence[Thing], labels: Labels) -> Value:
    """Feature['name', 'value', …]: any one of the symbols name=value."""
    arguments = list(arguments)
    if len(arguments) > 2 and (
        isinstance(arguments[-1], Table) or arguments[-1] in ("byte", "utf8")
    ):
        arguments.pop()  # the parse mode: it only matters for the symbol tables that Thrax saves
    texts = [as_text(item, f"Feature: argument {i}") for i, item in enumerate(arguments, 1)]
    if len(texts) < 2:
        raise RuleError(
            "Feature takes a name and at least one value", hint="Feature['case', 'nom', 'acc']"
        )
    name, *values = texts
    return _chain([[labels.label(f"{name}={value}") for value in values]])


def category(arguments: Sequence[Thing], labels: Labels) -> Value:
    """Category[feature, …]: the features in the order of their names."""
    if not arguments:
        raise RuleError("Category takes at least one feature")
    steps = []
    for index, argument in enumerate(arguments, 1):
        where = f"Category: argument {index}"
        found = _steps(as_fst(argument, where), labels, where)
        if len(found) != 1:
            raise RuleError(f"{where}: expected one feature, got {len(found)} in a row")
        steps += found
    return _chain([values for _, values in sorted(steps, key=lambda step: step[0].encode())])


def feature_vector(arguments: Sequence[Thing], labels: Labels) -> Value:
    """FeatureVector[category, 'name=value', …]: features that aren't given may have any value."""
    if not arguments:
        raise RuleError(
            "FeatureVector takes a category and values", hint="FeatureVector[noun, 'case=nom']"
        )
    steps = _steps(
        as_fst(arguments[0], "FeatureVector: argument 1"), labels, "FeatureVector: argument 1"
    )
    known = {name for name, _ in steps}
    wanted: dict[str, list[int]] = {}
    for index, argument in enumerate(arguments[1:], 2):
        text = as_text(argument, f"FeatureVector: argument {index}")
        name, equals, _ = text.partition("=")
        label = labels.label(text)
        if not equals or name not in known or not any(label in values for _, values in steps):
            choices = ", ".join(labels.names[value] for _, values in steps for value in values)
            raise RuleError(f"'{text}' is no value of this category", hint=f"it has {choices}")
        wanted.setdefault(name, []).append(label)
    return _chain([wanted.get(name, values) for name, values in steps])


def _chain(steps: Sequence[Sequence[int]]) -> Value:
    """One arc for each label of each step."""
    import pynini

    fst = pynini.Fst()
    one = pynini.Weight.one("tropical")
    state = fst.add_state()
    fst.set_start(state)
    for step in steps:
        following = fst.add_state()
        for label in step:
            fst.add_arc(state, pynini.Arc(label, label, one, following))
        state = following
    fst.set_final(state)
    return Value(fst, _SIDE, _SIDE)


def _steps(value: Value, labels: Labels, where: str) -> list[tuple[str, list[int]]]:
    """The features of a category: name, and labels of the values. RuleError if it is none."""
    problem = RuleError(f"{where}: expected what Feature or Category gives")
    fst: Any = value.fst
    state = fst.start()
    steps: list[tuple[str, list[int]]] = []
    while state != -1 and fst.num_arcs(state):
        arcs = list(fst.arcs(state))
        names = [labels.names.get(arc.ilabel, "").partition("=") for arc in arcs]
        features = {name for name, equals, _ in names if equals}
        targets = {arc.nextstate for arc in arcs}
        plain = all(part[1] for part in names) and all(arc.ilabel == arc.olabel for arc in arcs)
        if len(features) != 1 or len(targets) != 1 or not plain or len(steps) > fst.num_states():
            raise problem
        steps.append((features.pop(), [arc.ilabel for arc in arcs]))
        state = targets.pop()
    if not steps:
        raise problem
    return steps


def analyzer(arguments: Sequence[Thing]) -> Value:
    """Analyzer[paradigm, stems, stemmer, deleter]: inflected form → analysis."""
    paradigm, stems, stemmer, deleter = _fsts(
        arguments, 4, "Analyzer", "paradigm, stems, stemmer, deleter"
    )
    result = _analyses(paradigm, stems, stemmer, deleter)
    return Value(result.optimize(), deleter.outputs, paradigm.outputs)


def tagger(arguments: Sequence[Thing]) -> Value:
    """Tagger[paradigm, stems, stemmer, deleter, boundaries]: form → form with features."""
    import pynini

    names = "paradigm, stems, stemmer, deleter, boundary_deleter"
    paradigm, stems, stemmer, deleter, boundaries = _fsts(arguments, 5, "Tagger", names)
    analyses = _analyses(paradigm, stems, stemmer, deleter)
    result = pynini.compose(analyses, boundaries.input_sorted())
    return Value(result.optimize(), deleter.outputs, boundaries.outputs)


def paradigm_replace(arguments: Sequence[Thing]) -> Value:
    """ParadigmReplace[paradigm, old_forms, new_forms]: the paradigm with some forms replaced."""
    names = "paradigm, old_forms, new_forms"
    paradigm, old, new = _fsts(arguments, 3, "ParadigmReplace", names)
    result = operators.union([operators.difference(paradigm, old), new])
    result.fst.optimize()
    return result


def _analyses(paradigm: Value, stems: Value, stemmer: Value, deleter: Value) -> Any:
    """Inverse of: forms whose stem is known → their surface."""
    import pynini

    stems_to_forms = pynini.invert(pynini.compose(paradigm.fst, stemmer.input_sorted()))
    forms = pynini.compose(stems.fst, stems_to_forms.arcsort("ilabel")).project("output")
    return pynini.compose(forms, deleter.input_sorted()).invert()


def _fsts(arguments: Sequence[Thing], count: int, name: str, what: str) -> list[Value]:
    if len(arguments) != count:
        raise RuleError(
            f"{name} takes {count} arguments, got {len(arguments)}", hint=f"{name}[{what}]"
        )
    return [as_fst(item, f"{name}: argument {i}") for i, item in enumerate(arguments, 1)]
