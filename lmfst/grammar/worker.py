"""The process that compiles a grammar: it can be killed, which a call into OpenFst can't.

A job comes as JSON on stdin; events go as JSON lines to stdout: `at` (the statement that is being
worked on), `warning`, and at the end `done` or `error`. The result is written to the descriptor
that the job names.

The time limit is the system's timer of processor time (ITIMER_PROF), set anew for each statement.
Its signal ends the process in whatever code it is.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmfst.fst.capture import Capture
from lmfst.grammar.container import Entry, pack
from lmfst.grammar.evaluate import Evaluator
from lmfst.grammar.export import finished
from lmfst.grammar.modules import Module
from lmfst.grammar.paths import Finder
from lmfst.grammar.source import RuleError
from lmfst.grammar.values import Value, kind_of
from lmfst.ground.errors import GrammarError, LmfstError

_RECURSION = 4000
"""Depth of nested expressions: the evaluator calls itself a few times for each level."""
_PR_SET_PDEATHSIG = 1
"""From <linux/prctl.h>: which signal comes when the parent ends."""


def main() -> None:
    """Run the job on stdin."""
    job = json.load(sys.stdin)
    _end_with(job["parent"])
    _let_timer_end()
    _limit_memory(job["max_memory"])
    sys.setrecursionlimit(_RECURSION)
    try:
        with Capture() as capture:
            data = compile_job(job, capture)
        _limit_time(0.0)
        with os.fdopen(job["output"], "wb") as output:
            output.write(data)
        _tell("done", {})
    except LmfstError as error:
        _tell("error", {"kind": type(error).__name__, "message": error.message, "hint": error.hint})
    except MemoryError:
        _tell("memory", {})


def compile_job(job: Mapping[str, Any], capture: Capture) -> bytes:
    """The packed result of a job. GrammarError or BudgetError if the grammar can't be compiled."""
    warnings: list[str] = []

    def warn(message: str) -> None:
        warnings.append(message)
        _tell("warning", {"message": message})

    def at(where: str, excerpt: str, shipped: bool) -> None:
        _tell("at", {"where": where, "excerpt": excerpt})
        _limit_time(0.0 if shipped else job.get("timeout", 0.0))

    finder = Finder(job["include"], Path(job["path"]).parent)
    evaluator = Evaluator(
        finder,
        capture,
        max_states=job["max_states"],
        warn=warn,
        report=at,
    )
    module = evaluator.load(Path(job["path"]), job["shown"])
    entries = [
        _exported(evaluator, module, name) for name in _wanted(evaluator, module, job["rule"])
    ]
    extra = {"warnings": warnings, "lookups": finder.lookups(), "largest": evaluator.largest}
    return pack(entries, extra)


def _wanted(evaluator: Evaluator, module: Module, rule: str | None) -> list[str]:
    """The rules to export. If none is named, the others are evaluated too: they may assert."""
    if rule is not None:
        if rule not in module.exports:
            raise missing_rule(module.source.path, rule, module.exports, rule in module.rules)
        return [rule]
    for name in module.rules:
        evaluator.rule(module, name)
    return module.exports


def missing_rule(path: str, rule: str, exports: list[str], known: bool) -> GrammarError:
    """The error for a rule that the grammar doesn't export."""
    if known:
        return GrammarError(f"{path}: {rule} isn't exported", hint=f"write `export {rule} = …;`")
    shown = ", ".join(exports) or "nothing"
    return GrammarError(f"{path} has no rule {rule}", hint=f"it exports {shown}")


def _exported(evaluator: Evaluator, module: Module, name: str) -> Entry:
    value = evaluator.rule(module, name)
    pos = module.rules[name].pos
    if not isinstance(value, Value):
        raise module.source.error(
            pos,
            f"only FSTs can be exported, not {kind_of(value)}",
            rule=name,
            hint="leave out `export`",
        )

    def warn(message: str) -> None:
        evaluator.warn_once(f"{module.source.where(pos)}: rule {name}: {message}")

    try:
        fst, labels = finished(value, evaluator.labels, warn)
    except RuleError as error:
        raise module.source.error(pos, error.message, rule=name, hint=error.hint) from error
    return Entry(name, fst.write_to_string(), labels)


def _tell(event: str, content: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps({"event": event, **content}) + "\n")
    sys.stdout.flush()


def _limit_time(seconds: float) -> None:
    """End this process after so many seconds of processor time from now; 0: never."""
    if hasattr(signal, "ITIMER_PROF"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _let_timer_end() -> None:
    """Take back what the parent may have made of the timer's signal: to be ignored, or to wait."""
    if hasattr(signal, "SIGPROF"):
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})


def _end_with(parent: int) -> None:
    """Let the system end this process when its parent ends, however that does (on Linux).

    Otherwise a statement without an end would go on, with nobody to wait for it.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it had ended before that
        sys.exit(1)


def _limit_memory(limit: int) -> None:
    """Bound this process's address space, in bytes; no core file if that kills it."""
    try:
        import resource
    except ImportError:  # not a POSIX system
        return
    for what, wanted in ((resource.RLIMIT_AS, limit), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(what)
        bound = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(what, (bound, hard))
