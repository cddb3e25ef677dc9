"""A job: a corpus is scored in shards by workers, and what they wrote is joined.

The same job, started again with the same output, goes on where it was; the result is byte for byte
that of one that nothing has interrupted, on the same kind of machine. In this order, each step on
the disk before the next:

1. `OUT.work` is made and locked, and the manifest written.
2. Shards are planned while the corpus is read, scored, written under temporary names, named, and
   noted in the ledger.
3. The corpus is looked at again: it must be what it was. If it may have been something else
   meanwhile, the records of all shards are compared.
4. The shards' checksums are compared (a damaged one is done again), and they are joined as a
   temporary file in `OUT.work`; so are the rejected records.
5. Both get their names, `OUT.rejects.jsonl` first.
6. `OUT.manifest.json` says that `OUT` is complete and what made it.
7. `OUT.work` is removed.

Killed before 6, a run does 4 and 5 again, with the same bytes; after 6, it finds that all is done.
"""

from __future__ import annotations

import math
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from lmfst.corpus.disk import (
    Place,
    clear,
    is_intact,
    put_on_disk,
    remove,
    settle,
    sync_folder,
    writing,
)
from lmfst.corpus.inputs import look, require_unchanged
from lmfst.corpus.join import Join, JoinLines, MakeJoin, join_for
from lmfst.corpus.ledger import Ledger, Scored
from lmfst.corpus.manifest import Done, Facts, Manifest, claimed, read_manifest
from lmfst.corpus.messages import Setup
from lmfst.corpus.pool import Crew, MakePool, local_workers
from lmfst.corpus.progress import Watch
from lmfst.corpus.records import Corpus, Gather, MakeScorer, MakeWriter
from lmfst.corpus.scoring import Scoring, plan_anew
from lmfst.corpus.shards import Limits, Start, content, cut, total
from lmfst.ground._version import __version__
from lmfst.ground.digests import digest
from lmfst.ground.errors import InputError, LmfstError, UsageError


@dataclass(frozen=True)
class Job:
    """What is to be done.

    corpus: what is scored. out: the output's path. make_scorer, make_writer: called in each worker,
    found there by their names, so they must be functions (or partials of some) of modules that can
    be imported. fingerprint: whatever decides about the rows (model, target, policy, columns); the
    version of lmfst is added. machine: what may change their last digits (kind of device, number
    format); a difference is a warning. named: what things of the fingerprint are called (files,
    which may be given by several names): noted, and compared with nothing. batch_tokens: the budget
    that the scorer is given. threads: of each worker; None: a share of the processors. Both stay
    what they were when the work was begun. workers: processes. gpus: of which each gets one, if
    there are several. keep_going: whether a shard that has ended three workers is left out.
    restart: whether earlier work is given up, and an output that is there replaced. join: how
    shards become one file; None: by the output's suffix. gather: makes the facts of the job of
    those that scorers note; None: there are none. limits: of a shard; None: by the corpus' size.
    make_pool: makes the workers; not always the same for the same work.
    """

    corpus: Corpus
    out: str
    make_scorer: MakeScorer
    make_writer: MakeWriter
    fingerprint: Facts
    batch_tokens: int
    machine: Facts = field(default_factory=dict)
    named: Facts = field(default_factory=dict)
    workers: int = 1
    threads: int | None = None
    gpus: tuple[str, ...] = ()
    keep_going: bool = False
    restart: bool = False
    join: MakeJoin | None = None
    gather: Gather | None = None
    limits: Limits | None = None
    make_pool: MakePool = local_workers


@dataclass(frozen=True)
class Outcome:
    """What came of a job. already: whether all of it was done before."""

    done: Done
    already: bool


def run_job(job: Job, watch: Watch = Watch()) -> Outcome:  # noqa: B008 (it never changes)
    """Do a job, or go on with it.

    UsageError for a number of workers or an output that can't be. InputError if the output is
    another job's or no job's, if another run writes it, or if something can't be read or written;
    LmfstError if a shard has ended three workers. What the scorer raises is passed on. Whatever the
    error, what is done is kept.
    """
    if job.workers < 1:
        raise UsageError(f"expected at least one worker, found {job.workers}")
    join = (job.join or join_for(job.out))()
    place = Place.of(job.out)
    _require_apart(job, place)
    with claimed(place.work, place.out, watch.warn):
        try:
            manifest, found = _begun(job, place, watch)
        except BaseException:
            _leave(place)
            raise
        if found is not None:
            with writing(place.work):
                remove(place.work)
            return Outcome(found, already=True)
        try:
            return Outcome(_Run(job, join, place, manifest, watch).done(), already=False)
        except LmfstError:
            _leave_unbegun(place, manifest)
            raise


def _require_apart(job: Job, place: Place) -> None:
    """UsageError if a file of the corpus would be written to."""
    written = {place.out, place.rejects, place.finished}
    for path in job.corpus.files:
        if Path(os.path.realpath(path)) in written:
            raise UsageError(
                f"{path} is a file of the corpus, and the job would write to it",
                hint="name another output",
            )


def _leave_unbegun(place: Place, manifest: Manifest) -> None:
    """Remove the work folder if no shard is done: what couldn't begin holds up no other job."""
    with suppress(OSError, InputError):
        ledger = Ledger(place.ledger, manifest.batch_tokens)
        ledger.close()
        if not ledger.done:
            remove(place.work)


def _leave(place: Place) -> None:
    """Remove the work folder if there is no work in it."""
    with suppress(OSError):
        if not place.manifest.exists():
            remove(place.work)


def _begun(job: Job, place: Place, watch: Watch) -> tuple[Manifest, Done | None]:
    """The manifest of the work, which is begun if there is none; and what came of it if all of it
    is done. InputError if it is another job's."""
    with writing(place.work):
        clear(place.work, everything=False)
    if job.restart:
        return _begin(job, place, _wanted(job, None)), None
    work, finished = read_manifest(place.manifest), read_manifest(place.finished)
    earlier = work or finished
    there = [path for path in (place.out, place.rejects) if path.exists()]
    if earlier is None and there:
        raise InputError(
            f"{there[0]} is there already, and no job's work is beside it",
            hint="name another output; --restart replaces this one",
        )
    wanted = _wanted(job, earlier)
    if earlier is None:
        return _begin(job, place, wanted), None
    earlier.require_same(wanted, place.out)
    if finished is not None and (work is None or work.id == finished.id):
        if _is_whole(place.out, finished):
            return finished, finished.done
        if work is None:  # the output was taken away: it is wanted once more
            return _begin(job, place, wanted), None
    _say_what_differs(job, place, earlier, wanted, watch)
    return earlier, None


def _say_what_differs(
    job: Job, place: Place, earlier: Manifest, wanted: Manifest, watch: Watch
) -> None:
    for name, value in earlier.machine.items():
        if wanted.machine.get(name) != value:
            watch.warn(
                f"{place.out}: begun with {name} {value}, goes on with {wanted.machine.get(name)}: "
                "rows may differ in their last digits from those of a run that wasn't interrupted"
            )
    kept = [("batch tokens", earlier.batch_tokens, wanted.batch_tokens)]
    if job.threads is not None:
        kept.append(("threads a worker", earlier.threads, wanted.threads))
    for name, value, given in kept:
        if value != given:
            watch.warn(
                f"{place.out}: begun with {value} {name}, and goes on with them, not with {given}, "
                "so that no digit differs"
            )


def _wanted(job: Job, earlier: Manifest | None) -> Manifest:
    """The job's own manifest."""
    inputs = look(job.corpus.files, earlier.inputs if earlier else ())
    size = sum(found.size for found in inputs)
    crew = Crew.of(job.workers, job.threads, job.gpus)
    return Manifest(
        fingerprint={**job.fingerprint, "lmfst": __version__},
        machine=dict(job.machine),
        named=dict(job.named),
        inputs=inputs,
        batch_tokens=job.batch_tokens,
        threads=crew.threads,
        limits=job.limits or Limits.of(size),
    )


def _begin(job: Job, place: Place, manifest: Manifest) -> Manifest:
    """Give up what there is, and begin."""
    with writing(place.work):
        clear(place.work)
    manifest.write(place.manifest, place.work)
    with writing(place.work):
        sync_folder(place.out.parent)
    return manifest


def _is_whole(out: Path, manifest: Manifest) -> bool:
    """Whether the output is the one that a finished job has made; False if there is none.

    InputError if it is another one.
    """
    done = manifest.done
    if done is None or not out.exists():
        return False
    found = out.stat()
    if found.st_size == done.size and (
        found.st_mtime_ns == done.changed or digest(out) == done.digest
    ):
        return True
    raise InputError(
        f"{out} isn't any more what the job has written there",
        hint="name another output; --restart does the job again and replaces it",
    )


class _Run:
    """The work of a job that has the lock."""

    def __init__(
        self, job: Job, join: Join, place: Place, manifest: Manifest, watch: Watch
    ) -> None:
        self._job, self._join, self._place = job, join, place
        self._manifest, self._watch = manifest, watch

    def done(self) -> Done:
        """Do what is left of it."""
        ledger = Ledger(self._place.ledger, self._manifest.batch_tokens)
        try:
            self._drop_missing(ledger)
            self._drop_lost(ledger)
            self._watch.event("begin", self._facts(ledger))
            while True:
                if not ledger.is_complete():
                    self._score(ledger)
                never_changed = require_unchanged(self._manifest.inputs, self._place.work)
                as_scored = never_changed or self._is_as_scored(ledger)
                if as_scored and not self._drop_damaged(ledger):
                    break
            done = self._joined(ledger)
        finally:
            ledger.close()
        self._manifest.completed(done).write(self._place.finished, self._place.work)
        with writing(self._place.work):
            remove(self._place.work)
        self._watch.event("end", {**asdict(done)})
        return done

    def _is_as_scored(self, ledger: Ledger) -> bool:
        """Whether the records of all shards are those of the corpus as it is; those that aren't
        are forgotten."""
        job, following = self._job, 0
        for shard, items in cut(job.corpus, total(job.corpus), Start(), self._manifest.limits):
            if shard.number not in ledger.plan or not ledger.is_as_planned(shard, content(items)):
                break
            following += 1
        else:
            if following == len(ledger.plan):
                return True
        plan_anew(ledger, following, self._watch)
        return False

    def _facts(self, ledger: Ledger) -> dict[str, object]:
        return {
            "out": str(self._place.out),
            "workers": self._job.workers,
            "threads": self._manifest.threads,
            "shards_done": len(ledger.done),
        }

    def _score(self, ledger: Ledger) -> None:
        job, manifest = self._job, self._manifest
        scoring = Scoring(
            job.corpus,
            manifest.limits,
            Setup(job.make_scorer, job.make_writer),
            self._join,
            self._place,
            ledger,
            self._watch,
            keep_going=job.keep_going,
        )
        scoring.run(Crew(job.workers, manifest.threads, job.gpus), job.make_pool)

    def _drop_missing(self, ledger: Ledger) -> None:
        """Forget shards whose files aren't there, or have another size: seen without reading
        them."""
        for number, scored in sorted(ledger.done.items()):
            for path, size, _ in self._files(scored):
                if size != (path.stat().st_size if path.exists() else 0):
                    self._drop(ledger, number, path)
                    break

    def _drop_lost(self, ledger: Ledger) -> None:
        """Forget shards that an earlier run has left out: what ended its workers may be gone."""
        for number in [number for number, scored in sorted(ledger.done.items()) if scored.lost]:
            self._watch.note(f"shard {number}, which was left out, is tried again")
            ledger.damaged(number)

    def _drop_damaged(self, ledger: Ledger) -> bool:
        """Forget shards whose files aren't what was written; whether there are any."""
        before = len(ledger.done)
        for number, scored in sorted(ledger.done.items()):
            for path, _, wanted in self._files(scored):
                if wanted and not is_intact(path, wanted):
                    self._drop(ledger, number, path)
                    break
        return len(ledger.done) < before

    def _files(self, scored: Scored) -> tuple[tuple[Path, int, str], ...]:
        place, number = self._place, scored.number
        return (
            (place.rows(number), scored.rows_size, scored.rows_sum),
            (place.rejected(number), scored.rejects_size, scored.rejects_sum),
        )

    def _drop(self, ledger: Ledger, number: int, path: Path) -> None:
        self._watch.warn(f"{path} is damaged: shard {number} is done again")
        ledger.damaged(number)

    def _joined(self, ledger: Ledger) -> Done:
        """Join the shards, and give what comes of it its name."""
        place, scored = self._place, [ledger.done[number] for number in sorted(ledger.done)]
        self._watch.event("join", {"shards": len(scored)})
        rows = [place.rows(found.number) for found in scored if found.rows]
        rejects = [place.rejected(found.number) for found in scored if found.rejects]
        joined = place.work / "joined.tmp"
        rejected = place.work / "rejected.tmp"
        written: int | None = None

        def join(to: IO[bytes]) -> None:
            nonlocal written
            written = self._join.join(rows, to, self._job.make_writer)

        with writing(place.out, place.work):
            put_on_disk(joined, join)
            if place.out.exists():
                joined.chmod(place.out.stat().st_mode & 0o777)
            if rejects:
                put_on_disk(
                    rejected, lambda to: JoinLines().join(rejects, to, self._job.make_writer)
                )
                settle(rejected, place.rejects)
            else:
                place.rejects.unlink(missing_ok=True)
            settle(joined, place.out)
            found, whole = place.out.stat(), digest(place.out)
        return Done(
            documents=sum(entry.shard.records for entry in ledger.plan.values()),
            rejected=sum(found.rejects for found in scored),
            rows=sum(found.rows for found in scored) if written is None else written,
            symbols=sum(found.symbols for found in scored),
            missing=math.fsum(found.missing for found in scored),
            size=found.st_size,
            changed=found.st_mtime_ns,
            digest=whole,
            lost=[found.number for found in scored if found.lost],
            facts=self._job.gather(found.facts for found in scored) if self._job.gather else {},
        )
