"""Decoder chains: a tokenizer's `decoder` definition read as a sequential machine.

A decoder of the tokenizers library is a chain of steps over a list of strings, one per token, which
is joined at the end. Steps act on each string by itself, some differently on the first (Metaspace,
WordPiece) or on the last (BPEDecoder); `ByteFallback` joins neighbouring byte tokens, `ByteLevel`
and `Fuse` join everything. So a chain is read in two parts:

- while the list has one string per token, each token has two texts, as the first token and later;
- once all is joined, the remaining steps are `Stage`s: transducers from a stream of pieces to bytes
  that hold back at most a few bytes.

Bytes that are not UTF-8 are kept as they are, where the library would print replacement characters.
The steps themselves are in `lmfst.vocab.decoders`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from lmfst.ground.types import Warn
from lmfst.vocab.stages import Stage, compose

# str: text of a token; bytes: what a byte token or a byte-level token spells; None: no support.
Piece = str | bytes | None
Pieces = list[Piece]


@dataclass
class Chain:
    """The steps read so far.

    first, later: pieces [vocabulary], as the first token and after it; the same object if equal.
    level: what an item of the list is: a token; a token or a run of byte tokens; the whole text.
    bytewise: which tokens spell raw bytes, so that a character may be divided among tokens.
    stages: what happens to the joined text. failed: id -> why the token can't be decoded.
    checkable: whether the library decodes every sequence of the machine's tokens without aborting.
    waits: whether the first token is the first one that spells something.
    """

    first: Pieces
    later: Pieces
    warn: Warn
    level: Literal["token", "run", "whole"] = "token"
    bytewise: Literal["none", "byte tokens", "all"] = "none"
    stages: list[Stage] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    checkable: bool = True
    waits: bool = False

    def apply(
        self, step: Callable[[str], Piece], first: Callable[[str], Piece] | None = None
    ) -> None:
        """Map the text pieces; `first` is what happens to the first token, if that differs."""
        same = self.first is self.later and first is None
        new_first = [p if not isinstance(p, str) else (first or step)(p) for p in self.first]
        self.later = (
            new_first if same else [p if not isinstance(p, str) else step(p) for p in self.later]
        )
        self.first = new_first

    def machine(self) -> tuple[list[list[bytes | None]], list[list[int]]]:
        """(bytes [state][id], next state [state][id]) of the reachable decoder states."""
        tables = [_encoded(self.first)]
        if self.first != self.later:
            tables.append(_encoded(self.later))
        last = len(tables) - 1
        if not self.stages:
            after = [[last] * len(tables[0]) for _ in tables]
            if self.waits:
                after[0] = [last if piece else 0 for piece in tables[0]]
            return tables, after
        return compose(tables, self.stages, self.failed)


def _encoded(pieces: Pieces) -> list[bytes | None]:
    return [p.encode() if isinstance(p, str) else p for p in pieces]
