"""The sections of the benchmark. Each compares settings that take turns in one run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmark.common import Bench
from benchmark.rounds import Setting, take_turns
from benchmark.texts import of_length, size
from benchmark.workers import Worker
from lmfst.ground.cache import cache_dir

Section = dict[str, Any]
BEAM, THRESHOLD = 8, 1e-3
"""The settings in which lmfst and genlm-bytes are compared; both mean the same by them."""
USUAL: dict[str, Any] = {"beam": BEAM, "threshold": THRESHOLD}
SCORING = f"lmfst scoring, K={BEAM}, {THRESHOLD:g}"
FULL = f"lmfst distributions, K={BEAM}, "
GENLM_SCORING = f"genlm-bytes scoring, K={BEAM}, {THRESHOLD:g}"
GENLM_FULL = f"genlm-bytes distributions, K={BEAM}, "
TEACHER_FORCED, DECODING = "teacher-forced pass", "decoding, token by token"
BYTES_ROW, WORDS_ROW = "scoring, --to bytes", "scoring, --to words:ANY"
ONE_BY_ONE, TOGETHER = "short lines one by one", "short lines together"


def _run(bench: Bench, settings: list[Setting], mode: str, texts: Sequence[str] = ()) -> Section:
    """Run settings, all over the same texts (default: the benchmark's)."""
    texts = texts or bench.texts
    if mode != "other":
        bench.reference(texts)
    take_turns(settings, bench.repeats, bench.budget)
    return {
        "rows": bench.rows(settings, mode, texts),
        "documents": len(texts),
        "bytes": size(texts),
    }


def full(bench: Bench) -> Section:
    """Next-byte distributions at every position, lmfst and genlm-bytes."""
    texts = bench.compared
    with bench.lmfst() as ours:
        settings = [
            bench.setting(ours, f"{FULL}{t:g}", "distributions", texts, beam=BEAM, threshold=t)
            for t in (1e-1, 1e-2, 8e-3, 5e-3, 3e-3, 1e-3)
        ]
        if bench.genlm is None:
            return _run(bench, settings, "distributions", texts)
        with bench.genlm_worker() as theirs:
            name = f"{GENLM_FULL}{THRESHOLD:g}"
            settings.append(bench.setting(theirs, name, "distributions", texts, **USUAL))
            found = _run(bench, settings, "distributions", texts)
        return found | {"genlm": theirs.facts}


def genlm_curve(bench: Bench) -> Section:
    """genlm-bytes with other thresholds."""
    texts = bench.compared
    with bench.genlm_worker() as theirs:
        settings = [
            bench.setting(
                theirs, f"{GENLM_FULL}{t:g}", "distributions", texts, beam=BEAM, threshold=t
            )
            for t in (1e-1, 1e-2)
        ]
        return _run(bench, settings, "distributions", texts)


def genlm_scoring(bench: Bench) -> Section:
    """The probability of the texts only, lmfst and genlm-bytes."""
    texts = bench.compared
    with bench.lmfst() as ours, bench.genlm_worker() as theirs:
        settings = [
            bench.setting(
                ours, f"lmfst scoring, K={BEAM}, {t:g}", "score", texts, beam=BEAM, threshold=t
            )
            for t in (1e-1, 3e-2, 1e-2, 3e-3, 1e-3)
        ]
        settings.append(bench.setting(theirs, GENLM_SCORING, "score", texts, **USUAL))
        return _run(bench, settings, "score", texts)


def scoring(bench: Bench) -> Section:
    """The probability of the texts only, one by one and together, with the yardsticks."""
    with bench.plain() as plain, bench.lmfst() as ours:
        settings = [
            bench.setting(plain, TEACHER_FORCED, "teacher-forced"),
            bench.setting(plain, DECODING, "decoding"),
        ]
        for t in (1e-2, 1e-3, 1e-4):
            for together in (False, True):
                name = f"lmfst scoring, K={BEAM}, {t:g}{', together' if together else ''}"
                options: dict[str, Any] = {"beam": BEAM, "threshold": t}
                settings.append(bench.setting(ours, name, "score", together=together, **options))
        return _run(bench, settings, "score")


def beams(bench: Bench) -> Section:
    """Scoring as the beam grows."""
    with bench.lmfst() as ours:
        settings = [
            bench.setting(
                ours, f"lmfst scoring, K={k}, {THRESHOLD:g}", "score", beam=k, threshold=THRESHOLD
            )
            for k in (1, 2, 4, 8, 16, 32)
        ]
        return _run(bench, settings, "score")


def lookahead(bench: Bench) -> Section:
    """Distributions with and without lookahead, which needs the text to be known beforehand."""
    texts = bench.compared
    with bench.lmfst() as ours:
        settings = [
            bench.setting(
                ours, f"{FULL}{THRESHOLD:g}{tail}", "distributions", texts, lookahead=ahead, **USUAL
            )
            for tail, ahead in (("", True), (", no lookahead", False))
        ]
        return _run(bench, settings, "distributions", texts)


def words(bench: Bench) -> Section:
    """Words, with any white space between them, against bytes on the same texts, with lexicons
    built; and what building them takes.

    The cold start begins with an empty cache folder (but for the model), the warm one in a new
    process with the folder as the cold one left it.
    """
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "models").symlink_to(cache_dir("models"))
        with bench.lmfst(LMFST_CACHE=folder) as ours:
            starts = [{"cache": "empty", **_start(bench, ours)}]
        with bench.lmfst(LMFST_CACHE=folder) as ours:
            starts.append({"cache": "filled", **_start(bench, ours)})
            settings = [
                bench.setting(ours, BYTES_ROW, "score", to="bytes", **USUAL),
                bench.setting(ours, WORDS_ROW, "score", to="words:ANY", warm=(), **USUAL),
            ]
            return _run(bench, settings, "other") | {"starts": starts}


def _start(bench: Bench, worker: Worker) -> dict[str, float]:
    """Seconds: target (the grammar compiled or loaded), checks (of it, against the model), first
    and again (scoring all texts twice), lexicons (the difference)."""
    opened = worker.ask("open", to="words:ANY")
    first, again = (
        worker.ask("score", bench.texts, to="words:ANY", **USUAL)["seconds"] for _ in range(2)
    )
    return {
        "target": opened["target"],
        "checks": opened["checks"],
        "first": first,
        "again": again,
        "lexicons": first - again,
    }


def lines(bench: Bench) -> Section:
    """Many short documents."""
    with bench.lmfst() as ours:
        settings = [
            bench.setting(ours, ONE_BY_ONE, "score", bench.lines, **USUAL),
            bench.setting(ours, TOGETHER, "score", bench.lines, together=True, **USUAL),
        ]
        return _run(bench, settings, "other", bench.lines)


def lengths(bench: Bench) -> Section:
    """Time and peak memory as one text grows; a new process for every row."""
    rows: list[dict[str, Any]] = []
    for mode in ("score", "distributions"):
        for length in bench.sizes:
            with bench.lmfst() as ours:
                text = [of_length(bench.texts, length)]
                setting = bench.setting(ours, f"{mode}, {length} bytes", mode, text, **USUAL)
                rows += _run(bench, [setting], "other", text)["rows"]
    return {"rows": rows}


SECTIONS: dict[str, Callable[[Bench], Section]] = {
    "scoring": scoring,
    "beams": beams,
    "full": full,
    "genlm-scoring": genlm_scoring,
    "genlm-curve": genlm_curve,
    "lookahead": lookahead,
    "words": words,
    "lines": lines,
    "lengths": lengths,
}
NEED_GENLM = {"genlm-scoring", "genlm-curve"}
