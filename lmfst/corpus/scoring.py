"""The middle of a job: shards are read, handed to workers, and noted when they are done.

At any time there are at most `lmfst.corpus.pool.AHEAD` shards for each worker in memory, and the
one that is being read.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import closing

from lmfst.corpus.disk import Place, is_intact, sync_folder, writing
from lmfst.corpus.join import Join
from lmfst.corpus.ledger import End, Ledger
from lmfst.corpus.messages import Counted, Failed, Finished, Message, Said, Setup, Task
from lmfst.corpus.pool import Crew, Died, MakePool, Starved
from lmfst.corpus.progress import Tally, Watch
from lmfst.corpus.records import KILLED, Corpus
from lmfst.corpus.shards import Items, Limits, Shard, content, cut, total
from lmfst.corpus.worker import leave_out
from lmfst.ground.errors import BudgetError, LmfstError

KILLS = 3
"""Workers that a shard may end before it is left out, or ends the job."""
LOOK = 0.25
"""Seconds from one word of progress to the next."""
SEEN = 20
"""Shards of earlier runs that new ones are compared with at once; all are when they are joined."""
WARNINGS = 10_000
"""Different messages of workers that are passed on."""


def plan_anew(ledger: Ledger, number: int, watch: Watch) -> None:
    """Have shards done again whose records aren't those of the corpus: it was another one for a
    while."""
    watch.warn(
        f"the corpus was another one when it was read before: shard {number} and those after it "
        "are done again"
    )
    ledger.forget_from(number)


class Scoring:
    """The shards of a job that aren't done yet.

    corpus, limits: what is cut, and how. setup: what workers are told. join: sees what they write.
    keep_going: whether a shard that ends workers is left out.
    """

    def __init__(
        self,
        corpus: Corpus,
        limits: Limits,
        setup: Setup,
        join: Join,
        place: Place,
        ledger: Ledger,
        watch: Watch,
        *,
        keep_going: bool,
    ) -> None:
        self._corpus, self._limits, self._setup = corpus, limits, setup
        self._join, self._place, self._ledger, self._watch = join, place, ledger, watch
        self._keep_going = keep_going
        self._sizes = total(corpus)
        self._again: deque[Task] = deque()
        self._kills: Counter[int] = Counter()
        self._tally = Tally(sum(self._sizes), ledger)
        self._told = 0.0
        self._said: set[Said] = set()
        self._see_earlier()

    def _see_earlier(self) -> None:
        for scored in sorted(scored for scored in self._ledger.done.values() if scored.rows)[:SEEN]:
            path = self._place.rows(scored.number)
            # What is damaged is done again before it is joined.
            if is_intact(path, scored.rows_sum):
                self._join.see(path)

    def run(self, crew: Crew, make_pool: MakePool) -> None:
        """Do them. Passes on errors of reading, writing and scoring; what is done is noted."""
        tasks = self._tasks()
        reading = True
        with closing(make_pool(self._setup, crew, self._place)) as pool:
            while True:
                while pool.has_room():
                    task = self._again.popleft() if self._again else next(tasks, None)
                    if task is None:
                        reading = False
                        break
                    pool.give(task)
                    self._tell()
                if not reading and not self._again and not pool.is_busy():
                    break
                for message in pool.wait(LOOK):
                    self._take(message)
                self._tell()
        self._tell(now=True)

    def _tasks(self) -> Iterator[Task]:
        """The shards that aren't done, as they are read and planned. InputError if the corpus is
        cut in another way than it was."""
        ledger = self._ledger
        if ledger.is_complete():
            return
        last = None if ledger.end is None else ledger.last_open(ledger.end)
        first = ledger.start(ledger.first_open())
        following = first.number
        for shard, items in cut(self._corpus, self._sizes, first, self._limits):
            found = content(items)
            if not ledger.is_as_planned(shard, found):
                plan_anew(ledger, shard.number, self._watch)
                last = None
            if shard.number not in ledger.done:
                known = ledger.plan.get(shard.number)
                tokens = ledger.batch_tokens if known is None else known.batch_tokens
                yield self._planned(shard, items, tokens, found)
            if shard.number == last:
                return
            following = shard.next.number
        if following in ledger.plan:
            plan_anew(ledger, following, self._watch)
        after = ledger.start(following)
        ledger.ended(End(after.number, after.record, after.document))

    def _planned(self, shard: Shard, items: Items, batch_tokens: int, content: str) -> Task:
        number = shard.number
        self._ledger.planned(shard, batch_tokens, content)
        rows, rejects = self._place.rows(number), self._place.rejected(number)
        return Task(number, shard.start.document, items, batch_tokens, rows, rejects)

    def _take(self, message: Message | Died | Starved) -> None:
        if isinstance(message, Counted):
            self._tally.see(self._ledger.plan[message.number].shard, message)
        elif isinstance(message, Finished):
            self._finish(message)
        elif isinstance(message, Said):
            self._say_once(message)
        elif isinstance(message, Starved):
            self._shrink(message)
        elif isinstance(message, Died):
            self._bury(message)
        elif isinstance(message, Failed):
            if message.trace:
                message.error.add_note(f"In a worker:\n{message.trace}")
            raise message.error

    def _finish(self, finished: Finished) -> None:
        """Give a shard's files their names, and note it."""
        scored, number = finished.scored, finished.scored.number
        if finished.rows is not None:
            self._join.see(finished.rows)
        files = (
            (finished.rows, self._place.rows(number)),
            (finished.rejects, self._place.rejected(number)),
        )
        with writing(self._place.work, self._place.work):
            for temporary, path in files:
                if temporary is None:
                    path.unlink(missing_ok=True)
                else:
                    os.replace(temporary, path)
            sync_folder(self._place.work)
        self._ledger.finished(scored)
        self._tally.add(self._ledger.plan[number].shard, scored)
        self._watch.event("shard", scored._asdict())

    def _say_once(self, said: Said) -> None:
        """What several workers, or shards, say is told once."""
        if said not in self._said and len(self._said) < WARNINGS:
            self._said.add(said)
            (self._watch.warn if said.is_warning else self._watch.note)(said.message)

    def _shrink(self, starved: Starved) -> None:
        """Begin a shard again with half the batch tokens, which later ones have, too."""
        task = starved.task
        if task.batch_tokens == 1:
            raise BudgetError(
                f"there is no memory for {self._where(task)}, one batch token at a time: "
                f"{starved.message}",
                hint="leave out very long documents, or take a smaller model",
            )
        tokens = task.batch_tokens // 2
        self._watch.warn(
            f"no memory for {self._where(task)} with {task.batch_tokens} batch tokens; it is begun "
            f"again with {tokens}, and so are those after it"
        )
        entry = self._ledger.plan[task.number]
        self._ledger.planned(entry.shard, tokens, entry.content)
        self._tally.forget(task.number)
        self._again.append(task._replace(batch_tokens=tokens))

    def _bury(self, died: Died) -> None:
        """Do the shards again that a worker was at when it ended."""
        node = {"node": died.node} if died.node else {}
        self._watch.event("worker", {"pid": died.pid, **node, "ended": died.how})
        for task in died.tasks:
            self._tally.forget(task.number)
            self._kills[task.number] += 1
        again = [task for task in died.tasks if self._kills[task.number] < KILLS]
        if again or not died.tasks:
            where = " and ".join(map(self._where, again))
            what = f" at {where}: done again, with nothing beside it" if again else ""
            who = f"pid {died.pid}" + (f" on {died.node}" if died.node else "")
            self._watch.warn(f"a worker ({who}) has ended by {died.how}{what}; it is replaced")
        self._again.extend(task._replace(alone=True) for task in again)
        for task in died.tasks:
            if task not in again:
                self._leave_out(task, died.how)

    def _leave_out(self, task: Task, how: str) -> None:
        """A shard has ended too many workers. LmfstError if that ends the job."""
        what = f"{self._where(task)} has ended {KILLS} workers, the last one by {how}"
        if not self._keep_going:
            raise LmfstError(
                what,
                hint="--keep-going leaves it out; if it is memory that lacks, take fewer --workers "
                "or a smaller --batch",
            )
        self._watch.warn(
            f"{what}: it is left out, and its documents are among the rejected records"
        )
        self._finish(leave_out(task, self._setup.make_writer, KILLED, what))

    def _where(self, task: Task) -> str:
        """A shard, for messages."""
        shard = self._ledger.plan[task.number].shard
        file = self._corpus.files[shard.start.file]
        first = shard.start.offset + 1
        return f"shard {task.number} ({shard.records} records from record {first} of {file} on)"

    def _tell(self, *, now: bool = False) -> None:
        if now or time.monotonic() - self._told >= LOOK:
            self._told = time.monotonic()
            self._watch.progress(self._tally.progress())
