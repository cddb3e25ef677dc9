"""Strings drawn token by token that are kept within an acceptor over target symbols.

*Exact*: tokens are drawn with p(t | x) · B(x·t) / B(x), B the backward mass
(`lmfst.generate.backward`). Strings have the model's probabilities given that they are accepted,
and each weighs P(accepted). *Masked*: tokens are drawn in proportion to p(t | x) from those after
which an accepted string can still be reached (as far as that is known), whose share is Z(x). A
string weighs Π Z(x): the mean of the weights is an unbiased estimate of P(accepted), and weighted
means are consistent estimates of means given that strings are accepted. A string that comes to
where nothing goes on weighs nothing.

After a prompt a cover is drawn first (`lmfst.inference.covers`), in the same way; then P(accepted)
is that of the prompt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmfst.generate.backward import Backward, Node, backward
from lmfst.generate.by_token import Forgetting, read_token
from lmfst.generate.drawn import Growing
from lmfst.generate.moves import ENDED, Product
from lmfst.generate.steps import Within
from lmfst.ground.arrays import Floats
from lmfst.ground.errors import InputError
from lmfst.inference.covers import Covers, emitted_below
from lmfst.inference.draws import pick
from lmfst.inference.states import State
from lmfst.inference.token_logps import token_logps
from lmfst.lm.base import Session
from lmfst.model import TransducedLM


@dataclass(frozen=True)
class _Starts:
    """Where strings begin: n ways, with the probability of each given the prompt, before anything
    is said of the acceptor.

    p: float64 [n]. nodes: what comes after; None where the string has ended, accepted. emitted:
    symbols beyond the prompt.
    """

    p: Floats
    nodes: list[Node | None]
    emitted: list[tuple[int, ...]]


class Constrained:
    """A session of a model, the product of its lexicons and an acceptor, and where strings begin.

    state: the model after the prompt; None without one. within_after: the acceptor's state there.

    InputError where no string that the model can produce is accepted.
    """

    def __init__(
        self, model: TransducedLM, within: Within, state: State | None, prompt: Sequence[int]
    ) -> None:
        self.model = model
        self.product = Product(model.lexicons, within)
        at = read_prompt(within, prompt)
        self._state = state
        if state is None:
            self.session: Session = model.lm.session()
            self.root = self.session.open()
            node = self.root, self.product.pair(model.lexicons.start, at)
            self.starts = _Starts(np.ones(1), [node], [()])
        else:
            covers = Covers(state)
            self.session, self.root = covers.session, covers.root
            self.starts = _covering(self.product, covers, at)
        self.product.close([node[1] for node in self.starts.nodes if node is not None])
        if not any(
            node is None or (self.product.may_end_well(node[1]) and p > 0)
            for node, p in zip(self.starts.nodes, self.starts.p, strict=True)
        ):
            raise _disjoint("" if state is None else "and that begins with the prompt ")

    def begin(self, string: Growing, at: int) -> Node | None:
        """Let a string begin in one of the ways; what comes after, None where it has ended."""
        string.step()
        string.emit(self.starts.emitted[at])
        if self.starts.nodes[at] is None:
            string.end()
        return self.starts.nodes[at]

    def emit(self, string: Growing, pair: int, token: int, after: int) -> None:
        """Let a string read a token in a pair. after: the pair after it."""
        read_token(self.model, string, self.product.lexicon(pair), token, ends=after == ENDED)

    def close(self) -> None:
        """Let the session forget all; that of a state is closed by it."""
        if self._state is None:
            self.session.close(self.root)


def _covering(product: Product, covers: Covers, at: int) -> _Starts:
    """The covers of a prompt that an acceptor reads. at: its state after the prompt."""
    p: list[float] = []
    nodes: list[Node | None] = []
    emitted: list[tuple[int, ...]] = []
    lexicons = covers.lexicons
    for held in covers.cursors():
        for i, lexicon in enumerate(held.lexicon.tolist()):
            node = int(held.node[i])
            moves, place = product.below(lexicon, node, at, silent=False)
            terms = held.terms[held.base[i] + place].astype(np.float64)
            shares = np.exp(held.logw[i] - covers.log_mass + (terms - held.lse[i]))
            some = np.flatnonzero(shares > 0).tolist()
            models = np.full(len(some), held.model[i])
            going = [j for j in some if moves.after[j] != ENDED]
            moved = iter(covers.session.step(models[: len(going)], moves.token[going]).tolist())
            for j in some:
                pair = int(moves.after[j])
                symbols = emitted_below(lexicons[lexicon].trie, node, int(place[j]))
                p.append(float(shares[j]))
                nodes.append(None if pair == ENDED else (next(moved), pair))
                emitted.append(symbols if pair != ENDED else symbols[:-1])
    return _Starts(np.array(p), nodes, emitted)


class Exactly:
    """Draws from the model's strings given that they are accepted. log_accepted: the log of the
    probability that they are, given the prompt, nats."""

    def __init__(self, constrained: Constrained, found: Backward) -> None:
        self._constrained, self._found = constrained, found
        starts = constrained.starts
        masses = [1.0 if node is None else found.mass[found.ids[node]] for node in starts.nodes]
        weights = starts.p * np.array(masses)
        self._sums = np.cumsum(weights)
        if not self._sums[-1] > 0:
            raise InputError(
                "the model gives the strings of --within the probability zero",
                hint="widen the grammar, or draw without it",
            )
        self.log_accepted = min(0.0, math.log(self._sums[-1]))
        self._edges: dict[int, tuple[int, Floats]] = {}

    def begin(self, string: Growing) -> None:
        """Put a new string at its beginning."""
        at = pick(self._sums, string.random.random())
        node = self._constrained.begin(string, at)
        string.logw = self.log_accepted
        string.place = None if node is None else self._found.ids[node]

    def step(self, strings: Sequence[Growing]) -> None:
        """Draw a token for each string."""
        found = self._found
        for string in strings:
            first, sums = self._following(string.place)
            edge = first + pick(sums, string.random.random())
            after = int(found.after[edge])
            pair = int(found.pair[string.place])
            self._constrained.emit(string, pair, int(found.token[edge]), after)
            string.place = after

    def _following(self, node: int) -> tuple[int, Floats]:
        known = self._edges.get(node)
        if known is None:
            first, end = self._found.first[node], self._found.first[node + 1]
            known = int(first), np.cumsum(self._found.weight[first:end])
            self._edges[node] = known
        return known

    def close(self) -> None:
        """Let the session forget all."""
        self._constrained.close()


class Masked:
    """Draws from the tokens after which an accepted string can be reached; strings have weights."""

    def __init__(self, constrained: Constrained) -> None:
        self._constrained = constrained
        starts, product = constrained.starts, constrained.product
        alive = [node is None or product.may_end_well(node[1]) for node in starts.nodes]
        self._sums = np.cumsum(np.where(alive, starts.p, 0.0))
        needed = [node[0] for node in starts.nodes if node is not None]
        self._forget = Forgetting(
            constrained.session, constrained.root, np.array(needed, dtype=np.int64)
        )

    def begin(self, string: Growing) -> None:
        """Put a new string at its beginning."""
        string.logw += min(0.0, math.log(self._sums[-1]))
        at = pick(self._sums, string.random.random())
        string.place = self._constrained.begin(string, at)

    def step(self, strings: Sequence[Growing]) -> None:
        """Draw a token for each string."""
        product, session = self._constrained.product, self._constrained.session
        nodes = list(dict.fromkeys(string.place for string in strings))
        following = dict(zip(nodes, self._following(nodes), strict=True))
        going: list[tuple[Growing, int, int]] = []
        for string in strings:
            pair, sums = string.place[1], following[string.place]
            if not len(sums) or not sums[-1] > 0:
                string.fail()
                continue
            string.logw += min(0.0, math.log(sums[-1]))
            at = pick(sums, string.random.random())
            moves = product.moves(pair)
            token, after = int(moves.token[at]), int(moves.after[at])
            self._constrained.emit(string, pair, token, after)
            if not string.over:
                going.append((string, token, after))
        if going:
            before = np.array([string.place[0] for string, _, _ in going], dtype=np.int64)
            moved = session.step(before, np.array([token for _, token, _ in going]))
            for (string, _, after), model in zip(going, moved.tolist(), strict=True):
                string.place = model, after
        live = np.array([string.place[0] for string, _, _ in going], dtype=np.int64)
        self._forget(live, asked=len(nodes))

    def _following(self, nodes: Sequence[Node]) -> list[Floats]:
        """The running sums of the probabilities of what each node reads."""
        constrained = self._constrained
        tokens = [constrained.product.moves(pair).token for _, pair in nodes]
        models = np.array([model for model, _ in nodes], dtype=np.int64)
        normalise = constrained.model.setting.normalise
        logps = token_logps(constrained.session, normalise, models, tokens)
        return [np.cumsum(np.exp(logp)) for logp in logps]

    def close(self) -> None:
        """Let the session forget all."""
        self._constrained.close()


def read_prompt(within: Within, prompt: Sequence[int]) -> int:
    """The state of an acceptor after a prompt. InputError where it has none."""
    state = within.start
    for at, symbol in enumerate(prompt):
        state = within.step(state, symbol)
        if state < 0:
            raise InputError(
                "no string of the grammar of --within begins with the first "
                f"{at + 1} symbols of the prompt",
                hint="it is read from the beginning of a string, prompt and all",
            )
    return state


def require_some(models: Sequence[TransducedLM], within: Within) -> None:
    """InputError if it is known that none of some models can produce a string of an acceptor."""
    for model in models:
        product = Product(model.lexicons, within)
        if product.leads_somewhere(product.pair(model.lexicons.start, within.start)):
            return
    raise _disjoint()


def _disjoint(given: str = "") -> InputError:
    """That nothing is accepted. given: what else is required of strings."""
    return InputError(
        f"no string that the model can produce {given}is in the grammar of --within",
        hint="its strings are in target form, from beginning to end; `lmfst print` shows what it "
        "accepts",
    )


def exactly(constrained: Constrained) -> Exactly | None:
    """The exact way; None where there are too many nodes for it."""
    if not constrained.session.merges:
        return None
    nodes = [node for node in constrained.starts.nodes if node is not None]
    normalise = constrained.model.setting.normalise
    found = backward(constrained.session, normalise, constrained.product, nodes)
    return None if found is None else Exactly(constrained, found)
