"""The language: every operator and function with expected strings, and two oracles.

The oracles are sets of strings computed without any FST, and pynini called directly.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pynini
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmfst.grammar import CompiledModule
from lmfst.ground.errors import BudgetError
from tests.support import grammars as helpers
from tests.support.grammars import DATA, apply, byte_labels, compile_here, translate, value

EXAMPLES = ["operators", "imports", "builtins", "rewrite", "files", "morphology"]


@pytest.fixture(scope="module")
def modules() -> dict[str, CompiledModule]:
    names = [*EXAMPLES, "strings", "pushdown"]
    return {name: compile_here(DATA / f"{name}.grm") for name in names}


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples(name: str, modules: dict[str, CompiledModule]) -> None:
    rows = helpers.cases(DATA / f"{name}.tsv")
    wrong = [
        (rule, text, found, wanted)
        for rule, text, wanted in rows
        if (found := translate(modules[name].rule(rule), text)) != wanted
    ]
    assert not wrong and len(rows) > 5


def test_every_export_has_an_example(modules: dict[str, CompiledModule]) -> None:
    tested_below = {
        *("UTF8", "UTF8_BYTE", "TO_TABLE", "FROM_TABLE", "TABLE_STRING", "TABLE_OF_FUNCTION"),
        *("MIXED_SIDES", "STRING_FST_UTF8", "LTR", "RTL", "NOM", "GEN_PL"),
    }
    for name in EXAMPLES:
        rules = {rule for rule, _, _ in helpers.cases(DATA / f"{name}.tsv")}
        assert set(modules[name].exports) - rules <= tested_below


@pytest.mark.parametrize(
    ("rule", "labels"),
    [
        ("PLAIN", [97, 98, 99]),
        ("BYTES", [97, 98, 99]),
        ("POINTS", [97, 0xE9, 0x20AC]),
        ("EMPTY", []),
        ("LINES", [97, 10, 98]),
        ("ESCAPES", [10, 13, 9, 91, 93, 92, 34]),
        ("HASH", list(b"a#b'c")),
        ("NUMBERS", [97, 98, 99]),
        ("SEVERAL", [97, 98, "one"]),
        ("SINGLE", [120]),
        ("ACCENT", [0xE9]),
        ("SYMBOL", [97, "noun", 98, "noun"]),
        ("OTHER", ["verb", "noun"]),
        ("ODD", ["</S>", "a=b", "8/9"]),
        ("EPSILON", [97, 98]),
        ("NUL", [97, 256, 98]),
        ("NOT_TEXT", [0xFF, 0xC0]),
        ("UNICODE_NUMBER", [0x20AC]),
    ],
)
def test_string_labels(
    rule: str, labels: list[int | str], modules: dict[str, CompiledModule]
) -> None:
    compiled = modules["strings"].rule(rule)
    assert path_labels(compiled.openfst, compiled.labels) == labels


def path_labels(fst: pynini.Fst, names: dict[int, str]) -> list[int | str]:
    """The labels of a string FST, symbols by name."""
    found: list[int | str] = []
    state = fst.start()
    while fst.num_arcs(state):
        (arc,) = fst.arcs(state)
        assert arc.ilabel == arc.olabel
        found.append(names.get(arc.ilabel, arc.ilabel))
        state = arc.nextstate
    return found


def test_string_file_modes(modules: dict[str, CompiledModule]) -> None:
    rules = modules["files"]
    assert translate(rules.rule("UTF8"), "ü", utf8=True) == {"ö"}
    both = rules.rule("UTF8_BYTE").openfst
    assert apply(both, [ord("ü")]) == {tuple("ö".encode())}
    assert apply(rules.rule("TO_TABLE").openfst, list(b"act")) == {(2, 1, 3)}
    assert apply(rules.rule("FROM_TABLE").openfst, [1, 2]) == {(1, 2)}
    assert apply(rules.rule("FROM_TABLE").openfst, [1]) == set()
    assert apply(rules.rule("TABLE_STRING").openfst, [1, 2, 3]) == {(1, 2, 3)}
    assert apply(rules.rule("TABLE_OF_FUNCTION").openfst, [3]) == {(3,)}
    mixed = rules.rule("MIXED_SIDES").openfst
    assert apply(mixed, list(b"at")) == {(2, 3)}
    assert mixed.output_symbols().find(2) == "ae"
    assert mixed.input_symbols().find("a") == 97
    assert path_labels(modules["builtins"].rule("STRING_FST_UTF8").openfst, {}) == [0xE9]


def test_directions_of_overlapping_rewrites(tmp_path: Path) -> None:
    # aba: from the left the first `ab` goes, from the right the second `ba`'s neighbour does.
    sigma = '("a" | "b" | "x")*'
    for direction, wanted in (("ltr", {"xa"}), ("rtl", {"ax"}), ("sim", {"xa", "ax"})):
        rule = f"""CDRewrite[("ab" | "ba") : "x", "", "", {sigma}, '{direction}', 'obl']"""
        fst = value(rule, tmp_path)
        found = {bytes(out).decode() for out in apply(fst, list(b"aba"))}
        assert found <= wanted and found


def test_weights(modules: dict[str, CompiledModule], tmp_path: Path) -> None:
    rules = modules["operators"]
    assert weights(rules.rule("WEIGHTED").openfst, "a") == {"b": 2.0, "c": 2.0, "d": 1.0}
    assert weights(rules.rule("GROUPED").openfst, "a") == {"a": 1.0}
    assert weights(rules.rule("NEGATIVE").openfst, "a") == {"a": -1.5}
    assert weights(value('"a" < 2 >', tmp_path), "a") == {"a": 2.0}
    assert weights(modules["builtins"].rule("RMWEIGHT").openfst, "a") == {"b": 0.0, "c": 0.0}
    assert weights(value('("" <1>)*', tmp_path), "") == {"": 0.0}


def weights(fst: pynini.Fst, text: str) -> dict[str, float]:
    lattice = pynini.compose(pynini.accep(pynini.escape(text)), fst.copy().arcsort("ilabel"))
    found: dict[str, float] = {}
    for _, output, weight in lattice.project("output").rmepsilon().paths().items():
        found[output] = min(float(weight), found.get(output, float("inf")))
    return found


def test_feature_vectors(modules: dict[str, CompiledModule]) -> None:
    rules = modules["morphology"]
    names = rules.rule("NOM").labels
    paths = {
        "".join(names[label] for label in labels)
        for labels in acceptor_strings(rules.rule("NOM").openfst)
    }
    assert paths == {"case=nomnum=sg", "case=nomnum=pl"}
    assert len(acceptor_strings(rules.rule("GEN_PL").openfst)) == 1


def acceptor_strings(fst: pynini.Fst) -> set[tuple[int, ...]]:
    """All strings of an acyclic acceptor."""
    zero = pynini.Weight.zero("tropical")

    def walk(state: int) -> set[tuple[int, ...]]:
        found = {()} if fst.final(state) != zero else set()
        for arc in fst.arcs(state):
            head = (arc.ilabel,) if arc.ilabel else ()
            found |= {head + tail for tail in walk(arc.nextstate)}
        return found

    return walk(fst.start()) if fst.start() != -1 else set()


def test_pushdown(modules: dict[str, CompiledModule]) -> None:
    rules = modules["pushdown"]
    names = {name: label for label, name in rules.rule("PARENS").labels.items()}
    parens = pynini.PdtParentheses()
    parens.add_pair(names["<S>"], names["</S>"])
    for rule in ("LEFT", "RIGHT", "DEFAULT"):
        for text, inside in (("aabb", True), ("ab", True), ("aab", False), ("abab", False)):
            given_text = text.replace("a", "A") if rule == "RIGHT" else text
            lattice = pynini.compose(
                pynini.accep(given_text), strip_input(rules.rule(rule).openfst, parens, names)
            )
            assert (lattice.start() != -1) == inside, (rule, text)


def strip_input(
    fst: pynini.Fst, parens: pynini.PdtParentheses, names: dict[str, int]
) -> pynini.Fst:
    """The FST that a pushdown FST of bounded depth stands for."""
    short = pynini.closure(pynini.union("a", "b", "A"), 0, 4)
    bounded = pynini.pdt_compose(short, fst.copy().arcsort("ilabel"), parens, left_pdt=False)
    return pynini.pdt_expand(bounded, parens).arcsort("ilabel")


def test_two_stacks_copy(modules: dict[str, CompiledModule]) -> None:
    rule = modules["pushdown"].rule("COPY")
    outputs = {
        bytes(label for label in labels if label < 256)
        for labels in outputs_of(rule.openfst, 14)
        if balanced([rule.labels[label] for label in labels if label in rule.labels])
    }
    assert outputs == {b"abcab"}


def outputs_of(fst: pynini.Fst, longest: int) -> set[tuple[int, ...]]:
    zero = pynini.Weight.zero("tropical")
    found: set[tuple[int, ...]] = set()
    level = {(fst.start(), ())}
    for _ in range(longest + 6):
        found |= {out for state, out in level if fst.final(state) != zero}
        level = {
            (arc.nextstate, (*out, arc.olabel) if arc.olabel else out)
            for state, out in level
            for arc in fst.arcs(state)
        }
    return found


def balanced(names: list[str]) -> bool:
    """Whether names such as a(1, a)1 nest on each of the two stacks."""
    stacks: dict[str, list[str]] = {"1": [], "2": []}
    for symbol, side, stack in names:
        if side == "(":
            stacks[stack].append(symbol)
        elif not stacks[stack] or stacks[stack].pop() != symbol:
            return False
    return not any(stacks.values())


def test_compositions_inside_optimize_are_optimised(tmp_path: Path) -> None:
    # Without that, each step multiplies the states, as the parts are full of epsilons.
    text = """
        d = ("a" | "a" | "b")*;
        cascade = "a"{4} @ d @ d @ d @ d @ d;
        export r = Optimize[Invert["a"{4} @ d @ d @ d @ d @ d]];
    """
    with pytest.raises(BudgetError, match="rule cascade: the FST has"):
        helpers.compile_text(text, tmp_path, max_states=500)
    module = helpers.compile_text(text, tmp_path, max_states=500, rule="r")
    assert module.rule("r").openfst.num_states() == 5


# Oracle 1: acceptors as sets of strings up to a length. Expressions are written with as few
# brackets as the precedence allows, so the parser is tested too.

LONGEST = 4
Tree = tuple  # ("leaf", text) or (operator, Tree, …)

LEVEL = {"|": 1, "-": 3, "concat": 4, "*": 5, "+": 5, "?": 5, "{1,2}": 5, "leaf": 6}


def trees() -> st.SearchStrategy[Tree]:
    leaves = st.sampled_from(["", "a", "b", "ab", "ba"]).map(lambda text: ("leaf", text))
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.tuples(st.sampled_from(["|", "-", "concat"]), inner, inner),
            st.tuples(st.sampled_from(["*", "+", "?", "{1,2}"]), inner),
        ),
        max_leaves=7,
    )


def written(tree: Tree) -> str:
    kind = tree[0]
    if kind == "leaf":
        return f'"{tree[1]}"'
    if kind in ("|", "concat"):
        sign = " " if kind == "concat" else " | "
        return sign.join(bracketed(part, LEVEL[kind]) for part in tree[1:])
    if kind == "-":
        return f"{bracketed(tree[1], 3)} - {bracketed(tree[2], 4)}"
    return bracketed(tree[1], 6) + kind


def bracketed(tree: Tree, level: int) -> str:
    return written(tree) if LEVEL[tree[0]] >= level else f"({written(tree)})"


def language(tree: Tree) -> set[str]:
    kind = tree[0]
    if kind == "leaf":
        return {tree[1]}
    parts = [language(part) for part in tree[1:]]
    if kind == "|":
        return parts[0] | parts[1]
    if kind == "-":
        return parts[0] - parts[1]
    if kind == "concat":
        return joined(parts[0], parts[1])
    lower, upper = {"*": (0, LONGEST + 1), "+": (1, LONGEST + 1), "?": (0, 1), "{1,2}": (1, 2)}[
        kind
    ]
    result: set[str] = set()
    power = {""}
    for count in range(upper + 1):
        result |= power if count >= lower else set()
        power = joined(power, parts[0])
    return result


def joined(left: set[str], right: set[str]) -> set[str]:
    return {a + b for a in left for b in right if len(a + b) <= LONGEST}


STRINGS = ["".join(text) for n in range(LONGEST + 1) for text in itertools.product("ab", repeat=n)]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(tree=trees())
def test_acceptors_equal_sets_of_strings(tree: Tree, tmp_path: Path) -> None:
    fst = value(written(tree), tmp_path)
    accepted = {text for text in STRINGS if apply(fst, byte_labels(text.encode()))}
    assert accepted == language(tree)


# Oracle 2: the same operations through pynini's own interface.

A, B, C = (pynini.accep(text) for text in "abc")
AB = pynini.cross("a", "b")
MAP = pynini.union(pynini.cross("a", "bc"), pynini.cross("b", ""), pynini.cross("ab", "c"))
SORTED_MAP = MAP.copy().arcsort("ilabel")
SIGMA = pynini.union("a", "b", "c").closure()
PREFIX = """
ab = "a" : "b";
map = ("a" : "bc") | ("b" : "") | ("ab" : "c");
sigma = ("a" | "b" | "c")*;
export r = """


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("map*", MAP.copy().closure()),
        ("map{2,3}", pynini.closure(MAP, 2, 3)),
        ("map @ ab*", pynini.compose(MAP, AB.copy().closure().arcsort("ilabel"))),
        ("map map : ab", pynini.cross(MAP + MAP, AB)),
        ("Optimize[map+ | ab]", pynini.union(MAP.copy().closure(1), AB).optimize()),
        ("Invert[map]{1,2}", pynini.closure(pynini.invert(MAP), 1, 2)),
        ("Reverse[map ab]", pynini.reverse(MAP + AB)),
        ("Project[map, 'input'] - \"b\"", pynini.project(MAP, "input") - B),
        ("Determinize[RmEpsilon[map]]", pynini.determinize(pynini.rmepsilon(MAP))),
        ("CDRewrite[map, \"b\", \"c\" | \"[EOS]\", sigma]",
         pynini.cdrewrite(MAP, "b", pynini.union("c", "[EOS]"), SIGMA)),
        ("CDRewrite[map, \"\", \"a\", sigma, 'rtl', 'opt']",
         pynini.cdrewrite(MAP, "", "a", SIGMA, "rtl", "opt")),
        ("LenientlyCompose[\"a\" | \"ca\", map, sigma]",
         pynini.leniently_compose(pynini.union("ca", "a").arcsort(), SORTED_MAP, SIGMA)),
        ("Replace[\"[R][X]\", \"a[X]\" \"[X]\", map]",
         pynini.concat(pynini.accep("a"), pynini.concat(MAP, MAP))),
        ("(\"a\" | \"b\") - \"b\" | \"q\"", pynini.union("a", "q")),
    ],
)  # fmt: skip
def test_equal_to_pynini(text: str, wanted: pynini.Fst, tmp_path: Path) -> None:
    found = helpers.compile_text(PREFIX + text + ";", tmp_path).rule("r").openfst
    inputs = ["".join(chars) for n in range(5) for chars in itertools.product("abcq", repeat=n)]
    same = [apply(found, list(x.encode())) == apply(wanted, list(x.encode())) for x in inputs]
    assert all(same)
    assert any(apply(wanted, list(x.encode())) for x in inputs)
