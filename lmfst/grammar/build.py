"""Compiling a .grm file to FSTs: in a process of its own, within limits, and cached."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lmfst.grammar import runner
from lmfst.grammar.compiled import CompiledModule, CompiledRule
from lmfst.grammar.container import Entry, unpack
from lmfst.grammar.kept import keep, kept, key_of
from lmfst.grammar.paths import Finder
from lmfst.ground.announce import Announced, warn_default
from lmfst.ground.cache import once
from lmfst.ground.errors import GrammarError, UsageError
from lmfst.ground.types import Warn

MAX_STATES = 1_000_000
TIMEOUT = 60.0
MAX_MEMORY = 4 << 30
LONGEST = 1e8
"""Seconds; the system's timers don't go much further."""


def compile_file(
    path: str | Path,
    *,
    rule: str | None = None,
    include: Sequence[str | Path] = (),
    max_states: int = MAX_STATES,
    timeout: float = TIMEOUT,
    max_memory: int = MAX_MEMORY,
    cache: bool = True,
    warn: Warn = warn_default,
) -> CompiledModule:
    """Compile a grammar file.

    rule:       only this exported rule and what it needs; otherwise everything in the file.
    include:    folders where imports and data files are looked for, after the grammar's own folder.
    max_states: of any FST on the way.
    timeout:    seconds of processor time for each statement; 0: no limit. Statements of the
                grammars that come with lmfst have none.
    max_memory: bytes of address space of the compiling process.
    cache:      whether to look the result up, and keep it, in the user's cache folder.
    warn:       called with each warning, also when the result comes from the cache.

    GrammarError for anything wrong with the grammar, BudgetError when a limit is reached,
    UsageError for a timeout that is no time.
    """
    if not timeout >= 0:
        raise UsageError(f"--timeout must be at least 0, not {timeout}")
    absolute = Path(os.path.abspath(path))
    shown = str(path)
    content = _content(absolute, shown)
    folders = [os.path.abspath(folder) for folder in include]
    if cache:
        found = _found(absolute, content, rule, folders, max_states)
        if found is not None:
            return _module(shown, *found, rule=rule, warn=warn)
    job = {
        "path": str(absolute),
        "shown": shown,
        "rule": rule,
        "include": folders,
        "max_states": max_states,
        "max_memory": max_memory,
    }
    with Announced(f"compiling the grammar {shown}{once('grammars') if cache else ''}"):
        data = runner.run_job(job, timeout=min(timeout, LONGEST), warn=warn)
    unpacked = _unpacked(data, shown)
    if cache:
        keep(key_of(absolute, content, rule), data, warn)
    return _module(shown, *unpacked, rule=rule, warn=None)


def _found(
    path: Path, content: bytes, rule: str | None, folders: list[str], max_states: int
) -> tuple[list[Entry], dict[str, Any]] | None:
    """What is kept of a grammar, of all of its rules or of the one that is asked for."""
    for wanted in dict.fromkeys((None, rule)):
        finder = Finder(folders, path.parent)
        found = kept(key_of(path, content, wanted), finder, max_states)
        if found is not None and (rule is None or any(entry.name == rule for entry in found[0])):
            return found
    return None


def _unpacked(data: bytes, shown: str) -> tuple[list[Entry], dict[str, Any]]:
    """The compiler's result. GrammarError if it is damaged."""
    unpacked = unpack(data)
    if unpacked is None:
        raise GrammarError(f"{shown}: the compiler's result can't be read", hint="run it once more")
    return unpacked


def _content(path: Path, shown: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise GrammarError(
            f"{shown}: expected a grammar file: {error.strerror or error}",
            hint="give the path of a .grm file that you may read",
        ) from error


def _module(
    shown: str,
    entries: list[Entry],
    extra: Mapping[str, Any],
    *,
    rule: str | None,
    warn: Warn | None,
) -> CompiledModule:
    messages = [str(message) for message in extra["warnings"]]
    if warn is not None:
        for message in messages:
            warn(message)
    rules = [
        CompiledRule(entry.name, entry.data, entry.labels)
        for entry in entries
        if rule is None or entry.name == rule
    ]
    return CompiledModule(shown, rules, messages)
