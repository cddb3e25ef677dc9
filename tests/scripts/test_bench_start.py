"""The benchmark of a start: what it compares and adds up, without a model."""

from __future__ import annotations

import importlib
import sys
import time

import pytest

from tests.support.paths import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "scripts"))

import bench_start


def test_processes_are_timed_to_their_end_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    class Fake:
        def __init__(self, name: str, seconds: float) -> None:
            self.name, self._seconds = name, seconds

        def seconds(self) -> tuple[float, float]:
            order.append(self.name)
            return self._seconds, self._seconds / 2

    pairs = bench_start.in_turn(Fake("least", 2.0), Fake("lmfst", 3.0), 3)  # type: ignore[arg-type]
    assert order == ["least", "lmfst", "lmfst", "least", "least", "lmfst"]
    assert pairs == [[(2.0, 1.0), (3.0, 1.5)]] * 3
    assert bench_start.report(pairs) == 1.5


def test_a_process_counts_to_its_end() -> None:
    code = "import atexit, time\natexit.register(time.sleep, 0.3)\nfor i in range(10**6): pass"
    process = bench_start.Process(code, [], bench_start.environment(1))
    began = time.perf_counter()
    clock, used = process.seconds()
    assert 0.3 <= clock <= time.perf_counter() - began and 0 < used < clock
    with pytest.raises(SystemExit, match="no such thing"):
        bench_start.Process("raise ValueError('no such thing')", [], {}).run()


def test_imports_are_added_up_by_package() -> None:
    said = (
        "import time: self [us] | cumulative | imported package\n"
        "import time:       100 |        100 |     torch.nn\n"
        "import time:   2000000 |    2000100 |   torch\n"
        "import time:       300 |        300 | lmfst.lm.tree\n"
        "import time:       200 |        200 | lmfst.lm\nsomething else\n"
    )
    found = bench_start.imported(said)
    assert found == pytest.approx({"torch": 2.0001, "lmfst.lm": 0.0005})


@pytest.mark.parametrize("name", bench_start.STEPS.values())
def test_steps_are_functions_of_lmfst(name: str) -> None:
    owner, rest = importlib.import_module("lmfst"), name.split(".")[1:]
    path = "lmfst"
    for part in rest:
        path = f"{path}.{part}"
        found = getattr(owner, part, None)
        owner = importlib.import_module(path) if found is None else found
    assert callable(owner)
