"""What becomes of a wave: the hypotheses of an offset that are decided together.

Each kept hypothesis adds the shares of its next token to the prefix probabilities that it covers,
and its children to the frontier. All of a wave is decided before any of it spreads; of several
offsets, those of other documents, each by itself.
"""

from __future__ import annotations

import math

import numpy as np

from lmfst.ground.arrays import Bools, Floats, Int, Ints
from lmfst.ground.kernels import kernel
from lmfst.inference.canonical import ENDED
from lmfst.inference.frontier import NONE, Records, push
from lmfst.inference.policy import SILENT_TOLERANCE

FADED = math.log(SILENT_TOLERANCE)


@kernel
def logaddexp(one: float, other: float) -> float:
    """log(exp(one) + exp(other)), as numpy has it."""
    if one == other:
        return one + math.log(2.0)
    if one > other:
        return one + math.log1p(math.exp(other - one))
    return other + math.log1p(math.exp(one - other))


@kernel
def _nth_heaviest(values: Floats, n: Int) -> float:
    """The n-th largest of some values, which are put in another order (quickselect)."""
    low, high, at = np.int64(0), len(values) - 1, n - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] > pivot:
                i += 1
            while values[j] < pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if at <= j:
            high = j
        elif at >= i:
            low = i
        else:
            break
    return values[at]


@kernel
def keep_heaviest(logw: Floats, begin: Int, end: Int, size: Int, kept: Bools) -> None:
    """Of the hypotheses begin … end - 1 that are kept, keep the `size` heaviest; of equal ones
    those that came first."""
    values, count = np.empty(end - begin), np.int64(0)
    for i in range(begin, end):
        if kept[i]:
            values[count] = logw[i]
            count += 1
    if count <= size:
        return
    least = _nth_heaviest(values[:count], size)
    # Of those that weigh as much as the last one that is kept, as many as there is room for.
    room = size
    for i in range(begin, end):
        if kept[i] and logw[i] > least:
            room -= 1
    for i in range(begin, end):
        if kept[i] and logw[i] == least:
            kept[i] = room > 0
            room -= 1
        elif kept[i]:
            kept[i] = logw[i] > least


@kernel
def least_weight(documents: Records, positions: Records, position: int, heaviest: float) -> float:
    """The log weight below which a hypothesis at a position is dropped.

    A share of the heaviest one's there, or of the prefix probability one symbol further on if that
    is larger. (The prefix probability itself would be a poor yardstick where the text leaves a
    likely token in the middle: mass that is about to die would crowd out what goes on. Where the
    next symbol mustn't be known, it has to do.)
    """
    document = positions.document[position]
    if documents.alone[document]:
        return positions.best[position] + documents.log_threshold[document]
    reference = max(positions.log_prefix[positions.ahead[position]], heaviest)
    # Nor would hypotheses that have read less of the source, where output waits: the source's own
    # next one goes on for certain, and others that have read as far may be as light.
    reference = min(reference, documents.survives[document])
    return reference + documents.log_threshold[document]


@kernel
def on_trunk(documents: Records, tokens: Ints, document: int, parent: int, token: Int) -> bool:
    """Whether a hypothesis goes on from the top of its document's trunk with its next token."""
    return documents.top[document] == parent and tokens[documents.at[document]] == token


@kernel
def _fades(logw: Floats, begin: Int, end: Int, heaviest: float, log_prefix: float) -> bool:
    """Whether a chain of hypotheses that emit nothing ends here: too little is left of it."""
    total = 0.0
    for i in range(begin, end):
        total += math.exp(logw[i] - heaviest)
    return math.log(total) + heaviest < log_prefix + FADED


@kernel
def _first_of(logw: Floats, begin: Int, end: Int, value: float) -> int:
    """Where the first one of begin … end - 1 with a weight is."""
    for i in range(begin, end):
        if logw[i] == value:
            return i
    return begin


@kernel
def _weigh(positions: Records, position: int, logw: Floats, begin: Int, end: Int) -> None:
    """Have `best` at a position count the mass that goes on from before, too: that of the prefix
    without the hypotheses begin … end - 1, which are all that have arrived there."""
    log_prefix = positions.log_prefix[position]
    if log_prefix == -math.inf:
        return
    rest = 1.0
    for i in range(begin, end):
        rest -= math.exp(logw[i] - log_prefix)
    if rest > 0.0:
        positions.best[position] = max(positions.best[position], log_prefix + math.log(rest))


@kernel
def decide(
    documents: Records,
    positions: Records,
    tokens: Ints,
    size: int,
    position: Ints,
    parent: Ints,
    token: Ints,
    logw: Floats,
    kept: Bools,
    heavy: Bools,
) -> float:
    """Find which hypotheses of a wave are kept, and which are heavy enough to be; the least weight
    at the last position.

    Those at least as heavy as `least_weight`, of these the `size` heaviest (NONE: all there are,
    heavy or not), and whatever they weigh those of the trunk. Where the symbols before decide
    alone, the reference weight is the heaviest of all waves, or the mass that goes on from before
    if that is larger; this may end with the next symbol, so the heaviest of a first wave is kept
    whatever it weighs. position, parent, token, logw: of each; those of one position follow each
    other. kept, heavy: results.
    """
    begin, least = np.int64(0), -math.inf
    while begin < len(position):
        here = position[begin]
        end, heaviest = begin, -math.inf
        while end < len(position) and position[end] == here:
            heaviest = max(heaviest, logw[end])
            end += 1
        document = positions.document[here]
        if documents.alone[document]:
            positions.best[here] = max(positions.best[here], heaviest)
            if documents.wave[document] == 0:
                _weigh(positions, here, logw, begin, end)
        least = least_weight(documents, positions, here, heaviest)
        fades = documents.wave[document] > 0 and _fades(
            logw, begin, end, heaviest, positions.log_prefix[here]
        )
        for i in range(begin, end):
            heavy[i] = logw[i] >= least and not fades
            kept[i] = heavy[i] or (size == NONE and not fades)
        if documents.alone[document] and documents.wave[document] == 0:
            kept[_first_of(logw, begin, end, heaviest)] = True
        if size != NONE:
            keep_heaviest(logw, begin, end, size, kept)
        for i in range(begin, end):
            if on_trunk(documents, tokens, document, parent[i], token[i]):
                kept[i] = True
        begin = end
    return least


@kernel
def drop(positions: Records, position: Ints, logw: Floats, kept: Bools, heavy: Bools) -> None:
    """Note the weight of hypotheses that are dropped, and of those that were heavy enough."""
    for i in range(len(position)):
        if not kept[i]:
            at = position[i]
            positions.log_dropped[at] = logaddexp(positions.log_dropped[at], logw[i])
            if heavy[i]:
                positions.log_crowded[at] = logaddexp(positions.log_crowded[at], logw[i])


@kernel
def grow_trunks(
    documents: Records,
    positions: Records,
    tokens: Ints,
    position: Ints,
    parent: Ints,
    token: Ints,
    states: Ints,
) -> None:
    """Let trunks go on to hypotheses that were kept, if they are their next ones. states: what
    children know them by; NONE for those that won't have any."""
    for i in range(len(position)):
        document = positions.document[position[i]]
        if states[i] != NONE and on_trunk(documents, tokens, document, parent[i], token[i]):
            documents.top[document] = states[i]
            documents.at[document] += 1


@kernel
def move_on(documents: Records, ends: Records, document: int) -> None:
    """Move a document to the next offset where hypotheses stand: the same one again, if tokens that
    emit nothing left some there, and past the end if there are none."""
    base, before = documents.begin[document], documents.offset[document]
    offset = before
    while offset <= documents.last[document] and ends.first[base + offset] == NONE:
        offset += 1
    documents.offset[document] = offset
    documents.wave[document] = documents.wave[document] + 1 if offset == before else 0


@kernel
def move_all(documents: Records, ends: Records, some: Ints) -> None:
    """`move_on` for each of some documents."""
    for document in some:
        move_on(documents, ends, document)


@kernel
def note(
    documents: Records,
    positions: Records,
    tokens: Ints,
    rows: Records,
    covers: Floats,
    kept: Records,
    kept_count: Ints,
    position: Ints,
    logw: Floats,
    states: Ints,
    row: Ints,
) -> None:
    """Note what kept hypotheses cost, what leaving out the specials did to them, where next symbols
    are asked for, and where the own tokens of a source have come to the end."""
    ended = np.int64(ENDED)
    for i in range(len(position)):
        own, document = row[i], positions.document[position[i]]
        documents.rows[document] += 1
        if position[i] >= documents.begin[document] + documents.prompt[document]:
            share = math.exp(min(0.0, logw[i] - positions.log_prefix[position[i]]))
            documents.removed[document] += share * rows.removed[own]
        if rows.symbol_count[own] > 0:
            kept.row[kept_count[0]] = own
            kept.logw[kept_count[0]] = logw[i]
            kept_count[0] += 1
        if documents.has_canonical[document] and on_trunk(
            documents, tokens, document, states[i], ended
        ):
            # The hypothesis covers the whole target where its next token is an end.
            count = rows.cover_count[own]
            if position[i] + count == documents.begin[document] + documents.symbols[document]:
                last = rows.cover_first[own] + count - 1
                documents.canonical[document] = logw[i] + covers[last]


@kernel
def _cover(
    positions: Records, rows: Records, covers: Floats, at: int, logw: float, row: int
) -> None:
    """Add the shares of a hypothesis to the prefixes that its next token covers."""
    first = rows.cover_first[row]
    for k in range(rows.cover_count[row]):
        share = logw + covers[first + k]
        positions.log_prefix[at + 1 + k] = logaddexp(positions.log_prefix[at + 1 + k], share)


@kernel
def _look_ahead(
    documents: Records,
    positions: Records,
    tokens: Ints,
    rows: Records,
    entries: Records,
    document: int,
    logw: float,
    state: int,
    row: int,
    waits: bool,
) -> None:
    """Note the heaviest hypothesis that arrives at each position, and what the trunk's next one
    weighs (waits: where output may wait for more input)."""
    first = rows.child_first[row]
    for child in range(first, first + rows.child_count[row]):
        to, weight = entries.position[child], logw + entries.logp[child]
        positions.best[to] = max(positions.best[to], weight)
        if (
            waits
            and weight > -math.inf
            and on_trunk(documents, tokens, document, state, entries.token[child])
        ):
            documents.survives[document] = weight


@kernel
def _is_lost(
    documents: Records, positions: Records, document: int, position: int, to: int, logw: float
) -> bool:
    """Whether no later decision can keep a child at `to` of a hypothesis at a position."""
    if to <= position or documents.alone[document]:
        return False
    known = max(positions.log_prefix[positions.ahead[to]], positions.best[to])
    known = min(known, documents.survives[document])
    return logw < known + documents.log_threshold[document]


@kernel
def spread(
    documents: Records,
    positions: Records,
    tokens: Ints,
    waiting: Records,
    ends: Records,
    used: Ints,
    rows: Records,
    covers: Floats,
    entries: Records,
    position: Ints,
    logw: Floats,
    guide: Ints,
    states: Ints,
    row: Ints,
    linked: Bools,
    waits: bool,
    merges: bool,
    filed: Ints,
) -> int:
    """Add the shares of hypotheses to prefixes and file their children; how many.

    The children that no later decision can keep need not wait for it, and count as dropped, but for
    those of the trunk (and where hypotheses add up, none is known to be light). states: what
    children know their parents by. row: NONE where there is none. linked: whether the row is a
    hypothesis' own, so that its children are the row's. filed: gets the places of children, if it
    is long enough for all.
    """
    for i in range(len(position)):
        if row[i] != NONE:
            _cover(positions, rows, covers, position[i], logw[i], row[i])
    for i in range(len(position)):
        if row[i] != NONE:
            document = positions.document[position[i]]
            _look_ahead(
                documents,
                positions,
                tokens,
                rows,
                entries,
                document,
                logw[i],
                states[i],
                row[i],
                waits and not merges,
            )
    count = 0
    for i in range(len(position)):
        if row[i] == NONE:
            continue
        document = positions.document[position[i]]
        first = rows.child_first[row[i]]
        for child in range(first, first + rows.child_count[row[i]]):
            weight, to = logw[i] + entries.logp[child], entries.position[child]
            token = entries.token[child]
            if weight == -math.inf:
                continue
            if (
                not merges
                and _is_lost(documents, positions, document, position[i], to, weight)
                and not on_trunk(documents, tokens, document, states[i], token)
            ):
                positions.log_dropped[to] = logaddexp(positions.log_dropped[to], weight)
                continue
            entry = child if linked[i] else NONE
            lexicon = entries.lexicon[child]
            at = push(waiting, ends, used, to, states[i], token, lexicon, entry, guide[i], weight)
            if count < len(filed):
                filed[count] = at
            count += 1
    return count
