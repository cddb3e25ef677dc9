"""Syntax trees → FSTs: evaluates rules and functions, and says where something went wrong.

Rules are evaluated in file order; of an imported file only the exports that are used. Nothing
here limits time or memory: see `lmfst.grammar.worker`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lmfst.fst.capture import Capture
from lmfst.grammar import operators
from lmfst.grammar import syntax as s
from lmfst.grammar.builtins import BUILTINS, string_fst
from lmfst.grammar.labels import Labels
from lmfst.grammar.mistakes import (
    listed,
    mending,
    no_function,
    not_exported,
    not_local,
    operation_errors,
    operation_name,
    undefined,
)
from lmfst.grammar.modules import Loader, Module
from lmfst.grammar.paths import Finder
from lmfst.grammar.place import Frame, Place
from lmfst.grammar.source import RuleError, budget
from lmfst.grammar.values import Table, Thing, Value, as_fst


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
        self._finder = finder
        self._place = Place(capture, warn, report)
        self.warn, self.warn_once = self._place.warn, self._place.warn_once
        self.largest = 0
        self._main: Module | None = None
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
        outer, optimizing = self._place.begin(module, name), self._optimizing
        self._optimizing = False
        value = self._eval(module.rules[name].body, Frame(module, name, module.index[name]))
        module.values[name] = value.named(name) if isinstance(value, Value) else value
        self._optimizing = optimizing
        self._place.back_to(outer)

    # What built-in functions may use besides (`builtins.Context`).

    def find(self, name: str) -> Path:
        """The file that the grammar being evaluated means by a name. RuleError if there is none."""
        return self._finder.find(name, self._place.importer())

    def export_for_far(self, far: str, key: str) -> Value | None:
        """The export of the grammar that a missing archive would be built from; else None."""
        path = self._finder.look_for_source(far, self._place.importer())
        if path is None:
            return None
        name = far.removesuffix(".far") + ".grm"
        self.warn(f"'{far}' doesn't exist; compiling '{name}' instead")
        module = self.loader.load(path)
        if key not in module.exports:
            raise RuleError(
                f"{module.source.path} exports no {key}", hint=listed("it exports", module.exports)
            )
        return as_fst(self.rule(module, key), f"'{far}', '{key}'")

    # Expressions.

    def _eval(self, expr: s.Expr, frame: Frame) -> Thing:
        """The value of an expression. GrammarError or BudgetError if it has none."""
        try:
            result = self._dispatch(expr, frame)
            if isinstance(result, Value):
                self._measure(result)
            return result
        except RuleError as error:
            raise frame.error(expr.pos, error) from error
        except RecursionError as error:
            problem = RuleError("nested too deeply", hint="name the inner parts as rules")
            raise frame.error(expr.pos, problem) from error
        except operation_errors() as error:
            detail = self._place.diagnostic() or str(error)
            problem = RuleError(f"{operation_name(expr)} failed: {detail}", hint=mending(detail))
            raise frame.error(expr.pos, problem) from error

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
        self._place.enter(frame, expr.pos)
        if isinstance(expr, s.Repeat):
            return operators.closure(body, expr.lower, expr.upper, self.max_states)
        return operators.weight(body, expr.weight)

    def _operation(self, expr: s.Operation, frame: Frame) -> Value:
        values = [self._eval(operand, frame) for operand in expr.operands]
        self._place.enter(frame, expr.pos)
        parts = [
            as_fst(value, f"operand {i} of '{expr.operator}'") for i, value in enumerate(values, 1)
        ]
        if expr.operator == "@":
            return operators.cascade(parts, self.labels, self.warn, optimize=self._optimizing)
        return operators.combined(expr.operator, parts)

    def _string(self, expr: s.String, frame: Frame) -> Value:
        mode: str | Thing = (
            expr.mode if isinstance(expr.mode, str) else self._eval(expr.mode, frame)
        )
        self._place.enter(frame, expr.pos)
        if not isinstance(mode, Table) and mode not in ("byte", "utf8"):
            raise RuleError(
                "what follows the '.' of a string must be byte, utf8 or a symbol table",
                hint="load the table: NAME = SymbolTable['file'];",
            )
        return string_fst(expr.text, mode, self)

    def _name(self, expr: s.Name, frame: Frame) -> Thing:
        self._place.enter(frame, expr.pos)
        module, name = frame.module.through(expr.text)
        if "." in expr.text:
            if name not in module.exports:
                raise not_exported(module, name)
            return self.rule(module, name)
        if frame.locals is not None:
            return self._local(name, frame)
        if module.index.get(name, frame.before) < frame.before:
            return module.values[name]
        raise undefined(module, name)

    def _local(self, name: str, frame: Frame) -> Thing:
        if frame.locals is not None and name in frame.locals:
            return frame.locals[name]
        module = frame.module
        if module is not self._main and name in module.exports:
            return self.rule(module, name)
        raise not_local(module, name)

    def _call(self, expr: s.Call, frame: Frame) -> Thing:
        self._place.enter(frame, expr.pos)
        module, name = frame.module.through(expr.function)
        function = module.functions.get(name)
        if function is None and ("." in expr.function or name not in BUILTINS):
            raise no_function(module, name, dotted="." in expr.function)
        # As in Thrax, the compositions inside Optimize[…] are optimised one by one: a cascade would
        # otherwise grow past all bounds before it is looked at as a whole.
        outer = self._optimizing
        self._optimizing = outer or (function is None and name == "Optimize")
        arguments = [self._eval(argument, frame) for argument in expr.arguments]
        self._optimizing = outer
        self._place.enter(frame, expr.pos)
        if function is None:
            return BUILTINS[name](arguments, self)
        return self._body(function, frame.calling(function, module, arguments, expr))

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
                raise frame.error(statement.pos, problem)
            variables[statement.name] = (
                value.named(statement.name) if isinstance(value, Value) else value
            )
        problem = RuleError(
            f"the function {function.name} returns nothing", hint="end it with `return …;`"
        )
        raise frame.error(function.pos, problem)
