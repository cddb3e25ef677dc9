"""Compile grammars in this process, and apply FSTs path by path: no help from lmfst.fst."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pynini
import pytest

from lmfst.fst.capture import Capture
from lmfst.grammar import CompiledModule, CompiledRule
from lmfst.grammar.container import unpack
from lmfst.grammar.worker import compile_job
from tests.support import paths

DATA = paths.DATA / "grammar"
BOUNDARIES = {0xF8FE: "BOS", 0xF8FF: "EOS"}


def compile_here(
    path: Path,
    rule: str | None = None,
    include: Sequence[Path] = (),
    max_states: int = 1_000_000,
) -> CompiledModule:
    """As `compile_file`, but without a process, limits on time and memory, and the cache."""
    job = {
        "path": str(path),
        "shown": path.name,
        "rule": rule,
        "include": [str(folder) for folder in include],
        "max_states": max_states,
    }
    with Capture() as capture:
        packed = unpack(compile_job(job, capture))
    assert packed is not None
    entries, extra = packed
    rules = [CompiledRule(entry.name, entry.data, entry.labels) for entry in entries]
    return CompiledModule(str(path), rules, extra["warnings"])


def compile_text(
    text: str | bytes, folder: Path, files: Mapping[str, str | bytes] | None = None, **options: Any
) -> CompiledModule:
    """Compile a grammar given as text; `files` are written beside it."""
    for name, content in {"g.grm": text, **(files or {})}.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
    return compile_here(folder / "g.grm", **options)


def value(text: str, folder: Path, **options: Any) -> pynini.Fst:
    """The FST of one expression."""
    return compile_text(f"export r = {text};", folder, **options).rule("r").openfst


def error_of(text: str | bytes, folder: Path, **options: Any) -> str:
    """The message of the error that a grammar gives."""
    from lmfst.ground.errors import LmfstError

    with pytest.raises(LmfstError) as caught:
        compile_text(text, folder, **options)
    return str(caught.value)


def byte_labels(data: bytes) -> list[int]:
    return [byte or 256 for byte in data]


def apply(fst: pynini.Fst, labels: Sequence[int], limit: int = 1000) -> set[tuple[int, ...]]:
    """The outputs of an FST for one input; raises if there are more than `limit` steps."""
    results: set[tuple[int, ...]] = set()
    zero = pynini.Weight.zero(fst.weight_type())
    pending = [(fst.start(), 0, ())] if fst.start() != -1 else []
    seen = set(pending)
    while pending:
        state, position, output = pending.pop()
        if position == len(labels) and fst.final(state) != zero:
            results.add(output)
        for arc in fst.arcs(state):
            if arc.ilabel and (position == len(labels) or arc.ilabel != labels[position]):
                continue
            emitted = (*output, arc.olabel) if arc.olabel else output
            step = (arc.nextstate, position + (arc.ilabel != 0), emitted)
            if step not in seen:
                seen.add(step)
                pending.append(step)
        assert len(seen) <= limit * (len(labels) + 1), "an epsilon cycle that gives output?"
    return results


def shown(labels: Sequence[int], names: Mapping[int, str], utf8: bool = False) -> str:
    """Labels as text: symbols in brackets, bytes as UTF-8."""
    names = {**BOUNDARIES, **names}
    parts = []
    for label in labels:
        if label in names:
            parts.append(f"[{names[label]}]".encode())
        else:
            parts.append(chr(label).encode() if utf8 else bytes([label % 256]))
    return b"".join(parts).decode("utf-8", "backslashreplace")


def translate(rule: CompiledRule, text: str | bytes, utf8: bool = False) -> set[str]:
    """The outputs of a rule for a text."""
    data = text.encode() if isinstance(text, str) else text
    labels = [ord(char) for char in data.decode()] if utf8 else byte_labels(data)
    return {shown(output, rule.labels, utf8) for output in apply(rule.openfst, labels)}


def cases(path: Path) -> list[tuple[str, str, set[str] | None]]:
    """Rows of an examples file: rule, input, outputs (JSON strings, tab-separated)."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            rule, given, *wanted = line.split("\t")
            rows.append((rule, json.loads(given), {json.loads(text) for text in wanted}))
    return rows
