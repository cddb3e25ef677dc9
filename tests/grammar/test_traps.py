"""What goes wrong in silence with Thrax or pynini, and has to be seen or said here."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pynini
import pytest

from lmfst.grammar import CompiledRule, compile_file, to_fst
from lmfst.ground.errors import BudgetError, GrammarError, UsageError
from lmfst.target.load import shipped_grammars
from tests.support.grammars import apply, byte_labels, compile_text, error_of, translate, value
from tests.support.paths import REPOSITORY


@pytest.mark.parametrize("text", [r"it\'s\q", r"\#a", r"\b\t\\\[", r"\é"])
def test_unknown_escapes_keep_the_backslash_and_warn(text: str, tmp_path: Path) -> None:
    """As pynini's own string compiler, whose reading is that of Thrax 1.3."""
    module = compile_text(f'export r = "{text}";', tmp_path)
    theirs = pynini.accep(text)
    assert pynini.equivalent(module.rule("r").openfst, theirs)
    unknown = [char for char in ("'", "q", "#", "b", "é") if f"\\{char}" in text]
    assert [w.split("rule r: ")[1][:16] for w in module.warnings] == [
        f"\\{char} is no escape " for char in unknown
    ]
    assert module.warnings[0].startswith("g.grm:1:12: ")


def test_unknown_escapes_in_names_of_symbols_keep_the_backslash(tmp_path: Path) -> None:
    rule = compile_text(r'export r = "[x\q]" : "[\y]";', tmp_path).rule("r")
    assert set(rule.labels.values()) == {r"x\q", r"\y"}


def test_unknown_escapes_in_string_files(tmp_path: Path) -> None:
    """pynini's reading, and the line in the warning, once for each escape."""
    rows = 'a\t\\q\n\\q\tb\n\\#\tc\n\\"x\td\ne\\\tf\n'
    module = compile_text("export r = StringFile['f.tsv'];", tmp_path, {"f.tsv": rows})
    theirs = pynini.string_file(str(tmp_path / "f.tsv"))
    for fst in (ours := module.rule("r").openfst.copy(), theirs):
        fst.rmepsilon().arcsort("ilabel")
    for text in ("a", r"\q", "#", r"\"x", "e\\", "q"):
        found = apply(ours, list(text.encode()))
        assert found == apply(theirs, list(text.encode())) and bool(found) == (text != "q")
    assert [w.split("f.tsv:")[1][:16] for w in module.warnings] == [
        "1: \\q is no esca",
        '4: \\" is no esca',
        "5: a backslash a",
    ]


def test_unknown_escapes_in_quoted_texts(tmp_path: Path) -> None:
    module = compile_text(r"""export r = StringFst['\"\q'];""", tmp_path)
    assert translate(module.rule("r"), r"\"\q") == {r"\"\q"}
    assert len(module.warnings) == 2


BOM = "\ufeff"


@pytest.mark.parametrize(
    ("ends", "said"),
    [(("\r", ""), "end in CR alone"), (("\n", BOM), "byte-order mark"), (("\r\n", ""), "")],
)
def test_line_ends_and_marks_of_editors(ends: tuple[str, str], said: str, tmp_path: Path) -> None:
    end, mark = ends
    files = {
        "lib.grm": "# A library.\nexport b = 'f.tsv';\nexport d = \"z\";\n",
        "f.tsv": "a\tb\nc\td\n",
        "t.syms": "<eps> 0\nae 1\n",
    }
    text = (
        "# All of it.\nimport 'lib.grm' as l;\ns = SymbolTable['t.syms'];\n"
        'export r = StringFile[l.b] l.d;\nexport t = "ae".s;\n'
    )
    written = {name: mark + content.replace("\n", end) for name, content in files.items()}
    module = compile_text(mark + text.replace("\n", end), tmp_path, written)
    assert translate(module.rule("r"), "az") == {"bz"}
    assert apply(module.rule("t").openfst, [1]) == {(1,)}
    assert sorted(
        next(name for name in ("g.grm", *files) if f"{name}: " in warning and said in warning)
        for warning in module.warnings
    ) == (sorted(["g.grm", *files]) if said else [])


def test_errors_in_a_grammar_with_cr_line_ends_name_the_line(tmp_path: Path) -> None:
    assert error_of("# A.\rexport r = x;\r", tmp_path).startswith("g.grm:2:12: rule r: x isn't")


def test_utf16_is_named(tmp_path: Path) -> None:
    text = 'export r = "a";'
    assert "byte-order mark of UTF-16" in error_of(text.encode("utf-16"), tmp_path)
    files = {"f": "a".encode("utf-16")}
    error = error_of("export r = StringFile['f'];", tmp_path, files=files)
    assert "f: expected UTF-8 text, found the byte-order mark of UTF-16" in error


@pytest.mark.parametrize(
    ("content", "pairs", "warned"),
    [
        ("a\tb\n", {"a": {"b"}}, ""),
        ("a\n", {"a": {"a"}}, ""),
        ("a\t\n\tb\n", {"a": {""}, "": {"b"}}, ""),
        ("a\tb # c\n# all\n\n  \n", {"a": {"b"}, "  ": {"  "}}, ""),
        ("\\#1\tx\\#\n", {"#1": {"x#"}}, ""),
        ("a\t#b\n", {"a": {"a"}}, ""),
        ("a\tb\r\nc\r\n", {"a": {"b"}, "c": {"c"}}, ""),
        ("\\[a\\]\t[0x62]\n", {"[a]": {"b"}}, ""),
        ("\\\\\t\\n\\t\n", {"\\": {"\n\t"}}, ""),
        ("a\tb\t0.5\na\tc\t-1\n", {"a": {"b", "c"}}, ""),
        ("é\tü\n", {"é": {"ü"}}, ""),
        ("a\t[\nb\tx]\n", {"a": {"["}, "b": {"x]"}}, "brackets don't match in `[`"),
        ("a\t\tb\nc\t\n", {"a": {"b"}, "c": {"c"}}, "1: an empty column"),
        ("a\tb\tc\nd\te\n", {"a": set(), "d": {"e"}}, "1: skipped"),
        ("a\tb\t1\tc\nd\te\n", {"a": set(), "d": {"e"}}, "1: skipped"),
        ("", {"": set()}, ""),
    ],
)
def test_string_files(
    content: str, pairs: dict[str, set[str]], warned: str, tmp_path: Path
) -> None:
    module = compile_text("export r = StringFile['f.tsv'];", tmp_path, {"f.tsv": content})
    assert {text: translate(module.rule("r"), text) for text in pairs} == pairs
    assert len(module.warnings) == bool(warned) + (content.count("]") > 0 and "x]" in content)
    assert all(warned in message for message in module.warnings[:1])


def test_string_file_errors_name_the_line(tmp_path: Path) -> None:
    files = {
        "f.tsv": "a\nb\0\n",
        "t.syms": "<eps> 0\na 1\n",
        "u.tsv": "a\na  a\n",
        "v.tsv": b"\xff",
    }
    grammar = "export r = StringFile['f.tsv'];"
    assert "f.tsv:2: a NUL character" in error_of(grammar, tmp_path, files=files)
    grammar = "s = SymbolTable['t.syms']; export r = StringFile['u.tsv', s];"
    assert "u.tsv:2: '' isn't in the symbol table" in error_of(grammar, tmp_path, files=files)
    grammar = "export r = StringFile['v.tsv', utf8];"
    assert "no UTF-8: \\xff" in error_of(grammar, tmp_path, files=files)


def test_unknown_modes_are_bytes(tmp_path: Path) -> None:
    grammar = "export r = StringFile['f', 'utf-8', \"x\"];"
    assert "argument 3 must be byte, utf8" in error_of(grammar, tmp_path, files={"f": "é"})
    module = compile_text("export r = StringFile['f', 'utf-8'];", tmp_path, {"f": "é"})
    assert translate(module.rule("r"), "é") == {"é"}
    assert "the mode 'utf-8' is none" in module.warnings[0]


def test_bytes_that_are_no_utf8(tmp_path: Path) -> None:
    module = compile_text(b'export r = "a\xff\xc3" : "\xe9";', tmp_path)
    assert apply(module.rule("r").openfst, list(b"a\xff\xc3")) == {(0xE9,)}
    assert ["(\\xff)" in module.warnings[0], "[0xE9]" in module.warnings[1]] == [True, True]
    assert all("is the file in another encoding" in warning for warning in module.warnings)
    module = compile_text("export r = StringFile['f'];", tmp_path, {"f": b"\xff\tb\n"})
    assert apply(module.rule("r").openfst, [0xFF]) == {(0x62,)}
    assert len(module.warnings) == 1 and "f:1: a string holds bytes" in module.warnings[0]
    error = error_of(b'export r = "\xff".utf8;', tmp_path)
    assert "no UTF-8: \\xff" in error and "g.grm:1:12" in error


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    files = {"f.tsv": b"a\t[\x9bz]\n", "t.syms": b"<eps> 0\n\xff\t1\n b 2 \n\n"}
    text = b"""
        t = SymbolTable['t.syms'];
        export r = "\xff b".t;
        export s = StringFile['f.tsv'] @ ("[\x9bz]" : "1") | ("b" : "[\x9bz]");
    """
    module = compile_text(text, tmp_path, files)
    assert apply(module.rule("r").openfst, [1, 2]) == {(1, 2)}
    assert translate(module.rule("s"), "a") == {"1"}
    assert translate(module.rule("s"), "b") == {"[\\x9bz]"}
    assert to_fst(module, "s").n_arcs > 0
    module.write_far(tmp_path / "x.far")
    module = compile_text("export s = LoadFstFromFar['x.far', 's'];", tmp_path)
    assert translate(module.rule("s"), "b") == {"[\\x9bz]"}


def test_messages_can_be_printed(tmp_path: Path) -> None:
    error = error_of(b"export r = StringFile['\xff'] \"\xff\";", tmp_path)
    assert "'\\xff' wasn't found" in error and error.encode()
    module = compile_text(b'export r = "\\\xff";', tmp_path)
    assert "no UTF-8 (\\xff)" in module.warnings[0] and module.warnings[0].encode()
    assert "\\\\xff is no escape" in module.warnings[1] and module.warnings[1].encode()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("a\n", "t.syms:1: expected `symbol TAB number`"),
        ("a 1\nb x\n", "t.syms:2: expected `symbol TAB number`"),
        ("a -1\n", "t.syms:1: expected `symbol TAB number`"),
        ("a 99999999999\n", "t.syms:1: expected `symbol TAB number`"),
        ("a b 1\n", "t.syms:1: expected `symbol TAB number`"),
        ("a 1\nb 1\n", "t.syms:2: label 1 already names a"),
    ],
)
def test_symbol_tables_that_are_none(table: str, message: str, tmp_path: Path) -> None:
    error = error_of("export r = SymbolTable['t.syms'];", tmp_path, files={"t.syms": table})
    assert message in error and error.startswith("g.grm:1:12: rule r: ")


def test_labels_above_255_are_shown_whole(tmp_path: Path) -> None:
    error = error_of('x = AssertEqual["a" : "b[SEP][300]", "c[SEP]"];', tmp_path)
    assert 'expected "c[SEP]", got "b[SEP]Ĭ"' in error  # label 300 = U+012C


def test_the_mode_of_an_assertion_only_matters_for_messages(tmp_path: Path) -> None:
    text = 'export r = AssertEqual["aé", "aé", \'UTF8\'] AssertEqual["b", "b", utf8];'
    assert translate(compile_text(text, tmp_path).rule("r"), "aéb") == {"aéb"}
    error = error_of('x = AssertEqual["a", "a", "b"];', tmp_path)
    assert "the third argument is byte, utf8 or a symbol table" in error


def test_archives_keep_all_rules(tmp_path: Path) -> None:
    names = ["zeta", "Alpha", "alpha", "_b", "Z9", "m"]
    text = "".join(f'export {name} = "{name}[SEP]";\n' for name in names)
    module = compile_text(text, tmp_path)
    module.write_far(tmp_path / "g.far")
    far = pynini.Far(str(tmp_path / "g.far"))
    found = {}
    while not far.done():
        found[far.get_key()] = far.get_fst().copy()
        far.next()
    assert set(found) == {*names, "*StringFstSymbolTable"}
    table = dict(found["*StringFstSymbolTable"].input_symbols())
    for name in names:
        assert apply(found[name], [*name.encode(), 0xF0000]) == {(*name.encode(), 0xF0000)}
        assert table[0xF0000] == "SEP"


@pytest.mark.parametrize("how", ["far", "fst"])
def test_symbols_of_other_compilations_are_relabelled(how: str, tmp_path: Path) -> None:
    first = compile_text('export r = ("a" : "[x1]") ("b" : "[y1]");', tmp_path)
    first.write_far(tmp_path / "one.far")
    first.write_fst("r", tmp_path / "one.fst")
    load = "LoadFstFromFar['one.far', 'r']" if how == "far" else "LoadFst['one.fst']"
    # Here y and z come first, so that x's old label now belongs to y.
    text = f'y = "[y1]" "[z1]"; export s = {load} @ ("[x1]" : "1") "[y1]";'
    module = compile_text(text, tmp_path)
    assert translate(module.rule("s"), "ab") == {"1[y1]"}
    assert not module.warnings


def test_unnamed_labels_of_other_compilations(tmp_path: Path) -> None:
    pynini.accep("a[983040][983999]").write(str(tmp_path / "raw.fst"))
    module = compile_text("""export r = LoadFst['raw.fst'] "[new]";""", tmp_path)
    labels = module.rule("r").labels
    assert "no symbol table names its labels 983040, 983999" in module.warnings[0]
    assert labels[983040] == "label 983040" and set(labels.values()) >= {"new", "label 983999"}
    assert len(set(labels)) == 3


def test_contexts_and_alphabet_must_be_plain_acceptors(tmp_path: Path) -> None:
    sigma = '("a" | "b")*'
    for arguments, part in (
        (f'"a" : "b", "a" <1>, "", {sigma}', "left context λ must be unweighted"),
        (f'"a" : "b", "", "a" : "b", {sigma}', "right context ρ must be an acceptor"),
        ('"a" : "b", "", "", ("a" : "b")*', "alphabet σ* must be an acceptor"),
        ('"a" : "b", "", "", ("a" <1> )*', "alphabet σ* must be unweighted"),
        (f'"a" : "b", "", "", {sigma}, \'up\'', "argument 5 is 'up'"),
        (f'"a" : "b", "", "", {sigma}, \'ltr\', \'all\'', "argument 6 is 'all'"),
        (f'"a" : "b", "", {sigma}', "takes 4 to 6 arguments, got 3"),
        (f'"a" : "b", "", \'x\', {sigma}', "ρ: expected an FST, got the text 'x'"),
    ):
        error = error_of(f"export r = CDRewrite[{arguments}];", tmp_path)
        assert part in error and "g.grm:1:12: rule r: CDRewrite" in error


def test_alphabets_that_lack_symbols_or_a_star(tmp_path: Path) -> None:
    text = 'sigma = {}; export r = CDRewrite["a" : "[SEP]", "b", "[x1]" | "[EOS]", sigma];'
    complete = '("a" | "b" | "[SEP]" | "[x1]")'
    assert compile_text(text.format(complete + "*"), tmp_path).warnings == []
    (warning,) = compile_text(text.format(complete), tmp_path).warnings
    assert "the alphabet sigma isn't closed" in warning
    assert compile_text(text.format(complete + "+"), tmp_path).warnings[0].count("isn't closed")
    warnings = compile_text(text.format('("a" | "b")*'), tmp_path).warnings
    assert [w.split("CDRewrite: ")[1].split(" has")[0] for w in warnings] == [
        "the rewrite τ",
        "the right context ρ",
    ]
    assert "[SEP]" in warnings[0] and "[x1]" in warnings[1]


def test_closed_alphabets_of_many_states_are_accepted(tmp_path: Path) -> None:
    text = 'sigma = ("é" | "ü" | "a[x]b" | "q")*; export r = CDRewrite["é" : "ü", "", "", sigma];'
    module = compile_text(text, tmp_path)
    assert module.warnings == [] and translate(module.rule("r"), "éq") == {"üq"}


def losses(rule: CompiledRule, members: list[str], text: str) -> list[str]:
    """Strings of up to three members that a rule rejects, or whose outputs are others than those of
    the same rule over an alphabet of single letters."""
    letter = dict(zip(members, "ABCDEFG", strict=False))
    back = {code: member for member, code in letter.items()}
    kinds = re.findall(r"'(\w+)'", text) or ["ltr"]
    sigma = pynini.union(*letter.values()).closure().optimize()
    single = pynini.cdrewrite(
        pynini.cross(letter[members[0]], letter[members[-1]]),
        letter[members[-1]],
        "",
        sigma,
        direction=kinds[0],
    )
    found = []
    for size in range(4):
        for word in itertools.product(members, repeat=size):
            given = [ord(letter[member]) for member in word]
            wanted = {
                "".join(back[chr(label)] for label in output) for output in apply(single, given)
            }
            if translate(rule, "".join(word)) != wanted:
                found.append("".join(word))
    return found


@pytest.mark.parametrize("direction", ["ltr", "rtl", "sim"])
@pytest.mark.parametrize(
    ("members", "begins", "ends"),
    [
        (["o", "a", "ob"], ("o", "ob"), None),
        (["t", "tʃ", "a"], ("t", "tʃ"), None),
        (["b", "a", "cb"], None, ("b", "cb")),
        (["ab", "abcab", "d"], ("ab", "abcab"), ("ab", "abcab")),
        (["é", "a", "ü"], None, None),
        (["ab", "ba", "x"], None, None),
        (["aba", "b"], None, None),
        (["a", "b", "c"], None, None),
    ],
)
def test_members_of_an_alphabet_that_begin_or_end_each_other(
    members: list[str],
    begins: tuple[str, str] | None,
    ends: tuple[str, str] | None,
    direction: str,
    tmp_path: Path,
) -> None:
    """The warning comes exactly where pynini's rule loses strings."""
    sigma = " | ".join(f'"{member}"' for member in members)
    arguments = f'"{members[0]}" : "{members[-1]}", "{members[-1]}", "", sigma, \'{direction}\''
    text = f"sigma = ({sigma})*;\nexport r = CDRewrite[{arguments}];"
    module = compile_text(text, tmp_path)
    clash = begins if direction == "rtl" else ends
    assert bool(losses(module.rule("r"), members, text)) == bool(clash)
    assert len(module.warnings) == bool(clash)
    if clash:
        verb = "begins" if direction == "rtl" else "ends"
        (warning,) = module.warnings
        assert warning.startswith("g.grm:2:12: rule r: CDRewrite: in the alphabet sigma the member")
        assert f"the member {clash[0]} {verb} the member {clash[1]}; with '{direction}'" in warning
        assert ("isn't disturbed" in warning) == ((ends if direction == "rtl" else begins) is None)


def test_an_alphabet_that_holds_its_members_one_by_one_is_fine(tmp_path: Path) -> None:
    text = 'sigma = ("a" | "b" | "ab")*; export r = CDRewrite["a" : "b", "", "", sigma, \'rtl\'];'
    assert compile_text(text, tmp_path).warnings == []


def test_symbols_of_a_cascade_that_an_alphabet_lacks(tmp_path: Path) -> None:
    text = """
        small = ("a" | "b")*;
        large = ("a" | "b" | "[SEP]")*;
        mark = CDRewrite["" : "[SEP]", "a", "b", large];
        rule = Optimize[CDRewrite["b" : "a", "", "", {}]];
        export r = {};
    """
    for how in ("mark @ rule", "Compose[mark, rule]", "mark @ (rule @ rule)", "mark @ rule @ rule"):
        module = compile_text(text.format("small", how), tmp_path)
        (warning,) = module.warnings
        assert "rule r: mark writes [SEP], which the alphabet σ* of " in warning
        assert translate(module.rule("r"), "ab") == set()
        assert compile_text(text.format("large", how), tmp_path).warnings == []
    # What only filters has no alphabet of its own.
    assert compile_text(text.format("small", "mark @ small"), tmp_path).warnings == []
    text = 's = ("a" | "b")*; export r = LenientlyCompose["a" : "[SEP]", "a" : "b", s];'
    (warning,) = compile_text(text, tmp_path).warnings
    assert "writes [SEP], which the alphabet σ* of LenientlyCompose lacks" in warning


def test_byte_and_utf8_strings_that_never_meet(tmp_path: Path) -> None:
    text = 'left = "é"; right = "é".utf8; export r = left @ right;'
    (warning,) = compile_text(text, tmp_path).warnings
    assert "rule r: this composition is empty: left gives bytes and right reads code" in warning
    text = 'left = "é".utf8; right = "é"; export r = left @ right;'
    assert (
        "left gives code points (utf8 mode) and right" in compile_text(text, tmp_path).warnings[0]
    )
    # ASCII means the same in both modes, and an empty result needn't be a mistake.
    assert compile_text('export r = "a" @ "a".utf8;', tmp_path).warnings == []
    assert compile_text('export r = "dog" @ "cat";', tmp_path).warnings == []


def test_mixed_alphabets_on_one_side(tmp_path: Path) -> None:
    (warning,) = compile_text('export r = "é" | "ü".utf8;', tmp_path).warnings[:1]
    assert "rule r: the input side mixes bytes above 127 with utf8" in warning
    files = {"t.syms": "<eps> 0\nae 1\n"}
    text = 't = SymbolTable[\'t.syms\']; export r = "a" : ("ae".t | "b");'
    (warning,) = compile_text(text, tmp_path, files).warnings
    assert "the output side mixes symbols of" in warning


def test_determinize_that_never_ends_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "g.grm"
    path.write_text(
        'ok = "a";\nbad = Determinize[RmEpsilon[(("a" <1>)* "b") | (("a" <2>)* "c")]];\n'
        "export r = bad ok;\n"
    )
    # The time is the statement's own, so other processes and the compiler's start don't matter.
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        with pytest.raises(BudgetError) as caught:
            compile_file(path, timeout=0.2, max_memory=2 << 30, cache=False)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert f"{path}:2:1: rule bad: not finished after 0.2 s of processor" in str(caught.value)
    assert "bad = Determinize" in str(caught.value)


@pytest.mark.parametrize("blocked", [False, True])
def test_the_time_limit_holds_where_its_signal_is_ignored(tmp_path: Path, blocked: bool) -> None:
    """What the compiler's process inherits of its parent doesn't count."""
    path = tmp_path / "g.grm"
    path.write_text('export r = Determinize[RmEpsilon[(("a" <1>)* "b") | (("a" <2>)* "c")]];\n')
    handler = signal.signal(signal.SIGPROF, signal.SIG_DFL if blocked else signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPROF} if blocked else set())
    try:
        with pytest.raises(BudgetError, match=r"not finished after 0\.2 s"):
            compile_file(path, timeout=0.2, max_memory=1 << 30, cache=False)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGPROF, handler)


@pytest.mark.skipif(sys.platform != "linux", reason="a process ends with its parent on Linux only")
def test_the_compiler_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "g.grm"
    path.write_text('export r = "a";')
    begun = tmp_path / "begun"
    wait = f"open({str(begun)!r}, 'w').close() or time.sleep(100)"
    start = "import time, lmfst.grammar.worker as w\n"
    start += f"w.compile_job = lambda *job: {wait}\nw.main()"
    code = (
        "import sys; from lmfst.grammar import compile_file, runner; runner._START = sys.argv[2]; "
    )
    code += "compile_file(sys.argv[1], timeout=0, cache=False)"
    root = str(REPOSITORY)
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(path), start], env={**os.environ, "PYTHONPATH": root}
    )
    compiler = None
    try:
        _wait(begun.exists)
        (compiler,) = psutil.Process(parent.pid).children()
        parent.kill()
        parent.wait()
        _wait(lambda: not _runs(compiler))
    finally:
        parent.kill()
        if compiler is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                compiler.kill()


def _wait(for_what: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not for_what():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


def _runs(process: psutil.Process) -> bool:
    """Whether a process is there and more than an entry that nobody has asked about."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_start_of_the_compiler_is_not_counted(tmp_path: Path) -> None:
    path = tmp_path / "g.grm"
    path.write_text('export r = "a";')
    assert compile_file(path, timeout=0.1, cache=False).exports == ["r"]
    for timeout in (-1.0, math.nan):
        with pytest.raises(UsageError, match="--timeout"):
            compile_file(path, timeout=timeout, cache=False)
    for timeout in (0.0, math.inf):
        assert compile_file(path, timeout=timeout, cache=False).exports == ["r"]


def test_shipped_grammars_have_no_time_limit(tmp_path: Path) -> None:
    shipped = shipped_grammars()
    assert compile_file(shipped["digits"], timeout=1e-6, cache=False).exports == ["DIGITS"]
    # What a user's statement makes of a shipped function is the user's.
    path = tmp_path / "g.grm"
    path.write_text(
        'import \'lib/bytes.grm\' as b;\nexport r = Optimize[(b.ALL "ab" b.ALL "ba"){1,60}];\n'
    )
    with pytest.raises(BudgetError, match=r"g\.grm:2:22: rule r: not fin"):
        compile_file(path, timeout=1e-3, cache=False)


def test_a_compiler_that_waits_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmfst.grammar.runner.IDLE", 0.5)
    monkeypatch.setattr("lmfst.grammar.runner._LOOK", 0.25)
    start = "import sys, time; sys.stdin.read(); time.sleep(60)"
    monkeypatch.setattr("lmfst.grammar.runner._START", start)
    path = tmp_path / "g.grm"
    path.write_text('export r = "a";')
    with pytest.raises(BudgetError, match="the compiler did nothing"):
        compile_file(path, cache=False)


def test_memory_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "g.grm"
    path.write_text('export bad = Determinize[RmEpsilon[(("a" <1>)* "b") | (("a" <2>)* "c")]];\n')
    with pytest.raises(BudgetError) as caught:
        compile_file(path, timeout=60, max_memory=300 << 20, cache=False)
    assert "g.grm:1:8: rule bad: needs more than the 300 MiB" in str(caught.value)


def test_states_are_bounded(tmp_path: Path) -> None:
    error = error_of('a = "abcdef";\nexport r = a a a a a;', tmp_path, max_states=30)
    assert "g.grm:2:12: rule r: the FST has 35 states, more than the 30 allowed" in error
    error = error_of('export r = "a"{1,900000000};', tmp_path)
    assert "900000000 repetitions of 2 states" in error


def test_nul_is_label_256(tmp_path: Path) -> None:
    assert "NUL as [256]" in error_of(b'export r = "a\0";', tmp_path)
    fst = value('"a[256]" : "[256]"', tmp_path)
    assert apply(fst, byte_labels(b"a\0")) == {(256,)}
    module = compile_text('export r = "[256]" : "x[256]";', tmp_path)
    assert 0 in to_fst(module, "r").olabel.tolist()


@pytest.mark.parametrize("stderr", [subprocess.PIPE, subprocess.DEVNULL, None])
def test_diagnostics_of_openfst_reach_the_message(stderr: int | None, tmp_path: Path) -> None:
    path = tmp_path / "g.grm"
    path.write_text('map = ("a" : "b") | ("a" : "c");\nexport r = Determinize[RmEpsilon[map]];\n')
    program = (
        "from lmfst.grammar import compile_file\n"
        f"try: compile_file({str(path)!r}, cache=False)\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    root = str(REPOSITORY)
    done = subprocess.run(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=stderr,
        env={**os.environ, "PYTHONPATH": root},
        check=True,
    )
    text = done.stdout.decode()
    assert text.startswith(
        f"GrammarError {path}:2:12: rule r: Determinize failed: StringWeight::Plus"
    )
    assert "non-functional" in text and "    export r = Determinize" in text
    assert not done.stderr


def test_diagnostics_in_this_process(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    error = error_of('export r = Replace["[A1][B1]", "[B1]", "[B1]"];', tmp_path)
    assert "Replace failed: Replace: Cyclic dependencies detected" in error
    assert capfd.readouterr().err == ""


def test_errors_are_grammar_errors(tmp_path: Path) -> None:
    path = tmp_path / "g.grm"
    path.write_text("export r = nothing;")
    with pytest.raises(GrammarError):
        compile_file(path, cache=False)
