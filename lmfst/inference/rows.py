"""Rows."""

from __future__ import annotations

from lmfst.fst.pattern import OneOf
from lmfst.ground.arrays import Ints
from lmfst.inference.query import Layout, Query
from lmfst.inference.row_plan import Plan, make_plan
from lmfst.inference.row_table import Group, Normaliser, RowTable
from lmfst.lexicon import Lexicons
from lmfst.lm.base import Session


class Plans:
    """The plans of a batch, made when they are first asked for."""

    def __init__(self, layout: Layout, lexicons: Lexicons) -> None:
        self._layout, self._lexicons = layout, lexicons
        self._plans: dict[tuple[int, int], Plan] = {}

    def get(self, lexicon: int, position: int) -> Plan:
        """The plan of a lexicon state at a position."""
        if (lexicon, position) not in self._plans:
            document, offset = self._layout.place(position)
            query, found = self._layout.queries[document], self._lexicons[lexicon]
            self._plans[lexicon, position] = make_plan(
                found,
                query.target[offset : offset + found.depth],
                useful=lambda state, depth: self._useful(query, state, offset + depth),
                wanted=[k for k in range(found.depth + 1) if offset + k in query.wanted],
                children_to=query.last - offset,
            )
        return self._plans[lexicon, position]

    def _useful(self, query: Query, lexicon: int, offset: int) -> bool:
        """Whether a hypothesis there can still contribute to anything that is asked for."""
        if offset in query.wanted or offset >= len(query.target):
            return True
        place = query.target[offset]
        if isinstance(place, OneOf):
            return any(self._lexicons.viable(lexicon, symbol) for symbol in place)
        return self._lexicons.viable(lexicon, place)

    def forget(self, here: Ints) -> None:
        """Drop the plans before the positions [queries] at which the queries are."""
        document = self._layout.document
        self._plans = {k: p for k, p in self._plans.items() if k[1] >= here[document[k[1]]]}


class Rows:
    """The rows of a batch as the session gives them, reduced into a table.

    asked: how many there were.
    """

    def __init__(
        self, layout: Layout, lexicons: Lexicons, session: Session, normalise: Normaliser
    ) -> None:
        self.table = RowTable()
        self.plans = Plans(layout, lexicons)
        self.asked = 0
        self._layout, self._session, self._normalise = layout, session, normalise

    def read(self, states: Ints, lexicons: Ints, positions: Ints) -> None:
        """Ask the session for rows, in this order, which has equal plans side by side."""
        self.asked += len(states)
        keys = list(zip(lexicons.tolist(), positions.tolist(), strict=True))
        shared = self._layout.shared
        for block, rows in self._session.rows(states):
            lse, removed = self._normalise(rows)
            groups: list[Group] = []
            before: tuple[int, int] | None = None
            for lexicon, position in keys[block]:
                here = (lexicon, int(shared[position]))
                if here == before:
                    groups[-1].positions.append(position)
                else:
                    groups.append(Group(lexicon, [position], self.plans.get(*here)))
                before = here
            self.table.read(rows, lse, removed, states[block], groups)

    def forget(self, here: Ints) -> None:
        self.plans.forget(here)
