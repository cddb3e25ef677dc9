"""All that a page says, found in two passes over each output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from lmfst.ground.types import Warn
from lmfst.report.compare import Differences, Pairs, Verdict, look_again, paired, verdict
from lmfst.report.output import Output, outputs
from lmfst.report.parts import parts
from lmfst.report.shown import ROOM, Gather, Shown, Window, choose, windows
from lmfst.report.summary import Unit
from lmfst.report.texts import Texts, read_texts


@dataclass(frozen=True)
class Entry:
    """A document that is shown. first, second: in either output; second: None where there is no
    second one, or it lacks the document. same: whether their units are the same. marks: the most
    surprising unit in either."""

    first: Shown
    second: Shown | None = None
    same: bool = False
    marks: tuple[Unit | None, ...] = ()


@dataclass(frozen=True)
class Versus:
    """What two outputs say of each other. units: None if they can't be compared unit by unit."""

    pairs: Pairs
    verdict: Verdict
    units: Differences | None


@dataclass(frozen=True)
class Findings:
    """What a page says. outputs: one or two. entries: the documents that are shown, by their place
    on the page. places: the same, from their number in either output."""

    outputs: list[Output]
    entries: list[Entry]
    versus: Versus | None = None
    texts: Texts | None = None
    places: tuple[dict[int, int], dict[int, int]] = field(default_factory=lambda: ({}, {}))

    @property
    def first(self) -> Output:
        return self.outputs[0]

    @cached_property
    def grouped(self) -> list[bool]:
        """Whether units of each output are shown apart from each other."""
        return [output.summary.apart for output in self.outputs]


def findings(paths: Sequence[str], texts: str | None, warn: Warn) -> Findings:
    """What is found in one or two outputs of units.

    texts: an output of texts, of the documents of the first. InputError and UsageError for files
    that aren't such outputs, and for two without a document in common. warn: is told what was left
    out.
    """
    found = outputs(paths, warn)
    read = None if texts is None else read_texts(texts, found[0].totals, found[0].name)
    entries, versus = _alone(found[0]) if len(found) == 1 else _two(found[0], found[1])
    first = {entry.first.number: at for at, entry in enumerate(entries)}
    shown = ((at, entry.second) for at, entry in enumerate(entries))
    places = first, {second.number: at for at, second in shown if second is not None}
    return Findings(found, entries, versus, read, places)


def _alone(output: Output) -> tuple[list[Entry], None]:
    documents = output.summary.documents
    chosen = _with_worst(choose(documents), output)
    gather = Gather(documents, windows(documents, chosen, ROOM, output.summary.length), ROOM)
    for part in parts(output.path):
        gather.add(part)
    entries = [Entry(gather.shown[number], marks=(gather.marked.get(number),)) for number in chosen]
    return entries, None


def _two(one: Output, other: Output) -> tuple[list[Entry], Versus]:
    """Both outputs share the room."""
    paths, documents = (one.path, other.path), (one.summary.documents, other.summary.documents)
    pairs = paired(paths, documents)
    partner = dict(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    same = dict(zip(pairs.first.tolist(), pairs.same.tolist(), strict=True))
    different = [int(pairs.first[pair]) for pair in pairs.chosen()]
    chosen = _with_worst(list(dict.fromkeys([*different, *choose(documents[0])])), one)
    if other.totals.worst is not None:
        lacks = pairs.first[pairs.second == other.totals.worst].tolist()
        chosen = list(dict.fromkeys([*chosen, *lacks]))
    room = ROOM // 2
    seen = windows(documents[0], chosen, room, one.summary.length)
    partners = [partner[n] for n in chosen if n in partner]
    others = windows(documents[1], partners, room, other.summary.length)
    for number in chosen:
        if same.get(number):
            # The same units are shown of both.
            others[partner[number]] = Window(seen[number].begin, seen[number].room)
    gathers = Gather(documents[0], seen, room), Gather(documents[1], others, room)
    units = look_again(paths, pairs, gathers)
    entries = []
    for number in chosen:
        second = partner.get(number)
        marks = [gathers[0].marked.get(number)]
        if second is not None:
            marks.append(gathers[1].marked.get(second))
        shown = None if second is None else gathers[1].shown[second]
        entry = Entry(gathers[0].shown[number], shown, same.get(number, False), tuple(marks))
        entries.append(entry)
    return entries, Versus(pairs, verdict(pairs), units)


def _with_worst(chosen: list[int], output: Output) -> list[int]:
    """The documents, and the one that lacks most."""
    worst = output.totals.worst
    return chosen if worst is None or worst in chosen else [*chosen, worst]
