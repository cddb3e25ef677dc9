"""Files exchanged with OpenFst's command line tools (Debian: libfst-tools).

What the tools write is read from tests/data/openfst, so that this needs no tools; with the tools on
the path, they also read what lmfst writes, and write the files anew.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from lmfst.cli import app
from lmfst.fst import Fst, apply_all, read_far, read_fst, to_text
from lmfst.fst.layout import read_header
from lmfst.fst.sequential import run
from lmfst.grammar import compile_file
from lmfst.ground.errors import FstError
from lmfst.target.load import fst_target, load_fst, load_target
from tests.support.oracle import random_fst
from tests.support.paths import DATA, SCRIPTS

SAMPLES = DATA / "openfst"
SCRIPT = SCRIPTS / "make_openfst_samples.py"
NEEDED = [
    *["fstinfo", "fstprint", "fstcompile", "fstconvert", "fstcompose", "fstshortestpath"],
    *["fstrmepsilon", "fsttopsort", "fstequal", "fstisomorphic"],
    *["farinfo", "farextract", "farcreate", "farcompilestrings"],
]
MISSING = [tool for tool in NEEDED if shutil.which(tool) is None]
needs_tools = pytest.mark.skipif(
    bool(MISSING),
    reason=f"OpenFst's command line tools (Debian: libfst-tools) aren't on the path: {MISSING}",
)

RUNS = ["runs-vector", "runs-const", "runs-aligned", "runs-compact", "runs-log", "runs-log64"]
NAMED = ["named", "named-log"]
WEIGHTED = "weights are ignored (1 arcs and 1 final states have one)"
TEXTS = [b"", b"a", b"b", b"ba", b"abbab", b"bbba"]
MARKED = """\
import 'lib/bytes.grm' as b;
export MARKED = Optimize[((b.BYTE - (" " | "x")) | (" " : "[SEP]") | ("x" : "[SEP][CAP]"))*];
export OTHER = Optimize[("é" : "e") | b.ASCII]*;
"""


def silent(message: str) -> None:
    raise AssertionError(f"unexpected warning: {message}")


def runs(text: bytes) -> list[str]:
    """What runs.txt says: a is A, ba is C, and any other b is B."""
    return list(text.decode().replace("ba", "C").replace("a", "A").replace("b", "B"))


def named(text: bytes) -> list[str]:
    """What named.txt says: the same, with symbols from a table."""
    return [{"A": "EINS", "B": "ZWEI", "C": "Größe"}[symbol] for symbol in runs(text)]


def outputs(fst: Fst, text: bytes) -> list[list[str]]:
    return [[fst.symbols.name(label) for label in output] for output in apply_all(fst, text)]


def command(*arguments: str | Path, stdin: str = "") -> list[str]:
    """The lines that an lmfst command writes; it must succeed."""
    done = CliRunner().invoke(app, [*map(str, arguments)], input=stdin)
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


# --- what the tools write -------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["stored", pytest.param("fresh", marks=needs_tools)])
def samples(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the files that come with the project, or the same files written now."""
    if request.param == "stored":
        return SAMPLES
    folder = tmp_path_factory.mktemp("fresh")
    script().write_samples(folder)
    return folder


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_openfst_samples", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_binary_files_of_all_types(samples: Path) -> None:
    for name in RUNS:
        fst = read_fst(samples / f"{name}.fst", warn=silent)
        for text in TEXTS:
            assert outputs(fst, text) == [runs(text)], name
        assert apply_all(fst, b"abx") == []
    headers = [read_header((samples / f"{name}.fst").read_bytes(), name) for name in RUNS]
    assert len({(head.fst_type, head.arc_type, head.flags) for head in headers}) == len(RUNS)


def test_embedded_symbol_tables(samples: Path) -> None:
    for name in NAMED:
        heard: list[str] = []
        fst = read_fst(samples / f"{name}.fst", warn=heard.append)
        assert len(heard) == 1 and WEIGHTED in heard[0]
        assert dict(fst.symbols.names) == {1: "EINS", 2: "ZWEI", 300: "Größe"}
        for text in TEXTS:
            assert outputs(fst, text) == [named(text)], name


def test_labels_without_their_tables(samples: Path) -> None:
    heard: list[str] = []
    read_fst(samples / "numbers.fst", warn=heard.append)
    (guess,) = [message for message in heard if WEIGHTED not in message]
    assert "text has no character 2" in guess and "fstsymbols" in guess
    with pytest.raises(FstError, match="unknown output label 300") as error:
        read_fst(samples / "numbers.fst", mode="byte", warn=lambda message: None)
    assert "--input-mode utf8" in error.value.hint and "fstsymbols" in error.value.hint


def test_acceptors_and_strings(samples: Path) -> None:
    heard: list[str] = []
    acceptor = read_fst(samples / "acceptor-compact.fst", warn=heard.append)
    assert WEIGHTED in heard[0]
    assert outputs(acceptor, b"abab") == [["a", "b", "a", "b"]]
    assert outputs(acceptor, b"aba") == []
    string = read_fst(samples / "string-compact.fst", warn=silent)
    assert outputs(string, b"ab") == [["a", "b"]]


@pytest.mark.parametrize("archive", ["table.far", "list.far"])
def test_archives(samples: Path, archive: str) -> None:
    fst = read_far(samples / archive, "runs-vector.fst", warn=silent)
    assert fst == read_fst(samples / "runs-vector.fst", warn=silent)
    heard: list[str] = []
    other = read_far(samples / archive, "named.fst", warn=heard.append)
    assert len(heard) == 1 and f"{archive}:named.fst: {WEIGHTED}" in heard[0]
    assert outputs(other, b"ba") == [["Größe"]]


def test_archives_of_log_arcs_and_of_strings(samples: Path) -> None:
    assert outputs(read_far(samples / "log.far", warn=silent), b"abb") == [["A", "B", "B"]]
    assert apply_all(read_far(samples / "strings.far", "1", warn=silent), b"ab") == [(97, 98)]
    words = read_far(samples / "strings.far", "2", warn=silent)
    assert words.symbols.kind == "unicode"
    assert outputs(words, "bł".encode()) == [["b", "ł"]]


def test_entries_of_archives_that_are_not_named(samples: Path, tmp_path: Path) -> None:
    path = tmp_path / "runs-vector.far"
    shutil.copy(samples / "table.far", path)
    with pytest.raises(FstError, match=r"MAIN or RUNS-VECTOR.* holds named.fst, runs-v") as error:
        read_far(path, warn=silent)
    assert error.value.hint == f"name one of them: {path}:named.fst"
    with pytest.raises(FstError, match=r"expected entry 'x', the archive holds named.fst"):
        read_far(path, "x", warn=silent)


@pytest.mark.parametrize("archive", ["table.far", "list.far"])
def test_damaged_archives_are_errors(tmp_path: Path, archive: str) -> None:
    data = (SAMPLES / archive).read_bytes()
    path = tmp_path / archive
    for size in (0, 3, 7, 40, 200, 400, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(FstError, match="expected an FST archive") as error:
            read_far(path, "named.fst", warn=silent)
        assert len(error.value.message) < 1000
    path.write_bytes(data[:8] + b"\xff\xff\xff\x7f" + data[12:])
    with pytest.raises(FstError, match="damaged or cut-off"):
        read_far(path, "named.fst", warn=silent)


def test_files_that_are_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "x.far"
    with pytest.raises(FstError, match="No such file"):
        read_far(path)
    path.write_bytes(b"0 1 97 97\n")
    with pytest.raises(FstError, match="got a text file"):
        read_far(path)
    # An archive of type fst is an FST file.
    shutil.copy(SAMPLES / "runs-vector.fst", path)
    assert outputs(read_far(path, warn=silent), b"ba") == [["C"]]


@pytest.mark.parametrize(
    "to", ["runs-compact.fst", "runs-log.fst", "list.far:runs-vector.fst", "log.far"]
)
def test_commands_take_the_files(samples: Path, tmp_path: Path, to: str) -> None:
    target = f"{samples}/{to}"
    assert command("apply", "--to", target, stdin="abbab\n\n") == ["ABCB", ""]
    facts = dict(line.split("\t") for line in command("info", target))
    assert facts["name"] == to
    assert (facts["states"], facts["arcs"], facts["functional"]) == ("3", "5", "yes")
    text = tmp_path / "printed.txt"
    text.write_text("".join(f"{line}\n" for line in command("print", target)))
    again = tmp_path / "again.fst"
    command("compile", text, "-o", again)
    assert load_fst(str(again)) == load_fst(target)
    model = tmp_path / "model.arpa"
    model.write_text(ARPA)
    options = ["--model", model, "--exact", "--level", "text"]
    scored = command("convert", *options, "--to", target, stdin="abba\n")
    reference = command(
        "convert", *options, "--to", str(samples / "runs-vector.fst"), stdin="abba\n"
    )
    assert scored == reference
    assert scored[1].split("\t")[3] != "-inf"


ARPA = r"""
\data\
ngram 1=4

\1-grams:
-99 <s>
-0.5 </s>
-0.4 a
-0.5 b

\end\
"""


def test_grammars_load_the_files(samples: Path, tmp_path: Path) -> None:
    sources = [
        "LoadFst['runs-const.fst']",
        "LoadFst['runs-log64.fst']",
        "LoadFst['runs-compact.fst']",
        "LoadFstFromFar['table.far','runs-vector.fst']",
        "LoadFstFromFar['list.far','runs-vector.fst']",
        "LoadFstFromFar['log.far','runs-log.fst']",
    ]
    grammar = tmp_path / "loads.grm"
    grammar.write_text(
        "".join(
            f'export LOADS{n} = Optimize[{source} @ ("A" | "B" | ("C" : "[C]"))*];\n'
            for n, source in enumerate(sources)
        )
    )
    module = compile_file(grammar, include=[samples])
    for n, _ in enumerate(sources):
        machine = fst_target(module.rule(f"LOADS{n}").fst, "loads").machine
        assert [machine.symbols.name(symbol) for symbol in run(machine, b"aba")] == ["A", "C"]


def test_types_that_need_a_plug_in_are_told_how_to_be_read(tmp_path: Path) -> None:
    data = (SAMPLES / "runs-const.fst").read_bytes()
    path = tmp_path / "x.fst"
    path.write_bytes(data.replace(b"\x05\0\0\0const", b"\x08\0\0\0const-no", 1))
    with pytest.raises(FstError, match="Unknown FST type const-no") as error:
        read_fst(path, warn=silent)
    assert "fstconvert --fst_type=vector" in error.value.hint


# --- what lmfst writes ----------------------------------------------------------------------------


def tool(name: str, *arguments: str | Path, stdin: bytes = b"") -> bytes:
    """What a tool writes; it must succeed."""
    done = subprocess.run([name, *map(str, arguments)], input=stdin, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def facts(text: bytes) -> dict[str, str]:
    """The output of fstinfo or farinfo."""
    rows = [line.rsplit(None, 1) for line in text.decode().splitlines()]
    return {row[0]: row[1] for row in rows if len(row) == 2}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with compiled grammars: {marked,rna,amino}.fst, and .far with all their rules."""
    folder = tmp_path_factory.mktemp("compiled")
    (folder / "marked.grm").write_text(MARKED)
    for source in (str(folder / "marked.grm"), "rna", "amino"):
        name = Path(source).stem
        for suffix in (".fst", ".far"):
            command("compile", source, "-o", folder / f"{name}{suffix}")
    return folder


@pytest.fixture
def written(compiled: Path, tmp_path: Path) -> Path:
    """A test's own copy of `compiled`."""
    return Path(shutil.copytree(compiled, tmp_path / "written"))


@needs_tools
def test_tools_read_the_fsts(written: Path) -> None:
    for name, sides in (("marked", "**Byte symbols"), ("rna", "none"), ("amino", "none")):
        path = written / f"{name}.fst"
        told = facts(tool("fstinfo", path).replace(b"**Byte symbols", b"**Byte_symbols"))
        fst = read_fst(path, warn=silent)
        assert (told["fst type"], told["arc type"]) == ("vector", "standard")
        assert told["# of states"] == str(fst.n_states) == told["# of connected states"]
        assert told["# of arcs"] == str(fst.n_arcs)
        assert told["input symbol table"].replace("_", " ") == sides
        assert told["output symbol table"].replace("_", " ") == sides


@needs_tools
def test_printed_fsts_compile_to_the_same(written: Path) -> None:
    for name in ("marked", "rna", "amino"):
        path, again = written / f"{name}.fst", written / "again.fst"
        tables = [written / "in.syms", written / "out.syms"]
        saved = [f"--save_isymbols={tables[0]}", f"--save_osymbols={tables[1]}"]
        text = tool("fstprint", *(saved if name == "marked" else []), path)
        given = [f"--isymbols={tables[0]}", f"--osymbols={tables[1]}"]
        kept = [*given, "--keep_isymbols", "--keep_osymbols"] if name == "marked" else []
        again.write_bytes(tool("fstcompile", *kept, stdin=text))
        tool("fstisomorphic", path, again)
        one, other = (load_target(str(p), warn=silent).machine for p in (path, again))
        for sample in (b"ACG TTx\n", bytes(range(256)), "Größe x".encode()):
            if name != "amino":
                assert run(one, sample) == run(other, sample)
        printed = written / "printed.txt"
        printed.write_bytes(text)
        own = written / "own.fst"
        options = ["--isymbols", tables[0], "--osymbols", tables[1]] if kept else []
        command("compile", printed, *options, "-o", own)
        tool("fstequal", own, again)


@needs_tools
def test_tools_read_the_archives(written: Path) -> None:
    for name, rules in (("marked", ["MARKED", "OTHER"]), ("amino", ["TABLE2", "TABLE33"])):
        told = facts(tool("farinfo", written / f"{name}.far"))
        assert (told["far type"], told["arc type"]) == ("sttable", "standard")
        assert int(told["# of FSTs"]) == {"marked": 3, "amino": 28}[name]
        for rule in rules:
            tool(
                "farextract",
                f"--filename_prefix={written}/",
                "--filename_suffix=.fst",
                f"--keys={rule}",
                written / f"{name}.far",
            )
            source = name if name == "amino" else written / "marked.grm"
            command("compile", source, "-r", rule, "-o", written / "own.fst")
            tool("fstequal", written / "own.fst", written / f"{rule}.fst")
            extracted = read_fst(written / f"{rule}.fst", warn=silent)
            assert extracted == read_far(written / f"{name}.far", rule, warn=silent)


@needs_tools
@pytest.mark.parametrize(
    ("name", "text"),
    [("marked", b"a \xc3\xa9x\n"), ("rna", b"GATtaca"), ("amino", b"ATGGCNTAATG")],
)
def test_the_tools_compute_the_same_function(written: Path, name: str, text: bytes) -> None:
    source = "".join(f"{at}\t{at + 1}\t{byte}\n" for at, byte in enumerate(text))
    given = written / "given.fst"
    given.write_bytes(tool("fstcompile", "--acceptor", stdin=f"{source}{len(text)}\n".encode()))
    joint = tool("fstcompose", given, written / f"{name}.fst")
    best = tool(
        "fsttopsort", stdin=tool("fstrmepsilon", stdin=tool("fstshortestpath", stdin=joint))
    )
    lines = [line.split("\t") for line in tool("fstprint", stdin=best).decode().splitlines()]
    found = [line[3] for line in lines if len(line) >= 4 and line[3] not in ("0", "<epsilon>")]
    machine = load_target(str(written / f"{name}.fst"), warn=silent).machine
    symbols = run(machine, text)
    # Without a symbol table the tools print numbers.
    assert found == [str(s) if name != "marked" else machine.symbols.name(s) for s in symbols]


@needs_tools
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("fst_type", "arc_type"),
    [("vector", "standard"), ("const", "log"), ("compact_unweighted", "log64")],
)
def test_random_fsts_as_text_and_back(
    tmp_path: Path, seed: int, fst_type: str, arc_type: str
) -> None:
    fst = random_fst(seed)
    path, other = tmp_path / "one.fst", tmp_path / "other.fst"
    options = [f"--arc_type={arc_type}", "--keep_state_numbering"]
    path.write_bytes(tool("fstcompile", *options, stdin=to_text(fst).encode()))
    tool("fstconvert", f"--fst_type={fst_type}", path, other)
    assert read_fst(other, warn=silent) == fst
