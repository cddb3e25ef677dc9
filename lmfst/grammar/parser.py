"""The .grm text → its syntax tree (Thrax 1.3 syntax), through lark.

Precedence, tightest first: repetition (one per atom), concatenation, `-`, `@`, `|`, `:` (does not
associate), `<w>` (once, on the whole expression). Thrax groups `|` and concatenation from the
right and `-` and `@` from the left; for `|` and concatenation the grouping doesn't matter, so
chains are flat here.

Not done here: names are not resolved, strings are not unescaped beyond their quotes.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

from lmfst.grammar import syntax as s
from lmfst.grammar.source import Pos, Source
from lmfst.ground.errors import LmfstError

if TYPE_CHECKING:
    import lark

_GRAMMAR = r"""
start: import_stmt* (rule | func | return_stmt)*

import_stmt: IMPORT RAW AS NAME ";"
rule: EXPORT? NAME "=" expr ";"
func: FUNC NAME "[" parameters "]" "{" (rule | return_stmt)* "}"
parameters: (NAME ("," NAME)*)?
return_stmt: RETURN expr ";"

expr: cross WEIGHT?
cross: union (":" union)?
union: compose ("|" compose)*
compose: difference ("@" difference)*
difference: concat ("-" concat)*
concat: repeat+
repeat: atom (STAR | PLUS | QUESTION | "{" INT ("," INT)? "}")?
?atom: raw | string | call | name | "(" expr ")"

raw: RAW
string: STRING ("." (BYTE | UTF8 | call | name))?
name: NAME
call: NAME "[" (argument ("," argument)*)? "]"
?argument: expr | mode
mode: BYTE | UTF8

IMPORT: "import"
AS: "as"
EXPORT: "export"
FUNC: "func"
RETURN: "return"
BYTE: "byte"
UTF8: "utf8"
STAR: "*"
PLUS: "+"
QUESTION: "?"
NAME: /[A-Za-z_][A-Za-z0-9_.]*/
INT: /[0-9]+/
RAW: /'(?:[^'\\]|\\.)*'/s
STRING: /"(?:[^"\\]|\\.)*"/s
WEIGHT: /<[^>]*>/
%ignore /\s+/
%ignore /#[^\n]*/
"""

_SHOWN = {
    "NAME": "a name",
    "RAW": "a 'quoted' text",
    "STRING": 'a "string"',
    "WEIGHT": "a <weight>",
    "INT": "a number",
    "$END": "the end of the file",
    "STAR": "'*'",
    "PLUS": "'+'",
    "QUESTION": "'?'",
    "SEMICOLON": "';'",
    "EQUAL": "'='",
    "LSQB": "'['",
    "RSQB": "']'",
    "LBRACE": "'{'",
    "RBRACE": "'}'",
    "LPAR": "'('",
    "RPAR": "')'",
    "COMMA": "','",
    "DOT": "'.'",
    "COLON": "':'",
    "VBAR": "'|'",
    "AT": "'@'",
    "MINUS": "'-'",
}

_OPERATORS = {"cross": ":", "union": "|", "compose": "@", "difference": "-", "concat": "concat"}

_WRAPPERS = {"expr", "repeat"}
"""Besides the operators, what may have a single operand and then means just that."""

_KEYWORDS = {"IMPORT", "AS", "EXPORT", "FUNC", "RETURN", "BYTE", "UTF8"}


def parse(text: str, path: str) -> s.Grammar:
    """The syntax tree of a grammar's text. `path` is how errors name the file.

    GrammarError with `file:line:column`, the line and a caret if the text is no grammar.
    """
    return parse_source(Source(path, text))


def parse_source(source: Source) -> s.Grammar:
    """As `parse`, for a text that has been read already."""
    import lark

    try:
        tree = _lark().parse(source.text)
        return _Builder(source).grammar(tree)
    except lark.exceptions.UnexpectedInput as error:
        _raise_unexpected(source, error)
    except RecursionError as error:
        raise source.error(
            Pos(1, 1), "brackets are nested too deeply", hint="name the inner parts as rules"
        ) from error


@cache
def _lark() -> lark.Lark:
    import lark

    return lark.Lark(_GRAMMAR, parser="lalr", lexer="basic", maybe_placeholders=False)


def _raise_unexpected(source: Source, error: Any) -> NoReturn:
    import lark

    pos = Pos(max(error.line, 1), max(error.column, 1))
    if isinstance(error, lark.exceptions.UnexpectedCharacters):
        raise _bad_character(source, pos, source.text[error.pos_in_stream or 0]) from None
    token = error.token
    expected = _expected(error)
    if token.type == "$END":
        end = _end(source.text)
        raise source.error(end, f"expected {expected}, but the file ends here") from None
    hint = ""
    if token.type in {"EQUAL", *_KEYWORDS} and "SEMICOLON" in getattr(error, "expected", ()):
        hint = "the statement before may lack its ';'"
    elif token.type == "VBAR" or token.type == "WEIGHT":
        hint = "a weight belongs to the whole expression; put (…) around the part it weights"
    elif token.type == "COLON":
        hint = "':' does not associate; put (…) around one pair"
    elif token.type == "IMPORT":
        hint = "imports come before all rules and functions"
    elif token.type == "EQUAL":
        hint = "a keyword can't be a name, and only one name stands before '='"
    elif token.type in {"STAR", "PLUS", "QUESTION", "LBRACE"}:
        hint = "an expression takes one repetition; put (…) around it for a second"
    message = f"expected {expected}, got {_token(token)}"
    raise source.error(pos, message, hint=hint) from None


def _bad_character(source: Source, pos: Pos, char: str) -> LmfstError:
    if char in "\"'":
        return source.error(
            pos, f"this {char}…{char} text is never closed", hint=f"end it with {char}"
        )
    if char == "<":
        return source.error(pos, "this <weight> is never closed", hint="end it with >")
    shown = char if char.isprintable() else f"U+{ord(char):04X}"
    return source.error(
        pos, f"unexpected character {shown}", hint="text stands in \"…\", file names in '…'"
    )


def _expected(error: Any) -> str:
    names = {_SHOWN.get(name, f"'{name.lower()}'") for name in error.expected}
    operators = {
        "'*'",
        "'+'",
        "'?'",
        "'{'",
        "'|'",
        "'@'",
        "'-'",
        "':'",
        "a <weight>",
        "'('",
        "'.'",
        "'['",
    }
    if len(names) > 4:
        # After a whole expression nearly everything may follow; what closes it is the point.
        closing = names - operators - {"a name", "a 'quoted' text", 'a "string"'}
        names = (closing | {"an operator"}) if closing and "'|'" in names else names
    ordered = sorted(names)
    return ordered[0] if len(ordered) == 1 else ", ".join(ordered[:-1]) + " or " + ordered[-1]


def _token(token: Any) -> str:
    text = str(token)
    if token.type in _KEYWORDS:
        return f"the keyword {text}"
    return text if len(text) <= 40 else text[:37] + "…"


def _end(text: str) -> Pos:
    lines = text.rstrip().split("\n")
    return Pos(len(lines), len(lines[-1]) + 1)


class _Builder:
    """lark's tree → the syntax tree. Wrappers of one operand vanish."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def grammar(self, tree: Any) -> s.Grammar:
        imports, rules, functions = [], [], []
        for child in tree.children:
            if child.data == "import_stmt":
                _, path, _, alias = child.children
                imports.append(
                    s.Import(_pos(child.children[0]), _unquote(path), self._plain(alias))
                )
            elif child.data == "rule":
                rules.append(self._rule(child))
            elif child.data == "func":
                functions.append(self._function(child))
            else:
                raise self.source.error(
                    _pos(child.children[0]),
                    "'return' stands outside a function",
                    hint="write `export NAME = …;` to give a result",
                )
        return s.Grammar(self.source, tuple(imports), tuple(rules), tuple(functions))

    def _rule(self, tree: Any) -> s.Rule:
        *export, name, body = tree.children
        return s.Rule(_pos(name), self._plain(name), self.expr(body), bool(export))

    def _function(self, tree: Any) -> s.Function:
        _, name, parameters, *body = tree.children
        names = tuple((self._plain(token), _pos(token)) for token in parameters.children)
        statements: list[s.Rule | s.Return] = []
        for child in body:
            if child.data == "rule":
                rule = self._rule(child)
                if rule.export:
                    raise self.source.error(
                        rule.pos,
                        f"{rule.name} is exported inside a function",
                        hint="only the file's own rules can be exported",
                    )
                statements.append(rule)
            else:
                keyword, value = child.children
                statements.append(s.Return(_pos(keyword), self.expr(value)))
        return s.Function(_pos(name), self._plain(name), names, tuple(statements))

    def _plain(self, token: Any) -> str:
        """A name that is defined here: it can't contain import aliases."""
        if "." in token:
            raise self.source.error(
                _pos(token),
                f"{token} can't be defined: '.' separates the alias of an import from a name in it",
                hint="use '_' instead of '.'",
            )
        return self._name(token)

    def _name(self, token: Any) -> str:
        if not all(re.search("[A-Za-z0-9]", part) for part in token.split(".")):
            raise self.source.error(
                _pos(token), f"{token} is no name", hint="a name has a letter or digit between dots"
            )
        return str(token)

    def expr(self, tree: Any) -> s.Expr:
        # Levels of one operand are skipped in a loop, to leave the stack for nested brackets.
        while len(tree.children) == 1 and (tree.data in _OPERATORS or tree.data in _WRAPPERS):
            tree = tree.children[0]
        build = {
            "expr": self._expr,
            "repeat": self._repeat,
            "raw": self._raw,
            "mode": self._mode,
            "string": self._string,
            "call": self._call,
            "name": self._variable,
        }.get(tree.data, self._operation)
        return build(tree)

    def _expr(self, tree: Any) -> s.Expr:
        body = self.expr(tree.children[0])
        weight = tree.children[1]
        return s.Weighted(_pos(weight), body, str(weight)[1:-1])

    def _operation(self, tree: Any) -> s.Expr:
        operands = tuple(self.expr(child) for child in tree.children)
        return s.Operation(operands[0].pos, _OPERATORS[tree.data], operands)

    def _repeat(self, tree: Any) -> s.Expr:
        body = self.expr(tree.children[0])
        marks = tree.children[1:]
        simple = {"STAR": (0, None), "PLUS": (1, None), "QUESTION": (0, 1)}
        if marks[0].type in simple:
            return s.Repeat(_pos(marks[0]), body, *simple[marks[0].type])
        lower, upper = self._count(marks[0]), self._count(marks[-1])
        if lower > upper:
            raise self.source.error(
                _pos(marks[0]), f"the bounds {{{lower},{upper}}} are reversed", hint="smaller first"
            )
        # Thrax's {0} and {0,0} are unbounded, as its C++ code takes 0 for "no upper bound".
        return s.Repeat(_pos(marks[0]), body, lower, upper or None)

    def _count(self, token: Any) -> int:
        if len(token) > 9:
            raise self.source.error(_pos(token), f"the count {token[:12]}… is too large")
        return int(token)

    def _raw(self, tree: Any) -> s.Raw:
        return s.Raw(_pos(tree.children[0]), _unquote(tree.children[0]))

    def _mode(self, tree: Any) -> s.Raw:
        return s.Raw(_pos(tree.children[0]), str(tree.children[0]))

    def _string(self, tree: Any) -> s.String:
        token, *mode = tree.children
        text = _unquote(token)
        if not mode:
            return s.String(_pos(token), text, "byte")
        if getattr(mode[0], "type", "") in {"BYTE", "UTF8"}:
            return s.String(_pos(token), text, str(mode[0]))
        table = self.expr(mode[0])
        if not isinstance(table, s.Name | s.Call):  # pragma: no cover (the grammar allows no other)
            raise self.source.error(table.pos, "expected a symbol table")
        return s.String(_pos(token), text, table)

    def _call(self, tree: Any) -> s.Call:
        name, *arguments = tree.children
        values = tuple(self.expr(argument) for argument in arguments)
        return s.Call(_pos(name), self._name(name), values)

    def _variable(self, tree: Any) -> s.Name:
        return s.Name(_pos(tree.children[0]), self._name(tree.children[0]))


def _pos(token: Any) -> Pos:
    return Pos(token.line, token.column)


def _unquote(token: Any) -> str:
    """The text between the quotes; only the quote itself is unescaped here."""
    quote, text = token[0], str(token)[1:-1]
    # Pairs are read from the left: in `\\"` the first backslash escapes the second.
    return re.sub(
        r"\\(.)",
        lambda match: quote if match[1] == quote else match[0],
        text,
        flags=re.DOTALL,
    )
