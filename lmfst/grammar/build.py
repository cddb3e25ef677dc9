"""Compile a .grm file to FSTs: in a process of its own, within limits, and cached.

A compiled file is found again by its path and content; the entry is good if every file that was
looked up for it (imports, string files, …) is still found at the same place with the same
content.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmfst.grammar.container import Entry, unpack
from lmfst.grammar.paths import Finder
from lmfst.ground._version import __version__
from lmfst.ground.announce import Announced
from lmfst.ground.cache import atomic_write, cache_dir, once, write_hint
from lmfst.ground.errors import GrammarError, InputError, UsageError
from lmfst.ground.types import Warn

if TYPE_CHECKING:
    from lmfst.fst import Fst


MAX_STATES = 1_000_000
TIMEOUT = 60.0
MAX_MEMORY = 4 << 30
LONGEST = 1e8
"""Seconds; the system's timers don't go much further."""


def warn_default(message: str) -> None:
    """The callback used where the caller gives none."""
    warnings.warn(message, stacklevel=3)


@dataclass(frozen=True)
class CompiledRule:
    """One exported rule of a grammar.

    openfst_bytes: the FST in OpenFst's binary format, with symbol tables unless it is plain bytes.
    labels:        names of the generated symbols it uses, by label.
    """

    name: str
    openfst_bytes: bytes
    labels: Mapping[int, str]

    @cached_property
    def openfst(self) -> Any:
        """The pynini FST; shared, so copy it before changing it."""
        import pynini

        return pynini.Fst.read_from_string(self.openfst_bytes)

    @cached_property
    def fst(self) -> Fst:
        """The transducer over bytes. FstError if its labels can't be read."""
        return self.to_fst()

    def to_fst(self, warn: Warn = warn_default, *, weights: bool = False) -> Fst:
        """As `fst`, with a callback for warnings (dropped weights, unreachable symbols). weights:
        whether to keep them."""
        from lmfst.fst import InputMode, from_openfst

        # Where a rule has no symbol tables it is bytes (`lmfst.grammar.export`): no need to guess.
        mode: InputMode = "byte" if self.openfst.input_symbols() is None else "auto"
        return from_openfst(
            self.openfst,
            name=self.name,
            names=self.labels,
            mode=mode,
            weights=weights,
            warn=warn,
        )


class CompiledModule:
    """The exported rules of a grammar file, in file order."""

    def __init__(
        self, path: str, rules: Sequence[CompiledRule], warnings: Sequence[str] = ()
    ) -> None:
        self.path = path
        self.warnings = list(warnings)
        self._rules = {rule.name: rule for rule in rules}

    @property
    def exports(self) -> list[str]:
        return list(self._rules)

    def rule(self, name: str | None = None) -> CompiledRule:
        """A rule by name; without one the main rule.

        The main rule is the only one, or the one called MAIN, or like the file in upper case.
        GrammarError if there is no such rule.
        """
        if name is None:
            name = self.main_rule()
        if name not in self._rules:
            shown = ", ".join(self.exports) or "nothing"
            raise GrammarError(f"{self.path} exports no rule {name}", hint=f"it exports {shown}")
        return self._rules[name]

    def main_rule(self) -> str:
        """The name of the rule that is meant when none is named. GrammarError if it isn't clear."""
        upper = Path(self.path).stem.upper()
        if len(self._rules) == 1:
            return next(iter(self._rules))
        for name in ("MAIN", upper):
            if name in self._rules:
                return name
        if not self._rules:
            raise GrammarError(f"{self.path} exports no rule", hint="write `export NAME = …;`")
        raise GrammarError(
            f"{self.path} exports several rules and none is called MAIN or {upper}",
            hint=f"name one of {', '.join(self.exports)}: {self.path}:{self.exports[0]}",
        )

    def write_fst(self, rule: str | None, path: str | Path) -> None:
        """Write one rule as an OpenFst file, in one step. InputError if it can't be written."""
        _write(Path(path), self.rule(rule).openfst_bytes)

    def write_far(self, path: str | Path) -> None:
        """Write all rules as an OpenFst archive (sttable), in one step.

        Generated symbols are named in the entry `*StringFstSymbolTable`, as Thrax does.
        InputError if it can't be written.
        """
        from lmfst.grammar.far import far_bytes

        _write(Path(path), far_bytes(list(self._rules.values())))


def to_fst(module: CompiledModule, rule: str | None = None, warn: Warn = warn_default) -> Fst:
    """A compiled rule as a transducer over bytes. FstError if its labels can't be read."""
    return module.rule(rule).to_fst(warn)


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
    from lmfst.grammar.runner import run_job

    if not timeout >= 0:
        raise UsageError(f"--timeout must be at least 0, not {timeout}")
    absolute = Path(os.path.abspath(path))
    shown = str(path)
    content = _content(absolute, shown)
    folders = [os.path.abspath(folder) for folder in include]
    if cache:
        for wanted in dict.fromkeys((None, rule)):
            finder = Finder(folders, absolute.parent)
            found = _cached(_key(absolute, content, wanted), finder, max_states)
            if found is not None and (rule is None or any(e.name == rule for e in found[0])):
                return _module(shown, *found, rule=rule, warn=warn)
    job = {
        "path": str(absolute),
        "shown": shown,
        "rule": rule,
        "include": folders,
        "max_states": max_states,
        "max_memory": max_memory,
    }
    kept = once("grammars") if cache else ""
    with Announced(f"compiling the grammar {shown}{kept}"):
        data = run_job(job, timeout=min(timeout, LONGEST), warn=warn)
    unpacked = unpack(data)
    if unpacked is None:
        raise GrammarError(f"{shown}: the compiler's result can't be read", hint="run it once more")
    if cache:
        _store(_key(absolute, content, rule), data, warn)
    return _module(shown, *unpacked, rule=rule, warn=None)


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


def _key(path: Path, content: bytes, rule: str | None) -> str:
    from importlib.metadata import version

    parts = [
        str(path),
        hashlib.sha256(content).hexdigest(),
        rule,
        __version__,
        version("pynini"),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _cached(key: str, finder: Finder, max_states: int) -> tuple[list[Entry], dict[str, Any]] | None:
    """The entry of a key if it is whole and nothing it was made from has changed."""
    try:
        data = (cache_dir("grammars") / key).read_bytes()
    except (OSError, InputError):
        return None
    found = unpack(data)
    if found is None:
        return None
    extra = found[1]
    try:
        fresh = extra["largest"] <= max_states and finder.same(extra["lookups"])
    except (KeyError, TypeError, ValueError):
        return None
    return found if fresh else None


def _store(key: str, data: bytes, warn: Warn) -> None:
    try:
        atomic_write(cache_dir("grammars") / key, data)
    except (OSError, InputError) as error:
        warn(f"the compiled grammar wasn't kept: {error}")


def _write(path: Path, data: bytes) -> None:
    try:
        atomic_write(path, data)
    except OSError as error:
        raise InputError(
            f"{path} can't be written: {error.strerror or error}",
            hint=write_hint(error),
        ) from error
