"""The benchmark of two processes: what it compares, without a model."""

from __future__ import annotations

import sys

import pytest

from tests.support.paths import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "scripts"))

import bench_two


def test_settings_of_this_process_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    plain = bench_two.environment([])
    assert not set(bench_two.SETTINGS) & set(plain)
    assert bench_two.environment(["GOMP_SPINCOUNT=5"])["GOMP_SPINCOUNT"] == "5"


def test_workers_begin_together(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = "import sys\nprint('ready', flush=True)\nfor line in sys.stdin: print(2.5, flush=True)"
    monkeypatch.setattr(bench_two, "WORKER", worker)
    workers = bench_two.Workers(2, "text", 1e-3, bench_two.environment([]))
    assert [workers.seconds(1), workers.seconds(2)] == [2.5, 2.5]
    workers.close()
