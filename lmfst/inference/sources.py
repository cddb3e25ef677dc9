"""Source texts of targets, and what their own tokens weigh."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from lmfst.fst import END, Identity, Sequential, Utf8
from lmfst.fst.pattern import Pattern, first_string, is_open
from lmfst.fst.preimages import preimages
from lmfst.ground.errors import BudgetError
from lmfst.inference.canonical import canonical_logps
from lmfst.inference.query import Query
from lmfst.inference.results import Propagated
from lmfst.inference.setting import Setting

SEARCH_NODES = 50_000
"""Nodes that the search for a source text of a target may take."""


def unended(target: Pattern) -> Pattern:
    """A target without the end."""
    return target[:-1] if target[-1:] == (END,) else target


def text_of(setting: Setting, query: Query) -> bytes | None:
    """A query's text in source form: as given, or the only one with its target. None where the
    target stands for several strings, or none is known."""
    target = unended(query.target)
    if is_open(target):
        return None
    if query.text is None:
        return _only_source(setting.target.machine, first_string(target))
    return query.text


def _only_source(machine: Sequential, string: Sequence[int]) -> bytes | None:
    """The only text with an output, by a machine that leaves texts as they are; None by others, and
    where the machine begins within a character that isn't the string's first one."""
    if isinstance(machine, Identity):
        return machine.source(string)
    if not isinstance(machine, Utf8):
        return None
    whole, read = machine.source(string), machine.pending(machine.start)
    return whole[len(read) :] if whole.startswith(read) else None


def some_source(setting: Setting, query: Query) -> bytes | None:
    """A short text with a query's target, or one of its strings, if one is found quickly; where the
    target may go on and none has it as a whole, the beginning of one. It begins where the model has
    read up to."""
    string, target = first_string(unended(query.target)), setting.target
    if target.fst is None:
        return _only_source(target.machine, string)
    whole = (*setting.before, *string)
    for goes_on in (False, True)[: 1 + (query.target[-1:] != (END,))]:
        with suppress(StopIteration, BudgetError):
            text = next(preimages(target.fst, whole, goes_on=goes_on, max_nodes=SEARCH_NODES))
            return text[len(setting.read) :] if text.startswith(setting.read) else None
    return None


def add_canonical(
    setting: Setting, queries: Sequence[Query], results: Sequence[Propagated]
) -> None:
    """Add what the texts' own tokens weigh, where it is asked for and not known yet."""
    asked = [
        text_of(setting, query) if query.canonical and result.canonical is None else None
        for query, result in zip(queries, results, strict=True)
    ]
    if all(text is None for text in asked):
        return
    known = canonical_logps(setting.lm, setting.normalise, asked)
    for result, logp in zip(results, known, strict=True):
        if logp is not None:
            result.canonical = logp
