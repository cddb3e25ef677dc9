"""Targets by name, their checks, and verdicts that are kept."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lmfst.fst import EPS, Fst, identity_bytes, write_openfst
from lmfst.fst.sequential import run
from lmfst.grammar import compile_file
from lmfst.ground.cache import unsealed
from lmfst.ground.errors import BudgetError, FstError, GrammarError, UsageError
from lmfst.ground.resources import resource_dir
from lmfst.ground.verdicts import digest_of, remembered
from lmfst.target import load as module
from lmfst.target.load import (
    fst_target,
    grammar_of,
    load_fst,
    load_target,
    rejected_by,
    shipped_grammars,
)

UPPER = (
    'export UPPER = (("a" : "A") | ("b" : "B"))*;\nexport LOWER = (("A" : "a") | ("B" : "b"))*;\n'
)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LMFST_CACHE", str(folder))
    return folder


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    path = tmp_path / "upper.grm"
    path.write_text(UPPER)
    return path


def test_built_in_targets() -> None:
    assert run(load_target("bytes").machine, b"\xff\0") == (255, 0)
    assert run(load_target("chars").machine, "é".encode()) == (0xE9,)
    assert load_fst("bytes") == identity_bytes()
    with pytest.raises(UsageError, match="chars is built in"):
        load_fst("chars")


def test_grammar_files_and_their_rules(upper: Path) -> None:
    assert run(load_target(str(upper)).machine, b"ab") == tuple(b"AB")
    target = load_target(f"{upper}:LOWER")
    assert run(target.machine, b"AB") == tuple(b"ab")
    assert target.name == "upper.grm:LOWER"
    with pytest.raises(GrammarError, match="NONE"):
        load_target(f"{upper}:NONE")


def test_include_and_limits_reach_the_compiler(tmp_path: Path, upper: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "part.grm").write_text('export X = "x" : "y";\n')
    user = tmp_path / "user.grm"
    user.write_text("import 'part.grm' as p;\nexport USER = p.X*;\n")
    with pytest.raises(GrammarError):
        load_target(str(user))
    assert run(load_target(str(user), include=[folder]).machine, b"xx") == tuple(b"yy")
    with pytest.raises(BudgetError):
        load_target(str(upper), max_states=1)


def test_shipped_grammars_by_name() -> None:
    known = shipped_grammars()
    assert set(known) == {path.stem for path in resource_dir("grammars").glob("*.grm")}
    assert {"words", "wswords", "words-leading", "words-trailing", "amino"} <= set(known)
    assert run(load_target("rna").machine, b"GATt") == tuple(b"GAUu")


@pytest.mark.parametrize(
    ("to", "rule"),
    [
        ("amino", None),
        ("amino:11", "TABLE11"),
        ("amino:TABLE2", "TABLE2"),
        ("words:WORDS", "WORDS"),
        ("words:ANY", "ANY"),
        ("words-leading", None),
    ],
)
def test_rules_of_shipped_grammars(to: str, rule: str | None) -> None:
    path, found = grammar_of(to)
    assert path == shipped_grammars()[to.partition(":")[0]]
    assert found == rule


def test_a_genetic_code_by_number() -> None:
    assert run(load_target("amino:2").machine, b"ATATGA") == tuple(b"MW")


def test_unknown_names_list_what_there_is() -> None:
    with pytest.raises(UsageError) as caught:
        load_target("wrods")
    assert "did you mean words?" in caught.value.hint
    for name in ("bytes", "chars", *shipped_grammars()):
        assert name in caught.value.hint
    with pytest.raises(UsageError, match="'lib/bytes'"):
        load_target("lib/bytes")
    with pytest.raises(GrammarError, match=r"no\.grm"):
        load_target("no.grm:RULE")


def test_openfst_files(tmp_path: Path) -> None:
    path = tmp_path / "id.fst"
    write_openfst(identity_bytes(), path)
    assert run(load_target(str(path)).machine, b"a\0") == (97, 0)
    with pytest.raises(FstError, match=r"none\.fst"):
        load_target(str(tmp_path / "none.fst"))


def test_archives(tmp_path: Path, upper: Path) -> None:
    path = tmp_path / "upper.far"
    compile_file(upper).write_far(path)
    assert run(load_target(str(path)).machine, b"ab") == tuple(b"AB")
    target = load_target(f"{path}:LOWER")
    assert run(target.machine, b"AB") == tuple(b"ab")
    assert target.name == "upper.far:LOWER"
    with pytest.raises(FstError, match="expected entry 'NONE'"):
        load_target(f"{path}:NONE")


def test_an_fst_that_is_no_function_is_refused_with_a_witness() -> None:
    fst = Fst.from_arcs([(0, 97, 120, 1), (0, 97, 121, 1)], 0, [1])
    with pytest.raises(FstError, match="input 'a' has the outputs 'x' and 'y'"):
        fst_target(fst, "bad.fst")


def test_an_fst_that_writes_without_end_is_refused() -> None:
    fst = Fst.from_arcs([(0, 97, EPS, 1), (1, EPS, 120, 1)], 0, [1])
    with pytest.raises(FstError, match="without end"):
        fst_target(fst, "loop.fst")


def test_verdicts_are_kept_and_read_again(cache: Path) -> None:
    calls: list[int] = []

    def find() -> list[int]:
        calls.append(1)
        return [1, 2]

    assert remembered("check", ["a"], find) == [1, 2]
    assert remembered("check", ["a"], find) == [1, 2]
    assert len(calls) == 1
    remembered("check", ["b"], find)
    remembered("other", ["a"], find)
    assert len(calls) == 3
    for path in (cache / "checks").iterdir():
        path.write_bytes(b"{ damaged")
    assert remembered("check", ["a"], find) == [1, 2]
    assert len(calls) == 4
    assert remembered("check", ["a"], find) == [1, 2]
    assert len(calls) == 4


def test_a_changed_byte_of_a_verdict_is_noticed(cache: Path) -> None:
    assert remembered("check", ["a"], lambda: "6162") == "6162"
    (path,) = (cache / "checks").iterdir()
    path.write_bytes(path.read_bytes().replace(b"6162", b"6163"))
    assert remembered("check", ["a"], lambda: "6162") == "6162"


def test_errors_are_not_kept() -> None:
    def fails() -> None:
        raise BudgetError("too large")

    with pytest.raises(BudgetError):
        remembered("check", ["a"], fails)
    assert remembered("check", ["a"], lambda: 5) == 5


def test_a_cache_that_cannot_be_written_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("LMFST_CACHE", str(blocked))
    assert remembered("check", ["a"], lambda: 7) == 7


def test_checks_of_a_large_fst_run_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A chain of states that copy 256 bytes: more arcs than WORTHWHILE_ARCS.
    arcs = [(q, b, b, (q + 1) % 30) for q in range(30) for b in range(256)]
    fst = Fst.from_arcs(arcs, 0, range(29))
    first = fst_target(fst, "chain")
    witness = rejected_by(first.fst or fst, {b"ab", b"c"})
    assert witness is not None and len(witness) == 29
    assert len(list((cache / "checks").iterdir())) == 2

    def never(*_: object) -> None:
        raise AssertionError("checked again")

    monkeypatch.setattr(module, "functional_witness", never)
    monkeypatch.setattr(module, "rejected_tokens", never)
    assert fst_target(fst, "chain").fst == first.fst
    assert rejected_by(first.fst or fst, {b"c", b"ab"}) == witness
    with pytest.raises(AssertionError, match="checked again"):
        rejected_by(first.fst or fst, {b"ab"})


def test_a_kept_verdict_still_gives_the_error(cache: Path) -> None:
    arcs = [(q, b, b, (q + 1) % 30) for q in range(30) for b in range(256)]
    fst = Fst.from_arcs([*arcs, (0, 97, 98, 1)], 0, range(30))
    for _ in range(2):
        with pytest.raises(FstError, match="input 'a' has the outputs"):
            fst_target(fst, "chain")
    (kept,) = (cache / "checks").iterdir()
    content = unsealed(kept.read_bytes())
    assert content is not None
    assert json.loads(content)["verdict"][0] == b"a".hex()


def test_small_fsts_leave_no_files(cache: Path) -> None:
    fst_target(identity_bytes(), "id")
    assert not (cache / "checks").exists()


def test_digests_of_sets() -> None:
    assert digest_of([b"a", b"bc"]) == digest_of([b"bc", b"a", b"a"])
    assert digest_of([b"a", b"bc"]) != digest_of([b"ab", b"c"])


@pytest.mark.skipif(os.name != "posix", reason="permissions of files are POSIX")
def test_a_verdict_that_others_could_write_is_found_again(cache: Path) -> None:
    folder = cache / "checks"
    assert remembered("check", ["a"], lambda: 1) == 1
    assert remembered("check", ["a"], lambda: 2) == 1
    (kept,) = (path for path in folder.iterdir() if not path.name.startswith("."))
    kept.chmod(0o666)
    assert remembered("check", ["a"], lambda: 3) == 3
    folder.chmod(0o777)
    assert remembered("check", ["a"], lambda: 4) == 4
