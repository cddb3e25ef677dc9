"""Backoff n-gram models as automata: integer states, vectorised steps and probability rows.

The model is Katz's backoff over explicit tables (S. M. Katz, IEEE Trans. ASSP 35(3), 1987),

    p(w | h) = p*(w | h)             if the n-gram (h, w) is listed,
             = bow(h) · p(w | h')    otherwise,

where h' is h without its first word, and bow(h) = 1 if h is unlisted.

A state stands for the longest suffix of the history that carries information: it is listed with a
backoff weight other than 1, or is followed by a listed n-gram. Histories in the same state have the
same future, which is what makes the merge policy exact. States form a trie with failure links, as
in Aho and Corasick's string matcher.

Nothing is renormalised or smoothed here: rows are the model's own values, except that the begin
mark `<s>` is never predicted (writers put 0, 1 or an arbitrary number as its probability).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmfst.ground.arrays import Floats, Ints
from lmfst.ground.errors import ModelError, UsageError

Gram = tuple[str, ...]
Entry = tuple[float, float]

BOS = "<s>"
EOS = "</s>"
UNKNOWN = ("<unk>", "<UNK>")
LOG10_ZERO = -99.0
"""Log10 values at or below this are probability (or backoff weight) zero, as SRILM writes them."""

_LN10 = math.log(10.0)
_DENSE_BYTES = 64 * 2**20
"""Rows of all states are kept if they fit into this much memory, else computed when asked for."""


@dataclass(frozen=True)
class NgramTables:
    """The listed n-grams: `grams[n - 1]` maps n words to (log10 p, log10 backoff weight)."""

    grams: Sequence[Mapping[Gram, Entry]]


class NgramLM:
    """A backoff n-gram model over the token ids 0..V-1, in the order of the unigram table.

    Attributes: `order`; `names`, the word of each id; `bos_id` (`<s>`), `eos_ids` (`</s>`) and
    `unk_id` (`<unk>`), None or empty where the model has none; `n_states`. State 0 is the empty
    history.
    """

    def __init__(self, tables: NgramTables) -> None:
        """Build the automaton of `tables`; ModelError if they are not a backoff model."""
        if not tables.grams or not tables.grams[0]:
            raise ModelError("expected an n-gram model with at least one unigram, found none")
        self.order = len(tables.grams)
        self.names: tuple[str, ...] = tuple(gram[0] for gram in tables.grams[0])
        ids = {name: token for token, name in enumerate(self.names)}
        self.bos_id: int | None = ids.get(BOS)
        self.eos_ids: tuple[int, ...] = (ids[EOS],) if EOS in ids else ()
        self.unk_id: int | None = next((ids[name] for name in UNKNOWN if name in ids), None)
        self._build(_by_context(tables, ids))
        self.n_states = len(self._fail)
        fits = self.n_states * len(self.names) * 8 <= _DENSE_BYTES
        self._dense: Floats | None = np.empty((self.n_states, len(self.names))) if fits else None
        self._known = np.zeros(self.n_states, dtype=bool)

    def _build(self, contexts: dict[tuple[int, ...], _Context]) -> None:
        """Number the contexts (shorter first) and lay out failure links, arcs and entries."""
        ordered = sorted(contexts, key=lambda history: (len(history), history))
        state_of = {history: state for state, history in enumerate(ordered)}
        size = len(self.names)
        fail = [_longest_suffix(history, state_of) for history in ordered]
        arcs = [(state_of[h[:-1]] * size + h[-1], s) for h, s in state_of.items() if h]
        arcs.sort()
        self._fail: Ints = np.array(fail, dtype=np.int64)
        self._last: Ints = np.array([h[-1] if h else -1 for h in ordered], dtype=np.int64)
        self._parent: Ints = np.array([state_of[h[:-1]] for h in ordered], dtype=np.int64)
        self._arc_keys: Ints = np.array([key for key, _ in arcs], dtype=np.int64)
        self._arc_states: Ints = np.array([state for _, state in arcs], dtype=np.int64)
        self._bow: Floats = _natural([contexts[h].backoff for h in ordered])
        counts = [len(contexts[h].tokens) for h in ordered]
        self._first: Ints = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        self._tokens: Ints = np.array([t for h in ordered for t in contexts[h].tokens], np.int64)
        self._logp: Floats = _natural([p for h in ordered for p in contexts[h].log10p])
        if self.bos_id is not None:
            self._logp[self._tokens == self.bos_id] = -np.inf

    def start(self, bos: bool = True) -> int:
        """The state after `<s>`, or (bos=False) that of the empty history.

        ModelError if `<s>` is asked for and the model has none.
        """
        if not bos:
            return 0
        if self.bos_id is None:
            raise ModelError(
                f"expected the begin mark {BOS} among the model's words, but it is not listed",
                hint="start without one (--bos none)",
            )
        return int(self.step(np.zeros(1, np.int64), np.array([self.bos_id], np.int64))[0])

    def step(self, states: Ints, tokens: Ints) -> Ints:
        """The states after reading `tokens` (int64 [n]) in `states` (int64 [n]); int64 [n]."""
        states, tokens = np.asarray(states, np.int64), np.asarray(tokens, np.int64)
        _check_range(states, self.n_states, "states")
        _check_range(tokens, len(self.names), "tokens")
        result = np.zeros(len(states), np.int64)
        if len(self._arc_keys) == 0:
            return result
        # Failure links get shorter at every turn, so this ends after at most `order` turns.
        open_, at = np.arange(len(states)), states
        while len(open_):
            keys = at * len(self.names) + tokens[open_]
            slots = np.minimum(np.searchsorted(self._arc_keys, keys), len(self._arc_keys) - 1)
            found = self._arc_keys[slots] == keys
            result[open_[found]] = self._arc_states[slots[found]]
            again = ~found & (at > 0)
            open_, at = open_[again], self._fail[at[again]]
        return result

    def rows(self, states: Ints) -> Floats:
        """The next-token distributions, logp: float64 [n, V], nats; -inf for probability zero."""
        states = np.asarray(states, np.int64)
        _check_range(states, self.n_states, "states")
        if self._dense is None:
            return self._computed(states)
        new = np.unique(states[~self._known[states]])
        if len(new):
            self._dense[new] = self._computed(new)
            self._known[new] = True
        result: Floats = self._dense[states]
        return result

    def sums(self) -> Floats:
        """The sum of each state's row, Σ_w p(w | h) over all words but `<s>`: float64 [n_states].

        Σ_w p(w | h) = Σ_{w listed} p*(w | h) + bow(h) · (Σ_w p(w | h') − Σ_{w listed} p(w | h')),
        in time that grows with the number of n-grams, not with states times words.
        """
        size, first = len(self.names), int(self._first[1])
        owners = np.repeat(np.arange(self.n_states), np.diff(self._first))
        lower = self._below(owners[first:], self._tokens[first:])
        own = np.bincount(owners, np.exp(self._logp), self.n_states)
        with np.errstate(over="ignore"):
            bow = np.exp(self._bow)
        replaced = np.bincount(owners[first:], np.exp(lower), self.n_states)
        sums = np.where(np.arange(self.n_states) == 0, np.exp(self._logp[:size]).sum(), 0.0)
        # Shorter contexts have lower numbers: what a state falls back to is known before it.
        for state in range(1, self.n_states):
            left = max(0.0, sums[self._fail[state]] - replaced[state])
            sums[state] = own[state] + (bow[state] * left if left > 0.0 else 0.0)
        return sums

    def _below(self, owners: Ints, tokens: Ints) -> Floats:
        """log p(w | h') for entries (h, w), by states and tokens: float64 [n], nats."""
        size = len(self.names)
        keys = np.repeat(np.arange(self.n_states), np.diff(self._first)) * size + self._tokens
        order = np.argsort(keys)
        keys = keys[order]
        at, out = self._fail[owners], np.zeros(len(owners))
        waiting = np.arange(len(owners))
        while len(waiting):
            asked = at[waiting] * size + tokens[waiting]
            place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
            listed = keys[place] == asked
            out[waiting[listed]] += self._logp[order[place[listed]]]
            waiting = waiting[~listed]
            # The empty history lists every word, so this ends there.
            out[waiting] += self._bow[at[waiting]]
            at[waiting] = self._fail[at[waiting]]
        return out

    def possible(self, spelled: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """The states of histories of words that may occur, after `<s>` or none: bool [n_states].

        spelled: bool [V], the words that may occur.
        """
        begins = self._last == self.bos_id if self.bos_id is not None else np.zeros_like(self._last)
        found: npt.NDArray[np.bool_] = (self._last < 0) | (
            (self._parent == 0) & begins.astype(bool)
        )
        found |= (self._last >= 0) & (self._parent == 0) & spelled[self._last]
        for _ in range(self.order):
            found |= (self._parent > 0) & found[self._parent] & spelled[self._last]
        return found

    def context(self, state: int) -> tuple[int, ...]:
        """The history that `state` stands for, as token ids, oldest first."""
        _check_range(np.array([state]), self.n_states, "states")
        history: list[int] = []
        while state:
            history.append(int(self._last[state]))
            state = int(self._parent[state])
        return tuple(reversed(history))

    def _computed(self, states: Ints) -> Floats:
        """`rows` without the cache: from the empty history up, scale by bow(h), then overwrite."""
        chain = [states]
        while chain[-1].any():
            chain.append(self._fail[chain[-1]])
        # The last level is state 0 throughout: its entries are the unigrams, in order of id.
        out = np.tile(self._logp[: len(self.names)], (len(states), 1))
        for level in reversed(chain[:-1]):
            rows = np.flatnonzero(level)
            at = level[rows]
            out[rows] += self._bow[at, None]
            counts = self._first[at + 1] - self._first[at]
            shift = np.repeat(self._first[at] - (np.cumsum(counts) - counts), counts)
            entries = np.arange(len(shift)) + shift
            out[np.repeat(rows, counts), self._tokens[entries]] = self._logp[entries]
        return out


@dataclass
class _Context:
    """What is listed for one history: its continuations and its backoff weight (log10)."""

    tokens: list[int]
    log10p: list[float]
    backoff: float


def _by_context(tables: NgramTables, ids: Mapping[str, int]) -> dict[tuple[int, ...], _Context]:
    """Group the n-grams by history; keep the histories that carry information, with prefixes."""
    contexts: dict[tuple[int, ...], _Context] = {(): _Context([], [], 0.0)}

    def context_of(history: tuple[int, ...]) -> _Context:
        # Prefixes are states too: without them a longer context could not be reached.
        for length in range(1, len(history) + 1):
            contexts.setdefault(history[:length], _Context([], [], 0.0))
        return contexts[history]

    for order, grams in enumerate(tables.grams, 1):
        for words, (log10p, backoff) in grams.items():
            gram = _to_ids(words, order, ids)
            holder = context_of(gram[:-1])
            holder.tokens.append(gram[-1])
            holder.log10p.append(log10p)
            if backoff != 0.0 and order < len(tables.grams):
                context_of(gram).backoff = backoff
    return contexts


def _to_ids(words: Gram, order: int, ids: Mapping[str, int]) -> tuple[int, ...]:
    if len(words) != order:
        raise ModelError(f"expected {order} words in a {order}-gram, found {' '.join(words)!r}")
    try:
        return tuple(ids[word] for word in words)
    except KeyError as error:
        name = error.args[0]
        raise ModelError(f"expected words of the unigram table, found {name!r}") from None


def _longest_suffix(history: tuple[int, ...], state_of: Mapping[tuple[int, ...], int]) -> int:
    """The state of the longest proper suffix of `history` that is a state."""
    for drop in range(1, len(history) + 1):
        state = state_of.get(history[drop:])
        if state is not None:
            return state
    return 0


def _natural(log10: Iterable[float]) -> Floats:
    """Log10 values as natural logarithms, with the conventional zero made -inf."""
    values = np.array(list(log10), dtype=np.float64)
    return np.where(values <= LOG10_ZERO, -np.inf, values * _LN10)


def _check_range(values: Ints, size: int, what: str) -> None:
    if len(values) and (values.min() < 0 or values.max() >= size):
        found = f"{values.min()}..{values.max()}"
        raise UsageError(f"expected {what} in 0..{size - 1}, found values in {found}")
