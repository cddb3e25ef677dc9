"""The benchmark of a device, on the CPU with a tiny model: all of it, and that wrong numbers are
found."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.autograd import DeviceType

from tests.support.paths import REPOSITORY, SCRIPTS

sys.path.insert(0, str(SCRIPTS))

import bench_gpu
from benchmark import gpu_prepare, gpu_sections
from benchmark.gpu_check import APART, compared, drift
from benchmark.gpu_data import DATA, read_fst, save_fst, windows
from benchmark.gpu_models import Tiny, joined, teacher_forced, tokens_of
from benchmark.gpu_profile import covered, summed
from benchmark.gpu_run import Results, run
from benchmark.gpu_sections import RUNS, SECTIONS, Stage, timed

from lmfst.fst import Fst, Symbols

ABSENT = ("pynini", "pywrapfst", "_pynini", "_pywrapfst", "typer", "click", "rich", "Bio", "lark")
"""What a machine with a device may lack."""
WITHOUT = f"""
import runpy, sys
class Without:
    def __init__(self, finder): self.finder = finder
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT}: return None
        return self.finder.find_spec(name, path, target)
    def __getattr__(self, name): return getattr(self.finder, name)
sys.meta_path[:] = map(Without, sys.meta_path)
from lmfst import *
sys.argv = sys.argv[1:]
sys.path.insert(0, {str(SCRIPTS)!r})
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tmp_path_factory.mktemp("gpu") / "data"
    assert bench_gpu.main(["--prepare", str(made), "--fake"]) == 0
    return made


@pytest.mark.slow
def test_all_sections_run_without_what_only_grammars_and_commands_need(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    script = str(SCRIPTS / "bench_gpu.py")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, script, "--data", folder, "--fake", "--json", out],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert list(found["sections"]) == list(SECTIONS)
    assert {one["status"] for one in found["sections"].values()} == {"done"}
    assert all(one["rows"] and one["seconds"] > 0 for one in found["sections"].values())
    assert {"card", "torch", "transformers", "seconds"} <= set(found)
    rows = {name: one["rows"] for name, one in found["sections"].items()}
    assert [row["ok"] for row in rows["correctness"]] == [True] * 5
    for name in ("speed, bfloat16", "speed, float32"):
        assert {(row["what"], row["documents"]) for row in rows[name]} == {
            (what, count)
            for what in (
                "teacher-forced pass",
                "scoring, 0.001",
                "scoring, 0.01",
                "distributions, 0.001",
            )
            for count in (1, 4)
        }
        assert all(row["per_s"] > 0 for row in rows[name])
    assert all(row["share"] > 0 for row in rows["1B"] if "share" in row)
    one, other = rows["kernels"]
    assert (one["dtype"], other["dtype"]) == ("bfloat16", "float32")
    assert other["kernels"] > other["calls"] > 0 and other["device_s"] > 0
    assert other["model_crossings"] > 0 and other["asked"] > 0
    assert "correctness: done" in done.stdout and "DIFFERENT" not in done.stdout


def changed(folder: Path, to: Path, name: str, number: Any) -> Path:
    """A copy of the folder with another first number of a case."""
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    data = json.loads((to / DATA).read_text())
    (case,) = (one for one in data["cases"] if one["name"] == name)
    case["numbers"] = [number(one) for one in case["numbers"]]
    (to / DATA).write_text(json.dumps(data))
    return to


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("bytes", lambda logp: logp - 2 * APART),
        ("words", lambda logp: logp + 2 * APART),
        ("distributions, bytes", lambda nats: nats + 2 * APART),
        ("proteins", lambda logp: logp + 2 * APART),
        ("strings drawn", lambda text: text[:-1] + "X"),
    ],
)
def test_a_number_that_was_changed_is_found(
    folder: Path, tmp_path: Path, name: str, number: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    other = changed(folder, tmp_path / "other", name, number)
    out = tmp_path / "out.json"
    given = ["--data", str(other), "--fake", "--json", str(out), "--only", "correctness"]
    assert bench_gpu.main(given) == 1
    (section,) = json.loads(out.read_text())["sections"].values()
    wrong = [row for row in section["rows"] if not row["ok"]]
    assert [row["what"] for row in wrong] == [name]
    assert "1: " in wrong[0]["first_difference"] or "string 1" in wrong[0]["first_difference"]
    assert "DIFFERENT" in capsys.readouterr().out


def test_a_string_may_differ_where_rounding_decides() -> None:
    stored = ["abc", "abd", "xyz", "uvw"]
    case = {"name": "strings drawn", "kind": "drawn", "numbers": stored}
    one = compared(case, ["abc", "axd", "xyz", "uvw"])
    assert (one["ok"], one["differ"]) == (True, 1)
    assert one["first_difference"] == "string 2, character 2: 'xd', 'bd'"
    assert not compared(case, ["abc", "axd", "xy", "uvw"])["ok"]
    assert not compared(case, stored[:3])["ok"]


def test_no_number_is_not_near() -> None:
    case = {"name": "bytes", "kind": "scores", "numbers": [-1.0, -2.0]}
    assert compared(case, [-1.0, -2.0 + APART / 2])["ok"]
    assert not compared(case, [float("nan"), -2.0])["ok"]
    assert not compared(case, [-1.0, -float("inf")])["ok"]


def test_drift_is_per_hundred_bytes() -> None:
    found = drift(["x" * 30, "é" * 10], [-10.0, -5.5], [-11.0, -5.0])
    assert found["apart"] == 1.0
    assert (found["per_100"], found["abs_per_100"]) == (1.0, 3.0)


# The stages of a run.


def stage(folder: Path) -> Stage:
    return Stage("cpu", folder, {"cases": [], "timed": []}, Tiny("cpu"), True)


def test_a_section_that_fails_or_is_late_loses_no_other(folder: Path, tmp_path: Path) -> None:
    def rows(*numbers: int) -> Any:
        return lambda stage: ({"what": str(n)} for n in numbers)

    def fails(stage: Stage) -> Iterator[dict[str, Any]]:
        yield {"what": "before"}
        raise ValueError("on purpose")

    def late(stage: Stage) -> Iterator[dict[str, Any]]:
        yield {"what": "before"}
        while True:
            try:
                time.sleep(0.01)
            except Exception:
                continue

    out = tmp_path / "out.json"
    results = Results({"card": "none"}, out, lambda name, row: None)
    sections = {
        "fails": (fails, 10.0),
        "late": (late, 0.1),
        "good": (rows(1, 2), 10.0),
    }
    run(stage(folder), sections, results, time.monotonic() + 30)
    found = json.loads(out.read_text())["sections"]
    assert found["fails"]["status"] == "failed: ValueError: on purpose"
    assert found["late"]["status"].startswith("ended after")
    assert found["good"]["status"] == "done" and len(found["good"]["rows"]) == 2
    assert [len(one["rows"]) for one in found.values()] == [1, 1, 2]
    assert not results.ok


def test_what_there_is_no_time_for_is_left_out(folder: Path) -> None:
    results = Results({}, None, lambda name, row: None)
    run(stage(folder), {"any": (lambda stage: iter(()), 9.0)}, results, time.monotonic() + 1)
    assert results.found["sections"]["any"]["status"] == "left out: no time"
    assert not results.ok


def test_numbers_that_are_stored_are_those_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = []

    def load(name: str, **options: Any) -> None:
        devices.append(options["device"])
        raise InterruptedError

    monkeypatch.setattr(gpu_prepare, "load_lm", load)
    monkeypatch.setattr(gpu_prepare, "packaged_gguf", lambda: Path(__file__))
    with pytest.raises(InterruptedError):
        gpu_prepare._chosen(None)
    monkeypatch.setattr(gpu_prepare, "save_targets", lambda folder: None)
    with pytest.raises(InterruptedError):
        gpu_prepare.prepare(Path(), True, None)
    assert devices == ["cpu", "cpu"]


def test_a_wrong_row_is_not_ok() -> None:
    results = Results({}, None, lambda name, row: None)
    results.begin("one")["status"] = "done"
    assert results.ok
    results.add("one", {"what": "x", "ok": False})
    assert not results.ok


def test_a_folder_of_another_kind_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="prepared with --fake"):
        bench_gpu.main(["--data", str(folder), "--device", "cpu"])
    with pytest.raises(SystemExit, match="prepare it on a machine"):
        bench_gpu.main(["--data", str(tmp_path), "--fake"])
    with pytest.raises(SystemExit, match="no section"):
        bench_gpu.main(["--data", str(folder), "--fake", "--only", "nothing"])


def test_another_model_than_that_of_the_numbers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.gguf.aa").write_bytes(b"GG")
    (tmp_path / "a.gguf.ab").write_bytes(b"UF")
    (tmp_path / DATA).write_text(
        json.dumps(
            {
                "format": 1,
                "fake": False,
                "model": {"name": "m", "sha256": "0", "default": True},
                "torch": "0",
                "cases": [],
                "timed": [],
            }
        )
    )
    parts = [f"--model-part={tmp_path / 'a.gguf'}.{end}" for end in ("aa", "ab")]
    with pytest.raises(SystemExit, match=r"a\.gguf isn't the model"):
        bench_gpu.main(["--data", str(tmp_path), "--device", "cpu", *parts])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is such a device")
def test_a_device_that_is_not_there_is_told(folder: Path) -> None:
    with pytest.raises(SystemExit, match="sees no CUDA device"):
        bench_gpu.main(["--data", str(folder), "--fake", "--device", "cuda"])


# Parts.


def test_clocks_wait_for_the_device(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def noted(what: str) -> Callable[[str], None]:
        return lambda device: calls.append(f"{what} {device}".removesuffix(" cuda:1"))

    monkeypatch.setattr(torch.cuda, "synchronize", noted("wait"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", noted("reset"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 2**20)
    on_device = stage(folder)
    on_device.device = "cuda:1"
    found = timed(on_device, lambda: calls.append("work"))
    assert calls == ["reset", *["wait", "work", "wait"] * (1 + RUNS)]
    assert (found["runs"], found["memory_mib"]) == (RUNS, 3.0)


def test_what_takes_long_runs_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 100.0])
    monkeypatch.setattr(gpu_sections.time, "perf_counter", lambda: next(clock))
    found = timed(stage(folder), lambda: None)
    assert (found["seconds"], found["first"], found["runs"]) == (100.0, 100.0, 0)


def test_parts_of_a_file_are_joined(tmp_path: Path) -> None:
    from contextlib import ExitStack

    parts = [tmp_path / "m.gguf.aa", tmp_path / "m.gguf.ab"]
    for part, content in zip(parts, (b"one", b"two"), strict=True):
        part.write_bytes(content)
    with ExitStack() as stack:
        whole = joined(parts, stack)
        assert (whole.name, whole.read_bytes()) == ("m.gguf", b"onetwo")
    assert not whole.exists()


def test_transducers_come_back_from_arrays(tmp_path: Path) -> None:
    fst = Fst.from_arcs([(0, 97, 300, 1), (1, -1, 5, 0)], 0, [0], Symbols("bytes", {300: "A"}))
    save_fst(tmp_path / "x.npz", fst)
    found = read_fst(tmp_path / "x.npz")
    assert found == fst and dict(found.symbols.names) == {300: "A"}


def test_windows_begin_at_different_words() -> None:
    texts = ["one two three", "four five six seven"]
    found = windows(texts, 7, 12)
    assert len(set(found)) == 7
    assert found[0] == "one two three"
    assert found[-1].startswith("seven one")
    with pytest.raises(SystemExit, match="not 8"):
        windows(texts, 8, 12)


def test_a_teacher_forced_pass_is_what_single_texts_give() -> None:
    tiny = Tiny("cpu")
    lm, plain = tiny.lm("float32"), tiny.plain("float32")
    ends = list(lm.vocab.eos)
    tokens = tokens_of(lm, ["abc", "ab ab cd", "h"])
    together = teacher_forced(plain, tokens, ends)
    for one, ids in zip(together, tokens, strict=True):
        assert teacher_forced(plain, [ids], ends) == pytest.approx([one], abs=1e-5)
        rows = lm.next_logp([ids[1 : i + 1] for i in range(len(ids))])
        rows = torch.tensor(rows).log_softmax(1)
        after = [*ids[1:], ends[0]]
        expected = sum(float(row[token]) for row, token in zip(rows, after, strict=True))
        assert one == pytest.approx(expected, abs=1e-4)


def test_what_the_profiler_of_a_device_says() -> None:
    def event(name: str, begin: float, end: float, on: Any = DeviceType.CUDA) -> Any:
        return SimpleNamespace(
            name=name, device_type=on, time_range=SimpleNamespace(start=begin, end=end)
        )

    host = DeviceType.CPU
    found = summed(
        [
            event("ampere_gemm", 0, 10),
            event("softmax", 5, 12),
            event("Memcpy DtoH (Device -> Pageable)", 20, 21),
            event("Memcpy HtoD (Pageable -> Device)", 30, 31),
            event("Memset (Device)", 31, 32),
            event("cudaLaunchKernel", 0, 100, host),
            event("cudaStreamSynchronize", 0, 100, host),
        ],
        cuda=True,
    )
    assert (found["kernels"], found["waits"]) == (2, 1)
    assert (found["copies_to_host"], found["copies_to_device"]) == (1, 1)
    assert found["device_s"] == pytest.approx(15e-6)


def test_time_is_counted_once() -> None:
    assert covered([]) == 0.0
    assert covered([(5, 6), (0, 2), (1, 3), (1, 2)]) == 4.0
