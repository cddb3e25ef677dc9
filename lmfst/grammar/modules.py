"""Grammar files and their imports: which name means which rule or function of which file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lmfst.grammar import syntax as s
from lmfst.grammar.parser import parse_source
from lmfst.grammar.paths import Finder, stands_in
from lmfst.grammar.source import Pos, RuleError, Source, read_source
from lmfst.grammar.values import Thing
from lmfst.ground.errors import LmfstError


@dataclass(eq=False)
class Module:
    """One grammar file.

    rules:  by name; a rule's index is its place among the file's rules.
    values: of the rules that have been evaluated.
    """

    path: Path
    grammar: s.Grammar
    rules: Mapping[str, s.Rule]
    index: Mapping[str, int]
    functions: Mapping[str, s.Function]
    imports: dict[str, Module] = field(default_factory=dict)
    values: dict[str, Thing] = field(default_factory=dict)

    @property
    def source(self) -> Source:
        return self.grammar.source

    @property
    def exports(self) -> list[str]:
        return [name for name, rule in self.rules.items() if rule.export]

    def through(self, name: str) -> tuple[Module, str]:
        """The file that the aliases of a dotted name lead to, and the name's last part.

        RuleError for an alias that isn't there.
        """
        *aliases, last = name.split(".")
        module = self
        for alias in aliases:
            if alias not in module.imports:
                known = ", ".join(sorted(module.imports)) or "none"
                raise RuleError(
                    f"{name}: {module.source.path} imports nothing as {alias}",
                    hint=f"its import aliases: {known}",
                )
            module = module.imports[alias]
        return module, last

    def needed(self, names: list[str]) -> list[str]:
        """The given rules and those of this file they are built from, in file order."""
        found: set[str] = set()
        pending = list(names)
        while pending:
            name = pending.pop()
            if name in self.rules and name not in found:
                found.add(name)
                pending += names_in(self.rules[name].body)
        return sorted(found, key=self.index.__getitem__)


def names_in(root: s.Expr) -> Iterator[str]:
    """The variables of an expression."""
    pending: list[s.Expr] = [root]
    while pending:
        expr = pending.pop()
        if isinstance(expr, s.Name):
            yield expr.text
        elif isinstance(expr, s.Call):
            pending += expr.arguments
        elif isinstance(expr, s.Operation):
            pending += expr.operands
        elif isinstance(expr, s.Repeat | s.Weighted):
            pending.append(expr.body)
        elif isinstance(expr, s.String) and not isinstance(expr.mode, str):
            pending.append(expr.mode)


class Loader:
    """Reads grammar files, each once."""

    def __init__(self, finder: Finder) -> None:
        self._finder = finder
        self._modules: dict[Path, Module] = {}
        self._open: list[Path] = []
        self.warnings: list[str] = []

    def load(self, path: Path, shown: str | None = None) -> Module:
        """The module of a file, with all it imports.

        GrammarError if it, or an import, can't be read or parsed, or imports itself.
        """
        known = self._modules.get(path)
        if known is not None:
            return known
        source = read_source(
            path, shown if shown is not None else _short(path), self.warnings.append
        )
        module = self._module(path, parse_source(source))
        self._open.append(path)
        for statement in module.grammar.imports:
            self._import(module, statement)
        self._open.pop()
        self._modules[path] = module
        return module

    def _import(self, module: Module, statement: s.Import) -> None:
        if statement.alias in module.imports:
            raise module.source.error(
                statement.pos, f"two imports are called {statement.alias}", hint="rename one"
            )
        try:
            path = self._finder.find(statement.path, module.path)
        except RuleError as error:
            raise module.source.error(statement.pos, error.message, hint=error.hint) from error
        if stands_in(statement.path, path):
            where = module.source.where(statement.pos)
            self.warnings.append(
                f"{where}: '{statement.path}' wasn't found; lmfst's own {path.name} stands in"
            )
        if path in self._open:
            chain = " → ".join(
                _short(item) for item in [*self._open[self._open.index(path) :], path]
            )
            raise module.source.error(
                statement.pos,
                f"this import goes in a circle: {chain}",
                hint="move what both need to a third file",
            )
        module.imports[statement.alias] = self.load(path)

    def _module(self, path: Path, grammar: s.Grammar) -> Module:
        rules: dict[str, s.Rule] = {}
        for rule in grammar.rules:
            if rule.name in rules:
                raise _rebound(grammar.source, rule.pos, rule.name, rules[rule.name].pos)
            rules[rule.name] = rule
        functions: dict[str, s.Function] = {}
        for function in grammar.functions:
            if function.name in functions:
                where = grammar.source.where(function.pos)
                self.warnings.append(
                    f"{where}: a second function {function.name}; the first one counts"
                )
            functions.setdefault(function.name, function)
        index = {name: place for place, name in enumerate(rules)}
        return Module(path, grammar, rules, index, functions)


def _rebound(source: Source, pos: Pos, name: str, first: Pos) -> LmfstError:
    return source.error(
        pos, f"{name} is defined a second time (first on line {first.line})", hint="use a new name"
    )


def _short(path: Path) -> str:
    """The path relative to the current directory if it lies below, for messages."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
