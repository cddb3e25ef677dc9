"""What the commands do, between parsed options and rows: loading, reading, scoring, writing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from lmfst.cache import atomic_write
from lmfst.cli.options import grammar_options
from lmfst.cli.progress import Progress
from lmfst.cli.reading import documents, require_files
from lmfst.cli.terminal import Terminal
from lmfst.errors import InputError, UsageError
from lmfst.io import open_rows
from lmfst.next_units import following
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
from lmfst.sampling import Sample
from lmfst.score import TransducedLM
from lmfst.target import load_target

SAMPLING_OPTIONS = ("particles", "replicates", "seed", "adaptive", "guide", "gap")
LOAD_OPTIONS = (
    "revision",
    "bos",
    "specials",
    "dtype",
    "device",
    "compiled",
    "batch_tokens",
    "context",
    "threads",
)


@dataclass(frozen=True)
class Settings:
    """The options that decide the numbers.

    sampling: options of `lmfst.sampling.Sample` that were given. load: options of
    `lmfst.lm.load.load_lm`. grammar: options of `lmfst.target.load_target`.
    """

    to: str
    model: str
    policy: str
    beam: int
    threshold: float
    node_budget: int
    partial: str
    sampling: dict[str, Any] = field(default_factory=dict)
    load: dict[str, Any] = field(default_factory=dict)
    grammar: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(params: Mapping[str, Any]) -> Settings:
        """From a command's parameters by name, as its context has them (choices as text)."""
        return Settings(
            to=params["to"],
            model=params["model"],
            policy="exact" if params["exact"] else str(params["policy"]),
            beam=params["beam"],
            threshold=params["threshold"],
            node_budget=params["node_budget"],
            partial=str(params["partial"]),
            sampling={
                name: params[name] for name in SAMPLING_OPTIONS if params.get(name) is not None
            },
            load={name: params[name] for name in LOAD_OPTIONS},
            grammar=grammar_options(params),
        )

    def make_policy(self) -> Policy:
        """The policy; UsageError for a setting outside its range."""
        if self.policy == "sample":
            return Sample(**self.sampling)
        if self.sampling:
            raise UsageError(
                f"--{next(iter(self.sampling))} is an option of --policy sample, not {self.policy}"
            )
        if self.policy == "exact":
            return Exact(node_budget=self.node_budget)
        return Beam(node_budget=self.node_budget, size=self.beam, threshold=self.threshold)

    def make_model(self, terminal: Terminal) -> TransducedLM:
        """Everything loaded and checked, cheap things first."""
        policy = self.make_policy()
        target = load_target(self.to, warn=terminal.warn, **self.grammar)
        from lmfst.lm.load import load_lm

        lm = load_lm(self.model, warn=terminal.warn, note=terminal.note, **self.load)
        return TransducedLM(lm, target, policy, partial=self.partial, warn=terminal.warn)


def convert(
    settings: Settings,
    paths: Sequence[str],
    *,
    given: str,
    doc: str,
    unknown: str,
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
    require_files(paths)
    model = settings.make_model(terminal)
    if meta is not None:
        _write_meta(meta, model.describe())
    columns = {"unit": UNIT_COLUMNS, "text": TEXT_COLUMNS, "summary": SUMMARY_COLUMNS}[level]
    texts: list[Row] = []
    with (
        open_rows(output, cast(Any, format), columns, escaped=ESCAPED_COLUMNS) as writer,
        Progress(terminal, to_stdout=output in (None, "-")) as progress,
    ):
        for scored in model.score_documents(
            progress.reading(documents(paths, doc, terminal)),
            given=cast(Any, given),
            batch=batch,
            unknown=cast(Any, unknown),
        ):
            for row in _rows(scored, level, texts):
                writer.write(row)
            writer.flush()
            progress.done(len(scored.target))
        if level == "summary":
            writer.write(summary_row(texts))


def _rows(scored: Scored, level: str, texts: list[Row]) -> Iterable[Row]:
    if level == "unit":
        return scored.unit_rows()
    if level == "text":
        return [scored.text_row()]
    texts.append(scored.text_row())
    return []


def _write_meta(path: str, facts: dict[str, Any]) -> None:
    try:
        atomic_write(path, (json.dumps(facts, indent=1, ensure_ascii=False) + "\n").encode())
    except OSError as error:
        raise InputError(
            f"{path}: --meta can't be written: {error.strerror or error}",
            hint="name a file in a folder you own",
        ) from None


def next_units(
    settings: Settings,
    prefix: str,
    *,
    given: str,
    top: int,
    format: str,
    output: str | None,
    terminal: Terminal,
) -> None:
    """Write the next-unit distribution after `prefix`, most probable first."""
    if top < 0:
        raise UsageError(f"--top must be at least 0, not {top}")
    if settings.policy == "sample":
        raise UsageError(
            "--policy sample estimates probabilities of given strings, not of the next unit",
            hint="use --policy beam or --exact",
        )
    model = settings.make_model(terminal)
    with Progress(terminal, to_stdout=False, doing="looking for the next unit"):
        found = following(model, prefix, given=given, top=top, warn=terminal.warn)
    with open_rows(output, cast(Any, format), NEXT_COLUMNS, escaped=ESCAPED_COLUMNS) as writer:
        for name, logp in found:
            p = 2.0 ** -bits(logp)
            writer.write({"unit": name, "logp": logp, "surprisal": bits(logp), "p": p})
