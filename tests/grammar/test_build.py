"""compile_file: the process, the cache, where files are found, what is written."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pynini
import pytest

from lmfst.grammar import CompiledModule, compile_file, to_fst
from lmfst.grammar import runner as runner_module
from lmfst.ground.atomic import atomic_write
from lmfst.ground.cache import cache_dir
from lmfst.ground.errors import BudgetError, GrammarError, InputError
from lmfst.ground.verdicts import remembered
from tests.support.grammars import DATA, apply, compile_here, compile_text, error_of, translate


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LMFST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "grammars"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "sub").mkdir(parents=True)
    (folder / "main.grm").write_text(
        'import \'sub/part.grm\' as p;\nexport MAIN = p.A : "x\\q";\nexport OTHER = "o[SEP]";\n'
        "func F[x] { return x; }\n"
    )
    (folder / "sub" / "part.grm").write_text("export A = StringFile['list.txt'];\n")
    (folder / "sub" / "list.txt").write_text("one\n")
    return folder / "main.grm"


def runs(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """Record each start of the compiling process: the rule it was asked for."""
    started: list[str | None] = []
    original = runner_module.run_job

    def record(job, **options):  # type: ignore[no-untyped-def]
        started.append(job["rule"])
        return original(job, **options)

    monkeypatch.setattr(runner_module, "run_job", record)
    return started


def test_process_and_here_give_the_same(cache: Path) -> None:
    for name in ("rewrite", "imports"):
        here = compile_here(DATA / f"{name}.grm")
        there = compile_file(DATA / f"{name}.grm", warn=lambda message: None)
        assert there.exports == here.exports
        for rule in here.exports:
            assert pynini.equal(there.rule(rule).openfst, here.rule(rule).openfst)
            assert there.rule(rule).labels == here.rule(rule).labels


def test_cache_serves_and_notices_changes(
    project: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = runs(monkeypatch)
    warned: list[list[str]] = [[] for _ in range(5)]

    def build(index: int, **options: object) -> CompiledModule:
        return compile_file(project, warn=warned[index].append, **options)  # type: ignore[arg-type]

    assert build(0).exports == ["MAIN", "OTHER"]
    begin = time.perf_counter()
    module = build(1)
    assert time.perf_counter() - begin < 0.3
    assert translate(module.rule("MAIN"), "one") == {"x\\q"}
    assert started == [None] and len(warned[0]) == 1 and warned[0] == warned[1]
    assert build(1, rule="OTHER").exports == ["OTHER"] and started == [None]

    (project.parent / "sub" / "list.txt").write_text("two\n")
    assert translate(build(2).rule("MAIN"), "two") == {"x\\q"} and len(started) == 2
    # A file of the same name that now comes first changes the meaning as well.
    (project.parent / "sub" / "sub").mkdir()
    build(3)
    assert len(started) == 2
    text = project.read_text()
    project.write_text(text.replace("x\\q", "y"))
    assert translate(build(3).rule("MAIN"), "two") == {"y"} and len(started) == 3
    project.write_text(text)
    build(3)
    assert len(started) == 3
    build(4, max_states=10_000)
    assert len(started) == 3
    with pytest.raises(BudgetError):
        build(4, max_states=1)


def test_a_nearer_file_makes_the_cache_stale(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = runs(monkeypatch)
    (tmp_path / "inc").mkdir()
    (tmp_path / "inc" / "l.grm").write_text('export A = "far";')
    path = tmp_path / "g" / "g.grm"
    path.parent.mkdir()
    path.write_text("import 'l.grm' as l; export r = l.A;")
    for _ in range(2):
        module = compile_file(path, include=[tmp_path / "inc"])
    assert translate(module.rule(), "far") == {"far"} and len(started) == 1
    with pytest.raises(GrammarError):
        compile_file(path)
    (path.parent / "l.grm").write_text('export A = "near";')
    module = compile_file(path, include=[tmp_path / "inc"])
    assert translate(module.rule(), "near") == {"near"}


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "header", "name", "folder"])
def test_damaged_cache_entries_are_rebuilt(damage: str, project: Path, cache: Path) -> None:
    compile_file(project, warn=lambda message: None)
    (entry,) = cache.iterdir()
    data = entry.read_bytes()
    if damage == "folder":
        entry.unlink()
        entry.mkdir()
    else:
        changed = {
            "cut": data[:-5],
            "flip": data[:-5] + bytes([data[-5] ^ 1]) + data[-4:],
            "empty": b"",
            "header": data.replace(b'"rules"', b'"ruler"'),
            "name": data.replace(b'"name": "MAIN"', b'"name": "PAIN"'),
        }
        assert changed[damage] != data
        entry.write_bytes(changed[damage])
    warned: list[str] = []
    module = compile_file(project, warn=warned.append)
    assert translate(module.rule("MAIN"), "one") == {"x\\q"}
    if damage == "folder":
        assert any("wasn't kept" in message for message in warned)
    else:
        assert entry.read_bytes() == data


def test_without_cache_nothing_is_written(project: Path, cache: Path) -> None:
    compile_file(project, cache=False, warn=lambda message: None)
    assert not cache.exists()


def test_only_what_a_rule_needs_is_evaluated(tmp_path: Path) -> None:
    text = 'a = "a"; export good = a; export bad = Project[a]; n = AssertNull["x"];'
    module = compile_text(text, tmp_path, rule="good")
    assert module.exports == ["good"] and translate(module.rule("good"), "a") == {"a"}
    assert "Project" in error_of(text, tmp_path)
    assert "bad isn't exported" not in error_of(text, tmp_path, rule="none")
    assert "g.grm has no rule none" in error_of(text, tmp_path, rule="none")
    assert "a isn't exported" in error_of(text, tmp_path, rule="a")


def test_main_rule(tmp_path: Path) -> None:
    def main(text: str) -> str:
        return compile_text(text, tmp_path).main_rule()

    assert main('export only = "a";') == "only"
    assert main('export a = "a"; export MAIN = "b";') == "MAIN"
    assert main('export a = "a"; export G = "b";') == "G"
    for text, message in (
        ('export a = "a"; export b = "b";', "several rules"),
        ('a = "a";', "exports no rule"),
    ):
        with pytest.raises(GrammarError, match=message):
            main(text)
    with pytest.raises(GrammarError, match="exports no rule x"):
        compile_text('export a = "a";', tmp_path).rule("x")


def test_to_fst(cache: Path, tmp_path: Path) -> None:
    from lmfst.fst import apply_all

    module = compile_here(DATA / "rewrite.grm")
    fst = to_fst(module, "INSERT")
    outputs = apply_all(fst, b"ab", 10)
    assert [[fst.symbols.name(label) for label in out] for out in outputs] == [["a", "MARK", "b"]]
    files = compile_here(DATA / "files.grm")
    fst = to_fst(files, "UTF8")
    assert [fst.symbols.name(out[0]) for out in apply_all(fst, "ü".encode(), 10)] == ["ö"]
    fst = to_fst(files, "UTF8_BYTE")
    assert apply_all(fst, "ü".encode(), 10) == [tuple("ö".encode())]
    fst = to_fst(files, "MIXED_SIDES")
    outputs = apply_all(fst, b"at", 10)
    assert [fst.symbols.name(label) for label in outputs[0]] == ["ae", "t"]
    fst = to_fst(compile_text('export r = "é" : "aé€".utf8;', tmp_path))
    outputs = apply_all(fst, "é".encode(), 10)
    assert [fst.symbols.name(label) for label in outputs[0]] == list("aé€")
    fst = to_fst(files, "FROM_TABLE")
    assert [fst.symbols.name(x) for x in apply_all(fst, b"kae", 10)[0]] == ["k", "ae"]


def test_weights_are_reported_when_they_are_dropped(tmp_path: Path) -> None:
    module = compile_text('export r = "a" <1>;', tmp_path)
    warned: list[str] = []
    to_fst(module, "r", warn=warned.append)
    assert len(warned) == 1 and "weights" in warned[0]


def test_where_files_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("top/src/deep", "inc", "here"):
        (tmp_path / folder).mkdir(parents=True)
    main = tmp_path / "top" / "src" / "deep" / "g.grm"
    main.write_text("import 'src/util/x.grm' as x; export r = x.A;")
    (tmp_path / "top" / "src" / "util").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    places = [
        ("top", "ancestor"),
        ("here", "current"),
        ("inc", "include"),
        ("top/src/deep", "importer"),
    ]
    for folder, word in places:
        target = tmp_path / folder / "src" / "util"
        target.mkdir(parents=True, exist_ok=True)
        (target / "x.grm").write_text(f'export A = "{word}";')
        module = compile_here(main, include=[tmp_path / "inc"])
        assert translate(module.rule("r"), word) == {word}


def test_paths_from_the_folder_that_thrax_is_started_in(tmp_path: Path) -> None:
    """`classify/main.grm` is built in `classify`: `../x` means the same in all files."""
    files = {
        "classify/main.grm": "import '../util.grm' as u; export r = u.A StringFile['../w.txt'];",
        "util.grm": "import '../classes.grm' as c; export A = c.A; export B = c.B;",
        "classes.grm": "export A = \"a\"; export B = StringFile['sub/b.txt'];",
        "w.txt": "w\n",
        "classify/sub/b.txt": "b\n",
    }
    compile_text('x = "";', tmp_path / "en", files)
    main = compile_here(tmp_path / "en" / "classify" / "main.grm")
    assert translate(main.rule("r"), "aw") == {"aw"}
    alone = compile_here(tmp_path / "en" / "util.grm", rule="A")
    assert translate(alone.rule("A"), "a") == {"a"}
    (tmp_path / "en" / "classify" / "main.grm").write_text(
        "import '../util.grm' as u; export r = u.B;"
    )
    main = compile_here(tmp_path / "en" / "classify" / "main.grm")
    assert translate(main.rule("r"), "b") == {"b"}


@pytest.mark.parametrize("name", ["util/byte.grm", "../byte.grm", "/opt/thrax/byte.grm"])
def test_the_byte_classes_stand_in_for_a_projects_copy(name: str, tmp_path: Path) -> None:
    module = compile_text(f"import '{name}' as b; export r = b.kDigit;", tmp_path)
    assert translate(module.rule("r"), "7") == {"7"}
    assert any(f"'{name}' wasn't found" in message for message in module.warnings)
    own = {"byte.grm": 'export kDigit = "x";'}
    module = compile_text("import 'byte.grm' as b; export r = b.kDigit;", tmp_path, own)
    assert translate(module.rule("r"), "x") == {"x"} and module.warnings == []


def test_the_byte_classes_of_thrax_are_there(tmp_path: Path) -> None:
    text = "import 'byte.grm' as b; " + "".join(
        f"export {name} = b.{name}; "
        for name in (
            *("kDigit", "kLower", "kUpper", "kAlpha", "kAlnum", "kSpace", "kNotSpace"),
            *("kPunct", "kGraph", "kBytes"),
        )
    )
    module = compile_text(text, tmp_path)
    space = set(b" \t\n\r")
    graph = set(range(0x21, 0x7F))
    alnum = {byte for byte in graph if chr(byte).isalnum()}
    wanted = {
        "kDigit": set(b"0123456789"),
        "kLower": set(range(ord("a"), ord("z") + 1)),
        "kUpper": set(range(ord("A"), ord("Z") + 1)),
        "kAlpha": {byte for byte in graph if chr(byte).isalpha()},
        "kAlnum": alnum,
        "kSpace": space,
        "kNotSpace": set(range(1, 256)) - space,
        "kPunct": graph - alnum,
        "kGraph": graph,
        "kBytes": set(range(1, 256)),
    }
    for name, labels in wanted.items():
        fst = module.rule(name).openfst
        assert {label for label in range(1, 300) if apply(fst, [label])} == labels


def test_a_missing_archive_is_built_from_its_grammar(tmp_path: Path) -> None:
    files = {"lib/x.grm": 'export A = "a" : "[X1]"; b = "b";'}
    text = "f = 'lib/x.far'; export r = LoadFstFromFar[f, 'A'] @ (\"[X1]\" : \"c\");"
    module = compile_text(text, tmp_path, files)
    assert translate(module.rule("r"), "a") == {"c"}
    assert module.warnings == [
        "g.grm:1:29: rule r: 'lib/x.far' doesn't exist; compiling 'lib/x.grm' instead"
    ]
    error = error_of("export r = LoadFstFromFar['lib/x.far', 'b'];", tmp_path)
    assert "exports no b" in error and "it exports A" in error
    error = error_of("export r = LoadFstFromFar['lib/y.far', 'b'];", tmp_path)
    assert "'lib/y.far' wasn't found" in error
    compile_here(tmp_path / "lib" / "x.grm").write_far(tmp_path / "lib" / "x.far")
    module = compile_text(text, tmp_path)
    assert translate(module.rule("r"), "a") == {"c"} and module.warnings == []
    error = error_of("export r = LoadFstFromFar['lib/x.far', 'Q'];", tmp_path)
    assert "x.far has no FST 'Q'" in error and "it has A" in error


def test_loaded_fsts_keep_their_alphabets(tmp_path: Path) -> None:
    table = pynini.SymbolTable()
    for label, name in enumerate(("<eps>", "k", "ae")):
        table.add_symbol(name, label)
    fst = pynini.cross("at", pynini.accep("ae k", token_type=table))
    fst.set_output_symbols(table)
    fst.write(str(tmp_path / "x.fst"))
    module = compile_text("export r = LoadFst['x.fst'];", tmp_path)
    assert module.rule("r").openfst.output_symbols().find(2) == "ae"
    log = pynini.accep("ab", arc_type="log")
    log.write(str(tmp_path / "log.fst"))
    module = compile_text("export r = LoadFst['log.fst'] \"c\";", tmp_path)
    assert translate(module.rule("r"), "abc") == {"abc"}


def test_written_files(tmp_path: Path) -> None:
    module = compile_text('export a = "x" : "[SEP]"; export b = "é".utf8;', tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    module.write_fst("a", out / "a.fst")
    module.write_far(out / "all.far")
    assert sorted(path.name for path in out.iterdir()) == ["a.fst", "all.far"]
    fst = pynini.Fst.read(str(out / "a.fst"))
    assert fst.output_symbols().find(0xF0000) == "SEP"
    assert fst.print().split("\n")[0].split("\t")[2:4] == ["x", "SEP"]
    for target in (tmp_path / "no" / "a.fst", out):
        with pytest.raises(InputError, match="can't be written"):
            module.write_fst("a", target)
    assert sorted(path.name for path in out.iterdir()) == ["a.fst", "all.far"]


@pytest.mark.skipif(shutil.which("farextract") is None, reason="needs the OpenFst tools")
def test_openfst_tools_read_what_is_written(tmp_path: Path) -> None:
    import subprocess

    module = compile_text('export a = "x" : "[SEP]"; export b = "y";', tmp_path)
    module.write_far(tmp_path / "all.far")
    subprocess.run(
        ["farextract", f"--filename_prefix={tmp_path}/", "--filename_suffix=.fst", "all.far"],
        cwd=tmp_path,
        check=True,
    )
    assert pynini.equal(pynini.Fst.read(str(tmp_path / "b.fst")), module.rule("b").openfst)
    printed = subprocess.run(
        ["fstprint", str(tmp_path / "a.fst")], check=True, capture_output=True, text=True
    ).stdout
    assert printed.split("\n")[0].split("\t")[2:4] == ["x", "SEP"]


def test_a_grammar_beside_python_files_runs_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pynini", "lark", "json", "lmfst"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w')\nraise SystemExit(3)\n")
    (tmp_path / "g.grm").write_text('export r = "a";')
    monkeypatch.chdir(tmp_path)
    assert compile_file("g.grm", cache=False).exports == ["r"]
    assert not (tmp_path / "ran").exists()


def test_unreadable_grammars(tmp_path: Path) -> None:
    for path in (tmp_path / "none.grm", tmp_path):
        with pytest.raises(GrammarError, match="expected a grammar file"):
            compile_file(path, cache=False)


def test_a_crash_is_told_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "g.grm").write_text('export r = "a";')
    start = 'import os, sys; sys.stdin.read(); print(\'{"event": "at", "where": "g:1:1", '
    start += '"excerpt": "x"}\', flush=True); os.kill(os.getpid(), 11)'
    monkeypatch.setattr(runner_module, "_START", start)
    with pytest.raises(GrammarError, match="g:1:1: the compiler ended with status -11"):
        compile_file(tmp_path / "g.grm", cache=False)


def test_cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMFST_CACHE", str(tmp_path / "own"))
    assert cache_dir("grammars") == tmp_path / "own" / "grammars"
    assert (tmp_path / "own" / "grammars").is_dir() and cache_dir() == tmp_path / "own"
    monkeypatch.delenv("LMFST_CACHE")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir("x") == tmp_path / "xdg" / "lmfst" / "x"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_dir("x") == tmp_path / "home" / ".cache" / "lmfst" / "x"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LMFST_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="cache folder"):
        cache_dir("x")


def test_where_there_is_no_home_folder_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where HOME isn't set and the system doesn't know the user.
    monkeypatch.setenv("LMFST_CACHE", "~nobody-of-this-name/cache")
    with pytest.raises(InputError, match=r"home folder(.|\n)*LMFST_CACHE"):
        cache_dir("x")
    path = tmp_path / "g.grm"
    path.write_text('export r = "a";')
    module = compile_file(path)
    assert module.exports == ["r"]
    assert remembered("check", ["a"], lambda: 5) == 5


def test_atomic_write(tmp_path: Path) -> None:
    target = tmp_path / "f"
    atomic_write(target, b"one")
    atomic_write(target, b"two")
    assert target.read_bytes() == b"two" and os.listdir(tmp_path) == ["f"]
    umask = os.umask(0o022)
    os.umask(umask)
    assert target.stat().st_mode & 0o777 == 0o666 & ~umask
    with pytest.raises(OSError):
        atomic_write(tmp_path / "none" / "f", b"")
    target.unlink()
    target.mkdir()
    (target / "x").write_text("")
    with pytest.raises(OSError):
        atomic_write(target, b"three")
    assert os.listdir(tmp_path) == ["f"]


def test_atomic_write_keeps_links_and_pipes(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"one")
    (tmp_path / "link").symlink_to("real")
    atomic_write(tmp_path / "link", b"two")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_bytes() == b"two"
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        atomic_write(tmp_path / "pipe", b"three")
        assert os.read(reader, 100) == b"three"
    finally:
        os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
