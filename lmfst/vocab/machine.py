"""`Vocab`: a sequential machine from token ids to bytes.

The text of a token sequence is the concatenation of what its tokens emit. What a token emits may
depend on a small state: whether it is the first one, or whether a space is still held back. State 0
is the state before the first token. A machine has no final output: what is held back at the end of
the sequence is never emitted, which is what decoders do that strip the end of a text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from lmfst.ground.errors import InputError, ModelError
from lmfst.vocab.spelling import Spelling, TokenBytes


@dataclass(frozen=True, eq=False)
class Vocab:
    """Decoder FST of a tokenizer: token ids 0 .. size - 1 to bytes.

    size: number of rows of the LM's output; may exceed the number of tokens.
    token_bytes: one list [size] per decoder state, the bytes that the id emits there; None: the id
        is not in the support (special, EOS or unmapped).
    next_state: one list [size] per decoder state, the state after the id.
    specials: control ids (the unknown token is one), EOS excepted; in the support only as text.
    eos: ids that end the string; they emit nothing and are never in `token_bytes`.
    unmapped: id -> why it spells nothing, for ids that are neither EOS nor declared special.
    names: printable token names [size], for messages.
    digest: sha256 (hex) of all of the above.
    hint: which texts no tokens spell, and what to do about it, for messages; "" if there is nothing
        to say. spaces: the same of texts that lack spaces, though every byte of theirs is spelled
        somewhere.
    """

    size: int
    token_bytes: tuple[TokenBytes, ...] = field(repr=False)
    next_state: tuple[list[int], ...] = field(repr=False)
    specials: frozenset[int] = field(repr=False)
    eos: tuple[int, ...]
    unmapped: Mapping[int, str] = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    digest: str = field(init=False)
    hint: str = field(default="", repr=False)
    spaces: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        self._check()
        facts = (
            self.size,
            self.token_bytes,
            self.next_state,
            sorted(self.specials),
            self.eos,
            sorted(self.unmapped.items()),
            self.names,
        )
        # ascii() escapes everything that is not ASCII, lone surrogates included.
        digest = hashlib.sha256(ascii(facts).encode("ascii")).hexdigest()
        object.__setattr__(self, "digest", digest)

    def _check(self) -> None:
        tables: list[Sequence[object]] = [*self.token_bytes, *self.next_state, self.names]
        if (
            not self.token_bytes
            or len(self.token_bytes) != len(self.next_state)
            or any(len(table) != self.size for table in tables)
        ):
            raise ModelError(f"every table of a vocabulary must have {self.size} entries")
        bad = [i for i in (*self.eos, *self.specials) if not 0 <= i < self.size]
        if bad:
            raise ModelError(
                f"end-of-string and special ids must be in 0..{self.size - 1}, got {bad}",
                hint="the tokenizer and the model don't belong together",
            )

    def decode(self, ids: Iterable[int]) -> bytes:
        """The bytes that a token sequence spells; an EOS id may only come last.

        Raises InputError for an id outside the support.
        """
        out, state, ended = bytearray(), 0, False
        for i in ids:
            data = self.token_bytes[state][i] if 0 <= i < self.size else None
            if ended or (data is None and i not in self.eos):
                raise InputError(f"token id {i} can't stand here: {self._why_not(i, ended)}")
            if data is None:
                ended = True
                continue
            out += data
            state = self.next_state[state][i]
        return bytes(out)

    def _why_not(self, i: int, ended: bool) -> str:
        if not 0 <= i < self.size:
            return f"ids are 0..{self.size - 1}"
        if ended:
            return "the string has ended"
        if i in self.specials:
            return f"{self.names[i]!r} is a special token, outside the support"
        return f"{self.names[i]!r} spells nothing ({self.unmapped.get(i, 'not in this state')})"

    @cached_property
    def last_state(self) -> int:
        """The state that a machine stays in: the one most tokens lead to from state 0."""
        after = self.next_state[0]
        ids = [i for i, data in enumerate(self.token_bytes[0]) if data]
        counts = [0] * len(self.token_bytes)
        for i in ids:
            counts[after[i]] += 1
        return max(range(len(counts)), key=counts.__getitem__)

    def duplicates(self) -> dict[bytes, list[int]]:
        """Byte strings that several ids spell, and those ids, as they are after a first token."""
        groups: dict[bytes, list[int]] = {}
        for i, data in enumerate(self.token_bytes[self.last_state]):
            if data is not None:
                groups.setdefault(data, []).append(i)
        return {data: ids for data, ids in groups.items() if len(ids) > 1}

    def missing_bytes(self) -> list[int]:
        """Bytes 0..255 that occur in no token, so in no text that the model can give."""
        return [byte for byte in range(256) if byte not in self.alphabet]

    @cached_property
    def alphabet(self) -> frozenset[int]:
        """Bytes that occur in some token."""
        found: set[int] = set()
        for table in self.token_bytes:
            found.update(b"".join(data for data in table if data))
        return frozenset(found)

    def encode_any(self, data: bytes) -> list[int] | None:
        """A shortest token sequence (in tokens) that spells `data` exactly; None if there is none.

        See `lmfst.vocab.spelling`.
        """
        return self._spelling.shortest(data)

    def spelled_length(self, data: bytes) -> int:
        """How many bytes the longest prefix of `data` has that a token sequence spells exactly."""
        return self._spelling.length(data)

    @cached_property
    def _spelling(self) -> Spelling:
        return Spelling(self.token_bytes, self.next_state)

    def unspelled(self, text: bytes | None, *, bytewise: bool) -> str:
        """The hint as a clause of a message, "" if there is none; with the first part of `text`
        that no tokens spell, if the text is known and they don't spell it. bytewise: whether there
        is a byte that no token has."""
        hint = self.hint or ("" if bytewise else self.spaces)
        if not hint:
            return ""
        length = None if text is None else self.spelled_length(text)
        if text is None or length is None or length == len(text):
            return f"; {hint}"
        rest = text[length:]
        blank = len(rest) - len(rest.lstrip())
        part = rest[:blank] + b"".join(rest.split(maxsplit=1)[:1])
        shown = repr(part.decode("utf-8", "backslashreplace"))
        return f"; no token spells {shown}, from byte {length} on: {hint}"
