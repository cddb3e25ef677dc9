"""A language model after a source text that it has read: token strings that begin with the text's
own tokens, of which what follows is asked for.

The tokens that follow come after those of the prompt: none spans the seam, and none is the first
one of a text, where tokenizers have rules for that.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from lmfst.ground.errors import InputError
from lmfst.lm.base import LM, Session, States
from lmfst.vocab import Vocab

if TYPE_CHECKING:
    import torch


class PromptedLM(LM):
    """`lm` after the tokens of a text.

    InputError where the text has no tokens, or none that are its own.
    """

    def __init__(self, lm: LM, text: bytes) -> None:
        self.base: LM = lm
        self.text, self.tokens = text, own_tokens(lm, text)
        if isinstance(lm, PromptedLM):
            self.base = lm.base
            self.text, self.tokens = lm.text + text, lm.tokens + self.tokens
        self.merges, self.batch_symbols = lm.merges, lm.batch_symbols
        self.vocab = after(self.base.vocab, self.tokens)

    def next_logp(self, contexts: Sequence[Sequence[int]]) -> ArrayLike:
        return self.base.next_logp([(*self.tokens, *context) for context in contexts])

    def key(self, context: tuple[int, ...]) -> Hashable:
        return self.base.key((*self.tokens, *context))

    def canonical(self, data: bytes) -> Sequence[int] | None:
        """The tokens of what follows: those that the tokenizer gives prompt and text together, if
        they begin with the prompt's, or else those of the text alone, if they spell it here."""
        count = len(self.tokens)
        whole = self.base.canonical(self.text + data)
        if whole is not None and tuple(whole[:count]) == self.tokens:
            return whole[count:]
        own = self.base.canonical(data)
        try:
            return own if own is not None and self.vocab.decode(own) == data else None
        except InputError:
            return None

    def session(self) -> Session:
        return _PromptedSession(self.base.session(), self.tokens)

    def describe(self) -> dict[str, Any]:
        text = self.text.decode("utf-8", "backslashreplace")
        return {**self.base.describe(), "prompt_source": text, "prompt_tokens": list(self.tokens)}


class _PromptedSession(Session):
    """A session whose documents all begin with the same tokens, which are read once: the documents
    are one of the session below, and where they go on alike they share its states."""

    def __init__(self, session: Session, tokens: Sequence[int]) -> None:
        self._session, self.merges = session, session.merges
        self.outbox = session.outbox
        self._root = session.open()
        state = np.array([self._root], dtype=np.int64)
        for token in tokens:
            state = session.step(state, np.array([token], dtype=np.int64))
        self._begin = state
        self._opened = 0

    def open(self) -> int:
        self._opened += 1
        return int(self._begin[0])

    def step(self, states: States, tokens: States) -> States:
        return self._session.step(states, tokens)

    def rows(self, states: States) -> Iterator[tuple[slice, torch.Tensor]]:
        return self._session.rows(states)

    def retain(self, root: int, live: States) -> None:
        # Of other documents nothing is known.
        if self._opened == 1:
            self.retain_all([(root, live)])

    def retain_all(self, live: Sequence[tuple[int, States]]) -> None:
        states = [states for _, states in live]
        self._session.retain(self._root, np.unique(np.concatenate([self._begin, *states])))

    def close(self, root: int) -> None:
        self._opened -= 1
        if not self._opened:
            self._session.close(self._root)


def after(vocab: Vocab, tokens: Sequence[int]) -> Vocab:
    """The vocabulary of what follows some tokens: one that begins in the state after them."""
    state = 0
    for token in tokens:
        state = vocab.next_state[state][token]
    if state == 0:
        return vocab
    return replace(
        vocab,
        token_bytes=(vocab.token_bytes[state], *vocab.token_bytes),
        next_state=tuple(
            [to + 1 for to in table] for table in (vocab.next_state[state], *vocab.next_state)
        ),
    )


def own_tokens(lm: LM, text: bytes) -> tuple[int, ...]:
    """The tokenizer's own tokens of a text; of a model without a tokenizer, the only ones there
    are. InputError for a text that has none."""
    own = lm.canonical(text)
    found = [tuple(own)] if own is not None else spellings(lm.vocab, text, 2)
    if len(found) == 1:
        return found[0]
    shown = f"{text!r:.60}"
    if not found:
        raise InputError(
            f"no tokens of the model spell the prompt {shown}",
            hint="it is text that the model has read; see what `lmfst info` says of the model",
        )
    raise InputError(
        f"the model has no tokens of its own for the prompt {shown}, and several strings of tokens "
        "spell it",
        hint="use --prompt, which adds up all of them; special tokens in a prompt need --specials "
        "text, and those that end a text can't be in one",
    )


def spellings(vocab: Vocab, text: bytes, most: int) -> list[tuple[int, ...]]:
    """The token strings that spell a text, so many at most; those aside with tokens that spell
    nothing."""
    # What leads to each (position, state of the decoder), of one position after the other.
    ways: dict[int, dict[int, list[tuple[int, ...]]]] = {0: {0: [()]}}
    for at in range(len(text)):
        for state, before in ways.pop(at, {}).items():
            for token, spelled in enumerate(vocab.token_bytes[state]):
                if spelled and text.startswith(spelled, at):
                    following = vocab.next_state[state][token]
                    there = ways.setdefault(at + len(spelled), {}).setdefault(following, [])
                    there += [(*way, token) for way in before[: most - len(there)]]
    return [way for found in ways.get(len(text), {}).values() for way in found][:most]
