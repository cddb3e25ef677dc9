"""The syntax tree of a .grm file. Every node knows where it begins."""

from __future__ import annotations

from dataclasses import dataclass

from lmfst.grammar.source import Pos, Source


@dataclass(frozen=True, slots=True)
class Node:
    pos: Pos


@dataclass(frozen=True, slots=True)
class Raw(Node):
    """'text': a file name or a flag; also the bare words byte and utf8 among arguments."""

    text: str


@dataclass(frozen=True, slots=True)
class String(Node):
    """A string FST. `mode` is "byte", "utf8", or an expression that gives a symbol table."""

    text: str
    mode: str | Name | Call


@dataclass(frozen=True, slots=True)
class Name(Node):
    """A variable; dots separate import aliases."""

    text: str


@dataclass(frozen=True, slots=True)
class Call(Node):
    """F[a, b]: a function of the grammar or a built-in one."""

    function: str
    arguments: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Repeat(Node):
    """e*, e+, e?, e{n}, e{n,m}. `upper` is None where there is no bound."""

    body: Expr
    lower: int
    upper: int | None


@dataclass(frozen=True, slots=True)
class Operation(Node):
    """An operator over two or more operands.

    operator: "concat", "-", "@", "|" or ":". Chains are flat; `-` and `@` group from the left.
    """

    operator: str
    operands: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Weighted(Node):
    """e <w>: the weight is text, for OpenFst to read. `pos` is the weight's."""

    body: Expr
    weight: str


Expr = Raw | String | Name | Call | Repeat | Operation | Weighted


@dataclass(frozen=True, slots=True)
class Import(Node):
    """import 'path' as alias;"""

    path: str
    alias: str


@dataclass(frozen=True, slots=True)
class Rule(Node):
    """[export] name = body;"""

    name: str
    body: Expr
    export: bool


@dataclass(frozen=True, slots=True)
class Return(Node):
    """return body;"""

    body: Expr


@dataclass(frozen=True, slots=True)
class Function(Node):
    """func name[parameters] { body }"""

    name: str
    parameters: tuple[tuple[str, Pos], ...]
    body: tuple[Rule | Return, ...]


@dataclass(frozen=True)
class Grammar:
    """A whole file, statements in their order."""

    source: Source
    imports: tuple[Import, ...]
    rules: tuple[Rule, ...]
    functions: tuple[Function, ...]
