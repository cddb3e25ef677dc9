"""States: a transduced model after a prefix, to be extended symbol by symbol.

A state after y knows log P_Y(y) and the distribution of the next symbol, and leads to the state
after y·a. It is what is left of propagation (`lmfst.inference.propagate`; arXiv 2603.05193,
sections 4 and 5) where the target isn't known beforehand: cursors (`lmfst.inference.cursors`), and
hypotheses at the end of y, decided by y alone (`lmfst.inference.closing`). So numbers don't depend
on which distributions were asked for, and a beam over states differs a little from scoring, whose
decisions look one symbol ahead.

Other kinds of states, as those of ensembles (`lmfst.ensemble`), have the same interface
(`Extensible`), which is all that loops over states need.

States that began together share a session of the model; what none of them needs any more is
forgotten there. Not here: policies that sample, and sums over accepted strings only, which have no
states.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol, Self, TypeVar

import numpy as np

from lmfst.fst.pattern import first_string, is_open
from lmfst.fst.sequential import END
from lmfst.fst.symbols import Symbols as Alphabet
from lmfst.ground.arrays import Floats, Ints
from lmfst.ground.errors import FstError, UsageError
from lmfst.inference.closing import Kept
from lmfst.inference.policy import Policy
from lmfst.inference.setting import Setting
from lmfst.inference.space import Node, Opened, Space
from lmfst.inference.zeros import Zeros
from lmfst.target.strings import Symbols, pattern_of
from lmfst.target.units import END_NAME

APART = "states that didn't begin together can't be advanced together"
BEGIN_TOGETHER = "begin them with one call: tlm.states(prefixes)"


class Extensible(Protocol):
    """What a state can do, of whatever kind; see `State`."""

    @property
    def logp(self) -> float: ...

    @property
    def missing(self) -> float: ...

    @property
    def is_possible(self) -> bool: ...

    @property
    def has_ended(self) -> bool: ...

    @property
    def symbols(self) -> tuple[int, ...]: ...

    def next_logp(self) -> dict[str, float]: ...

    def next_symbols(self) -> tuple[Ints, Floats]: ...

    def advance(self, symbol: int | str | Symbols) -> Self: ...

    @classmethod
    def _advanced(
        cls, states: Sequence[Self], symbols: Sequence[int | str | Symbols]
    ) -> list[Self]:
        """Each of some states after its symbol or symbols. UsageError unless all of them began
        together."""

    @classmethod
    def _closed(cls, states: Sequence[Self]) -> None:
        """Have the rows of states that began together, in calls that they share."""

    def _advancing(self) -> SideBySide:
        """What advances states beside each other that begin with this one."""


class SideBySide(Protocol):
    """Advances states beside each other; see `Advancing`."""

    def add(self, states: Sequence[Any], symbols: Sequence[int]) -> list[Any]: ...

    def step(self) -> list[Any]: ...


AnyState = TypeVar("AnyState", bound=Extensible)
"""One kind of states."""


class State:
    """A transduced model after a prefix y; made by `lmfst.TransducedLM.state`.

    It doesn't change: `advance` gives another one, and several may be made from one. What its
    numbers are is said in `lmfst.inference.states`; source: arXiv 2603.05193, "Transducing Language
    Models".
    """

    __slots__ = ("_node", "_space")

    def __init__(self, space: Space, node: Node) -> None:
        self._space, self._node = space, node

    @property
    def logp(self) -> float:
        """log P_Y(y), that a string begins with y, nats; after ⊥ log p_Y(y), that it is y. A lower
        bound where hypotheses were dropped."""
        return self._node.logp

    @property
    def missing(self) -> float:
        """What hypotheses that were dropped on the way make `logp` lack, nats: an estimate, as
        column `missing` of scored texts (`lmfst.inference.accuracy`). inf if nothing is left, and
        something was dropped."""
        return self._node.missing

    @property
    def is_possible(self) -> bool:
        """Whether y has a probability above 0."""
        return self._node.is_possible

    @property
    def has_ended(self) -> bool:
        """Whether y ends with ⊥."""
        return self._node.has_ended

    @property
    def symbols(self) -> tuple[int, ...]:
        """y, as symbol numbers; ⊥ is -1."""
        return self._node.symbols

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
        return self._space.next_symbols(self._node)

    def advance(self, symbol: int | str | Symbols) -> State:
        """The state after y and a symbol, or several.

        symbol: a symbol's number (⊥ is -1), its name as in `next_logp`, or a string of symbols as
        `TransducedLM.symbols` reads it. (What is a symbol's name is that symbol: of the letters of
        a mark's name make a list.) advance(a).logp = logp + next_logp()[a], to rounding.

        A symbol that can't follow gives a state that is not possible. InputError for what is no
        symbol, and after ⊥; UsageError for sets of symbols.
        """
        return self._advanced([self], [symbol])[0]

    @classmethod
    def _advanced(
        cls, states: Sequence[State], symbols: Sequence[int | str | Symbols]
    ) -> list[State]:
        """As `Extensible` has it."""
        space = _common_space(states)
        strings = [as_string(symbol, space.setting.target.machine.symbols) for symbol in symbols]
        nodes = space.advance([state._node for state in states], strings)
        return [State(space, node) for node in nodes]

    @classmethod
    def _closed(cls, states: Sequence[State]) -> None:
        """As `Extensible` has it."""
        nodes = [state._node for state in states if state.is_possible and not state.has_ended]
        _common_space(states).close(nodes)

    def _advancing(self) -> Advancing:
        """As `Extensible` has it."""
        return Advancing()

    def __repr__(self) -> str:
        return f"<State after {self._node.length} symbols, logp {self.logp:.6g}>"


def _common_space(states: Sequence[State]) -> Space:
    """The space of some states. UsageError if they have several."""
    space = states[0]._space
    if any(state._space is not space for state in states):
        raise UsageError(APART, hint=BEGIN_TOGETHER)
    return space


def as_string(symbol: int | str | Symbols, alphabet: Alphabet) -> tuple[int, ...]:
    """A symbol, or several, as numbers."""
    if isinstance(symbol, int | np.integer):
        return (int(symbol),)
    if isinstance(symbol, str):
        if symbol == END_NAME:
            return (END,)
        with suppress(FstError):
            return (alphabet.label(symbol),)
    return plain(symbol, alphabet)


def plain(y: Symbols, alphabet: Alphabet) -> tuple[int, ...]:
    """A string as numbers. UsageError for one that is open."""
    found = pattern_of(y, alphabet)
    if is_open(found):
        raise UsageError(
            "a state can't read a set of symbols",
            hint="go on with each of them, or ask for prefix_logp of the whole string",
        )
    return first_string(found)


def advance_all(
    states: Sequence[AnyState], symbols: Sequence[int | str | Symbols]
) -> list[AnyState]:
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
    kind = type(states[0])
    if any(type(state) is not kind for state in states):
        raise UsageError(APART, hint=BEGIN_TOGETHER)
    after = kind._advanced(states, symbols)
    kind._closed(after)
    return after


class Advancing:
    """States that are advanced beside each other: each needs several calls of the model, where
    tokens that emit nothing follow each other, and they share them. The numbers are the same."""

    def __init__(self) -> None:
        self._going: list[tuple[Opened, State]] = []

    def add(self, states: Sequence[State], symbols: Sequence[int]) -> list[State]:
        """The states after a symbol each, which are going to have their rows; all states began
        together."""
        if not states:
            return []
        space = states[0]._space
        steps = [(symbol,) for symbol in symbols]
        nodes = space.advance([state._node for state in states], steps)
        found = [State(space, node) for node in nodes]
        self._going += [(space.open([state._node]), state) for state in found]
        return found

    def step(self) -> list[State]:
        """Go on with all of them, by one call of the model at most; those that have their rows."""
        if not self._going:
            return []
        space = self._going[0][1]._space
        still = {id(opened) for opened in space.step([opened for opened, _ in self._going])}
        done = [state for opened, state in self._going if id(opened) not in still]
        self._going = [one for one in self._going if id(one[0]) in still]
        return done


class AtOnce:
    """The same of states of other kinds, which have their rows when they are advanced."""

    def __init__(self) -> None:
        self._going: list[Any] = []

    def add(self, states: Sequence[Any], symbols: Sequence[int]) -> list[Any]:
        """As `Advancing.add`."""
        found = advance_all(states, symbols)
        self._going += found
        return found

    def step(self) -> list[Any]:
        """All of them."""
        done, self._going = self._going, []
        return done


def begin_states(
    setting: Setting,
    policy: Policy,
    zeros: Zeros,
    prefixes: Sequence[Symbols],
    *,
    scored: bool,
) -> list[State]:
    """The state after each prefix, in a session of their own. scored: whether hypotheses of the
    prefix are decided as where texts are scored."""
    if not prefixes:
        return []
    return _begun(Space(setting, policy, zeros), prefixes, scored)


def ends_of(strings: Sequence[tuple[int, ...]]) -> list[int]:
    """Where ⊥ stands first in each of some strings; their lengths where it doesn't."""
    return [string.index(END) if END in string else len(string) for string in strings]


def begin_search(setting: Setting, policy: Policy, zeros: Zeros, prefix: Symbols) -> State:
    """The state after a prefix from which next units are searched, by `Policy.of_search`: it is
    decided as where texts are scored, and strings after it may become impossible that hardly weigh
    anything."""
    first, after = policy.of_search
    return _begun(Space(setting, first, zeros, Kept.searching(after)), [prefix], True)[0]


def _begun(space: Space, prefixes: Sequence[Symbols], scored: bool) -> list[State]:
    """The states of a space after prefixes."""
    alphabet = space.setting.target.machine.symbols
    strings = [plain(prefix, alphabet) for prefix in prefixes]
    ends = ends_of(strings)
    begun = space.begin_after(
        [string[:end] for string, end in zip(strings, ends, strict=True)], scored=scored
    )
    rest = [string[end:] for string, end in zip(strings, ends, strict=True)]
    return [State(space, node) for node in space.advance(begun, rest)]
