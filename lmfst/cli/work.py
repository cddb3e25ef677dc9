"""What the commands do, between parsed options and rows: loading, reading, scoring, writing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from lmfst.accuracy import Tally
from lmfst.cache import atomic_write, write_hint
from lmfst.cli.mistakes import is_file, require_documents
from lmfst.cli.options import grammar_options
from lmfst.cli.progress import Progress
from lmfst.cli.reading import Reading, documents
from lmfst.cli.terminal import Terminal
from lmfst.errors import InputError, UsageError
from lmfst.io import open_rows
from lmfst.levels import Levels
from lmfst.next_units import following
from lmfst.policy import Beam, Exact, Policy, Tolerance
from lmfst.recommend import RECOMMENDED, recommended
from lmfst.records import ESCAPED_COLUMNS, NEXT_COLUMNS, Scored, bits
from lmfst.sampling import Sample
from lmfst.score import TransducedLM
from lmfst.target import load_target, refuse_as_model

SAMPLING_OPTIONS = ("particles", "replicates", "seed", "adaptive", "guide", "gap")
LOAD_OPTIONS = (
    "revision",
    "bos",
    "specials",
    "prefix_space",
    "dtype",
    "device",
    "compiled",
    "batch_tokens",
    "context",
    "threads",
    "separator",
    "marks",
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
    tolerance: float | None
    beam: int | None
    threshold: float | None
    node_budget: int
    partial: str
    sampling: dict[str, Any] = field(default_factory=dict)
    load: dict[str, Any] = field(default_factory=dict)
    grammar: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(params: Mapping[str, Any]) -> Settings:
        """From a command's parameters by name, as its context has them (choices as text).
        UsageError for two policies."""
        if params["exact"] and str(params["policy"]) not in ("auto", "exact"):
            raise UsageError(
                f"--exact is --policy exact; --policy {params['policy']} is another one"
            )
        return Settings(
            to=params["to"],
            model=params["model"],
            policy="exact" if params["exact"] else str(params["policy"]),
            tolerance=params["tolerance"],
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

    def make_policy(self, suggested: Sample | None = None) -> Policy:
        """The policy; suggested: that of model and target, which --policy auto follows if nothing
        speaks for another. UsageError for a setting outside its range, or of another policy."""
        fixed = {"size": self.beam, "threshold": self.threshold}
        fixed = {name: value for name, value in fixed.items() if value is not None}
        if self.tolerance is not None and (fixed or self.policy not in ("auto", "beam")):
            raise UsageError(
                "--tolerance finds the threshold of --policy beam by itself",
                hint="leave it out, or --beam, --threshold and other policies",
            )
        if fixed and self.policy not in ("auto", "beam"):
            raise UsageError(
                f"--beam and --threshold are options of --policy beam, not {self.policy}"
            )
        if self.policy == "sample":
            return Sample(**self.sampling)
        if self._follows(suggested):
            return replace(cast(Sample, suggested), **self.sampling)
        if self.sampling:
            raise UsageError(
                f"--{next(iter(self.sampling))} is an option of --policy sample, not "
                f"{'beam' if self.policy == 'auto' else self.policy}"
            )
        if self.policy == "exact":
            return Exact(node_budget=self.node_budget)
        if fixed:
            return Beam(node_budget=self.node_budget, **cast(Any, fixed))
        if self.tolerance is None:
            return Tolerance(node_budget=self.node_budget)
        return Tolerance(node_budget=self.node_budget, tolerance=self.tolerance)

    def _follows(self, suggested: Sample | None) -> bool:
        """Whether the suggested policy is the one to take."""
        beam = (self.tolerance, self.beam, self.threshold)
        free = self.policy == "auto" and beam == (None, None, None)
        whole = self.partial == "error" and self.load["context"] is None
        return suggested is not None and free and whole

    def make_model(
        self, terminal: Terminal, *, versus: bool = False, strings: bool = True
    ) -> TransducedLM:
        """Everything loaded and checked, cheap things first.

        versus: estimates are to be compared. strings: whole strings are asked for, which alone can
        be estimated.
        """
        self.make_policy(RECOMMENDED.get(self.model) if strings else None)
        refuse_as_model(self.model)
        target = load_target(self.to, warn=terminal.warn, **self.grammar)
        from lmfst.lm.load import load_lm

        lm = load_lm(self.model, warn=terminal.warn, note=terminal.note, **self.load)
        suggested = None
        if strings:
            suggested = recommended(self.model, target.fst, bytes(lm.vocab.alphabet))
        policy = self.make_policy(suggested)
        if self._follows(suggested):
            terminal.note(
                f"estimating by --policy sample --guide {self.model}, since many sources of "
                f"{self.model} have the same {target.name} (--policy beam: the heaviest only)"
            )
        if isinstance(policy, Sample) and versus:
            policy = replace(policy, common=True)
        return TransducedLM(lm, target, policy, partial=self.partial, warn=terminal.warn)

    def facts(self, model: TransducedLM) -> dict[str, Any]:
        """What makes the numbers, and where the policy comes from."""
        given = (self.tolerance, self.beam, self.threshold, self.sampling or None)
        source = "options" if self.policy != "auto" or any(x is not None for x in given) else None
        recommended = model.policy.estimates and self.policy == "auto"
        return {
            **model.describe(),
            "policy_from": "model" if recommended else source or "default",
        }


def convert(
    settings: Settings,
    paths: Sequence[str],
    *,
    given: str,
    reading: Reading,
    unknown: str,
    batch: int,
    level: str,
    bounds: bool,
    versus: str | None,
    format: str,
    output: str | None,
    meta: str | None,
    terminal: Terminal,
) -> None:
    """Score documents and write rows of a level."""
    if batch < 1:
        raise UsageError(f"--batch must be at least 1, not {batch}")
    levels = Levels(level, bounds, versus)
    levels.require(settings.make_policy(RECOMMENDED.get(settings.model)))
    require_documents(paths)
    model = settings.make_model(terminal, versus=versus is not None)
    levels.require(model.policy)
    if meta is not None:
        _write_meta(meta, settings.facts(model))
    tally = Tally()
    with (
        open_rows(
            output,
            cast(Any, format),
            levels.columns,
            escaped=ESCAPED_COLUMNS,
            warn=terminal.warn,
        ) as writer,
        Progress(terminal, to_stdout=output in (None, "-")) as progress,
    ):
        found = model.score_documents(
            progress.reading(documents(paths, reading, terminal)),
            given=cast(Any, given),
            batch=batch,
            unknown=cast(Any, unknown),
            tally=tally,
        )
        for rows, extra in levels.rows(_counted(found, progress), terminal.warn):
            for row in rows:
                writer.write(row, extra)
            writer.flush()
    if meta is not None:
        _write_meta(meta, {**settings.facts(model), **tally.facts()})


def _counted(records: Iterable[Scored], progress: Progress) -> Iterator[Scored]:
    """The records, counted as they come."""
    for scored in records:
        progress.done(len(scored.target))
        yield scored


def _write_meta(path: str, facts: dict[str, Any]) -> None:
    try:
        atomic_write(path, (json.dumps(facts, indent=1, ensure_ascii=False) + "\n").encode())
    except OSError as error:
        raise InputError(
            f"{path}: --meta can't be written: {error.strerror or error}",
            hint=write_hint(error),
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
    if is_file(prefix):
        terminal.warn(f"the prefix is {prefix!r} itself, not what the file of that name holds")
    model = settings.make_model(terminal, strings=False)
    with Progress(terminal, to_stdout=False, doing="looking for the next unit"):
        found = following(model, prefix, given=given, top=top, warn=terminal.warn)
    with open_rows(output, cast(Any, format), NEXT_COLUMNS, escaped=ESCAPED_COLUMNS) as writer:
        for name, logp in found:
            p = 2.0 ** -bits(logp)
            writer.write({"unit": name, "logp": logp, "surprisal": bits(logp), "p": p})
