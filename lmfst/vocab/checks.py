"""What is checked and told of a vocabulary when it is read."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from lmfst.ground.errors import ModelError
from lmfst.ground.types import Warn
from lmfst.vocab.machine import Vocab

UNKNOWABLE = "\ufffd"
"""Stands in decoded text for what is no text."""


def warn_if_endless(vocab: Vocab, warn: Warn) -> None:
    """Warn where no token ends a string."""
    if not vocab.eos:
        warn("the model has no end-of-string token: no string ever ends, ⊥ has probability 0")


def report(vocab: Vocab, failed: dict[int, str], tokenizer: Any, backend: Any, warn: Warn) -> None:
    """Warn of what the numbers will lack."""
    if failed:
        first = next(iter(failed))
        warn(
            f"{len(failed)} tokens of the model can't be mapped to bytes and are left out, the "
            f"first is id {first} {vocab.names[first]!r}: {failed[first]}"
        )
    warn_if_endless(vocab, warn)
    cleans = getattr(tokenizer, "clean_up_tokenization_spaces", False)
    if cleans and type(backend.model).__name__ != "BPE":
        warn(
            "this tokenizer asks for spaces before punctuation to be removed after decoding; that "
            "is not done here: the text is what its decoder gives, as with "
            "clean_up_tokenization_spaces=False"
        )


def check_against(
    vocab: Vocab,
    tokenizer: Any,
    decode: Callable[[Sequence[int]], str] | None = None,
    *,
    trials: int = 64,
) -> None:
    """Raise ModelError if the tokenizer, or `decode`, gives other bytes for short id sequences.

    A safeguard against tokenizer classes that change what their decoder gives. Sequences are drawn
    with a fixed seed; those that give `UNKNOWABLE` are passed over.
    """
    from tokenizers import Tokenizer

    options: dict[str, Any] = {"skip_special_tokens": False}
    if not isinstance(tokenizer, Tokenizer):
        options["clean_up_tokenization_spaces"] = False
    decode = decode or partial(tokenizer.decode, **options)
    usable = [
        i for i in range(vocab.size) if all(table[i] is not None for table in vocab.token_bytes)
    ]
    draw = random.Random(0)
    for trial in range(trials if usable else 0):
        ids = [draw.choice(usable) for _ in range(1 + trial % 4)]
        theirs = decode(ids)
        ours = vocab.decode(ids)
        if UNKNOWABLE not in theirs and theirs.encode("utf-8", "surrogatepass") != ours:
            raise ModelError(
                f"the decoder of this tokenizer ({type(tokenizer).__name__}) is not understood: "
                f"ids {ids} decode to {theirs!r}, its definition was read as giving {ours!r}",
                hint="tokenizer classes that change the decoded text are not supported",
            )
