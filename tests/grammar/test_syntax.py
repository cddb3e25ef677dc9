"""The parser: what it accepts, and where its errors point."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmfst.grammar import parse
from lmfst.grammar import syntax as s
from lmfst.ground.errors import GrammarError
from tests.support.grammars import compile_text, error_of, translate


def shape(expr: s.Expr) -> object:
    """A tree as nested tuples, without positions."""
    match expr:
        case s.Operation():
            return (expr.operator, *(shape(operand) for operand in expr.operands))
        case s.Repeat():
            return ("repeat", shape(expr.body), expr.lower, expr.upper)
        case s.Weighted():
            return ("weight", shape(expr.body), expr.weight)
        case s.Call():
            return (expr.function, *(shape(argument) for argument in expr.arguments))
        case s.String():
            return f'"{expr.text}"'
        case _:
            return expr.text


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a b c", ("concat", "a", "b", "c")),
        ("a b* c", ("concat", "a", ("repeat", "b", 0, None), "c")),
        ("a b - c d", ("-", ("concat", "a", "b"), ("concat", "c", "d"))),
        ("a - b - c", ("-", "a", "b", "c")),
        ("a - b @ c - d", ("@", ("-", "a", "b"), ("-", "c", "d"))),
        ("a @ b | c @ d", ("|", ("@", "a", "b"), ("@", "c", "d"))),
        ("a : b | c", (":", "a", ("|", "b", "c"))),
        ("a | b : c <1>", ("weight", (":", ("|", "a", "b"), "c"), "1")),
        ("(a <1>) | b", ("|", ("weight", "a", "1"), "b")),
        ("(a : b) : c", (":", (":", "a", "b"), "c")),
        ("((a))", "a"),
        ("a{3}", ("repeat", "a", 3, 3)),
        ("a{0}", ("repeat", "a", 0, None)),
        ("a{ 0 , 0 }", ("repeat", "a", 0, None)),
        ("a{1,3}", ("repeat", "a", 1, 3)),
        ("a+ b?", ("concat", ("repeat", "a", 1, None), ("repeat", "b", 0, 1))),
        ("F[]", ("F",)),
        (
            "F[a | b, 'x', byte, utf8, G[c]]",
            ("F", ("|", "a", "b"), "x", "byte", "utf8", ("G", "c")),
        ),
        ("lib.sub.F[lib.x_1]", ("lib.sub.F", "lib.x_1")),
        ("'it\\'s'", "it's"),
        ("'a\\nb'", "a\\nb"),
        ('"say \\"x\\" \\\\"', '"say "x" \\\\"'),
        ('"#"', '"#"'),
        ("a # comment ; \n b", ("concat", "a", "b")),
        ("a <-1.5>", ("weight", "a", "-1.5")),
        ("a<1>", ("weight", "a", "1")),
        ("bytes", "bytes"),
        ("_x9.y", "_x9.y"),
    ],
)
def test_trees(text: str, wanted: object) -> None:
    (rule,) = parse(f"r = {text};", "g.grm").rules
    assert shape(rule.body) == wanted


def test_string_modes() -> None:
    (rule,) = parse('r = "a" "b".byte "c".utf8 "d".table "e".lib.table "f".F[\'x\'];', "g").rules
    modes = [operand.mode for operand in rule.body.operands]
    assert modes[:3] == ["byte", "byte", "utf8"]
    assert [shape(mode) for mode in modes[3:]] == ["table", "lib.table", ("F", "x")]


def test_statements() -> None:
    text = "import 'x.grm' as x; import 'y.grm' as y;\na = b;\nexport c = d;\n" + (
        "func F[p, q] { v = p; return v q; }\nfunc G[] { return 'x'; }"
    )
    grammar = parse(text, "g.grm")
    assert [(item.path, item.alias) for item in grammar.imports] == [("x.grm", "x"), ("y.grm", "y")]
    assert [(rule.name, rule.export, rule.pos.line) for rule in grammar.rules] == [
        ("a", False, 2),
        ("c", True, 3),
    ]
    first, second = grammar.functions
    assert [name for name, _ in first.parameters] == ["p", "q"] and second.parameters == ()
    assert [type(statement) for statement in first.body] == [s.Rule, s.Return]
    assert parse("", "g").rules == parse("# only this", "g").rules == ()
    assert parse("a = b;\r\n", "g").rules


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ('a = "x"\nb = "y";', "2:3", "expected"),
        ("a = ;", "1:5", "got ;"),
        ('a = "x" <1> | "y";', "1:13", "got |"),
        ('a = "x" : "y" : "z";', "1:15", "got :"),
        ('a = "x" <1> <2>;', "1:13", "got <2>"),
        ('a = "x"**;', "1:9", "got *"),
        ('a = "x;\n', "1:5", 'this "…" text is never closed'),
        ("a = 'x;\n", "1:5", "this '…' text is never closed"),
        ('a = "x" <1;', "1:9", "this <weight> is never closed"),
        ('a = "x" $ "y";', "1:9", "unexpected character $"),
        ('a = "x" \x01;', "1:9", "unexpected character U+0001"),
        ('a = ("x";', "1:9", "expected"),
        ("a = F[x;", "1:8", "expected"),
        ('a = "x"', "1:8", "the file ends here"),
        ("func F[x] { return x;", "1:22", "the file ends here"),
        ('a = "x"{3,1};', "1:9", "the bounds {3,1} are reversed"),
        ('a = "x"{1234567890};', "1:9", "the count 1234567890… is too large"),
        ('a = "x"{-1};', "1:9", "expected a number"),
        ('a = "x"{1,};', "1:11", "expected a number"),
        ("a = b;\nimport 'x' as y;", "2:1", "the keyword import"),
        ("return x;", "1:1", "'return' stands outside a function"),
        ('func F[x] { export y = "z"; return y; }', "1:20", "exported inside a function"),
        ("func F[a.b] { return a; }", "1:8", "a.b can't be defined"),
        ('a.b = "x";', "1:1", "a.b can't be defined"),
        ('_ = "x";', "1:1", "_ is no name"),
        ("a = b..c;", "1:5", "b..c is no name"),
        ('export = "x";', "1:8", "got ="),
        ('byte = "x";', "1:1", "the keyword byte"),
        ('a = "x".;', "1:9", "got ;"),
        ("func F[x] { return x; };", "1:24", "got ;"),
        ("func F[x] { func G[y] { return y; } }", "1:13", "the keyword func"),
        ("import 'x.grm';", "1:15", "expected 'as'"),
        ('import "x.grm" as x;', "1:8", "expected a 'quoted' text"),
    ],
)
def test_errors_point_at_the_place(text: str, where: str, message: str) -> None:
    with pytest.raises(GrammarError) as caught:
        parse(text, "g.grm")
    shown = str(caught.value)
    assert shown.startswith(f"g.grm:{where}: ") and message in shown
    line, column = (int(part) for part in where.split(":"))
    excerpt, caret = shown.split("\n")[1:3]
    assert excerpt.strip() == text.split("\n")[line - 1].replace("\x01", "\\x01").strip()
    assert caret.index("^") == 4 + column - 1


def test_hints() -> None:
    for text, hint in (
        ('a = "x"\nexport b = "y";', "may lack its ';'"),
        ('a = "x" <1> | "y";', "put (…) around the part it weights"),
        ('a = "x" : "y" : "z";', "':' does not associate"),
        ("a = b; import 'x' as y;", "imports come before"),
        ('a = "x"*+;', "one repetition"),
    ):
        with pytest.raises(GrammarError) as caught:
            parse(text, "g.grm")
        assert hint in caught.value.hint


def test_the_caret_stands_right_after_tabs_and_in_long_lines() -> None:
    with pytest.raises(GrammarError) as caught:
        parse('\ta = "x" $;', "g.grm")
    excerpt, caret = str(caught.value).split("\n")[1:3]
    assert caret == "    \t" + " " * 8 + "^" and excerpt == '    \ta = "x" $;'
    long = "a = " + " | ".join(["b"] * 200) + " $ | " + " | ".join(["c"] * 200) + ";"
    with pytest.raises(GrammarError) as caught:
        parse(long, "g.grm")
    excerpt, caret = str(caught.value).split("\n")[1:3]
    assert excerpt[caret.index("^")] == "$" and len(excerpt) <= 104


def test_deep_nesting_is_an_error_or_works(tmp_path: Path) -> None:
    brackets = "(" * 5000 + '"a"' + ")" * 5000
    assert shape(parse(f"r = {brackets};", "g.grm").rules[0].body) == '"a"'
    deep = '("b" ' * 5000 + '"a"' + ")" * 5000
    with pytest.raises(GrammarError) as caught:
        parse(f"r = {deep};", "g.grm")
    assert "nested too deeply" in str(caught.value)
    shallow = '("b" ' * 50 + '"a"' + ")" * 50
    module = compile_text(f"export r = {shallow};", tmp_path)
    assert translate(module.rule("r"), "b" * 50 + "a") == {"b" * 50 + "a"}


def test_long_chains(tmp_path: Path) -> None:
    union = " | ".join(f'"{i}"' for i in range(5000))
    module = compile_text(f"export r = Optimize[{union}];", tmp_path)
    assert translate(module.rule("r"), "4999") == {"4999"}
    rules = 'a0 = "a";\n' + "".join(f"a{i} = a{i - 1};\n" for i in range(1, 1500))
    module = compile_text(rules + "export r = a1499;", tmp_path, rule="r")
    assert translate(module.rule("r"), "a") == {"a"}


@given(text=st.text(max_size=60))
def test_any_text_parses_or_is_a_grammar_error(text: str) -> None:
    try:
        parse(text, "g.grm")
    except GrammarError as error:
        assert str(error).startswith("g.grm:")


TOKENS = ["import", "as", "export", "func", "return", "byte", "utf8", "a", "b.c", "'x'", '"y"', "="]
TOKENS += [";", "[", "]", "{", "}", "(", ")", ",", ".", "|", ":", "@", "-", "*", "?", "1", "<2>"]


@given(tokens=st.lists(st.sampled_from(TOKENS), max_size=25))
def test_any_tokens_parse_or_are_a_grammar_error(tokens: list[str]) -> None:
    try:
        parse(" ".join(tokens), "g.grm")
    except GrammarError as error:
        assert str(error).startswith("g.grm:")


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("export r = x;", "1:12", "x isn't defined"),
        ('export r = x; x = "a";', "1:12", "x is used before its definition on line 1"),
        ("export r = r;", "1:12", "r is used before its definition"),
        ('a = "x"; a = "y";', "1:10", "a is defined a second time (first on line 1)"),
        ("export r = F[];", "1:12", "there is no function F"),
        ('export r = Optimise["a"];', "1:12", "there is no function Optimise"),
        ("export r = Optimize;", "1:12", "Optimize is a function"),
        ("export r = Optimize[];", "1:12", "Optimize takes 1 argument, got 0"),
        ("export r = Optimize['a'];", "1:12", "expected an FST, got the text 'a'"),
        ("export r = Project[\"a\", 'left'];", "1:12", "argument 2 is 'left'"),
        ("export r = 'text';", "1:8", "only FSTs can be exported"),
        ('export r = "a" <x>;', "1:16", "<x> is no weight"),
        ('export r = "a" "[b";', "1:16", "a '[' is never closed"),
        ('export r = "a]";', "1:12", "']' without a '['"),
        ('export r = "[[a]]";', "1:12", "'[' inside a bracketed symbol"),
        ('export r = "[]";', "1:12", "an empty symbol []"),
        ('export r = "[-5]";', "1:12", "the label [-5] is out of range"),
        ('export r = "[99999999999]";', "1:12", "is out of range"),
        ('export r = "\\\\\\";', "1:12", "this"),
        ('export r = "a".x;', "1:16", "x isn't defined"),
        ('x = "b"; export r = "a".x;', "1:21", "must be byte, utf8 or a symbol table"),
        ("export r = b.X;", "1:12", "g.grm imports nothing as b"),
        ("export r = b.F[];", "1:12", "g.grm imports nothing as b"),
        ("export r = \"a\" : 'b';", "1:12", "operand 2 of ':': expected an FST"),
        ('export r = ("a" : "b") - "a";', "1:13", "left side of a difference must be an acceptor"),
        ('export r = "a" - ("a" : "b");', "1:12", "right side of a difference"),
        ('export r = "a" - ("a" <1>);', "1:12", "it has weights"),
        ("export r = StringFile['no.txt'];", "1:12", "'no.txt' wasn't found; looked for\n"),
        ("import 'no.grm' as n;", "1:1", "'no.grm' wasn't found; looked for\n"),
        ("import 'g.grm' as n;", "1:1", "this import goes in a circle: "),
        ("export r = LoadFst['g.grm'];", "1:12", "expected an OpenFst FST"),
        ("export r = LoadFstFromFar['g.grm', 'x'];", "1:12", "expected an FST archive"),
        ('func F[x] { y = x; } export r = F["a"];', "1:6", "the function F returns nothing"),
        ("func F[x] { return x; } export r = F[];", "1:36", "F takes 1 argument(s), got 0"),
        ('func F[x] { x = "a"; return x; } export r = F["a"];', "1:13", "x already has a value"),
        ('a = "b"; func F[] { return a; } export r = F[];', "1:28", "a is a rule of the file"),
        ("func F[x] { return F[x]; } export r = F['a'];", "1:20", "function calls inside one"),
        ("func F[x] { return y; } export r = F['a'];", "1:20", "y isn't defined in this function"),
        ('x = AssertEqual["a", "b"];', "1:5", 'AssertEqual failed: expected "b", got "a"'),
        ('x = AssertEqual["a" @ "b", "b"];', "1:5", 'expected "b", got no string'),
        ('x = AssertEmpty["a"];', "1:5", 'AssertEmpty failed: expected "", got "a"'),
        ('x = AssertNull["a"];', "1:5", 'AssertNull failed: expected no string, got "a"'),
        ("x = Feature['a'];", "1:5", "Feature takes a name and at least one value"),
        ('x = Category["a"];', "1:5", "expected what Feature or Category gives"),
        (
            "c = Feature['a', 'b']; x = FeatureVector[c, 'a=c'];",
            "1:28",
            "no value of this category",
        ),
        ('x = Replace["[A1]", "a", "b"];', "1:5", "Replace: 1 labels for 2 FSTs"),
        ('x = PdtCompose["a", "b", "c"];', "1:5", "occurs in two pairs"),
        ('x = Closure["a"];', "1:5", "can't be called by name"),
        ('x = Minimize["a", "b"];', "1:5", "takes 1 argument, got 2"),
    ],
)
def test_meaning_errors_point_at_the_place(
    text: str, where: str, message: str, tmp_path: Path
) -> None:
    error = error_of(text, tmp_path)
    assert error.startswith(f"g.grm:{where}: ") or (tmp_path / "g.grm").as_posix() in error
    assert message in error and f":{where}: " in error


def test_errors_in_other_files_and_functions_name_the_way(tmp_path: Path) -> None:
    files = {
        "lib/a.grm": 'x = "a";\nexport Y = x;\n'
        "func F[x] {\n  return x @\n    Project[x, 'up'];\n}\n",
        "lib/bad.grm": 'export B = "a" : ;',
    }
    error = error_of("import 'lib/a.grm' as a;\nexport r =\n  a.F[\"q\"];", tmp_path, files=files)
    assert "a.grm:5:5: rule r: Project: argument 2 is 'up'" in error
    assert "in a.F[…], called at g.grm:3:3" in error
    error = error_of("import 'lib/a.grm' as a; export r = a.x;", tmp_path, files=files)
    assert "a.grm doesn't export x" in error and "write `export x = …;` there" in error
    error = error_of("import 'lib/a.grm' as a; export r = a.Z;", tmp_path, files=files)
    assert "a.grm has no rule Z" in error and "it exports Y" in error
    error = error_of("import 'lib/a.grm' as a; export r = a.G[];", tmp_path, files=files)
    assert "a.grm has no function G" in error
    error = error_of("import 'lib/bad.grm' as b;", tmp_path, files=files)
    assert "bad.grm:1:18: expected" in error
    error = error_of("import 'lib/a.grm' as a; import 'lib/a.grm' as a;", tmp_path, files=files)
    assert "two imports are called a" in error


def test_a_second_function_of_a_name_is_left_out(tmp_path: Path) -> None:
    text = 'func F[] { return "a"; } func F[] { return "b"; } export r = F[];'
    module = compile_text(text, tmp_path)
    assert translate(module.rule("r"), "a") == {"a"}
    assert module.warnings == ["g.grm:1:31: a second function F; the first one counts"]


def test_a_function_may_replace_a_built_in_one(tmp_path: Path) -> None:
    module = compile_text('func Optimize[x] { return x "!"; } export r = Optimize["a"];', tmp_path)
    assert translate(module.rule("r"), "a!") == {"a!"}
