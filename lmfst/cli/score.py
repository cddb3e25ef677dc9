"""`lmfst score`: a corpus scored by several processes, which goes on where it was interrupted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmfst.cli import options as o
from lmfst.cli.convert import Batch, Bounds, Given, Level, Unknown
from lmfst.cli.ensemble_options import EnsembleOptions
from lmfst.cli.flatten import flattened
from lmfst.cli.identity import FST, MODEL_FILES, Loading, machine_facts
from lmfst.cli.job_options import JobOptions, gpus_of_workers, placed, require_job, workers_of
from lmfst.cli.model_options import LimitOptions, ModelOptions, PolicyOptions, SamplingOptions
from lmfst.cli.progress import JobProgress
from lmfst.cli.terminal import Terminal
from lmfst.ground import defaults
from lmfst.ground.errors import InputError, UsageError
from lmfst.ground.types import RowFormat, Warn
from lmfst.io.forms import ROW_SUFFIXES

if TYPE_CHECKING:
    from lmfst.corpus import Corpus, Job, Outcome, Scorer
    from lmfst.scored.levels import Levels

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


@flattened
def score(
    *,
    files: Corpora,
    output: Out,
    to: o.To = o.TO,
    grammar: o.GrammarOptions,
    model: ModelOptions,
    ensemble: EnsembleOptions,
    batch: Batch = defaults.BATCH_DOCUMENTS,
    policy: PolicyOptions,
    sampling: SamplingOptions,
    limits: LimitOptions,
    given: Given = "source",
    reading: o.ReadingOptions,
    unknown: Unknown = "auto",
    level: Level = "unit",
    bounds: Bounds = False,
    job: JobOptions,
    quiet: o.Quiet = False,
) -> None:
    """Score a corpus: as convert, for many documents; killed, the same command goes on."""
    from lmfst.corpus import Place
    from lmfst.io import corpus_files, require_apart
    from lmfst.scored.levels import Levels

    terminal = Terminal.of(quiet)
    _format(output)
    written = Place.of(output).written
    require_job(batch, model, job, written)
    model = placed(model, job)
    workers = workers_of(model, job, terminal)
    loading = Loading(model, to, grammar, policy, sampling, limits, ensemble)
    levels = Levels(level, bounds)
    levels.require(loading.policy())
    found = corpus_files(files, reading.doc)
    require_apart(files, found, [*written, job.log_json])
    corpus = _corpus(found, reading, terminal.warn)
    settings = {"given": given, "batch": batch, "unknown": unknown, "max_symbols": job.max_symbols}
    paths = loading.model_files(terminal)
    fingerprint = {**loading.identity(paths, terminal), **asdict(reading), **settings}
    tokens = loading.batch_tokens(paths)
    wanted = _job(output, corpus, loading, levels, settings, fingerprint, tokens, job)
    outcome = _done(replace(wanted, make_pool=workers), job.log_json, terminal)
    _tell(outcome, output, loading, terminal)
    if job.strict and outcome.done.rejected:
        raise typer.Exit(1)


def _done(job: Job, log_json: str | None, terminal: Terminal) -> Outcome:
    """Do it, and say how far it is."""
    from lmfst.corpus import JsonLog, Place, Watch, run_job

    log = None if log_json is None else JsonLog(log_json, terminal.warn)
    try:
        with JobProgress(terminal) as progress, closing(log) if log else nullcontext():
            watch = Watch(progress.see, terminal.warn, note=terminal.note)
            return run_job(job, watch if log is None else log.beside(watch))
    except KeyboardInterrupt:
        if (work := Place.of(job.out).work).exists():
            terminal.note(
                f"{job.out}: interrupted; what is done is kept in {work.name}: the same command "
                "goes on"
            )
        raise


def _job(
    output: str,
    corpus: Corpus,
    loading: Loading,
    levels: Levels,
    settings: dict[str, Any],
    fingerprint: dict[str, Any],
    batch_tokens: int,
    options: JobOptions,
) -> Job:
    """settings: the scorer's. fingerprint: without levels and columns."""
    from lmfst.corpus import Job
    from lmfst.corpus.transduced import gathered, how_written

    fmt = _format(output)
    passed = None if fmt == "jsonl" else _passed(corpus)
    inner, make_writer, join = how_written(fmt, levels, passed)
    columns = [*levels.columns, *(passed or ())]
    made_of = {name: fingerprint[name] for name in (MODEL_FILES, FST)}
    return Job(
        corpus=corpus,
        out=output,
        make_scorer=partial(make_scorer, loading, inner, settings, made_of),
        make_writer=make_writer,
        fingerprint={**fingerprint, "level": levels.level, "columns": columns, "format": fmt},
        batch_tokens=batch_tokens,
        machine=machine_facts(loading.model.device),
        named=loading.named(),
        workers=options.workers,
        threads=loading.model.threads,
        gpus=gpus_of_workers(loading.model.device),
        keep_going=options.keep_going,
        restart=options.restart,
        join=join,
        gather=gathered,
    )


def _format(output: str) -> RowFormat:
    suffix = PurePath(output).suffix.lower()
    if suffix not in ROW_SUFFIXES:
        known = ", ".join(ROW_SUFFIXES)
        raise UsageError(
            f"-o {output}: expected a name that ends in one of {known}",
            hint="the suffix says in which format rows are written",
        )
    return ROW_SUFFIXES[suffix]


def _corpus(files: list[str], reading: o.ReadingOptions, warn: Warn) -> Corpus:
    from lmfst.corpus import Corpus
    from lmfst.io import Document, Rejected, read_corpus

    place: Callable[[], int] = int

    def reached(position: Callable[[], int]) -> None:
        nonlocal place
        place = position

    def read(path: str, skip: int) -> Iterator[Document | Rejected]:
        return read_corpus(
            path,
            doc=reading.doc,
            text_column=reading.text_column,
            id_column=reading.id_column,
            skip=skip,
            reached=reached,
            warn=warn,
        )

    return Corpus(files, read, lambda: place())


def _passed(corpus: Corpus) -> tuple[str, ...]:
    """The columns that are passed on: those of the first document."""
    from lmfst.io import Document

    for _, _, item in corpus.records():
        if isinstance(item, Document):
            return tuple(item.extra)
    return ()


class _Told(Terminal):
    """A worker's terminal: its parent's."""

    def __init__(self, tell: Warn) -> None:
        super().__init__(quiet=True)
        self._tell = tell

    def warn(self, message: str) -> None:
        self._tell(message)

    def note(self, message: str) -> None:
        from lmfst.ground.announce import LOGGER

        LOGGER.info(message)


def make_scorer(
    loading: Loading,
    levels: Levels,
    settings: dict[str, Any],
    made_of: dict[str, Any],
    warn: Warn,
) -> Scorer:
    """A worker's scorer. Its threads are those that its environment says. made_of: digests of model
    and target. InputError if they aren't those any more: a worker may begin hours after the job."""
    from lmfst.corpus.transduced import TransducedScorer

    terminal = _Told(warn)
    lm = loading.load(replace(loading.model, threads=None), terminal)
    levels.require(lm.policy)
    now = {
        MODEL_FILES: loading.digests(loading.model_files(terminal)),
        FST: lm.target.machine.digest,
    }
    if changed := [name for name, digest in made_of.items() if now[name] != digest]:
        raise InputError(
            f"the {' and the '.join(changed)} changed after the job had begun, or a worker's "
            "machine has others",
            hint="put it back as it was and give the same command, which goes on; or begin again "
            "with --restart",
        )
    return TransducedScorer(lm, levels, **settings)


def _tell(outcome: Outcome, output: str, loading: Loading, terminal: Terminal) -> None:
    """What came of it."""
    from lmfst.inference.accuracy import Tally
    from lmfst.scored.advice import Advice

    done = outcome.done
    if done.facts:
        facts = done.facts["advice"]
        advice = Advice.of(loading.policy(suggested=facts["estimates"]), facts)
        for said in advice.warnings(Tally.unpacked(done.facts["tally"])):
            terminal.warn(said)
    rows = "1 row" if done.rows == 1 else f"{done.rows:,} rows"
    said = f"{output}: {done.documents:,} documents, {rows}, {done.symbols:,} symbols"
    if done.missing:
        said += f", missing {done.missing:.3g} nats by estimate"
    if done.rejected:
        said += f"; {done.rejected:,} records were rejected: {output}.rejects.jsonl says why"
    if done.lost:
        many = f"{len(done.lost):,} shards were" if len(done.lost) > 1 else "1 shard was"
        said += f"; {many} left out: --restart begins again with all"
    if outcome.already:
        said = f"nothing to do: it was all done before. {said}"
    terminal.note(said)
