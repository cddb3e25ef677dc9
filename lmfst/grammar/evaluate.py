"""Syntax trees → FSTs: evaluates rules and functions, and says where something went wrong.

Rules are evaluated in file order; of an imported file only the exports that are used. Nothing
here limits time or memory: see `lmfst.grammar.worker`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lmfst.grammar import operators
from lmfst.grammar import syntax as s
from lmfst.grammar.builtins import BUILTINS, string_fst
from lmfst.grammar.capture import Capture
from lmfst.grammar.labels import Labels
from lmfst.grammar.modules import Loader, Module
from lmfst.grammar.paths import Finder, is_shipped
from lmfst.grammar.source import Pos, RuleError, budget, without_surrogates
from lmfst.grammar.values import Table, Thing, Value, as_fst
from lmfst.ground.errors import LmfstError

_MAX_CALLS = 100


@dataclass(frozen=True)
class Frame:
    """Where an expression stands.

    rule:   the rule of `module` that it belongs to, or that called the function.
    before: how many of the module's rules are visible.
    locals: a function's arguments and variables; None outside functions.
    calls:  one note for each function call on the way here, innermost first.
    """

    module: Module
    rule: str
    before: int
    locals: dict[str, Thing] | None = None
    calls: tuple[str, ...] = ()


class Evaluator:
    """One compilation: the generated symbols, the files read, the limits.

    capture: what pynini wrote to stderr, for the messages of errors.
    warn:    told of each doubtful thing once, with its place.
    report:  told which statement is being worked on: its place, the line with a caret, and whether
             it is one of the grammars that come with lmfst.
    largest: most states of any FST so far.
    """

    def __init__(
        self,
        finder: Finder,
        capture: Capture,
        *,
        max_states: int = 1_000_000,
        warn: Callable[[str], None] = lambda message: None,
        report: Callable[[str, str, bool], None] = lambda where, excerpt, shipped: None,
    ) -> None:
        self.labels = Labels()
        self.max_states = max_states
        self.loader = Loader(finder)
        self._finder, self._capture = finder, capture
        self._tell, self._report = warn, report
        self._told: set[str] = set()
        self.largest = 0
        self._main: Module | None = None
        self._frame: Frame | None = None
        self._pos = Pos(1, 1)
        self._shipped = False
        self._optimizing = False

    def load(self, path: Path, shown: str) -> Module:
        """The main file. GrammarError if it or an import can't be read or parsed."""
        self._main = self.loader.load(path, shown)
        for message in self.loader.warnings:
            self.warn_once(message)
        return self._main

    def rule(self, module: Module, name: str) -> Thing:
        """The value of a rule of a file; the rules it is built from are evaluated first."""
        if name not in module.values:
            for needed in module.needed([name]):
                self._rule(module, needed)
        return module.values[name]

    def _rule(self, module: Module, name: str) -> None:
        if name in module.values:
            return
        rule = module.rules[name]
        outer = self._frame, self._pos, self._optimizing, self._shipped
        self._optimizing = False
        self._shipped = is_shipped(module.path)
        self._at(module, rule.pos, name)
        frame = Frame(module, name, module.index[name])
        value = self._eval(rule.body, frame)
        module.values[name] = value.named(name) if isinstance(value, Value) else value
        self._frame, self._pos, self._optimizing, self._shipped = outer
        if self._frame is not None:
            self._at(self._frame.module, self._pos, self._frame.rule)

    def _at(self, module: Module, pos: Pos, rule: str) -> None:
        where = f"{module.source.where(pos)}: rule {rule}"
        # A shipped function that a user's statement calls is that statement's affair.
        self._report(where, module.source.excerpt(pos), self._shipped)

    # What built-in functions may use (`builtins.Context`).

    def warn(self, message: str) -> None:
        """Pass a warning on, with the place that is being evaluated."""
        frame = self._frame
        if frame is None:
            self.warn_once(message)
        else:
            rule = f"rule {frame.rule}: " if frame.rule else ""
            self.warn_once(f"{frame.module.source.where(self._pos)}: {rule}{message}")

    def find(self, name: str) -> Path:
        """The file that the grammar being evaluated means by a name. RuleError if there is none."""
        return self._finder.find(name, self._importer())

    def export_for_far(self, far: str, key: str) -> Value | None:
        """The export of the grammar that a missing archive would be built from; else None."""
        if self._finder.look(far, self._importer()) is not None or not far.endswith(".far"):
            return None
        name = far.removesuffix(".far") + ".grm"
        path = self._finder.look(name, self._importer())
        if path is None:
            return None
        self.warn(f"'{far}' doesn't exist; compiling '{name}' instead")
        module = self.loader.load(path)
        if key not in module.exports:
            raise RuleError(
                f"{module.source.path} exports no {key}", hint=_list("it exports", module.exports)
            )
        return as_fst(self.rule(module, key), f"'{far}', '{key}'")

    def _importer(self) -> Path:
        if self._frame is None:
            raise RuleError("no grammar is being evaluated")
        return self._frame.module.path

    def warn_once(self, message: str) -> None:
        """Pass a warning on as it is, unless it has been given before."""
        message = without_surrogates(message)
        if message not in self._told:
            self._told.add(message)
            self._tell(message)

    # Expressions.

    def _eval(self, expr: s.Expr, frame: Frame) -> Thing:
        """The value of an expression. GrammarError or BudgetError if it has none."""
        try:
            result = self._dispatch(expr, frame)
            if isinstance(result, Value):
                self._measure(result)
            return result
        except RuleError as error:
            raise self._error(frame, expr.pos, error) from error
        except RecursionError as error:
            problem = RuleError("nested too deeply", hint="name the inner parts as rules")
            raise self._error(frame, expr.pos, problem) from error
        except _operation_errors() as error:
            detail = self._capture.since_last() or str(error)
            problem = RuleError(f"{_operation(expr)} failed: {detail}", hint=_hint(detail))
            raise self._error(frame, expr.pos, problem) from error

    def _measure(self, value: Value) -> None:
        states = value.fst.num_states()
        self.largest = max(self.largest, states)
        if states > self.max_states:
            raise budget(
                f"the FST has {states} states, more than the {self.max_states} allowed",
                "use Optimize[…] on its parts, or raise --max-states",
            )

    def _dispatch(self, expr: s.Expr, frame: Frame) -> Thing:
        if isinstance(expr, s.Name):
            return self._name(expr, frame)
        if isinstance(expr, s.Operation):
            return self._operation(expr, frame)
        if isinstance(expr, s.String):
            return self._string(expr, frame)
        if isinstance(expr, s.Call):
            return self._call(expr, frame)
        if isinstance(expr, s.Raw):
            return expr.text
        body = as_fst(self._eval(expr.body, frame), "the operand")
        self._enter(frame, expr.pos)
        if isinstance(expr, s.Repeat):
            return operators.closure(body, expr.lower, expr.upper, self.max_states)
        return operators.weight(body, expr.weight)

    def _enter(self, frame: Frame, pos: Pos) -> None:
        """Operands are evaluated; from here on warnings and diagnostics belong to this place."""
        self._frame, self._pos = frame, pos
        self._capture.mark()

    def _operation(self, expr: s.Operation, frame: Frame) -> Value:
        values = [self._eval(operand, frame) for operand in expr.operands]
        self._enter(frame, expr.pos)
        parts = [
            as_fst(value, f"operand {i} of '{expr.operator}'") for i, value in enumerate(values, 1)
        ]
        if expr.operator == "concat":
            return operators.concat(parts)
        if expr.operator == "|":
            return operators.union(parts)
        if expr.operator == ":":
            return operators.cross(parts[0], parts[1])
        result = parts[0]
        for part in parts[1:]:
            if expr.operator == "-":
                result = operators.difference(result, part)
            else:
                result = operators.compose(result, part, self.labels, self.warn)
                if self._optimizing:
                    result.fst.optimize()
        return result

    def _string(self, expr: s.String, frame: Frame) -> Value:
        mode: str | Thing = (
            expr.mode if isinstance(expr.mode, str) else self._eval(expr.mode, frame)
        )
        self._enter(frame, expr.pos)
        if not isinstance(mode, Table) and mode not in ("byte", "utf8"):
            raise RuleError(
                "what follows the '.' of a string must be byte, utf8 or a symbol table",
                hint="load the table: NAME = SymbolTable['file'];",
            )
        return string_fst(expr.text, mode, self)

    def _name(self, expr: s.Name, frame: Frame) -> Thing:
        self._enter(frame, expr.pos)
        module, name = frame.module.through(expr.text)
        if "." in expr.text:
            if name not in module.exports:
                raise _not_exported(module, name)
            return self.rule(module, name)
        if frame.locals is not None:
            return self._local(name, frame)
        if module.index.get(name, frame.before) < frame.before:
            return module.values[name]
        raise _undefined(module, name)

    def _local(self, name: str, frame: Frame) -> Thing:
        if frame.locals is not None and name in frame.locals:
            return frame.locals[name]
        module = frame.module
        if module is not self._main and name in module.exports:
            return self.rule(module, name)
        if name in module.rules:
            raise RuleError(
                f"{name} is a rule of the file; functions only see their arguments, their own "
                "variables and imported names",
                hint=f"give {name} to the function as an argument",
            )
        raise RuleError(f"{name} isn't defined in this function")

    def _call(self, expr: s.Call, frame: Frame) -> Thing:
        self._enter(frame, expr.pos)
        module, name = frame.module.through(expr.function)
        function = module.functions.get(name)
        if function is None and ("." in expr.function or name not in BUILTINS):
            raise _no_function(module, name, dotted="." in expr.function)
        # As in Thrax, the compositions inside Optimize[…] are optimised one by one: a cascade would
        # otherwise grow past all bounds before it is looked at as a whole.
        outer = self._optimizing
        self._optimizing = outer or (function is None and name == "Optimize")
        arguments = [self._eval(argument, frame) for argument in expr.arguments]
        self._optimizing = outer
        self._enter(frame, expr.pos)
        if function is None:
            return BUILTINS[name](arguments, self)
        return self._apply(function, module, arguments, expr, frame)

    def _apply(
        self,
        function: s.Function,
        module: Module,
        arguments: list[Thing],
        call: s.Call,
        frame: Frame,
    ) -> Thing:
        """Call a function of a grammar."""
        names = [name for name, _ in function.parameters]
        if len(names) != len(arguments):
            raise RuleError(
                f"{call.function} takes {len(names)} argument(s), got {len(arguments)}",
                hint=f"func {function.name}[{', '.join(names)}]",
            )
        if len(frame.calls) >= _MAX_CALLS:
            raise RuleError(
                f"{_MAX_CALLS} function calls inside one another",
                hint="a function that calls itself never ends: the language has no conditions",
            )
        note = f"in {call.function}[…], called at {frame.module.source.where(call.pos)}"
        inner = Frame(
            module, frame.rule, 0, dict(zip(names, arguments, strict=True)), (note, *frame.calls)
        )
        return self._body(function, inner)

    def _body(self, function: s.Function, frame: Frame) -> Thing:
        variables = frame.locals if frame.locals is not None else {}
        for statement in function.body:
            value = self._eval(statement.body, frame)
            if isinstance(statement, s.Return):
                return value
            if statement.name in variables:
                problem = RuleError(
                    f"{statement.name} already has a value here", hint="use a new name"
                )
                raise self._error(frame, statement.pos, problem)
            variables[statement.name] = (
                value.named(statement.name) if isinstance(value, Value) else value
            )
        problem = RuleError(
            f"the function {function.name} returns nothing", hint="end it with `return …;`"
        )
        raise self._error(frame, function.pos, problem)

    def _error(self, frame: Frame, pos: Pos, error: RuleError) -> LmfstError:
        return frame.module.source.error(
            pos,
            error.message,
            rule=frame.rule,
            hint=error.hint,
            notes=frame.calls[:8],
            kind=error.kind,
        )


def _operation_errors() -> tuple[type[Exception], ...]:
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


def _operation(expr: s.Expr) -> str:
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


def _hint(detail: str) -> str:
    """How to mend what OpenFst complains of."""
    if "non-functional" in detail:
        return "only FSTs with one output for each input can be determinised; Optimize[…] takes any"
    if "must be a unweighted acceptor" in detail or "not an unweighted" in detail:
        return "take Project[…] and RmWeight[…] of the argument"
    return ""


def _undefined(module: Module, name: str) -> RuleError:
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


def _not_exported(module: Module, name: str) -> RuleError:
    if name in module.rules:
        return RuleError(
            f"{module.source.path} doesn't export {name}", hint=f"write `export {name} = …;` there"
        )
    return RuleError(
        f"{module.source.path} has no rule {name}", hint=_list("it exports", module.exports)
    )


def _no_function(module: Module, name: str, *, dotted: bool) -> RuleError:
    if dotted:
        known = _list("its functions are", list(module.functions))
        return RuleError(f"{module.source.path} has no function {name}", hint=known)
    hint = _similar(name, [*module.functions, *BUILTINS])
    return RuleError(f"there is no function {name}", hint=hint)


def _list(what: str, names: list[str]) -> str:
    return f"{what} {', '.join(names[:12])}{' …' if len(names) > 12 else ''}" if names else ""


def _similar(name: str, known: list[str]) -> str:
    import difflib

    found = difflib.get_close_matches(name, known, 3, 0.6)
    return f"did you mean {' or '.join(found)}?" if found else ""
