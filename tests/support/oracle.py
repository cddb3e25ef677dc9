"""A brute-force oracle and random instances: tiny models, tiny functional FSTs.

The models end every string after at most `depth` tokens, so that enumerating all token strings is
exact. Nothing here uses lmfst's sequential form, lexicon or propagation.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from lmfst.fst import EPS, Fst, Symbols, apply_all
from lmfst.lm.base import LM
from lmfst.vocab import Vocab

END = -1
ALPHABET = b"ab\0"


def make_vocab(
    tokens: Sequence[bytes], *, first: Sequence[bytes] | None = None, eos: int = 1, extra: int = 0
) -> Vocab:
    """A vocabulary: the tokens, `eos` end ids, `extra` specials. first: what ids spell as first
    token.
    """
    size = len(tokens) + eos + extra
    rest = [*tokens, *[None] * (eos + extra)]
    ends = tuple(range(len(tokens), len(tokens) + eos))
    states = ([*first, *[None] * (eos + extra)], rest) if first is not None else (rest,)
    after = (
        ([1 if text else 0 for text in states[0]], [1] * size)
        if first is not None
        else ([0] * size,)
    )
    return Vocab(
        size=size,
        token_bytes=tuple(list(texts) for texts in states),
        next_state=after,
        specials=frozenset(range(len(tokens) + eos, size)),
        eos=ends,
        unmapped={},
        names=[f"t{i}" for i in range(size)],
    )


class TableLM(LM):
    """Random distributions by the last `order - 1` tokens and the depth; ends at `depth` tokens."""

    def __init__(self, vocab: Vocab, *, order: int, depth: int, seed: int, merges: bool) -> None:
        self.vocab, self.order, self.depth, self.merges = vocab, order, depth, merges
        self._rng = np.random.default_rng(seed)
        self._rows: dict[Hashable, np.ndarray] = {}

    def key(self, context: tuple[int, ...]) -> Hashable:
        if not self.merges:
            return context
        return min(len(context), self.depth), context[
            len(context) - self.order + 1 :
        ] if self.order > 1 else ()

    def row(self, context: tuple[int, ...]) -> np.ndarray:
        key = self.key(tuple(context))
        if key not in self._rows:
            p = self._rng.dirichlet(np.full(self.vocab.size, 0.7)) + 1e-6
            if len(context) >= self.depth:
                inside = np.ones(self.vocab.size, dtype=bool)
                inside[list(self.vocab.eos)] = False
                p[inside] = 0.0
            with np.errstate(divide="ignore"):
                self._rows[key] = np.log(p / p.sum())
        return self._rows[key]

    def next_logp(self, contexts: Sequence[Sequence[int]]) -> np.ndarray:
        return np.stack([self.row(tuple(context)) for context in contexts])


def strings(lm: TableLM, prompt: Sequence[int] = ()) -> dict[bytes, float]:
    """The probability of every byte string, by enumerating all token strings; specials left out.
    Given that the tokens begin with the prompt's."""
    vocab, state, begun = lm.vocab, 0, b""
    for token in prompt:
        begun += vocab.token_bytes[state][token] or b""
        state = vocab.next_state[state][token]
    total: dict[bytes, float] = {}
    stack: list[tuple[tuple[int, ...], bytes, int, float]] = [(tuple(prompt), begun, state, 1.0)]
    outside = [
        t for t in range(vocab.size) if t not in vocab.eos and vocab.token_bytes[-1][t] is None
    ]
    while stack:
        context, text, state, p = stack.pop()
        row = np.exp(lm.row(context))
        row[outside] = 0.0
        row /= row.sum()
        total[text] = total.get(text, 0.0) + p * float(row[list(vocab.eos)].sum())
        for token, spelled in enumerate(vocab.token_bytes[state]):
            if spelled is not None and token not in vocab.eos and row[token] > 0:
                after = vocab.next_state[state][token]
                stack.append(((*context, token), text + spelled, after, p * float(row[token])))
    return total


Function = Callable[[bytes], tuple[int, ...] | None]


class Oracle:
    """p_Y by brute force. Strings that the function rejects are left out (mass `accepted` < 1)."""

    def __init__(self, lm: TableLM, function: Function) -> None:
        self.mass: dict[tuple[int, ...], float] = {}
        for text, p in strings(lm).items():
            if p > 0 and (out := function(text)) is not None:
                self.mass[out] = self.mass.get(out, 0.0) + p
        self.accepted = math.fsum(self.mass.values())

    def prefix(self, y: tuple[int, ...]) -> float:
        return math.fsum(p for out, p in self.mass.items() if out[: len(y)] == y)

    def string(self, y: tuple[int, ...]) -> float:
        return self.mass.get(y, 0.0)

    def next(self, y: tuple[int, ...]) -> dict[int, float]:
        found: dict[int, float] = {}
        for out, p in self.mass.items():
            if out[: len(y)] == y:
                symbol = out[len(y)] if len(out) > len(y) else END
                found[symbol] = found.get(symbol, 0.0) + p
        total = math.fsum(found.values())
        return {symbol: p / total for symbol, p in found.items()}


def fst_function(fst: Fst) -> Function:
    """f by enumerating the FST's paths."""

    def function(text: bytes) -> tuple[int, ...] | None:
        outputs = apply_all(fst, text, 10)
        if len(outputs) > 1:
            raise ValueError(f"{text!r} has {len(outputs)} outputs")
        return tuple(outputs[0]) if outputs else None

    return function


def random_fst(seed: int, alphabet: bytes = ALPHABET, *, partial: bool = False) -> Fst:
    """A random functional FST with lookahead.

    A left automaton reads forwards, a right one backwards; the output at a byte depends on the
    state of both (a bimachine), so the FST guesses the right states and is unambiguous. Outputs are
    empty, one symbol or two, some states emit at the end of the string. partial: some moves are
    missing.
    """
    rng = np.random.default_rng(seed)
    lefts, rights = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    forward = rng.integers(0, lefts, (lefts, len(alphabet)))
    backward = rng.integers(0, rights, (rights, len(alphabet)))
    out_size = rng.choice([0, 1, 1, 1, 2], (lefts, len(alphabet), rights))
    symbols = rng.integers(120, 123, (lefts, len(alphabet), rights, 2))
    end_size = rng.choice([0, 0, 1], lefts)
    missing = rng.random((lefts, len(alphabet))) < (0.2 if partial else 0.0)
    arcs: list[tuple[int, int, int, int]] = []
    fresh = itertools.count(1 + lefts * rights + 1)
    last = 1 + lefts * rights

    def state(left: int, right: int) -> int:
        return 1 + left * rights + right

    def chain(source: int, label: int, outs: Sequence[int], target: int) -> None:
        for i, out in enumerate(outs[:-1] if outs else []):
            between = next(fresh)
            arcs.append((source, label if i == 0 else EPS, out, between))
            source = between
        arcs.append((source, EPS if len(outs) > 1 else label, outs[-1] if outs else EPS, target))

    arcs += [(0, EPS, EPS, state(0, right)) for right in range(rights)]
    for left, at, right in itertools.product(range(lefts), range(len(alphabet)), range(rights)):
        if missing[left, at]:
            continue
        size = int(out_size[left, at, right])
        outs = [int(s) for s in symbols[left, at, right, :size]]
        source, target = state(left, int(backward[right, at])), state(int(forward[left, at]), right)
        chain(source, alphabet[at], outs, target)
    for left in range(lefts):
        chain(state(left, 0), EPS, [122] if end_size[left] else [], last)
    return Fst.from_arcs(arcs, 0, [last], symbols=Symbols())
