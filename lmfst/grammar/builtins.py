"""The functions that the language has without a definition: name → what it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from lmfst.grammar import asserts, features, operators, pushdown, rewrite
from lmfst.grammar.labels import Labels, pynini_text, string_labels
from lmfst.grammar.loading import far_entry, load_fst, symbol_table
from lmfst.grammar.source import RuleError
from lmfst.grammar.stringfile import Mode, string_file, table_labels
from lmfst.grammar.values import Table, Thing, Value, alphabets_of, as_fst, as_text, flag_of

Arguments = Sequence[Thing]


class Context(Protocol):
    """What a function may use of the compilation that calls it."""

    labels: Labels
    max_states: int

    def warn(self, message: str) -> None:
        """Tell the user; the place in the grammar is added."""

    def find(self, name: str) -> Any:
        """The path of a file that the grammar names."""

    def export_for_far(self, far: str, key: str) -> Value | None:
        """If the archive doesn't exist but its grammar does: the grammar's export `key`."""


Builtin = Callable[[Arguments, Context], Thing]


def string_fst(text: str, mode: Mode, context: Context) -> Value:
    """A string FST in mode `byte`, `utf8`, or of a symbol table."""
    import pynini

    if isinstance(mode, Table):
        labels = table_labels(text, mode)
        alphabets = frozenset({mode}) if labels else frozenset()
    else:
        labels = string_labels(text, mode, context.labels, context.warn)
        alphabets = alphabets_of(labels, mode, context.labels.names)
    return Value(pynini.accep(pynini_text(labels), token_type="byte"), alphabets, alphabets)


def _unary(name: str, operation: Callable[[Any], Any], *, swap: bool = False) -> Builtin:
    """A function of one FST. `operation` gets a copy that it may change."""

    def call(arguments: Arguments, context: Context) -> Thing:
        (value,) = _fsts(name, arguments, 1)
        sides = (value.outputs, value.inputs) if swap else (value.inputs, value.outputs)
        alphabet = None if swap else value.alphabet
        return Value(operation(value.fst.copy()), *sides, alphabet=alphabet)

    return call


def _determinize(fst: Any) -> Any:
    import pynini

    return pynini.determinize(fst)


def _reverse(fst: Any) -> Any:
    import pynini

    return pynini.reverse(fst)


def _rmweight(fst: Any) -> Any:
    import pynini

    return pynini.arcmap(fst, map_type="rmweight")


def _fsts(name: str, arguments: Arguments, count: int) -> list[Value]:
    if len(arguments) != count:
        plural = "s" if count > 1 else ""
        raise RuleError(f"{name} takes {count} argument{plural}, got {len(arguments)}")
    return [as_fst(item, f"{name}: argument {i}") for i, item in enumerate(arguments, 1)]


def _count(name: str, arguments: Arguments, least: int, most: int) -> None:
    if not least <= len(arguments) <= most:
        wanted = f"{least}" if least == most else f"{least} to {most}"
        raise RuleError(f"{name} takes {wanted} arguments, got {len(arguments)}")


def _project(arguments: Arguments, context: Context) -> Thing:
    _count("Project", arguments, 2, 2)
    value = as_fst(arguments[0], "Project: argument 1")
    side = flag_of("Project", arguments, 1, ("input", "output"))
    alphabets = value.inputs if side == "input" else value.outputs
    return Value(value.fst.copy().project(side), alphabets, alphabets)


def _arcsort(arguments: Arguments, context: Context) -> Thing:
    _count("ArcSort", arguments, 2, 2)
    value = as_fst(arguments[0], "ArcSort: argument 1")
    side = flag_of("ArcSort", arguments, 1, ("input", "output"))
    fst = value.fst.copy().arcsort("ilabel" if side == "input" else "olabel")
    return Value(fst, value.inputs, value.outputs, alphabet=value.alphabet)


def _compose(arguments: Arguments, context: Context) -> Thing:
    _count("Compose", arguments, 2, 3)
    # The sorting that the flag asks for is always done: without it composition can fail.
    flag_of("Compose", arguments, 2, ("both", "left", "right"))
    left, right = _fsts("Compose", arguments[:2], 2)
    return operators.compose(left, right, context.labels, context.warn)


def _leniently_compose(arguments: Arguments, context: Context) -> Thing:
    import pynini

    _count("LenientlyCompose", arguments, 3, 4)
    flag_of("LenientlyCompose", arguments, 3, ("both", "left", "right"))
    left, right, sigma = _fsts("LenientlyCompose", arguments[:3], 3)
    operators.check_symbols(left, sigma.labels(), "LenientlyCompose", context.labels, context.warn)
    # Both have to be sorted on the input side: the left one is also composed with part of σ*.
    fst = pynini.leniently_compose(left.input_sorted(), right.input_sorted(), sigma.fst)
    return Value(fst, left.inputs, left.outputs | right.outputs)


def _many(name: str, operation: Callable[[Sequence[Value]], Value]) -> Builtin:
    def call(arguments: Arguments, context: Context) -> Thing:
        if len(arguments) < 2:
            raise RuleError(f"{name} takes 2 arguments, got {len(arguments)}")
        return operation(_fsts(name, arguments, len(arguments)))

    return call


def _pair(name: str, operation: Callable[[Value, Value], Value]) -> Builtin:
    return lambda arguments, context: operation(*_fsts(name, arguments, 2))


def _closure(arguments: Arguments, context: Context) -> Thing:
    raise RuleError(
        "Closure can't be called by name",
        hint="use the operators * + ? {n} {n,m} after an expression",
    )


def _string_file(arguments: Arguments, context: Context) -> Thing:
    _count("StringFile", arguments, 1, 3)
    path = context.find(as_text(arguments[0], "StringFile: argument 1"))
    modes = [_mode("StringFile", arguments, index, context) for index in (1, 2)]
    return string_file(path, (modes[0], modes[1]), context.labels, context.warn)


def _string_fst(arguments: Arguments, context: Context) -> Thing:
    _count("StringFst", arguments, 1, 2)
    if isinstance(arguments[0], Value):
        return arguments[0]
    text = as_text(arguments[0], "StringFst: argument 1")
    return string_fst(text, _mode("StringFst", arguments, 1, context), context)


def _mode(name: str, arguments: Arguments, index: int, context: Context) -> Mode:
    """A parse mode among the arguments: byte unless it is given."""
    if len(arguments) <= index:
        return "byte"
    mode = arguments[index]
    if isinstance(mode, Value):
        raise RuleError(f"{name}: argument {index + 1} must be byte, utf8 or a symbol table")
    if isinstance(mode, str) and mode not in ("byte", "utf8"):
        context.warn(f"{name}: the mode '{mode}' is none; read as byte, as Thrax does")
        return "byte"
    return mode


def _symbol_table(arguments: Arguments, context: Context) -> Thing:
    _count("SymbolTable", arguments, 1, 1)
    path = context.find(as_text(arguments[0], "SymbolTable: argument 1"))
    return symbol_table(path, context.warn)


def _load_fst(arguments: Arguments, context: Context) -> Thing:
    _count("LoadFst", arguments, 1, 1)
    path = context.find(as_text(arguments[0], "LoadFst: argument 1"))
    return load_fst(path, context.labels, context.warn)


def _load_fst_from_far(arguments: Arguments, context: Context) -> Thing:
    _count("LoadFstFromFar", arguments, 2, 2)
    far, key = (
        as_text(item, f"LoadFstFromFar: argument {i}") for i, item in enumerate(arguments, 1)
    )
    built = context.export_for_far(far, key)
    return (
        built
        if built is not None
        else far_entry(context.find(far), key, context.labels, context.warn)
    )


def _optimize(fst: Any) -> Any:
    return fst.optimize()


_DELAYED = ("Concat", "Union", "Compose", "Rewrite", "Difference")
"""Functions that Thrax also has in a form that builds states on demand; here it is the same."""


def _table() -> Mapping[str, Builtin]:
    table: dict[str, Builtin] = {
        "Optimize": _unary("Optimize", _optimize),
        "Determinize": _unary("Determinize", _determinize),
        "Minimize": _unary("Minimize", lambda fst: fst.minimize()),
        "RmEpsilon": _unary("RmEpsilon", lambda fst: fst.rmepsilon()),
        "Invert": _unary("Invert", lambda fst: fst.invert(), swap=True),
        "Reverse": _unary("Reverse", _reverse),
        "Connect": _unary("Connect", lambda fst: fst.connect()),
        "RmWeight": _unary("RmWeight", _rmweight),
        "Expand": _unary("Expand", lambda fst: fst),
        "Project": _project,
        "ArcSort": _arcsort,
        "Compose": _compose,
        "Concat": _many("Concat", operators.concat),
        "Union": _many("Union", operators.union),
        "Difference": _pair("Difference", operators.difference),
        "Rewrite": _pair("Rewrite", operators.cross),
        "Closure": _closure,
        "CDRewrite": lambda args, c: rewrite.cdrewrite(args, c.labels, c.warn),
        "LenientlyCompose": _leniently_compose,
        "Replace": lambda args, c: pushdown.replace(args),
        "PdtCompose": lambda args, c: pushdown.pdt_compose(args, c.warn),
        "MPdtCompose": lambda args, c: pushdown.mpdt_compose(args, c.warn),
        "StringFile": _string_file,
        "StringFst": _string_fst,
        "SymbolTable": _symbol_table,
        "LoadFst": _load_fst,
        "LoadFstFromFar": _load_fst_from_far,
        "AssertEqual": lambda args, c: asserts.assert_equal(args, c.labels),
        "AssertEmpty": lambda args, c: asserts.assert_empty(args, c.labels),
        "AssertNull": lambda args, c: asserts.assert_null(args, c.labels),
        "Feature": lambda args, c: features.feature(args, c.labels),
        "Category": lambda args, c: features.category(args, c.labels),
        "FeatureVector": lambda args, c: features.feature_vector(args, c.labels),
        "Analyzer": lambda args, c: features.analyzer(args),
        "Tagger": lambda args, c: features.tagger(args),
        "ParadigmReplace": lambda args, c: features.paradigm_replace(args),
    }
    return table | {f"{name}Delayed": table[name] for name in _DELAYED}


BUILTINS = _table()
