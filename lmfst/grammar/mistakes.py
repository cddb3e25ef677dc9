"""What to tell of a name or an operation that means nothing, and how to mend it."""

from __future__ import annotations

import difflib

from lmfst.grammar import syntax as s
from lmfst.grammar.builtins import BUILTINS
from lmfst.grammar.modules import Module
from lmfst.grammar.source import RuleError


def operation_errors() -> tuple[type[Exception], ...]:
    """What an operation raises where it fails."""
    import pynini

    return (
        pynini.FstArgError,
        pynini.FstBadWeightError,
        pynini.FstIndexError,
        pynini.FstIOError,
        pynini.FstOpError,
        pynini.FstStringCompilationError,
        OSError,
        OverflowError,
        ValueError,
    )


def operation_name(expr: s.Expr) -> str:
    """What messages call an operation."""
    if isinstance(expr, s.Call):
        return expr.function
    if isinstance(expr, s.Operation):
        names = {
            "concat": "concatenation",
            "-": "difference",
            "@": "composition",
            "|": "union",
            ":": "':'",
        }
        return names[expr.operator]
    return "the string" if isinstance(expr, s.String) else "the operation"


def mending(detail: str) -> str:
    """How to mend what OpenFst complains of."""
    if "non-functional" in detail:
        return "only FSTs with one output for each input can be determinised; Optimize[…] takes any"
    if "must be a unweighted acceptor" in detail or "not an unweighted" in detail:
        return "take Project[…] and RmWeight[…] of the argument"
    return ""


def undefined(module: Module, name: str) -> RuleError:
    """The error for a name without a value where it stands."""
    if name in module.rules:
        line = module.rules[name].pos.line
        return RuleError(
            f"{name} is used before its definition on line {line}", hint="define it above"
        )
    if name in module.functions or name in BUILTINS:
        return RuleError(f"{name} is a function", hint=f"call it: {name}[…]")
    if name in module.imports:
        return RuleError(f"{name} is an import", hint=f"take a rule of it: {name}.RULE")
    return RuleError(f"{name} isn't defined", hint=_similar(name, list(module.rules)))


def not_local(module: Module, name: str) -> RuleError:
    """The error for a name that a function of a file doesn't see."""
    if name in module.rules:
        return RuleError(
            f"{name} is a rule of the file; functions only see their arguments, their own "
            "variables and imported names",
            hint=f"give {name} to the function as an argument",
        )
    return RuleError(f"{name} isn't defined in this function")


def not_exported(module: Module, name: str) -> RuleError:
    """The error for a rule of an imported file that isn't exported there."""
    if name in module.rules:
        return RuleError(
            f"{module.source.path} doesn't export {name}", hint=f"write `export {name} = …;` there"
        )
    return RuleError(
        f"{module.source.path} has no rule {name}", hint=listed("it exports", module.exports)
    )


def no_function(module: Module, name: str, *, dotted: bool) -> RuleError:
    """The error for a function that isn't there. dotted: whether it was sought in another file."""
    if dotted:
        known = listed("its functions are", list(module.functions))
        return RuleError(f"{module.source.path} has no function {name}", hint=known)
    hint = _similar(name, [*module.functions, *BUILTINS])
    return RuleError(f"there is no function {name}", hint=hint)


def listed(what: str, names: list[str]) -> str:
    """A hint with the first of some names; "" for none."""
    return f"{what} {', '.join(names[:12])}{' …' if len(names) > 12 else ''}" if names else ""


def _similar(name: str, known: list[str]) -> str:
    found = difflib.get_close_matches(name, known, 3, 0.6)
    return f"did you mean {' or '.join(found)}?" if found else ""
