"""Source texts of targets, and what their own tokens weigh."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from lmfst.fst import END, Identity, Utf8
from lmfst.fst.pattern import Pattern, first_string, is_open
from lmfst.fst.preimages import preimages
from lmfst.ground.errors import BudgetError
from lmfst.inference.canonical import canonical_logps
from lmfst.inference.query import Query
from lmfst.inference.results import Propagated
from lmfst.inference.setting import Setting
from lmfst.target.load import Target

SEARCH_NODES = 50_000
"""Nodes that the search for a source text of a target may take."""


def _unended(query: Query) -> Pattern:
    """A query's target without the end."""
    return query.target[:-1] if query.target[-1:] == (END,) else query.target


def text_of(setting: Setting, query: Query) -> bytes | None:
    """A query's text in source form: as given, or the only one with its target. None where the
    target stands for several strings, or none is known."""
    target = _unended(query)
    if is_open(target):
        return None
    machine = setting.target.machine
    if query.text is None and isinstance(machine, Identity | Utf8):
        return machine.source(first_string(target))
    return query.text


def some_source(target: Target, query: Query) -> bytes | None:
    """A short text with a query's target, or one of its strings, if one is found quickly; where the
    target may go on and none has it as a whole, the beginning of one."""
    string = first_string(_unended(query))
    if isinstance(target.machine, Identity | Utf8):
        return target.machine.source(string)
    if target.fst is None:
        return None
    for goes_on in (False, True)[: 1 + (query.target[-1:] != (END,))]:
        with suppress(StopIteration, BudgetError):
            found = preimages(target.fst, string, goes_on=goes_on, max_nodes=SEARCH_NODES)
            return next(found)
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
