"""Strings drawn token by token: a source string from the model, and the function applied to it.

Without a prompt x ~ p_X and f(x) ~ p_Y. With one, y, a hypothesis and the token with which it
covers y are drawn with their probability given y (`lmfst.inference.covers`), and the rest as
before: the string is f(x), x ~ p_X given that f(x) begins with y. Strings share model calls, and
the prompt's keys and values.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmfst.fst.sequential import END
from lmfst.generate.drawn import Growing
from lmfst.ground.arrays import Ints
from lmfst.ground.errors import ModelError
from lmfst.inference.covers import Covers
from lmfst.inference.draws import draw_tokens
from lmfst.inference.space import RETAIN_ROWS
from lmfst.lm.base import Session
from lmfst.model import TransducedLM

Place = tuple[int, int]
"""(LM state, lexicon state) of a string."""


class Tokens:
    """Takes strings further by a token each.

    root: their document. needed: int64 [n], LM states that new strings begin from.
    """

    def __init__(self, model: TransducedLM, session: Session, root: int, needed: Ints) -> None:
        self._model, self._session = model, session
        self._eos = frozenset(model.lm.vocab.eos)
        self._forget = Forgetting(session, root, needed)

    def __call__(self, strings: Sequence[Growing]) -> None:
        """Draw a token for each string."""
        states = np.array([string.place[0] for string in strings], dtype=np.int64)
        chances = np.array([string.random.random() for string in strings])
        normalise = self._model.setting.normalise
        tokens = draw_tokens(self._session, normalise, states, chances)
        for string, token in zip(strings, tokens.tolist(), strict=True):
            state, lexicon = string.place
            ends = token in self._eos
            string.place = state, read_token(self._model, string, lexicon, token, ends=ends)
        going = np.flatnonzero([not string.over for string in strings])
        moved = self._session.step(states[going], tokens[going])
        for i, state in zip(going.tolist(), moved.tolist(), strict=True):
            strings[i].place = state, strings[i].place[1]
        self._forget(moved, asked=len(strings))


class Forgetting:
    """Lets a session forget what no string needs any more, now and then.

    root: the strings' document. needed: int64 [n], LM states that new strings begin from.
    """

    def __init__(self, session: Session, root: int, needed: Ints) -> None:
        self._session, self._root, self._needed = session, root, needed
        self._asked = 0

    def __call__(self, live: Ints, *, asked: int) -> None:
        """Count rows that were asked for. live: int64 [n], the LM states of strings."""
        self._asked += asked
        if self._asked >= RETAIN_ROWS:
            self._asked = 0
            self._session.retain(self._root, np.unique(np.concatenate([live, self._needed])))


def read_token(
    model: TransducedLM, string: Growing, lexicon: int, token: int, *, ends: bool
) -> int:
    """Let a string read a token in a lexicon state: what it emits. The lexicon state after it; the
    one before where the token ends the string."""
    lexicons = model.lexicons
    string.step()
    if ends:
        string.emit(model.target.machine.final(lexicons.pair(lexicon)[1]) or ())
        string.end()
        return lexicon
    read = lexicons.reading(lexicon, token)
    if read is None:
        name = model.lm.vocab.names[token]
        raise ModelError(f"the token {name!r} spells nothing where the model has drawn it")
    string.emit(read[0])
    return read[1]


class FromSource:
    """Strings without a prompt: begins them (`begin`) and takes them further (`step`)."""

    def __init__(self, model: TransducedLM) -> None:
        self._session = model.lm.session()
        self._root = self._session.open()
        self._place: Place = self._root, model.lexicons.start
        self.step = Tokens(model, self._session, self._root, np.array([self._root], np.int64))

    def begin(self, string: Growing) -> None:
        """Put a new string at its beginning."""
        string.place = self._place

    def close(self) -> None:
        """Let the session forget all."""
        self._session.close(self._root)


class FromCovers:
    """Strings after a prompt: begins them (`begin`) with a cover, and takes them further (`step`).

    InputError for a prompt of probability zero.
    """

    def __init__(self, model: TransducedLM, covers: Covers) -> None:
        self._covers = covers
        self.step = Tokens(model, covers.session, covers.root, covers.models)

    def begin(self, string: Growing) -> None:
        """Let a new string cover the prompt."""
        cover = self._covers.draw(string.random)
        string.step()
        if cover.lexicon < 0:
            string.emit([symbol for symbol in cover.emitted if symbol != END])
            string.end()
            return
        string.emit(cover.emitted)
        model, token = np.array([[cover.model], [cover.token]], dtype=np.int64)
        string.place = int(self._covers.session.step(model, token)[0]), cover.lexicon

    def close(self) -> None:
        """Nothing: the state closes its session."""
