"""What the commands do, between parsed options and rows: loading, reading, scoring, writing."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from lmfst.cli.terminal import Terminal
from lmfst.errors import InputError, UsageError
from lmfst.io import Document, open_rows, read_documents
from lmfst.policy import Beam, Exact, Policy
from lmfst.records import (
    ESCAPED_COLUMNS,
    NEXT_COLUMNS,
    SUMMARY_COLUMNS,
    TEXT_COLUMNS,
    UNIT_COLUMNS,
    Row,
    Scored,
    bits,
    summary_row,
)
from lmfst.score import TransducedLM
from lmfst.sequential import run
from lmfst.target import load_target
from lmfst.units import Units


@dataclass(frozen=True)
class Settings:
    """The options that decide the numbers. load: options of `lmfst.lm.load.load_lm`."""

    to: str
    model: str
    policy: str
    beam: int
    threshold: float
    node_budget: int
    partial: str
    load: dict[str, Any] = field(default_factory=dict)

    def make_policy(self) -> Policy:
        """The policy; UsageError for a setting outside its range."""
        if self.policy == "exact":
            return Exact(node_budget=self.node_budget)
        return Beam(node_budget=self.node_budget, size=self.beam, threshold=self.threshold)

    def make_model(self, terminal: Terminal) -> TransducedLM:
        """Everything loaded and checked, cheap things first."""
        policy = self.make_policy()
        target = load_target(self.to, warn=terminal.warn)
        from lmfst.lm.load import load_lm

        lm = load_lm(self.model, warn=terminal.warn, note=terminal.note, **self.load)
        return TransducedLM(lm, target, policy, partial=self.partial, warn=terminal.warn)


def documents(paths: Sequence[str], doc: str, terminal: Terminal) -> Iterator[Document]:
    """The documents of several files; ids carry the file's name where there are several."""
    for path in paths:
        for document in read_documents(path, doc=cast(Any, doc), warn=terminal.warn):
            if len(paths) > 1:
                yield Document(f"{path}:{document.id}", document.text, document.origin)
            else:
                yield document


def convert(
    settings: Settings,
    paths: Sequence[str],
    *,
    given: str,
    doc: str,
    batch: int,
    level: str,
    format: str,
    output: str | None,
    meta: str | None,
    terminal: Terminal,
) -> None:
    """Score documents and write rows of a level."""
    if batch < 1:
        raise UsageError(f"--batch must be at least 1, not {batch}")
    _require_files(paths)
    model = settings.make_model(terminal)
    if meta is not None:
        Path(meta).write_text(json.dumps(model.describe(), indent=1, ensure_ascii=False) + "\n")
    columns = {"unit": UNIT_COLUMNS, "text": TEXT_COLUMNS, "summary": SUMMARY_COLUMNS}[level]
    texts: list[Row] = []
    with open_rows(output, cast(Any, format), columns, escaped=ESCAPED_COLUMNS) as writer:
        for scored in model.score_documents(
            documents(paths, doc, terminal), given=cast(Any, given), batch=batch
        ):
            for row in _rows(scored, level, texts):
                writer.write(row)
            writer.flush()
        if level == "summary":
            writer.write(summary_row(texts))


def _rows(scored: Scored, level: str, texts: list[Row]) -> list[Row]:
    if level == "unit":
        return scored.unit_rows()
    if level == "text":
        return [scored.text_row()]
    texts.append(scored.text_row())
    return []


def _require_files(paths: Sequence[str]) -> None:
    """Say that a file is missing before a model is loaded for it."""
    for path in paths:
        if path != "-" and not Path(path).exists():
            raise InputError(
                f"there is no file {path}", hint="give an existing file, or - for stdin"
            )


def next_units(
    settings: Settings,
    prefix: str,
    *,
    top: int,
    format: str,
    output: str | None,
    terminal: Terminal,
) -> None:
    """Write the next-unit distribution after `prefix`, most probable first."""
    if top < 0:
        raise UsageError(f"--top must be at least 0, not {top}")
    model = settings.make_model(terminal)
    units = sorted(model.next_logp(prefix).items(), key=lambda item: -item[1])
    with open_rows(output, cast(Any, format), NEXT_COLUMNS, escaped=ESCAPED_COLUMNS) as writer:
        for name, logp in units[:top] if top else units:
            p = 2.0 ** -bits(logp)
            writer.write({"unit": name, "logp": logp, "surprisal": bits(logp), "p": p})


def apply(to: str, paths: Sequence[str], *, doc: str, terminal: Terminal) -> None:
    """Write f(text) of every document as a line."""
    _require_files(paths)
    target = load_target(to, warn=terminal.warn)
    out = sys.stdout.buffer
    for document in documents(paths, doc, terminal):
        try:
            found = run(target.machine, document.text)
        except InputError as error:
            raise InputError(f"{document.origin}: {error.message}", hint=error.hint) from None
        out.write(shown(found, target.units) + b"\n")
        out.flush()


def shown(target: Sequence[int], units: Units) -> bytes:
    """A target string as bytes: bytes and characters as they are, generated symbols as [NAME], the
    symbols of a table by name, separated by spaces."""
    kind, names = units.symbols.kind, units.symbols.names
    if kind == "symbols":
        return " ".join(map(units.symbols.name, target)).encode()
    pieces = []
    for symbol in target:
        if symbol in names:
            name = names[symbol]
            pieces.append(name.encode() if name.startswith("\\x") else f"[{name}]".encode())
        elif kind == "bytes":
            pieces.append(bytes([symbol]))
        else:
            pieces.append(chr(symbol).encode())
    return b"".join(pieces)
