"""Spaces of states: a session of the model that states have in common, and what they keep.

States after strings (`lmfst.inference.states`) are moved on by a symbol, many at once, and closed
when their rows are needed. What no state needs that somebody holds is forgotten in the session, and
rows that take too much memory are given up.
"""

from __future__ import annotations

import math
import weakref
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from lmfst.fst.sequential import END
from lmfst.ground.arrays import Floats, Ints
from lmfst.ground.errors import InputError, UsageError, ZeroProbabilityError
from lmfst.inference.beginning import NOWHERE, Beginning, Begun
from lmfst.inference.closing import Closed, Closing, Going, Kept, Open
from lmfst.inference.cursors import Place, Places, Waiting, move, next_symbols
from lmfst.inference.policy import Policy
from lmfst.inference.results import Propagated
from lmfst.inference.setting import Setting
from lmfst.inference.zeros import Zeros
from lmfst.target.units import END_NAME

MAX_BYTES = 1 << 30
"""Memory for rows of states that somebody holds; beyond that they are asked for again."""
RETAIN_ROWS = 256
"""Rows that are asked for between two calls that let the session forget."""

Trail = tuple[Any, int] | None
"""A string, as what it goes on from and its last symbol; None: the empty one."""


class Node:
    """A state, in so far as it is known: what is decided at its string's end, and rows, come when
    they are needed, and rows may be given up.

    logp, missing, has_ended: see `lmfst.State`. trail: its string, of so many symbols (`length`);
    lost: after how many nothing is left, -1 where something is. rows: hypotheses that were kept on
    the way.
    """

    __slots__ = (
        "__weakref__",
        "carried",
        "decided",
        "following",
        "fresh",
        "given_up",
        "length",
        "log_carried",
        "logp",
        "lost",
        "missing",
        "rows",
        "share",
        "trail",
        "waiting",
    )

    def __init__(self, trail: Trail, length: int) -> None:
        self.trail, self.length = trail, length
        self.logp = self.missing = 0.0
        self.lost, self.rows = -1, 0
        # Cursors from before, and the log of their mass; hypotheses that are to be decided.
        self.carried, self.log_carried = NOWHERE, -math.inf
        self.waiting: Waiting | None = None
        # Once it is closed: what was decided, and how many hypotheses had been kept before; the new
        # cursors, and what was dropped here as a share of P_Y.
        self.decided: tuple[Waiting, int] | None = None
        self.given_up: tuple[Ints, Ints, Floats] | None = None
        self.fresh, self.share = NOWHERE, 0.0
        # The distribution of the next symbol, if it was asked for.
        self.following: tuple[Ints, Floats] | None = None

    @property
    def is_possible(self) -> bool:
        """Whether the string has a probability above 0."""
        return self.logp > -math.inf

    @property
    def has_ended(self) -> bool:
        """Whether the string ends with ⊥."""
        return self.trail is not None and self.trail[1] == END

    @property
    def places(self) -> Places:
        """Where its cursors are."""
        return self.carried, self.fresh

    @property
    def symbols(self) -> tuple[int, ...]:
        """The string."""
        found, trail = [], self.trail
        while trail is not None:
            trail, symbol = trail
            found.append(symbol)
        return tuple(reversed(found))

    def models(self) -> list[Ints]:
        """The LM states that it may ask for."""
        found = [cursors.model[first:end] for cursors, first, end in self.places]
        if self.waiting is not None:
            found.append(self.waiting.parent)
        if self.decided is not None:
            found.append(self.decided[0].parent)
        if self.given_up is not None:
            found.append(self.given_up[0])
        return found

    def begin(self, begun: Begun) -> None:
        """Be the state after a prefix that has been read."""
        found = begun.found
        self.logp, self.rows = float(found.log_prefix[-1]), found.rows
        self.missing = 0.0 if found.missing is None else float(found.missing.sum())
        if self.is_possible:
            self.carried, self.log_carried = begun.carried, begun.log_carried
            self.fresh, self.share = begun.fresh, begun.share
        else:
            # Truly zero, or lost.
            self.missing = math.inf if self.missing == math.inf else 0.0
            self.lost = int(np.argmax(np.isneginf(found.log_prefix))) - 1

    def close(self, closed: Closed, number: int) -> None:
        """Be closed, as the state of this number among some that were closed together."""
        self.fresh, self.share = closed.fresh[number], float(closed.share[number])
        if self.waiting is not None:
            self.decided = self.waiting, self.rows
        self.rows, self.waiting = int(closed.rows[number]), None

    def reopen(self) -> None:
        """Give up rows, which are asked for again when they are needed."""
        if self.decided is not None:
            self.waiting, self.rows = self.decided
            self.decided, self.fresh = None, NOWHERE
        elif self.fresh is not NOWHERE:
            # Those of a prefix were decided elsewhere: which they are is all that is kept.
            cursors = self.fresh.cursors
            self.given_up = cursors.model, cursors.lexicon, cursors.logw
            self.fresh = NOWHERE

    def restore(self, closing: Closing) -> None:
        """Have the rows again that were given up of what a prefix ends with."""
        if self.given_up is not None:
            cursors = closing.beginning(*self.given_up)
            self.fresh, self.given_up = Place(cursors, 0, len(cursors.model)), None


def _open(states: Sequence[Node]) -> Open:
    """What there is to be decided at the end of states."""
    parts = [state.waiting for state in states if state.waiting is not None]
    owner = np.repeat(np.arange(len(states)), [len(part.owner) for part in parts])
    return Open(
        np.array([state.logp for state in states]),
        np.array([state.log_carried for state in states]),
        np.array([state.rows for state in states], dtype=np.int64),
        Waiting(*map(np.concatenate, zip(*parts, strict=True)))._replace(owner=owner),
    )


class Opened(NamedTuple):
    """States that are being closed together, and how far that has come."""

    states: list[Node]
    going: Going


class Space:
    """What states have in common that began together: a session of the model, with one document.

    kept: what is kept at the end of a string; None: what states of the policy keep. UsageError for
    a policy without states.
    """

    def __init__(
        self, setting: Setting, policy: Policy, zeros: Zeros, kept: Kept | None = None
    ) -> None:
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
        self.setting, self._policy, self._zeros = setting, policy, zeros
        session = setting.lm.session()
        self._session, self._root = session, session.open()
        self._closing = Closing(
            setting.lexicons, session, setting.normalise, kept or Kept.by(policy.of_states)
        )
        self._states: weakref.WeakSet[Node] = weakref.WeakSet()
        self._opened: weakref.WeakSet[Going] = weakref.WeakSet()
        self._retained = 0
        self._held: deque[tuple[int, list[weakref.ref[Node]]]] = deque()
        self._size = 0
        weakref.finalize(self, session.close, self._root).atexit = False

    def begin(self) -> Node:
        """The state after nothing."""
        state = self._new(None, 0)
        start = self.setting.lexicons.start
        owner, root, token, lexicon = np.array([[0], [self._root], [-1], [start]], dtype=np.int64)
        state.waiting = Waiting(owner, root, token, lexicon, np.zeros(1))
        return state

    def begin_after(self, prefixes: Sequence[Sequence[int]], *, scored: bool) -> list[Node]:
        """The states after prefixes without ⊥, which share model calls. scored: whether hypotheses
        of a prefix are decided as where texts are scored."""
        policy = self._policy if scored else self._policy.of_states
        begin = Beginning(self.setting, policy, self._zeros, scored)
        # The same ones are the same state.
        strings = list(dict.fromkeys(map(tuple, prefixes)))
        begun = begin(self._session, self._root, self._closing, strings)
        found = {}
        for string, one in zip(strings, begun, strict=True):
            trail: Trail = None
            for symbol in string:
                trail = trail, symbol
            found[string] = self._new(trail, len(string))
            found[string].begin(one)
            self._hold([found[string]])
        self._retain()
        return [found[tuple(prefix)] for prefix in prefixes]

    def _new(self, trail: Trail, length: int) -> Node:
        state = Node(trail, length)
        self._states.add(state)
        return state

    def advance(self, states: Sequence[Node], strings: Sequence[Sequence[int]]) -> list[Node]:
        """Each state after its string of symbols, whose rows are asked for together; those of the
        states that come out of it are asked for when they are needed."""
        found = list(states)
        for at in range(max(map(len, strings), default=0)):
            going = [i for i, string in enumerate(strings) if len(string) > at]
            # States that are the same and read the same are moved once.
            steps = list(dict.fromkeys((found[i], strings[i][at]) for i in going))
            moved = dict(zip(steps, self._moved(steps), strict=True))
            for i in going:
                found[i] = moved[found[i], strings[i][at]]
        return found

    def _moved(self, steps: Sequence[tuple[Node, int]]) -> list[Node]:
        """The states after one symbol each."""
        for state, _ in steps:
            if state.has_ended:
                self.require_going(state)
        going = [(state, symbol) for state, symbol in steps if state.is_possible]
        self.close([state for state, _ in going])
        new = {
            (state, symbol): self._new((state.trail, symbol), state.length + 1)
            for state, symbol in steps
        }
        if going:
            symbols = np.array([symbol for _, symbol in going], dtype=np.int64)
            moved = move(self.setting.lexicons, [state.places for state, _ in going], symbols)
            bounds = np.searchsorted(moved.waiting.owner, np.arange(len(going) + 1)).tolist()
            for i, step in enumerate(going):
                after = new[step]
                after.logp, after.log_carried = float(moved.logp[i]), float(moved.log_carried[i])
                after.carried = moved.carried[i]
                after.waiting = moved.waiting.at(slice(bounds[i], bounds[i + 1]))
        for (before, _), after in new.items():
            self._inherit(before, after)
        return list(new.values())

    def close(self, states: Iterable[Node]) -> None:
        """Decide the hypotheses at the end of states, and have their rows."""
        states = list(dict.fromkeys(states))
        for state in states:
            state.restore(self._closing)
        todo = [state for state in states if state.waiting is not None]
        going = [self.open(todo)] if todo else []
        while going:
            going = self.step(going)

    def open(self, states: list[Node]) -> Opened:
        """Begin to close states that have not been closed; `step` goes on with it."""
        opened = Opened(states, self._closing.begin(_open(states)))
        self._opened.add(opened.going)
        return opened

    def step(self, several: Sequence[Opened]) -> list[Opened]:
        """Go on with closing states, by one call of the model at most; what is still open."""
        self._closing.step([one.going for one in several if one.going.is_open])
        for states, going in several:
            if not going.is_open:
                closed = going.closed()
                for i, state in enumerate(states):
                    state.close(closed, i)
                self._opened.discard(going)
                self._hold(states)
        if self._closing.asked - self._retained >= RETAIN_ROWS:
            self._retained = self._closing.asked
            self._retain()
        return [one for one in several if one.going.is_open]

    def _hold(self, states: list[Node]) -> None:
        """Keep the rows of states that were closed together, and give up the oldest where there are
        too many. (Those of states that nobody holds are gone already.)"""
        size = states[0].fresh.cursors.terms.nbytes
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
                    state.reopen()

    def _retain(self) -> None:
        """Let the session forget what no state needs that somebody holds."""
        parts = [np.array([self._root], dtype=np.int64)]
        for state in self._states:
            parts += state.models()
        parts += [going.waiting.parent for going in self._opened]
        self._session.retain(self._root, np.unique(np.concatenate(parts)))

    def next_symbols(self, state: Node) -> tuple[Ints, Floats]:
        """The next-symbol distribution of a state: symbols and logp, nats."""
        if state.following is None:
            self.require_going(state)
            self.close([state])
            symbols, logs = next_symbols(self.setting.lexicons, state.places)
            logs -= state.logp
            # What several callers get mustn't be changed by one of them.
            symbols.flags.writeable = logs.flags.writeable = False
            state.following = symbols, logs
        return state.following

    def require_going(self, state: Node) -> None:
        """InputError unless something can follow."""
        if state.has_ended:
            raise InputError(
                f"nothing can follow the prefix, which has ended with {END_NAME}",
                hint="go on from a state before it",
            )
        if not state.is_possible:
            y = state.symbols
            log_prefix = np.where(np.arange(len(y) + 1) > state.lost, -np.inf, 0.0)
            log_dropped = np.full(len(y) + 1, 0.0 if state.missing > 0 else -np.inf)
            raise ZeroProbabilityError(
                "nothing can follow the prefix, which has probability zero under the model from "
                + self._zeros.why(y, Propagated(log_prefix, log_dropped))[1]
            )

    def _inherit(self, before: Node, after: Node) -> None:
        """What a state has from the one before it."""
        after.rows, after.lost = before.rows, before.lost
        after.missing = before.missing + before.share
        if not before.is_possible:
            after.logp, after.missing = -math.inf, before.missing
        elif not after.is_possible:
            after.lost = before.length
            _, symbol = after.trail or (None, END)
            never = symbol != END and self._zeros.impossible((symbol,), 0)
            # Where nothing was dropped, or nothing could have been kept, it is truly zero.
            after.missing = math.inf if after.missing > 0 and not never else 0.0
