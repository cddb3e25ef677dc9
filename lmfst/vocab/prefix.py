"""The prefix space: a space that a tokenizer puts before a text, and that is none of the text's.

Tokenizers read "The cat" as "The cat", or as " The cat". Of the latter some drop the space when
they decode (SentencePiece), others keep it (`ByteLevel` with `add_prefix_space`). If the space is
the model's own, strings of the model and texts are related by

    text(x) = decoded(x) without one leading space, if there is one

so that a first token with a space and one without spell the same text, and both count.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from lmfst.ground.types import Warn
from lmfst.vocab.machine import Vocab

Encode = Callable[[str], Sequence[int]]

PROBES = ("The cat", "the cat", "the  cat")
"""Texts that are encoded and decoded. The last one shows nothing of prefix spaces that the others
don't, but whether spaces are merged."""
MORE_PROBES = 5
"""Probes out of the vocabulary itself, where it has no tokens for the others."""


@dataclass(frozen=True)
class Own:
    """What a tokenizer does by itself.

    drops: whether decoding drops a leading space. adds: whether encoding adds one. changed: probes
    that come back otherwise → how. fits: whether any comes back at all.
    """

    drops: bool
    adds: bool
    changed: dict[str, str]
    fits: bool

    @property
    def prefixed(self) -> bool:
        """Whether a leading space is the tokenizer's."""
        return self.drops or self.adds

    def tell(self, warn: Warn) -> None:
        """Warn of texts that the tokenizer reads otherwise than they stand."""
        if not self.changed:
            return
        text, other = next(iter(self.changed.items()))
        what = "changes texts before it reads them" if self.fits else "reads no text as it stands"
        warn(
            f"the tokenizer {what} ({text!r} as {other!r}); here texts are scored as they stand, "
            "by tokens that the model may hardly have seen: write them as the tokenizer does"
        )


def find_own(vocab: Vocab, encode: Encode, drops: bool) -> Own:
    """What the tokenizer does, found out by encoding probes and decoding them by `vocab`, its
    decoder as it is defined. drops: see `drops_space`."""
    texts, adds, changed = _read_back(vocab, encode, PROBES)
    if not texts:
        own = islice(_own_texts(vocab), MORE_PROBES)
        texts, adds, more = _read_back(vocab, encode, own)
        changed |= more
    led = drops and any(_led_by_space(vocab, encode(text)) for text in texts)
    return Own(drops, adds or led, changed, bool(texts))


def _read_back(
    vocab: Vocab, encode: Encode, texts: Iterable[str]
) -> tuple[list[str], bool, dict[str, str]]:
    """(texts that come back, but for a space before; whether there is one; texts that don't → how
    they do). Texts that there are no tokens for are left out."""
    same: list[str] = []
    spaced, changed = False, {}
    for text in texts:
        try:
            found = vocab.decode(encode(text)).decode()
        except Exception:  # no tokens in the support; of the tokenizer's, no other class is known
            continue
        known = vocab.alphabet.issuperset(text.encode())
        if found in (text, " " + text):
            same.append(text)
            spaced = spaced or found != text
        elif known or found.strip().casefold() == text.casefold():
            changed[text] = found
    return same, spaced, changed


def _led_by_space(vocab: Vocab, ids: Sequence[int]) -> bool:
    """Whether the first token is one with a space that decoding drops."""
    first, later = (vocab.token_bytes[state][ids[0]] for state in (0, vocab.last_state))
    return first is not None and later == b" " + first


def _own_texts(vocab: Vocab) -> Iterator[str]:
    """Texts of tokens."""
    for data in vocab.token_bytes[vocab.last_state]:
        try:
            text = (data or b"").decode().strip()
        except UnicodeDecodeError:
            continue
        if text:
            yield text


# Definitions: whether they have a rule, and without it, so that another can be put in its place.


def drops_space(decoder: Any) -> bool:
    """Whether a decoder definition (parsed JSON) drops a space at the start of the text."""
    return decoder is not None and _keeping(decoder, [False]) != decoder


def without_drop(decoder: Any) -> Any:
    """A decoder definition (parsed JSON) that keeps a leading space."""
    if decoder is None:
        return None
    kept = _keeping(decoder, [False])
    return {"type": "Sequence", "decoders": []} if kept is None else kept


def _keeping(step: dict[str, Any], joined: list[bool]) -> dict[str, Any] | None:
    """A step without what it does to a leading space; None if it does nothing else. joined: whether
    tokens have been joined before; is brought up to date."""
    kind = step.get("type")
    if kind == "Sequence":
        steps = [_keeping(inner, joined) for inner in step["decoders"]]
        return step | {"decoders": [inner for inner in steps if inner is not None]}
    if kind == "Metaspace":
        return step | {"prepend_scheme": "never"}
    if kind == "SentencePiece":
        return step | {"drop": "none"}
    if kind == "Strip" and joined[0] and step["content"] == " " and step["start"]:
        return step | {"start": 0} if step["stop"] else None
    joined[0] = joined[0] or kind in ("Fuse", "ByteLevel")
    return step


def without_prefix(backend: Any) -> Any:
    """A `tokenizers.Tokenizer` like `backend` that puts no space before a text."""
    from tokenizers import Tokenizer

    definition = json.loads(backend.to_str())
    for part in ("normalizer", "pre_tokenizer"):
        definition[part] = _unprefixed(definition[part])
    return Tokenizer.from_str(json.dumps(definition))


def _unprefixed(step: Any) -> Any:
    """A normalizer's or pre-tokenizer's definition without the space that it puts before texts."""
    if not isinstance(step, dict):
        return step
    kind = step.get("type")
    if kind == "Sequence":
        key = "normalizers" if "normalizers" in step else "pretokenizers"
        steps = [_unprefixed(inner) for inner in step[key]]
        return step | {key: [inner for inner in steps if inner is not None]}
    if kind == "Prepend" and step["prepend"] in (" ", "▁"):
        return None
    if kind == "Metaspace":
        return step | {"prepend_scheme": "never"}
    if kind == "ByteLevel":
        return step | {"add_prefix_space": False}
    return step
