"""`lmfst score`: a corpus scored by several processes, which goes on where it was interrupted."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmfst.cli import options as o
from lmfst.cli.convert import Batch, Bounds, Given, Unknown
from lmfst.cli.flatten import flattened
from lmfst.cli.loading import choice_of, load_model, target_of
from lmfst.cli.model_options import LimitOptions, ModelOptions, PolicyOptions, SamplingOptions
from lmfst.cli.progress import JobProgress
from lmfst.cli.terminal import Terminal
from lmfst.ground import defaults, types
from lmfst.ground.errors import UsageError
from lmfst.ground.types import RowFormat, Warn

if TYPE_CHECKING:
    from lmfst.corpus import Corpus, Outcome, Scorer
    from lmfst.scored.levels import Levels

JOB = "Job"
"""Name of a panel."""
_FORMATS: dict[str, RowFormat] = {
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
Corpora = Annotated[
    list[str],
    typer.Argument(
        metavar="CORPUS...",
        help="Files, folders and patterns ('*.jsonl'); not stdin.",
        show_default=False,
    ),
]
Out = Annotated[
    str,
    typer.Option(
        "-o",
        "--output",
        metavar="OUT.jsonl|.tsv|.parquet",
        help="Where rows go; the suffix says in which format. OUT.rejects.jsonl says which records "
        "have none, and OUT.work holds what is done until all is.",
        show_default=False,
        rich_help_panel=o.OUTPUT,
    ),
]
Level = Annotated[
    types.Level,
    typer.Option(
        "--level",
        help="Rows per unit, per replicate of an estimate, per document, or one.",
        rich_help_panel=o.OUTPUT,
    ),
]
MaxSymbols = Annotated[
    int | None,
    typer.Option(
        "--max-symbols", metavar="N", min=1, help="Reject longer documents.", rich_help_panel=JOB
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        "--workers",
        metavar="N",
        help="Processes; each has its share of the processor's threads, and a GPU of its own where "
        "there are several.",
        rich_help_panel=JOB,
    ),
]
KeepGoing = Annotated[
    bool,
    typer.Option(
        "--keep-going",
        help="Leave out a shard that has ended three workers, instead of ending the job.",
        rich_help_panel=JOB,
    ),
]
Strict = Annotated[
    bool,
    typer.Option("--strict", help="Exit with 1 if records were rejected.", rich_help_panel=JOB),
]
Restart = Annotated[
    bool,
    typer.Option(
        "--restart", help="Give up what is done, and replace the output.", rich_help_panel=JOB
    ),
]
LogJson = Annotated[
    str | None,
    typer.Option(
        "--log-json",
        metavar="FILE",
        help="Add a line of JSON for each event.",
        rich_help_panel=JOB,
    ),
]


@flattened
def score(
    *,
    files: Corpora,
    output: Out,
    to: o.To = o.TO,
    grammar: o.GrammarOptions,
    model: ModelOptions,
    batch: Batch = defaults.BATCH_DOCUMENTS,
    policy: PolicyOptions,
    sampling: SamplingOptions,
    limits: LimitOptions,
    given: Given = "source",
    reading: o.ReadingOptions,
    unknown: Unknown = "auto",
    level: Level = "unit",
    bounds: Bounds = False,
    max_symbols: MaxSymbols = None,
    workers: Workers = 1,
    keep_going: KeepGoing = False,
    strict: Strict = False,
    restart: Restart = False,
    log_json: LogJson = None,
    quiet: o.Quiet = False,
) -> None:
    """Score a corpus: as convert, for many documents; killed, the same command goes on."""
    from lmfst.corpus import Job, JsonLog, Watch, run_job, visible_gpus
    from lmfst.corpus.transduced import how_written
    from lmfst.inference.recommend import RECOMMENDED
    from lmfst.io import corpus_files
    from lmfst.scored.levels import Levels

    terminal = Terminal.of(quiet)
    fmt = _format(output)
    if batch < 1:
        raise UsageError(f"--batch must be at least 1, not {batch}")
    levels = Levels(level, bounds)
    chosen = partial(choice_of, policy, limits, sampling, suggestible=_is_whole(limits, model))
    levels.require(chosen().policy(RECOMMENDED.get(model.model)))
    corpus = _corpus(corpus_files(files, reading.doc), reading, terminal.warn)
    passed = None if fmt == "jsonl" else _passed(corpus)
    inner, make_writer, join = how_written(fmt, levels, passed)
    loading = (model, to, grammar, policy, sampling, limits)
    settings = {"given": given, "batch": batch, "unknown": unknown, "max_symbols": max_symbols}
    job = Job(
        corpus=corpus,
        out=output,
        make_scorer=partial(make_scorer, loading, inner, settings),
        make_writer=make_writer,
        fingerprint={
            **_identity(model, to, grammar, sampling, terminal),
            **_said(policy, limits, sampling, reading),
            **settings,
            "level": level,
            "columns": [*levels.columns, *(passed or ())],
            "format": fmt,
        },
        batch_tokens=model.batch_tokens or defaults.BATCH_TOKENS,
        machine={"device": model.device, "processor": platform.machine()},
        workers=workers,
        threads=model.threads,
        gpus=tuple(visible_gpus(os.environ)),
        keep_going=keep_going,
        restart=restart,
        join=join,
    )
    log = None if log_json is None else JsonLog(log_json, terminal.warn)
    with JobProgress(terminal) as progress:
        watch = Watch(progress.see, terminal.warn)
        outcome = run_job(job, watch if log is None else log.beside(watch))
    if log is not None:
        log.close()
    _tell(outcome, output, terminal)
    if strict and outcome.done.rejected:
        raise typer.Exit(1)


def _is_whole(limits: LimitOptions, model: ModelOptions) -> bool:
    return limits.partial == "error" and model.context is None


def _format(output: str) -> RowFormat:
    suffix = PurePath(output).suffix.lower()
    if suffix not in _FORMATS:
        known = ", ".join(_FORMATS)
        raise UsageError(
            f"-o {output}: expected a name that ends in one of {known}",
            hint="the suffix says in which format rows are written",
        )
    return _FORMATS[suffix]


def _corpus(files: list[str], reading: o.ReadingOptions, warn: Warn) -> Corpus:
    from lmfst.corpus import Corpus
    from lmfst.io import Document, Rejected, read_corpus

    def read(path: str, skip: int) -> Iterator[Document | Rejected]:
        return read_corpus(
            path,
            doc=reading.doc,
            text_column=reading.text_column,
            id_column=reading.id_column,
            skip=skip,
            warn=warn,
        )

    return Corpus(files, read)


def _passed(corpus: Corpus) -> tuple[str, ...]:
    """The columns that are passed on: those of the first document."""
    from lmfst.io import Document

    for _, _, item in corpus.records():
        if isinstance(item, Document):
            return tuple(item.extra)
    return ()


def _identity(
    model: ModelOptions,
    to: str,
    grammar: o.GrammarOptions,
    sampling: SamplingOptions,
    terminal: Terminal,
) -> dict[str, Any]:
    """What model and target are, apart from their names."""
    from lmfst.corpus.inputs import look
    from lmfst.lm.load import model_paths

    paths = model_paths(model.model, model.revision, terminal.note)
    if sampling.guide and os.path.exists(sampling.guide):
        paths.append(sampling.guide)
    machine = {"threads", "batch_tokens", "device"}
    return {
        **{name: value for name, value in asdict(model).items() if name not in machine},
        "model files": [found.digest for found in look(paths)],
        "to": to,
        "fst": target_of(to, grammar, terminal).machine.digest,
    }


def _said(*groups: Any) -> dict[str, Any]:
    return {name: value for group in groups for name, value in asdict(group).items()}


class _Told(Terminal):
    """A worker's terminal: its parent's."""

    def __init__(self, warn: Warn) -> None:
        super().__init__(quiet=True)
        self.warn = warn  # type: ignore[method-assign]


Loading = tuple[ModelOptions, str, o.GrammarOptions, PolicyOptions, SamplingOptions, LimitOptions]


def make_scorer(loading: Loading, levels: Levels, settings: dict[str, Any], warn: Warn) -> Scorer:
    """A worker's scorer. Its threads are those that its environment says."""
    from lmfst.corpus.transduced import TransducedScorer

    model, to, grammar, policy, sampling, limits = loading
    choice = choice_of(policy, limits, sampling, suggestible=_is_whole(limits, model))
    lm = load_model(replace(model, threads=None), to, grammar, choice, limits, _Told(warn))
    levels.require(lm.policy)
    return TransducedScorer(lm, levels, **settings)


def _tell(outcome: Outcome, output: str, terminal: Terminal) -> None:
    """What came of it."""
    done = outcome.done
    said = f"{output}: {done.documents:,} documents, {done.rows:,} rows, {done.symbols:,} symbols"
    if done.missing:
        said += f", missing {done.missing:.3g} nats by estimate"
    if done.rejected:
        said += f"; {done.rejected:,} records were rejected: {output}.rejects.jsonl says why"
    if done.lost:
        said += f"; {len(done.lost):,} shards were left out"
    if outcome.already:
        said = f"nothing to do: it was all done before. {said}"
    terminal.note(said)
