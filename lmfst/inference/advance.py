"""The run over rows that have been evaluated: each document goes on until it lacks a row.

A hypothesis that is kept is known by the child of a row that it is, its *entry*; the row of its own
stands there, if it has one. What has none is listed as lacking, with what is needed to ask for
it. A *speculative run* goes on without: a hypothesis without a row is taken to behave like one that
has a row and stands at the same place (`lmfst.inference.prefetch`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from lmfst.ground.arrays import Bools, Floats, Ints
from lmfst.ground.kernels import kernel
from lmfst.inference.frontier import NONE, Records, places_at, release
from lmfst.inference.wave import decide, drop, grow_trunks, move_on, note, on_trunk, spread

ENOUGH = 512
"""Lacking rows of a batch after which a speculative run ends. A call of this many costs hardly more
per row than a larger one, and what is asked for less far ahead is more often kept."""
UNSURE = 192
"""The same of rows that aren't sure to be kept: whose parents lack one, too."""
CAUTION = 0.7
"""How much more than the least weight a hypothesis has to weigh to be followed; see
`_is_trusted`."""

SILENT_CAUTION = 4.0
"""How many times the caution where the one before emitted nothing, and lacks a row, too: chains of
white space go on for long, and look alike. (Measured, words: of 7 documents 4,699 rows in 16 calls;
5,202 in 19 without, 4,387 in 41 if such ones are never followed.)"""

FINISHED, NO_ROOM = 0, 1
"""What a run ends with: nothing is left to do without further rows; arrays have to grow first."""
WAITS, LACKS, NOTED = 0, 1, 2
"""Places of `Run.needs`: of how many more hypotheses that wait, lack a row, are noted."""

LACKING = np.dtype(
    [
        ("parent", np.int64),
        ("token", np.int64),
        ("lexicon", np.int64),
        ("position", np.int64),
        ("entry", np.int64),
        ("donor", np.int64),
        ("level", np.int64),
        ("age", np.int64),
        ("chain", np.int64),
    ]
)
"""A hypothesis without a row.

parent, token, lexicon, position, entry: see `lmfst.inference.frontier.WAITING`. donor: the row that
stands in for its own, or NONE. level: how many of its parents in turn lack a row. age, chain: see
`_is_trusted`.
"""


class Run(NamedTuple):
    """What a run works on.

    documents, positions, tokens (of the trunks): see `lmfst.inference.wave`; waiting, ends, used:
    see `lmfst.inference.frontier.Frontier`. rows, covers (float64, log masses), entries: the table.
    roots: int64 [documents], the rows of roots, or by `ghost` their numbers among the lacking.
    first_row: int64 [positions], the newest row at each, from which those there are chained.
    lacking: in the order in which they were met, so parents first; lacking_count: int64 [2], how
    many there are, and how many that aren't sure to be kept. kept, kept_count: what is noted, and
    how much. needs: int64 [3], see `WAITS`: for how many more there must be room.
    """

    documents: Records
    positions: Records
    tokens: Ints
    waiting: Records
    ends: Records
    used: Ints
    rows: Records
    covers: Floats
    entries: Records
    roots: Ints
    first_row: Ints
    lacking: Records
    lacking_count: Ints
    kept: Records
    kept_count: Ints
    needs: Ints


@kernel
def ghost(number: int) -> int:
    """What children of a hypothesis without a row know it by; its own inverse."""
    return -2 - number


@kernel
def place_row(first_row: Ints, rows: Records, lexicon: int, position: int, token: int) -> int:
    """A row of a lexicon state at a position, or NONE: the newest one after a token if there is
    one, else the newest."""
    row, found = first_row[position], NONE
    while row != NONE:
        if rows.lexicon[row] == lexicon:
            if rows.token[row] == token:
                return row
            if found == NONE:
                found = row
        row = rows.next[row]
    return found


@kernel
def _own_row(run: Run, document: int, at: int) -> int:
    """The row of the hypothesis at a place of the frontier, or NONE."""
    entry = run.waiting.entry[at]
    if entry != NONE:
        return run.entries.row[entry]
    if run.waiting.token[at] == NONE:
        return max(NONE, run.roots[document])
    return NONE


@kernel
def _donor(run: Run, at: int) -> int:
    """The row that may stand in for the one of a hypothesis, or NONE."""
    waiting = run.waiting
    lexicon, position, token = waiting.lexicon[at], waiting.position[at], waiting.token[at]
    return place_row(run.first_row, run.rows, lexicon, position, token)


@kernel
def _is_trusted(run: Run, document: int, at: int, least: float) -> tuple[bool, bool, int, int]:
    """Whether a branch is followed on to a hypothesis without a row, and whether this is as good as
    sure to be kept; the branch's age, and its hypotheses without a row so far, this one included.

    The first one after a row always is, as are those of the trunk, whatever they weigh. The others
    are the less often kept the fewer rows their branch has had, the more are taken on trust, and
    the nearer they are to the least weight. (Measured: of 2,000 to 7,000 rows that were asked for,
    up to a tenth less was asked for in vain than with a limit on their number alone; learning from
    a document how often such ones are kept, and other weights for rows that aren't known, gained
    nothing.)
    """
    parent, entry = run.waiting.parent[at], run.waiting.entry[at]
    age, chain = 0, 0
    if entry != NONE:
        age = run.rows.age[run.entries.owner[entry]]
    elif parent < NONE:
        above = ghost(parent)
        age, chain = run.lacking.age[above], run.lacking.chain[above]
    over = run.waiting.logw[at] - least
    sure = chain == 0 or on_trunk(
        run.documents, run.tokens, document, parent, run.waiting.token[at]
    )
    silent = parent < NONE and run.lacking.position[ghost(parent)] == run.waiting.position[at]
    caution = math.inf
    if age > 0 and chain > 0:
        caution = CAUTION * (1 + math.log(chain)) / age
    # Without an age, not even where every weight is enough: then both sides are infinite.
    trusted = sure or (age > 0 and over >= (SILENT_CAUTION * caution if silent else caution))
    return trusted, sure, age, chain + 1


@kernel
def _list_lacking(run: Run, document: int, at: int) -> int:
    """The number of a hypothesis among the lacking; a new one if it has none."""
    waiting, lacking = run.waiting, run.lacking
    entry, parent = waiting.entry[at], waiting.parent[at]
    is_root = waiting.token[at] == NONE
    if entry != NONE and run.entries.lacking[entry] != NONE:
        return run.entries.lacking[entry]
    if is_root and run.roots[document] < NONE:
        return ghost(run.roots[document])
    number = run.lacking_count[0]
    run.lacking_count[0] += 1
    lacking.parent[number] = parent
    lacking.token[number] = waiting.token[at]
    lacking.lexicon[number] = waiting.lexicon[at]
    lacking.position[number] = waiting.position[at]
    lacking.entry[number] = entry
    lacking.donor[number] = _donor(run, at)
    lacking.level[number] = lacking.level[ghost(parent)] + 1 if parent < NONE else 0
    lacking.age[number] = 0
    lacking.chain[number] = 0
    if entry != NONE:
        run.entries.lacking[entry] = number
    if is_root:
        run.roots[document] = ghost(number)
    return number


@kernel
def _find_row(
    run: Run, speculative: bool, document: int, at: int, least: float
) -> tuple[int, int, bool]:
    """The row of a kept hypothesis, what its children know it by (NONE if it won't have any), and
    whether the row is its own; if there is none, the hypothesis is listed as lacking. least: the
    weight below which hypotheses there are dropped."""
    row = _own_row(run, document, at)
    if row != NONE:
        return row, run.rows.state[row], True
    if not speculative:
        _list_lacking(run, document, at)
        return NONE, NONE, False
    trusted, sure, age, chain = _is_trusted(run, document, at, least)
    if not trusted:
        return NONE, NONE, False
    number = _list_lacking(run, document, at)
    run.lacking.age[number] = age
    run.lacking.chain[number] = chain
    if not sure:
        run.lacking_count[1] += 1
    return run.lacking.donor[number], ghost(number), False


@kernel
def _has_room(run: Run, document: int, at: Ints) -> bool:
    """Whether there is room for all that the kept hypotheses of a wave may add."""
    children = 0
    for one in at:
        row = _own_row(run, document, one)
        if row == NONE:
            row = _donor(run, one)
        if row != NONE:
            children += run.rows.child_count[row]
    run.needs[WAITS] = children
    run.needs[LACKS] = len(at)
    run.needs[NOTED] = len(at)
    return (
        len(run.waiting) - run.used[0] >= children
        and len(run.lacking) - run.lacking_count[0] >= len(at)
        and len(run.kept) - run.kept_count[0] >= len(at)
    )


@kernel
def pick(kept: Bools, at: Ints) -> int:
    """Move those of `at` that are kept to its beginning; how many."""
    count = 0
    for i in range(len(at)):
        if kept[i]:
            at[count] = at[i]
            count += 1
    return count


@kernel
def _step(run: Run, size: int, output_waits: bool, speculative: bool, document: int) -> bool:
    """Decide and spread the next wave of a document; False if there isn't room for it."""
    documents, positions, tokens, waiting = run.documents, run.positions, run.tokens, run.waiting
    here = documents.begin[document] + documents.offset[document]
    at = places_at(waiting, run.ends, here)
    if len(at) > 0:
        position, logw = np.empty(len(at), np.int64), np.empty(len(at))
        parent, token = np.empty(len(at), np.int64), np.empty(len(at), np.int64)
        for i in range(len(at)):
            position[i], logw[i] = here, waiting.logw[at[i]]
            parent[i], token[i] = waiting.parent[at[i]], waiting.token[at[i]]
        kept, heavy = np.empty(len(at), np.bool_), np.empty(len(at), np.bool_)
        least = decide(
            documents, positions, tokens, size, position, parent, token, logw, kept, heavy
        )
        count = pick(kept, at)
        if not _has_room(run, document, at[:count]):
            return False
        states, row = np.empty(count, np.int64), np.empty(count, np.int64)
        linked, ready = np.empty(count, np.bool_), True
        for i in range(count):
            row[i], states[i], linked[i] = _find_row(run, speculative, document, at[i], least)
            ready = ready and linked[i]
        if not speculative:
            if not ready:
                documents.waits[document] = True
                return True
            drop(positions, position, logw, kept, heavy)
        for i in range(count):
            logw[i] = waiting.logw[at[i]]
            parent[i], token[i] = waiting.parent[at[i]], waiting.token[at[i]]
        position, logw, parent, token = (
            position[:count],
            logw[:count],
            parent[:count],
            token[:count],
        )
        grow_trunks(documents, positions, tokens, position, parent, token, states)
        if not speculative:
            note(
                documents,
                positions,
                tokens,
                run.rows,
                run.covers,
                run.kept,
                run.kept_count,
                position,
                logw,
                states,
                row,
            )
        release(waiting, run.ends, run.used, here)
        spread(
            documents,
            positions,
            tokens,
            waiting,
            run.ends,
            run.used,
            run.rows,
            run.covers,
            run.entries,
            position,
            logw,
            np.zeros(count, np.int64),
            states,
            row,
            linked,
            output_waits,
            False,
            np.empty(0, np.int64),
        )
    move_on(documents, run.ends, document)
    return True


@kernel
def go_on(run: Run, size: int, output_waits: bool, speculative: bool) -> int:
    """Go on with all documents in turn, an offset at a time, until none can go on; a speculative
    run until enough rows are lacking.

    size: of the beam; output_waits: whether output may wait for more input.
    """
    documents = run.documents
    moving = True
    while moving:
        moving = False
        for document in range(len(documents)):
            if documents.offset[document] > documents.last[document] or documents.waits[document]:
                continue
            if speculative and (run.lacking_count[0] >= ENOUGH or run.lacking_count[1] >= UNSURE):
                return FINISHED
            if not _step(run, size, output_waits, speculative, document):
                return NO_ROOM
            moving = True
    return FINISHED


@kernel
def link(
    entries: Records, rows: Records, first_row: Ints, lacking: Records, count: int, row: Ints
) -> None:
    """Note the rows that what was lacking has now."""
    for number in range(count):
        own, entry, parent = row[number], lacking.entry[number], lacking.parent[number]
        rows.age[own] = lacking.age[number] + lacking.chain[number]
        rows.token[own] = lacking.token[number]
        if entry == NONE and parent < NONE:
            # A child of one that lacked a row, too, and has entries now.
            owner = row[ghost(parent)]
            first = rows.child_first[owner]
            for child in range(first, first + rows.child_count[owner]):
                if entries.token[child] == lacking.token[number]:
                    entry = child
                    break
        if entry != NONE:
            entries.row[entry] = own
            entries.lacking[entry] = NONE
        position = lacking.position[number]
        rows.next[own] = first_row[position]
        first_row[position] = own
