"""States: a transduced model after a prefix, to be extended symbol by symbol.

A state after y knows log P_Y(y) and the distribution of the next symbol, and leads to the state
after y·a. It is what is left of propagation (`lmfst.inference.propagate`; arXiv 2603.05193,
sections 4 and 5) where the target isn't known beforehand: cursors (`lmfst.inference.cursors`), and
hypotheses at the end of y, decided by y alone (`lmfst.inference.closing`). So numbers don't depend
on which distributions were asked for, and a beam over states differs a little from scoring, whose
decisions look one symbol ahead.

States that began together share a session of the model; what none of them needs any more is
forgotten there. Not here: policies that sample, and sums over accepted strings only, which have no
states.
"""

from __future__ import annotations

import math
import weakref
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from lmfst.fst.pattern import first_string, is_open
from lmfst.fst.sequential import END
from lmfst.ground.arrays import Floats, Ints
from lmfst.ground.errors import FstError, InputError, UsageError
from lmfst.inference.closing import Closing, Kept, Open
from lmfst.inference.cursors import NONE, Place, Places, Waiting, move, next_symbols
from lmfst.inference.policy import Policy
from lmfst.inference.results import Propagated
from lmfst.inference.setting import Setting
from lmfst.inference.zeros import Zeros
from lmfst.target.strings import Symbols, pattern_of
from lmfst.target.units import END_NAME

MAX_BYTES = 1 << 30
"""Memory for rows of states that somebody holds; beyond that they are asked for again."""
RETAIN_ROWS = 256
"""Rows that are asked for between two calls that let the session forget."""

NOWHERE = Place(NONE, 0, 0)
"""Where the cursors of a state are that has none."""

Trail = tuple[Any, int] | None
"""A string, as what it goes on from and its last symbol; None: the empty one."""


class State:
    """A transduced model after a prefix y; made by `lmfst.TransducedLM.state`.

    It doesn't change: `advance` gives another one, and several may be made from one. What its
    numbers are is said in `lmfst.inference.states`; source: arXiv 2603.05193, "Transducing Language
    Models".
    """

    __slots__ = (
        "__weakref__",
        "_carried",
        "_decided",
        "_fresh",
        "_length",
        "_log_carried",
        "_logp",
        "_lost",
        "_missing",
        "_next",
        "_rows",
        "_share",
        "_space",
        "_trail",
        "_waiting",
    )

    def __init__(self, space: Space, trail: Trail, length: int) -> None:
        self._space, self._trail, self._length = space, trail, length
        self._logp = self._missing = 0.0
        # After so many symbols nothing is left; -1: there is.
        self._lost = -1
        # Hypotheses that were kept on the way.
        self._rows = 0
        # Cursors from before, and the log of their mass; hypotheses that are to be decided.
        self._carried, self._log_carried = NOWHERE, -math.inf
        self._waiting: Waiting | None = None
        # Once it is closed: what was decided, and how many hypotheses had been kept before; the new
        # cursors, and what was dropped here as a share of P_Y.
        self._decided: tuple[Waiting, int] | None = None
        self._fresh, self._share = NOWHERE, 0.0
        self._next: tuple[Ints, Floats] | None = None

    @property
    def logp(self) -> float:
        """log P_Y(y), that a string begins with y, nats; after ⊥ log p_Y(y), that it is y. A lower
        bound where hypotheses were dropped."""
        return self._logp

    @property
    def missing(self) -> float:
        """What hypotheses that were dropped on the way make `logp` lack, nats: an estimate, as
        column `missing` of scored texts (`lmfst.inference.accuracy`). inf if nothing is left, and
        something was dropped."""
        return self._missing

    @property
    def is_possible(self) -> bool:
        """Whether y has a probability above 0."""
        return self._logp > -math.inf

    @property
    def has_ended(self) -> bool:
        """Whether y ends with ⊥."""
        return self._trail is not None and self._trail[1] == END

    @property
    def symbols(self) -> tuple[int, ...]:
        """y, as symbol numbers; ⊥ is -1."""
        found, trail = [], self._trail
        while trail is not None:
            trail, symbol = trail
            found.append(symbol)
        return tuple(reversed(found))

    def next_logp(self) -> dict[str, float]:
        """log p_Y(a | y), nats, of every symbol a that may be next, by name; ⊥ is the end of the
        string. Where hypotheses were dropped here, the distribution sums to less than 1 by their
        share.

        InputError where y has probability zero, or has ended.
        """
        name = self._space.setting.target.units.name
        symbols, logp = self.next_symbols()
        return {name(a): p for a, p in zip(symbols.tolist(), logp.tolist(), strict=True)}

    def next_symbols(self) -> tuple[Ints, Floats]:
        """The same as symbols int64 [n] (⊥ is -1) and logp float64 [n], nats, in order of the
        symbols."""
        if self._next is None:
            self._require_going("nothing can follow")
            self._space.close([self])
            symbols, logs = next_symbols(self._space.setting.lexicons, self._places())
            logs -= self._logp
            # What is given to two callers mustn't be changed by one of them.
            symbols.flags.writeable = logs.flags.writeable = False
            self._next = symbols, logs
        return self._next

    def advance(self, symbol: int | str | Symbols) -> State:
        """The state after y and a symbol, or several.

        symbol: a symbol's number (⊥ is -1), its name as in `next_logp`, or a string of symbols as
        `TransducedLM.symbols` reads it. (What is a symbol's name is that symbol: of the letters of
        a mark's name make a list.) advance(a).logp = logp + next_logp()[a], to rounding.

        A symbol that can't follow gives a state that is not possible. InputError for what is no
        symbol, and after ⊥; UsageError for sets of symbols.
        """
        return self._space.advance([self], [symbol])[0]

    def _places(self) -> Places:
        return self._carried, self._fresh

    def _require_going(self, what: str) -> None:
        """InputError unless something can follow."""
        if self.has_ended:
            raise InputError(
                f"{what} the prefix, which has ended with {END_NAME}",
                hint="go on from a state before it",
            )
        if not self.is_possible:
            raise InputError(
                f"{what} the prefix, which has probability zero under the model from "
                + self._space.why(self.symbols, self._lost, self._missing > 0)
            )

    def _reopen(self) -> None:
        """Give up rows, which are asked for again when they are needed."""
        if self._decided is not None:
            self._waiting, self._rows = self._decided
            self._decided, self._fresh = None, NOWHERE

    def __repr__(self) -> str:
        return f"<State after {self._length} symbols, logp {self._logp:.6g}>"


class Space:
    """What states have in common that began together: a session of the model, with one document.

    UsageError for a policy without states.
    """

    def __init__(self, setting: Setting, policy: Policy, zeros: Zeros) -> None:
        if policy.estimates:
            raise UsageError(
                "a policy that samples has no states: its numbers hold for whole strings",
                hint='use policy "beam", or "exact"',
            )
        if setting.conditioned:
            raise UsageError(
                "--partial condition has no states: what is accepted depends on how the string "
                "goes on",
                hint="ask for prefix_logp and next_logp of whole prefixes",
            )
        self.setting, self._zeros = setting, zeros
        session = setting.lm.session()
        self._session, self._root = session, session.open()
        self._closing = Closing(setting.lexicons, session, setting.normalise, Kept.by(policy))
        self._states: weakref.WeakSet[State] = weakref.WeakSet()
        self._retained = 0
        self._held: deque[tuple[int, list[weakref.ref[State]]]] = deque()
        self._size = 0
        weakref.finalize(self, session.close, self._root).atexit = False

    def begin(self) -> State:
        """The state after nothing."""
        state = self._new(None, 0)
        start = self.setting.lexicons.start
        owner, root, token, lexicon = np.array([[0], [self._root], [-1], [start]], dtype=np.int64)
        state._waiting = Waiting(owner, root, token, lexicon, np.zeros(1))
        return state

    def _new(self, trail: Trail, length: int) -> State:
        state = State(self, trail, length)
        self._states.add(state)
        return state

    def advance(
        self, states: Sequence[State], symbols: Sequence[int | str | Symbols]
    ) -> list[State]:
        """Each state after its symbol or symbols, see `State.advance`; rows are asked for together,
        and those of the states that come out of it when they are needed."""
        strings = [self._string(symbol) for symbol in symbols]
        found = list(states)
        for at in range(max(map(len, strings), default=0)):
            going = [i for i, string in enumerate(strings) if len(string) > at]
            # States that are the same and read the same are moved once.
            steps = list(dict.fromkeys((found[i], strings[i][at]) for i in going))
            moved = dict(zip(steps, self._moved(steps), strict=True))
            for i in going:
                found[i] = moved[found[i], strings[i][at]]
        return found

    def _string(self, symbol: int | str | Symbols) -> tuple[int, ...]:
        """A symbol, or several, as numbers."""
        alphabet = self.setting.target.machine.symbols
        if isinstance(symbol, int | np.integer):
            return (int(symbol),)
        if isinstance(symbol, str):
            if symbol == END_NAME:
                return (END,)
            with suppress(FstError):
                return (alphabet.label(symbol),)
        return self.string(symbol)

    def string(self, y: Symbols) -> tuple[int, ...]:
        """A string as numbers. UsageError for one that is open."""
        found = pattern_of(y, self.setting.target.machine.symbols)
        if is_open(found):
            raise UsageError(
                "a state can't read a set of symbols",
                hint="go on with each of them, or ask for prefix_logp of the whole string",
            )
        return first_string(found)

    def _moved(self, steps: Sequence[tuple[State, int]]) -> list[State]:
        """The states after one symbol each."""
        for state, _ in steps:
            if state.has_ended:
                state._require_going("nothing can follow")
        going = [(state, symbol) for state, symbol in steps if state.is_possible]
        self.close([state for state, _ in going])
        new = {
            (state, symbol): self._new((state._trail, symbol), state._length + 1)
            for state, symbol in steps
        }
        if going:
            symbols = np.array([symbol for _, symbol in going], dtype=np.int64)
            moved = move(self.setting.lexicons, [state._places() for state, _ in going], symbols)
            bounds = np.searchsorted(moved.waiting.owner, np.arange(len(going) + 1)).tolist()
            for i, step in enumerate(going):
                after = new[step]
                after._logp, after._log_carried = float(moved.logp[i]), float(moved.log_carried[i])
                after._carried = moved.carried[i]
                after._waiting = moved.waiting.at(slice(bounds[i], bounds[i + 1]))
        for (before, _), after in new.items():
            _inherit(before, after)
        return list(new.values())

    def close(self, states: Iterable[State]) -> None:
        """Decide the hypotheses at the end of states, and have their rows."""
        todo = [state for state in dict.fromkeys(states) if state._waiting is not None]
        if not todo:
            return
        parts = [state._waiting for state in todo if state._waiting is not None]
        owner = np.repeat(np.arange(len(todo)), [len(part.owner) for part in parts])
        waiting = Waiting(*map(np.concatenate, zip(*parts, strict=True)))._replace(owner=owner)
        closed = self._closing(
            Open(
                np.array([state._logp for state in todo]),
                np.array([state._log_carried for state in todo]),
                np.array([state._rows for state in todo], dtype=np.int64),
                waiting,
            )
        )
        for i, state in enumerate(todo):
            state._fresh, state._share = closed.fresh[i], float(closed.share[i])
            if state._waiting is not None:
                state._decided = state._waiting, state._rows
            state._rows, state._waiting = int(closed.rows[i]), None
        self._hold(todo)
        if self._closing.asked - self._retained >= RETAIN_ROWS:
            self._retained = self._closing.asked
            self._retain()

    def _hold(self, states: list[State]) -> None:
        """Keep the rows of states that were closed together, and give up the oldest where there are
        too many. (Those of states that nobody holds are gone already.)"""
        size = states[0]._fresh.cursors.terms.nbytes
        self._held.append((size, [weakref.ref(state) for state in states]))
        self._size += size
        if self._size <= MAX_BYTES:
            return
        self._held = deque(some for some in self._held if any(one() for one in some[1]))
        self._size = sum(some[0] for some in self._held)
        while self._size > MAX_BYTES // 2 and len(self._held) > 1:
            size, those = self._held.popleft()
            self._size -= size
            for one in those:
                if (state := one()) is not None:
                    state._reopen()

    def _retain(self) -> None:
        """Let the session forget what no state needs that somebody holds."""
        parts = [np.array([self._root], dtype=np.int64)]
        for state in self._states:
            for cursors, first, end in state._places():
                parts.append(cursors.model[first:end])
            if state._waiting is not None:
                parts.append(state._waiting.parent)
        self._session.retain(self._root, np.unique(np.concatenate(parts)))

    def why(self, y: tuple[int, ...], lost: int, dropped: bool) -> str:
        """Why the probability of y is zero from y[lost] on."""
        log_prefix = np.where(np.arange(len(y) + 1) > lost, -np.inf, 0.0)
        log_dropped = np.full(len(y) + 1, 0.0 if dropped else -np.inf)
        return self._zeros.why(y, Propagated(log_prefix, log_dropped))[1]

    def impossible(self, symbol: int) -> bool:
        """Whether the model can produce a symbol nowhere."""
        return symbol != END and self._zeros.impossible((symbol,), 0)


def _inherit(before: State, after: State) -> None:
    """What a state has from the one before it."""
    after._rows, after._lost = before._rows, before._lost
    after._missing = before._missing + before._share
    if not before.is_possible:
        after._logp, after._missing = -math.inf, before._missing
    elif not after.is_possible:
        after._lost = before._length
        _, symbol = after._trail or (None, END)
        lost = after._missing > 0 and not before._space.impossible(symbol)
        # Where nothing was dropped, or nothing could have been kept, it is truly zero.
        after._missing = math.inf if lost else 0.0


def advance_all(states: Sequence[State], symbols: Sequence[int | str | Symbols]) -> list[State]:
    """Each of n states after its symbol or symbols, as `State.advance` has it, in as few calls of
    the model as there are symbols in a row; the states that come out of it have their rows, too.

    The same numbers as one by one. UsageError unless there is a symbol for each state, and all
    states began together (`TransducedLM.states`, or one `TransducedLM.state`).
    """
    if len(states) != len(symbols):
        raise UsageError(
            f"{len(states)} states and {len(symbols)} symbols", hint="give one for each state"
        )
    if not states:
        return []
    space = states[0]._space
    if any(state._space is not space for state in states):
        raise UsageError(
            "states that didn't begin together can't be advanced together",
            hint="begin them with one call: tlm.states(prefixes)",
        )
    found = space.advance(states, symbols)
    space.close(state for state in found if state.is_possible and not state.has_ended)
    return found


def begin_states(
    setting: Setting, policy: Policy, zeros: Zeros, prefixes: Sequence[Symbols]
) -> list[State]:
    """The state after each prefix, in a session of their own."""
    if not prefixes:
        return []
    space = Space(setting, policy, zeros)
    strings = [space.string(prefix) for prefix in prefixes]
    found = space.advance([space.begin()] * len(prefixes), strings)
    space.close(state for state in found if state.is_possible and not state.has_ended)
    return found
