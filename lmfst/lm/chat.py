"""Chat templates as text: what they put after a token. Nothing is rendered.

Whoever made a model's files wrote the template, so the time taken grows with its length only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

REACH = 2000
"""Characters after a token within which a role counts as right after it."""
_ROLES = "system|user|assistant|developer|tool|model|human|bot"
_GLUE = r"""(?:["'\s+~()-]|\\n|\{\{|\}\})*+"""
"""What may stand between two pieces that a template puts out one after the other."""
_ROLE = (
    r"""(?:[\w.]*\brole\b|\w+\s*\[\s*["']role["']|\w+\.get\(\s*["']role["']"""
    rf"""|(?P<name>(?:{_ROLES})\b))"""
)
_BLOCKS = r"(?:\{%(?![-+]?\s*endfor\b)(?:(?!%\}).)*+%\}\s*+)*+"
_OUTSIDE = re.compile(_GLUE + _ROLE)
_INSIDE = re.compile(f"{_GLUE}{_BLOCKS}{_GLUE}{_ROLE}", re.DOTALL)
_STATEMENT = re.compile(r"[-+]?\s*(for|endfor|if|elif|else|endif)\b")
_FIRST = re.compile(r"\bloop\.(?:first\b|index0\s*==\s*0\b|index\s*==\s*1\b)")
_OTHERWISE = re.compile(r"\b(?:not|or)\b")
_IN_CODE = re.compile(r"""["']|[%}]\}""")
_STRING = {mark: re.compile(rf"(?:[^\\{mark}]|\\.)*+{mark}", re.DOTALL) for mark in "\"'"}


def opens_a_role(template: str, token: str, is_bos: bool) -> bool:
    """Whether a chat template puts the token right before a role.

    is_bos: whether the template's `bos_token` is this token. Templates that put it once, before the
    first message's own marker (`<s>[INST]`) or for the first message only, don't. Inside a loop
    over messages, statements may stand between the two; outside one a role after them is the next
    thing, not the token's.
    """
    template = _without_comments(template)
    code, statements = _code(template)
    places = _places(template, statements)
    depth, first, until = next(places)
    for match in re.finditer(re.escape(token) + (r"|\bbos_token\b" if is_bos else ""), template):
        while match.start() >= until:
            depth, first, until = next(places)
        if first:
            continue
        after = _INSIDE if depth > 0 else _OUTSIDE
        found = after.match(template, match.end(), match.end() + REACH)
        # The name of a role is text; a variable of that name may hold anything.
        if found and (found["name"] is None or not code[found.start("name")]):
            return True
    return False


def _without_comments(template: str) -> str:
    """The template without {# … #}."""
    kept, at = [], 0
    while (begin := template.find("{#", at)) >= 0:
        end = template.find("#}", begin + 2)
        if end < 0:
            break
        kept.append(template[at:begin])
        at = end + 2
    return "".join([*kept, template[at:]])


def _code(template: str) -> tuple[bytearray, list[tuple[int, int]]]:
    """(1 for every character of an expression or a statement that is in no string, 0 for the rest;
    the spans of the statements' insides)."""
    code, statements = bytearray(len(template)), []
    opening = re.compile(r"\{[{%]")
    at = 0
    while begin := opening.search(template, at):
        at = start = begin.end()
        while end := _IN_CODE.search(template, at):
            code[at : end.start()] = b"\1" * (end.start() - at)
            at = end.end()
            if end.group() in _STRING:
                closing = _STRING[end.group()].match(template, at)
                at = closing.end() if closing else len(template)
            elif end.group()[0] == ("%" if begin.group() == "{%" else "}"):
                break
        else:
            code[at:] = b"\1" * (len(template) - at)
            at = len(template)
        if begin.group() == "{%":
            statements.append((start, at))
    return code, statements


def _places(template: str, statements: list[tuple[int, int]]) -> Iterator[tuple[int, bool, float]]:
    """(loops around, whether only the innermost loop's first pass comes here, where that ends) of
    one part of the template after the other."""
    depth, stack = 0, [False]
    for begin, end in statements:
        found = _STATEMENT.match(template, begin, end)
        if found is None:
            continue
        yield depth, stack[-1], begin
        kind, condition = found[1], template[found.end() : end]
        first = bool(_FIRST.search(condition)) and not _OTHERWISE.search(condition)
        if kind in ("for", "if"):
            # What a loop does for its own first pass only; `stack[-1]` is of the loops around it.
            stack.append(kind == "if" and (first or stack[-1]))
            depth += kind == "for"
        elif kind in ("elif", "else"):
            around = stack[-2] if len(stack) > 1 else False
            stack[-1] = around or (kind == "elif" and first)
        else:
            if len(stack) > 1:
                stack.pop()
            depth -= kind == "endfor"
    yield depth, stack[-1], float("inf")
